"""Symbols, and arithmetic that takes plain ints and formulas alike.

A dimension is a Python int or a SymPy expression, so that a bound layer costs plain integers and an unbound
one costs formulas.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from functools import cache, reduce
from typing import Any

import sympy
from sympy import Expr, Symbol

from ..extremes import Max, Min
from ..rounding import ceiling, floor

Dim = Any  # int | sympy.Expr: SymPy's own operators are untyped


@cache
def symbol(name: str) -> Symbol:
    """The symbol of a dimension: a whole number, positive (`pad` and `offset` may be zero)."""
    if name.split("_")[0] in ("pad", "offset"):
        return Symbol(name, integer=True, nonnegative=True)
    return Symbol(name, integer=True, positive=True)


def is_number(value: Dim) -> bool:
    """True for a plain int (or Fraction): everything is bound."""
    return isinstance(value, int | Fraction)


def is_bound(value: Dim) -> bool:
    """True where no symbol is open: a number of any kind, or an expression without symbols."""
    return not getattr(value, "free_symbols", ())


def typical(value: Dim) -> Dim:
    """A count at a typical size, each open symbol being 97: for ranking formulas, never for a result."""
    return value if is_bound(value) else value.subs(dict.fromkeys(value.free_symbols, 97))


def settle(value: Dim) -> Dim:
    """An expression without symbols as a Python int (or Fraction); anything else unchanged.

    >>> settle(sympy.Integer(6)), settle(symbol("k"))
    (6, k)
    """
    if isinstance(value, Expr) and value.is_Rational:
        return int(value) if value.is_Integer else Fraction(int(value.p), int(value.q))
    return value


def expression(value: Dim) -> Expr:
    """A number or an expression as a SymPy expression (never a text)."""
    if isinstance(value, Expr):
        return value
    return sympy.Rational(value) if isinstance(value, int | Fraction) else sympy.Float(value)


def product(values: Iterable[Dim]) -> Dim:
    """The product of ints and expressions; 1 for none."""
    return reduce(lambda a, b: a * b, values, 1)


def floor_div(a: Dim, b: Dim) -> Dim:
    """`floor(a / b)`, exact for ints and for expressions."""
    return a // b if isinstance(a, int) and isinstance(b, int) else settle(floor(expression(a) / b))


def ceil_div(a: Dim, b: Dim) -> Dim:
    """`ceil(a / b)`, exact for ints and for expressions."""
    return -(-a // b) if isinstance(a, int) and isinstance(b, int) else settle(ceiling(expression(a) / b))


def ratio(a: Dim, b: Dim) -> Dim:
    """`a / b` without rounding: an int or a Fraction, or an expression."""
    if isinstance(a, int | Fraction) and isinstance(b, int | Fraction):
        value = Fraction(a) / b
        return int(value) if value.denominator == 1 else value
    return settle(expression(a) / b)


def largest(*values: Dim) -> Dim:
    """The maximum of ints and expressions."""
    return max(values) if all(isinstance(v, int) for v in values) else settle(Max(*map(expression, values)))


def smallest(*values: Dim) -> Dim:
    """The minimum of ints and expressions."""
    return min(values) if all(isinstance(v, int) for v in values) else settle(Min(*map(expression, values)))
