"""A chain of feature maps, and in each the part that a tile of the last one needs."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from .canvas import BLUE, GREY, INK, ORANGE, PAPER, Layer

#: How many maps there is room for.
SLOTS = 5
_PITCH, _BOX, _BAR = 95.0, 68.0, 14.0  # from one map to the next, the side of a map, the width of one without columns
_TOP = 62.0  # of the maps
_LEAST = 3.0  # what is needed is never drawn smaller
_FONT, _LARGE = 11, 13  # names and words; numbers
_LINE = 15  # characters of a name in one line


@dataclass(frozen=True)
class FeatureMap:
    """A tensor along one or two of its axes: its `size`, and the part that is needed as `(start, stop)` by axis.

    >>> FeatureMap("conv1", (28, 28), ((0, 6), (4, 6))).needed
    '6×2'
    """

    name: str
    size: tuple[int, ...]
    part: tuple[tuple[int, int], ...]

    @property
    def whole(self) -> bool:
        """Is all of it needed?"""
        return all(stop - start == size for (start, stop), size in zip(self.part, self.size, strict=True))

    @property
    def width(self) -> float:
        """How wide it is drawn: one axis makes a bar."""
        return _BOX if len(self.size) > 1 else _BAR

    @property
    def needed(self) -> str:
        """The size of the part."""
        return "×".join(f"{stop - start:,}" for start, stop in self.part)

    @property
    def extent(self) -> str:
        """The size of all of it."""
        return "×".join(f"{size:,}" for size in self.size)


class DependencyDrawing:
    """The artists of a chain on axes that fill the figure: made here once, moved by `update`.

    Every map is drawn equally large, so that the share that is needed can be compared; the last one holds the tile.

    >>> from dnnlab.figures import Canvas
    >>> canvas = Canvas(480, 226)
    >>> drawing = DependencyDrawing(canvas.axes(0, 0, 1, 1))
    >>> maps = FeatureMap("input", (32, 32), ((0, 6), (0, 6))), FeatureMap("conv1", (28, 28), ((0, 2), (0, 2)))
    >>> drawing.update(maps, ["5×5"])
    >>> canvas.png(*drawing.layers)[:4]
    b'\\x89PNG'
    """

    def __init__(self, axes: Axes) -> None:
        self.axes = axes
        width, height = (side / axes.figure.dpi * 72 for side in axes.bbox.size)
        axes.set(xlim=(0, width), ylim=(height, 0))
        axes.set_axis_off()
        self._middle = width / 2
        self._slots = [_Slot(axes) for _ in range(SLOTS)]
        text: dict[str, Any] = {"fontsize": _FONT, "color": INK, "animated": True, "ha": "center", "va": "center"}
        self._links = [axes.text(0, _TOP - 10, "", **text) for _ in range(SLOTS - 1)]
        (self._cones,) = axes.plot([], [], color=GREY, linewidth=1, animated=True)  # one line with gaps draws fast
        self._look: Hashable = None
        line = height - 14
        for x, colour, words in ((10, BLUE, "the tile to compute"), (150, ORANGE, "what it needs, box by box")):
            axes.add_patch(Rectangle((x, line - 5), 10, 10, facecolor=colour, edgecolor=INK, linewidth=1))
            axes.text(x + 15, line, words, va="center", fontsize=_FONT, color=INK)
        axes.text(width - 8, line, "all drawn equally large", va="center", ha="right", fontsize=_FONT, color=INK)

    @property
    def layers(self) -> tuple[Layer, Layer]:
        """From back to front: the maps, which change with the chain, and what the tile needs of them."""
        still = [artist for slot in self._slots for artist in (slot.box, *slot.name, slot.extent)]
        moving = [artist for slot in self._slots for artist in (slot.part, slot.needed)]
        return Layer(self._look, (*still, *self._links)), Layer(None, (*moving, self._cones))

    def update(self, maps: Sequence[FeatureMap], links: Sequence[str]) -> None:
        """Show these maps, first to last, and above each gap between two of them what the layers there do."""
        left = self._middle - _PITCH * (len(maps) - 1) / 2
        look = (tuple((one.name, one.size) for one in maps), tuple(links))
        for number, slot in enumerate(self._slots):
            shown = maps[number] if number < len(maps) else None
            if look != self._look:
                slot.place(shown, left + _PITCH * number, last=number == len(maps) - 1)
            if shown is not None:
                slot.need(shown)
        if look != self._look:
            for number, label in enumerate(self._links):
                words = links[number] if number < len(links) else ""
                label.set(text=words, x=left + _PITCH * (number + 0.5))
        self._look = look
        parts = [slot.part.get_bbox() for slot in self._slots[: len(maps)]]
        lines = [
            ((one.x1, other.x0, math.nan), (getattr(one, edge), getattr(other, edge), math.nan))
            for one, other in pairwise(parts)
            for edge in ("y0", "y1")
        ]
        self._cones.set_data([x for xs, _ in lines for x in xs], [y for _, ys in lines for y in ys])


class _Slot:
    """The place of one map: its outline, its part, its name above and its numbers below."""

    def __init__(self, axes: Axes) -> None:
        shape: dict[str, Any] = {"xy": (0, 0), "width": 1, "height": 1, "linewidth": 1.2, "animated": True}
        self.box, self.part = Rectangle(**shape, facecolor=PAPER, edgecolor=GREY), Rectangle(**shape, edgecolor=INK)
        for patch in (self.box, self.part):
            axes.add_patch(patch)
        text: dict[str, Any] = {"fontsize": _FONT, "color": INK, "animated": True, "ha": "center", "va": "baseline"}
        # Two artists for the two lines of a name: a canvas sets one line in a fraction of the time.
        self.name = tuple(axes.text(0, _TOP - 35 + 12 * line, "", **text) for line in range(2))
        text["fontsize"] = _LARGE
        self.needed = axes.text(0, _TOP + _BOX + 18, "", **text)
        self.extent = axes.text(0, _TOP + _BOX + 34, "", **text)

    def place(self, shown: FeatureMap | None, middle: float, last: bool) -> None:
        """Put a map around this middle, or nothing; the last holds the tile."""
        for artist in (self.box, self.part, *self.name, self.needed, self.extent):
            artist.set_visible(shown is not None)
        if shown is None:
            return
        self.box.set_bounds(middle - shown.width / 2, _TOP, shown.width, _BOX)
        self.part.set(facecolor=BLUE if last else ORANGE, hatch="///" if last else None)
        lines = ["", *_wrapped(shown.name)][-2:]
        for text, line in zip(self.name, lines, strict=True):
            text.set(text=line, x=middle)
        self.needed.set_x(middle)
        self.extent.set(text=f"of {shown.extent}", x=middle)

    def need(self, shown: FeatureMap) -> None:
        """Show the part that is needed."""
        y, tall = _span(shown.part[0], shown.size[0], _BOX)
        x, wide = _span(shown.part[1], shown.size[1], _BOX) if len(shown.size) > 1 else (0.0, _BAR)
        self.part.set_bounds(self.box.get_x() + x, _TOP + y, wide, tall)
        self.needed.set_text("all" if shown.whole else shown.needed)


def _span(part: tuple[int, int], size: int, side: float) -> tuple[float, float]:
    """Where a part of an axis lies on a side of that many pixels, and how long it is there."""
    start, long = side * part[0] / size, side * (part[1] - part[0]) / size
    if long >= _LEAST:
        return start, long
    return min(start, side - _LEAST), _LEAST


def _wrapped(name: str) -> list[str]:
    """A name in at most two lines, broken at its dots; what does not fit is left out at the front."""
    lines = [""]
    for piece in name.replace(".", ".\n").split("\n"):
        if len(lines[-1] + piece) > _LINE and lines[-1]:
            lines.append("")
        lines[-1] += piece
    return lines if len(lines) < 3 else ["…" + lines[-2], lines[-1]]
