"""A million design points through `dnnlab.sweep`, beside SymPy's `subs`, a Python loop and `lambdify`."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

from .harness import Candidate, Finding, Progress, Result, Spread, answers, in_turn, ratio, timed

NAME = "sweeps"
ABOUT = (
    "A million combinations of batch, filters and channels, values of each formula: `sweep` (a first call with its "
    "compilation, then the median of five), against one point at a time with SymPy's `subs` (200 points) and in a "
    "plain Python loop (100 000), and against a function that SymPy's `lambdify` makes, with its arrays given."
)
AXES = {"n": range(1, 101), "k": range(16, 1616, 16), "c": range(8, 808, 8)}
WORDS = {"convolution": "operations of a convolution", "bound": "time of a linear layer", "tiles": "rounds of tiles"}


def measure(repeats: int, progress: Progress) -> Result:
    """Points a second of each way, in fresh processes."""
    candidate = Candidate("sweep", ("-m", "benchmarks.sweeps"), ("dnnlab", "numpy"))
    runs, skipped = in_turn([candidate], repeats, progress)
    raw = answers(runs.get(candidate.name, []))
    findings: list[Finding] = []
    for formula, words in WORDS.items() if raw else ():
        rounds = [answer[formula] for answer in raw]
        rate = {who: [found["points"] / found["wall"] for found in (r[who] for r in rounds)] for who in rounds[0]}
        alone = [r["sweep"]["points"] / r["sweep"]["processor"] / 1e6 for r in rounds]
        unit, target = "million points/s", (">=", 10.0)
        findings += [
            Finding(f"{words}, sweep", Spread.of(value / 1e6 for value in rate["sweep"]), unit, target),
            Finding(f"{words}, sweep, processor time", Spread.of(alone), unit, target),
            Finding(f"{words}, first call", Spread.of(r["first"]["wall"] for r in rounds), "s"),
            Finding(f"{words}, times as fast as subs", ratio(rate["sweep"], rate["subs"]), "×", (">=", 2000)),
            Finding(f"{words}, times as fast as a loop", ratio(rate["sweep"], rate["loop"]), "×"),
            Finding(f"{words}, times as fast as lambdify", ratio(rate["sweep"], rate["lambdify"]), "×"),
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


def once() -> dict[str, dict[str, dict[str, float]]]:
    """Points and seconds of each way for each formula, in this process; the values are compared."""
    import numpy
    from sympy import lambdify

    from dnnlab.sweep import sweep

    grid = list(itertools.product(*AXES.values()))
    few, many = grid[:: len(grid) // 200], grid[:: len(grid) // 100_000]
    mesh = numpy.ix_(*(numpy.array(axis) for axis in AXES.values()))
    answer = {}
    for name, (expression, plain) in formulas().items():
        free = {str(symbol): symbol for symbol in expression.free_symbols}
        symbols = [free[axis] for axis in AXES]
        function = lambdify(symbols, expression, "numpy")
        ways: dict[str, tuple[int, Callable[[], Any]]] = {
            "first": (len(grid), partial(sweep, expression, **AXES)),
            "sweep": (len(grid), partial(sweep, expression, **AXES)),
            "lambdify": (len(grid), partial(function, *mesh)),
            "loop": (len(many), partial(_loop, plain, many)),
            "subs": (len(few), partial(_substitute, expression, symbols, few)),
        }
        found = {
            who: [timed(way) for _ in range(5 if who in ("sweep", "lambdify") else 1)] for who, (_, way) in ways.items()
        }
        results = {who: several[0][2] for who, several in found.items()}
        values = numpy.asarray(results["sweep"].values).reshape(-1)
        for who, points in (("loop", many), ("subs", few)):
            if not numpy.allclose(values[:: len(grid) // len(points)], numpy.array(results[who], float), rtol=1e-12):
                raise RuntimeError(f"{name}: sweep and {who} differ")
        answer[name] = {
            who: {
                "points": points,
                "wall": median(wall for wall, _, _ in found[who]),
                "processor": median(processor for _, processor, _ in found[who]),
            }
            for who, (points, _) in ways.items()
        }
    return answer


def _loop(function: Callable[..., float], points: list[tuple[int, ...]]) -> list[float]:
    return [function(*point) for point in points]


def _substitute(expression: Any, symbols: list[Any], points: list[tuple[int, ...]]) -> list[Any]:
    return [expression.subs(dict(zip(symbols, point, strict=True))) for point in points]


if __name__ == "__main__":
    print(json.dumps(once()))
