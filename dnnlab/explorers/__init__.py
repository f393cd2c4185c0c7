"""Explorers: a few controls, a picture that follows them, and the verdict in words and in a table."""

from collections.abc import Callable

from .controls import Amount, Choice, Line, Marks, Number, Switch
from .panel import Explorer, Panel
from .roofline import roofline

#: Every explorer by its name: what the tests drive, and what the lectures show.
EXPLORERS: dict[str, Callable[..., Panel]] = {function.__name__: function for function in (roofline,)}

__all__ = ["EXPLORERS", "Amount", "Choice", "Explorer", "Line", "Marks", "Number", "Panel", "Switch", "roofline"]
