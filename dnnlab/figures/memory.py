"""What a network needs beside what a device has, and what a pass takes with a share of the weights outside."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from ..quantities import show
from .canvas import BLUE, GREEN, GREY, GRID, INK, ORANGE, PAPER, VERMILION, Layer

#: Colour and hatch of each group of parts, from the bottom of the bar to its top.
GROUPS = {
    "weights": (BLUE, ""),
    "KV cache": (GREEN, "\\\\\\"),
    "optimizer": (ORANGE, "///"),
    "gradients": (GREEN, "..."),
    "activations": (VERMILION, "xx"),
    "other": (GREY, ""),
}
#: Words, colour, marker and dashes of each way to work with weights that lie outside.
WAYS: dict[str, tuple[str, str, str, Any]] = {
    "stored": ("read where stored", BLUE, "o", "-"),
    "streamed": ("streamed in time", VERMILION, "^", (0, (6, 2))),
    "serial": ("streamed, waiting", ORANGE, "s", (0, (2, 2))),
}
# In pixels of the page, from the top left corner of the picture.
WIDTH, HEIGHT = 480, 296
_FONT = 12
_FLOOR, _TALL = 250, 212  # where the bars stand, and how high they may be
_NEEDS, _HAS, _BROAD, _WORDS = 34, 96, 42, 134  # middles of the two bars, their width; what the groups are called
_LEFT, _RIGHT, _TOP, _BOTTOM = 290, 470, 66, 250  # of the curves
_SMALL = 0.005  # a share of the need too small to be seen, so that the rest beside the named groups gets no words
_FAR = 4  # a capacity so many times the need is drawn broken


@dataclass(frozen=True)
class Scene:
    """What is drawn: bytes of each group, the capacity, seconds by way at each of `fractions`, and the share outside
    that is picked."""

    groups: Mapping[str, float]
    capacity: float
    fractions: Sequence[float]
    times: Mapping[str, Sequence[float]]
    share: float
    marks: Mapping[str, float]

    @property
    def needed(self) -> float:
        """Bytes of all groups."""
        return sum(self.groups.values())

    @property
    def shown(self) -> tuple[str, ...]:
        """The groups that there are, without a rest that is too small to be seen."""
        least = _SMALL * self.needed
        return tuple(name for name in GROUPS if self.groups.get(name, 0) > (least if name == "other" else 0))


class MemoryDrawing:
    """The artists on axes that span a picture of `WIDTH` x `HEIGHT`: made here once, moved by `update`.

    >>> from dnnlab.figures import Canvas
    >>> canvas = Canvas(WIDTH, HEIGHT)
    >>> drawing = MemoryDrawing(canvas.axes(0, 0, 1, 1))
    >>> drawing.update(Scene({"weights": 18e9}, 16e9, (0, 1), {"streamed": (0.05, 1)}, 0.11, {"streamed": 0.12}))
    >>> canvas.png(*drawing.layers)[:4]
    b'\\x89PNG'
    """

    def __init__(self, axes: Axes) -> None:
        self.axes = axes
        axes.set_axis_off()
        axes.set_xlim(0, WIDTH)
        axes.set_ylim(HEIGHT, 0)
        self._words(_NEEDS, _FLOOR + 12, "needs", "center")
        self._words(_HAS, _FLOOR + 12, "has", "center")
        self._verdict = self._number(6, 12, "left", weight="bold")
        self._sizes = [self._number(x, _FLOOR + 29, "center", weight="bold") for x in (_NEEDS, _HAS)]
        #: The stack, a part of it for each group, and what each is called.
        self.stack = {name: self._rectangle(_NEEDS - _BROAD / 2, colour, hatch) for name, (colour, hatch) in _looks()}
        self._swatches = {name: self._rectangle(_WORDS - 12, colour, hatch, 13) for name, (colour, hatch) in _looks()}
        self._names = {name: self._words(_WORDS + 7, 0, name, "left", animated=True) for name in GROUPS}
        self._bytes = {name: self._number(_WORDS + 7, 0, "left") for name in GROUPS}
        outline: dict[str, Any] = {"facecolor": "none", "edgecolor": INK, "linewidth": 1.6}
        self.room = Rectangle((_HAS - _BROAD / 2, _FLOOR), _BROAD, 0, animated=True, **outline)
        axes.add_patch(self.room)
        #: How far the memory reaches, across both bars.
        self.limit = self._line([_NEEDS - _BROAD / 2 - 6, _HAS + _BROAD / 2], INK, 1.6, (0, (4, 2)))
        self._break = self._line([_HAS - _BROAD / 2 - 5, _HAS + _BROAD / 2 + 5], PAPER, 7, "-")
        self._curves()
        #: How the groups and the ticks look.
        self._looks: tuple[Hashable, Hashable] = ((), ())

    def _curves(self) -> None:
        box = Rectangle((_LEFT, _TOP), _RIGHT - _LEFT, _BOTTOM - _TOP, facecolor="none", edgecolor=GREY, linewidth=1)
        self.axes.add_patch(box)
        for place, words, side in ((0.0, "0%", "center"), (0.5, "50%", "center"), (1.0, "100%", "right")):
            self._words(_across(place) + 4 * (side == "right"), _BOTTOM + 12, words, side)
        self._grid = [self._line([_LEFT, _RIGHT], GRID, 1, "-") for _ in range(_DECADES)]
        self._ticks = [self._number(_LEFT - 5, 0, "right") for _ in range(_DECADES)]
        self._caption = self._number((_LEFT + _RIGHT) / 2, _BOTTOM + 30, "center", weight="bold")
        self._picked = self._line([], INK, 1.2, (0, (4, 3)))
        self.curves, self.marks, self._times = {}, {}, {}
        for place, (way, (words, colour, marker, dashes)) in enumerate(WAYS.items()):
            y = 12 + 18 * place
            edge: dict[str, Any] = {"marker": marker, "markeredgecolor": PAPER, "markersize": 10, "color": colour}
            self.axes.plot([244, 262, 280], [y] * 3, linewidth=2.2, linestyle=dashes, **edge, markevery=[1])
            self._words(286, y, words, "left")
            self._times[way] = self._number(_RIGHT + 4, y, "right", weight="bold")
            self.curves[way] = self._line([], colour, 2.2, dashes)
            self.marks[way] = self.axes.plot([], [], linestyle="none", animated=True, clip_on=False, **edge)[0]

    # Letters take most of the time of a picture: those that rarely change are in layers of their own.
    @property
    def layers(self) -> tuple[Layer, ...]:
        """From back to front, by how often they change: names of groups and capacity, ticks, all else."""
        groups, ticks = self._looks
        bars = (*self.stack.values(), *self._bytes.values(), self._verdict, self._sizes[0], self.room, self.limit)
        plot = (self._picked, *self.curves.values(), *self.marks.values(), self._caption, *self._times.values())
        return (
            Layer(groups, (*self._swatches.values(), *self._names.values(), self._sizes[1])),
            Layer(ticks, (*self._grid, *self._ticks)),
            Layer(None, (*bars, self._break, *plot)),
        )

    def update(self, scene: Scene) -> None:
        """Show what is needed, what is there, and the times."""
        self._fill(scene)
        low, high = _decades([time for times in scene.times.values() for time in times])
        for place, (line, tick) in enumerate(zip(self._grid, self._ticks, strict=True)):
            y = _up(10.0 ** (low + place), low, high)
            line.set_ydata([y, y])
            tick.set(y=y, text=_decade(low + place))
            for artist in (line, tick):
                artist.set_visible(low + place <= high)
        share = min(scene.share, 1)
        x = [_across(f) for f in scene.fractions]
        for way, curve in self.curves.items():
            there = way in scene.times
            for artist in (curve, self.marks[way]):
                artist.set_visible(there)
            self._times[way].set_text(show(scene.marks[way], "s") if there else "not here")
            if there:
                curve.set_data(x, [_up(time, low, high) for time in scene.times[way]])
                self.marks[way].set_data([_across(share)], [_up(scene.marks[way], low, high)])
        self._picked.set_data([_across(share)] * 2, [_TOP, _BOTTOM])
        self._looks = (scene.capacity, *scene.shown), (low, high)
        some = f"{share:.1%} of weights outside" if scene.share else "no weights outside"
        self._caption.set_text(some if scene.share <= 1 else "all weights outside")

    def _fill(self, scene: Scene) -> None:
        needed, far = scene.needed, scene.capacity > _FAR * scene.needed
        scale = 0.6 * _TALL / needed if far else _TALL / max(needed, scene.capacity)
        over = needed - scene.capacity
        self._verdict.set_text(f"{show(over, 'B')} too much" if over > 0 else f"fits, {show(-over, 'B')} to spare")
        for text, amount in zip(self._sizes, (needed, scene.capacity), strict=True):
            text.set_text(show(amount, "B"))
        floor, row = float(_FLOOR), 0
        for name, part in self.stack.items():
            amount = scene.groups.get(name, 0)
            floor -= amount * scale
            part.set_y(floor)
            part.set_height(amount * scale)
            for artist in (part, self._swatches[name], self._names[name], self._bytes[name]):
                artist.set_visible(name in scene.shown)
            if name in scene.shown:
                y = _FLOOR - 27 - 40 * row
                self._swatches[name].set_y(y - 6)
                self._names[name].set_y(y)
                self._bytes[name].set(y=y + 16, text=show(amount, "B"))
                row += 1
        top = _FLOOR - (_TALL if far else scene.capacity * scale)
        self.room.set_y(top)
        self.room.set_height(_FLOOR - top)
        self.limit.set_ydata([top, top])
        self.limit.set_visible(not far)
        self._break.set_ydata([_FLOOR - 0.78 * _TALL, _FLOOR - 0.84 * _TALL])
        self._break.set_visible(far)

    def _rectangle(self, x: float, colour: str, hatch: str, side: float = 0) -> Rectangle:
        look: dict[str, Any] = {"facecolor": colour, "edgecolor": PAPER, "linewidth": 0, "hatch": hatch}
        patch = Rectangle((x, 0), side or _BROAD, side, animated=True, **look)
        self.axes.add_patch(patch)
        return patch

    def _line(self, x: Sequence[float], colour: str, width: float, dashes: Any) -> Line2D:
        y = [0.0] * len(x)
        return self.axes.plot(x, y, color=colour, linewidth=width, linestyle=dashes, animated=True)[0]

    def _words(self, x: float, y: float, words: str, side: str, **look: Any) -> Text:
        return self.axes.text(x, y, words, ha=side, va="center", fontsize=_FONT, color=INK, **look)

    def _number(self, x: float, y: float, side: str, **look: Any) -> Text:
        return self._words(x, y, "", side, animated=True, **look)


_DECADES = 10  # as many grid lines as there may be


def _looks() -> Sequence[tuple[str, tuple[str, str]]]:
    return list(GROUPS.items())


def _across(share: float) -> float:
    return _LEFT + share * (_RIGHT - _LEFT)


def _decade(power: int) -> str:
    """A power of ten in seconds; 100 s are no round number of minutes."""
    return f"{10**power:,} s" if power > 1 else show(10.0**power, "s")


def _up(time: float, low: int, high: int) -> float:
    return _BOTTOM - (math.log10(time) - low) / (high - low) * (_BOTTOM - _TOP)


def _decades(times: Sequence[float]) -> tuple[int, int]:
    """Powers of ten around these times."""
    low, high = math.floor(math.log10(min(times))), math.ceil(math.log10(max(times)))
    return low, max(high, low + 1)
