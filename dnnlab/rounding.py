"""Floor and ceiling that see for themselves what is whole.

SymPy's own take out of the brackets whatever it believes to be an integer, and up to version 1.14 (at least)
it believes that of (2*k + 4)*c/6, so that `floor((2*k + 4)*c/6)` loses its floor.
"""

from __future__ import annotations

from typing import Any

import sympy
from sympy import Expr


class floor(sympy.floor):
    """The greatest whole number that is not above the argument.

    >>> k, c = sympy.symbols("k c", integer=True)
    >>> floor((2*k + 4)*c/6).subs({k: 1, c: 3}), floor(k + sympy.Rational(5, 2))
    (3, k + 2)
    """

    @classmethod
    def eval(cls, arg: Expr) -> Any:
        return _outside(cls, sympy.floor, arg)


class ceiling(sympy.ceiling):
    """The least whole number that is not below the argument."""

    @classmethod
    def eval(cls, arg: Expr) -> Any:
        return _outside(cls, sympy.ceiling, arg)


def _outside(cls: Any, of_number: Any, arg: Expr) -> Expr | None:
    """The rounded sum with its whole terms outside; None (SymPy's word for "leave it") if there are none."""
    terms = sympy.Add.make_args(arg)
    whole = [term for term in terms if is_whole(term)]
    rest = sympy.Add(*(term for term in terms if not is_whole(term)))
    if rest.is_number:
        return sympy.Add(*whole, of_number(rest))
    return sympy.Add(*whole, cls(rest)) if whole else None


def is_whole(expr: Expr) -> bool:
    """True for sums, products, powers, maxima of whole numbers; a product with a fraction is never taken for whole."""
    if expr.is_Pow:
        return expr.exp.is_Integer and expr.exp >= 0 and is_whole(expr.base)
    if expr.is_Add or expr.is_Mul or isinstance(expr, sympy.Max | sympy.Min):
        return all(map(is_whole, expr.args))
    if isinstance(expr, sympy.floor | sympy.ceiling):
        return True
    return expr.is_Integer or (expr.is_Symbol and expr.is_integer is True)
