"""Two tensors of one shape, or of shapes that stretch to each other, element by element."""

from __future__ import annotations

from itertools import groupby
from typing import ClassVar, Self

from ..notation import Dim
from ..program import Program
from .base import Shape, catalogued
from .elementwise import Elementwise

INDICES = "ijlpquvz"  # enough for the runs of axes that two tensors share or do not


def stretched(first: Shape, second: Shape) -> Shape | None:
    """The shape of two tensors together, axes of one element stretched as in NumPy; None if they do not fit.

    >>> stretched((2, 8, 4, 4), (8, 1, 1))
    (2, 8, 4, 4)
    """
    axes = max(len(first), len(second))
    shape: list[Dim] = []
    for a, b in zip(_padded(first, axes), _padded(second, axes), strict=True):
        if a != b and 1 not in (a, b):
            return None
        shape.append(b if a == 1 else a)
    return tuple(shape)


def _padded(shape: Shape, axes: int) -> Shape:
    return (1,) * (axes - len(shape)) + tuple(shape)


@catalogued
class Pairwise(Elementwise):
    """Two inputs of one shape, or of shapes that stretch to each other: then `operands` holds them, and the line
    reads an element of the smaller one several times."""

    operands: tuple[Shape, Shape] | None = None

    arity = 2
    sign: ClassVar[str] = ""

    def fit(self, *shapes: Shape) -> Self:
        if len(shapes) == 2 and shapes[0] != shapes[1] and (shape := stretched(*shapes)) is not None:
            return self.at(shape=shape, operands=(tuple(shapes[0]), tuple(shapes[1])))
        plain = self if self.operands is None else self.at(operands=None)
        return super(Pairwise, plain).fit(*shapes)

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        return (self.output_shape,) * 2 if self.operands is None else self.operands

    def define(self) -> Program:
        roles = {"first": "input", "second": "input", "out": "output"}
        if self.operands is None:
            return self.read(f"out[i] = first[i] {self.sign} second[i]", roles, {}, i=self.m)
        shape = self.output_shape
        first, second = (_padded(operand, len(shape)) for operand in self.operands)
        # neighbouring axes that both have, or that only one of them has, count as one
        axes = [(a == size, b == size, size) for a, b, size in zip(first, second, shape, strict=True) if size != 1]
        subscripts: dict[str, list[str]] = {"first": [], "second": [], "out": []}
        extents: dict[str, Dim] = {}
        for name, (has, run) in zip(INDICES, groupby(axes, lambda axis: axis[:2]), strict=False):
            extents[name] = 1
            for *_, size in run:
                extents[name] *= size
            for tensor, there in (("first", has[0]), ("second", has[1]), ("out", True)):
                subscripts[tensor] += [name] if there else []
        refs = {tensor: f"{tensor}[{','.join(names) or '0'}]" for tensor, names in subscripts.items()}
        line = f"{refs['out']} = {refs['first']} {self.sign} {refs['second']}"
        return self.read(line, roles, {}, **extents)


@catalogued
class Add(Pairwise):
    """The sum of two tensors, as at the end of a residual block."""

    sign = "+"


@catalogued
class Subtract(Pairwise):
    """The difference of two tensors."""

    sign = "-"


@catalogued
class Multiply(Pairwise):
    """The element-wise product of two tensors, as in a gated feed-forward layer.

    >>> Multiply().fit((2, 8, 4, 4), (2, 8, 1, 1)).statements  # a gate for each channel
    ('out[i,j] = first[i,j] * second[i]',)
    """

    sign = "*"


@catalogued
class Divide(Pairwise):
    """The element-wise quotient of two tensors."""

    sign = "/"
