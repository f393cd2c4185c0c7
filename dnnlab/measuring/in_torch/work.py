"""What PyTorch does for a layer, counted: the arithmetic, every pass over an array, the copies, the calls.

The counts are those of PyTorch's eager kernels on a processor. How they were found is said where they stand: oneDNN
tells each primitive that it runs, with its layouts (`torch.backends.mkldnn.verbose`), MKL each matrix product
(`MKL_VERBOSE=1`), and the dispatcher each operation (`torch.utils._python_dispatch.TorchDispatchMode`). On a GPU no
copies are known, and what is slow on a processor hides behind the memory: passes and calls remain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

from ...errors import DnnlabError
from ...layers.base import Layer
from ...layers.elementwise import activation
from ...notation import product
from ..calls import bound
from ..work import Work
from .products import attended, convolved, element, heads, multiplied, transposed
from .support import bare, supports

__all__ = ["supports", "work"]

Counter = Callable[[Any, str], Work]
#: What an element costs beyond being moved. SiLU and the logistic function are an exponential each.
SLOW = {
    "Sigmoid": "exp", "SiLU": "exp", "Tanh": "tanh", "GELU": "erf", "Softmax": "exp",
    "LayerNorm": "moments", "GroupNorm": "moments",
}  # fmt: skip


@lru_cache(maxsize=1024)
def work(layer: Layer, dtype: str, place: str = "cpu") -> Work:
    """The work of one execution, as `calls.call` runs it on a place ("cpu" or "cuda").

    Raises `ExtentError` while symbols are open, `DnnlabError` for a layer or a dtype that PyTorch has no call for.

    >>> from dnnlab import Conv2d
    >>> conv = Conv2d(n=8, k=64, c=64, h=56, w=56, r=3, s=3)
    >>> found = work(conv, "fp32")
    >>> found.copied == 3 * conv.traffic * 4, found.moved == (4 * conv.traffic + conv.activations) * 4
    (True, True)
    >>> work(conv, "fp32", "cuda").moved == conv.traffic * 4
    True
    """
    layer = bare(bound(layer))
    if reason := supports(layer, dtype, place):
        raise DnnlabError(reason)
    counted = COUNTERS.get(type(layer).__name__, streamed)(layer, dtype)
    if place == "cpu":
        return counted
    moved = counted.moved - counted.copied - counted.fetched
    return replace(counted, moved=moved, copied=0, fetched=0, functions={})


# -- passes over arrays ----------------------------------------------------------------------------------


def streamed(layer: Layer, dtype: str) -> Work:
    """One pass: everything crosses once, and each element may take a slow function."""
    kind = SLOW.get(type(layer).__name__)
    results = int(layer.activations)
    return _crossing(int(layer.traffic), results, dtype, **({kind: results} if kind else {}))


def _crossing(
    elements: int, results: int, dtype: str, calls: int = 1, working: int | None = None, **functions: int
) -> Work:
    """So many elements are read or written, `working` of them different ones. `results` of them are written without
    being read: they cross twice, for a line is fetched before it is written."""
    size = element(dtype)
    touched = elements if working is None else working
    moved, fetched = (elements + results) * size, results * size
    return Work(moved=moved, fetched=fetched, working=touched * size, calls=calls, functions=functions)


def pointwise(layer: Any, dtype: str) -> Work:
    """A function with a call of its own: one pass, and its slow functions one by one."""
    names = {"exp": "exp", "log": "exp", "tanh": "tanh", "erf": "erf"}
    slow = {names[name]: int(count) for name, count in layer.operations.items() if name in names}
    return _crossing(int(layer.traffic), int(layer.activations), dtype, **slow)


def dropout(layer: Any, dtype: str) -> Work:
    """The mask is read too."""
    return _crossing(3 * int(layer.activations), int(layer.activations), dtype)


def pooled(layer: Any, dtype: str) -> Work:
    """Pooling on (n, c, h, w) takes output by output, without vector instructions. A maximum compares the elements of
    its window one by one (four are part of an output's time), and is kept with its place, of 8 bytes; of a mean the
    additions hardly count (9 ns an output for 2 x 2, 10 ns for 3 x 3)."""
    outputs, windows = int(layer.activations), int(layer.r * layer.s)
    largest = layer.kind == "MaxPool2d"
    slow = {"largest": outputs, "window": outputs * max(0, windows - 4)} if largest else {"average": outputs}
    found = _crossing(int(layer.traffic), outputs, dtype, **slow)
    places = 8 * outputs if largest else 0
    moved, fetched = found.moved + 2 * places, found.fetched + places
    return replace(found, moved=moved, fetched=fetched, working=found.working + places)


def adaptive(layer: Any, dtype: str) -> Work:
    """As pooling; one output a channel is a vectorised mean instead (`aten.mean.dim`)."""
    outputs = int(layer.activations)
    whole = layer.y == layer.x == 1
    return _crossing(int(layer.traffic), outputs, dtype, **({} if whole else {"average": outputs}))


def batch_norm(layer: Any, dtype: str) -> Work:
    """In training mean and variance are sums without vector instructions, one pass each, before the third."""
    traffic, inputs, outputs = int(layer.traffic), int(layer.inputs), int(layer.activations)
    if not layer.training:
        return _crossing(traffic, outputs, dtype)
    return _crossing(traffic + 2 * inputs, outputs, dtype, working=traffic, sum=2 * inputs)


def rms_norm(layer: Any, dtype: str) -> Work:
    """Six operations in a row, as the dispatcher tells: square, mean, shift, root, and two products."""
    elements, rows = int(layer.activations), int(layer.n * layer.t)
    return _crossing(7 * elements + 6 * rows + int(layer.c), 3 * elements, dtype, calls=6, working=3 * elements)


def embedding(layer: Any, dtype: str) -> Work:
    """Rows are read and written; token numbers have 8 bytes."""
    rows, size = int(layer.activations), element(dtype)
    moved = 3 * rows * size + 8 * int(layer.inputs)
    return Work(moved=moved, fetched=rows * size, working=2 * rows * size)


def add_embedding(layer: Any, dtype: str) -> Work:
    """The rows of a position are read in place; those of a type are picked first."""
    if not layer.lookup:
        return _crossing(int(layer.traffic), int(layer.activations), dtype)
    rows = int(layer.activations)
    return _crossing(5 * rows, 2 * rows, dtype, calls=2, working=3 * rows)


def rotary(layer: Any, dtype: str) -> Work:
    """Four products, a sum and a difference of half the features, and both halves side by side."""
    elements, angles = int(layer.activations), int(layer.t * layer.d // 2)
    return _crossing(9 * elements + 4 * angles, 4 * elements, dtype, calls=7, working=5 * elements)


# -- layers of several -----------------------------------------------------------------------------------


def linear(layer: Any, dtype: str) -> Work:
    rows = int(product(layer.input_shapes[0][:-1]))
    return multiplied(dtype, rows, int(layer.c), int(layer.k), bias=layer.bias)


def multi_head(layer: Any, dtype: str) -> Work:
    """Four linear layers around the core."""
    one, core = heads(layer)
    each = linear(one, dtype)
    return each + each + each + attended(core, dtype) + each


def feed_forward(layer: Any, dtype: str) -> Work:
    """Two or three linear layers, the activation, and the product with the gate."""
    rows, c, m = int(layer.n * layer.t), int(layer.c), int(layer.m)
    up, down = multiplied(dtype, rows, c, m, bias=layer.bias), multiplied(dtype, rows, m, c, bias=layer.bias)
    active = streamed(activation(layer.activation)(m=rows * m), dtype)
    gate = up + _crossing(3 * rows * m, rows * m, dtype) if layer.gated else Work(calls=0)
    return up + active + gate + down


def optimizer(passes: int, results: int, calls: int) -> Counter:
    """An update tensor by tensor: `passes` over p numbers, `results` of them to a new array."""
    return lambda layer, dtype: _crossing(
        passes * int(layer.p), results * int(layer.p), dtype, calls, (2 + results) * int(layer.p) + int(layer.state)
    )


#: How a layer is counted, by the name of its class; `streamed` for all others.
COUNTERS: dict[str, Counter] = {
    **dict.fromkeys(("Conv2d", "DepthwiseConv2d", "PointwiseConv2d", "Conv1d"), convolved),
    "ConvTranspose2d": transposed,
    **dict.fromkeys(("Linear", "BatchedLinear"), linear),
    "MatrixProduct": lambda layer, dtype: multiplied(dtype, int(layer.t), int(layer.d), int(layer.u), int(layer.b)),
    **dict.fromkeys(("MaxPool2d", "AvgPool2d"), pooled),
    "AdaptiveAvgPool2d": adaptive,
    "BatchNorm2d": batch_norm,
    "RMSNorm": rms_norm,
    "Pointwise": pointwise,
    "Dropout": dropout,
    "Flatten": lambda layer, dtype: Work(),
    "Embedding": embedding,
    "AddEmbedding": add_embedding,
    "RotaryEmbedding": rotary,
    "ScaledDotProductAttention": attended,
    "MultiHeadAttention": multi_head,
    "FeedForward": feed_forward,
    # SGD: add_. Momentum: mul_, add_, add_. Adam: lerp_, mul_, addcmul_, sqrt, div, add_, addcdiv_.
    "SGD": optimizer(3, 0, 1),
    "Momentum": optimizer(2 + 3 + 3, 0, 3),
    "Adam": optimizer(3 + 2 + 3 + 2 + 2 + 2 + 4, 2, 7),
}
