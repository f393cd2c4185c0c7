"""Are two formulas the same? Decided exactly, at points where each of their regimes shows."""

from .evaluating import evaluate
from .sampling import points, same

__all__ = ["evaluate", "points", "same"]
