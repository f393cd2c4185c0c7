"""Explorers: a few controls, a picture that follows them, and the verdict in words and in a table."""

from .controls import Choice, Number
from .panel import Explorer, Panel
from .roofline import roofline

__all__ = ["Choice", "Explorer", "Number", "Panel", "roofline"]
