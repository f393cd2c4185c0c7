"""The sliding window: positions, borders and subscripts that convolution and pooling share."""

from __future__ import annotations

from ..errors import ExtentError, quote
from ..notation import Dim, ceil_div, dimension, floor_div
from .base import Layer, catalogued

Pair = Dim  # a number for both axes, or (vertical, horizontal)
AXES = {"y": ("h", "r", 0), "x": ("w", "s", 1)}  # output index: input extent, filter extent, place in a pair


def both(name: str, value: Pair, least: int = 1) -> tuple[Dim, Dim]:
    """An option as (vertical, horizontal)."""
    if isinstance(value, tuple | list):
        if len(value) != 2:
            raise ExtentError(f"{name} = {quote(value)}: expected one number, or a pair (vertical, horizontal)")
        return dimension(name, value[0], least), dimension(name, value[1], least)
    one = dimension(name, value, least)
    return one, one


@catalogued
class Windowed(Layer):
    """A filter of r x s that slides over an h x w input: what convolution and pooling share.

    `padding` is "same" (output `ceil(h / stride)`; half of the `dilation * (r - 1)` border before, the rest
    after), "valid" (no border), or the width of the border on each side.
    """

    stride: Pair = 1
    padding: Pair | str = "same"
    dilation: Pair = 1

    def check(self) -> None:
        both("stride", self.strides)
        both("dilation", self.dilation)
        if isinstance(self.padding, str):
            if self.padding not in ("same", "valid"):
                raise ExtentError(f"padding = {quote(self.padding)}: expected 'same', 'valid' or a number")
        else:
            both("padding", self.padding, 0)
        for axis in AXES:
            size = self.positions(axis)
            if isinstance(size, int) and size < 1:
                extent, filter_, _ = AXES[axis]
                raise ExtentError(
                    f"{self.kind}: a filter of {filter_} = {getattr(self, filter_)} does not fit into "
                    f"{extent} = {getattr(self, extent)}; use a larger input, more padding or a smaller filter"
                )

    @property
    def strides(self) -> tuple[Dim, Dim]:
        """Steps of the window, (vertical, horizontal)."""
        return both("stride", self.stride)

    def border(self, axis: str) -> Dim:
        """Width of the border before the first element of an axis ("y" or "x")."""
        _, filter_, place = AXES[axis]
        if self.padding == "valid":
            return 0
        if self.padding == "same":
            return floor_div(both("dilation", self.dilation)[place] * (getattr(self, filter_) - 1), 2)
        return both("padding", self.padding, 0)[place]

    def positions(self, axis: str) -> Dim:
        """Output positions along an axis."""
        extent, filter_, place = AXES[axis]
        size, step = getattr(self, extent), self.strides[place]
        if self.padding == "same":
            return ceil_div(size, step)
        reach = both("dilation", self.dilation)[place] * (getattr(self, filter_) - 1)
        return floor_div(size + 2 * self.border(axis) - reach - 1 + step, step)

    @property
    def y(self) -> Dim:
        """Output height."""
        return self.positions("y")

    @property
    def x(self) -> Dim:
        """Output width."""
        return self.positions("x")

    def window(self) -> tuple[str, str, dict[str, Dim]]:
        """Row and column subscripts of the input, and the settings they use."""
        (row, first), (column, second) = self.slide("y", "i"), self.slide("x", "j")
        return row, column, first | second

    def slide(self, out: str, inner: str) -> tuple[str, dict[str, Dim]]:
        """The subscript of the input for an output and a filter index, and the settings it uses.

        Factors of one and borders of zero are left out; both axes share a name where they share a value.
        """
        _, _, place = AXES[out]
        text, used = out, {}
        for name, values, index in (
            ("stride", self.strides, out),
            ("dilation", both("dilation", self.dilation), inner),
        ):
            if index == inner:
                text += f"+{inner}"
            if values[place] != 1:
                label = name if values[0] == values[1] else f"{name}_{out}"
                text += f"*{label}"
                used[label] = values[place]
        border = self.border(out)
        if border != 0:
            label = "pad" if self.border("y") == self.border("x") else f"pad_{out}"
            text += f"-{label}"
            used[label] = border
        return text, used
