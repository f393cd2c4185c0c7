"""What NumPy does for a layer, counted on arrays that take no memory."""

from __future__ import annotations

from functools import lru_cache

from ...errors import DnnlabError
from ...layers.base import Layer
from ..calls import bound
from ..work import Work
from .recipes import recipe, supports
from .steps import Array, Desk, Maker, phantom

__all__ = ["supports", "work"]


@lru_cache(maxsize=1024)
def work(layer: Layer, dtype: str) -> Work:
    """The work of one execution, step by step as `calls.call` runs it.

    Raises `ExtentError` while symbols are open, `DnnlabError` for a layer or a dtype without a recipe.

    >>> from dnnlab import PointwiseConv2d
    >>> found = work(PointwiseConv2d(n=2, k=8, c=4, h=10, w=10), "fp32")
    >>> found.matrix, found.moved, found.copied, found.calls
    (12800, 16128, 0, 1)
    """
    return laid_out(layer, dtype, phantom)[0].work


def laid_out(layer: Layer, dtype: str, maker: Maker) -> tuple[Desk, Array]:
    """The steps of a layer on arrays of some maker, and its output."""
    bound(layer)
    reason, lay_out = supports(layer, dtype), recipe(layer)
    if reason or lay_out is None:
        raise DnnlabError(f"{reason}; measure(...) leaves such layers out by name")
    desk = Desk(dtype, maker)
    return desk, lay_out(layer, desk)
