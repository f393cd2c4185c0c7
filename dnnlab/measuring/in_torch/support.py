"""Which layers PyTorch has a call for, in which dtypes; needs no PyTorch."""

from __future__ import annotations

from ...errors import unknown
from ...layers.base import Layer
from ...layers.moving import Viewed
from ...layers.windows import both
from .peers import PEERS, border, named, rounded_up

#: PyTorch's names of the dtypes in which layers run.
TYPES = {"fp64": "float64", "fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
PLACES = ("cpu", "cuda")


def supports(layer: Layer, dtype: str, place: str = "cpu") -> str:
    """Why PyTorch has no call for a layer in a dtype on a place ("cpu" or "cuda"); empty where it has one.

    >>> from dnnlab import AvgPool2d, ReLU
    >>> supports(ReLU(), "fp32")
    ''
    >>> supports(AvgPool2d(dilation=2), "fp32")
    'AvgPool2d: PyTorch has no average pooling with dilation'
    """
    if place not in PLACES:
        raise unknown("place", place, PLACES)
    if dtype not in TYPES:
        return f"PyTorch runs layers in {', '.join(TYPES)}, not in {dtype}"
    return _refusal(bare(layer))


def bare(layer: Layer) -> Layer:
    """The layer that computes, without the shapes that a network sees it in.

    >>> from dnnlab import Linear
    >>> bare(Viewed(layer=Linear(n=32, k=10, c=3), sources=((2, 4, 4, 3),), target=(2, 4, 4, 10)))
    Linear(n=32, k=10, c=3)
    """
    while isinstance(layer, Viewed):
        layer = layer.layer
    return layer


def _refusal(layer: Layer) -> str:
    """Why PyTorch has no call for a layer; empty where it has one."""
    kind, options = type(layer).__name__, vars(layer)
    why = ""
    if kind in ("View", "Given"):
        why = "nothing runs, it is a view or comes from outside"
    elif kind not in PEERS:
        why = "PyTorch has no call for it that is known here"
    elif kind == "Pointwise":
        expression = str(options["expression"])
        known = named(expression)
        why = "" if known else "PyTorch has no call for its expression that is known here"
    elif kind == "AvgPool2d" and both("dilation", options["dilation"]) != (1, 1):
        why = "PyTorch has no average pooling with dilation"
    elif kind in ("MaxPool2d", "AvgPool2d") and rounded_up(layer):
        (top, _), (left, _) = border(layer)
        wide = top > options["r"] // 2 or left > options["s"] // 2
        why = "PyTorch takes no border wider than half a window together with ceil" if wide else ""
    elif kind == "BatchNorm2d" and options["training"] and options["n"] * options["h"] * options["w"] == 1:
        why = "PyTorch trains on more than one value a channel"
    elif kind == "ConvTranspose2d":
        pairs = zip(*(both(name, options[name], 0) for name in ("output_padding", "stride", "dilation")), strict=True)
        small = all(extra < max(step, apart) for extra, step, apart in pairs)
        why = "" if small else "PyTorch wants output_padding smaller than stride or dilation"
    return f"{layer.kind}: {why}" if why else ""
