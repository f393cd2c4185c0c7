"""Explorers: a few controls, a picture that follows them, and the verdict in words and in a table."""

from collections.abc import Callable

from .amounts import Amount, Number
from .bound_types import bound_types
from .checkpointing import checkpointing
from .computational_view import computational_view
from .controls import Choice, Line, Marks, Switch
from .double_buffering import double_buffering
from .layer_costs import layer_costs
from .one_epoch import one_epoch
from .panel import Explorer, Panel
from .roofline import roofline
from .vram_vs_ram import vram_vs_ram

#: Every explorer by its name: what the tests drive, and what the lectures show.
EXPLORERS: dict[str, Callable[..., Panel]] = {
    function.__name__: function
    for function in (
        bound_types,
        checkpointing,
        computational_view,
        double_buffering,
        layer_costs,
        one_epoch,
        roofline,
        vram_vs_ram,
    )
}

__all__ = [
    "EXPLORERS",
    "Amount",
    "Choice",
    "Explorer",
    "Line",
    "Marks",
    "Number",
    "Panel",
    "Switch",
    "bound_types",
    "checkpointing",
    "computational_view",
    "double_buffering",
    "layer_costs",
    "one_epoch",
    "roofline",
    "vram_vs_ram",
]
