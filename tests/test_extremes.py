"""Maximum and minimum of formulas: they lose no argument that could ever win, and none that can never is kept."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy import Expr

from dnnlab.extremes import Max, Min
from dnnlab.notation import symbol

K, C = symbol("k"), symbol("c")
TERMS = [
    sympy.Integer(0), sympy.Integer(2), sympy.Rational(1, 3), K, C, K * C, K + C, K - C, 2 * K, 1 / K, 1 / (K * C),
    1 - 1 / (K * C), K / C, 1 - K / C, 1 / K - 1 / C, (K + 1) / (C + 1), K**2, 1 - K,
    sympy.floor(K / 2), sympy.ceiling(K / C),
]  # fmt: skip
SIZES = (1, 2, 3, 7, 50)


def value(expr: Expr, k: int, c: int) -> Fraction:
    number = expr.xreplace({K: sympy.Integer(k), C: sympy.Integer(c)}).doit()
    return Fraction(int(number.p), int(number.q))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(TERMS), min_size=1, max_size=4))
def test_the_value_is_that_of_the_largest_and_of_the_smallest_argument(terms: list[Expr]) -> None:
    largest, smallest = Max(*terms), Min(*terms)
    for k, c in product(SIZES, SIZES):
        values = [value(term, k, c) for term in terms]
        assert value(largest, k, c) == max(values) and value(smallest, k, c) == min(values)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(TERMS), st.sampled_from(TERMS), st.sampled_from(SIZES))
def test_binding_one_symbol_loses_nothing(a: Expr, b: Expr, k: int) -> None:
    bound = Max(a, b).subs(K, k)
    for c in SIZES:
        assert value(bound, k, c) == max(value(a, k, c), value(b, k, c))


def test_what_can_never_win_is_dropped_and_nests_are_flat() -> None:
    assert Max(K, K + 1) == K + 1 and Min(K, K + 1) == K and Max(K, 0) == K and Max(2, 3) == 3
    assert Max(K, Max(C, K)) == Max(C, K) and Max(K, Max(C, K * C)) == K * C
    assert isinstance(Max(K, C), sympy.Max) and Max(K, C).func(K, C) == Max(C, K)


def test_a_text_is_no_formula() -> None:
    with pytest.raises(sympy.SympifyError):
        Max("k", 1)
