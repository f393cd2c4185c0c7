"""Normalisation in NumPy: the statistics, then passes that take the mean away and divide by the spread."""

from __future__ import annotations

import numpy as np

from ...layers.normalization import BatchNorm2d, GroupNorm, LayerNorm, RMSNorm
from ..calls import NUMBERS
from .steps import Array, Desk, positive, reduced, squares


def batch_norm(layer: BatchNorm2d, desk: Desk) -> Array:
    """A scale and a shift for each channel, made of the statistics: of the batch, or of those kept."""
    inp, out = desk.inp(layer), desk.output(layer)
    weight, bias = _learned(layer, desk)
    means, variances = desk.take("running_mean", layer.c), desk.take("running_var", layer.c, fill=positive)
    wide = (layer.c, 1, 1)
    scale, shift = desk.buffer(*wide), desk.buffer(*wide)
    if not layer.training:
        _inverse(desk, variances.reshape(wide), 1.0, scale)
        if weight is not None:
            desk.do(np.multiply, scale, weight.reshape(wide), out=scale)
        desk.do(np.multiply, means.reshape(wide), scale, out=shift)
        desk.do(np.subtract, 0 if bias is None else bias.reshape(wide), shift, out=shift)
        desk.do(np.multiply, inp, scale, out=out)
        return desk.do(np.add, out, shift, out=out)
    part = 1 / (layer.n * layer.h * layer.w)
    flat = (layer.n, layer.c, layer.h * layer.w)
    sums = desk.total(inp.reshape(-1, flat[-1]), out=desk.buffer(layer.n * layer.c, 1))
    desk.do(reduced(0, np.add), sums.reshape(layer.n, layer.c), out=shift.reshape(1, -1))
    desk.do(np.multiply, shift, part, out=shift)
    _follow(desk, means, shift)
    desk.do(np.subtract, inp, shift, out=out)
    desk.do(squares("ncm->c"), out.reshape(flat), out=scale.reshape(-1), slow="sum", run=flat[-1])
    desk.do(np.multiply, scale, part, out=shift)
    _follow(desk, variances, shift)
    return _spread(desk, out, scale, part, weight, bias, wide)


def _follow(desk: Desk, running: Array, new: Array) -> None:
    """A running average moves towards what was just seen."""
    moved = desk.buffer(*running.shape)
    desk.do(np.multiply, running, 1 - NUMBERS["momentum"], out=running)
    desk.do(np.multiply, new.reshape(running.shape), NUMBERS["momentum"], out=moved)
    desk.do(np.add, running, moved, out=running)


def _inverse(desk: Desk, total_: Array, part: float, out: Array) -> Array:
    """One over the root of the mean square: `1 / sqrt(total * part + eps)`."""
    if part != 1:
        total_ = desk.do(np.multiply, total_, part, out=out)
    desk.do(np.add, total_, NUMBERS["eps"], out=out)
    desk.do(np.sqrt, out, out=out)
    return desk.do(np.divide, 1, out, out=out)


def _spread(
    desk: Desk, out: Array, total_: Array, part: float, weight: Array | None, bias: Array | None, wide: tuple[int, ...]
) -> Array:
    """Numbers without their mean, divided by their spread; then the learned scale and shift, of shape `wide`."""
    _inverse(desk, total_, part, total_)
    if weight is not None and total_.shape == wide:  # both belong to the channels: one pass does
        desk.do(np.multiply, total_, weight.reshape(wide), out=total_)
        weight = None
    desk.do(np.multiply, out, total_, out=out)
    if weight is not None:
        desk.do(np.multiply, out, weight.reshape(wide), out=out)
    return out if bias is None else desk.do(np.add, out, bias.reshape(wide), out=out)


def _centred(desk: Desk, inp: Array, out: Array, count: int) -> Array:
    """Rows of (m, count) without their mean, to `out`; returns their sums of squares."""
    sums = desk.buffer(inp.shape[0], 1)
    desk.total(inp, out=sums)
    desk.do(np.multiply, sums, 1 / count, out=sums)
    desk.do(np.subtract, inp, sums, out=out)
    return desk.do(squares("nc->n"), out, out=sums.reshape(-1), slow="sum", run=count).reshape(-1, 1)


def layer_norm(layer: LayerNorm, desk: Desk) -> Array:
    inp, out = desk.inp(layer), desk.output(layer)
    weight, bias = _learned(layer, desk)
    rows = out.reshape(-1, layer.c)
    sums = _centred(desk, inp.reshape(-1, layer.c), rows, layer.c)
    _spread(desk, rows, sums, 1 / layer.c, weight, bias, (layer.c,))
    return out


def rms_norm(layer: RMSNorm, desk: Desk) -> Array:
    inp, out = desk.inp(layer), desk.output(layer)
    weight, rows = desk.take("weight", layer.c), inp.reshape(-1, layer.c)
    sums = desk.buffer(rows.shape[0], 1)
    desk.do(squares("nc->n"), rows, out=sums.reshape(-1), slow="sum", run=layer.c)
    _inverse(desk, sums, 1 / layer.c, sums)
    result = desk.do(np.multiply, rows, sums, out=out.reshape(-1, layer.c))
    desk.do(np.multiply, result, weight, out=result)
    return out


def group_norm(layer: GroupNorm, desk: Desk) -> Array:
    inp, out = desk.inp(layer), desk.output(layer)
    weight, bias = _learned(layer, desk)
    count = layer.c // layer.groups * layer.h * layer.w
    sums = _centred(desk, inp.reshape(-1, count), out.reshape(-1, count), count)
    by_group = out.reshape(layer.n, layer.groups, layer.c // layer.groups, layer.h * layer.w)
    wide = (layer.groups, layer.c // layer.groups, 1)
    _spread(desk, by_group, sums.reshape(layer.n, layer.groups, 1, 1), 1 / count, weight, bias, wide)
    return out


def _learned(layer: BatchNorm2d | LayerNorm | GroupNorm, desk: Desk) -> tuple[Array | None, Array | None]:
    """Scale and shift, where the layer has them."""
    weight = desk.take("weight", layer.c) if layer.scale else None
    return weight, desk.take("bias", layer.c) if layer.shift else None
