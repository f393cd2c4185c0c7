"""Softmax, attention and feed-forward: the parts of a transformer."""

from __future__ import annotations

from typing import ClassVar, Self

from ..errors import ExtentError, ShapeError
from ..notation import Dim, dimension, product, ratio
from ..program import Program
from .base import Layer, Shape, catalogued, dim
from .elementwise import activation
from .normalization import TOKENS


def softmax_lines(rows: str, column: str, source: str, result: str) -> list[str]:
    """Softmax over `column` for each of `rows`. The largest element is subtracted first so that no exponential
    overflows; the result does not depend on it."""
    element = f"{source}[{rows},{column}]"
    return [
        f"top[{rows}] = max(top[{rows}], {element})",
        f"total[{rows}] += exp({element} - top[{rows}])",
        f"{result}[{rows},{column}] = exp({element} - top[{rows}]) / total[{rows}]",
    ]


@catalogued
class Softmax(Layer):
    """Each of n rows of c numbers becomes positive and sums to one.

    >>> print(Softmax().program.statements[2])
    out[n,c] = exp(inp[n,c] - top[n]) / total[n]
    """

    n: Dim = dim("n")
    c: Dim = dim("c")
    rows: Shape | None = None  # the axes before the last; their product is n

    products: ClassVar[dict[str, str]] = {"n": "rows"}

    def check(self) -> None:
        if self.rows is not None:
            object.__setattr__(self, "n", product(self.rows))

    def fit(self, *shapes: Shape) -> Self:
        if len(shapes) != 1 or len(shapes[0]) < 2:
            raise ShapeError(f"Softmax takes one input (..., c), got {', '.join(map(str, shapes)) or 'none'}")
        return self.at(rows=tuple(shapes[0][:-1]), c=shapes[0][-1])

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        return (self.output_shape,)

    @property
    def output_shape(self) -> Shape:
        return (*((self.n,) if self.rows is None else self.rows), self.c)

    def define(self) -> Program:
        lines = softmax_lines("n", "c", "inp", "out")
        return self.read(lines, {"inp": "input", "out": "output"}, {}, detached=("top",))


@catalogued
class ScaledDotProductAttention(Layer):
    """Each of t queries looks at u keys and takes a weighted mean of their values, for each of a heads of width d.

    Inputs are (n, t, a·d), (n, u, g·d) and (n, u, g·d): with g < a key and value heads, each serves a / g
    query heads (grouped-query attention). `causal` adds a mask; the nest still counts the full t x u
    rectangle, as every published table does. `dropout` drops weights at random while training.

    >>> ScaledDotProductAttention().macs
    2*a*d*n*t*u
    """

    n: Dim = dim("n")
    t: Dim = dim("t")
    u: Dim = dim("u")
    a: Dim = dim("a")
    d: Dim = dim("d")
    g: Dim | None = None
    causal: bool = False
    dropout: bool = False

    def check(self) -> None:
        if self.g is not None:
            object.__setattr__(self, "g", dimension("g", self.g))
        if isinstance(self.a, int) and isinstance(self.kv_heads, int) and self.a % self.kv_heads:
            raise ExtentError(f"g = {self.g} key-value heads do not divide a = {self.a} heads")

    @property
    def kv_heads(self) -> Dim:
        """Heads of keys and values: as many as of queries, unless g says otherwise."""
        return self.a if self.g is None else self.g

    def fit(self, *shapes: Shape) -> Self:
        if len(shapes) != 3 or any(len(shape) != 3 for shape in shapes):
            raise ShapeError(f"{self.kind} takes query, key and value (n, t, width), got {shapes}")
        (n, t, width), (_, u, narrow), _ = shapes
        d = ratio(width, self.a)
        if shapes[1] != shapes[2] or shapes[1][0] != n or narrow != self.kv_heads * d:
            raise ShapeError(
                f"{self.kind} with a = {self.a} heads of width {d} and g = {self.kv_heads} takes key and value "
                f"({n}, u, {self.kv_heads * d}), got {shapes[1]} and {shapes[2]}"
            )
        return self.at(n=n, t=t, u=u, d=d)

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        narrow = (self.n, self.u, self.kv_heads * self.d)
        return ((self.n, self.t, self.a * self.d), narrow, narrow)

    @property
    def output_shape(self) -> Shape:
        return (self.n, self.t, self.a * self.d)

    def lines(self) -> list[str]:
        """The lines, from `query`, `key` and `value` to `out`."""
        # with grouped queries a head is (a, b): key-value head a, query b of its group
        head = "a" if self.kv_heads == self.a else "a,b"
        mask = " + mask[t,u]" if self.causal else ""
        dropped = "dropped" if self.dropout else "prob"
        return [
            f"score[n,{head},t,u] += query[n,t,{head},d] * key[n,u,a,d]",
            f"scaled[n,{head},t,u] = score[n,{head},t,u] * scale{mask}",
            *softmax_lines(f"n,{head},t", "u", "scaled", "prob"),
            *([f"dropped[n,{head},t,u] = prob[n,{head},t,u] * drop[n,{head},t,u]"] if self.dropout else []),
            f"out[n,t,{head},d] += {dropped}[n,{head},t,u] * value[n,u,a,d]",
        ]

    @property
    def constants(self) -> dict[str, str]:
        """Roles of the masks."""
        return ({"mask": "constant"} if self.causal else {}) | ({"drop": "constant"} if self.dropout else {})

    def define(self) -> Program:
        roles = {"query": "input", "key": "input", "value": "input", **self.constants, "out": "output"}
        extents = {"a": self.kv_heads, "b": ratio(self.a, self.kv_heads)}
        return self.read(self.lines(), roles, {}, detached=("top",), **extents)


@catalogued
class MultiHeadAttention(Layer):
    """Self-attention with its four linear layers: queries, keys, values and the output, a heads over width c.

    >>> attention = MultiHeadAttention()
    >>> attention.parameters
    4*c**2
    """

    n: Dim = dim("n")
    t: Dim = dim("t")
    c: Dim = dim("c")
    a: Dim = dim("a")
    bias: bool = False
    causal: bool = False
    dropout: bool = False

    takes: ClassVar[tuple[tuple[str, ...], ...]] = TOKENS
    gives: ClassVar[tuple[str, ...]] = TOKENS[0]

    def check(self) -> None:
        if isinstance(self.c, int) and isinstance(self.a, int) and self.c % self.a:
            raise ExtentError(f"a = {self.a} heads do not divide the width c = {self.c}")

    def define(self) -> Program:
        core = ScaledDotProductAttention(
            n=self.n, t=self.t, u=self.t, a=self.a, d=ratio(self.c, self.a), causal=self.causal, dropout=self.dropout
        )
        lines, roles = [], {"inp": "input"}
        for name, row in (("query", "t"), ("key", "u"), ("value", "u")):
            lines.append(f"{name}[n,{row},a,d] += weight_{name}[a,d,c] * inp[n,{row},c]")
            roles[f"weight_{name}"] = "parameter"
            if self.bias:
                lines.append(f"{name}[n,{row},a,d] += bias_{name}[a,d]")
                roles[f"bias_{name}"] = "parameter"
        lines += [line.replace("out[", "context[") for line in core.lines()]
        lines.append("out[n,t,k] += weight_out[k,a,d] * context[n,t,a,d]")
        roles["weight_out"] = "parameter"
        if self.bias:
            lines.append("out[n,t,k] += bias_out[k]")
            roles["bias_out"] = "parameter"
        roles |= core.constants | {"out": "output"}
        return self.read(lines, roles, {}, detached=("top",), u=self.t, d=core.d, k=self.c)


@catalogued
class FeedForward(Layer):
    """Two linear layers with an activation between: width c to m and back; `gated` multiplies the activation
    with a second linear layer of the input (SwiGLU, with `activation="silu"`).

    >>> FeedForward().parameters, FeedForward(gated=True).parameters
    (2*c*m, 3*c*m)
    """

    n: Dim = dim("n")
    t: Dim = dim("t")
    c: Dim = dim("c")
    m: Dim = dim("m")
    activation: str = "gelu"
    gated: bool = False
    bias: bool = False

    takes: ClassVar[tuple[tuple[str, ...], ...]] = TOKENS
    gives: ClassVar[tuple[str, ...]] = TOKENS[0]

    def check(self) -> None:
        activation(self.activation)

    def define(self) -> Program:
        lines, roles = [], {"inp": "input"}
        for name in ("hidden", "gate") if self.gated else ("hidden",):
            lines.append(f"{name}[n,t,m] += weight_{name}[m,c] * inp[n,t,c]")
            roles[f"weight_{name}"] = "parameter"
            if self.bias:
                lines.append(f"{name}[n,t,m] += bias_{name}[m]")
                roles[f"bias_{name}"] = "parameter"
        source = "gate" if self.gated else "hidden"
        lines.append("active[n,t,m] = " + activation(self.activation).formula.format(x=f"{source}[n,t,m]"))
        if self.gated:
            lines.append("mixed[n,t,m] = active[n,t,m] * hidden[n,t,m]")
        lines.append(f"out[n,t,k] += weight_out[k,m] * {'mixed' if self.gated else 'active'}[n,t,m]")
        roles["weight_out"] = "parameter"
        if self.bias:
            lines.append("out[n,t,k] += bias_out[k]")
            roles["bias_out"] = "parameter"
        return self.read(lines, roles | {"out": "output"}, {}, k=self.c)
