"""The scale of an axis: grid lines, ticks and their numbers, in a tenth of the time of matplotlib's own.

matplotlib makes five artists for every tick and measures all words before it draws them. Here all grid lines are one
artist with gaps, and so are all ticks; the numbers are words like any other, which a `Canvas` keeps as stamps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any, Literal

from matplotlib.artist import Artist
from matplotlib.axes import Axes

from .canvas import GREY, GRID, INK

_FONT = 12
_TICK, _PAD = 3.5, 7.0  # how far ticks stick out, and where numbers begin, in pixels of the page


class Scale:
    """The artists of one axis of `axes`: made here once, moved by `put`; they belong into the first layers of a canvas.

    `words` say what is measured, `aside` in pixels of the page outside the box; `show` writes a number (None: none are
    written), of which there are `most`.

    >>> from dnnlab.figures import Canvas, Layer
    >>> canvas = Canvas(200, 100)
    >>> scale = Scale(canvas.axes(0.2, 0.3, 0.7, 0.6), "x", "seconds", 20, "{:g}".format)
    >>> scale.put(0, 3, [0, 1, 2, 3])
    >>> canvas.png(Layer((0, 3), scale.artists))[:4]
    b'\\x89PNG'
    """

    def __init__(
        self,
        axes: Axes,
        axis: Literal["x", "y"],
        words: str,
        aside: float,
        show: Callable[[float], str] | None,
        most: int = 12,
    ) -> None:
        self.axes, self._across, self._show = axes, axis == "x", show
        #: Where the grid lines are.
        self.places: tuple[float, ...] = ()
        (axes.xaxis if self._across else axes.yaxis).set_visible(False)
        # Along the axis in its own numbers, across it from 0 to 1.
        place = axes.get_xaxis_transform() if self._across else axes.get_yaxis_transform()
        self._pixel = axes.figure.dpi / 72 / (axes.bbox.height if self._across else axes.bbox.width)
        line: dict[str, Any] = {"animated": True, "linewidth": 0.8, "transform": place}
        (self._grid,) = axes.plot([], [], color=GRID, **line)
        (self._ticks,) = axes.plot([], [], color=GREY, clip_on=False, **line)
        look: dict[str, Any] = {"animated": True, "color": INK}
        sides: dict[str, Any] = {"ha": "center", "va": "top"}
        turned: dict[str, Any] = {"va": "top"}
        if not self._across:
            sides = {"ha": "right", "va": "center_baseline"}
            turned = {"va": "bottom", "rotation": "vertical", "rotation_mode": "anchor"}
        x, y = self._point(1, -_PAD * self._pixel)
        self.numbers = [
            axes.text(x, y, "", transform=place, fontsize=_FONT - 1, **sides, **look)
            for _ in range(most if show is not None else 0)
        ]
        x, y = self._point(0.5, -aside * self._pixel)
        self.words = axes.text(x, y, words, ha="center", fontsize=_FONT, transform=axes.transAxes, **turned, **look)

    @property
    def artists(self) -> tuple[Artist, ...]:
        """All of it, from back to front."""
        return (self._grid, self._ticks, *self.numbers, self.words)

    def put(self, low: float, high: float, places: Sequence[float]) -> None:
        """Let the axis go from `low` to `high`, with a grid line, a tick and a number at each of these places."""
        self.places = tuple(places)
        (self.axes.set_xlim if self._across else self.axes.set_ylim)(low, high)
        along = [place for one in places for place in (one, one, math.nan)]
        for line, end in ((self._grid, 1.0), (self._ticks, -_TICK * self._pixel)):
            line.set_data(*self._point(along, [0.0, end, math.nan] * len(places)))
        for text, place in zip_longest(self.numbers, places[: len(self.numbers)]):
            text.set_visible(place is not None)
            if place is not None and self._show is not None:
                (text.set_x if self._across else text.set_y)(place)
                text.set_text(self._show(place))

    def _point(self, along: Any, aside: Any) -> tuple[Any, Any]:
        return (along, aside) if self._across else (aside, along)
