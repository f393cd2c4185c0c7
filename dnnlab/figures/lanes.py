"""Engines as lanes in time: numbered blocks of work, hatched waits with their reason, thin lanes for the buffers.

How to use it (axes that span the canvas; times in seconds, any numbers):

    drawing = LanesDrawing(canvas.axes(0, 0, 1, 1), 480, 200, waits=("a tile", "a buffer"))  # once
    drawing.update(Lanes((Lane("memory", (Block(0, 2, "0"), Block(2, 4, "1"))),
                          Lane("compute", (Block(2, 7, "0"), Block(7, 12, "1")), (Wait(0, 2, "a tile"),))),
                         end=Mark(12, "done after 12 s"), reference=Mark(14, "in turns: 14 s")))
    canvas.png(*drawing.layers)

Lanes are drawn from top to bottom, `thin` ones lower and below a gap. A block's `look` is the name of an engine (by
default its lane's); `LOOKS` has colours for some names, others get one in turn. `waits` are the reasons of the
legend, in the order of their hatches; a wait for any other reason is an empty dashed box ("fill", "drain"). `end` is a
solid line through all lanes, its words above; `reference` a dashed one, its words below. `schedules.lanes_of` turns a
pipeline's `Schedule` into `Lanes`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from matplotlib.axes import Axes
from matplotlib.collections import PathCollection, PolyCollection
from matplotlib.font_manager import FontProperties
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.text import Text
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D

from ..quantities import show
from .canvas import BLUE, GREEN, GREY, GRID, INK, ORANGE, PAPER, VERMILION, Layer
from .phases import round_end

#: The colour of an engine's blocks and of the number on them, by the engine's name.
LOOKS = {
    "load": (BLUE, PAPER), "compute": (VERMILION, PAPER), "store": (GREEN, PAPER), "memory": (BLUE, PAPER),
    "arithmetic": (VERMILION, PAPER), "full": (GRID, INK),
}  # fmt: skip
_OTHERS = ((BLUE, PAPER), (GREEN, PAPER), (ORANGE, INK))  # in turn, for engines by other names
_HATCHES = ("////", "----", "xxxx")  # dots would take three times as long
_FONT, _SMALL = 12, 10
# In pixels of the page, from the top left corner of the picture.
_LEFT, _RIGHT, _ABOVE, _BELOW, _LEGEND = 88, 14, 24, 36, 22
_PITCH, _THIN, _GAP = 36, 15, 6  # from lane to lane, from thin lane to thin lane, between the two kinds
_FILLED = 0.76  # of the pitch
_STRETCH = 1.6  # at most, where there is room


@dataclass(frozen=True)
class Block:
    """Work from `start` to `end`; `rising` draws a ramp (a buffer that fills up) instead of a box."""

    start: Any
    end: Any
    label: str = ""
    look: str = ""
    rising: bool = False


@dataclass(frozen=True)
class Wait:
    """Standing still from `start` to `end`, for a reason."""

    start: Any
    end: Any
    reason: str


@dataclass(frozen=True)
class Lane:
    """What one engine (or, `thin`, one buffer) does."""

    name: str
    blocks: tuple[Block, ...]
    waits: tuple[Wait, ...] = ()
    thin: bool = False


@dataclass(frozen=True)
class Mark:
    """A moment, and the words that stand there."""

    time: Any
    words: str


@dataclass(frozen=True)
class Lanes:
    """Lanes over one axis of time, from 0 s on."""

    lanes: tuple[Lane, ...]
    end: Mark | None = None
    reference: Mark | None = None

    @property
    def last(self) -> float:
        """The latest moment of all, in seconds."""
        worked = [block.end for lane in self.lanes for block in lane.blocks]
        waited = [wait.end for lane in self.lanes for wait in lane.waits]
        return float(max([0, *worked, *waited, *(mark.time for mark in (self.end, self.reference) if mark)]))


class LanesDrawing:
    """The artists of `Lanes` on axes that span a picture of `width` x `height`: made here once, moved by `update`.

    >>> from dnnlab.figures import Canvas
    >>> canvas = Canvas(480, 160)
    >>> drawing = LanesDrawing(canvas.axes(0, 0, 1, 1), 480, 160)
    >>> memory, compute = Block(0, 2, "0"), Block(2, 5, "0")
    >>> drawing.update(Lanes((Lane("memory", (memory,)), Lane("compute", (compute,))), end=Mark(5, "done: 5 s")))
    >>> canvas.png(*drawing.layers)[:4]
    b'\\x89PNG'
    """

    def __init__(
        self, axes: Axes, width: int, height: int, waits: Sequence[str] = ("a tile", "a buffer"), most: int = 12
    ) -> None:
        self.axes, self.width, self.height = axes, width, height
        axes.set_axis_off()
        axes.set_xlim(0, width)
        axes.set_ylim(height, 0)
        line: dict[str, Any] = {"color": INK, "linewidth": 1.6, "animated": True}
        text: dict[str, Any] = {"fontsize": _FONT, "color": INK, "animated": True, "va": "center"}
        self.names = [axes.text(_LEFT - 6, 0, "", ha="right", **text) for _ in range(most)]
        self.ticks = [axes.text(0, 0, "", ha="center", **text) for _ in range(3)]
        self._grid = PolyCollection([], closed=False, edgecolors=GRID, linewidths=1, animated=True)
        #: Blocks by colour, waits by reason ("" for all without a hatch), numbers by colour.
        self.blocks = {
            colour: PolyCollection([], facecolors=colour, linewidths=0, animated=True)
            for colour in dict.fromkeys([*(look for look, _ in LOOKS.values()), *(look for look, _ in _OTHERS)])
        }
        self.waits = {
            reason: self._waiting(animated=True, hatch=hatch) for reason, hatch in zip(waits, _HATCHES, strict=False)
        } | {"": self._waiting(animated=True)}
        scale = Affine2D().scale(axes.figure.dpi / 72)
        self.numbers = {
            colour: PathCollection(
                [], offsets=[], offset_transform=axes.transData, facecolors=colour, linewidths=0, animated=True
            )
            for colour in (PAPER, INK)
        }
        for artist in (self._grid, *self.blocks.values(), *self.numbers.values()):
            axes.add_collection(artist, autolim=False)
        for numbers in self.numbers.values():
            numbers.set_transform(scale)
        self.end = axes.plot([], [], **line)[0]
        self.reference = axes.plot([], [], **line | {"linestyle": (0, (4, 3)), "color": GREY})[0]
        self.end_words, self.reference_words = (axes.text(0, 0, "", **text) for _ in range(2))
        self._legend(waits)
        self._named: tuple[tuple[str, bool], ...] | None = None
        self._end = 0.0

    @property
    def layers(self) -> tuple[Layer, Layer, Layer]:
        """From back to front: names, the axis, and all that moves. Letters take most of the time."""
        marks = (self.end, self.reference, self.end_words, self.reference_words)
        moving = (*self.waits.values(), *self.blocks.values(), *self.numbers.values(), *marks)
        return Layer(self._named, tuple(self.names)), Layer(self._end, (self._grid, *self.ticks)), Layer(None, moving)

    def update(self, shown: Lanes) -> None:
        """Show these lanes."""
        end = round_end(shown.last)
        rows = list(self._rows(shown.lanes))
        bottom = rows[-1][0] + rows[-1][1] + 4 if rows else _ABOVE
        scale = (self.width - _LEFT - _RIGHT) / end
        named = tuple((lane.name, lane.thin) for lane in shown.lanes)
        if (named, end) != (self._named, self._end):
            self._named, self._end = named, end
            self._frame(shown.lanes, rows, end, bottom)
        blocks: dict[str, list[Any]] = {colour: [] for colour in self.blocks}
        waits: dict[str, list[Any]] = {reason: [] for reason in self.waits}
        numbers: dict[str, list[tuple[Path, tuple[float, float]]]] = {colour: [] for colour in self.numbers}
        looks = _looks(shown.lanes)
        for lane, (top, thick) in zip(shown.lanes, rows, strict=True):
            for block in lane.blocks:
                left, right = _LEFT + float(block.start) * scale, _LEFT + float(block.end) * scale
                right = max(right - 1, left + 1)  # paper between two blocks, and something of each
                colour, ink = looks[block.look or lane.name]
                corner = top + thick if block.rising else top
                blocks[colour].append([(left, corner), (right, top), (right, top + thick), (left, top + thick)])
                size = _FONT if thick >= _FONT + 2 and right - left >= _wide(block.label, _FONT) else _SMALL
                if block.label and right - left >= _wide(block.label, size):
                    numbers[ink].append((_glyphs(block.label, size), ((left + right) / 2, top + thick / 2)))
            for wait in lane.waits:
                left, right = _LEFT + float(wait.start) * scale, _LEFT + float(wait.end) * scale
                waits[wait.reason if wait.reason in waits else ""].append((left, top + 2, right, top + thick - 2))
        for colour, shapes in blocks.items():
            self.blocks[colour].set_verts(shapes)
        for reason, shapes in waits.items():
            # One path: a hatch takes its time for each path anew.
            self.waits[reason].set_path(Path.make_compound_path(*map(_box, shapes)))
        for colour, placed in numbers.items():
            self.numbers[colour].set_paths([path for path, _ in placed])
            self.numbers[colour].set_offsets([place for _, place in placed] or [(0, 0)])
        self._mark(self.end, self.end_words, shown.end, scale, (_ABOVE - 6, bottom), 10)
        self._mark(self.reference, self.reference_words, shown.reference, scale, (_ABOVE - 6, bottom + 4), bottom + 9)

    def _rows(self, lanes: Sequence[Lane]) -> Iterator[tuple[float, float]]:
        """Top and thickness of each lane: squeezed where all together are too high, a little stretched where not."""
        thin = sum(lane.thin for lane in lanes)
        needed = (len(lanes) - thin) * _PITCH + thin * _THIN + (_GAP if thin else 0)
        squeeze = min(_STRETCH, (self.height - _ABOVE - _BELOW - _LEGEND) / max(needed, 1))
        top, before = float(_ABOVE), False
        for lane in lanes:
            if lane.thin and not before:
                top += _GAP * squeeze
            before = lane.thin
            pitch = (_THIN if lane.thin else _PITCH) * squeeze
            yield top, pitch * (0.9 if lane.thin else _FILLED)
            top += pitch

    def _frame(self, lanes: Sequence[Lane], rows: Sequence[tuple[float, float]], end: float, bottom: float) -> None:
        for name in self.names[len(lanes) :]:
            name.set_visible(False)
        for name, lane, (top, thick) in zip(self.names, lanes, rows, strict=False):
            name.set(text=lane.name, y=top + thick / 2, visible=True, fontsize=11 if lane.thin else _FONT)
        places = [_LEFT + share * (self.width - _LEFT - _RIGHT) for share in (0.0, 0.5, 1.0)]
        self._grid.set_verts([[(x, _ABOVE - 4), (x, bottom + 16)] for x in places])
        for tick, x, share in zip(self.ticks, places, (0.0, 0.5, 1.0), strict=True):
            tick.set(x=min(x, self.width - 20), y=bottom + 25, text=show(share * end, "s") if share else "0")

    def _mark(
        self, line: Any, words: Text, mark: Mark | None, scale: float, ends: tuple[float, float], y: float
    ) -> None:
        line.set_visible(mark is not None)
        words.set_visible(mark is not None)
        if mark is not None:
            x = _LEFT + float(mark.time) * scale
            line.set_data([x, x], ends)
            on_the_left = x > self.width / 2
            words.set(x=x - 5 if on_the_left else x + 5, y=y, text=mark.words, ha="right" if on_the_left else "left")

    def _waiting(self, hatch: str = "", animated: bool = False, box: tuple[float, ...] = (0, 0, 0, 0)) -> PathPatch:
        look: dict[str, Any] = {"hatch": hatch} if hatch else {"linestyle": (0, (3, 2))}
        patch = PathPatch(_box(box), facecolor=PAPER, edgecolor=GREY, linewidth=0.8, animated=animated, **look)
        self.axes.add_patch(patch)
        return patch

    def _legend(self, waits: Sequence[str]) -> None:
        x, y = 6.0, self.height - 11
        for reason, hatch in (*zip(waits, _HATCHES, strict=False), ("", "")):
            self._waiting(hatch, box=(x, y - 7, x + 26, y + 7))
            words = f"waits for {reason}" if hatch else "fill, drain"
            self.axes.text(x + 32, y, words, va="center", fontsize=_FONT, color=INK)
            x += 32 + 6.4 * len(words) + 16


def _box(corners: tuple[float, ...]) -> Path:
    left, top, right, bottom = corners
    return Path([(left, top), (right, top), (right, bottom), (left, bottom), (left, top)], closed=True)


def _wide(label: str, size: int) -> float:
    """Pixels that a label of digits and its margin take."""
    return 0.68 * size * len(label) + 2


def _looks(lanes: Sequence[Lane]) -> dict[str, tuple[str, str]]:
    """A colour for each engine that has blocks."""
    others = (lane.name for lane in lanes if lane.name not in LOOKS and not lane.thin)
    return LOOKS | {name: _OTHERS[place % len(_OTHERS)] for place, name in enumerate(others)}


@lru_cache(maxsize=128)
def _glyphs(label: str, size: int) -> Path:
    """A label as outlines about its middle: many of them are one artist, where each text would cost as much."""
    outline = TextPath((0, 0), label, size=size, prop=FontProperties(weight="bold"))
    box = outline.get_extents()
    return outline.transformed(Affine2D().translate(-(box.x0 + box.x1) / 2, -(box.y0 + box.y1) / 2))
