"""What probes of all libraries share: how often, and how large, a piece of work is done."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

#: Evaluations, and bytes, that a piece of work in the cache goes through: many, so that few of them begin outside it.
EVALUATIONS, CROSSING = 4e6, 4e8
OFTEN = 8  # times as many of those hardly slower than moving their numbers
CALLS = 1000  # on a few numbers
# Of a matrix product: above about 1000 the rate grows no more than it varies. A smaller one where that takes too long.
_SIZES, _LONGEST, _SHORTEST = (1024, 512, 256), 0.12, 0.03


def repeated(work: Callable[[], object], times: int) -> Callable[[], None]:
    """The work, several times."""

    def run() -> None:
        for _ in range(times):
            work()

    return run


def sized(product: Callable[[int], Callable[[], object]]) -> dict[str, tuple[float, Callable[[], object]]]:
    """The largest product that does not take too long, judged by the smallest; several of them where it is short."""
    small = min(_SIZES)
    run = product(small)
    run()  # code is loaded, threads are started
    rate = small**3 / min(_seconds(run) for _ in range(5))
    n = next((n for n in _SIZES if n**3 / rate <= _LONGEST), small)
    times = max(1, round(_SHORTEST * rate / n**3))
    return {f"{n} × {n}": (2.0 * n**3 * times, repeated(product(n), times))}


def _seconds(run: Callable[[], object]) -> float:
    begin = perf_counter()
    run()
    return max(perf_counter() - begin, 1e-9)
