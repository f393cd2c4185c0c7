"""Formulas: read as data, printed in the lecture's order, and the same after a round trip."""

from __future__ import annotations

import math
import random
from fractions import Fraction

import numpy
import pytest
import sympy
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from dnnlab.errors import DnnlabError, ExtentError, ReadError
from dnnlab.notation import (
    ceil_div,
    dimension,
    floor_div,
    largest,
    lecture,
    ratio,
    read_formula,
    settle,
    smallest,
    symbol,
)
from tests.formulas import Tree, spell, trees, value

NAMES = "nkrswhc"
points = st.fixed_dictionaries({name: st.integers(1, 40) for name in NAMES})


def exactly(expr: sympy.Expr, point: dict[str, int]) -> Fraction:
    """The value of an expression at a point, without rounding."""
    number = expr.subs({symbol(name): n for name, n in point.items()})
    assert number.is_Rational, (expr, point, number)
    return Fraction(int(number.p), int(number.q))


def formula(tree: Tree) -> sympy.Expr:
    try:
        return read_formula(spell(tree), NAMES)
    except ReadError as error:
        assert "division by zero" in str(error) or "factors" in str(error)
        assume(False)


# -- what the lecture writes ------------------------------------------------------------------------------

LECTURE = [
    ("k·2·rs·wh·c", "k · 2 · rs · wh · c", r"k \cdot 2 \cdot rs \cdot wh \cdot c"),
    ("k·rs·c", "k · rs · c", r"k \cdot rs \cdot c"),
    ("k·2·rs·wh", "k · 2 · rs · wh", r"k \cdot 2 \cdot rs \cdot wh"),
    ("k·rs", "k · rs", r"k \cdot rs"),
    ("k", "k", "k"),
    ("1", "1", "1"),
    ("2·c·k", "k · 2 · c", r"k \cdot 2 \cdot c"),
    ("c·k + k", "k · c + k", r"k \cdot c + k"),
    ("n·k·wh", "n · k · wh", r"n \cdot k \cdot wh"),
    ("k·ceil(h/2)", "k · ⌈h / 2⌉", r"k \cdot \lceil \frac{h}{2} \rceil"),
    ("r·max(s, 3)", "r · max(3, s)", r"r \cdot \max(3, s)"),
    ("r*s**2", "r · s^2", r"r \cdot s^{2}"),
    ("(h - 1)/2 + 1", "h / 2 + 1 / 2", r"\frac{h}{2} + \frac{1}{2}"),
    ("-k*c", "−k · c", r"-k \cdot c"),
    ("k - c/2", "k − c / 2", r"k - \frac{c}{2}"),
    ("k/(r*s)", "k / (rs)", r"\frac{k}{rs}"),
    ("sqrt(k)*log2(c)", "sqrt(k) · log2(c)", r"\sqrt{k} \cdot \log_2(c)"),
]


@pytest.mark.parametrize(("typed", "text", "latex"), LECTURE)
def test_the_lectures_spelling(typed: str, text: str, latex: str) -> None:
    expr = read_formula(typed, NAMES)
    assert lecture(expr) == text
    assert lecture(expr, "latex") == latex


def test_html_is_the_text_with_names_in_italics() -> None:
    conv = read_formula("k·2·rs·wh·c", NAMES)
    assert lecture(conv, "html") == "<i>k</i> · 2 · <i>rs</i> · <i>wh</i> · <i>c</i>"
    assert lecture(read_formula("k**2", NAMES), "html") == "<i>k</i><sup>2</sup>"
    assert "<b>" not in lecture(symbol("<b>"), "html")


def test_numbers_are_printed_too() -> None:
    assert [lecture(n) for n in (6, -6, Fraction(5, 3), sympy.Rational(-1, 2))] == ["6", "−6", "5 / 3", "−1 / 2"]


def test_an_unknown_style_is_refused() -> None:
    with pytest.raises(ReadError, match=r"'pdf'.*'text', 'latex' or 'html'"):
        lecture(1, "pdf")


@settings(max_examples=300, suppress_health_check=[HealthCheck.filter_too_much])
@given(trees(NAMES), points)
def test_reading_and_printing_keep_the_value(tree: Tree, point: dict[str, int]) -> None:
    expr = formula(tree)
    again = read_formula(lecture(expr), NAMES)
    try:
        want = value(tree, point)
    except ZeroDivisionError:
        assume(False)
    if expr.has(sympy.zoo, sympy.nan) or expr.subs({symbol(n): v for n, v in point.items()}).is_finite is False:
        assume(False)  # SymPy's own order of cancelling
    assert exactly(expr, point) == want
    assert exactly(again, point) == want
    for name, number in sorted(point.items(), key=lambda pair: pair[1]):  # bound one by one, in any order
        expr = expr.subs(symbol(name), number)
    assert settle(expr) == want


@pytest.mark.parametrize("typed", ["sqrt(k)", "sqrt(2)*k", "k*sqrt(k)", "1/sqrt(k+1)", "log2(k)", "k*log2(k)/c",
                                   "log2(k+c)**2", "1/log2(k)", "sqrt(log2(k))", "log2(3)", "sqrt(k)/2 - 1"])
def test_roots_and_logarithms_come_back(typed: str) -> None:
    expr = read_formula(typed)
    assert sympy.simplify(read_formula(lecture(expr)) - expr) == 0


@given(trees(NAMES, leaves=5))
@settings(max_examples=100, suppress_health_check=[HealthCheck.filter_too_much])
def test_every_style_is_balanced_and_stable(tree: Tree) -> None:
    expr = formula(tree)
    latex, html = lecture(expr, "latex"), lecture(expr, "html")
    assert latex.count("{") == latex.count("}") and "−" not in latex and "·" not in latex
    assert html.count("<") == html.count(">") and html.count("<i>") == html.count("</i>")
    if not isinstance(expr, sympy.Max | sympy.Min):  # which is printed as it was typed, and SymPy makes less of it
        assert lecture(expr) == lecture(sympy.sympify(expr).func(*expr.args) if expr.args else expr)


# -- what may be typed ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "typed",
    ["2*k*r*s*w*h*c", "k·2·rs·wh·c", "k × 2 × rs × wh × c", "k⋅2⋅rs⋅wh⋅c", " k ∙ 2 ∙ rswhc ", "c*whrs*k*2",
     "ｋ·2·rs·wh·c", "k * 2.0 * rs * wh * c", "(k^2 * 2 * rs*wh*c) / k", "-(−k·2·rs·wh·c)"],
)  # fmt: skip
def test_one_formula_in_many_spellings(typed: str) -> None:
    assert read_formula(typed, NAMES) == sympy.Mul(2, *(symbol(name) for name in "krswhc"))


def test_without_declared_names_a_run_of_letters_is_one_name() -> None:
    assert read_formula("rs") == symbol("rs")
    assert read_formula("batch*heads") == symbol("batch") * symbol("heads")


@pytest.mark.parametrize("inner", ["c*(2*k+4)/6", "max(2*k,4)/6", "(2*k+4)*(2*c+2)/12", "min(0,8-6*k)/6", "k/2+c+5/2",
                                   "k*(k+1)/2", "2*ceil(k/3)/4 + max(k,c)", "(k+c)**2/4"])  # fmt: skip
def test_rounding_sees_for_itself_what_is_whole(inner: str) -> None:
    """SymPy 1.14 takes (2*k + 4)*c/6 for an integer, and lets the floor go."""
    floor, ceil = read_formula(f"floor({inner})"), read_formula(f"ceil({inner})")
    for k in range(1, 14):
        for c in range(1, 8):
            exact = exactly(read_formula(inner), {"k": k, "c": c})
            assert settle(floor.subs(symbol("k"), k).subs(symbol("c"), c)) == math.floor(exact)
            assert settle(ceil.subs(symbol("c"), c).subs(symbol("k"), k)) == math.ceil(exact)


def test_a_fraction_is_exact() -> None:
    assert read_formula("0.1*k") == sympy.Rational(1, 10) * symbol("k")


REFUSED = [
    ("k.real", r"'k\.real' is not allowed; a formula is made of names, numbers"),
    ("__import__('os')", r"is not allowed"),
    ("open('x')", r"is not allowed"),
    ("lambda: 1", r"is not allowed"),
    ("[k for k in (1,2)]", r"is not allowed"),
    ("(k := 2)", r"is not allowed"),
    ("f'{k}'", r"is not allowed"),
    ("'k'", r"is not allowed"),
    ("True", r"is not allowed"),
    ("k if c else r", r"is not allowed"),
    ("k < c", r"is not allowed"),
    ("k // 2", r"'k // 2' is not allowed; .*max, min, ceil, floor"),
    ("k % 2", r"is not allowed"),
    ("k @ c", r"is not allowed"),
    ("k[0]", r"is not allowed"),
    ("*k", r"cannot read|is not allowed"),
    ("1j", r"is not allowed"),
    ("...", r"is not allowed"),
    ("2k", r"cannot read '2k'.*every product spelled out \(2\*k, not 2k\)"),
    ("k +", r"cannot read 'k \+'"),
    ("", r"cannot read ''"),
    ("k = 2", r"cannot read"),
    ("k; c", r"cannot read"),
    ("(k", r"leaves 1 bracket\(s\) open"),
    ("k)", r"closes a bracket that it never opened"),
    ("9**9**9", r"an exponent is a whole number from 0 to 16"),
    ("k**17", r"an exponent is a whole number from 0 to 16"),
    ("k**c", r"an exponent is a whole number from 0 to 16"),
    ("k**-1", r"an exponent is a whole number from 0 to 16"),
    ("k**0.5", r"an exponent is a whole number from 0 to 16"),
    ("((k**16)**16)**16", r"powers of powers up to 64"),
    ("k" * 65, r"more than 64 factors"),
    ("1" * 30, r"too large; at most 1e\+18"),
    ("1e999", r"too large"),
    ("1e-300", r"too small; at least 1e-18"),
    ("1/0", r"division by zero"),
    ("k/(c-c)", r"division by zero"),
    ("log2(0)", r"log2 needs a positive argument"),
    ("log2(-k)", r"log2 needs a positive argument"),
    ("sqrt(-2)", r"sqrt needs an argument that is not negative"),
    ("sqrt(-k)", r"sqrt needs an argument that is not negative"),
    ("max(k)", r"max\(\) takes 2 to 8 arguments"),
    ("max(1,2,3,4,5,6,7,8,9)", r"max\(\) takes 2 to 8 arguments"),
    ("ceil(k, 2)", r"ceil\(\) takes one argument"),
    ("max(*k, 2)", r"plain arguments"),
    ("max(k, key=c)", r"max\(\) takes 2 to 8 arguments"),
    ("floor(sqrt(2)*1e18**16)", r"floor\(\) of these numbers cannot be worked out"),
    ("max(" * 4 + "k" + ",c,c,c,c,c,c,c)" * 4, r"more than 24 arguments"),
    ("ceil(" * 41 + "k" + ")" * 41, r"nests brackets deeper than 40"),
    ("-" * 60 + "k", r"nests deeper than 40"),
    ("-" * 900 + "k", r"nests deeper than 40|nested too deeply"),
    ("k" + ".a" * 450, r"is not allowed"),
    ("k + " * 300 + "k", r"has 1201 characters; at most 1000 are read"),
    ("k\x00", r"cannot read"),
    ("\ud800", r"cannot read"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("printed", "typed"), [("k²", "k**2"), ("r³·c", "r**3*c"), ("k ÷ c", "k/c"), ("k – c", "k-c"), ("k•c", "k*c")]
)
def test_signs_of_the_printed_page_are_read(printed: str, typed: str) -> None:
    assert read_formula(printed) == read_formula(typed)


@pytest.mark.parametrize(("typed", "says"), REFUSED)
def test_what_a_formula_may_not_be(typed: str, says: str) -> None:
    with pytest.raises(ReadError, match=says) as caught:
        read_formula(typed, NAMES)
    quoted = str(caught.value)
    assert typed[:20] in quoted or repr(typed)[1:20] in quoted
    assert len(quoted) < 600


@pytest.mark.parametrize("given_", [None, 5, b"k", ["k"], pytest.param(10**5000, id="huge"), sympy.Symbol("k")])
def test_a_formula_is_text(given_: object) -> None:
    with pytest.raises(ReadError, match="expected text, got"):
        read_formula(given_)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("typed", "names", "name", "column", "hint"),
    [
        ("k·2·rs·wx", NAMES, "wx", 8, "did you mean 'w'"),
        ("k·2·rs·wh·q", NAMES, "q", 11, None),
        ("  2^2*k^2 + q", NAMES, "q", 13, None),
        ("batch*lenght", ["batch", "length"], "lenght", 7, "did you mean 'length'"),
        ("⌈h⌉ + z", NAMES, "z", 7, None),
        ("к*2", NAMES, "к", 1, None),  # Cyrillic
        ("max", NAMES, "max", 1, None),
    ],
)
def test_an_unknown_name_is_pointed_at(
    typed: str, names: list[str], name: str, column: int, hint: str | None
) -> None:
    with pytest.raises(ReadError) as caught:
        read_formula(typed, names)
    said = str(caught.value)
    assert f"unknown name {name!r} at column {column}" in said
    assert f"allowed: {', '.join(names)}" in said
    assert ("did you mean" in said) == bool(hint) and (hint or "") in said
    assert typed[column - 1 :].startswith(name)


@pytest.mark.parametrize("typed", ["max + 1", "_k", "k" * 33, "é"])
def test_free_names_are_names(typed: str) -> None:
    with pytest.raises(ReadError, match=r"is not a name|is a function"):
        read_formula(typed)


# -- dimensions and their arithmetic ----------------------------------------------------------------------


@pytest.mark.parametrize("bad", [0, -1, True, False, 2.0, 1.5, float("nan"), float("inf"), None, [1], (), "0",
                                 "2.5", "-3", Fraction(1, 2), sympy.I, sympy.oo, sympy.Integer(0), -symbol("k"),
                                 10**400, pytest.param(10**5000, id="huge"), 10**18 + 1, int, numpy.True_,
                                 numpy.array([1, 2]), numpy.float64(2)])  # fmt: skip
def test_an_extent_is_a_positive_whole_number(bad: object) -> None:
    with pytest.raises(ExtentError, match=r"^k = .*(expected a whole number of at least 1|at most 1e\+18)"):
        dimension("k", bad)


def test_a_pad_may_be_zero() -> None:
    assert dimension("pad", 0, least=0) == 0
    with pytest.raises(ExtentError, match="at least 0"):
        dimension("pad", -1, least=0)


@pytest.mark.parametrize("good", [7, numpy.int32(7), sympy.Integer(7), "7", "(5+2)", numpy.array(7)])
def test_whole_numbers_of_any_make(good: object) -> None:
    assert (dimension("k", good), type(dimension("k", good))) == (7, int)


def test_an_extent_may_be_a_formula() -> None:
    assert dimension("k", "2*c") == 2 * symbol("c")
    with pytest.raises(DnnlabError, match="cannot read"):
        dimension("k", "2*")


@given(st.integers(-60, 60), st.integers(1, 12))
def test_whole_division(a: int, b: int) -> None:
    k, c = sympy.Symbol("k", integer=True), symbol("c")
    assert floor_div(a, b) == (a - a % b) // b == settle(floor_div(k, c).subs({k: a, c: b}))
    assert ceil_div(a, b) == -((-a) // b) == settle(ceil_div(k, c).subs({k: a, c: b}))
    assert ratio(a, b) == Fraction(a, b) == settle(ratio(k, c).subs({k: a, c: b}))
    assert largest(a, b) == max(a, b) == settle(largest(k, c).subs({k: a, c: b}))
    assert smallest(a, b) == min(a, b) == settle(smallest(k, c).subs({k: a, c: b}))


def test_a_long_sum_is_not_deep() -> None:
    rng = random.Random(1)
    text = " + ".join(f"{rng.randint(2, 9)}*{'*'.join(rng.sample(NAMES, 4))}" for _ in range(34))
    point = {name: rng.randint(1, 9) for name in NAMES}
    assert exactly(read_formula(text, NAMES), point) == eval(text, {"__builtins__": {}}, point)
    assert read_formula("(k**10)**4 + (c**10)**4", NAMES).is_Add
