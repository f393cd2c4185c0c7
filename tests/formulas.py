"""Random formulas with an exact meaning of their own: nested tuples, evaluated in Python's fractions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from hypothesis import strategies as st

Tree = Any  # a number, a name, or (operation, tree, ...)


def trees(names: str, leaves: int = 8, most: int = 12) -> st.SearchStrategy[Tree]:
    """Formulas over `+ - * / **`, max, min, ceil and floor, with literals up to `most`."""
    literal = st.integers(0, most) | st.sampled_from([Fraction(1, 2), Fraction(5, 2), Fraction(1, 4)])
    leaf = st.sampled_from(names) | st.sampled_from(names) | literal

    def grow(inner: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
        return st.one_of(
            st.tuples(st.sampled_from(["+", "-", "*", "*", "/"]), inner, inner),
            st.tuples(st.sampled_from(["max", "min"]), inner, inner),
            st.tuples(st.sampled_from(["ceil", "floor", "neg"]), inner),
            st.tuples(st.just("**"), inner, st.integers(0, 3)),
        )

    return st.recursive(leaf, grow, max_leaves=leaves)


def spell(tree: Tree) -> str:
    """The formula as somebody would type it."""
    if isinstance(tree, str):
        return tree
    if isinstance(tree, int | Fraction):
        return str(tree) if Fraction(tree).denominator == 1 else str(float(tree))
    op, *args = tree
    if op == "neg":
        return f"(-{spell(args[0])})"
    if op == "**":
        return f"({spell(args[0])})**{args[1]}"
    if op in ("+", "-", "*", "/"):
        return f"({spell(args[0])} {op} {spell(args[1])})"
    return f"{op}({', '.join(map(spell, args))})"


def value(tree: Tree, point: Mapping[str, int]) -> Fraction:
    """Its exact value at a point; ZeroDivisionError where it has none."""
    if isinstance(tree, str):
        return Fraction(point[tree])
    if isinstance(tree, int | Fraction):
        return Fraction(tree)
    op, *args = tree
    if op == "**":
        return value(args[0], point) ** args[1]
    numbers = [value(arg, point) for arg in args]
    return {
        "+": lambda a, b: a + b,
        "-": lambda a, b: a - b,
        "*": lambda a, b: a * b,
        "/": lambda a, b: a / b,
        "max": max,
        "min": min,
        "neg": lambda a: -a,
        "ceil": lambda a: Fraction(math.ceil(a)),
        "floor": lambda a: Fraction(math.floor(a)),
    }[op](*numbers)
