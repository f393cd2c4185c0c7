"""Formulas that are the same written otherwise, and formulas that differ in one place, for the tests of the quiz.

Trees as in `tests.formulas`; nothing here knows SymPy or the code under test.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from fractions import Fraction
from random import Random

from hypothesis import strategies as st

from tests.formulas import Tree, value

GRID = 7  # numbers of the dense grid


def formulas(names: str, leaves: int = 8) -> st.SearchStrategy[Tree]:
    """Formulas in the idioms of the course: what is divided by is positive, so that every formula has a value."""
    name = st.sampled_from(names)
    literal = st.integers(0, 9)
    below = name | st.integers(2, 9) | st.tuples(st.just("+"), name, st.integers(1, 3))

    def grow(inner: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
        return st.one_of(
            st.tuples(st.sampled_from(["+", "-", "*", "*"]), inner, inner),
            st.tuples(st.sampled_from(["max", "min"]), inner, inner),
            st.tuples(st.just("/"), inner, below),
            st.tuples(st.sampled_from(["ceil", "floor"]), st.tuples(st.just("/"), inner, below)),
            st.tuples(st.just("**"), inner, st.integers(1, 3)),
        )

    return st.recursive(name | name | literal, grow, max_leaves=leaves)


def is_whole(tree: Tree) -> bool:
    """True for a formula that is a whole number wherever its symbols are."""
    if not isinstance(tree, tuple):
        return Fraction(tree).denominator == 1 if not isinstance(tree, str) else True
    op, *args = tree
    return op in ("ceil", "floor") or (op != "/" and all(map(is_whole, args)))


def ways(tree: Tree, names: str, rng: Random) -> list[Tree]:
    """Other ways to write a formula, all of them true."""
    other = rng.choice(names)
    found: list[Tree] = [
        ("-", ("*", 2, tree), tree),
        ("-", ("+", tree, other), other),
        ("/", ("*", tree, other), other),
        ("neg", ("neg", tree)),
        ("max", tree, ("-", tree, other)),
        ("min", ("+", tree, 1), tree),
    ]
    if is_whole(tree):
        found += [("floor", ("/", ("+", ("*", tree, 2), 1), 2)), ("ceil", ("-", tree, Fraction(1, 4)))]
    if not isinstance(tree, tuple):
        return found
    op, *args = tree
    a, b = args[0], args[-1]
    if op in ("+", "*", "max", "min"):
        found.append((op, b, a))
    if op == "-":
        found += [("neg", ("-", b, a)), ("+", a, ("neg", b))]
    if op == "*" and isinstance(b, tuple) and b[0] in ("+", "-"):
        found.append((b[0], ("*", a, b[1]), ("*", a, b[2])))
    if op == "/":
        found.append(("/", ("*", a, other), ("*", b, other)))
        if isinstance(a, tuple) and a[0] in ("+", "-"):
            found.append((a[0], ("/", a[1], b), ("/", a[2], b)))
    if op in ("+", "-") and all(isinstance(arg, tuple) and arg[0] == "/" for arg in args):
        found.append(("/", (op, ("*", a[1], b[2]), ("*", b[1], a[2])), ("*", a[2], b[2])))
    if op in ("max", "min"):
        dual = "min" if op == "max" else "max"
        found += [
            ("+", a, (op, 0, ("-", b, a))),
            ("-", ("+", a, b), (dual, a, b)),
            ("neg", (dual, ("neg", a), ("neg", b))),
            (op, a, (op, b, (dual, a, b))),
            ("/", (op, ("*", a, other), ("*", other, b)), other),
        ]
    if op in ("ceil", "floor"):
        dual = "floor" if op == "ceil" else "ceil"
        found += [("neg", (dual, ("neg", a))), ("-", (op, ("+", a, other)), other)]
        if isinstance(a, tuple) and a[0] == "/" and is_whole(a[1]):
            shift = ("-", a[2], 1)
            found.append((dual, ("/", (("+" if op == "ceil" else "-"), a[1], shift), a[2])))
        if isinstance(a, tuple) and a[0] in ("max", "min"):
            found.append((a[0], (op, a[1]), (op, a[2])))
    if op == "**" and args[1] > 1:
        found.append(("*", a, ("**", a, args[1] - 1)))
    return found


def slips(tree: Tree, names: str, rng: Random) -> list[Tree]:
    """What one slip of the pen makes of a formula: mostly another formula, sometimes the same."""
    other = rng.choice(names)
    found: list[Tree] = [("+", tree, 1), ("-", tree, 1), ("*", tree, 2), ("max", tree, other), ("min", tree, other)]
    found += [("ceil", tree), ("floor", tree), ("+", tree, ("ceil", ("/", other, rng.randrange(2, 9))))]
    if isinstance(tree, str):
        found += [name for name in names if name != tree]
    elif not isinstance(tree, tuple):
        found += [tree + 1, 2 * tree, rng.choice(names)]
    else:
        op, *args = tree
        swap = {"+": "-", "-": "+", "*": "+", "max": "min", "min": "max", "ceil": "floor", "floor": "ceil"}
        found += args[:1] if op == "**" else args
        if op in swap:
            found.append((swap[op], *args))
        if op in ("max", "min"):
            found += [(op, *args, ("-", ("*", 2, args[0]), args[1])), ("+", *args)]
    return found


def somewhere(tree: Tree, change: Callable[[Tree], list[Tree]], rng: Random) -> Tree:
    """The formula with one of its parts changed."""
    if isinstance(tree, tuple) and rng.random() < 0.75:
        places = [1] if tree[0] in ("**", "/") else list(range(1, len(tree)))
        place = rng.choice(places)
        return (*tree[:place], somewhere(tree[place], change, rng), *tree[place + 1 :])
    return rng.choice(change(tree))


def grid(names: str) -> Iterator[dict[str, int]]:
    """All small numbers, and some that lie far apart."""
    for numbers in itertools.product(range(1, GRID + 1), repeat=len(names)):
        yield dict(zip(names, numbers, strict=True))
    for numbers in itertools.product((1, 2, 13, 60, 1001), repeat=len(names)):
        yield dict(zip(names, numbers, strict=True))


def differ(a: Tree, b: Tree, names: str) -> dict[str, int] | None:
    """A point of the grid at which two formulas differ; None if there is none."""
    return next((point for point in grid(names) if value(a, point) != value(b, point)), None)
