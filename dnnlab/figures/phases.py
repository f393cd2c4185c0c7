"""One batch of training as three pairs of bars: how long each phase keeps the arithmetic and the memory busy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from ..epoch import EpochTime
from ..quantities import show
from .canvas import BLUE, GREY, GRID, INK, PAPER, VERMILION, Layer

#: Words, colour and hatch of each engine: any of them tells the two apart.
ENGINES = {"compute": ("arithmetic", VERMILION, "////"), "memory": ("memory", BLUE, "")}
_WAITS: dict[str, Any] = {"facecolor": PAPER, "edgecolor": GREY, "linestyle": (0, (3, 2))}
_FONT = 12
# In pixels of the page, from the top left corner of the picture.
WIDTH, HEIGHT = 480, 272
_LEFT, _LONGEST, _THICK, _TIMES, _RATIOS = 82, 256, 17, 404, 474
_TOPS = (34, 110, 186)  # of the three pairs, where their titles stand
_BOTTOM = _TOPS[-1] + 60
_STOPS = (1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10)  # ends of the axis in each decade; half of each is round too


@dataclass(frozen=True)
class Bar:
    """One engine in one phase: the time it is busy, the time it waits after that, and both as numbers."""

    busy: Rectangle
    waits: Rectangle
    time: Text
    ratio: Text


class PhasesDrawing:
    """The artists of one batch on axes that span a picture of `WIDTH` x `HEIGHT`: made here once, moved by `update`.

    >>> from dnnlab import device, zoo
    >>> from dnnlab.epoch import epoch
    >>> from dnnlab.figures import Canvas
    >>> canvas = Canvas(WIDTH, HEIGHT)
    >>> drawing = PhasesDrawing(canvas.axes(0, 0, 1, 1))
    >>> drawing.update(epoch(zoo.lenet5()).on(device("t4"), "fp32"))
    >>> canvas.png(*drawing.layers)[:4]
    b'\\x89PNG'
    """

    # Letters take most of the time of this picture: words that stay are in the frame, and numbers are short.
    def __init__(self, axes: Axes) -> None:
        self.axes = axes
        axes.set_axis_off()
        axes.set_xlim(0, WIDTH)
        axes.set_ylim(HEIGHT, 0)
        self._legend()
        for share, colour in ((0.0, GREY), (0.5, GRID), (1.0, GRID)):
            x = _LEFT + share * _LONGEST
            axes.plot([x, x], [_TOPS[0] - 8, _BOTTOM], color=colour, linewidth=1, zorder=0)
        self._words(_LEFT, _BOTTOM + 10, "0", "center")
        self._ticks = [self._number(_LEFT + share * _LONGEST, _BOTTOM + 10, "center") for share in (0.5, 1.0)]
        self._words(_TIMES + 4, _BOTTOM + 10, "epoch", "right")
        self._whole = self._number(_RATIOS, _BOTTOM + 10, "right")
        self._totals = [self._number(_TIMES, top, "right", weight="bold") for top in _TOPS]
        for top, name in zip(_TOPS, ("Forward pass", "Backward pass", "Gradient update"), strict=True):
            self._words(_LEFT + 4, top, name, "left", weight="bold")
        #: A bar for each engine, by phase.
        self.bars = [
            {engine: self._bar(engine, top + 11 + 21 * row) for row, engine in enumerate(ENGINES)} for top in _TOPS
        ]
        for bar in self.bars[0].values():
            self._words(_RATIOS, bar.ratio.get_position()[1], "1×", "right")

    @property
    def layers(self) -> tuple[Layer, ...]:
        """From back to front, what changes most rarely first: a device alters no ratio, more samples only the epoch."""
        bars = [bar for pair in self.bars for bar in pair.values()]
        ratios, times = [bar.ratio for bar in bars], [*(bar.time for bar in bars), *self._totals]
        patches = [patch for bar in bars for patch in (bar.waits, bar.busy)]
        widths = tuple(patch.get_width() for patch in patches)
        return (
            Layer(_read(ratios), tuple(ratios)),
            Layer(_read(self._ticks), tuple(self._ticks)),
            Layer((widths, _read(times)), (*patches, *times)),
            Layer(None, (self._whole,)),
        )

    def update(self, time: EpochTime) -> None:
        """Show the phases of one batch on one axis of time, and how long the epoch takes."""
        self._whole.set_text(show(time.total, "s"))
        end = round_end(max(float(phase.total) for phase in time.phases))
        for tick, share in zip(self._ticks, (0.5, 1.0), strict=True):
            tick.set_text(show(share * end, "s"))
        for number, pair, phase in zip(self._totals, self.bars, time.phases, strict=True):
            number.set_text(show(phase.total, "s"))
            for engine, bar in pair.items():
                busy = float(getattr(phase, engine))
                self._move(bar, busy, float(phase.total), _LONGEST / end)
                forward = float(getattr(time.forward, engine))
                bar.ratio.set_text(_short(busy / forward) if forward and phase is not time.forward else "")

    def _move(self, bar: Bar, busy: float, total: float, scale: float) -> None:
        waits = max(total - busy, 0.0)
        bar.busy.set_width(busy * scale)
        bar.waits.set_x(_LEFT + busy * scale)
        bar.waits.set_width(waits * scale)
        bar.waits.set_visible(waits * scale > 1)
        bar.time.set_text(show(busy, "s"))

    def _bar(self, engine: str, y: float) -> Bar:
        name, colour, hatch = ENGINES[engine]
        look: dict[str, Any] = {"facecolor": colour, "edgecolor": PAPER, "linewidth": 0, "hatch": hatch}
        busy = Rectangle((_LEFT, y), 0, _THICK, animated=True, **look)
        waits = Rectangle((_LEFT, y), 0, _THICK, animated=True, **_WAITS)
        for patch in (waits, busy):
            self.axes.add_patch(patch)
        middle = y + _THICK / 2
        self._words(_LEFT - 6, middle, name, "right")
        return Bar(busy, waits, self._number(_TIMES, middle, "right"), self._number(_RATIOS, middle, "right"))

    def _legend(self) -> None:
        looks: list[tuple[int, str, dict[str, Any]]] = [
            (x, f"{words} works", {"facecolor": colour, "edgecolor": PAPER, "linewidth": 0, "hatch": hatch})
            for x, (words, colour, hatch) in zip((6, 149), ENGINES.values(), strict=True)
        ]
        for x, words, look in (*looks, (281, "waits", _WAITS)):
            self.axes.add_patch(Rectangle((x, 6), 22, 12, **look))
            self._words(x + 28, 12, words, "left")
        self._words(_RATIOS, 12, "× forward", "right")

    def _words(self, x: float, y: float, words: str, side: str, **look: Any) -> Text:
        return self.axes.text(x, y, words, ha=side, va="center", fontsize=_FONT, color=INK, **look)

    def _number(self, x: float, y: float, side: str, **look: Any) -> Text:
        return self._words(x, y, "", side, animated=True, **look)


def _read(texts: list[Text]) -> tuple[str, ...]:
    return tuple(text.get_text() for text in texts)


def round_end(longest: float) -> float:
    """A round time that the longest bar fits in."""
    if longest <= 0:
        return 1.0
    decade = 10.0 ** math.floor(math.log10(longest))
    return next(stop * decade for stop in (*_STOPS, 12) if stop * decade >= longest)


def _short(ratio: float) -> str:
    """A ratio in two or three digits, with its sign."""
    digits = f"{ratio:.2f}" if 0.095 <= ratio < 10 else f"{ratio:.2g}" if ratio < 0.095 else show(ratio, "")
    return f"{digits}×"
