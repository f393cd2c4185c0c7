"""What a line costs, as bars on a logarithmic scale: how many numbers each tensor holds, and how often it is used."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from ..quantities import show
from .canvas import BLUE, GREY, INK, ORANGE, PAPER, VERMILION, Layer
from .scales import Scale

_LEFT = 0.6  # left of 1, so that a tensor of one number has a bar too
_DECADES = 12  # the axis has as many, or twice as many: it rarely moves
_FONT = 12
_THICK = 0.3  # of a row
_GROWING: dict[str, Any] = {
    "linestyle": "none", "marker": ">", "markersize": 8, "markerfacecolor": PAPER, "markeredgecolor": INK,
}  # fmt: skip
_HATCHED: dict[str, Any] = {"facecolor": "none", "edgecolor": ORANGE, "hatch": "////", "linewidth": 1.4}


@dataclass(frozen=True)
class Bar:
    """A bar: its name, `count` numbers, each used `uses` times (None for a bare count); `grows` says which of the
    two parts grow with the index that is looked at."""

    name: str
    count: float
    uses: float | None = None
    grows: tuple[bool, bool] = (False, False)

    @property
    def words(self) -> str:
        """What it shows: 36.9 k × 3,136."""
        return show(self.count, "") + ("" if self.uses is None else f" × {_count(self.uses)}")


class CostDrawing:
    """The artists of the bars on given axes: made here once, moved by `update`.

    Numbers are solid; hatched behind them comes how often each is used. On a logarithmic scale the two add up to
    the touches, so the bars of a line's tensors end at one place: the number of times the line runs.

    >>> from dnnlab.figures import Canvas
    >>> canvas = Canvas(480, 300)
    >>> drawing = CostDrawing(canvas.axes(0.02, 0.1, 0.96, 0.8))
    >>> drawing.update([Bar("operations", 2e6), Bar("weight", 1e4, 100, (False, True))], "n")
    >>> canvas.png(*drawing.layers)[:4]
    b'\\x89PNG'
    """

    #: The most bars there is room for, that of the operations among them.
    MOST: ClassVar[int] = 7

    def __init__(self, axes: Axes) -> None:
        self.axes = axes
        axes.set_xscale("log")
        axes.set_ylim(self.MOST, 0)
        axes.yaxis.set_visible(False)
        self._scale = Scale(axes, "x", "", 0, lambda value: show(value, ""))
        for side, spine in axes.spines.items():
            spine.set_visible(side == "bottom")
            spine.set_color(GREY)
        places = range(self.MOST)
        self._bars = [axes.add_patch(Rectangle((_LEFT, 0), 0, _THICK, animated=True)) for _ in places]
        self._uses = [axes.add_patch(Rectangle((_LEFT, 0), 0, _THICK, animated=True, **_HATCHED)) for _ in places]
        text: dict[str, Any] = {"fontsize": _FONT, "color": INK, "animated": True, "va": "bottom"}
        across = axes.get_yaxis_transform()  # from 0 to 1 across, rows down
        self._names = [axes.text(0, 0, "", transform=across, **text) for _ in places]
        self._words = [axes.text(0.37, 0, "", transform=across, **text) for _ in places]
        (self._growing,) = axes.plot([], [], animated=True, zorder=3, **_GROWING)
        self._heading = axes.text(0.67, 1.03, "", transform=axes.transAxes, **text)
        self._legend()
        self._end = _DECADES
        self._shown: tuple[Bar, ...] = ()
        self._stretch()

    @property
    def layers(self) -> tuple[Layer, Layer, Layer, Layer]:
        """From back to front: the axis; names, which are those of a line; the index; and the bars with their
        numbers."""
        names = tuple(bar.name for bar in self._shown)
        return (
            Layer(self._end, self._scale.artists),
            Layer(names, tuple(self._names)),
            Layer(self._heading.get_text(), (self._heading,)),
            Layer(self._shown, (*self._bars, *self._uses, *self._words, self._growing)),
        )

    def update(self, bars: Sequence[Bar], index: str = "") -> None:
        """Show these bars, at most `MOST`, from top to bottom, and mark what grows with the index."""
        longest = max((bar.count * max(bar.uses or 1, 1) for bar in bars), default=1)
        end = _DECADES * max(1, math.ceil(math.log10(max(longest, 1)) / _DECADES))
        if end != self._end:
            self._end = end
            self._stretch()
        self._shown = tuple(bars)
        self._heading.set_text(f"grows with {index if len(index) < 12 else index[:11] + '…'}")
        apart = min(1.5, self.MOST / max(len(bars), 1))
        growing: list[tuple[float, float]] = []
        for place in range(self.MOST):
            bar = bars[place] if place < len(bars) else None
            artists = self._names, self._words, self._bars, self._uses
            for artist in artists:
                artist[place].set_visible(bar is not None)
            if bar is not None:
                growing += self._place(place, place * apart + 0.5, bar)
        self._growing.set_data([x for x, _ in growing], [y for _, y in growing])

    def _place(self, place: int, y: float, bar: Bar) -> list[tuple[float, float]]:
        """Put a bar where it belongs, and return the middles of its parts that grow."""
        for artist, text in ((self._names, bar.name), (self._words, bar.words)):
            artist[place].set(text=text, y=y)
        self._bars[place].set(y=y + 0.06, width=max(bar.count - _LEFT, 0))
        self._bars[place].set_facecolor(VERMILION if bar.uses is None else BLUE)
        touches = bar.count * max(bar.uses or 1, 1)
        self._uses[place].set(x=bar.count, y=y + 0.06, width=touches - bar.count, visible=touches > bar.count)
        count = max(bar.count, 1)
        # a part of no length has its mark just behind the bar
        middles = math.sqrt(_LEFT * count), math.sqrt(count * max(touches, 2 * count))
        return [(x, y + 0.06 + _THICK / 2) for x, grows in zip(middles, bar.grows, strict=True) if grows]

    def _stretch(self) -> None:
        step = self._end // 4
        self._scale.put(_LEFT, 10.0**self._end, [10.0**n for n in range(0, self._end + 1, step)])

    def _legend(self) -> None:
        above: dict[str, Any] = {"transform": self.axes.transAxes, "clip_on": False}
        pixel = self.axes.figure.dpi / 72
        wide, high = 14 * pixel / self.axes.bbox.width, 9 * pixel / self.axes.bbox.height
        for at, words, look in ((0.0, "numbers", {"facecolor": BLUE}), (0.2, "× uses of each", _HATCHED)):
            self.axes.add_patch(Rectangle((at + 0.003, 1.042), wide, high, **look, **above))
            self.axes.text(at + 0.045, 1.03, words, va="bottom", fontsize=_FONT, color=INK, **above)
        self.axes.plot(0.65, 1.062, **_GROWING, **above)


def _count(uses: float) -> str:
    return show(uses, "") if uses >= 10000 else f"{uses:,.0f}" if uses >= 100 else f"{uses:.3g}"
