"""A clock for calls: repeated in the steady state, memory warmed, told with their spread."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from mmap import PAGESIZE
from time import perf_counter, process_time, sleep
from typing import Any

from ..errors import ExtentError, quote
from ..quantities import show

#: A call shorter than this is repeated within one reading of the clock, if that takes about 0.1 µs.
TICK = 20e-6
#: Bytes up to which memory that was freed is used again anyway: glibc's limit.
SMALL = 128 * 1024
# Threads of a library count as idle when the process was so for two naps of this many seconds; we wait no longer.
_NAP, _PATIENCE = 8e-3, 0.4
# glibc's names for its settings, from malloc.h, and the values it starts with.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_STARTED_WITH = {_TRIM_THRESHOLD: SMALL, _MMAP_MAX: 65536}
_KEEPING = {_TRIM_THRESHOLD: 2**31 - 1, _MMAP_MAX: 0}


@dataclass(frozen=True)
class Spread:
    """Repeated measurements of one quantity: the least, the quartiles, the greatest, and how many there are."""

    least: float
    lower: float
    median: float
    upper: float
    greatest: float
    repeats: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """The spread of some values, at least one; quartiles lie between neighbours.

        >>> Spread.of([4, 1, 2, 3, 10])
        Spread(least=1, lower=2, median=3, upper=4, greatest=10, repeats=5)
        """
        found = sorted(values)
        if not found:
            raise ExtentError("a spread needs at least one measurement")

        def between(share: float) -> float:
            place = share * (len(found) - 1)
            low = int(place)
            part = place - low
            return found[low] if not part else found[low] * (1 - part) + found[low + 1] * part

        return cls(found[0], between(0.25), between(0.5), between(0.75), found[-1], len(found))

    def turned(self, amount: float) -> Spread:
        """Seconds of a piece of work turned into its rate, `amount` a second: the shortest time is the greatest rate.

        >>> Spread.of([1.0, 2.0, 4.0]).turned(8).greatest
        8.0
        """
        times = (self.greatest, self.upper, self.median, self.lower, self.least)
        least, lower, median, upper, greatest = (amount / time for time in times)
        return Spread(least, lower, median, upper, greatest, self.repeats)

    def text(self, unit: str) -> str:
        """The median, with the quartiles and the number of repeats.

        >>> Spread.of([0.001, 0.002, 0.003]).text("s")
        '2 ms (1.5 ms … 2.5 ms, 3 times)'
        """
        return f"{show(self.median, unit)} ({show(self.lower, unit)} … {show(self.upper, unit)}, {self.repeats} times)"


def steady(
    call: Callable[[], Any],
    seconds: float = 0.2,
    least: int = 7,
    clock: Callable[[], float] = perf_counter,
    tick: float = TICK,
) -> Spread:
    """Seconds of one call, in the steady state: the first two runs (pages touched, caches and code warm) do not count;
    then it runs for about `seconds`, at least `least` times. A call shorter than a `tick` is run many times a reading.
    `clock` tells seconds and waits for whatever still runs.

    >>> steady(lambda: sum(range(1000)), seconds=0.01).repeats >= 7
    True
    """
    if seconds <= 0 or least < 1:
        raise ExtentError(f"a measurement needs some seconds and repeats, got {quote(seconds)} and {quote(least)}")
    call()
    begin = clock()
    call()
    once = clock() - begin
    inner = 1 if once >= tick else max(1, round(tick / max(once, 1e-9)))
    times: list[float] = []
    begin = clock()
    while len(times) < least or clock() - begin < seconds:
        start = clock()
        for _ in range(inner):
            call()
        times.append((clock() - start) / inner)
    return Spread.of(times)


def settled() -> None:
    """Wait until the threads of this process are idle.

    A library's threads wait for more work by running in circles: those of OpenBLAS, which does NumPy's matrix
    products, for about 0.1 s. Until they give up they take processors away from another library's threads: on two
    processors a matrix product of PyTorch right after one of NumPy takes three times as long.
    """
    idle, begin = 0, perf_counter()
    while idle < 2 and perf_counter() - begin < _PATIENCE:
        start, used = perf_counter(), process_time()
        sleep(_NAP)
        idle = idle + 1 if process_time() - used < 0.2 * (perf_counter() - start) else 0


@contextmanager
def kept_memory() -> Iterator[bool]:
    """While inside, memory that was freed stays with the process, so that a result of hundreds of megabytes does
    not begin with the system clearing fresh pages for it; yields whether that works here.

    A network in training gets the same from the framework's own allocator. It works with glibc on Linux; elsewhere
    nothing changes, and the time of large results includes `allocation`.
    """
    try:
        yield _set(_KEEPING)
    finally:
        _set(_STARTED_WITH)


def give_back(address: int, size: int) -> bool:
    """Give the whole pages among `size` bytes back to the system, which loses what is in them: whoever writes there
    next gets fresh ones. Whether that works here."""
    libc = _glibc()
    first, end = -(-address // PAGESIZE) * PAGESIZE, (address + size) // PAGESIZE * PAGESIZE
    if libc is None or end <= first:
        return False
    dont_need = 4  # MADV_DONTNEED of sys/mman.h
    return bool(libc.madvise(ctypes.c_void_p(first), ctypes.c_size_t(end - first), dont_need) == 0)


def _set(settings: Mapping[int, int]) -> bool:
    """Set up how memory is allocated; whether that works here. What is free goes back to the system."""
    libc = _glibc()
    if libc is None:
        return False
    taken = all([libc.mallopt(setting, value) for setting, value in settings.items()])
    libc.malloc_trim(0)
    return taken


def _glibc() -> Any:
    if not sys.platform.startswith("linux"):
        return None
    try:
        libc = ctypes.CDLL("libc.so.6")
        return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
    except OSError:  # another C library
        return None
