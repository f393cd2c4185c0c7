"""The roofline (Williams et al. 2009): what a device allows, and where the layers of a network stand under it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ..balance import Roofline
from ..bounds import LayerTime
from ..quantities import show
from .canvas import BLUE, GREEN, GREY, INK, PAPER, VERMILION, Layer
from .scales import Scale

#: Shape and colour by bound: either alone tells them apart.
MARKERS = {"memory": ("o", BLUE), "compute": ("^", VERMILION), "balanced": ("D", GREEN)}
_SMALLEST, _LARGEST = 22.0, 230.0  # areas of markers in square pixels
_DECADES = (-2, 4)  # intensities of every layer of the zoo, so that the axis rarely moves
_FONT = 12


class RooflineDrawing:
    """The artists of a roofline on given axes: made here once, moved by `update`.

    >>> from dnnlab import device, roofline, zoo
    >>> from dnnlab.figures import Canvas
    >>> canvas = Canvas(480, 280)
    >>> drawing = RooflineDrawing(canvas.axes(0.13, 0.16, 0.83, 0.75))
    >>> data = roofline(zoo.lenet5(), device("t4"), "fp16")
    >>> drawing.update(data, data.points[0])
    >>> canvas.png(*drawing.layers)[:4]
    b'\\x89PNG'
    """

    def __init__(self, axes: Axes) -> None:
        self.axes = axes
        axes.set_xscale("log")
        axes.set_yscale("log")
        for spine in axes.spines.values():
            spine.set_color(GREY)
        # '1 T' instead of 10¹²: readable, and a formula as a number costs milliseconds.
        self._intensities = Scale(axes, "x", "intensity: operations per byte", 29, "{:g}".format)
        self._speeds = Scale(axes, "y", "operations per second", 49, lambda value: show(value, ""))
        self._roof = axes.plot([], [], color=INK, linewidth=2, animated=True)[0]
        self._ridge = axes.plot([], [], color=GREY, linewidth=1.2, linestyle=(0, (4, 3)), animated=True)[0]
        text: dict[str, Any] = {"fontsize": _FONT, "color": INK, "animated": True}
        self._peak_label = axes.annotate("", (1, 1), (-6, 4), textcoords="offset points", ha="right", **text)
        self._slope_label = axes.text(1, 1, "", ha="center", va="bottom", rotation_mode="anchor", **text)
        self._ridge_label = axes.annotate("", (1, 1), (-5, 5), textcoords="offset points", ha="right", **text)
        self._points = {
            bound: axes.scatter(
                [], [], marker=marker, color=colour, edgecolors=PAPER, linewidths=0.7, animated=True, zorder=3
            )
            for bound, (marker, colour) in MARKERS.items()
        }
        # Last in the list and so on top: the layer that is picked.
        self._picked = axes.plot([], [], linestyle="none", markeredgecolor=PAPER, animated=True)[0]
        ring: dict[str, Any] = {"marker": "o", "markersize": 20, "markerfacecolor": "none", "markeredgewidth": 2.2}
        self._ring = axes.plot([], [], linestyle="none", markeredgecolor=INK, animated=True, **ring)[0]
        box: dict[str, Any] = {"boxstyle": "round,pad=0.25", "facecolor": PAPER, "edgecolor": GREY, "linewidth": 0.8}
        self._label = axes.annotate("", (1, 1), (0, 0), textcoords="offset points", bbox=box, **text)
        self._legend()
        # Pixels of the picture to one of the page; the box of the axes is in the former.
        self._scale = axes.figure.dpi / 72
        self._data: Roofline | None = None
        self._wide = self._tall = (1.0, 10.0)

    @property
    def layers(self) -> tuple[Layer, Layer, Layer]:
        """From back to front: the axis of intensities, the roofs of a device with theirs, and the layers of the
        network."""
        roofs = self._roof, self._ridge, self._peak_label, self._slope_label, self._ridge_label
        marks = *self._points.values(), self._picked, self._ring, self._label
        look = None if self._data is None else (self._tall, self._data.rate, self._data.bandwidth)
        return (
            Layer(self._wide, self._intensities.artists),
            Layer(look, (*self._speeds.artists, *roofs)),
            Layer(None, marks),
        )

    def update(self, data: Roofline, picked: LayerTime | None = None) -> None:
        """Show these roofs and layers, one of them ringed and named (one without arithmetic has no place)."""
        if data is not self._data:
            self._place(data)
        visible = picked is not None and picked.ops != 0
        for artist in (self._picked, self._ring, self._label):
            artist.set_visible(visible)
        if picked is not None and visible:
            self._pick(picked)

    def _place(self, data: Roofline) -> None:
        """Put the roofs and every layer where they belong."""
        before, self._data = [layer.look for layer in self.layers], data
        x, y = np.array([[p.intensity, p.rate] for p in data.points]).reshape(-1, 2).T
        self._wide, self._tall = _span(x, _DECADES), _span(y, _rates(data))
        if [layer.look for layer in self.layers] != before:
            self._raise_roofs(data)
        bounds = np.array([p.bound for p in data.points])
        times = np.array([p.total for p in data.points], dtype=float)
        areas = _SMALLEST + (_LARGEST - _SMALLEST) * times / times.max(initial=1e-300)
        for bound, artist in self._points.items():
            # Networks repeat their layers: equal ones are one mark. By area, as `unique` sorts, then turned
            # round: the large ones come first, so that none hides a small one.
            marks = np.column_stack([areas, x, y])[bounds == bound]
            marks = np.unique(marks, axis=0)[::-1]
            artist.set_offsets(marks[:, 1:])
            artist.set_sizes(marks[:, 0])

    def _raise_roofs(self, data: Roofline) -> None:
        (left, right), (low, high) = self._wide, self._tall
        self._intensities.put(left, right, _decades(left, right))
        self._speeds.put(low, high, _decades(low, high))
        self._roof.set_data([left, data.ridge, right], [data.roof(left), data.rate, data.rate])
        self._ridge.set_data([data.ridge, data.ridge], [low, data.rate])
        self._peak_label.set_text(f"arithmetic: {show(data.rate, 'OP/s')}")
        self._peak_label.xy = (right, data.rate)
        self._ridge_label.set_text(f"ridge: {show(data.ridge, '')} operations per byte")
        self._ridge_label.xy = (data.ridge, low)
        on_the_left = data.ridge**2 > left * right
        self._ridge_label.set_horizontalalignment("right" if on_the_left else "left")
        self._ridge_label.xyann = (-5 if on_the_left else 5, 5)
        # The slope of a log-log line is 1; on the screen it depends on the shape of the axes.
        box = self.axes.get_window_extent()
        tall, wide = math.log10(high / low) / box.height, math.log10(right / left) / box.width
        self._slope_label.set_rotation(math.degrees(math.atan(wide / tall)))
        middle = math.sqrt(left * data.ridge)
        self._slope_label.set_position((middle, 2 * data.roof(middle)))
        self._slope_label.set_text(f"memory: {show(data.bandwidth, 'B/s')}")

    def _pick(self, layer: LayerTime) -> None:
        marker, colour = MARKERS[layer.bound]
        self._picked.set(marker=marker, markersize=10, markerfacecolor=colour)
        for artist in (self._picked, self._ring):
            artist.set_data([layer.intensity], [layer.rate])
        # Below and to the right of a point on either roof there is room, unless it is at the edge.
        (left, right), (low, high) = self._wide, self._tall
        room = math.log10(right / layer.intensity) / math.log10(right / left) * self.axes.bbox.width
        wide = (len(layer.name) * 0.62 * _FONT + 24) * self._scale
        above = layer.rate < low * (high / low) ** 0.15 or (wide > room and self._covers_slope(layer, wide))
        self._label.xy = (layer.intensity, layer.rate)
        self._label.xyann = (16 if wide < room else -14, 12 if above else -22)
        self._label.set(text=layer.name, horizontalalignment="left" if wide < room else "right")

    def _covers_slope(self, layer: LayerTime, wide: float) -> bool:
        """Would a name so wide, below a layer and to its left, hide the words along the roof of the memory?"""
        to_pixels, high = self.axes.transData.transform, _FONT * self._scale
        x, y = to_pixels((layer.intensity, layer.rate)) - np.array([14, 22]) * self._scale
        turn = math.radians(self._slope_label.get_rotation())
        along = np.linspace(-0.5, 0.5, 9) * 0.62 * high * len(self._slope_label.get_text())
        middle = to_pixels(self._slope_label.get_position())
        for up in (0.0, 0.5 * high, high):
            across = middle[0] + along * math.cos(turn) - up * math.sin(turn)
            height = middle[1] + along * math.sin(turn) + up * math.cos(turn)
            if ((x - wide < across) & (across < x) & (y - 0.5 * high < height) & (height < y + 1.5 * high)).any():
                return True
        return False

    def _legend(self) -> None:
        # Artists at places of our own: matplotlib's legend takes longer to lay out than all the axes to draw.
        words = {"memory": "memory-bound", "compute": "compute-bound", "balanced": "balanced"}
        above: dict[str, Any] = {"transform": self.axes.transAxes, "clip_on": False}
        for place, (bound, (marker, colour)) in zip((0.0, 0.285, 0.59), MARKERS.items(), strict=True):
            self.axes.plot(place + 0.014, 1.06, marker=marker, color=colour, markersize=8, **above)
            self.axes.text(place + 0.035, 1.06, words[bound], va="center", fontsize=_FONT, color=INK, **above)
        note = "larger: slower"
        self.axes.text(1, 1.06, note, va="center", ha="right", fontsize=_FONT, color=INK, **above)


def _rates(data: Roofline) -> tuple[int, int]:
    """Decades from what memory allows at the lowest intensity to above the flat roof, with room for its label."""
    floor = math.floor(math.log10(data.bandwidth) + _DECADES[0])
    return floor, math.ceil(math.log10(data.rate) + 0.4)


def _span(values: np.ndarray, decades: tuple[int, int]) -> tuple[float, float]:
    """Ends of an axis: the usual decades, and whole ones more where a value lies outside."""
    low, high = decades
    if values.size:
        low = min(low, math.floor(math.log10(values.min())))
        high = max(high, math.ceil(math.log10(values.max())))
    return 10.0**low, 10.0**high


def _decades(low: float, high: float) -> Sequence[float]:
    return [10.0**n for n in range(round(math.log10(low)), round(math.log10(high)) + 1)]
