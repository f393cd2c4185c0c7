"""Layers that treat every element alike: activations, dropout, addition, gating, concatenation."""

from __future__ import annotations

from typing import ClassVar, Self

from ..errors import ExtentError, ShapeError, quote
from ..notation import Dim, dimension, product
from ..program import Program
from .base import Layer, Shape, catalogued, dim


@catalogued
class Elementwise(Layer):
    """m elements of any shape; `formula` is the right-hand side, with `{x}` for the element."""

    m: Dim = dim("m")
    shape: Shape | None = None

    products: ClassVar[dict[str, str]] = {"m": "shape"}
    formula: ClassVar[str] = ""
    arity: ClassVar[int] = 1

    def check(self) -> None:
        if self.shape is not None:
            shape = tuple(dimension("shape", size) for size in self.shape)
            object.__setattr__(self, "shape", shape)
            object.__setattr__(self, "m", product(shape))

    def fit(self, *shapes: Shape) -> Self:
        if len(shapes) != self.arity:
            raise ShapeError(f"{self.kind} takes {self.arity} input(s), got {len(shapes)}")
        if any(shape != shapes[0] for shape in shapes):
            raise ShapeError(f"{self.kind} takes inputs of one shape, got {' and '.join(map(str, shapes))}")
        return self.at(shape=tuple(shapes[0]))

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        return (self.output_shape,) * self.arity

    @property
    def output_shape(self) -> Shape:
        return self.shape or (self.m,)

    def define(self) -> Program:
        line = "out[i] = " + self.formula.format(x="inp[i]")
        return self.read(line, {"inp": "input", "out": "output"}, {}, i=self.m)


@catalogued
class ReLU(Elementwise):
    """Negative elements become zero.

    >>> ReLU().operations, ReLU().in_place.possible
    ({'compare': m}, True)
    """

    formula = "max({x}, 0)"


@catalogued
class ReLU6(Elementwise):
    """ReLU cut off at six."""

    formula = "min(max({x}, 0), 6)"


@catalogued
class LeakyReLU(Elementwise):
    """Negative elements are scaled by a small positive `slope` instead of cut off."""

    formula = "max({x}, 0) + slope * min({x}, 0)"


@catalogued
class Sigmoid(Elementwise):
    """Squeezes every element into 0 .. 1.

    >>> print(Sigmoid().backward())
    d_inp[i] += d_out[i] * out[i] * (1 - out[i])
    """

    formula = "1 / (1 + exp(-{x}))"


@catalogued
class Tanh(Elementwise):
    """Squeezes every element into -1 .. 1."""

    formula = "tanh({x})"


@catalogued
class HardSwish(Elementwise):
    """A piecewise version of SiLU, without an exponential."""

    formula = "{x} * min(max({x} + 3, 0), 6) / 6"


@catalogued
class GELU(Elementwise):
    """Each element times the probability that a normal variable is smaller (exact form, with erf)."""

    formula = "0.5 * {x} * (1 + erf({x} / 1.4142135623730951))"


@catalogued
class SiLU(Elementwise):
    """Each element times its own sigmoid (also called swish).

    >>> print(SiLU().in_place.reason.split(":")[0])
    no
    """

    formula = "{x} / (1 + exp(-{x}))"


ACTIVATIONS = {cls.__name__.lower(): cls for cls in (ReLU, ReLU6, Sigmoid, Tanh, HardSwish, GELU, SiLU)}


def activation(name: str) -> type[Elementwise]:
    """The activation of that name (lower case); `ExtentError` lists the others."""
    if name not in ACTIVATIONS:
        raise ExtentError(f"activation {quote(name)}: expected one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


@catalogued
class PReLU(Layer):
    """Leaky ReLU whose slope is learned, one for each channel: an activation function with parameters.

    >>> PReLU().parameters
    c
    """

    n: Dim = dim("n")
    c: Dim = dim("c")
    m: Dim = dim("m")
    rest: Shape | None = None  # the axes behind the channels; their product is m

    products: ClassVar[dict[str, str]] = {"m": "rest"}

    def check(self) -> None:
        if self.rest is not None:
            object.__setattr__(self, "m", product(self.rest))

    def fit(self, *shapes: Shape) -> Self:
        if len(shapes) != 1 or len(shapes[0]) < 2:
            raise ShapeError(f"PReLU takes one input (n, c, ...), got {', '.join(map(str, shapes)) or 'none'}")
        n, c, *rest = shapes[0]
        return self.at(n=n, c=c, rest=tuple(rest))

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        return (self.output_shape,)

    @property
    def output_shape(self) -> Shape:
        return (self.n, self.c, *((self.m,) if self.rest is None else self.rest))

    def define(self) -> Program:
        line = "out[n,c,i] = max(inp[n,c,i], 0) + slope[c] * min(inp[n,c,i], 0)"
        return self.read(line, {"inp": "input", "slope": "parameter", "out": "output"}, {}, i=self.m)


@catalogued
class Dropout(Elementwise):
    """Some elements are set to zero at random while training. The mask is drawn outside the line; it holds 0,
    or 1 / (1 - p) so that the mean stays."""

    p: float = 0.5

    def check(self) -> None:
        super().check()
        if isinstance(self.p, bool) or not isinstance(self.p, int | float) or not 0 <= self.p < 1:
            raise ExtentError(f"p = {quote(self.p)}: expected a probability from 0 up to, not including, 1")

    def define(self) -> Program:
        line = "out[i] = inp[i] * mask[i]"
        return self.read(line, {"inp": "input", "mask": "constant", "out": "output"}, {}, i=self.m)


@catalogued
class Pointwise(Elementwise):
    """A function of each element that has no kind of its own; `expression` is the right-hand side, with `{x}` for the
    element, and `name` what it is called.

    >>> Pointwise(name="Mish", expression="{x} * tanh(log(1 + exp({x})))").operations
    {'multiply': m, 'tanh': m, 'log': m, 'add': m, 'exp': m}
    """

    name: str
    expression: str

    @property
    def kind(self) -> str:
        return self.name

    @property
    def formula(self) -> str:  # type: ignore[override]
        """The right-hand side."""
        return self.expression


@catalogued
class Concatenate(Layer):
    """Several tensors side by side along axis 1 (channels): no arithmetic, only traffic.

    `parts` are the sizes along that axis, n the samples, m the elements behind it.

    >>> Concatenate(parts=(2, 3)).ops, Concatenate(parts=(2, 3)).activations
    (0, 5*m*n)
    """

    n: Dim = dim("n")
    m: Dim = dim("m")
    parts: tuple[Dim, ...] = (dimension("first", "first"), dimension("second", "second"))
    rest: Shape | None = None

    products: ClassVar[dict[str, str]] = {"m": "rest"}

    def check(self) -> None:
        if not isinstance(self.parts, tuple | list) or len(self.parts) < 2:
            raise ExtentError(f"parts = {quote(self.parts)}: expected two sizes or more")
        object.__setattr__(self, "parts", tuple(dimension("parts", size) for size in self.parts))
        if self.rest is not None:
            object.__setattr__(self, "m", product(self.rest))

    def fit(self, *shapes: Shape) -> Self:
        if len(shapes) < 2 or any(len(shape) < 2 for shape in shapes):
            raise ShapeError(f"Concatenate takes two inputs (n, c, ...) or more, got {', '.join(map(str, shapes))}")
        if any((shape[0], *shape[2:]) != (shapes[0][0], *shapes[0][2:]) for shape in shapes):
            raise ShapeError(
                f"Concatenate takes inputs that differ in axis 1 only, got {' and '.join(map(str, shapes))}"
            )
        return self.at(n=shapes[0][0], parts=tuple(shape[1] for shape in shapes), rest=tuple(shapes[0][2:]))

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        rest = (self.m,) if self.rest is None else self.rest
        return tuple((self.n, part, *rest) for part in self.parts)

    @property
    def output_shape(self) -> Shape:
        rest = (self.m,) if self.rest is None else self.rest
        return (self.n, sum(self.parts), *rest)

    def define(self) -> Program:
        lines, roles = [], {}
        offset: Dim = 0
        extents: dict[str, Dim] = {}
        for place, part in enumerate(self.parts):
            shift = f"offset_{place}+" if place else ""
            lines.append(f"out[n,{shift}c{place},i] = inp{place}[n,c{place},i]")
            roles[f"inp{place}"] = "input"
            extents |= {f"c{place}": part, f"offset_{place}": offset}
            offset += part
        shapes = {"out": (self.n, sum(self.parts), self.m)}
        return self.read(lines, {**roles, "out": "output"}, shapes, i=self.m, **extents)


@catalogued
class Flatten(Layer):
    """The same elements in another shape (n, everything else): a view, which costs nothing.

    >>> Flatten().fit((1, 256, 6, 6)).output_shape
    (1, 9216)
    """

    n: Dim = dim("n")
    rest: Shape = (dimension("m", "m"),)

    def fit(self, *shapes: Shape) -> Self:
        if len(shapes) != 1 or len(shapes[0]) < 2:
            raise ShapeError(f"Flatten takes one input (n, ...), got {', '.join(map(str, shapes)) or 'none'}")
        return self.at(n=shapes[0][0], rest=tuple(shapes[0][1:]))

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        return ((self.n, *self.rest),)

    @property
    def output_shape(self) -> Shape:
        return (self.n, product(self.rest))

    @property
    def traffic(self) -> Dim:
        """Nothing moves."""
        return 0

    def define(self) -> Program:
        return Program(())
