"""Embeddings: rows of a table, picked by token number, by position, or turned by it."""

from __future__ import annotations

from typing import ClassVar, Self

from ..errors import ExtentError, ShapeError
from ..notation import Dim, ratio
from ..program import Program
from .base import Layer, Shape, catalogued, dim
from .normalization import TOKENS


@catalogued
class Embedding(Layer):
    """Each of n·t token numbers picks its row from a table of v rows of width c.

    >>> Embedding().parameters, Embedding().ops
    (c*v, 0)
    """

    n: Dim = dim("n")
    t: Dim = dim("t")
    v: Dim = dim("v")
    c: Dim = dim("c")

    takes: ClassVar[tuple[tuple[str, ...], ...]] = (("n", "t"),)
    gives: ClassVar[tuple[str, ...]] = TOKENS[0]

    @property
    def input_names(self) -> tuple[str, ...]:
        """Token numbers carry no gradient, but they are the input."""
        return ("ids",)

    @property
    def traffic(self) -> Dim:
        """The token numbers, the rows looked up (not the whole table), and the output."""
        return self.inputs + 2 * self.activations

    def define(self) -> Program:
        line = "out[n,t,c] = table[ids[n,t],c]"
        roles = {"ids": "constant", "table": "parameter", "out": "output"}
        return self.read(line, roles, {"table": (self.v, self.c)})


@catalogued
class AddEmbedding(Layer):
    """Adds a learned row to each token: the row of its position, or with `lookup` that of its type number.
    The table has v rows.

    >>> AddEmbedding(v=512).parameters
    512*c
    """

    n: Dim = dim("n")
    t: Dim = dim("t")
    c: Dim = dim("c")
    v: Dim = dim("v")
    lookup: bool = False

    takes: ClassVar[tuple[tuple[str, ...], ...]] = TOKENS
    gives: ClassVar[tuple[str, ...]] = TOKENS[0]

    def check(self) -> None:
        if not self.lookup and isinstance(self.t, int) and isinstance(self.v, int) and self.t > self.v:
            raise ExtentError(f"{self.t} positions, but the table has only v = {self.v} rows")

    @property
    def traffic(self) -> Dim:
        """Input, output, and the rows of the table that are used."""
        return self.inputs + self.activations + self.t * self.c

    def define(self) -> Program:
        row = "kinds[n,t]" if self.lookup else "t"
        roles = {"inp": "input", "table": "parameter", "out": "output"}
        if self.lookup:
            roles["kinds"] = "constant"
        line = f"out[n,t,c] = inp[n,t,c] + table[{row},c]"
        return self.read(line, roles, {"table": (self.v, self.c)})


@catalogued
class RotaryEmbedding(Layer):
    """Turns each pair of features by an angle that grows with the position (RoPE), for a heads of width d.

    >>> RotaryEmbedding().operations
    {'subtract': a*d*n*t/2, 'multiply': 2*a*d*n*t, 'add': a*d*n*t/2}
    """

    n: Dim = dim("n")
    t: Dim = dim("t")
    a: Dim = dim("a")
    d: Dim = dim("d")

    def check(self) -> None:
        if isinstance(self.d, int) and self.d % 2:
            raise ExtentError(f"d = {self.d}: features are turned in pairs, so a head's width must be even")

    def fit(self, *shapes: Shape) -> Self:
        if len(shapes) != 1 or len(shapes[0]) != 3:
            raise ShapeError(f"RotaryEmbedding takes one input (n, t, a*d), got {', '.join(map(str, shapes))}")
        n, t, width = shapes[0]
        return self.at(n=n, t=t, d=ratio(width, self.a))

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        return (self.output_shape,)

    @property
    def output_shape(self) -> Shape:
        return (self.n, self.t, self.a * self.d)

    def define(self) -> Program:
        half = ratio(self.d, 2)
        lines = [
            "out[n,t,a,d,0] = inp[n,t,a,d,0] * cos[t,d] - inp[n,t,a,d,1] * sin[t,d]",
            "out[n,t,a,d,1] = inp[n,t,a,d,0] * sin[t,d] + inp[n,t,a,d,1] * cos[t,d]",
        ]
        roles = {"inp": "input", "cos": "constant", "sin": "constant", "out": "output"}
        pairs = (self.n, self.t, self.a, half, 2)
        return self.read(lines, roles, {"inp": pairs, "out": pairs}, d=half)
