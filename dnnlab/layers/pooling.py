"""Pooling: a window slides as in a convolution, but no weights are learned."""

from __future__ import annotations

from typing import ClassVar

from ..errors import ExtentError
from ..notation import Dim, ceil_div, smallest
from ..program import Program
from .base import Layer, Shape, catalogued, dim
from .windows import AXES, Pair, Windowed, both


@catalogued
class _Pool2d(Windowed):
    """A window of r x s over each channel; the stride is the window's size unless it is given."""

    n: Dim = dim("n")
    c: Dim = dim("c")
    h: Dim = dim("h")
    w: Dim = dim("w")
    r: Dim = dim("r")
    s: Dim = dim("s")
    stride: Pair | None = None
    padding: Pair | str = "valid"
    ceil: bool = False  # keep a last window that is only partly inside

    takes: ClassVar[tuple[tuple[str, ...], ...]] = (("n", "c", "h", "w"),)
    gives: ClassVar[tuple[str, ...]] = ("n", "c", "y", "x")

    @property
    def strides(self) -> tuple[Dim, Dim]:
        """Steps of the window, (vertical, horizontal)."""
        return (self.r, self.s) if self.stride is None else both("stride", self.stride)

    def positions(self, axis: str) -> Dim:
        """Output positions along an axis."""
        size = super().positions(axis)
        if not self.ceil or self.padding == "same":
            return size
        extent, filter_, place = AXES[axis]
        reach = both("dilation", self.dilation)[place] * (getattr(self, filter_) - 1)
        step, border = self.strides[place], self.border(axis)
        size = ceil_div(getattr(self, extent) + 2 * border - reach - 1 + step, step)
        # windows that would start in the border behind the input are dropped
        return smallest(size, ceil_div(getattr(self, extent) + border, step))

    @property
    def window_shapes(self) -> dict[str, Shape]:
        """Shapes of input and output."""
        return {"inp": (self.n, self.c, self.h, self.w), "out": self.output_shape}


@catalogued
class MaxPool2d(_Pool2d):
    """The largest element of each window.

    >>> MaxPool2d(r=2, s=2).operations
    {'compare': 4*c*n*floor(h/2)*floor(w/2)}
    """

    def define(self) -> Program:
        row, col, settings = self.window()
        return self.read(
            [f"out[n,c,y,x] = max(out[n,c,y,x], inp[n,c,{row},{col}])"],
            {"inp": "input", "out": "output"},
            self.window_shapes,
            **settings, y=self.y, x=self.x, i=self.r, j=self.s,
        )  # fmt: skip


@catalogued
class AvgPool2d(_Pool2d):
    """The mean of each window; elements of the border count as zeros.

    It is a depth-wise convolution whose weights are all 1 / rs, so convolution hardware can run it.

    >>> AvgPool2d(n=1, c=1, h=4, w=4, r=2, s=2).operations
    {'add': 16, 'divide': 4}
    """

    def define(self) -> Program:
        row, col, settings = self.window()
        return self.read(
            [f"total[n,c,y,x] += inp[n,c,{row},{col}]", "out[n,c,y,x] = total[n,c,y,x] / count"],
            {"inp": "input", "out": "output"},
            self.window_shapes,
            **settings, y=self.y, x=self.x, i=self.r, j=self.s, count=self.r * self.s,
        )  # fmt: skip


@catalogued
class AdaptiveAvgPool2d(Layer):
    """Average pooling to a given output of y x x; the input must be a whole multiple of it.

    >>> AdaptiveAvgPool2d(n=1, c=256, h=6, w=6, y=6, x=6).output_shape
    (1, 256, 6, 6)
    """

    n: Dim = dim("n")
    c: Dim = dim("c")
    h: Dim = dim("h")
    w: Dim = dim("w")
    y: Dim = dim("y")
    x: Dim = dim("x")

    takes: ClassVar[tuple[tuple[str, ...], ...]] = (("n", "c", "h", "w"),)
    gives: ClassVar[tuple[str, ...]] = ("n", "c", "y", "x")

    def check(self) -> None:
        for size, parts, name in ((self.h, self.y, "h"), (self.w, self.x, "w")):
            if isinstance(size, int) and isinstance(parts, int) and size % parts:
                raise ExtentError(
                    f"AdaptiveAvgPool2d: {name} = {size} is no multiple of the output size {parts}, so its windows "
                    f"would differ in size; use AvgPool2d with a fixed window"
                )

    def define(self) -> Program:
        r, s = ceil_div(self.h, self.y), ceil_div(self.w, self.x)
        lines = AvgPool2d(n=self.n, c=self.c, h=self.h, w=self.w, r=r, s=s)
        return lines.read(
            lines.statements, {"inp": "input", "out": "output"},
            {"inp": (self.n, self.c, self.h, self.w), "out": self.output_shape},
            y=self.y, x=self.x, i=r, j=s, count=r * s, stride=r, stride_y=r, stride_x=s,
        )  # fmt: skip


@catalogued
class GlobalAvgPool2d(Layer):
    """The mean of each channel.

    >>> GlobalAvgPool2d().operations
    {'add': c*h*n*w, 'divide': c*n}
    """

    n: Dim = dim("n")
    c: Dim = dim("c")
    h: Dim = dim("h")
    w: Dim = dim("w")

    takes: ClassVar[tuple[tuple[str, ...], ...]] = (("n", "c", "h", "w"),)

    @property
    def output_shape(self) -> Shape:
        """One element a channel."""
        return (self.n, self.c, 1, 1)

    def define(self) -> Program:
        return self.read(
            ["total[n,c] += inp[n,c,y,x]", "out[n,c,0,0] = total[n,c] / count"],
            {"inp": "input", "out": "output"},
            {"out": self.output_shape},
            y=self.h, x=self.w, count=self.h * self.w,
        )  # fmt: skip
