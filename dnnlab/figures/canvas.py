"""A figure that is built once and redrawn in milliseconds.

Most of the time of a plot goes into its axes: ticks, labels, grid. A `Canvas` draws those once, keeps their
pixels, and afterwards puts only what has changed on top (blitting). The picture is saved as a PNG with a
fixed palette, since turning colours into palette indices takes a tenth of what compressing true colour does. Words are
kept as stamps: setting them in type anew takes longer than all else that a layer shows.
"""

from __future__ import annotations

import io
import math
from collections import OrderedDict
from collections.abc import Hashable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont
from matplotlib.text import Annotation, Text
from matplotlib.transforms import IdentityTransform
from PIL import Image, ImageDraw, ImageFont

# Okabe and Ito's colours, which people with any kind of colour vision tell apart.
BLUE, VERMILION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
INK, GREY, GRID, PAPER = "#1A1A1A", "#5F5F5F", "#DCDCDC", "#FFFFFF"
# How many shades each gets between itself and the paper: smooth edges where edges are slanted or round.
_SHADES = {BLUE: 8, VERMILION: 8, GREEN: 8, ORANGE: 8, INK: 12, GREY: 2, GRID: 1}
_STAMPS = 300  # words that are kept as pixels, the latest
_COMPRESSION = 4  # 19 kB in 3.7 ms; level 6 would be 16.5 kB in 5 ms, level 3 21 kB in 2 ms


class Layer(NamedTuple):
    """Artists that change together. While `look` compares equal to that of the picture before, they have not
    changed and neither has anything beneath them; None is for those that are drawn anew for every picture."""

    look: Hashable
    artists: tuple[Artist, ...]


class Stamp(NamedTuple):
    """Pixels of words, from the bottom up, and where they begin beside the words' anchor."""

    left: int
    bottom: int
    pixels: Any


class Canvas:
    """One figure of `width` x `height` CSS pixels, rendered `scale` times finer for dense screens.

    A font size or line width of 1 in the figure is one CSS pixel. The artists of layers must be created with
    `animated=True`; all others make the frame, which is drawn once.

    >>> canvas = Canvas(200, 100)
    >>> axes = canvas.axes(0.2, 0.2, 0.7, 0.7)
    >>> (line,) = axes.plot([0, 1], [0, 1], animated=True)
    >>> canvas.png(Layer(None, (line,)))[:4]
    b'\x89PNG'
    >>> line.set_ydata([1, 0])
    >>> again = canvas.png(Layer(None, (line,)))
    >>> canvas.draws
    [1, 2]
    """

    def __init__(self, width: int, height: int, scale: float = 1.5) -> None:
        self.width, self.height = width, height
        # At 72 dots an inch a point is a pixel, so that text is sized in the pixels of the page.
        self.figure = Figure(figsize=(width / 72, height / 72), dpi=72 * scale, facecolor=PAPER)
        self._agg = FigureCanvasAgg(self.figure)
        self._palette = _palette()
        # For the frame and each layer: how it looked, and the pixels of all up to it.
        self._kept: list[tuple[Hashable, Any]] = []
        #: How often the frame and each layer have been drawn.
        self.draws: list[int] = []
        self._stamps: OrderedDict[Hashable, Stamp] = OrderedDict()
        wide, tall = self._agg.get_width_height()
        self._desk = RendererAgg(2 * wide, 2 * tall, self.figure.dpi)  # where stamps are cut

    def axes(self, left: float, bottom: float, width: float, height: float) -> Axes:
        """Axes at a fixed place, in shares of the figure: a layout that moved would make the picture jump."""
        return self.figure.add_axes((left, bottom, width, height))

    def png(self, *layers: Layer) -> bytes:
        """The figure as a PNG: the frame, and on it the layers from back to front."""
        looks = ["frame", *(layer.look for layer in layers)]
        same = 0
        while same < len(self._kept) and self._kept[same][0] == looks[same]:
            same += 1
        del self._kept[same:]
        if same:
            self._agg.restore_region(self._kept[-1][1])
        for depth in range(same, len(looks)):
            if depth == 0:
                self._agg.draw()
            else:
                for artist in layers[depth - 1].artists:
                    self._put(artist)
            if looks[depth] is not None:
                self._kept.append((looks[depth], self._agg.copy_from_bbox(self.figure.bbox)))
            self.draws += [0] * (depth + 1 - len(self.draws))
            self.draws[depth] += 1
        return self._encoded()

    def _put(self, artist: Artist) -> None:
        """Draw an artist of a layer; words as a stamp."""
        if not isinstance(artist, Text) or getattr(artist, "arrow_patch", None):
            artist.axes.draw_artist(artist)  # type: ignore[union-attr]  # they are on axes
            return
        if not artist.get_visible() or not artist.get_text():
            return
        renderer = self._agg.get_renderer()
        if isinstance(artist, Annotation):
            artist.update_positions(renderer)
        if box := artist.get_bbox_patch():
            artist.update_bbox_position_size(renderer)
            box.draw(renderer)
        x, y = map(round, artist.get_transform().transform(artist.get_position()))
        stamp = self._stamp(artist)
        renderer.draw_image(renderer.new_gc(), x + stamp.left, y + stamp.bottom, stamp.pixels)

    def _stamp(self, words: Text) -> Stamp:
        """The pixels of words, as they are when their anchor stands on a whole pixel."""
        key = (
            words.get_text(), words.get_fontsize(), words.get_fontweight(), words.get_fontstyle(), words.get_color(),
            words.get_rotation(), words.get_rotation_mode(), words.get_horizontalalignment(),
            words.get_verticalalignment(), words.get_alpha(),
        )  # fmt: skip
        if key in self._stamps:
            self._stamps.move_to_end(key)
            return self._stamps[key]
        plain = not words.get_rotation() and not any(mark in words.get_text() for mark in "\n$\\")
        stamp = self._typeset(words) if plain else self._copied(words)
        self._stamps[key] = stamp
        if len(self._stamps) > _STAMPS:
            self._stamps.popitem(last=False)
        return stamp

    def _typeset(self, words: Text) -> Stamp:
        """A line of words, set as matplotlib sets it, in a tenth of the time."""
        text = words.get_text()
        font = _font(findfont(words.get_fontproperties()), float(words.get_fontsize()) * self.figure.dpi / 72)
        (left, top, right, bottom), tall = font.getbbox(text, anchor="ls"), font.getbbox("lp", anchor="ls")
        mask = Image.new("L", (math.ceil(right) - math.floor(left), math.ceil(bottom) - math.floor(top)))
        ImageDraw.Draw(mask).text((-math.floor(left), -math.floor(top)), text, fill=255, font=font, anchor="ls")
        pixels = np.empty((mask.height, mask.width, 4), np.uint8)
        pixels[:, :, :3] = np.round(255 * np.array(to_rgb(words.get_color())))
        pixels[:, :, 3] = np.asarray(mask) * (1.0 if words.get_alpha() is None else words.get_alpha())
        above, below = max(-top, -tall[1]), max(bottom, tall[3])
        aside = {"left": 0.0, "center": 0.5, "right": 1.0}[words.get_horizontalalignment()] * font.getlength(text)
        up = {"baseline": 0.0, "bottom": below, "top": -above, "center": (below - above) / 2,
              "center_baseline": -above / 2}[words.get_verticalalignment()]  # fmt: skip
        return Stamp(round(math.floor(left) - aside), round(up) - math.ceil(bottom), pixels[::-1].copy())

    def _copied(self, words: Text) -> Stamp:
        """Words of any kind, drawn by matplotlib and cut out."""
        wide, tall = self._agg.get_width_height()
        copy = Text(wide, tall, words.get_text())  # the anchor in the middle: no word is longer than the picture
        copy.update_from(words)
        copy.set(transform=IdentityTransform(), rotation_mode=words.get_rotation_mode(), animated=False)
        copy.set_figure(self.figure)
        copy.draw(self._desk)
        box = copy.get_window_extent(self._desk)
        left, right, bottom, top = int(box.x0) - 2, int(box.x1) + 3, int(box.y0) - 2, int(box.y1) + 3
        pixels = np.asarray(self._desk.buffer_rgba())[2 * tall - top : 2 * tall - bottom, left:right]
        stamp = Stamp(left - wide, bottom - tall, pixels[::-1].copy())
        pixels[:] = 0
        return stamp

    def _encoded(self) -> bytes:
        pixels = Image.fromarray(np.asarray(self._agg.buffer_rgba())).convert("RGB")
        file = io.BytesIO()
        indexed = pixels.quantize(palette=self._palette, dither=Image.Dither.NONE)
        indexed.save(file, "PNG", compress_level=_COMPRESSION)
        return file.getvalue()


@lru_cache(maxsize=32)
def _font(path: str, size: float) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


def _palette() -> Image.Image:
    """An image that holds the paper's colour and the shades of each of the others."""
    paper = np.array(to_rgb(PAPER))
    shades = [paper]
    for name, steps in _SHADES.items():
        shades += [paper + share * (np.array(to_rgb(name)) - paper) for share in np.arange(1, steps + 1) / steps]
    image = Image.new("P", (1, 1))
    image.putpalette([round(255 * float(channel)) for shade in shades for channel in shade])
    return image
