"""A layer made ready to run by some library: what `measure` times."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ..errors import ExtentError
from ..layers.base import Layer

#: Values of the plain numbers in layers' lines: those that frameworks start with, at an optimizer's tenth step.
#: Attention's `scale` is one over the root of a head's width.
NUMBERS: Mapping[str, float] = MappingProxyType({
    "eps": 1e-5, "momentum": 0.1, "slope": 0.01,
    "lr": 1e-3, "mu": 0.9, "beta1": 0.9, "beta2": 0.999, "fix1": 1 - 0.9**10, "fix2": 1 - 0.999**10,
})  # fmt: skip


@dataclass(frozen=True, eq=False)
class Call:
    """One layer on arrays of its own.

    `run` executes it once and returns its output. `tensors`: what it was given, by the names of the layer's lines, in
    the shapes a network sees. `held`: bytes of all arrays it keeps.
    """

    run: Callable[[], Any] = field(repr=False)
    tensors: Mapping[str, Any] = field(repr=False)
    held: int


def bound(layer: Layer) -> Layer:
    """The layer, once every dimension is a number; `ExtentError` names the ones that are not.

    >>> from dnnlab import Linear
    >>> bound(Linear(n=1, k=10))
    Traceback (most recent call last):
    ...
    dnnlab.errors.ExtentError: Linear runs at real sizes only, and c is open; bind it with .at(...) first
    """
    sizes = [size for shape in (*layer.input_shapes, layer.output_shape) for size in shape]
    sizes += [getattr(layer, name) for name in layer.dimensions]
    names = sorted({str(symbol) for size in sizes for symbol in getattr(size, "free_symbols", ())})
    if names:
        are, them = ("is", "it") if len(names) == 1 else ("are", "them")
        raise ExtentError(
            f"{layer.kind} runs at real sizes only, and {', '.join(names)} {are} open; bind {them} with .at(...) first"
        )
    return layer
