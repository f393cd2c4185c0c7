"""What PyTorch does for convolutions, linear layers, matrix products and attention on a processor, counted.

A convolution or a matrix product runs at the full rate of arithmetic and hides its own reading and writing behind it.
Laying its operands out anew beforehand, and the result afterwards, hides behind nothing: those are the `copied` bytes.
"""

from __future__ import annotations

from typing import Any

from ...layers.attention import ScaledDotProductAttention
from ...layers.base import Layer
from ...layers.linear import BatchedLinear
from ...layers.windows import both
from ...quantities import DTYPES
from ..work import Work
from .peers import border

#: Dtypes whose matrix products PyTorch hands to MKL (its own or oneDNN's kernels for the others).
PACKED = ("fp32", "fp64")
# Elements of an input up to which a single image with small filters is not worth oneDNN's while, and the filter:
# `use_mkldnn` in PyTorch's Convolution.cpp; seen: no primitive of oneDNN for 1 x 16 x 8 x 8, one for 1 x 512 x 7 x 7.
_SMALL_INPUT, _SMALL_FILTER = 20480, 3
#: Crossings of an array that is laid out anew: it is read, its new place is fetched, and written.
RELAID = 3
_BLOCK = 8  # channels that oneDNN keeps together with AVX2


def element(dtype: str) -> int:
    """Bytes of one element."""
    return int(DTYPES[dtype])


def multiplied(
    dtype: str, rows: int, inner: int, columns: int, batch: int = 1, bias: bool = False, calls: int = 1
) -> Work:
    """`batch` products of (rows x inner) with (inner x columns).

    MKL packs both operands into the order in which its kernel reads them: written once and read again, each call
    anew. MKL does not tell; this count fits the times of linear layers of 4000 x 4000: for 2 to 128 rows the time
    beyond arithmetic is that of three more crossings of the weight (5.1 to 7 ms at 40 GB/s; 64 MB). A product with a
    single row or column is not packed, and read by a single thread (20 GB/s with one thread allowed and with two). A
    bias is copied into the output first, and the product added to it.
    """
    size = element(dtype)
    operands, out = batch * (rows + columns) * inner, batch * rows * columns
    added = (2 * out + columns) if bias else 0
    copied = RELAID * operands if dtype in PACKED and min(rows, columns) > 1 else 0
    own = operands + out
    return Work(
        2 * batch * rows * inner * columns, (own + out + added + copied) * size, copied * size, own * size, calls,
        functions={"lone": operands} if batch == min(rows, columns) == 1 else {}, fetched=out * size,
    )  # fmt: skip


# -- convolutions ----------------------------------------------------------------------------------------


def convolved(layer: Any, dtype: str) -> Work:
    """A convolution of any kind.

    In fp32 oneDNN runs it on blocks of 8 channels: input, weights and output are laid out anew, each read and written
    (`reorder ... abcd -> aBcd8b`; 1 x 1, dilated and depth-wise ones and a batch of one too). An input of fewer than
    8 channels is read as it is. For strided filters wider than 7 with a border oneDNN makes columns instead.
    """
    kind, n, k = layer.kind, int(layer.n), int(layer.k)
    groups = k if kind == "DepthwiseConv2d" else int(getattr(layer, "groups", 1))
    c = k if kind == "DepthwiseConv2d" else int(layer.c)
    r, s = int(getattr(layer, "r", 1)), int(getattr(layer, "s", 1))
    size, inputs, weights, outputs = element(dtype), int(layer.inputs), int(layer.parameters), int(layer.activations)
    pad = _laid_around(layer, n * c)
    small = n == 1 and groups == 1 and min(r, s) <= _SMALL_FILTER and inputs + pad <= _SMALL_INPUT
    if dtype == "fp32" and groups == 1 and _wide(layer):  # the result is copied to its place in the end
        last = RELAID * outputs * size
        return _through_columns(layer, dtype, n, c, r * s, 1) + Work(moved=last, copied=last, calls=0)
    if dtype != "fp32" or small:
        return _through_columns(layer, dtype, n, c, r * s, groups) + _padded(pad, inputs, size)
    own = inputs + weights + outputs
    relaid = (inputs + pad if c // groups >= _BLOCK or groups > 1 else 0) + weights + outputs
    copied = RELAID * relaid
    # The kernel goes through its filters once for each row of an output: from the inner cache, where they stay. oneDNN
    # does not tell; it fits the rate growing with the width of a row: 100 GFLOP/s at 7, 120 at 14, 145 at 28 where
    # products reach 150.
    rows = n * int(getattr(layer, "y", 1))
    functions = {"relaid": relaid}
    if r * s > 1 and groups == 1:
        functions["reread"] = weights * size * rows
    return Work(
        2 * int(layer.macs), (own + outputs + copied) * size, copied * size, own * size, functions=functions,
        convolved=2 * int(layer.macs), fetched=outputs * size,
    ) + _padded(pad, inputs, size)  # fmt: skip


def _wide(layer: Any) -> bool:
    """Whether oneDNN has no kernel for such windows (`init_conf` in jit_avx2_conv_kernel_f32.cpp: with a border,
    filters wider than 7 may have no stride). It tells `convolution,x64:gemm:jit` then."""
    if int(getattr(layer, "s", 1)) <= 7:
        return False
    flat = getattr(layer, "flat", layer)
    (top, _), (left, _) = border(flat)
    return both("stride", flat.stride) != (1, 1) and (top, left) != (0, 0)


def _laid_around(layer: Any, planes: int) -> int:
    """Elements that a border adds which has to be laid around the input: one that differs from side to side."""
    if not hasattr(layer, "padding"):
        return 0
    flat = getattr(layer, "flat", layer)
    (top, bottom), (left, right) = border(flat)
    if (top, left) == (bottom, right):
        return 0
    h, w = int(flat.h), int(flat.w)
    return planes * ((h + top + bottom) * (w + left + right) - h * w)


def _padded(pad: int, inputs: int, size: int) -> Work:
    """The input copied into a wider one, where a border has to be laid around it."""
    copied = (RELAID * inputs + 2 * pad) * size if pad else 0
    return Work(moved=copied, copied=copied, calls=1 if pad else 0)


def _through_columns(layer: Any, dtype: str, n: int, c: int, taps: int, groups: int) -> Work:
    """PyTorch's own convolution: what each filter sees becomes a column, the rest is a matrix product.

    A 1 x 1 filter that visits every pixel needs no columns. Each group is a convolution of its own.
    """
    pixels = int(layer.activations) // (n * int(layer.k))
    size = element(dtype)
    plain = taps == 1 and pixels * n * c == int(layer.inputs)
    columns = 0 if plain else n * c * taps * pixels
    filters, inner = int(layer.k) // groups, c // groups * taps
    found = multiplied(dtype, filters, inner, pixels, n * groups, calls=groups)
    return Work(
        found.matrix,
        found.moved + RELAID * columns * size,
        found.copied + RELAID * columns * size,
        found.working + (int(layer.inputs) if columns else 0) * size,
        found.calls,
        fetched=found.fetched,
    )


def transposed(layer: Any, dtype: str) -> Work:
    """A transposed convolution: oneDNN's deconvolution, with input, weights and output laid out anew; or columns."""
    n, r, s = int(layer.n), int(layer.r), int(layer.s)
    inputs, weights, outputs, size = *map(int, (layer.inputs, layer.parameters, layer.activations)), element(dtype)
    own = inputs + weights + outputs
    small = n == 1 and layer.groups == 1 and min(r, s) <= _SMALL_FILTER and inputs <= _SMALL_INPUT
    functions = {}
    if dtype == "fp32" and not small:
        copied = RELAID * own
        functions = {"relaid": own}
    else:  # the product makes the columns, which are added up in the output
        copied = RELAID * n * int(layer.h) * int(layer.w) * int(layer.k) * r * s
        copied += RELAID * (inputs + weights) if dtype in PACKED else 0
    moved = (own + outputs + copied) * size
    return Work(
        2 * int(layer.macs), moved, copied * size, own * size, functions=functions, fetched=outputs * size
    )


# -- attention -------------------------------------------------------------------------------------------


def attended(layer: ScaledDotProductAttention, dtype: str) -> Work:
    """The fused attention of PyTorch: blocks of queries, each against all keys it may see.

    Blocks are of 256 queries for 768 and more, of 64 for 192 and more, else of 32 (FlashAttentionKernel.cpp; MKL tells
    of products with 32 queries for 128). Each block packs its keys and values anew.
    """
    n, t, u, a, d = (int(getattr(layer, name)) for name in "ntuad")
    if layer.dropout:
        return _by_hand(layer, dtype)
    block = 256 if t >= 768 else 64 if t >= 192 else 32
    starts = range(0, t, block)
    later = layer.causal and t == u
    keys = [min(start + block, u) if later else u for start in starts]
    scores = n * a * sum(min(block, t - start) * seen for start, seen in zip(starts, keys, strict=True))
    size, own = element(dtype), int(layer.inputs) + int(layer.activations)
    copied = RELAID * 2 * n * a * d * sum(keys) * size if dtype in PACKED else 0
    fetched = int(layer.activations) * size
    return Work(4 * scores * d, own * size + fetched + copied, copied, own * size, 1, {"exp": scores}, fetched=fetched)


def _by_hand(layer: ScaledDotProductAttention, dtype: str) -> Work:
    """Attention whose weights are dropped by a mask that was drawn before: an operation for each step."""
    n, t, u, a, d = (int(getattr(layer, name)) for name in "ntuad")
    size, scores = element(dtype), n * a * t * u
    query, keys, few = n * t * a * d, n * u * a * d, n * u * int(layer.kv_heads) * d
    # Queries head by head, and the heads of the result side by side; keys and values head by head, or repeated for
    # the queries of their group, which does the same.
    laid = RELAID * query + RELAID * query + 2 * (2 * keys + few)
    steps = 4 if layer.causal else 3  # scaled, masked, softmax, dropped: each to a new array
    mask = t * u if layer.causal else 0
    rest = Work(
        moved=(laid + (3 * steps + 1) * scores + mask) * size, copied=laid * size, working=4 * scores * size,
        calls=4 + steps, functions={"exp": scores}, fetched=steps * scores * size,
    )  # fmt: skip
    return multiplied(dtype, t, d, u, n * a) + multiplied(dtype, t, u, d, n * a) + rest


def heads(layer: Any) -> tuple[Layer, ScaledDotProductAttention]:
    """One of the four linear layers of a multi-head attention, and its core."""
    core = ScaledDotProductAttention(
        n=layer.n, t=layer.t, u=layer.t, a=layer.a, d=layer.c // layer.a, causal=layer.causal, dropout=layer.dropout
    )
    return BatchedLinear(n=layer.n, t=layer.t, k=layer.c, c=layer.c, bias=layer.bias), core
