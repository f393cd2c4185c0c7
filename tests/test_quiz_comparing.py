"""Verdicts on formulas: the same for everything that is the same, and for nothing else; bounded, and without running
anything."""

from __future__ import annotations

import itertools
from fractions import Fraction
from random import Random
from typing import Any

import pytest
import sympy
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from dnnlab.buffering.closed_forms import STORE, equal_tiles
from dnnlab.errors import DnnlabError
from dnnlab.layers import Conv2d
from dnnlab.notation import read_formula, symbol
from dnnlab.quiz.comparing import evaluate, evaluating, points, same, sampling
from tests.formulas import Tree, spell, trees, value
from tests.rewrites import differ, formulas, slips, somewhere, ways

NAMES = "kch"


def read(text: str) -> sympy.Expr:
    return read_formula(text)


# -- verdicts ---------------------------------------------------------------------------------------------------

SAME = [
    ("k·2·r·s·w·h·c", "2*k*c*r*s*w*h"),
    ("ceil(h/r)", "floor((h + r - 1)/r)"),
    ("floor((h - 1)/2) + 1", "ceil(h/2)"),
    ("floor((h + 2*pad - r)/stride) + 1", "ceil((h + 2*pad - r + 1)/stride)"),
    ("floor((h + 2*pad - r)/stride + 1)", "floor((h + 2*pad - r)/stride) + 1"),
    ("max(L, C)", "L + max(0, C - L)"),
    ("max(L, C)", "(L + C + sqrt((L - C)^2))/2"),
    ("L + C + (n - 1)*max(L, C)", "n*max(L, C) + min(L, C)"),
    ("L + C + (n - 1)*max(L, C)", "max(n*L + C, L + n*C)"),
    ("max(L, C, S)", "-min(-L, -C, -S)"),
    ("max(max(L, C) + S, n)", "max(L + S, C + S, n)"),
    ("34*s*b*h + 5*a*s^2*b", "s*b*h*(34 + 5*a*s/h)"),
    ("n*(n + 1)/2", "n + n*(n - 1)/2"),
    ("max(0, 1 - 1/(k*c))", "1 - 1/(k*c)"),
    ("sqrt((1 - 1/(k*c))^2)", "1 - 1/(k*c)"),
    ("log2(2 - 1/(k*c))", "log2((2*k*c - 1)/(k*c))"),
    ("k·c² – c³÷r", "c^2*(k - c/r)"),
    ("sqrt(2)*sqrt(3)", "sqrt(6)"),
    ("min(1, k/128)*128", "min(128, k)"),
    ("ceil(ceil(h/2)/2)", "ceil(h/4)"),
    ("floor(h/2) + floor((h + 1)/2)", "h"),
    ("sqrt(n)*sqrt(k)", "sqrt(n*k)"),
    ("(sqrt(k) + 1)^2 - 2*sqrt(k)", "k + 1"),
    ("log2(k*c)", "log2(c) + log2(k)"),
    ("floor(log2(2*k))", "1 + floor(log2(k))"),
    ("ceil(sqrt(k))^2", "min(ceil(sqrt(k))^2, (floor(sqrt(k)) + 1)^2)"),
]
DIFFERENT = [
    ("max(L, C)", "max(L, C, S)"),  # where S is small, nobody sees it
    ("max(L, C)", "max(L, C, S - 1000)"),
    ("max(L, C)", "max(L, C, (L + C)/B)"),  # only one buffer tells
    ("max(k*c, h*w)", "max(k*c, h*w, k + c + 1)"),  # only where k or c is 1
    ("max(k, c)", "max(k, c, min(k + 1, c + 1))"),
    ("n*(L + C)", "L + (n - 1)*max(L, C) + C"),
    ("n*max(L, C)", "L + (n - 1)*max(L, C) + C"),
    ("ceil(h/t)*t", "h"),
    ("ceil(h/t)", "floor(h/t) + 1"),
    ("floor((h + 2*pad - r)/stride) + 1", "ceil((h + 2*pad - r)/stride)"),
    ("floor((h + 2*pad - r)/stride) + 1", "floor((h + pad - r)/stride) + 1"),
    ("ceil(k/128)", "floor((k + 126)/128)"),
    ("ceil(k/128)", "floor((k + 128)/128)"),
    ("floor(k/97)", "floor((k + 1)/97)"),
    ("ceil(k/1000)", "floor(k/1000 + 1/2)"),
    ("h - r + 1", "max(h - r + 1, 0)"),
    ("min(k, 1000000)", "k"),
    ("max(k, 1000000)", "k + 1000000"),
    ("max(3*k/989, 1/3)", "3*k/989"),
    ("2*k*c*n/(k*c + n)", "2*k*c*n/(k*c + n + 1)"),
    ("ceil(max(k, c)/3)*max(c, h)", "ceil(k/3)*max(c, h)"),
    ("max(k, floor(max(c, h)/7))", "max(k, floor(c/7))"),
    ("sqrt(k)", "ceil(sqrt(k))"),
    ("log2(k)", "floor(log2(k))"),
    ("ceil(log2(k))", "floor(log2(k)) + 1"),
    ("k", "k + 1/1000000000000000000"),
    ("1/(k - c)", "1/(k - c + 1)"),
    ("k*(c - 2)/(c^2 - 4)*(c + 2)", "k"),  # no value where c is 2
    ("0", "1"),
    ("max(1, 1/(k*c))", "1/(k*c)"),
    ("W*((100 - p)/(100*B) + p/(100*b))", "W*min((1 - p/100)/B + p/100/b, W)"),
    ("max(k*c/P, (k + min(c, 1000)*h)/B)", "max(k*c/P, (k + c*h)/B)"),
    ("ceil(min(ceil(k/97), ceil(h/(k + 3)))/c)", "ceil(min(ceil(2*k/97), ceil(h/(k + 3)))/c)"),
    ("sqrt(2)", "7/5"),
    ("pad", "max(pad, 1)"),  # the padding may be zero
]


@pytest.mark.parametrize(("a", "b"), SAME)
@pytest.mark.parametrize("key", ["", "secret"])
def test_same(a: str, b: str, key: str) -> None:
    assert same(read(a), read(b), key) and same(read(b), read(a), key)


@pytest.mark.parametrize(("a", "b"), DIFFERENT)
@pytest.mark.parametrize("key", ["", "secret"])
def test_different(a: str, b: str, key: str) -> None:
    assert not same(read(a), read(b), key) and not same(read(b), read(a), key)


def test_formulas_of_the_library() -> None:
    assert same(read("2*k*c*r*s*h*w*n"), Conv2d().ops)
    assert same(read("max(n*L + C, L + n*C)"), equal_tiles().makespan)  # its times are not whole, the reader's are
    assert same(read("(L + C + S) + max(L, C, S)*(n - 1)"), equal_tiles(store=STORE).makespan)
    assert same(read("L + C + (n - 1)*max(L, C, L/B + C/B)"), equal_tiles(buffers=symbol("B")).makespan)
    assert not same(read("L + C + (n - 1)*max(L, C)"), equal_tiles(buffers=symbol("B")).makespan)
    height = Conv2d(stride=2, padding=1).positions("y")
    assert same(read("floor((h + 2 - r)/2) + 1"), height) and not same(read("(h + 2 - r)/2 + 1"), height)


def test_what_has_no_value_is_right_nowhere() -> None:
    x = symbol("k")
    for nothing in (sympy.zoo, sympy.nan, sympy.oo, sympy.I * x, sympy.gamma(x), sympy.sqrt(-x)):
        assert not same(nothing, x) and not same(x, nothing) and evaluate(nothing, {"k": 3}) is None
    assert not same(sympy.gamma(x), sympy.gamma(x) + sympy.zoo)
    assert evaluate(read("1/(k - c)"), {"k": 3, "c": 3}) is None
    assert evaluate(read("sqrt(k - c)"), {"k": 3, "c": 5}) is None


# -- properties -------------------------------------------------------------------------------------------------


def formula(tree: Tree, names: str = NAMES) -> sympy.Expr:
    try:
        return read_formula(spell(tree), names)
    except DnnlabError:
        assume(False)


@given(tree=trees("kc"), point=st.fixed_dictionaries({name: st.integers(1, 40) for name in "kc"}))
def test_values_are_exact(tree: Tree, point: dict[str, int]) -> None:
    try:
        expected = value(tree, point)
    except ZeroDivisionError:
        assume(False)
    found = evaluate(formula(tree, "kc"), point)
    assert found == expected and isinstance(found, int | Fraction)


@settings(max_examples=300)
@given(tree=formulas(NAMES), rng=st.randoms(use_true_random=False), key=st.sampled_from(["", "2029"]))
def test_what_is_rewritten_is_the_same(tree: Tree, rng: Random, key: str) -> None:
    other = tree
    for _ in range(rng.randrange(1, 4)):
        other = somewhere(other, lambda part: ways(part, NAMES, rng), rng)
    assert same(formula(other), formula(tree), key), (spell(tree), spell(other))


@settings(max_examples=300)
@given(tree=formulas(NAMES), rng=st.randoms(use_true_random=False), key=st.sampled_from(["", "2029"]))
def test_what_differs_anywhere_on_a_dense_grid_is_different(tree: Tree, rng: Random, key: str) -> None:
    other = somewhere(tree, lambda part: slips(part, NAMES, rng), rng)
    where = differ(tree, other, NAMES)
    assume(where is not None)
    assert not same(formula(other), formula(tree), key), (spell(tree), spell(other), where)


# -- points -----------------------------------------------------------------------------------------------------


@settings(max_examples=50)
@given(
    lead=st.lists(st.integers(1, 9), min_size=3, max_size=3),
    more=st.lists(st.integers(0, 3000), min_size=3, max_size=3),
    kind=st.sampled_from(["max", "min"]),
)
@example(lead=[1, 1, 1], more=[0, 2999, 3000], kind="max")
def test_each_argument_of_a_maximum_wins_somewhere(lead: list[int], more: list[int], kind: str) -> None:
    parts = [f"({a}*{name} + {b})" for a, name, b in zip(lead, "kch", more, strict=True)]
    found = points([read(f"{kind}({', '.join(parts)})")])
    best = max if kind == "max" else min
    winners = set()
    for point in found:
        numbers = [a * point[name] + b for a, name, b in zip(lead, "kch", more, strict=True)]
        if numbers.count(best(numbers)) == 1:
            winners.add(numbers.index(best(numbers)))
    assert winners == {0, 1, 2}


@given(divisor=st.integers(3, 5000), shift=st.integers(0, 50), kind=st.sampled_from(["ceil", "floor"]))
def test_each_rounding_sees_every_kind_of_remainder(divisor: int, shift: int, kind: str) -> None:
    found = points([read(f"{kind}((k + {shift})/{divisor})*c")])
    rests = {(point["k"] + shift) % divisor for point in found}
    assert {0, 1, divisor - 1} <= rests and len(rests) >= min(divisor, 4)


def test_symbols_are_small_large_equal_ordered_and_prime() -> None:
    found = points([read("k*c*h*pad")])
    assert {pad for point in found for pad in (point["pad"],)} > {0, 1}
    for name in "kch":
        assert min(point[name] for point in found) == 1 and max(point[name] for point in found) >= 1000
    for order in itertools.permutations("kch"):
        assert any(point[order[0]] < point[order[1]] < point[order[2]] for point in found), order
    assert any(len({point[name] for name in "kch"}) == 1 for point in found)
    assert any(len(set(map(point.get, "kch"))) == 3 and all(map(sympy.isprime, point.values())) for point in found)


def test_key_adds_points_and_changes_no_other() -> None:
    expr = read("max(k, c) + ceil(h/3)")
    plain, one, two = (points([expr], key) for key in ("", "one", "two"))
    assert plain[: -sampling.SECRET] == one[: -sampling.SECRET] == two[: -sampling.SECRET]
    assert one[-sampling.SECRET :] != two[-sampling.SECRET :] and one == points([expr], "one")


# -- bounds -----------------------------------------------------------------------------------------------------

HOSTILE = [
    "+".join(f"1/(k + {i}*c)**16" for i in range(1, 30)),
    "((k+c)**16 + (h+w)**16)**4",
    "(((k+1)**16)**2)*((c+1)**16)/((k+2)**8 + 1)",
    "*".join(f"max({', '.join(f'{a}*k - {a**b}*c' for a in range(2, 10))})" for b in (2, 3)),
    "+".join(f"ceil((k + {i})/(c + {i}))" for i in range(24)),
    "+".join("abcdefghijklmnopqrstuvwxyz") + "+" + "*".join("ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
    "sqrt(" * 12 + "k + c" + ")" * 12,
    "+".join(f"sqrt(k + {i})" for i in range(20)),
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_work_is_bounded(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted, not timed: steps in all, and bits of each number. Where two formulas agree, all points are tried."""
    steps, bits = 0, 0
    run = evaluating.Program.run

    def counted(program: evaluating.Program, point: evaluating.Point, until: int | None = None) -> list[Any]:
        nonlocal steps, bits
        values = run(program, point, until)
        steps += len(values)
        for number in values:
            if isinstance(number, int | Fraction):
                bits = max(bits, number.numerator.bit_length(), number.denominator.bit_length())
        return values

    expr = read(text)
    monkeypatch.setattr(evaluating.Program, "run", counted)
    same(sympy.Add(expr, symbol("n"), -symbol("n"), evaluate=False), expr)
    longest = len(evaluating.Program([expr]).steps) + 10
    assert sampling.LEAST < steps <= 3 * max(sampling.STEPS, sampling.LEAST * 8 * longest)
    assert bits <= evaluating.LARGEST
