"""Layers that turn into other layers: batch norm into a scale and a shift, those into the convolution before
it, and average pooling into a convolution. Each result is derived from the layers' own lines by SymPy.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

import sympy

from .calculus import Alphabet, slopes
from .errors import DnnlabError, ShapeError, quote
from .layers import (
    AdaptiveAvgPool2d,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    DepthwiseConv2d,
    GlobalAvgPool2d,
    PointwiseConv2d,
)
from .notation import Dim, settle
from .program import Program
from .statements import Apply, Node, Ref, Scalar, Statement, is_mac
from .statements import fold as rebuild

Convolution = Conv2d | DepthwiseConv2d | PointwiseConv2d
Pooling = AvgPool2d | AdaptiveAvgPool2d | GlobalAvgPool2d


def scale_shift(norm: BatchNorm2d) -> Program:
    """Batch norm at inference as one multiplication and one addition an element.

    The running statistics no longer change, so the line is linear in its input: its coefficient is the scale,
    the rest the shift, and both are computed once. Shapes: `scale` and `shift` are (c,), `inp` and `out`
    (n, c, h, w). Raises `DnnlabError` for another kind of layer.

    >>> print(scale_shift(BatchNorm2d()))
    scale[c] = weight[c] / sqrt(running_var[c] + eps)
    shift[c] = bias[c] - running_mean[c] * scale[c]
    out[n,c,y,x] = scale[c] * inp[n,c,y,x] + shift[c]
    """
    if not isinstance(norm, BatchNorm2d):
        raise DnnlabError(f"expected a BatchNorm2d, got {quote(norm)}; only its statistics stand still at inference")
    program = norm.at(training=False).program
    (line,) = (nest.statement for nest in program.nests)
    (inp,) = (ref for ref in line.reads if ref.name == "inp")
    (weight,) = (ref for ref in line.reads if ref.name == "weight")
    channel = weight.subscripts
    scale, shift = Ref("scale", channel), Ref("shift", channel)
    letters = Alphabet(line, scale)
    slope, rest = _linear(letters.expression(line.value), letters.symbols[inp])
    # the rest holds the slope again: undo the weight in it, so that it is written with the scale
    (undone,) = sympy.solve(slope - letters.symbols[scale], letters.symbols[weight])
    lines = (
        Statement(scale, None, letters.node(slope)),
        Statement(shift, None, letters.node(sympy.expand(rest.subs(letters.symbols[weight], undone)))),
        Statement(line.target, None, Apply("add", (Apply("multiply", (scale, inp)), shift))),
    )
    shapes = {name: program.shape(name) for name in program.tensors}
    extents = dict(program.nests[0].extents)
    return Program.read(lines, dict(program.roles), shapes, **extents)


@dataclass(frozen=True)
class Folded:
    """A convolution that does the work of a convolution and the batch norm behind it.

    `conv` is the new layer, with a bias. `program` computes its weights once: `folded_weight` and
    `folded_bias` from the convolution's `weight` (and `bias`) and the norm's `gamma`, `beta` (its weight and
    bias), `running_mean` and `running_var`.
    """

    conv: Convolution
    program: Program

    @property
    def statements(self) -> tuple[str, ...]:
        """The lines that compute the new weights and biases."""
        return self.program.statements

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self.conv))}, its weights by</p>{self.program._repr_html_()}"


def fold(conv: Convolution, norm: BatchNorm2d) -> Folded:
    """Fold a batch norm (at inference) into the convolution before it.

    The convolution's line is put in the place of the norm's input; what then multiplies the input of the
    convolution is the new weight, what is left the new bias. Raises `ShapeError` where the norm does not
    fit behind the convolution, `DnnlabError` for layers of other kinds.

    >>> print(fold(Conv2d(), BatchNorm2d()).program)
    scale[k] = gamma[k] / sqrt(running_var[k] + eps)
    shift[k] = beta[k] - running_mean[k] * scale[k]
    folded_weight[k,c,i,j] = scale[k] * weight[k,c,i,j]
    folded_bias[k] = shift[k]
    """
    if not isinstance(conv, Convolution):
        raise DnnlabError(f"expected a Conv2d, DepthwiseConv2d or PointwiseConv2d, got {quote(conv)}")
    parts = scale_shift(norm).nests
    try:
        norm.fit(conv.output_shape)
    except ShapeError as error:
        raise ShapeError(f"{norm!r} does not fit behind {conv!r}: {error}") from None
    first, *biases = (nest.statement for nest in conv.program.nests)
    assert is_mac(first)
    channel = first.target.subscripts[1:-2]  # (k,), and with groups (g, k)
    names = {"weight": "gamma", "bias": "beta"}
    scale, shift, last = (_renamed(nest.statement, names, channel) for nest in parts)
    (seen,) = (ref for ref in last.reads if ref.name == "inp")

    # the convolution's value, one term of its sum and the bias, in the place of the norm's input
    value: Node = first.value
    for line in biases:
        value = Apply("add", (value, line.value))
    letters = Alphabet(last, value)
    (inp,) = (ref for ref in first.reads if ref.name == "inp")
    (weight,) = (ref for ref in first.reads if ref.name == "weight")
    # only the terms of the sum hold inp, and the scale is the same for all of them
    joined = letters.expression(last.value).subs(letters.symbols[seen], letters.expression(value))
    new_weight, new_bias = _linear(joined, letters.symbols[inp])
    lines = (
        scale,
        shift,
        Statement(Ref("folded_weight", weight.subscripts), None, letters.node(new_weight)),
        Statement(Ref("folded_bias", channel), None, letters.node(new_bias)),
    )
    one = conv.program.shape("out")[1:-2]
    known = dict.fromkeys(("gamma", "beta", "running_mean", "running_var", "scale", "shift", "folded_bias"), one)
    shapes = known | {"weight": conv.program.shape("weight"), "folded_weight": conv.program.shape("weight")}
    roles = {"weight": "parameter", "gamma": "parameter", "beta": "parameter"}
    roles |= {"running_mean": "state", "running_var": "state"}
    roles |= {"folded_weight": "output", "folded_bias": "output"}
    if conv.bias:
        roles, shapes = roles | {"bias": "parameter"}, shapes | {"bias": one}
    program = Program.read(lines, roles, shapes, **dict(conv.program.nests[0].extents))
    return Folded(dataclasses.replace(conv, bias=True), program)


def pooling_as_convolution(pool: Pooling) -> tuple[DepthwiseConv2d, Dim]:
    """Average pooling as a depth-wise convolution, and the number that all its weights hold.

    The weight is what an element of the input counts for in the output, by the derivative of the pooling's
    lines. Raises `DnnlabError` for another layer, or for windows that a convolution would not visit.

    >>> pooling_as_convolution(AvgPool2d(r=2, s=2))
    (DepthwiseConv2d(stride=(2, 2), padding='valid', k=c, r=2, s=2), Fraction(1, 4))
    >>> pooling_as_convolution(AvgPool2d())[1]
    1/(r*s)
    """
    if not isinstance(pool, Pooling):
        why = "a maximum is no sum of products" if getattr(pool, "kind", "") == "MaxPool2d" else "it is no average"
        raise DnnlabError(f"{quote(pool)} is not a convolution: {why}; expected an AvgPool2d or GlobalAvgPool2d")
    weight: sympy.Expr = sympy.Integer(1)
    for nest in pool.program.nests:
        letters = Alphabet(nest.statement)
        ((_, slope),) = slopes(nest.statement)
        known = {letters.symbols[Scalar(name)]: dict(nest.settings)[name] for name in nest.statement.scalars}
        weight *= letters.expression(slope).subs(known)
    r, s = pool.program.nests[0].reducing.values()
    slides: dict[str, Any] = {"stride": (r, s), "padding": "valid", "dilation": 1}
    if isinstance(pool, AvgPool2d):
        slides = {"stride": pool.strides, "padding": pool.padding, "dilation": pool.dilation}
    conv = DepthwiseConv2d(n=pool.n, k=pool.c, h=pool.h, w=pool.w, r=r, s=s, **slides)
    if conv.output_shape != pool.output_shape:
        raise DnnlabError(
            f"{pool!r} gives {pool.output_shape}, a convolution with its window {conv.output_shape}; "
            f"bind its sizes, and leave out ceil=True"
        )
    return conv, settle(weight)


def _linear(value: sympy.Expr, x: sympy.Symbol) -> tuple[sympy.Expr, sympy.Expr]:
    """`(a, b)` with value = a * x + b."""
    slope = sympy.diff(value, x)
    assert not slope.has(x), f"{value} is not linear"
    return slope, sympy.expand(value.subs(x, 0))


def _renamed(statement: Statement, names: Mapping[str, str], channel: tuple[Node, ...]) -> Statement:
    """The statement with some tensors renamed and its index `c` spelled as the convolution spells a filter."""

    def leaf(node: Node) -> Node:
        if not isinstance(node, Ref):
            return node
        subscripts = (new for old in node.subscripts for new in (channel if old == Scalar("c") else (old,)))
        return Ref(names.get(node.name, node.name), tuple(subscripts))

    target = leaf(statement.target)
    assert isinstance(target, Ref)
    value = rebuild(statement.value, leaf, lambda op, args: Apply(op, tuple(args)))
    return Statement(target, statement.accumulate, value)
