"""Notes on wrong answers: the general rules find what is confused, say where to look, and never tell the answer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from itertools import islice
from pathlib import Path

import pytest
import sympy
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dnnlab.buffering.closed_forms import equal_tiles
from dnnlab.errors import DnnlabError
from dnnlab.notation import read_formula
from dnnlab.quiz.comparing import evaluating, same, sampling
from dnnlab.quiz.diagnosing import diagnose, diagnose_number
from dnnlab.quiz.diagnosing.factors import constant_id
from dnnlab.quiz.diagnosing.remarks import REMARKS, note
from tests import test_fuzz
from tests.formulas import Tree, spell, trees

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
OPS = "2*k*c*r*s*w*h"
TIME = "L + (n - 1)*max(L, C) + C"
SIZE = "floor((h + 2*pad - r)/stride) + 1"
BYTES = "34*s*b*h + 5*a*s^2*b"

WRONG = [
    # a product
    (OPS, "k*c*r*s*w*h", "factor:1/2"),
    (OPS, "4*k*c*r*s*w*h", "factor:2"),
    (OPS, "6*k*c*r*s*w*h", "factor:3"),
    (OPS, "34*k*c*r*s*w*h", "factor"),
    (OPS, "16*k*c*r*s*w*h", "bits"),
    (OPS, "8*k*c*r*s*w*h", "element-size:4"),
    (OPS, "2000*k*c*r*s*w*h", "prefix:1000"),
    (OPS, "2*k*c*r*s*w*h/10^9", "prefix:1000"),
    (OPS, "2*k*c*r*s*w*h/1.024^3", "binary:1024"),
    (OPS, "-2*k*c*r*s*w*h", "sign"),
    (OPS, "2*k*r*s*w*h", "missing:c"),
    (OPS, "2*k*c*w*h", "missing:r,s"),
    (OPS, "2*k*c*r*s*w*h*n", "extra:n"),
    (OPS, "2*k*c*r*s*w*h*n^2", "extra:n^2"),
    (OPS, "k*c*r*s*w*h*n", "extra:n"),
    (OPS, "2*k*k*r*s*w*h", "swapped:c,k"),
    (OPS, "2*k*c*(r + s)*w*h", "sum-for-product"),
    ("k*c/n", "n/(k*c)", "inverse"),
    ("ops/peak", "ops*peak", "inverse"),
    ("c*(k + 1)", "c*k", "term:missing"),
    # a sum
    ("k*c*r*s + k", "k*c*r*s", "term:missing"),
    ("k*c*r*s", "k*c*r*s + k", "term:extra"),
    ("k*c*r*s + k", "k*c*r*s + c", "swapped:c,k"),
    ("k*c*r*s + k", "k*c*r*s - k", "sign"),
    ("n*c + k*c + n*k", "n*c + k*c", "term:missing"),
    (BYTES, "34*s*b*h + 5*a*s*b", "missing:s"),
    (BYTES, "34*s*b*h + 10*a*s^2*b", "term:factor"),
    ("k + c", "k*c", "product-for-sum"),
    ("2*n - k", "n - k", "term:factor"),
    # a pipeline
    (TIME, "n*(L + C)", "serial"),
    (TIME, "n*max(L, C)", "fill"),
    (TIME, "(n - 1)*max(L, C) + C", "fill"),
    (TIME, "L + (n - 1)*max(L, C)", "drain"),
    (TIME, "L + n*max(L, C) + C", "tile:+1"),
    (TIME, "L + (n - 2)*max(L, C) + C", "tile:-1"),
    (TIME, "L + (n - 1)*min(L, C) + C", "minmax"),
    (TIME, "n*L + C", "regime"),
    ("n*(L + C)", TIME, "overlapped"),
    ("n*(L + C)", "n*max(L, C)", "overlapped"),
    ("n*(L + C)", "(n + 1)*(L + C)", "tile:+1"),
    ("max(C, M)", "C + M", "serial"),
    ("max(C, M, D)", "max(C, M) + D", "serial"),
    ("max(C, M, D)", "max(C + M, D)", "serial"),
    ("max(C, M, D)", "max(C, M)", "regime"),
    ("max(0, C - M)", "C - M", "regime"),
    ("max(C1, M1) + max(C2, M2)", "max(C1 + C2, M1 + M2)", "regime"),
    # rounding, borders
    (SIZE, "(h + 2*pad - r)/stride + 1", "rounding"),
    (SIZE, "ceil((h + 2*pad - r)/stride) + 1", "rounding"),
    ("ceil(h/t)*t", "h", "rounding"),
    ("ceil(N/b)", "floor(N/b) + 1", "rounding"),
    ("ceil(N/b)", "floor(N/b + 1/2)", "rounding"),
    (SIZE, "floor((h + 2*pad - r)/stride)", "off-by-one"),
    (SIZE, "floor((h + 2*pad - r + 1)/stride) + 1", "off-by-one"),
    (SIZE, "floor((h + pad - r)/stride) + 1", "padding"),
    (SIZE, "floor((h - r)/stride) + 1", "padding"),
    # one part of it
    ("max(2*k*c/P, 4*k/B)", "max(k*c/P, 4*k/B)", "factor:1/2"),
    ("ceil(k*c/a) + n", "ceil(k/a) + n", "missing:c"),
    ("k^2*ceil(h/r)", "k*ceil(h/r)", "missing:k"),
    ("sqrt(k)", "2*sqrt(k)", "factor:2"),
    # no rule, but one symbol too few
    ("c*log2(n)", "c^3 + 7", "missing:n"),
    ("k + 2", "k^2 + sqrt(h + k)", "extra:h"),
    ("r*(h + k)^2", "r*(h + k^2)^2", "squared:k"),
]


@pytest.mark.parametrize(("expected", "answer", "id"), WRONG, ids=[f"{id} {answer}" for _, answer, id in WRONG])
def test_notes_on_formulas(expected: str, answer: str, id: str) -> None:
    found = diagnose(read_formula(answer), read_formula(expected))
    assert found is not None and found.id == id


NUMBERS: dict[str, str | int] = {"n": 12, "L": 3, "C": 5}
WRONG_NUMBERS = [
    ("50", "25", {}, "factor:2"),
    ("12.5", "25", {}, "factor:1/2"),
    ("-25", "25", {}, "sign"),
    ("200", "25", {}, "bits"),
    ("100", "25", {}, "element-size:4"),
    ("25000", "25", {}, "prefix:1000"),
    ("23.28", "25", {}, "binary:1024"),
    ("0.04", "25", {}, "inverse"),
    ("75", "25", {}, "factor:3"),
    ("18.75", "25", {}, "factor:3/4"),
    ("26", "25", {}, "off-by-one"),
    ("800", "25", {"batch": 32}, "extra:batch"),
    ("25", "27200", {"batch": 32, "h": 34}, "missing:batch,h"),
    ("340", "320", {"batch": 32, "h": 34}, "swapped:batch,h"),
    ("2048000", "2049000", {"k": 1000, "c": 2048}, "term:missing"),
    ("10.5", "11", {}, "rounding"),
    ("80", "50", {"C": 30, "M": 50}, "serial"),
    ("30", "50", {"C": 30, "M": 50}, "minmax"),
    ("50", "80", {"C": 30, "M": 50}, "overlapped"),
    ("96", "63", NUMBERS, "serial"),
    ("63", "96", NUMBERS, "overlapped"),
    ("68", "63", NUMBERS, "tile:+1"),
    ("58", "63", NUMBERS, "tile:-1"),
    ("60", "63", NUMBERS, "fill"),
]


@pytest.mark.parametrize(("answer", "expected", "numbers", "id"), WRONG_NUMBERS)
def test_notes_on_numbers(answer: str, expected: str, numbers: dict[str, int], id: str) -> None:
    exact = {name: Fraction(number) for name, number in numbers.items()}
    found = diagnose_number(Fraction(answer), Fraction(expected), exact, Fraction(1, 100))
    assert found is not None and found.id == id


def test_times_of_the_library_are_the_symbols_of_the_reader() -> None:
    expected = 1 / (1 + equal_tiles().makespan)
    for answer, id in ((f"1/(1 + {TIME} + n)", "term:extra"), ("1/(1 + n*(L + C))", "serial")):
        found = diagnose(read_formula(answer), expected)
        assert found is not None and found.id == id


def test_no_note_where_no_rule_fits() -> None:
    assert diagnose(read_formula("k^3 + 7*c"), read_formula("c*log2(k)")) is None
    assert diagnose(read_formula("0"), read_formula("c*k")) is not None  # c and k are missing
    assert diagnose(sympy.zoo, read_formula("c*k")) is not None
    for answer, expected in ((0, 3), (3, 0), (17, 1234567)):
        assert diagnose_number(Fraction(answer), Fraction(expected), {}, Fraction(1, 100)) is None


# -- messages ---------------------------------------------------------------------------------------------------


def test_every_remark_is_reached() -> None:
    """By a formula or a number above: a note that nothing leads to is no note."""
    ids = {row[2] for row in WRONG} | {row[3] for row in WRONG_NUMBERS}
    assert {id if id in REMARKS else id.partition(":")[0] for id in ids} == set(REMARKS)


@pytest.mark.parametrize("kind", REMARKS)
def test_each_remark_is_a_sentence_and_leads_to_a_section_of_a_lecture(kind: str) -> None:
    found = note(kind if kind in ("factor:2", "factor:1/2") or ":" in kind else f"{kind}:c,r")
    assert found.message[0].isupper() and found.message[-1] in ".?" and "{" not in found.message
    assert 60 <= len(found.message) <= 320
    lecture, _, section = found.see.partition("/")
    cells = json.loads((NOTEBOOKS / f"{lecture}.ipynb").read_text(encoding="utf-8"))["cells"]
    assert any(line.strip() == f"## {section}" for cell in cells for line in cell["source"])


def test_words_of_a_message() -> None:
    assert note("missing:c").message.startswith("Here c is missing")
    assert note("missing:r,s").message.startswith("Here r and s are missing")
    assert note("extra:k,n^2,s").message.startswith("Here k, n² and s are counted")
    assert note("swapped:c,k").message.startswith("Here c and k have")
    assert note("factor:2", part=True).message.startswith("One part")


@pytest.mark.parametrize(("expected", "answer"), [row[:2] for row in WRONG])
def test_no_message_tells_a_constant_or_the_formula(expected: str, answer: str) -> None:
    found = diagnose(read_formula(answer), read_formula(expected))
    assert found is not None
    told = found.message.replace(" ", "")
    assert expected.replace(" ", "") not in told and str(read_formula(expected)).replace(" ", "") not in told
    numbers = set(re.findall(r"\d+", expected)) - {"1", "2", "4"}
    assert not numbers & set(re.findall(r"\d+", found.message))


# -- whatever is typed ------------------------------------------------------------------------------------------


def test_ids_of_constants() -> None:
    assert constant_id(Fraction(1, 2)) == "factor:1/2" and constant_id(Fraction(1, 8)) == "bits"
    assert constant_id(Fraction(1, 10**6)) == "prefix:1000" and constant_id(Fraction(1024)) == "binary:1024"
    assert constant_id(Fraction(335, 336)) == "factor"  # nothing that could be counted


@settings(max_examples=150)
@given(expected=trees("kc", leaves=5), answer=trees("kcn", leaves=5), constant=st.integers(2, 16))
def test_any_two_formulas_get_a_note_or_none(expected: Tree, answer: Tree, constant: int) -> None:
    try:
        first, second = read_formula(spell(expected)), read_formula(spell(answer))
    except DnnlabError:
        assume(False)
    found = diagnose(second, first)
    assert found is None or note(found.id).see == found.see
    assume(same(first, first + 0 * second) and not same(first, sympy.Integer(0)) and first.free_symbols)
    assume(not same(first * first, sympy.Integer(1)) and not same(constant * first * first, sympy.Integer(1)))
    found = diagnose(constant * first, first)
    assert found is not None and found.id == constant_id(Fraction(constant))


STRINGS = 10_000
MOST = 400_000  # steps of programs for a string, read, compared and diagnosed


def expected_formulas() -> Iterator[sympy.Expr]:
    while True:
        yield from map(read_formula, (OPS, TIME, SIZE, "max(k*c/3, 4*n) + floor(h/7)"))


guarded = test_fuzz.guarded  # watches that nothing is executed


def test_ten_thousand_strings_are_compared(guarded: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing crashes, nothing is executed, and the work is bounded: counted, not timed."""
    steps = 0
    run = evaluating.Program.run

    def counted(program: evaluating.Program, *args: object) -> list[evaluating.Value]:
        nonlocal steps
        values = run(program, *args)  # type: ignore[arg-type]  # whatever it is called with
        steps += len(values)
        return values

    monkeypatch.setattr(evaluating.Program, "run", counted)
    supply, wanted = test_fuzz.TERMS(12), expected_formulas()
    accepted, most = 0, (0, "")
    for turn, text in enumerate(islice(supply, STRINGS)):
        steps = 0
        test_fuzz.watching = True
        with suppress(DnnlabError):
            expr = read_formula(text)
            expected = next(wanted)
            right = same(expr, expected) or same(expr, expr + 0)
            accepted += right
            if turn % 4 == 0:
                diagnose(expr, expected)
        test_fuzz.watching = False
        most = max(most, (steps, text))
    assert guarded == []
    assert STRINGS / 20 < accepted < STRINGS and 1000 < most[0] < MOST, most


def test_modules_hold_no_state() -> None:
    """A verdict depends on nothing but its arguments: twice the same, in any order."""
    pairs = [(read_formula(answer), read_formula(expected)) for expected, answer, _ in WRONG[::6]]
    first = [(same(*pair), diagnose(*pair)) for pair in pairs]
    assert [(same(*pair), diagnose(*pair)) for pair in reversed(pairs)] == first[::-1]
    assert sampling.points([pairs[0][0]]) == sampling.points([pairs[0][0]])
