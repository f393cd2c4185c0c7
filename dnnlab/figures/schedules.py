"""A pipeline's schedule as a picture: lanes in time, waits and their reasons, buffers and what they hold."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import Any

from ..buffering import Schedule
from ..quantities import show
from .canvas import Canvas
from .lanes import Block, Lane, Lanes, LanesDrawing, Mark, Wait

WIDTH = 480
_KINDS: dict[tuple[str, ...], str] = {("load", "compute"): "in buf.", ("compute", "store"): "out buf."}


def lanes_of(schedule: Schedule, reference: Mark | None = None, buffers: bool = True) -> Lanes:
    """A pipeline's schedule as lanes: its engines with their stalls, and below them each buffer with what it holds.

    Tile i is in place i % b of the b buffers behind an engine, from the start of its writing to the end of its
    reading. An engine waits for "a tile" or "a buffer"; fill and drain keep their names.

    >>> from dnnlab.buffering import pipeline
    >>> lanes = lanes_of(pipeline([2, 2, 2], [3, 3, 3])).lanes
    >>> [lane.name for lane in lanes], lanes[0].waits[0]
    (['load', 'compute', 'buffer 1', 'buffer 2'], Wait(start=4, end=5, reason='a buffer'))
    >>> [(block.start, block.end, block.look) for block in lanes[2].blocks[:2]]
    [(0, 2, 'load'), (2, 5, 'compute')]
    """
    lanes = []
    for name, intervals in schedule.intervals.items():
        blocks = tuple(Block(start, end, str(i)) for i, (start, end) in enumerate(intervals))
        waits = tuple(Wait(stall.start, stall.end, _reason(stall.reason)) for stall in schedule.stalls[name])
        lanes.append(Lane(name, blocks, waits))
    for j, count in enumerate(schedule.buffers if buffers else ()):
        kind = "buffer" if len(schedule.buffers) == 1 else _KINDS.get(schedule.engines[j : j + 2], f"after {j + 1},")
        for place in range(min(count, schedule.tiles)):
            held = tuple(part for i in range(place, schedule.tiles, count) for part in _held(schedule, j, i))
            lanes.append(Lane(f"{kind} {place + 1}", held, thin=True))
    return Lanes(tuple(lanes), Mark(schedule.makespan, show(schedule.makespan, "s")), reference)


def in_turns(schedule: Schedule) -> Mark:
    """Where a schedule of few buffers ends, as the reference of one with more.

    >>> from dnnlab.buffering import pipeline
    >>> in_turns(pipeline([2, 2, 2], [3, 3, 3], buffers=1))
    Mark(time=15, words='1 buffer: 15 s')
    """
    count = schedule.buffers[0]
    return Mark(schedule.makespan, f"{count} buffer{'' if count == 1 else 's'}: {show(schedule.makespan, 's')}")


@dataclass(frozen=True)
class Still:
    """A picture of a schedule that stands still, with its verdict; a notebook shows it. Made by `picture`."""

    schedule: Schedule
    reference: Schedule | None
    buffers: bool

    @property
    def alt(self) -> str:
        """The picture in words."""
        lanes = [
            f"{name} works from {show(times[0][0], 's')} to {show(times[-1][1], 's')}, in use "
            f"{self.schedule.utilisation[name]:.0%} of the time"
            for name, times in self.schedule.intervals.items()
        ]
        return f"{self.schedule.tiles} tiles as numbered blocks in lanes of time. {'; '.join(lanes)}."

    def png(self) -> bytes:
        """The picture itself, as high as its lanes need."""
        shown = lanes_of(self.schedule, in_turns(self.reference) if self.reference else None, self.buffers)
        thin = sum(lane.thin for lane in shown.lanes)
        canvas = Canvas(WIDTH, 94 + 34 * (len(shown.lanes) - thin) + 15 * thin)
        drawing = LanesDrawing(canvas.axes(0, 0, 1, 1), canvas.width, canvas.height, most=len(shown.lanes))
        drawing.update(shown)
        return canvas.png(*drawing.layers)

    def __repr__(self) -> str:
        return f"Still({self.schedule!r})"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        png = base64.b64encode(self.png()).decode("ascii")
        page = (
            f'<figure style="margin:0"><img src="data:image/png;base64,{png}" alt="{escape(self.alt)}" width="{WIDTH}" '
            f'style="max-width:100%;height:auto"><figcaption>{escape(self.schedule.sentence())}</figcaption></figure>'
        )
        return {"text/plain": repr(self), "image/png": png, "text/html": page}


def picture(schedule: Schedule, reference: Schedule | None = None, buffers: bool = True) -> Still:
    """A schedule as a picture that stands still; `reference`: another one, whose end is marked; with or without the
    `buffers` below the engines.

    >>> from dnnlab.buffering import pipeline
    >>> still = picture(pipeline([2, 2, 2], [3, 3, 3]), pipeline([2, 2, 2], [3, 3, 3], buffers=1))
    >>> print(still.alt)
    3 tiles as numbered blocks in lanes of time. load works from 0 s to 7 s, in use 55% of the time; compute works \
from 2 s to 11 s, in use 82% of the time.
    >>> sorted(still._repr_mimebundle_())
    ['image/png', 'text/html', 'text/plain']
    """
    return Still(schedule, reference, buffers)


def _held(schedule: Schedule, j: int, i: int) -> Iterator[Block]:
    """Tile i in a buffer between engines j and j+1: it is written, waits, and is read."""
    written, read = schedule.ends[j][i], schedule.starts[j + 1][i]
    yield Block(schedule.starts[j][i], written, look=schedule.engines[j], rising=True)
    if read > written:
        yield Block(written, read, look="full")
    yield Block(read, schedule.ends[j + 1][i], str(i), schedule.engines[j + 1])


def _reason(reason: str) -> str:
    if reason in ("fill", "drain", "channel", "handover"):
        return reason
    return "a buffer" if reason.endswith("buffer") else "a tile"
