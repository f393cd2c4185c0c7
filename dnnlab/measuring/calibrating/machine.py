"""This machine as a `Device`: measured once, and kept in a file for the next time.

The file is `dnnlab-machine.json` in the folder of the notebook; the environment's DNNLAB_MACHINE names another place.
It counts for the machine and the libraries it was measured with: on others everything is measured anew.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

from ...hardware import CONFIDENCE, Device, Fact
from ...quantities import positive
from ...records import keep, set_aside
from ..progress import Progress, shown
from ..timing import kept_memory
from . import torch_rates
from .assembling import assemble, built
from .caches import System, steps, system, usable
from .disk import Disk, reading
from .others import use
from .turns import REFUSALS, Probe, reason, take_turns

FILE = "dnnlab-machine.json"
#: Another number where a figure is measured in another way: files with an older one are measured anew.
METHOD = 4
# Bytes of an array in memory: this many times the last cache, within these bounds and this share of what is free.
_TIMES_CACHE, _LEAST_ARRAY, _MOST_ARRAY, _SHARE = 4, 16 * 2**20, 256 * 2**20, 16
_USUAL_CACHE, _USUAL_MEMORY = 8 * 2**20, 2**30  # where the system does not tell
_FRESH = 48 * 2**20  # more than any allocator keeps for the next time
# Of the seconds, what is left for the rounds however long the libraries took to load.
_AT_LEAST = 0.25


def this_machine(fresh: bool = False, seconds: float | str = 15, progress: Progress | None = None) -> Device:
    """This machine as a `Device`, measured in about `seconds` the first time, then read from its file.

    Peak rates (operations a second, by dtype) are the greatest seen in matrix products; bandwidths (bytes a second) the
    medians of loops like STREAM's, where a line that is fetched before it is written counts twice. `fresh` measures
    anew. `progress` takes the part that is done and what is being done; without one a bar is shown to whoever waits.
    What the system does not let us measure is left out, and the notes say why. Raises ExtentError for seconds that are
    not above zero, DnnlabError where they do not suffice for a single matrix product.

    >>> mine = this_machine()  # doctest: +SKIP
    >>> mine.fact("bandwidth_one").note  # doctest: +SKIP
    '23.9 GB/s (23.4 GB/s … 24.6 GB/s, 9 times): copy 24.8 GB/s, scale 24.2 GB/s, add 23.9 GB/s, update 23.3 GB/s'
    """
    limit = positive(seconds, "s", "time to measure this machine")
    here = system()
    known = fingerprint(here)
    path = Path(os.environ.get("DNNLAB_MACHINE") or FILE)
    kept, why = (None, "") if fresh else read(path, known)
    if kept is not None:
        return kept
    with shown(progress) as step:
        device = measured(here, limit, lambda part, doing: step(part, f"{why}{doing}"))
    refusal = write(path, known, device)
    return replace(device, notes=(*device.notes, refusal)) if refusal else device


def fingerprint(here: System) -> dict[str, Any]:
    """What the figures depend on, as JSON knows it."""
    return {
        "method": METHOD,
        "system": platform.system(),
        "processor": here.name,
        "threads": here.threads,
        "quota": here.quota,
        # In whole GiB: the last megabytes differ from one start of a system to the next.
        "memory": None if here.capacity is None else round(here.capacity / 2**30),
        "numpy": _version("numpy"),
        "torch": _version("torch"),
    }


def _version(package: str) -> str | None:
    """Its version, without importing it; None where it is not installed."""
    if find_spec(package) is None:
        return None
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


# -- the file --------------------------------------------------------------------------------------------


def read(path: Path, known: Mapping[str, Any]) -> tuple[Device | None, str]:
    """The device that was kept, or None and what to say about it. A file that cannot be read is kept aside."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        changed = [name for name, value in known.items() if content["fingerprint"].get(name) != value]
        if changed:
            return None, f"measured anew, for {' and '.join(changed)} changed: "
        return built(str(content["name"]), [_fact(entry) for entry in content["facts"]], content["notes"]), ""
    except FileNotFoundError:
        return None, ""
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        try:
            return None, f"{path.name} cannot be read and is now {set_aside(path).name}: "
        except OSError:
            return None, ""  # writing will tell


def _fact(entry: Mapping[str, Any]) -> Fact:
    fact = Fact(**(dict(entry) | {"source": tuple(entry["source"])}))
    texts = (fact.name, fact.unit, fact.date, fact.note, *fact.source)
    if not all(isinstance(text, str) for text in texts) or fact.confidence not in CONFIDENCE:
        raise ValueError("no fact")
    return replace(fact, value=positive(fact.value, fact.unit, fact.name))


def write(path: Path, known: Mapping[str, Any], device: Device) -> str:
    """Keep the device; what to say where that does not work."""
    content = {
        "fingerprint": known,
        "name": device.name,
        "facts": [asdict(fact) for fact in device.facts],
        "notes": device.notes,
    }
    try:
        keep(path, content)
    except OSError as error:
        told = error.strerror or str(error)
        return f"These figures could not be kept in {path.name} ({told}); DNNLAB_MACHINE can name another file."
    return ""


# -- measuring -------------------------------------------------------------------------------------------


def measured(here: System, seconds: float, step: Progress, clock: Callable[[], float] = perf_counter) -> Device:
    """The machine measured in about `seconds`, which begin before the libraries are loaded."""
    begin = clock()
    notes: list[str] = []

    def tell(doing: str) -> None:
        step((clock() - begin) / seconds, doing)

    with ExitStack() as stack:
        stack.enter_context(kept_memory())  # as `measure` does
        tell("loading PyTorch")
        if array_bytes(here) < _TIMES_CACHE // 2 * _last(here):
            notes.append(
                "The arrays were hardly larger than the caches, so the bandwidth of the memory may be too high."
            )
        makers = _makers(here, stack.enter_context(crew(here)), _torch_threads(here, notes) > 0)
        probes = _made(makers, tell, notes)
        disk = _disk(stack, tell, notes)
        probes += [disk.probe] if disk else []
        until = max(begin + seconds, clock() + _AT_LEAST * seconds)
        start, before = clock(), use()
        found = take_turns(probes, until, clock, tell)
        missing = before.missing(use(), here.busy * (clock() - start))
    return assemble(here, found, disk, notes, missing)


def crew(here: System) -> ThreadPoolExecutor:
    """A thread for each processor, and where the system allows it each on one of its own: the system needs a tenth of
    a second to spread them otherwise."""
    places = iter(sorted(usable()))

    def settle_down() -> None:
        if here.busy == here.threads and hasattr(os, "sched_setaffinity"):
            with suppress(OSError, StopIteration):
                os.sched_setaffinity(0, {next(places)})  # 0: this thread alone

    return ThreadPoolExecutor(here.busy, initializer=settle_down)


Maker = tuple[str, Callable[[], Sequence[Probe]]]


def _torch_threads(here: System, notes: list[str]) -> int:
    """Threads that PyTorch works with; 0 where it is missing or does not load, and a note about it."""
    if _version("torch") is None:
        notes.append('Without PyTorch, its figures are missing: pip install "dnnlab[torch]".')
        return 0
    try:
        import torch

        threads = int(torch.get_num_threads())
    except REFUSALS as error:
        notes.append(f"PyTorch does not load, so its figures are missing ({reason(error)}).")
        return 0
    if threads != here.cores:
        notes.append(f"PyTorch works with {threads} thread{'s' if threads != 1 else ''} here.")
    return threads


def _makers(here: System, pool: ThreadPoolExecutor, with_torch: bool) -> list[Maker]:
    """What can be measured here, the most important first: for that there is time in a very short measurement."""
    from . import numpy_rates

    blas: list[Maker] = [(f"{d} in NumPy", lambda d=d: [numpy_rates.product(d)]) for d in ("fp32", "fp64")]  # type: ignore[misc]
    blas.append(("small matrix products in NumPy", lambda: [numpy_rates.pieces()]))
    memory: list[Maker] = [("memory", lambda: _memory(here, pool, with_torch))]
    numpy: list[Maker] = [
        ("fresh memory in NumPy", lambda: [numpy_rates.allocation(_FRESH)]),
        ("calls of NumPy", lambda: [numpy_rates.overhead()]),
        ("functions in NumPy", lambda: numpy_rates.functions(2**18)),
    ]
    if not with_torch:
        return [*blas, *memory, *numpy]
    torch: list[Maker] = [("memory", lambda: _torch_memory(here))]
    torch += [
        (f"{d} in PyTorch", lambda d=d: [torch_rates.product(d)])  # type: ignore[misc]
        for d in ("fp32", "fp64", "bf16", "fp16")
    ]
    torch.append(("convolutions in PyTorch", lambda: [torch_rates.convolution()]))
    torch.append(("fresh memory in PyTorch", lambda: [torch_rates.allocation(_FRESH)]))
    torch.append(("calls of PyTorch", lambda: [torch_rates.overhead()]))
    torch.append(("filters in PyTorch", lambda: [torch_rates.relaid()]))
    torch.append(("functions in PyTorch", lambda: torch_rates.functions(2**19)))
    # Side by side what one crew of threads does: nobody's shall wait for those of another.
    return [*blas, *memory, *torch, *numpy]


def _made(makers: Sequence[Maker], tell: Callable[[str], None], notes: list[str]) -> list[Probe]:
    """The probes that can be made ready; a note for each that cannot."""
    probes: list[Probe] = []
    for name, make in makers:
        tell(f"making ready: {name}")
        try:
            probes += make()
        except REFUSALS as error:
            notes.append(f"There are no figures for {name} ({reason(error)}).")
    return probes


def _memory(here: System, pool: ThreadPoolExecutor, with_torch: bool) -> list[Probe]:
    """Streams through three arrays in memory and through three that fit the last cache, and the staircase of the
    caches. Those of all threads are left to PyTorch where it is there."""
    import numpy as np

    from . import numpy_rates

    size = array_bytes(here)
    small = min(size, (here.last or _USUAL_CACHE) // 12)  # the three fill a quarter
    # Arrays of their own: parts of the large ones would begin at the same place of a page and push each other out.
    arrays, cached = ([np.ones(bytes // 4, np.float32) for _ in range(3)] for bytes in (size, small))
    all_threads = []
    if not with_torch:
        all_threads = [
            numpy_rates.streams("bandwidth", "memory, all threads", size, here.busy, pool, arrays),
            numpy_rates.streams("cache_bandwidth", "cache, all threads", small, here.busy, pool, cached),
        ]
    return [
        *all_threads,
        numpy_rates.streams("bandwidth_one", "memory, one thread", size, 1, pool, arrays),
        numpy_rates.streams("cache_bandwidth_one", "cache, one thread", small, 1, pool, cached),
        *numpy_rates.staircase(steps(here.last, size), arrays[0]),
    ]


def _torch_memory(here: System) -> list[Probe]:
    """Streams of all threads. Python's threads take turns at its lock, which counts where arrays are small."""
    size = array_bytes(here)
    return [
        torch_rates.streams("bandwidth", "memory, all threads", size),
        torch_rates.streams("cache_bandwidth", "cache, all threads", min(size, (here.last or _USUAL_CACHE) // 12)),
    ]


def array_bytes(here: System) -> int:
    """Bytes of an array past the caches: four times the last ones, and a sixteenth of what is free at the most:
    NumPy and PyTorch have three each.

    >>> array_bytes(System("laptop", 8, 8, caches={1: 1 << 18, 3: 12 << 20}, free=8 << 30)) >> 20
    48
    """
    room = (here.free or here.capacity or _USUAL_MEMORY) // _SHARE
    return max(2**20, min(room, _MOST_ARRAY, max(_TIMES_CACHE * _last(here), _LEAST_ARRAY)) // 4096 * 4096)


def _last(here: System) -> int:
    """Bytes of the last level of the caches."""
    return here.caches[max(here.caches)] if here.caches else _USUAL_CACHE


def _disk(stack: ExitStack, tell: Callable[[str], None], notes: list[str]) -> Disk | None:
    """A file to read from, in this folder or else in that for temporary files."""
    reasons = []
    for folder in (Path(), Path(tempfile.gettempdir())):
        tell("making ready: a file to read from the disk")
        try:
            return stack.enter_context(reading(folder))
        except REFUSALS as error:
            reasons.append(reason(error))
    notes.append(f"The disk was not measured ({'; '.join(dict.fromkeys(reasons))}).")
    return None
