"""Symbols, formulas and their printing in the lecture's order: k · 2 · rs · wh · c."""

from .dims import (
    Dim,
    ceil_div,
    expression,
    floor_div,
    is_bound,
    is_number,
    largest,
    product,
    ratio,
    settle,
    smallest,
    symbol,
    typical,
)
from .formulas import dimension, read_formula
from .printing import lecture, plain

__all__ = [
    "Dim",
    "ceil_div",
    "dimension",
    "expression",
    "floor_div",
    "is_bound",
    "is_number",
    "largest",
    "lecture",
    "plain",
    "product",
    "ratio",
    "read_formula",
    "settle",
    "smallest",
    "symbol",
    "typical",
]
