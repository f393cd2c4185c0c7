"""Expected against measured times, a mark a layer: on the diagonal where the model is right."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from matplotlib.axes import Axes
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from ..measuring.comparing import CLOSE, Compared, Comparison
from ..quantities import show
from .canvas import BLUE, GREY, INK, PAPER, Canvas, Layer
from .roofline import MARKERS
from .scales import Scale

WIDTH, HEIGHT = 480, 420
_FONT = 12
_NAMED, _LONGEST = 3, 30  # outliers that are named, the farthest off, and the letters of a name
_STEPS = (1, 2, 5)  # numbers on an axis of fewer than two decades
_WORDS = {"memory": "memory-bound", "compute": "compute-bound", "balanced": "balanced"}


class MeasuredDrawing:
    """The artists of a comparison on given axes: made here once, moved by `update`.

    >>> from dnnlab import device
    >>> canvas = Canvas(WIDTH, HEIGHT)
    >>> drawing = MeasuredDrawing(canvas.axes(0.15, 0.13, 0.82, 0.76))
    >>> drawing.update(Comparison("torch", "fp32", device("t4"), ()))
    >>> canvas.png(*drawing.layers)[:4]
    b'\\x89PNG'
    """

    def __init__(self, axes: Axes) -> None:
        self.axes = axes
        axes.set_xscale("log")
        axes.set_yscale("log")
        for spine in axes.spines.values():
            spine.set_color(GREY)
        self._scales = (
            Scale(axes, "x", "time expected, or at best (hollow)", 29, _time, most=9),
            Scale(axes, "y", "time measured", 53, _time, most=9),
        )
        look: dict[str, Any] = {"animated": True}
        (self._band,) = axes.fill([1, 1], [1, 1], facecolor=BLUE, alpha=1 / 8, linewidth=0, **look)
        (self._diagonal,) = axes.plot([], [], color=INK, linewidth=1.6, **look)
        (self._gaps,) = axes.plot([], [], color=GREY, linewidth=0.7, linestyle=(0, (1, 2)), **look)
        line: dict[str, Any] = {"linestyle": "none", **look}
        self._hollow, self._filled = {}, {}
        for bound, (marker, colour) in MARKERS.items():
            (self._hollow[bound],) = axes.plot(
                [], [], marker=marker, markersize=6, markerfacecolor="none", markeredgecolor=GREY, **line
            )
            (self._filled[bound],) = axes.plot(
                [], [], marker=marker, markersize=8, markerfacecolor=colour, markeredgecolor=PAPER,
                markeredgewidth=0.7, **line,
            )  # fmt: skip
        text: dict[str, Any] = {"fontsize": _FONT, "color": INK, **look}
        corner: dict[str, Any] = {"transform": axes.transAxes, **text}
        self._corners = (
            axes.text(0.02, 0.98, "slower than expected", ha="left", va="top", **corner),
            axes.text(0.98, 0.02, "faster than expected", ha="right", va="bottom", **corner),
        )
        box: dict[str, Any] = {"boxstyle": "round,pad=0.2", "facecolor": PAPER, "edgecolor": GREY, "linewidth": 0.8}
        self._names = [
            axes.annotate("", (1, 1), (0, 0), textcoords="offset points", bbox=box, **text) for _ in range(_NAMED)
        ]
        self._scale = axes.figure.dpi / 72  # pixels of the picture to one of the page
        self._legend()

    @property
    def layers(self) -> tuple[Layer, ...]:
        """From back to front: the axes with the band, and the marks."""
        axes = tuple(artist for scale in self._scales for artist in scale.artists)
        marks = (*self._hollow.values(), *self._filled.values(), *self._names)
        return (
            Layer((self.axes.get_xlim(), self.axes.get_ylim()), (self._band, *axes, *self._corners, self._diagonal)),
            Layer(None, (self._gaps, *marks)),
        )

    def update(self, comparison: Comparison) -> None:
        """Show these layers; the farthest outliers are named."""
        rows = comparison.rows
        across = [time for row in rows for time in (row.expected, row.best)]
        (left, right), (low, high) = _span(across), _span([row.time for row in rows])
        self._scales[0].put(left, right, _places(left, right))
        self._scales[1].put(low, high, _places(low, high))
        self._diagonal.set_data([left, right], [left, right])
        (bottom, top), (lower, upper) = band(left), band(right)
        self._band.set_xy([(left, bottom), (left, top), (right, upper), (right, lower)])
        self._gaps.set_data(
            [x for row in rows for x in (row.best, row.expected, math.nan)],
            [y for row in rows for y in (row.time, row.time, math.nan)],
        )
        for bound in MARKERS:
            found = [row for row in rows if row.expectation.best.bound == bound]
            times = [row.time for row in found]
            self._filled[bound].set_data([row.expected for row in found], times)
            self._hollow[bound].set_data([row.best for row in found], times)
        for name in self._names:
            name.set_visible(False)
        taken: list[Bbox] = []
        for name, row in zip(self._names, comparison.outliers(), strict=False):
            box = self._place(name, row)
            if not any(box.overlaps(other) for other in taken):
                name.set_visible(True)
                taken.append(box)

    def _place(self, name: Annotation, row: Compared) -> Bbox:
        """Put a name beside its mark, away from the diagonal and within the axes; returns the pixels it takes."""
        text = row.name if len(row.name) <= _LONGEST else "…" + row.name[1 - _LONGEST :]
        wide = 0.62 * _FONT * len(text)
        name.set_text(text)
        name.xy = (row.expected, row.time)
        inside = self.axes.bbox
        x, y = self.axes.transData.transform(name.xy)
        left, right, low, high = (
            (end - at) / self._scale for at, ends in ((x, inside.intervalx), (y, inside.intervaly)) for end in ends
        )
        slower = row.time > row.expected
        aside = min(max(-10 - wide if slower else 10, left + 8), right - 8 - wide)
        up = min(max(10 if slower else -22, low + 8), high - 20)
        name.xyann = (aside, up)
        return Bbox.from_bounds(x + (aside - 4) * self._scale, y + (up - 6) * self._scale,
                                (wide + 8) * self._scale, 26 * self._scale)  # fmt: skip

    def _legend(self) -> None:
        # Artists at places of our own, as in the roofline: matplotlib's legend takes longer than all the rest.
        above: dict[str, Any] = {"transform": self.axes.transAxes, "clip_on": False}
        for place, (bound, (marker, colour)) in zip((-0.12, 0.2, 0.54), MARKERS.items(), strict=True):
            self.axes.plot(place + 0.014, 1.045, marker=marker, color=colour, markersize=8, **above)
            self.axes.text(place + 0.04, 1.045, _WORDS[bound], va="center", fontsize=_FONT, color=INK, **above)
        self.axes.fill([0.76, 0.8, 0.8, 0.76], [1.03, 1.03, 1.06, 1.06], facecolor=BLUE, alpha=1 / 8, **above)
        self.axes.text(0.82, 1.045, f"within {CLOSE:.0%}", va="center", fontsize=_FONT, color=INK, **above)


def band(expected: float) -> tuple[float, float]:
    """The measured times between which an expectation is close.

    >>> band(75)
    (60.0, 100.0)
    """
    return expected / (1 + CLOSE), expected / (1 - CLOSE)


@dataclass(frozen=True)
class ComparisonPicture:
    """A comparison as a picture, which a notebook shows. Made by `Comparison.picture`."""

    comparison: Comparison = field(repr=False)

    @property
    def alt(self) -> str:
        """The picture in words."""
        rows = self.comparison.rows
        near = sum(abs(row.error) <= CLOSE for row in rows)
        slow = sum(row.time > row.expected and abs(row.error) > CLOSE for row in rows)
        return (
            f"Expected against measured time of {len(rows)} layers on logarithmic scales. {near} lie within "
            f"{CLOSE:.0%} of the diagonal, {slow} above it (slower than expected) and {len(rows) - near - slow} below. "
            + self.comparison.sentence()
        )

    def png(self) -> bytes:
        """The picture itself."""
        canvas = Canvas(WIDTH, HEIGHT)
        drawing = MeasuredDrawing(canvas.axes(0.155, 0.12, 0.82, 0.79))
        drawing.update(self.comparison)
        return canvas.png(*drawing.layers)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        png = base64.b64encode(self.png()).decode("ascii")
        page = (
            f'<figure style="margin:0"><img src="data:image/png;base64,{png}" alt="{escape(self.alt)}" width="{WIDTH}" '
            f'style="max-width:100%;height:auto"><figcaption>{escape(self.comparison.sentence())}</figcaption></figure>'
        )
        return {"text/plain": repr(self), "image/png": png, "text/html": page}


def _span(times: Sequence[float]) -> tuple[float, float]:
    """Ends of an axis, a little beyond the shortest and the longest time."""
    low, high = min(times, default=1e-3), max(times, default=1e-3)
    margin = max((high / low) ** 0.06, math.sqrt(20 * low / high))  # a decade at least, for two numbers or more
    return low / margin, high * margin


def _places(low: float, high: float) -> list[float]:
    """Powers of ten, or finer round times where there are few of them."""
    steps = (1,) if high / low > 300 else _STEPS
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [place for n in decades for step in steps if low <= (place := step * 10.0**n) <= high]


def _time(seconds: float) -> str:
    return show(seconds, "s")
