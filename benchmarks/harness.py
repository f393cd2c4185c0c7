"""Fresh processes, run in turn, and what they took: the part that all benchmarks share.

Whoever measures stays small: the peak memory of a child includes what its parent held when it was started, so this
process imports neither dnnlab nor any peer.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Run:
    """One process: wall time and processor time in seconds, peak resident bytes, output. What the system does not
    tell is None."""

    seconds: float
    processor: float | None
    peak: int | None
    output: str


@dataclass(frozen=True)
class Spread:
    """Least, median and greatest of repeated measurements."""

    least: float
    median: float
    greatest: float
    repeats: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """The spread of some values, at least one."""
        found = sorted(values)
        return cls(found[0], statistics.median(found), found[-1], len(found))

    def __str__(self) -> str:
        return f"{number(self.median)} ({number(self.least)} … {number(self.greatest)})"


@dataclass(frozen=True)
class Finding:
    """A measured quantity; with a target it says whether the median meets it ("<=" or ">=")."""

    what: str
    spread: Spread
    unit: str
    target: tuple[str, float] | None = None

    @property
    def met(self) -> bool | None:
        """Whether the median meets the target; None without one."""
        if self.target is None:
            return None
        sign, bound = self.target
        return self.spread.median <= bound if sign == "<=" else self.spread.median >= bound


@dataclass(frozen=True)
class Result:
    """What one benchmark found, what it could not run and why, and the raw numbers."""

    name: str
    about: str
    findings: tuple[Finding, ...]
    skipped: Mapping[str, str] = field(default_factory=dict)
    raw: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Candidate:
    """Something to run: a command line behind the Python interpreter, and the packages it needs."""

    name: str
    arguments: tuple[str, ...]
    needs: tuple[str, ...] = ()

    @property
    def missing(self) -> str | None:
        """Why it cannot run, or None."""
        absent = [package for package in self.needs if importlib.util.find_spec(package) is None]
        return f"{', '.join(absent)} not installed (the extra `bench` has it)" if absent else None


Progress = Callable[[str], None]


def run(arguments: Iterable[str], limit: float = 300) -> Run:
    """Run Python with these arguments in a fresh process; `RuntimeError` with its complaint if it fails."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "COLUMNS": "120"}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as complaint:
        begin = time.perf_counter()
        child = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=complaint,
        )
        processor, peak = None, None
        try:
            if hasattr(os, "wait4"):
                processor, peak = _wait(child, begin + limit)
            else:
                child.wait(limit)
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
        seconds = time.perf_counter() - begin
        out.seek(0)
        complaint.seek(0)
        if child.returncode:
            raise RuntimeError(f"{' '.join(arguments)}: {complaint.read().decode(errors='replace')[-2000:]}")
        return Run(seconds, processor, peak, out.read().decode(errors="replace"))


def _wait(child: subprocess.Popen[bytes], deadline: float) -> tuple[float | None, int | None]:
    """Wait for a child and return its processor time and its peak resident bytes."""
    while time.perf_counter() < deadline:
        pid, status, usage = os.wait4(child.pid, os.WNOHANG)
        if pid:
            child.returncode = os.waitstatus_to_exitcode(status)
            return usage.ru_utime + usage.ru_stime, int(usage.ru_maxrss) * (1 if sys.platform == "darwin" else 1024)
        time.sleep(0.001)
    return None, None  # it ran out of time


def in_turn(
    candidates: Iterable[Candidate], repeats: int, progress: Progress
) -> tuple[dict[str, list[Run]], dict[str, str]]:
    """Run the candidates one after the other, `repeats` rounds after a first that warms the caches of the disk.

    Taking turns spreads what else the machine does over all of them. Returns the runs and, for those that could
    not run, the reason.
    """
    runs: dict[str, list[Run]] = {}
    skipped: dict[str, str] = {}
    for candidate in candidates:
        if candidate.missing:
            skipped[candidate.name] = candidate.missing
        else:
            runs[candidate.name] = []
    able = [candidate for candidate in candidates if candidate.name in runs]
    for turn in range(repeats + 1):
        for candidate in able:
            progress(f"{'warm-up' if turn == 0 else f'round {turn} of {repeats}'}: {candidate.name}")
            if candidate.name in skipped:
                continue
            try:
                found = run(candidate.arguments)
            except RuntimeError as error:
                skipped[candidate.name] = str(error).strip().splitlines()[-1].replace(str(ROOT), ".")
                del runs[candidate.name]
                continue
            if turn:
                runs[candidate.name].append(found)
    return runs, skipped


def ratio(ours: Iterable[float], theirs: Iterable[float]) -> Spread:
    """The spread of ours / theirs, round by round."""
    return Spread.of(a / b for a, b in zip(ours, theirs, strict=True))


def timed(function: Callable[[], Any]) -> tuple[float, float, Any]:
    """Wall time and processor time of a call in this process, in seconds, and its result."""
    wall, processor = time.perf_counter(), time.process_time()
    found = function()
    return time.perf_counter() - wall, time.process_time() - processor, found


def answers(runs: Iterable[Run]) -> list[Any]:
    """What processes printed on their last line, as JSON."""
    return [json.loads(found.output.strip().splitlines()[-1]) for found in runs]


def number(value: float) -> str:
    """Three digits.

    >>> number(0.01234), number(12345678.0), number(2.5)
    ('0.0123', '1.23e+07', '2.5')
    """
    return f"{value:.3g}"


def machine() -> dict[str, Any]:
    """The machine and the versions, without names of hosts, people and folders."""
    packages = {}
    for name in ("dnnlab", "sympy", "numpy", "torch", "fvcore", "torchinfo"):
        if importlib.util.find_spec(name) is not None:
            try:
                packages[name] = version(name)
            except Exception:  # an uninstalled checkout has no metadata
                packages[name] = "checkout"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "logical_processors": os.cpu_count(),
        "memory_bytes": memory,
        "load_average_at_start": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "packages": packages,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
