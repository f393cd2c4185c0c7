"""Topic 6, derived: what buffers are worth, and the way to it."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from functools import cache
from random import Random
from typing import Any

import sympy

from .... import device
from ....buffering import Schedule, device_pipeline, equal_tiles, pipeline
from ....buffering.closed_forms import COMPUTE, LOAD, STORE
from ....buffering.tradeoff import buffered_traffic
from ....extremes import Max
from ....notation import symbol
from ....quantities import show
from ...questions import Given, Step
from ...verdicts import Note

SEE = "06_double_buffering/Unequal tiles"

# 6.1 A third buffer


def third(given: Given) -> Any:
    """Seconds that a third buffer saves."""
    return equal_tiles(3, 4, n=8, buffers=2).gain(3)


def second(given: Given) -> Any:
    """Seconds that the second one saves."""
    return equal_tiles(3, 4, n=8, buffers=1).gain(2)


def third_steps(given: Given) -> list[Step]:
    """The time with one, two and three buffers."""
    ends = [equal_tiles(3, 4, n=8, buffers=count).makespan for count in (1, 2, 3)]
    return [
        Step("With one, two and three buffers:", ", ".join(f"{end} s" for end in ends)),
        Step("With two, the arithmetic already works without a break from the first tile on; no buffer makes it "
             "faster."),
    ]  # fmt: skip


# 6.2 Two buffers

LOAD_MS, COMPUTE_MS = "load in ms", "compute in ms"


def tiles(random: Random) -> Given:
    """How many tiles, and the milliseconds of each engine, never the same."""
    load, compute = random.sample(range(2, 8), 2)
    return {"tiles": random.randint(6, 12), LOAD_MS: load, COMPUTE_MS: compute}


def makespan(given: Given, buffers: int = 2, more: int = 0) -> Fraction:
    """Seconds in all; the given times are milliseconds."""
    n = given["tiles"] + more
    return Fraction(equal_tiles(given[LOAD_MS], given[COMPUTE_MS], n=n, buffers=buffers).makespan) / 1000


def pace(given: Given) -> Fraction:
    """Seconds from one finished tile to the next, for each tile."""
    return Fraction(equal_tiles(given[LOAD_MS], given[COMPUTE_MS]).period * given["tiles"]) / 1000


def makespan_steps(given: Given) -> list[Step]:
    """The first tile, the pace of the others, and the sum."""
    one = equal_tiles(given[LOAD_MS], given[COMPUTE_MS], n=given["tiles"])
    return [
        Step("The first tile passes both engines:", f"{one.fill} ms"),
        Step(f"Each of the {given['tiles'] - 1} others comes out later by the time of the slower engine:",
             f"{one.period} ms"),
        Step("In all:", f"{one.makespan} ms"),
    ]  # fmt: skip


# 6.3 Who waits?

LOAD_WAITS, COMPUTE_WAITS, NOBODY = "load for a buffer", "compute for a tile", "nobody"
#: Times of two tiles in turn, to load and to compute, and how many buffers there are.
CASES = (
    ((6, 2), (5, 1), 2),
    ((3, 3), (4, 4), 1),
    ((3, 3), (5, 5), 2),
    ((5, 5), (4, 4), 3),
    ((4, 4), (4, 4), 2),
    ((5, 1), (6, 2), 3),
    ((5, 1), (6, 2), 2),
)


def case(random: Random) -> Given:
    """Times of a few tiles, and a number of buffers."""
    load, compute, buffers = random.choice(CASES)
    return {
        "load": f"{load[0]}, {load[1]}, {load[0]}, {load[1]} … s",
        "compute": f"{compute[0]}, {compute[1]}, {compute[0]}, {compute[1]} … s",
        "buffers": buffers,
    }


def lanes(given: Given, mean: bool = False) -> Schedule:
    """Eight tiles of a case; with `mean` all of them have the mean times."""
    load, compute = (
        [Fraction(sum(own), 2)] * 8 if mean else own * 4
        for own in ([int(word) for word in given[name].split(", ")[:2]] for name in ("load", "compute"))
    )
    return pipeline(load, compute, buffers=given["buffers"])


def waits(given: Given, mean: bool = False) -> frozenset[str]:
    """Who stands still between the first tile and the last."""
    stalled = lanes(given, mean).stalled
    found = {
        words
        for words, engine, reason in ((LOAD_WAITS, "load", "free buffer"), (COMPUTE_WAITS, "compute", "load"))
        if reason in stalled[engine]
    }
    return frozenset(found or {NOBODY})


def waits_steps(given: Given) -> list[Step]:
    """Every wait with its reason."""
    schedule = lanes(given)
    return [
        Step("picture(pipeline(...)) shows the two lanes, and the schedule has the reasons of all waits:"),
        *(
            Step(f"{engine} waits", "; ".join(f"{show(time, 's')} for {reason}" for reason, time in reasons.items()))
            for engine, reasons in schedule.stalled.items()
        ),
        Step("Fill and drain, before the first tile and after the last, are nobody's fault. What remains:",
             ", ".join(sorted(waits(given)))),
    ]  # fmt: skip


# 6.4 The slowest of four engines

WAY = {"disk": "disk to host", "link": "host to vram", "memory": "vram to chip", "arithmetic": "compute"}


def far_away(random: Random) -> Given:
    """A disk, and tiles that come from it."""
    return {
        "disk": f"{random.choice((3, 28, 7, 14, 56))} GB/s",
        "operations": f"{random.choice((2, 6, 20, 100))} GFLOP",
        "tile": f"{random.choice((1, 2))} MB",
    }


def way(given: Given) -> Schedule:
    """The tiles on their way through a T4."""
    t4 = device("t4").with_disk("2 TB", given["disk"])
    return device_pipeline(t4, sizes=[given["tile"]] * 8, ops=[given["operations"]] * 8)


def slowest(given: Given) -> str:
    """The engine that sets the pace."""
    names = {engine: name for name, engine in WAY.items()}
    return names[way(given).bottleneck]


def slowest_steps(given: Given) -> list[Step]:
    """A tile's time in each of the four."""
    busy = way(given).busy
    return [
        *(Step(f"{name}, a tile:", show(float(busy[engine]) / 8, "s")) for name, engine in WAY.items()),
        Step("With two buffers at each step the slowest sets the pace:", slowest(given)),
    ]


# 6.5 What the second buffer saves


@cache
def saved() -> Any:
    """Seconds that the second buffer saves."""
    return equal_tiles(buffers=1).gain(2)


def with_two(given: Given) -> Any:
    """The mistake of giving the time with two buffers."""
    return equal_tiles(buffers=2).makespan


def saved_steps(given: Given) -> list[Step]:
    """The two times and their difference."""
    return [
        Step("With one buffer:", equal_tiles(buffers=1).makespan),
        Step("With two:", equal_tiles(buffers=2).makespan),
        Step("The difference:", saved()),
        Step("L + C - max(L, C) is min(L, C): the shorter of the two hides, for each tile but one."),
    ]


# 6.6 One buffer before, two behind


@cache
def uneven_buffers(buffers: int = 1, out_buffers: int = 2) -> Any:
    """Seconds of n tiles that are loaded, computed and stored."""
    return equal_tiles(store=STORE, buffers=buffers, out_buffers=out_buffers).makespan


def uneven_steps(given: Given) -> list[Step]:
    """Who takes turns, who overlaps, and what a tile adds."""
    return [
        Step("One buffer between load and compute: they take turns, a tile costs the pair", LOAD + COMPUTE),
        Step("Two buffers behind: storing goes on meanwhile, and takes", STORE),
        Step("The first tile passes all three:", LOAD + COMPUTE + STORE),
        Step("Each of the n - 1 others adds the longer of the two:", Max(LOAD + COMPUTE, STORE)),
        Step("In all:", uneven_buffers()),
    ]


# 6.7 How uneven may tiles be?

TILES = 12
PAIRS = ((4, 6), (3, 6), (2, 6), (3, 5), (4, 5), (5, 7), (6, 8))


def pair(random: Random) -> Given:
    """Times of load and compute, the first the shorter."""
    load, compute = random.choice(PAIRS)
    return {"load": load, "compute": compute}


def start(given: Given) -> Given:
    """Where the other controls of the explorer stand."""
    return {"load": given.get("load"), "compute": given.get("compute"), "store": 0, "tiles": TILES, "buffers": 2}


def lost(given: Given, spread: int) -> Fraction:
    """What two buffers cost beside three; every second tile is larger by `spread` per cent, the others smaller."""
    sizes = [1 + Fraction((-1) ** i * spread, 100) for i in range(TILES)]
    load, compute = ([given[name] * size for size in sizes] for name in ("load", "compute"))
    return Fraction(pipeline(load, compute, buffers=2).makespan) - Fraction(pipeline(load, compute, buffers=3).makespan)


@cache
def most_spread(load: int, compute: int) -> int:
    """The largest spread, in per cent, at which a third buffer gains nothing."""
    given = {"load": load, "compute": compute}
    return next(spread for spread in range(91) if lost(given, spread)) - 1


def uneven_enough(setting: Mapping[str, Any], given: Given) -> Note | None:
    """What is wrong with a spread; None where it is the largest at which a third buffer gains nothing."""
    if lost(given, setting["spread"]):
        return Note("stalls", "Here both engines wait, and a third buffer would gain something.", SEE)
    if setting["spread"] < most_spread(given["load"], given["compute"]):
        return Note("not-most", "A third buffer gains nothing here, but tiles may be more uneven than that.", SEE)
    return None


def spread_steps(given: Given) -> list[Step]:
    """The bound, the whole per cent below it, and what one more costs."""
    most = most_spread(given["load"], given["compute"])
    x = symbol("x")
    (bound,) = sympy.solve(LOAD * (1 + x) - COMPUTE * (1 - x), x)
    return [
        Step("With two buffers, a large tile is loaded while the small one before it is computed."),
        Step("The arithmetic does not wait as long as L·(1 + x) is at most C·(1 - x), so x is at most", bound),
        Step("With your times, in whole per cent:", str(most)),
        Step(f"One more, {most + 1} %, and two buffers lose", f"{float(lost(given, most + 1)):.3g} µs beside three"),
    ]


# 6.8 Overlap or larger tiles


@cache
def growth() -> Any:
    """By which factor the operands' bytes grow with the second buffer."""
    operands = buffered_traffic() - symbol("n") * symbol("k")
    B = symbol("B")
    return sympy.simplify(operands.subs(B, 2) / operands.subs(B, 1))


@cache
def worth(factor: Any = None) -> Any:
    """The seconds of loading up to which two buffers are no slower."""
    return sympy.radsimp(sympy.solve((factor or growth()) * LOAD - (LOAD + COMPUTE), LOAD)[0])


def rounded(given: Given, digits: int) -> Any:
    """The exact factor, rounded."""
    (compute,) = worth().free_symbols
    return Fraction(str(round(float(worth().subs(compute, 1)), digits))) * compute


def worth_steps(given: Given) -> list[Step]:
    """What the operands' bytes grow by, and where both times are equal."""
    return [
        Step(
            "Each of two buffers has half the memory: blocks with 1/√2 of the side, and operands' bytes times", growth()
        ),
        Step("One buffer takes", LOAD + COMPUTE),
        Step("Two take", Max(growth() * LOAD, COMPUTE)),
        Step("C alone is always less than the sum. So loading decides, and both are equal at L =", worth()),
    ]
