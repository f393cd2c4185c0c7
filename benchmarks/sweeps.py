"""A million design points through `dnnlab.sweep`, beside SymPy's `subs`, a Python loop and `lambdify`."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from .harness import Candidate, Finding, Progress, Result, Spread, answers, in_turn

NAME = "sweeps"
ABOUT = (
    "A million combinations of batch, filters and channels, values of each formula: `sweep` (a first call with its "
    "compilation, then the median of five), against one point at a time with SymPy's `subs` (200 points) and in a "
    "plain Python loop (100 000), and against a function that SymPy's `lambdify` makes, with its arrays given."
)
AXES = {"n": range(1, 101), "k": range(16, 1616, 16), "c": range(8, 808, 8)}
WORDS = {"convolution": "operations of a convolution", "bound": "time of a linear layer", "tiles": "rounds of tiles"}


def measure(repeats: int, progress: Progress) -> Result:
    """Points a second, fresh processes."""
    candidate = Candidate("sweep", ("-m", "benchmarks.sweeps"), ("dnnlab", "numpy"))
    runs, skipped = in_turn([candidate], repeats, progress)
    raw = answers(runs.get("sweep", []))
    findings = []
    for name in WORDS if raw else ():
        rounds = [answer[name] for answer in raw]

        def rate(who: str, rounds: list[Any] = rounds) -> list[float]:
            return [found["points"][who] / found["seconds"][who] for found in rounds]

        def times(who: str, rate: Any = rate) -> Spread:
            return Spread.of(a / b for a, b in zip(rate("sweep"), rate(who), strict=True))

        million = [value / 1e6 for value in rate("sweep")]
        findings += [
            Finding(f"{WORDS[name]}: sweep", Spread.of(million), "million points/s", (">=", 10)),
            Finding(f"{WORDS[name]}: first call", Spread.of(found["seconds"]["first"] for found in rounds), "s"),
            Finding(f"{WORDS[name]}: times as fast as subs", times("subs"), "×", (">=", 2000)),
            Finding(f"{WORDS[name]}: times as fast as a Python loop", times("loop"), "×"),
            Finding(f"{WORDS[name]}: times as fast as lambdify", times("lambdify"), "×"),
        ]
    return Result(NAME, ABOUT, tuple(findings), skipped, {"rounds": raw})


def formulas() -> dict[str, tuple[Any, Any]]:
    """Each formula as SymPy has it, and as a Python function of n, k and c."""
    from sympy import Max, ceiling

    from dnnlab import Conv2d, Linear

    conv, linear = Conv2d().at(h=56, w=56, r=3, s=3), Linear()
    n, k = linear.n, linear.k
    peak, bandwidth = 10**15, 3 * 10**12
    return {
        "convolution": (conv.ops, lambda n, k, c: 2 * n * k * c * 9 * 56 * 56),
        "bound": (
            Max(linear.ops / peak, 2 * linear.traffic / bandwidth),
            lambda n, k, c: max(2 * n * k * c / peak, 2 * (n * c + k * c + n * k) / bandwidth),
        ),
        "tiles": (
            ceiling(n / 16) * ceiling(k / 128) * linear.c,
            lambda n, k, c: -(-n // 16) * -(-k // 128) * c,
        ),
    }


def _time(function: Any) -> tuple[float, Any]:
    begin = time.perf_counter()
    found = function()
    return time.perf_counter() - begin, found


def _points(count: int) -> list[tuple[int, int, int]]:
    """Points from all over the grid."""
    import itertools

    grid = list(itertools.product(*AXES.values()))
    return grid[:: len(grid) // count][:count]


def once() -> dict[str, Any]:
    """Seconds of each way for each formula, in this process, after the values were compared."""
    import numpy
    from sympy import lambdify

    from dnnlab.sweep import sweep

    answer = {}
    for name, (expression, plain) in formulas().items():
        free = {str(symbol): symbol for symbol in expression.free_symbols}
        first, _ = _time(lambda e=expression: sweep(e, **AXES))
        again = [_time(lambda e=expression: sweep(e, **AXES)) for _ in range(5)]
        values = numpy.asarray(again[-1][1].values)
        few, many = _points(200), _points(100_000)
        subs, slow = _time(lambda e=expression, f=free, p=few: [e.subs(dict(zip(f.values(), q, strict=True))) for q in _named(f, p)])
        loop, fast = _time(lambda f=plain, p=many: [f(*point) for point in p])
        grid = numpy.ix_(*(numpy.array(axis) for axis in AXES.values()))
        function = lambdify([free[axis] for axis in AXES], expression, "numpy")
        arrays = sorted(_time(lambda f=function, g=grid: f(*g)) for _ in range(5)) if False else [
            _time(lambda f=function, g=grid: f(*g)) for _ in range(5)
        ]
        flat = values.reshape(-1)
        step = len(flat) // len(many)
        if not numpy.allclose(flat[::step][: len(many)], fast, rtol=1e-12):
            raise RuntimeError(f"{name}: sweep and the loop differ")
        step = len(flat) // len(few)
        if not numpy.allclose(flat[::step][: len(few)], [float(value) for value in slow], rtol=1e-12):
            raise RuntimeError(f"{name}: sweep and subs differ")
        seconds = {
            "first": first,
            "sweep": sorted(value for value, _ in again)[2],
            "subs": subs,
            "loop": loop,
            "lambdify": sorted(value for value, _ in arrays)[2],
        }
        points = {"sweep": len(flat), "subs": len(few), "loop": len(many), "lambdify": len(flat)}
        answer[name] = {"seconds": seconds, "points": points}
    return answer


def _named(free: dict[str, Any], points: list[tuple[int, int, int]]) -> list[list[int]]:
    """The points in the order of the formula's symbols."""
    places = [list(AXES).index(name) for name in free]
    return [[point[place] for place in places] for point in points]


if __name__ == "__main__":
    print(json.dumps(once()))
    sys.exit()
