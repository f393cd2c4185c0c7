"""What topic 8 asks about measured times: shares of a roof, overhead, what explains a row, copies of windows."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from itertools import product
from random import Random
from typing import Any

import sympy

from .... import Conv2d, Device, Linear, LoopNest, ReLU, Sigmoid, on, symbol
from ....bounds import LayerTime
from ....notation import expression
from ....quantities import bytes_of, read_quantity, show
from ...questions import Given, Step

WIDTH = bytes_of("fp32")


def calibrated(arithmetic: Any, memory: Any) -> Device:
    return Device("calibrated", {"fp32": arithmetic}, bandwidth=memory)


def at_best(layer: Any, machine: Device) -> LayerTime:
    time = on(layer, machine, "fp32")
    assert isinstance(time, LayerTime)
    return time


# -- 8.3: a share of the roof ----------------------------------------------------------------------------------------

LAYERS = {
    str(layer): layer
    for layer in (
        Linear(n=4, k=4096, c=4096),
        Linear(n=16, k=1000, c=25088),
        Conv2d(n=16, k=64, c=64, h=56, w=56, r=1, s=1),
        Conv2d(n=8, k=64, c=3, h=224, w=224, r=3, s=3),
    )
}


@cache
def roofs() -> tuple[tuple[str, str, str], ...]:
    """Rates, and layers that clearly wait for one of the two there, while the other still counts."""
    found = []
    for text, rate, bandwidth in product(LAYERS, (60, 150, 400, 900), (18, 25, 40)):
        machine = f"{rate} GFLOP/s", f"{bandwidth} GB/s"
        time = at_best(LAYERS[text], calibrated(*machine))
        if 1.4 <= max(time.compute / time.memory, time.memory / time.compute) <= 8:
            found.append((*machine, text))
    return tuple(found)


def layer_timed(random: Random) -> Given:
    arithmetic, memory, text = random.choice(roofs())
    best = at_best(LAYERS[text], calibrated(arithmetic, memory)).total
    times = {"measured": show(float(best) / random.uniform(0.4, 0.92), "s", digits=4)}
    return {"arithmetic": arithmetic, "memory": memory, "layer": text, **times}


def on_roofs(given: Given) -> LayerTime:
    return at_best(LAYERS[given["layer"]], calibrated(given["arithmetic"], given["memory"]))


def reached(given: Given, of: Any = max) -> float:
    """The best case over what was measured; `of` makes the best case of the two times."""
    time = on_roofs(given)
    return float(of((time.compute, time.memory))) / read_quantity(given["measured"], "s")


def reached_steps(given: Given) -> list[Step]:
    time = on_roofs(given)
    return [
        Step("Arithmetic:", f"{show(time.ops, 'OP')} in {show(time.compute, 's')}"),
        Step("Memory (weights, inputs and outputs once each):", f"{show(time.bytes, 'B')} in {show(time.memory, 's')}"),
        Step("At best both work at once, and the slower sets the time:", show(time.total, "s")),
        Step(f"Measured: {given['measured']}. The share of the roof:", f"{reached(given):.1%}"),
    ]


# -- 8.4: overhead ---------------------------------------------------------------------------------------------------


def two_sizes(random: Random) -> Given:
    """Times of a layer at two sizes, in which both the overhead and the work show."""
    while True:
        overhead, each = random.choice((2, 3, 4, 5, 6, 8)), random.choice((100, 125, 200, 250))  # µs, ps
        small, large = random.choice((4000, 8000, 10000)), random.choice((40000, 50000, 80000))
        if small * each >= 0.15e6 * overhead:
            first, second = (float(overhead + Fraction(size * each, 10**6)) for size in (small, large))
            return {"m1": small, "t1 in µs": first, "m2": large, "t2 in µs": second}


def line(given: Given) -> tuple[Fraction, Fraction]:
    """Overhead and time for each number, in µs, of the straight line through both measurements."""
    small, first, large, second = (Fraction(str(value)) for value in given.values())
    each = (second - first) / (large - small)
    return first - small * each, each


def least(overhead: Fraction, each: Fraction, *, of_all: bool = True) -> Fraction:
    """How many numbers make the overhead a tenth of the time, or of the work alone."""
    share = Fraction(1, 10)
    work = overhead / share - (overhead if of_all else 0)
    return work / each


def rate_with_overhead(given: Given) -> Fraction:
    """The rate is taken from the larger size alone, and the rest of the smaller one's time for overhead."""
    small, first, large, second = (Fraction(str(value)) for value in given.values())
    return least(first - small * second / large, second / large)


def all_overhead(given: Given) -> Fraction:
    """All the time of the smaller size is taken for overhead."""
    return least(Fraction(str(given["t1 in µs"])), line(given)[1])


def two_sizes_steps(given: Given) -> list[Step]:
    (overhead, each), (small, first, large, second) = line(given), given.values()
    work = least(overhead, each) * each
    return [
        Step(f"The overhead is in both times, so it is not in their difference: {large - small:,} numbers take "
             f"{second - first:.5g} µs, and one takes", show(float(each) / 1e6, "s")),
        Step(f"{small:,} numbers take {float(small * each):.5g} µs. The rest of {first:g} µs is overhead:",
             show(float(overhead) / 1e6, "s")),
        Step("Where a tenth of the time is overhead, nine tenths are work:", show(float(work) / 1e6, "s")),
        Step("In that time it does so many numbers:", f"{round(least(overhead, each)):,}"),
    ]  # fmt: skip


# -- 8.8: what explains a row ----------------------------------------------------------------------------------------

MACHINE = calibrated("150 GFLOP/s", "25 GB/s")
CACHE, IN_CACHE = 32e6, 100e9  # bytes, B/s
LARGE, FRESH = 32e6, 4e9  # bytes, B/s
EXPONENTIALS, OVERHEAD = 2e9, 5e-6  # evaluations a second, seconds
EFFECTS = ("overhead", "overlap", "cache", "allocation", "functions", "copies")
#: For each effect three layers in which it is at least twice as large as all others together.
ROWS = {
    str(layer): layer
    for layer in (
        *(ReLU(m=4_000), Sigmoid(m=2_000), Sigmoid(m=3_000)),
        *(Linear(n=batch, k=4096, c=4096) for batch in (8, 16, 32)),
        *(ReLU(m=numbers) for numbers in (12_000_000, 20_000_000, 40_000_000)),
        *(Sigmoid(m=numbers) for numbers in (5_000_000, 6_000_000, 8_000_000)),
        *(ReLU(m=numbers) for numbers in (1_000_000, 2_000_000, 3_000_000)),
        *(Conv2d(n=32, k=filters, c=filters, h=112, w=112, r=1, s=1) for filters in (12, 14, 16)),
    )
}


@cache
def effects(text: str) -> dict[str, float]:
    """Seconds that each effect adds to the best case of a layer; less than none where it saves some."""
    layer = ROWS[text]
    best = at_best(layer, MACHINE)
    matrix = isinstance(layer, Conv2d | Linear)
    size, result = layer.traffic * WIDTH, layer.activations * WIDTH
    memory = IN_CACHE if size <= CACHE else MACHINE.require("bandwidth")
    return {
        "overhead": OVERHEAD,
        "overlap": float(min(best.compute, best.memory)) if matrix else 0.0,
        "cache": size / memory - float(best.memory),
        "allocation": result / FRESH - result / memory if result > LARGE else 0.0,
        "functions": layer.program.operations.get("exp", 0) / EXPONENTIALS,
        "copies": 2 * size / memory if isinstance(layer, Conv2d) else 0.0,
    }


def row(random: Random) -> Given:
    """A row of the table: a layer, and its time a little off, as all measurements are."""
    text = random.choice(list(ROWS))
    best = float(at_best(ROWS[text], MACHINE).total)
    measured = (best + sum(effects(text).values())) * random.uniform(0.98, 1.02)
    return {"layer": text, "at best": show(best, "s"), "measured": show(measured, "s")}


def explanation(given: Given) -> str:
    """The effect that makes most of the difference."""
    found = effects(given["layer"])
    return max(found, key=lambda name: abs(found[name]))


def row_steps(given: Given) -> list[Step]:
    text = given["layer"]
    time = at_best(ROWS[text], MACHINE)
    added = [f"{name} {show(seconds, 's')}" for name, seconds in effects(text).items() if seconds]
    return [
        Step("Arithmetic and memory at best:", f"{show(time.compute, 's')} and {show(time.memory, 's')}"),
        Step("What each effect adds to that:", "; ".join(added)),
        Step(f"In all, against {given['measured']} measured:",
             show(float(time.total) + sum(effects(text).values()), "s")),
        Step("What makes most of the difference:", explanation(given)),
    ]  # fmt: skip


# -- 8.9: a convolution through columns ------------------------------------------------------------------------------

COLUMNS = LoopNest(
    "column[n,c,i,j,y,x] = inp[n,c,y+i,x+j]",
    **{name: symbol(length) for name, length in zip("ncijyx", "ncrshw", strict=True)},
)


@cache
def even_filters(passes: int = 2, copied: str = "column") -> Any:
    """The filters with which the copies take as long as the arithmetic; a copied number crosses in so many passes."""
    numbers = expression(COLUMNS.size("column") if copied == "column" else Conv2d().inputs)
    arithmetic = expression(Conv2d().ops) / symbol("P")
    copies = passes * numbers * symbol("b") / symbol("B")
    return sympy.solve(arithmetic - copies, symbol("k"))[0]


def columns_steps(given: Given) -> list[Step]:
    return [
        Step("The line of the columns, a place for each number of each window:", COLUMNS.text),
        Step("so many numbers, which cross twice:", COLUMNS.size("column")),
        Step("The matrix product has the operations of the convolution:", Conv2d().ops),
        Step("Each number in the columns meets every filter once. So both times are the same where 2·k/P = 2·b/B, and "
             "n, c, r, s, w and h do not matter:", even_filters()),
    ]  # fmt: skip
