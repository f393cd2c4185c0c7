"""Operations as layers: each function binds every dimension of one kind of layer from the shapes it meets."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from ..errors import DnnlabError
from ..layers import (
    CATALOGUE,
    AdaptiveAvgPool2d,
    Add,
    AddEmbedding,
    AvgPool2d,
    BatchedLinear,
    BatchNorm2d,
    Concatenate,
    Conv1d,
    Conv2d,
    ConvTranspose2d,
    Copy,
    DepthwiseConv2d,
    Divide,
    Dropout,
    Embedding,
    Flatten,
    GlobalAvgPool2d,
    GroupNorm,
    Layer,
    LayerNorm,
    Linear,
    MatrixProduct,
    MaxPool2d,
    Mean,
    Multiply,
    Pointwise,
    PointwiseConv2d,
    PReLU,
    RMSNorm,
    RotaryEmbedding,
    ScaledDotProductAttention,
    Softmax,
    Subtract,
    Sum,
    View,
)
from .operations import Operation, Shape

Sizes = list[Shape]  # of an operation's inputs, weights last
Make = Callable[[Operation, Sizes, Shape], Layer]  # `DnnlabError` where no layer of the catalogue has these sizes


def pair(value: Any) -> tuple[Any, Any]:
    """A setting for both axes."""
    if isinstance(value, list | tuple):
        return (value[0], value[-1])
    return (value, value)


def one(value: Any) -> Any:
    """A setting for a single axis."""
    return value[0] if isinstance(value, list | tuple) else value


def padding(value: Any) -> Any:
    return value if isinstance(value, str) else pair(value)


def _same(value: Any) -> Any:
    """(2, 2) as 2: settings print short."""
    return value[0] if isinstance(value, tuple) and value[0] == value[1] else value


def convolution(operation: Operation, sizes: Sizes, target: Shape) -> Layer:
    s, (source, weight, *bias) = operation.settings, sizes
    groups, shift = s["groups"], bool(bias)
    if len(source) == len(weight) - 1:  # a single sample, without an axis for it
        source, target = (1, *source), (1, *target)
    n, c, k = source[0], source[1], target[1]
    if len(source) == 3 and not s["transposed"]:
        pad = s["padding"] if isinstance(s["padding"], str) else one(s["padding"])
        return Conv1d(
            n=n, k=k, c=c, w=source[2], s=weight[2], stride=one(s["stride"]), padding=pad,
            dilation=one(s["dilation"]), groups=groups, bias=shift,
        )  # fmt: skip
    if len(source) not in (3, 4):
        raise DnnlabError(f"no convolution over {len(source) - 2} axes")
    flat = len(source) == 3  # a row is an image one pixel high
    h, w = (1, source[2]) if flat else source[2:]
    r, t = (1, weight[2]) if flat else weight[2:]

    def of(name: str, unused: int) -> Any:
        return (unused, one(s[name])) if flat else _same(padding(s[name]))

    window: dict[str, Any] = {
        "h": h, "w": w, "r": r, "s": t, "stride": of("stride", 1), "padding": of("padding", 0),
        "dilation": of("dilation", 1), "bias": shift,
    }  # fmt: skip
    if s["transposed"]:
        extra = of("output_padding", 0)
        return ConvTranspose2d(n=n, k=k, c=c, groups=groups, output_padding=extra, **window)
    if groups == c == k and groups > 1:
        return DepthwiseConv2d(n=n, k=k, **window)
    if (r, t, groups) == (1, 1, 1) and pair(window["stride"]) == (1, 1) and window["padding"] in (0, (0, 0), "valid"):
        return PointwiseConv2d(n=n, k=k, c=c, h=h, w=w, bias=shift)
    return Conv2d(n=n, k=k, c=c, groups=groups, **window)


def linear(operation: Operation, sizes: Sizes, target: Shape) -> Layer:
    source, _, *bias = sizes
    c, k, shift = source[-1], target[-1], bool(bias)
    if len(source) <= 2:
        return Linear(n=prod(source[:-1]), k=k, c=c, bias=shift)
    return BatchedLinear(n=source[0], t=prod(source[1:-1]), k=k, c=c, bias=shift)


def product(operation: Operation, sizes: Sizes, target: Shape) -> Layer:
    if operation.settings:
        return MatrixProduct(**operation.settings)
    first, second = sizes
    t = first[-2] if len(first) > 1 else 1
    u = second[-1] if len(second) > 1 else 1
    return MatrixProduct(b=prod(target) // (t * u), t=t, d=first[-1], u=u)


def batch_norm(operation: Operation, sizes: Sizes, target: Shape) -> Layer:
    n, c, *rest = target
    h, w = (rest[0], prod(rest[1:])) if rest else (1, 1)
    return BatchNorm2d(n=n, c=c, h=h, w=w, **operation.settings)


def group_norm(operation: Operation, sizes: Sizes, target: Shape) -> Layer:
    n, c, *rest = target
    return GroupNorm(n=n, c=c, h=rest[0] if rest else 1, w=prod(rest[1:]), **operation.settings)


def row_norm(kind: type[Layer]) -> Make:
    def make(operation: Operation, sizes: Sizes, target: Shape) -> Layer:
        s, c = operation.settings, operation.settings["features"]
        count = prod(target) // c
        n = target[0] if len(target) > 2 and count % target[0] == 0 else count
        if kind is LayerNorm:
            return LayerNorm(n=n, t=count // n, c=c, scale=s["scale"], shift=s["shift"])
        return RMSNorm(n=n, t=count // n, c=c)

    return make


def pool(kind: type[MaxPool2d] | type[AvgPool2d]) -> Make:
    def make(operation: Operation, sizes: Sizes, target: Shape) -> Layer:
        (source,), s = sizes, operation.settings
        if len(source) == 3 and len(target) == 3:  # a row is an image one pixel high
            n, c, h, w = (*source[:2], 1, source[2])
            shape: dict[str, Any] = {
                "r": 1, "s": one(s["window"]), "stride": (1, one(s["stride"])), "padding": (0, one(s["padding"])),
                "dilation": (1, one(s["dilation"])),
            }  # fmt: skip
        else:
            n, c, h, w = source
            r, t = pair(s["window"])
            shape = {"r": r, "s": t} | {name: _same(pair(s[name])) for name in ("stride", "padding", "dilation")}
        if shape["stride"] in (shape["r"], (shape["r"], shape["s"])) and shape["r"] == shape["s"]:
            del shape["stride"]  # the window's own
        if shape["padding"] in (0, (0, 0)):
            del shape["padding"]
        return kind(n=n, c=c, h=h, w=w, ceil=s["ceil"], **shape)

    return make


def adaptive(operation: Operation, sizes: Sizes, target: Shape) -> Layer:
    (source,) = sizes
    if len(source) == 3:
        return mean_of(Mean, source, target)
    n, c, h, w = source
    y, x = target[2:]
    return GlobalAvgPool2d(n=n, c=c, h=h, w=w) if (y, x) == (1, 1) else AdaptiveAvgPool2d(n=n, c=c, h=h, w=w, y=y, x=x)


def mean_of(kind: type[Sum], source: Shape, target: Shape) -> Layer:
    return kind(n=prod(target), m=prod(source) // prod(target))


def mean(operation: Operation, sizes: Sizes, target: Shape) -> Layer:
    (source,) = sizes
    if operation.settings["axes"] == (2, 3) and len(source) == 4:
        return GlobalAvgPool2d(n=source[0], c=source[1], h=source[2], w=source[3])
    return mean_of(Mean, source, target)


def softmax(operation: Operation, sizes: Sizes, target: Shape) -> Layer:
    axis = operation.settings["axis"]
    others = (*target[:axis], *target[axis + 1 :])
    return Softmax(rows=others or (1,), c=target[axis])


def concatenate(operation: Operation, sizes: Sizes, target: Shape) -> Layer:
    axis = operation.settings["axis"]
    n, m = prod(target[:axis]), prod(target[axis + 1 :])
    parts = tuple(prod(size) // (n * m) for size in sizes)
    return Concatenate(n=n, parts=parts, rest=target[axis + 1 :] if axis == 1 else (m,))


def elementwise(kind: type[Layer]) -> Make:
    return lambda operation, sizes, target: kind().fit(*sizes)


def embedding(operation: Operation, sizes: Sizes, target: Shape) -> Layer:
    table = sizes[1]
    *rows, c = target
    n = rows[0] if len(rows) > 1 else 1
    return Embedding(n=n, t=prod(rows) // n, v=prod(table) // c, c=c)


def add_embedding(operation: Operation, sizes: Sizes, target: Shape) -> Layer:
    n, t, c = target
    return AddEmbedding(n=n, t=t, c=c, v=prod(sizes[1]) // c, lookup=operation.settings["lookup"])


def attention(operation: Operation, sizes: Sizes, target: Shape) -> Layer:
    s = operation.settings
    if "heads" not in s:
        raise DnnlabError("the heads of this attention were not found")
    n, t, u, a, g, d = s["heads"]
    few = {} if g == a else {"g": g}
    return ScaledDotProductAttention(n=n, t=t, u=u, a=a, d=d, causal=s["causal"], dropout=s["dropout"], **few)


def rotary(operation: Operation, sizes: Sizes, target: Shape) -> Layer:
    n, t, width = sizes[0]
    d = operation.settings["width"]
    return RotaryEmbedding(n=n, t=t, a=width // d, d=d)


def view(operation: Operation, sizes: Sizes, target: Shape) -> Layer:
    (source,) = sizes
    if len(source) > 2 and target == (source[0], prod(source[1:])):
        return Flatten(n=source[0], rest=source[1:])
    return View(source=source, target=target)


KINDS: dict[str, Make] = {
    "convolution": convolution,
    "linear": linear,
    "product": product,
    "attention": attention,
    "batch_norm": batch_norm,
    "group_norm": group_norm,
    "layer_norm": row_norm(LayerNorm),
    "rms_norm": row_norm(RMSNorm),
    "max_pool": pool(MaxPool2d),
    "avg_pool": pool(AvgPool2d),
    "adaptive": adaptive,
    "mean": mean,
    "sum": lambda operation, sizes, target: mean_of(Sum, sizes[0], target),
    "softmax": softmax,
    "concatenate": concatenate,
    "add": elementwise(Add),
    "subtract": elementwise(Subtract),
    "multiply": elementwise(Multiply),
    "divide": elementwise(Divide),
    "embedding": embedding,
    "add_embedding": add_embedding,
    "rotary": rotary,
    "prelu": lambda operation, sizes, target: PReLU(n=target[0], c=target[1], rest=target[2:]),
    "activation": lambda operation, sizes, target: CATALOGUE[operation.settings["layer"]]().fit(*sizes),
    "pointwise": lambda operation, sizes, target: Pointwise(**operation.settings).fit(*sizes),
    "dropout": lambda operation, sizes, target: Dropout(p=operation.settings["p"]).fit(*sizes),
    "view": view,
    "copy": lambda operation, sizes, target: Copy(source=sizes[0], target=target),
}
