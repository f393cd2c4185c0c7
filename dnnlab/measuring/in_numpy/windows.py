"""Convolution and pooling in NumPy: columns of windows and a matrix product; passes over shifted pictures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ...layers.convolution import Conv1d, Conv2d, ConvTranspose2d, DepthwiseConv2d, PointwiseConv2d
from ...layers.pooling import AdaptiveAvgPool2d, AvgPool2d, GlobalAvgPool2d, MaxPool2d
from ...layers.windows import AXES, both
from .steps import Array, Desk, reduced

#: Columns are made of as many samples at a time as keep them within this many bytes: a cache holds them until the
#: matrix product has read them, and small pictures share their calls.
COLUMNS = 4 * 2**20


class Shift(NamedTuple):
    """One place (i, j) of the filter: the outputs it reaches inside the picture, and the elements it meets there."""

    i: int
    j: int
    outputs: tuple[slice, slice]
    inputs: tuple[slice, slice]
    stepped: bool  # neighbours in the picture are not neighbours in memory


def shifts(layer: Any, most: tuple[int, int]) -> Iterator[Shift]:
    """The places of a layer's filter that meet the picture at all, for at `most` so many outputs."""
    for i in range(layer.r):
        rows = _meet(layer, "y", i, most[0])
        for j in range(layer.s):
            columns = _meet(layer, "x", j, most[1])
            if rows and columns:
                outputs, inputs = zip(rows, columns, strict=True)
                stepped = layer.strides[1] > 1 and columns[0].stop - columns[0].start > 1
                yield Shift(i, j, outputs, inputs, stepped)


def _meet(layer: Any, axis: str, place: int, most: int) -> tuple[slice, slice] | None:
    """Along one axis: the outputs for which an element of the filter lies inside the picture, and where it lies."""
    extent, _, which = AXES[axis]
    step, start = layer.strides[which], both("dilation", layer.dilation)[which] * place - layer.border(axis)
    first = max(0, -(start // step))
    last = min(most - 1, (getattr(layer, extent) - 1 - start) // step)
    if last < first:
        return None
    return slice(first, last + 1), slice(first * step + start, last * step + start + 1, step)


def convolve(desk: Desk, layer: Conv2d, inp: Array, weight: Array, bias: Array | None, out: Array) -> Array:
    """The columns of all windows of some samples, copied beside each other, times the filters; and so on.

    Columns keep the order (c, r, s) of the filters, so the product has the output's layout. Where the filter is 1 x 1
    and takes every pixel, the picture is its own columns.
    """
    n, g, y, x = layer.n, layer.groups, layer.y, layer.x
    k, c, depth = layer.k // g, layer.c // g, layer.c // g * layer.r * layer.s
    filters = weight.reshape(g, k, depth)
    products = out.reshape(n, g, k, y * x)
    places = [*shifts(layer, (y, x))]
    whole = (slice(0, layer.h, 1), slice(0, layer.w, 1))
    if layer.r == layer.s == 1 and [place.inputs for place in places] == [whole] and (y, x) == (layer.h, layer.w):
        desk.matmul(filters, inp.reshape(n, g, c, y * x), out=products)
    else:
        pictures = inp.reshape(n, layer.c, layer.h, layer.w)
        block = min(n, max(1, COLUMNS // (g * depth * y * x * desk.dtype.itemsize)))
        # outside the picture the columns stay zero, for nothing is ever written there
        columns = desk.buffer(block, layer.c, layer.r, layer.s, y, x)
        for first in range(0, n, block):
            size = min(block, n - first)
            for i, j, (rows, cols), inside, stepped in places:
                source = pictures[first : first + size, :, inside[0], inside[1]]
                target = columns[:size, :, i, j, rows, cols]
                desk.copy(source, target, slow="window" if stepped else "", run=target.shape[-1])
            part = columns[:size].reshape(size, g, depth, y * x)
            desk.matmul(filters, part, out=products[first : first + size])
    if bias is not None:
        desk.do(np.add, out, bias.reshape(layer.k, 1, 1), out=out, run=y * x)
    return out


def transpose(desk: Desk, layer: ConvTranspose2d, inp: Array, weight: Array, bias: Array | None, out: Array) -> Array:
    """Each pixel times all filters, which gives the columns, and then r·s additions of shifted columns to the output.

    `weight` is (c, k / groups, r, s).
    """
    n, g, h, w = layer.n, layer.groups, layer.h, layer.w
    k, c = layer.k // g, layer.c // g
    filters = weight.reshape(g, c, k * layer.r * layer.s).swapaxes(1, 2)
    pixels = inp.reshape(n, g, c, h * w)
    block = min(n, max(1, COLUMNS // (layer.k * layer.r * layer.s * h * w * desk.dtype.itemsize)))
    columns = desk.buffer(block, layer.k, layer.r, layer.s, h, w)
    # the convolution that leads from the output back to the input has the same windows
    mirror = Conv2d(
        n=n, k=1, c=1, h=layer.y, w=layer.x, r=layer.r, s=layer.s,
        stride=layer.stride, padding=layer.padding, dilation=layer.dilation,
    )  # fmt: skip
    desk.copy(0.0 if bias is None else bias.reshape(layer.k, 1, 1), out)
    for first in range(0, n, block):
        size = min(block, n - first)
        part = columns[:size].reshape(size, g, k * layer.r * layer.s, h * w)
        desk.matmul(filters, pixels[first : first + size], out=part)
        for i, j, (rows, cols), inside, stepped in shifts(mirror, (h, w)):
            target = out[first : first + size, :, inside[0], inside[1]]
            found = columns[:size, :, i, j, rows, cols]
            slow = "window" if stepped else ""
            desk.do(np.add, target, found, out=target, copied=True, slow=slow, run=found.shape[-1])
    return out


def pool(desk: Desk, layer: Any, function: np.ufunc, inp: Array, out: Array) -> Array:
    """For each place of the window one pass over the shifted picture: the largest so far, or the sum so far.

    A window that sees all of the picture is one reduction instead.
    """
    if (layer.r, layer.s, layer.y, layer.x) == (layer.h, layer.w, 1, 1) and not layer.border("y") + layer.border("x"):
        pictures, ends = inp.reshape(layer.n * layer.c, layer.h * layer.w), out.reshape(-1, 1)
        if function is np.add:
            desk.total(pictures, out=ends)
        else:
            desk.do(reduced(1, function), pictures, out=ends, run=pictures.shape[1])
        return out
    whole = (slice(0, layer.y), slice(0, layer.x))
    places = [*shifts(layer, (layer.y, layer.x))]
    if all(place.outputs == whole for place in places[:2]) and len(places) > 1:
        one, other = (inp[:, :, place.inputs[0], place.inputs[1]] for place in places[:2])
        desk.do(function, one, other, out=out, slow="window" if places[0].stepped else "", run=layer.x)
        places = places[2:]
    else:
        desk.copy(0.0 if function is np.add else -np.inf, out, copied=False)
    for _, _, outputs, inside, stepped in places:
        target = out[:, :, outputs[0], outputs[1]]
        slow, run = "window" if stepped else "", target.shape[-1]
        desk.do(function, target, inp[:, :, inside[0], inside[1]], out=target, slow=slow, run=run)
    return out


# -- the layers ------------------------------------------------------------------------------------------


def conv2d(layer: Conv2d, desk: Desk) -> Array:
    return _convolved(layer, desk, layer.input_shapes[0], (layer.k, layer.c // layer.groups, layer.r, layer.s))


def depthwise(layer: DepthwiseConv2d, desk: Desk) -> Array:
    same = {name: getattr(layer, name) for name in ("n", "k", "h", "w", "r", "s", "bias")}
    slid = {name: getattr(layer, name) for name in ("stride", "padding", "dilation")}
    wide = Conv2d(**same, **slid, c=layer.k, groups=layer.k)
    return _convolved(wide, desk, layer.input_shapes[0], (layer.k, layer.r, layer.s))


def pointwise(layer: PointwiseConv2d, desk: Desk) -> Array:
    same = {name: getattr(layer, name) for name in ("n", "k", "c", "h", "w", "bias")}
    return _convolved(Conv2d(**same, r=1, s=1), desk, layer.input_shapes[0], (layer.k, layer.c))


def conv1d(layer: Conv1d, desk: Desk) -> Array:
    flat = layer.flat.at(bias=layer.bias)
    out = _convolved(flat, desk, layer.input_shapes[0], (layer.k, layer.c // layer.groups, layer.s))
    return out.reshape(layer.output_shape)


def _convolved(layer: Conv2d, desk: Desk, source: tuple[int, ...], filters: tuple[int, ...]) -> Array:
    inp, weight, bias = desk.take("inp", *source), desk.take("weight", *filters), desk.bias(layer)
    return convolve(desk, layer, inp, weight, bias, desk.buffer(*layer.output_shape))


def transposed(layer: ConvTranspose2d, desk: Desk) -> Array:
    inp = desk.inp(layer)
    weight = desk.take("weight", layer.c, layer.k // layer.groups, layer.r, layer.s)
    return transpose(desk, layer, inp, weight, desk.bias(layer), desk.buffer(*layer.output_shape))


def max_pool(layer: MaxPool2d, desk: Desk) -> Array:
    return pool(desk, layer, np.maximum, desk.inp(layer), desk.output(layer))


def avg_pool(layer: AvgPool2d, desk: Desk) -> Array:
    out = pool(desk, layer, np.add, desk.inp(layer), desk.output(layer))
    return desk.do(np.multiply, out, 1 / (layer.r * layer.s), out=out)


def adaptive_pool(layer: AdaptiveAvgPool2d, desk: Desk) -> Array:
    r, s = layer.h // layer.y, layer.w // layer.x
    return avg_pool(AvgPool2d(n=layer.n, c=layer.c, h=layer.h, w=layer.w, r=r, s=s), desk)


def global_pool(layer: GlobalAvgPool2d, desk: Desk) -> Array:
    return adaptive_pool(AdaptiveAvgPool2d(n=layer.n, c=layer.c, h=layer.h, w=layer.w, y=1, x=1), desk)
