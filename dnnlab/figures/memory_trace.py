"""Memory over time under a checkpointing plan, and beside it the frontier of time against peak memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from .canvas import BLUE, GREEN, GREY, INK, ORANGE, PAPER, VERMILION, Layer
from .scales import Scale

#: What an operation does, with the look of its time: the hatches tell them apart without colour.
LOOKS = {"forward": (BLUE, ""), "again": (ORANGE, "////"), "backward": (GREEN, "..")}
_FONT = 12
_ROOM = 1.2  # of the axis of memory above the peak that it must hold, for words
_DASHES = (0, (3, 2))
_NOTHING = Path(np.zeros((0, 2)))
_STEP = 0.5  # in which the axis of time grows


@dataclass(frozen=True)
class Stretch:
    """One operation: from when to when, the memory meanwhile, and its kind, one of `LOOKS`."""

    start: float
    end: float
    memory: float
    kind: str


@dataclass(frozen=True)
class MemoryTrace:
    """A plan's stretches in time; `reference`, those of another plan; the `front`, pairs of time and peak, the fastest
    first; a `budget`; and the `unit` of memory. Times are in any unit, such as that of the reference in all."""

    stretches: tuple[Stretch, ...]
    reference: tuple[Stretch, ...]
    front: tuple[tuple[float, float], ...]
    budget: float
    unit: str

    @property
    def fullest(self) -> Stretch:
        """The first stretch at the peak."""
        return max(self.stretches, key=lambda stretch: stretch.memory)

    @property
    def time(self) -> float:
        """When the plan is done."""
        return self.stretches[-1].end


class TraceDrawing:
    """The artists of a trace and of a frontier, on axes side by side that share the scale of memory: made here once,
    moved by `update`.

    >>> from dnnlab.figures import Canvas
    >>> canvas = Canvas(480, 300)
    >>> drawing = TraceDrawing(canvas.axes(0.1, 0.16, 0.52, 0.74), canvas.axes(0.67, 0.16, 0.31, 0.74))
    >>> steps = Stretch(0, 0.5, 2, "forward"), Stretch(0.5, 1, 3, "backward")
    >>> drawing.update(MemoryTrace(steps, steps, ((1, 3), (2, 2)), 2.5, "outputs"))
    >>> canvas.png(*drawing.layers)[:4]
    b'\\x89PNG'
    """

    def __init__(self, trace: Axes, front: Axes) -> None:
        self.trace, self.front = trace, front
        for axes in (trace, front):
            for spine in axes.spines.values():
                spine.set_color(GREY)
        number = "{:g}".format
        self._times = Scale(trace, "x", "time (1: keep everything)", 26, number)
        self._all_times = Scale(front, "x", "time in all", 26, number)
        self._memory = Scale(trace, "y", "", 33.6, number)
        self._same_memory = Scale(front, "y", "", 0, None)
        self.scales = self._times, self._all_times, self._memory, self._same_memory
        moved: dict[str, Any] = {"animated": True}
        self.bars = {kind: _patch(kind, _NOTHING, **moved) for kind in LOOKS}
        for bars in self.bars.values():
            trace.add_patch(bars)
        dashed: dict[str, Any] = {"color": INK, "linewidth": 1.2, "linestyle": _DASHES, **moved}
        self.reference = trace.plot([], [], **dashed)[0]
        # Along the tops: a bar that is narrower than a pixel would not be seen without.
        self.outline = trace.plot([], [], color=INK, linewidth=0.9, **moved)[0]
        self.stairs = front.plot([], [], color=BLUE, linewidth=1.5, drawstyle="steps-post", **moved)[0]
        self.points = front.plot([], [], "o", color=BLUE, markersize=6, markeredgecolor=PAPER, **moved)[0]
        level: dict[str, Any] = {"color": INK, "linewidth": 1, "linestyle": (0, (1, 2)), **moved}
        self.levels = [axes.plot([], [], **level)[0] for axes in (trace, front)]
        limit: dict[str, Any] = {"color": VERMILION, "linewidth": 1.6, "linestyle": (0, (7, 2, 1, 2)), **moved}
        self.budgets = [axes.plot([], [], **limit)[0] for axes in (trace, front)]
        top: dict[str, Any] = {"color": INK, "markeredgecolor": PAPER, "linestyle": "none", **moved}
        self.peak = trace.plot([], [], marker="v", markersize=9, **top)[0]
        self.own = front.plot([], [], marker="D", markersize=10, **top)[0]
        words: dict[str, Any] = {"fontsize": _FONT, "color": INK, "textcoords": "offset points", **moved}
        plain: dict[str, Any] = {"boxstyle": "square,pad=0.05", "facecolor": PAPER, "linewidth": 0}
        self.peak_words = trace.annotate("", (0, 0), (0, 11), ha="center", va="bottom", bbox=plain, **words)
        self.budget_words = front.annotate("budget", (1, 0), (-3, 3), ha="right", va="bottom", **words)
        self._legend()
        self._data: MemoryTrace | None = None
        self._wide = self._tall = self._far = 1.0

    @property
    def layers(self) -> tuple[Layer, Layer, Layer]:
        """From back to front: the axes that follow the chain; that of the trace's time, which follows the plan; all
        the rest."""
        unit = self._data and self._data.unit
        scales = self._memory, self._all_times, self._same_memory
        axes = Layer((self._tall, self._far, unit), tuple(one for scale in scales for one in scale.artists))
        time = Layer(self._wide, self._times.artists)
        marks = (
            *self.bars.values(), self.outline, self.reference, *self.levels, *self.budgets, self.stairs, self.points,
            self.budget_words, self.own, self.peak, self.peak_words,
        )  # fmt: skip
        return axes, time, Layer(None, marks)

    def update(self, data: MemoryTrace) -> None:
        """Show this trace and its frontier."""
        self._data, most = data, data.fullest
        times, peaks = zip(*data.front, strict=True)
        ends = data.time, data.reference[-1].end
        self._wide = max(1.5, _STEP * ceil((max(ends) + 0.02) / _STEP))
        self._far = max(1.5, _STEP * ceil((max(*times, data.time) + 0.1) / _STEP))
        self._tall = _ROOM * max(*peaks, *(stretch.memory for stretch in data.reference))
        self._tall = max(self._tall, 1.1 * most.memory)
        self._memory.words.set_text(f"memory, {data.unit}")
        near = 1 - 0.06 * (self._far - 1)  # so that a mark at 1 is whole
        for scale, low, high, count in (
            (self._times, 0.0, self._wide, 5), (self._all_times, near, self._far, 5),
            (self._memory, 0.0, self._tall, 10), (self._same_memory, 0.0, self._tall, 10),
        ):  # fmt: skip
            scale.put(low, high, _ticks(low, high, count))
        for kind, bars in self.bars.items():
            bars.set_path(_boxes([stretch for stretch in data.stretches if stretch.kind == kind]))
        self.reference.set_data(*_outline(data.reference))
        self.outline.set_data(*_outline(data.stretches))
        self.stairs.set_data([times[0], *times, self._far], [self._tall, *peaks, peaks[-1]])
        self.points.set_data(times, peaks)
        middle = (most.start + most.end) / 2
        self.levels[0].set_data([middle, self._wide], [most.memory] * 2)
        self.levels[1].set_data([near, data.time], [most.memory] * 2)
        for line, end in zip(self.budgets, (self._wide, self._far), strict=True):
            line.set_data([0, end], [data.budget] * 2)
        self.peak.set_data([middle], [most.memory + 0.022 * self._tall])
        self.own.set_data([data.time], [most.memory])
        self.peak_words.set_text(f"peak {most.memory:.3g}")
        self.peak_words.xy = (min(max(middle, 0.12 * self._wide), 0.88 * self._wide), most.memory)
        self.budget_words.xy = (self._far, data.budget)

    def _legend(self) -> None:
        # Marks at places of our own: matplotlib's legend takes longer to lay out than all the axes to draw.
        def mark(axes: Axes, x: float, words: str, shift: float, **look: Any) -> None:
            place: dict[str, Any] = {"transform": axes.transAxes, "clip_on": False}
            axes.plot(x, 1.06, **look, **place)
            axes.text(x + shift, 1.055, words, va="center", fontsize=_FONT, color=INK, **place)

        above: dict[str, Any] = {"transform": self.trace.transAxes, "clip_on": False}
        words: dict[str, Any] = {"va": "center", "fontsize": _FONT, "color": INK}
        for x, kind in zip((-0.19, 0.09, 0.315), LOOKS, strict=True):
            box = Stretch(x, x + 0.045, 1.08, kind)
            self.trace.add_patch(_patch(kind, _boxes([box], 1.03), **above))
            self.trace.text(x + 0.06, 1.055, kind, **words, **above)
        self.trace.plot([0.645, 0.705], [1.055, 1.055], color=INK, linewidth=1.2, linestyle=_DASHES, **above)
        self.trace.text(0.725, 1.055, "keep all", **words, **above)
        edge: dict[str, Any] = {"linestyle": "none", "markeredgecolor": PAPER}
        mark(self.front, 0.04, "best plans", 0.05, marker="o", color=BLUE, markersize=6, **edge)
        mark(self.front, 0.6, "this plan", 0.06, marker="D", color=INK, markersize=9, **edge)


def _patch(kind: str, path: Path, **options: Any) -> PathPatch:
    colour, hatch = LOOKS[kind]
    return PathPatch(path, facecolor=colour, edgecolor=PAPER, linewidth=0.5, hatch=hatch, **options)


def _boxes(stretches: Sequence[Stretch], bottom: float = 0) -> Path:
    """The bars of stretches as one path: a hatch is drawn once for a path, and takes its time."""
    corners = [
        (time, level)
        for s in stretches
        for time, level in (
            (s.start, bottom), (s.start, s.memory), (s.end, s.memory), (s.end, bottom), (s.start, bottom)
        )
    ]  # fmt: skip
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY] * len(stretches)
    return Path(np.array(corners).reshape(-1, 2), codes)


def _ticks(low: float, high: float, most: int) -> list[float]:
    """Round places between the ends, at most so many: matplotlib's own stick out."""
    decade = 10.0 ** floor(log10((high - low) / most))
    step = next(n * decade for n in (1, 2, 5, 10) if (high - low) / (n * decade) < most)
    return [n * step for n in range(ceil(low / step), floor(high / step) + 1)]


def _outline(stretches: Sequence[Stretch]) -> tuple[list[float], list[float]]:
    """A line along the tops of stretches."""
    times = [time for stretch in stretches for time in (stretch.start, stretch.end)]
    return times, [stretch.memory for stretch in stretches for _ in range(2)]
