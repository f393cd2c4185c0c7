"""Convolutions: one line each; stride, padding, dilation and groups change its indices, not its idea."""

from __future__ import annotations

from typing import ClassVar

from ..errors import ExtentError
from ..notation import Dim, dimension, ratio
from ..program import Program
from .base import Layer, Shape, catalogued, dim
from .windows import AXES, Pair, Windowed, both


@catalogued
class Conv2d(Windowed):
    """Each of k filters of r x s x c slides over the input and sums what it sees.

    n samples, k filters, c input channels, h x w input, r x s filter. `groups` splits filters and channels
    into groups that do not see each other; `bias` adds one number a filter.

    >>> conv = Conv2d(n=1)
    >>> print(conv.statements[0])
    out[n,k,y,x] += weight[k,c,i,j] * inp[n,c,y+i-pad_y,x+j-pad_x]
    >>> conv.ops, conv.parameters
    (2*c*h*k*r*s*w, c*k*r*s)
    """

    n: Dim = dim("n")
    k: Dim = dim("k")
    c: Dim = dim("c")
    h: Dim = dim("h")
    w: Dim = dim("w")
    r: Dim = dim("r")
    s: Dim = dim("s")
    groups: Dim = 1
    bias: bool = False

    takes: ClassVar[tuple[tuple[str, ...], ...]] = (("n", "c", "h", "w"),)
    gives: ClassVar[tuple[str, ...]] = ("n", "k", "y", "x")

    def check(self) -> None:
        super().check()
        groups = dimension("groups", self.groups)
        for name in ("k", "c"):
            size = getattr(self, name)
            if isinstance(size, int) and isinstance(groups, int) and size % groups:
                raise ExtentError(f"groups = {groups} does not divide {name} = {size}")

    def define(self) -> Program:
        row, col, settings = self.window()
        groups = dimension("groups", self.groups)
        k, c = ratio(self.k, groups), ratio(self.c, groups)
        g, split = ("g,", (groups,)) if groups != 1 else ("", ())
        lines = [f"out[n,{g}k,y,x] += weight[{g}k,c,i,j] * inp[n,{g}c,{row},{col}]"]
        shapes: dict[str, Shape] = {
            "inp": (self.n, *split, c, self.h, self.w),
            "weight": (*split, k, c, self.r, self.s),
            "out": (self.n, *split, k, self.y, self.x),
        }
        roles = {"inp": "input", "weight": "parameter", "out": "output"}
        if self.bias:
            lines.append(f"out[n,{g}k,y,x] += bias[{g}k]")
            roles["bias"] = "parameter"
            shapes["bias"] = (*split, k)
        return self.read(lines, roles, shapes, **settings, y=self.y, x=self.x, i=self.r, j=self.s, k=k, c=c, g=groups)


@catalogued
class DepthwiseConv2d(Windowed):
    """One r x s filter for each channel: k filters, k channels, and no sum over channels.

    >>> DepthwiseConv2d(n=1).ops, DepthwiseConv2d().parameters
    (2*h*k*r*s*w, k*r*s)
    """

    n: Dim = dim("n")
    k: Dim = dim("k")
    h: Dim = dim("h")
    w: Dim = dim("w")
    r: Dim = dim("r")
    s: Dim = dim("s")
    bias: bool = False

    takes: ClassVar[tuple[tuple[str, ...], ...]] = (("n", "k", "h", "w"),)
    gives: ClassVar[tuple[str, ...]] = ("n", "k", "y", "x")

    def define(self) -> Program:
        row, col, settings = self.window()
        lines = [f"out[n,k,y,x] += weight[k,i,j] * inp[n,k,{row},{col}]"]
        roles = {"inp": "input", "weight": "parameter", "out": "output"}
        shapes: dict[str, Shape] = {
            "inp": (self.n, self.k, self.h, self.w),
            "weight": (self.k, self.r, self.s),
            "out": (self.n, self.k, self.y, self.x),
        }
        if self.bias:
            lines.append("out[n,k,y,x] += bias[k]")
            roles["bias"] = "parameter"
            shapes["bias"] = (self.k,)
        return self.read(lines, roles, shapes, **settings, y=self.y, x=self.x, i=self.r, j=self.s)


@catalogued
class PointwiseConv2d(Layer):
    """A 1 x 1 convolution: a linear layer applied at every pixel.

    >>> PointwiseConv2d(n=1).ops
    2*c*h*k*w
    """

    n: Dim = dim("n")
    k: Dim = dim("k")
    c: Dim = dim("c")
    h: Dim = dim("h")
    w: Dim = dim("w")
    bias: bool = False

    takes: ClassVar[tuple[tuple[str, ...], ...]] = (("n", "c", "h", "w"),)
    gives: ClassVar[tuple[str, ...]] = ("n", "k", "h", "w")

    def define(self) -> Program:
        lines = ["out[n,k,y,x] += weight[k,c] * inp[n,c,y,x]"]
        roles = {"inp": "input", "weight": "parameter", "out": "output"}
        if self.bias:
            lines.append("out[n,k,y,x] += bias[k]")
            roles["bias"] = "parameter"
        return self.read(lines, roles, {}, y=self.h, x=self.w)


@catalogued
class Conv1d(Layer):
    """A convolution along one axis: k filters of width s over c channels of length w.

    >>> Conv1d(n=1, padding="valid").ops
    2*c*k*s*(-s + w + 1)
    """

    n: Dim = dim("n")
    k: Dim = dim("k")
    c: Dim = dim("c")
    w: Dim = dim("w")
    s: Dim = dim("s")
    stride: Dim = 1
    padding: Dim | str = "same"
    dilation: Dim = 1
    groups: Dim = 1
    bias: bool = False

    takes: ClassVar[tuple[tuple[str, ...], ...]] = (("n", "c", "w"),)
    gives: ClassVar[tuple[str, ...]] = ("n", "k", "x")

    def check(self) -> None:
        self.flat.check()

    @property
    def flat(self) -> Conv2d:
        """The same layer as a two-dimensional convolution of height one."""
        pad = self.padding if isinstance(self.padding, str) else (0, self.padding)
        return Conv2d(
            n=self.n, k=self.k, c=self.c, w=self.w, s=self.s, h=1, r=1,
            stride=(1, self.stride), padding=pad, dilation=(1, self.dilation), groups=self.groups,
        )  # fmt: skip

    @property
    def x(self) -> Dim:
        """Output length."""
        return self.flat.x

    def define(self) -> Program:
        col, settings = self.flat.slide("x", "j")
        for name in list(settings):  # there is only one axis, so no need to name it
            settings[name.removesuffix("_x")] = settings.pop(name)
        col = col.replace("_x", "")
        groups = dimension("groups", self.groups)
        k, c = ratio(self.k, groups), ratio(self.c, groups)
        g, split = ("g,", (groups,)) if groups != 1 else ("", ())
        lines = [f"out[n,{g}k,x] += weight[{g}k,c,j] * inp[n,{g}c,{col}]"]
        roles = {"inp": "input", "weight": "parameter", "out": "output"}
        shapes: dict[str, Shape] = {"inp": (self.n, *split, c, self.w)}
        if self.bias:
            lines.append(f"out[n,{g}k,x] += bias[{g}k]")
            roles["bias"] = "parameter"
        return self.read(lines, roles, shapes, **settings, x=self.x, j=self.s, k=k, c=c, g=groups)


@catalogued
class ConvTranspose2d(Layer):
    """A transposed convolution: every input pixel adds its r x s filter to the output. Its line is the
    adjoint of a convolution's, with the strided subscript on the output.

    `padding` is the width of the border cut off on each side, `output_padding` extra rows at the end.

    >>> ConvTranspose2d(h=7, w=7, r=2, s=2, stride=2).output_shape
    (n, k, 14, 14)
    """

    n: Dim = dim("n")
    k: Dim = dim("k")
    c: Dim = dim("c")
    h: Dim = dim("h")
    w: Dim = dim("w")
    r: Dim = dim("r")
    s: Dim = dim("s")
    stride: Pair = 1
    padding: Pair = 0
    dilation: Pair = 1
    output_padding: Pair = 0
    groups: Dim = 1
    bias: bool = False

    takes: ClassVar[tuple[tuple[str, ...], ...]] = (("n", "c", "h", "w"),)
    gives: ClassVar[tuple[str, ...]] = ("n", "k", "y", "x")

    def check(self) -> None:
        for axis in AXES:
            size = self.positions(axis)
            if isinstance(size, int) and size < 1:
                raise ExtentError(f"{self.kind}: padding {self.padding} cuts the whole output off; use less")

    def positions(self, axis: str) -> Dim:
        """Output positions along an axis."""
        extent, filter_, place = AXES[axis]
        step = both("stride", self.stride)[place]
        reach = both("dilation", self.dilation)[place] * (getattr(self, filter_) - 1)
        cut = both("padding", self.padding, 0)[place]
        extra = both("output_padding", self.output_padding, 0)[place]
        return (getattr(self, extent) - 1) * step - 2 * cut + reach + extra + 1

    @property
    def y(self) -> Dim:
        """Output height."""
        return self.positions("y")

    @property
    def x(self) -> Dim:
        """Output width."""
        return self.positions("x")

    def define(self) -> Program:
        mirror = Conv2d(
            h=self.y, w=self.x, r=self.r, s=self.s,
            stride=self.stride, padding=self.padding, dilation=self.dilation,
        )  # fmt: skip
        row, col, settings = mirror.window()
        groups = dimension("groups", self.groups)
        k, c = ratio(self.k, groups), ratio(self.c, groups)
        g, split = ("g,", (groups,)) if groups != 1 else ("", ())
        lines = [f"out[n,{g}k,{row},{col}] += weight[{g}c,k,i,j] * inp[n,{g}c,y,x]"]
        roles = {"inp": "input", "weight": "parameter", "out": "output"}
        shapes: dict[str, Shape] = {
            "inp": (self.n, *split, c, self.h, self.w),
            "weight": (*split, c, k, self.r, self.s),
            "out": (self.n, *split, k, self.y, self.x),
        }
        inner = {"k": k, "c": c, "g": groups}
        program = self.read(lines, roles, shapes, **settings, **inner, y=self.h, x=self.w, i=self.r, j=self.s)
        if not self.bias:
            return program
        roles = {"bias": "parameter", "out": "output"}
        shift = self.read([f"out[n,{g}k,y,x] += bias[{g}k]"], roles, shapes, **inner, y=self.y, x=self.x)
        return Program(
            program.nests + shift.nests,
            (*program.roles, ("bias", "parameter")),
            (*program.shapes, ("bias", (*split, k))),
        )
