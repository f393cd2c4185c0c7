"""Layers ready to run in NumPy: each as its recipe lays it out, on arrays made beforehand."""

from __future__ import annotations

import numpy as np

from ...layers.base import Layer
from ..calls import Call
from .recipes import supports
from .steps import Array, real
from .work import laid_out, work

__all__ = ["call", "supports", "work"]


def call(layer: Layer, dtype: str, seed: int = 0) -> Call:
    """A layer on arrays of random numbers, the same for the same seed; its steps write to memory that is at hand.

    Raises `ExtentError` while symbols are open, `DnnlabError` for a layer or a dtype without a recipe.

    >>> from dnnlab import Linear
    >>> ready = call(Linear(n=2, k=5, c=3), "fp32")
    >>> ready.run().shape, sorted(ready.tensors), ready.held
    ((2, 5), ['inp', 'weight'], 124)
    """
    desk, out = laid_out(layer, dtype, real)
    rng = np.random.default_rng(seed)
    for name, array in desk.given.items():
        desk.fills[name](rng, array)
    steps = desk.steps

    def run() -> Array:
        for step in steps:
            step()
        return out

    return Call(run, desk.given, desk.held)
