"""How a NumPy programmer writes each layer: arrays made once, every pass written into one of them.

A recipe lays its steps out on a `Desk` and returns the output.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ... import layers as kinds
from ...layers.base import Layer
from ...layers.elementwise import Elementwise
from ...layers.optimizers import Optimizer
from ...layers.pairwise import Pairwise
from ...statements import Statement
from ..calls import NUMBERS
from . import norms, tokens, windows
from .elementwise import Lines
from .steps import TYPES, Array, Desk, dropped, normal, positive

Recipe = Callable[[Any, Desk], Array]


# -- linear layers and matrix products -------------------------------------------------------------------


def linear_rows(layer: Any, desk: Desk) -> Array:
    inp, weight = desk.inp(layer), desk.take("weight", layer.k, layer.c)
    bias, out = desk.bias(layer), desk.output(layer)
    return desk.linear(inp, weight, bias, out)


def matrix_product(layer: kinds.MatrixProduct, desk: Desk) -> Array:
    first, second = (
        desk.take(name, *shape) for name, shape in zip(("first", "second"), layer.input_shapes, strict=True)
    )
    return desk.matmul(first, second, out=desk.output(layer))


# -- element by element ----------------------------------------------------------------------------------


def each_element(layer: Layer, desk: Desk) -> Array:
    """The lines of the layer as they are: every array has the output's shape, or stretches to it."""
    known: dict[str, Any] = dict(NUMBERS)
    shapes = dict(zip(layer.input_names, layer.input_shapes, strict=True))
    for name in layer.program.having("constant"):
        known[name] = desk.take(name, *layer.output_shape, fill=dropped(getattr(layer, "p", 0.5)))
    known |= {name: desk.take(name, *shape) for name, shape in shapes.items()}
    return Lines(desk, known).write(_line(layer).value, desk.output(layer))


def prelu(layer: kinds.PReLU, desk: Desk) -> Array:
    inp, slope = desk.inp(layer), desk.take("slope", layer.c)
    known = {"inp": inp, "slope": slope.reshape(layer.c, *[1] * (inp.ndim - 2))}
    return Lines(desk, known).write(_line(layer).value, desk.output(layer))


def optimizer(layer: Optimizer, desk: Desk) -> Array:
    program = layer.program
    state = {name: positive if name == "second" else normal for name in program.having("state")}
    known: dict[str, Any] = {
        name: desk.take(name, layer.p, fill=state.get(name, normal)) for name in program.tensors
    } | dict(NUMBERS)
    lines = Lines(desk, known)
    for nest in program.nests:
        lines.write(nest.statement.value, known[nest.statement.target.name])
    return known["param"]


def concatenate(layer: kinds.Concatenate, desk: Desk) -> Array:
    parts = [desk.take(f"inp{place}", *shape) for place, shape in enumerate(layer.input_shapes)]
    out, start = desk.output(layer), 0
    for part in parts:
        desk.copy(part, out[:, start : start + part.shape[1]], copied=False)
        start += part.shape[1]
    return out


def row_sums(layer: kinds.Sum, desk: Desk) -> Array:
    out = desk.output(layer)
    desk.total(desk.take("inp", layer.n, layer.m), out=out.reshape(-1, 1))
    return desk.do(np.multiply, out, 1 / layer.m, out=out) if isinstance(layer, kinds.Mean) else out


def copy(layer: kinds.Copy, desk: Desk) -> Array:
    inp, out = desk.take("inp", *layer.source), desk.output(layer)
    count = min(inp.size, out.size)
    desk.copy(inp.reshape(-1)[:count], out.reshape(-1)[:count], copied=False)
    return out


def _line(layer: Layer) -> Statement:
    (nest,) = layer.program.nests
    return nest.statement


#: The recipe of each kind of layer, by class; a class inside another inherits its recipe.
RECIPES: dict[type[Layer], Recipe] = {
    kinds.Conv2d: windows.conv2d,
    kinds.DepthwiseConv2d: windows.depthwise,
    kinds.PointwiseConv2d: windows.pointwise,
    kinds.Conv1d: windows.conv1d,
    kinds.ConvTranspose2d: windows.transposed,
    kinds.MaxPool2d: windows.max_pool,
    kinds.AvgPool2d: windows.avg_pool,
    kinds.AdaptiveAvgPool2d: windows.adaptive_pool,
    kinds.GlobalAvgPool2d: windows.global_pool,
    kinds.Linear: linear_rows,
    kinds.BatchedLinear: linear_rows,
    kinds.MatrixProduct: matrix_product,
    kinds.BatchNorm2d: norms.batch_norm,
    kinds.LayerNorm: norms.layer_norm,
    kinds.RMSNorm: norms.rms_norm,
    kinds.GroupNorm: norms.group_norm,
    Elementwise: each_element,
    Pairwise: each_element,
    kinds.PReLU: prelu,
    kinds.Concatenate: concatenate,
    Optimizer: optimizer,
    kinds.Sum: row_sums,
    kinds.Copy: copy,
    kinds.Embedding: tokens.embedding,
    kinds.AddEmbedding: tokens.add_embedding,
    kinds.RotaryEmbedding: tokens.rotary,
    kinds.Softmax: tokens.softmax,
    kinds.ScaledDotProductAttention: tokens.dot_product,
    kinds.MultiHeadAttention: tokens.multi_head,
    kinds.FeedForward: tokens.feed_forward,
}


def recipe(layer: Layer) -> Recipe | None:
    """The recipe of a layer; None where there is none."""
    if isinstance(layer, kinds.Viewed):
        return recipe(layer.layer) and viewed
    return next((RECIPES[cls] for cls in type(layer).__mro__ if cls in RECIPES), None)


def viewed(layer: kinds.Viewed, desk: Desk) -> Array:
    """The layer inside; its inputs and its output have other axes, which costs nothing."""
    inner = recipe(layer.layer)
    assert inner is not None
    out = inner(layer.layer, desk)
    for name, shape in zip(layer.input_names, layer.sources, strict=True):
        desk.given[name] = desk.given[name].reshape(shape)
    return out.reshape(layer.target)


def supports(layer: Layer, dtype: str) -> str:
    """Why NumPy has no recipe for a layer in a dtype; empty where it has one.

    >>> from dnnlab import Flatten, ReLU
    >>> supports(ReLU(), "fp32"), supports(ReLU(), "fp16")
    ('', 'NumPy has vectorised functions and matrix products in fp32 and fp64 only, not in fp16')
    """
    if dtype not in TYPES:
        return f"NumPy has vectorised functions and matrix products in {' and '.join(TYPES)} only, not in {dtype}"
    return "" if recipe(layer) else f"there is no NumPy recipe for {layer.kind}"
