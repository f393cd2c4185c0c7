"""The double-buffering explorer: load, compute and store as lanes in time, with as many buffers as you like."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

from ..buffering import Schedule, pipeline
from ..figures import Canvas
from ..figures.lanes import LanesDrawing
from ..figures.schedules import Still, in_turns, lanes_of
from ..quantities import show
from ..tables import Table
from .amounts import Number
from .panel import Explorer, Panel

#: The longest time of a tile in µs, the most tiles and buffers, the widest spread in per cent.
LONGEST, MOST_TILES, MOST_BUFFERS, WIDEST = 20, 12, 4, 90
#: How to read the picture.
NOTE = (
    "Load, compute and store are the microseconds of a tile (store 0: no such stage). A block is a tile in an engine. "
    "A thin lane is a buffer: the ramp is a tile being written into it, grey a tile that waits there, and the box with "
    "its number a tile that is being read. The solid line is the end; the dashed one is where one buffer would end, "
    "with which neighbours take turns. With a store stage there are as many output as input buffers. Spread is in "
    "per cent: tiles 0, 2, 4, … are larger by so much and the others smaller, in every engine."
)
_MICRO = Fraction(1, 10**6)
_WAITED = {"free buffer": "a free buffer", "output buffer": "an output buffer"}  # an engine goes by its name
_ORDINALS = ("first", "second", "third", "fourth", "fifth")
WIDTH, HEIGHT = 480, 300


@dataclass(frozen=True)
class State:
    """Microseconds that a tile takes in each engine (`store` 0: there is none), how many tiles, how many buffers
    before and behind the arithmetic, and by how many per cent tiles differ from the mean."""

    load: int
    compute: int
    store: int
    tiles: int
    buffers: int
    spread: int


@dataclass(frozen=True)
class Reading:
    """What the explorer says of a state: its schedule, and those with other numbers of buffers, by number."""

    state: State
    schedule: Schedule
    others: dict[int, Schedule]
    sentence: str
    table: Table
    alt: str


def double_buffering(
    load: int = 3,
    compute: int = 4,
    store: int = 0,
    tiles: int = 8,
    buffers: int = 2,
    spread: int = 0,
    strict: bool | None = None,
) -> Panel:
    """A panel that shows load, compute and store as lanes in time. Run it as the last line of a cell.

    `load`, `compute`, `store`: microseconds a tile, up to `LONGEST` (`store` 0: no such stage); up to `MOST_TILES`
    tiles and `MOST_BUFFERS` buffers; `spread`: by how many per cent, up to `WIDEST`, every second tile is larger, and
    the others smaller. Raises ExtentError for numbers out of range.

    >>> panel = double_buffering(load=2, compute=3, tiles=3)
    >>> print(panel.reading.sentence)
    3 tiles take 11 µs, 1.36 times as fast as one step after the other (15 µs). Compute is the bottleneck, busy 82% \
of the time; load waits 1 µs for a free buffer. A third buffer would gain nothing.
    >>> panel.close()
    """
    explorer = Explorer(
        "double_buffering",
        State(load, compute, store, tiles, buffers, spread),
        (
            Number("load", "Load, µs", 1, LONGEST),
            Number("compute", "Compute, µs", 1, LONGEST),
            Number("store", "Store, µs", 0, LONGEST),
            Number("tiles", "Tiles", 1, MOST_TILES),
            Number("buffers", "Buffers", 1, MOST_BUFFERS),
            Number("spread", "Spread, %", 0, WIDEST),
        ),
        lambda state: state,
        model,
        Drawing,
        NOTE,
    )
    return Panel(explorer, strict)


def model(state: State) -> Reading:
    """What a state means, in numbers and in words."""
    others = {count: schedule(state, count) for count in range(1, MOST_BUFFERS + 2)}
    chosen = others[state.buffers]
    ends = ", ".join(f"{count}: {show(one.makespan, 's')}" for count, one in others.items())
    return Reading(
        state,
        chosen,
        others,
        f"{_whole(chosen)} {_pace(chosen)} {_gain(chosen, others[state.buffers + 1])}",
        replace(chosen.table(), note=f"Time by number of buffers: {ends}."),
        Still(chosen, others[1], True).alt,
    )


def schedule(state: State, buffers: int) -> Schedule:
    """The schedule of a state with another number of buffers, exactly."""
    sizes = [1 + Fraction((-1) ** i * state.spread, 100) for i in range(state.tiles)]
    load, compute, store = (
        [time * _MICRO * size for size in sizes] for time in (state.load, state.compute, state.store)
    )
    return pipeline(load, compute, store if state.store else None, buffers)


def _whole(chosen: Schedule) -> str:
    """How long it takes, beside one step after the other."""
    tiles = f"{chosen.tiles} tiles take" if chosen.tiles > 1 else "One tile takes"
    if chosen.makespan == chosen.serial:
        return f"{tiles} {show(chosen.makespan, 's')}, one step after the other: nothing overlaps."
    serial = f"one step after the other ({show(chosen.serial, 's')})"
    return f"{tiles} {show(chosen.makespan, 's')}, {chosen.speedup:.3g} times as fast as {serial}."


def _pace(chosen: Schedule) -> str:
    """Who sets the pace, and how long each engine waits, at most, for something other than its first tile."""
    work = chosen.busy[chosen.bottleneck]
    busiest = ", ".join(name for name in chosen.engines if chosen.busy[name] == work)
    busiest = " and ".join(busiest.rsplit(", ", 1))
    role = "are equally busy," if " and " in busiest else "is the bottleneck, busy"
    text = f"{busiest.capitalize()} {role} {chosen.utilisation[chosen.bottleneck]:.0%} of the time"
    waits = []
    for name, reasons in chosen.stalled.items():
        inside = [(time, reason) for reason, time in reasons.items() if reason not in ("fill", "drain")]
        if inside:
            time, reason = max(inside)
            waits.append((time, f"{name} waits {show(time, 's')} for {_WAITED.get(reason, reason)}"))
    return f"{'; '.join([text, *(words for _, words in sorted(waits, reverse=True))])}."


def _gain(chosen: Schedule, more: Schedule) -> str:
    """What one more buffer would do."""
    another = f"A {_ORDINALS[chosen.buffers[0]]} buffer{' on either side' if chosen.buffers[1:] else ''}"
    saved = chosen.makespan - more.makespan
    if not saved:
        return f"{another} would gain nothing."
    return f"{another} would save {show(saved, 's')}: {float(chosen.makespan / more.makespan):.3g} times as fast."


class Drawing:
    """The picture: built once, redrawn for each reading."""

    def __init__(self) -> None:
        self.canvas = Canvas(WIDTH, HEIGHT)
        self._drawing = LanesDrawing(self.canvas.axes(0, 0, 1, 1), WIDTH, HEIGHT)

    def png(self, reading: Reading) -> bytes:
        """The picture of a reading."""
        reference = in_turns(reading.others[1]) if reading.state.buffers > 1 else None
        self._drawing.update(lanes_of(reading.schedule, reference))
        return self.canvas.png(*self._drawing.layers)
