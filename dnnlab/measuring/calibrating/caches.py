"""What the system tells about this machine: processor, cores, sizes of caches and memory.

Linux tells it in files, macOS through `sysctl`, Windows through its API. Nothing here raises: what a system does not
tell is unknown (None, or an empty name), and the caches are then measured.
"""

from __future__ import annotations

import ctypes
import math
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

#: The rate of a step must be above that of the memory by this factor to lie in a cache.
ABOVE_MEMORY = 1.3
_NO_LIMIT = 2**60  # cgroup v1 writes a number near 2^63 where there is no limit


@dataclass(frozen=True)
class System:
    """What the system tells.

    `threads`: processors that this process may use, hyperthreads counted; `cores`: of them without hyperthreads;
    `quota`: how many of them it may keep busy at a time, where a container limits that. `caches`: bytes of all data
    caches of a level together, by level; `last`: bytes of a single one of the last level. `capacity`, `free`: bytes of
    memory that the process can have, and can have now; the limit of a container counts.
    """

    name: str
    threads: int
    cores: int
    quota: float | None = None
    caches: Mapping[int, int] = field(default_factory=dict)
    last: int | None = None
    capacity: int | None = None
    free: int | None = None

    @property
    def busy(self) -> int:
        """Threads that can really work at a time."""
        return max(1, min(self.threads, math.ceil(self.quota or self.threads)))


def system() -> System:
    """This machine, as its system tells it."""
    if sys.platform.startswith("linux"):
        return linux(Path("/"), usable())
    if sys.platform == "darwin":
        return mac(_sysctl, usable())
    return windows() if sys.platform == "win32" else System(platform.processor(), len(usable()), len(usable()))


def usable() -> frozenset[int]:
    """Processors that this process may use; all of them where the system does not say."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def _levels(caches: Iterable[tuple[int, int]]) -> tuple[dict[int, int], int | None]:
    """From the level and bytes of each cache: the bytes of each level together, and the largest of the last."""
    all_of: dict[int, list[int]] = {}
    for level, size in caches:
        all_of.setdefault(level, []).append(size)
    last = max(all_of[max(all_of)]) if all_of else None
    return {level: sum(all_of[level]) for level in sorted(all_of)}, last


# -- Linux -----------------------------------------------------------------------------------------------


def linux(root: Path, cpus: frozenset[int]) -> System:
    """What the files below `root` tell of these processors."""
    infos = {
        key.strip(): value.strip()
        for key, _, value in (line.partition(":") for line in _text(root / "proc/cpuinfo").splitlines())
    }
    names = (infos.get("model name"), infos.get("Model"), _text(root / "proc/device-tree/model").strip("\0\n"))
    name = next((n for n in names if n), "") or platform.machine()
    places = [root / f"sys/devices/system/cpu/cpu{cpu}" for cpu in sorted(cpus)]
    siblings = {_text(place / "topology/thread_siblings_list").strip() or place.name for place in places}
    found: dict[tuple[int, str], int] = {}
    for place in places:
        for index in sorted(place.glob("cache/index*")):
            level, size = _number(_text(index / "level")), _binary(_text(index / "size"))
            if level and size and _text(index / "type").strip() in ("Data", "Unified"):
                # Processors that share a cache name the same list.
                found[level, _text(index / "shared_cpu_list").strip() or place.name] = size
    caches, last = _levels((level, size) for (level, _), size in found.items())
    memory = {key: value for key, _, value in (s.partition(":") for s in _text(root / "proc/meminfo").splitlines())}
    limits, used, quota = _cgroups(root)
    capacity = _least((_kibibytes(memory.get("MemTotal", "")), *limits))
    free = _least((_kibibytes(memory.get("MemAvailable", "")), *used))
    return System(name, max(1, len(cpus)), max(1, len(siblings)), quota, caches, last, capacity, free)


def _cgroups(root: Path) -> tuple[list[int], list[int], float | None]:
    """Limits of memory, what is free below each, and processors that may be busy, of the groups this process is in.

    A limit of any group above counts as well. Inside a container the files of its own group stand at the top.
    """
    limits: list[int] = []
    free: list[int] = []
    quotas: list[float] = []
    top = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines() or ["0::/"]:
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        version2 = not controllers
        hierarchy = top if version2 else top / ("memory" if "memory" in controllers.split(",") else "cpu")
        if not version2 and not {"memory", "cpu"} & set(controllers.split(",")):
            continue
        inside = PurePosixPath(path.lstrip("/"))
        for group in dict.fromkeys((hierarchy / inside, *((hierarchy / up) for up in inside.parents), hierarchy)):
            limit = _number(_text(group / ("memory.max" if version2 else "memory.limit_in_bytes")))
            current = _number(_text(group / ("memory.current" if version2 else "memory.usage_in_bytes")))
            if limit and limit < _NO_LIMIT:
                limits.append(limit)
                # Pages of files that nobody uses just now are given back when memory is needed.
                stat = dict(pair for row in _text(group / "memory.stat").splitlines() if len(pair := row.split()) == 2)
                idle = _number(stat.get("inactive_file", stat.get("total_inactive_file", ""))) or 0
                free.append(max(0, limit - max(0, (current or 0) - idle)))
            if version2:
                most, _, period = _text(group / "cpu.max").partition(" ")
            else:
                most, period = _text(group / "cpu.cfs_quota_us"), _text(group / "cpu.cfs_period_us")
            share, whole = _number(most), _number(period)
            if share and whole:
                quotas.append(share / whole)
    return limits, free, min(quotas, default=None)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError):  # absent, forbidden, or no file
        return ""


def _number(text: str) -> int | None:
    """A count above zero; 'max' and '-1' are none."""
    stripped = text.strip()
    return int(stripped) if stripped.isdecimal() and len(stripped) < 20 else None


def _binary(text: str) -> int | None:
    """'32768K' as bytes."""
    stripped = text.strip()
    factor = {"K": 2**10, "M": 2**20, "G": 2**30}.get(stripped[-1:], 1)
    number = _number(stripped.rstrip("KMG"))
    return number * factor if number else None


def _kibibytes(text: str) -> int | None:
    number = _number(text.replace("kB", ""))
    return number * 1024 if number else None


def _least(values: Iterable[int | None]) -> int | None:
    return min((value for value in values if value is not None), default=None)


# -- macOS -----------------------------------------------------------------------------------------------


def mac(ask: Callable[[str], str], cpus: frozenset[int]) -> System:
    """What `sysctl` tells. Chips with two kinds of cores list them as performance levels, 0 the faster."""

    def number(name: str) -> int:
        return _number(ask(name)) or 0

    cores = number("hw.physicalcpu") or len(cpus)
    caches = [(3, number("hw.l3cachesize"))]
    kinds = [f"hw.perflevel{level}" for level in range(number("hw.nperflevels"))]
    for kind in kinds:
        count, shared = number(f"{kind}.physicalcpu"), max(1, number(f"{kind}.cpusperl2"))
        caches += [(1, number(f"{kind}.l1dcachesize"))] * count
        caches += [(2, number(f"{kind}.l2cachesize"))] * math.ceil(count / shared)
    if not kinds:  # Intel: the first two levels are a core's own
        caches += [(1, number("hw.l1dcachesize")), (2, number("hw.l2cachesize"))] * cores
    levels, last = _levels((level, size) for level, size in caches if size)
    page, pages = number("hw.pagesize"), number("vm.page_free_count") + number("vm.page_speculative_count")
    # What files keep for later counts as free, but no figure tells how much of it that is.
    capacity = number("hw.memsize") or None
    free = max(page * pages, capacity // 4) if capacity else None
    name = ask("machdep.cpu.brand_string").strip() or platform.machine()
    return System(name, max(1, len(cpus)), cores, None, levels, last, capacity, free)


def _sysctl(name: str) -> str:
    try:
        told = subprocess.run(["sysctl", "-n", name], capture_output=True, text=True, timeout=2, check=False)
    except (OSError, subprocess.SubprocessError, ValueError):
        return ""
    return told.stdout if told.returncode == 0 else ""


# -- Windows ---------------------------------------------------------------------------------------------


class _MemoryStatus(ctypes.Structure):
    """MEMORYSTATUSEX."""

    _fields_ = [("length", ctypes.c_uint32), ("load", ctypes.c_uint32)] + [
        (name, ctypes.c_uint64)
        for name in ("total", "available", "total_page", "free_page", "total_virtual", "free_virtual", "extended")
    ]


def windows() -> System:
    """What the API of Windows tells."""
    count = len(usable())
    kernel = getattr(ctypes, "windll", None)
    cores, found, capacity, free = count, list[tuple[int, int]](), None, None
    if kernel is not None:
        cores, found = records(_processor_records(kernel.kernel32))
        status = _MemoryStatus(length=ctypes.sizeof(_MemoryStatus))
        if kernel.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
            capacity, free = int(status.total), int(status.available)
    name = _registry() or platform.processor()
    return System(name, count, min(cores or count, count), None, *_levels(found), capacity, free)


def records(raw: bytes) -> tuple[int, list[tuple[int, int]]]:
    """Cores, and level and bytes of each data cache, from what GetLogicalProcessorInformationEx fills in: records of
    a relation (0 a core, 2 a cache), their size, and the content."""
    cores, caches, at = 0, list[tuple[int, int]](), 0

    def number(place: int, size: int = 4) -> int:
        return int.from_bytes(raw[place : place + size], "little")

    while at + 8 <= len(raw):
        relation, size = number(at), number(at + 4)
        if size < 8:
            break
        if relation == 0:
            cores += 1
        elif relation == 2 and number(at + 16) in (0, 2):  # unified, data
            caches.append((raw[at + 8], number(at + 12)))
        at += size
    return cores, caches


def _processor_records(kernel: object) -> bytes:
    everything, size = 0xFFFF, ctypes.c_uint32(0)
    ask = kernel.GetLogicalProcessorInformationEx  # type: ignore[attr-defined]
    ask(everything, None, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    return buffer.raw if size.value and ask(everything, buffer, ctypes.byref(size)) else b""


def _registry() -> str:
    try:
        import winreg

        place = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, place) as key:  # type: ignore[attr-defined]
            return str(winreg.QueryValueEx(key, "ProcessorNameString")[0]).strip()  # type: ignore[attr-defined]
    except (ImportError, OSError):
        return ""


# -- measured --------------------------------------------------------------------------------------------


def steps(told: int | None, most: int) -> list[int]:
    """Sizes in bytes at which to look for the end of the last cache: around what the system tells, or everywhere;
    the last, the greatest, lies in the memory.

    >>> [size // 2**20 for size in steps(32 * 2**20, 128 * 2**20)]
    [2, 4, 6, 8, 12, 16, 24, 32, 128]
    """
    if told is None:
        sizes = [2**k * 1024 for k in range(8, 16)]
        return [size for size in sizes if size < most // 2] + [most]
    parts = (1 / 16, 1 / 8, 3 / 16, 1 / 4, 3 / 8, 1 / 2, 3 / 4, 1)
    sizes = sorted({int(told * part) // 4096 * 4096 for part in parts})
    return [size for size in sizes if 0 < size < most // 2] + [most]


def fits(rates: Sequence[tuple[int, float]]) -> int | None:
    """The greatest size, of (bytes, rate) in order, that still moves faster than what lies in the memory, which is
    the last. None where no size does.

    >>> fits([(2**20, 75e9), (2**21, 74e9), (2**22, 55e9), (2**23, 33e9), (2**26, 30e9)]) == 2**22
    True
    """
    *inside, (_, memory) = rates
    return next((size for size, rate in reversed(inside) if rate > ABOVE_MEMORY * memory), None)
