"""What transformers are made of, in NumPy: embeddings, softmax, attention, feed-forward layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...layers.attention import FeedForward, MultiHeadAttention, ScaledDotProductAttention, Softmax
from ...layers.embeddings import AddEmbedding, Embedding, RotaryEmbedding
from .elementwise import Lines
from .steps import Array, Desk, below, dropped, reduced

# -- embeddings ------------------------------------------------------------------------------------------


def embedding(layer: Embedding, desk: Desk) -> Array:
    ids = desk.take("ids", layer.n, layer.t, fill=below(layer.v), dtype=np.int64)
    used = min(layer.v, layer.n * layer.t) * layer.c
    return desk.rows(desk.take("table", layer.v, layer.c, touched=used), ids, desk.output(layer))


def add_embedding(layer: AddEmbedding, desk: Desk) -> Array:
    inp, out = desk.inp(layer), desk.output(layer)
    if not layer.lookup:
        table = desk.take("table", layer.v, layer.c, touched=layer.t * layer.c)
        return desk.do(np.add, inp, table[: layer.t], out=out)
    kinds = desk.take("kinds", layer.n, layer.t, fill=below(layer.v), dtype=np.int64)
    used = min(layer.v, layer.n * layer.t) * layer.c
    desk.rows(desk.take("table", layer.v, layer.c, touched=used), kinds, out)
    return desk.do(np.add, out, inp, out=out)


def rotary(layer: RotaryEmbedding, desk: Desk) -> Array:
    """A pair of features is a complex number, and turning it a complex product."""
    inp, out = desk.inp(layer), desk.output(layer)
    half, pairs = layer.d // 2, np.result_type(desk.dtype, np.complex64)
    turn = desk.buffer(layer.t, 1, half, dtype=pairs)
    for name, part in (("cos", turn.real), ("sin", turn.imag)):
        desk.copy(desk.take(name, layer.t, half), part[:, 0], slow="window" if half > 1 else "")
    shape = (layer.n, layer.t, layer.a, half)
    desk.do(np.multiply, _paired(inp, pairs).reshape(shape), turn, out=_paired(out, pairs).reshape(shape))
    return out


def _paired(array: Array, dtype: Any) -> Array:
    """Neighbours in the last axis as complex numbers."""
    if 0 in array.strides and array.size > 1:  # a phantom has no neighbours
        return np.broadcast_to(np.zeros((), dtype), (*array.shape[:-1], array.shape[-1] // 2))
    return array.view(dtype)


# -- attention -------------------------------------------------------------------------------------------


def softmax(layer: Softmax, desk: Desk) -> Array:
    inp, out = desk.inp(layer), desk.output(layer)
    _softmax(desk, inp.reshape(-1, layer.c), out.reshape(-1, layer.c))
    return out


def _softmax(desk: Desk, inp: Array, out: Array) -> None:
    """Each row of (m, c); `out` may be `inp`."""
    column = desk.buffer(out.shape[0], 1)
    desk.do(reduced(1, np.maximum), inp, out=column, run=inp.shape[1])
    desk.do(np.subtract, inp, column, out=out)
    desk.do(np.exp, out, out=out, slow="exp")
    desk.total(out, out=column)
    desk.do(np.divide, 1, column, out=column)
    desk.do(np.multiply, out, column, out=out)


def dot_product(layer: ScaledDotProductAttention, desk: Desk) -> Array:
    names = zip(("query", "key", "value"), layer.input_shapes, strict=True)
    query, key, value = (desk.take(name, *shape) for name, shape in names)
    return _attend(desk, layer, query, key, value, desk.output(layer))


def _attend(desk: Desk, layer: ScaledDotProductAttention, query: Array, key: Array, value: Array, out: Array) -> Array:
    """Heads side by side in the last axis are a view of (n, heads, t, d), which the matrix products take as it is."""
    n, t, u, d, g = layer.n, layer.t, layer.u, layer.d, layer.kv_heads
    b = layer.a // g
    scaled = desk.do(np.multiply, query, d**-0.5, out=desk.buffer(*query.shape))
    score = desk.buffer(n, g, b, t, u)
    keys = key.reshape(n, u, g, 1, d).transpose(0, 2, 3, 4, 1)
    desk.matmul(scaled.reshape(n, t, g, b, d).transpose(0, 2, 3, 1, 4), keys, out=score)
    if layer.causal:
        desk.do(np.add, score, desk.take("mask", t, u, fill=_causal), out=score)
    rows = score.reshape(-1, u)
    _softmax(desk, rows, rows)
    if layer.dropout:
        drop = desk.take("drop", n, g * b, t, u, fill=dropped(0.1))
        desk.do(np.multiply, score, drop.reshape(score.shape), out=score)
    values = value.reshape(n, u, g, 1, d).transpose(0, 2, 3, 1, 4)
    desk.matmul(score, values, out=out.reshape(n, t, g, b, d).transpose(0, 2, 3, 1, 4))
    return out


def multi_head(layer: MultiHeadAttention, desk: Desk) -> Array:
    n, t, c = layer.n, layer.t, layer.c
    inp, names = desk.take("inp", n, t, c), ("query", "key", "value", "out")
    weights = {name: desk.take(f"weight_{name}", c, c) for name in names}
    shifts = {name: desk.take(f"bias_{name}", c) if layer.bias else None for name in names}
    query, key, value = (desk.linear(inp, weights[name], shifts[name], desk.buffer(n, t, c)) for name in names[:3])
    core = ScaledDotProductAttention(
        n=n, t=t, u=t, a=layer.a, d=c // layer.a, causal=layer.causal, dropout=layer.dropout
    )
    context = _attend(desk, core, query, key, value, desk.buffer(n, t, c))
    return desk.linear(context, weights["out"], shifts["out"], desk.output(layer))


def feed_forward(layer: FeedForward, desk: Desk) -> Array:
    n, t, c, m = layer.n, layer.t, layer.c, layer.m
    inp, names = desk.take("inp", n, t, c), ("hidden", "gate") if layer.gated else ("hidden",)
    made: dict[str, Array] = {}
    for name in names:
        weight = desk.take(f"weight_{name}", m, c)
        bias = desk.take(f"bias_{name}", m) if layer.bias else None
        made[name] = desk.linear(inp, weight, bias, desk.buffer(n, t, m))
    lines = {nest.statement.target.name: nest.statement.value for nest in layer.program.nests}
    active = Lines(desk, made).write(lines["active"], desk.buffer(n, t, m))
    if layer.gated:
        desk.do(np.multiply, active, made["hidden"], out=active)
    weight = desk.take("weight_out", c, m)
    bias = desk.take("bias_out", c) if layer.bias else None
    return desk.linear(active, weight, bias, desk.output(layer))


def _causal(rng: np.random.Generator, array: Array) -> None:
    t, u = array.shape
    array[...] = np.where(np.tri(t, u, max(0, u - t)) > 0, 0.0, -np.inf)
