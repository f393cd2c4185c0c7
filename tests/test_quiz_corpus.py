"""The examiner of formula checking: what people type, verdicts confirmed by brute force, wrong answers and their notes.

The corpora in tests/data/quiz are written by hand; `formula_witness` shares no code with what is examined here.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnnlab.notation import lecture, read_formula
from dnnlab.quiz.comparing import same
from dnnlab.quiz.diagnosing import diagnose, diagnose_number
from dnnlab.quiz.verdicts import Note
from tests.formula_witness import at, compiled, differ, points
from tests.formulas import Tree, spell, trees, value

HERE = Path(__file__).parent / "data" / "quiz"
GROUPS: list[dict[str, Any]] = tomllib.loads((HERE / "verdicts.toml").read_text(encoding="utf-8"))["group"]
WRONG: dict[str, list[dict[str, Any]]] = tomllib.loads((HERE / "wrong_answers.toml").read_text(encoding="utf-8"))
KEYS = ("", "autumn", "2f9c", "a class of its own", "0")
BAR = 0.8  # of the wrong answers get a note that helps

by_group = pytest.mark.parametrize("group", GROUPS, ids=lambda group: group["about"].replace(" ", "_")[:50])


def answers(group: dict[str, Any]) -> list[tuple[str, bool]]:
    return [(text, True) for text in group["right"]] + [(text, False) for text in group["wrong"]]


# -- the corpus itself ------------------------------------------------------------------------------------------


def test_corpus_is_large_varied_and_has_no_entry_twice() -> None:
    verdicts = [right for group in GROUPS for _, right in answers(group)]
    assert len(verdicts) >= 520
    assert verdicts.count(False) / len(verdicts) >= 0.45 and verdicts.count(True) >= 200
    typed = Counter((group["expected"], text) for group in GROUPS for text, _ in answers(group))
    assert [entry for entry, count in typed.items() if count > 1] == []
    assert len(WRONG["formula"]) >= 80 and len(WRONG["number"]) >= 30
    assert {entry["topic"] for entry in WRONG["formula"]} == {f"0{topic}" for topic in range(1, 9)}


@by_group
def test_brute_force_confirms_every_verdict(group: dict[str, Any]) -> None:
    names = tuple(group["names"].split())
    found = {text: differ(text, group["expected"], names) for text, _ in answers(group)}
    assert {text: found[text] for text, right in answers(group) if right is not (found[text] is None)} == {}


def test_brute_force_confirms_that_wrong_answers_are_wrong() -> None:
    asked = [(entry["given"], entry["expected"], tuple(entry["names"].split())) for entry in WRONG["formula"]]
    assert [entry for entry in asked if differ(*entry) is None] == []
    assert [entry for entry in WRONG["number"] if Fraction(entry["given"]) == Fraction(entry["expected"])] == []


# -- the witness ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "point", "expected"),
    [
        ("k·2·rs·wh", {"k": 3, "r": 2, "s": 5, "w": 7, "h": 1}, 420),
        ("⌈h/4⌉ − ⌊h/4⌋ × 2^3", {"h": 9}, 3 - 16),
        ("sqrt(n)/2 + log2(n)", {"n": 16}, 6),
        ("0.1*n + max(n/3, 1/n, -n)", {"n": 3}, Fraction(13, 10)),
        ("1/(n - 3)", {"n": 3}, None),
        ("sqrt(1 - n)", {"n": 3}, None),
    ],
)
def test_witness_knows_values_worked_out_by_hand(text: str, point: dict[str, int], expected: object) -> None:
    assert at(compiled(text, tuple(point)), point) == expected


def test_witness_finds_where_two_formulas_part() -> None:
    point = differ("ceil(a/b)", "floor(a/b) + 1", ("a", "b"))
    assert point is not None and point["a"] % point["b"] == 0
    point = differ("max(L, C)", "max(L, C, (L + C)/B)", ("L", "C", "B"))
    assert point is not None and point["B"] == 1
    assert differ("2*sqrt(n)", "sqrt(4*n)", ("n",)) is None and differ("sqrt(n)", "sqrt(n + 1)", ("n",)) is not None
    assert min(point["pad"] for point in points(("h", "pad"))) == 0 < min(point["h"] for point in points(("h", "pad")))


@given(trees("kcrs"), st.fixed_dictionaries({name: st.integers(1, 40) for name in "kcrs"}))
def test_witness_agrees_with_a_formula_that_never_was_text(tree: Tree, point: dict[str, int]) -> None:
    try:
        expected = value(tree, point)
    except ZeroDivisionError:
        expected = None
    assert at(compiled(spell(tree), tuple("kcrs")), point) == expected


# -- the verdicts -----------------------------------------------------------------------------------------------


@by_group
def test_verdicts_whatever_the_key_and_the_order(group: dict[str, Any]) -> None:
    names = group["names"].split()
    expected = read_formula(group["expected"], names)
    mistaken = {}
    for text, right in answers(group):
        formula = read_formula(text, names)
        verdicts = {key: same(formula, expected, key) for key in KEYS} | {"order": same(expected, formula)}
        if set(verdicts.values()) != {right}:
            mistaken[text] = verdicts
    assert mistaken == {}


# -- the notes --------------------------------------------------------------------------------------------------


def of_formula(entry: dict[str, Any]) -> Note | None:
    names = entry["names"].split()
    return diagnose(read_formula(entry["given"], names), read_formula(entry["expected"], names))


def of_number(entry: dict[str, Any]) -> Note | None:
    numbers = {name: Fraction(number) for name, number in entry["numbers"].items()}
    return diagnose_number(Fraction(entry["given"]), Fraction(entry["expected"]), numbers, Fraction(1, 100))


NOTES = {"formula": of_formula, "number": of_number}


@pytest.mark.parametrize("kind", NOTES)
def test_common_wrong_answers_get_a_note_that_helps(kind: str) -> None:
    noted = [(entry, NOTES[kind](entry)) for entry in WRONG[kind]]
    missed = [
        f"{entry['question']} {entry['given']} for {entry['expected']}: {note.id if note else 'no note'}, "
        f"expected one of {', '.join(entry['accept'])}"
        for entry, note in noted
        if note is None or note.id not in entry["accept"]
    ]
    share = 1 - len(missed) / len(noted)
    assert share >= BAR, f"{share:.0%} of {len(noted)}; these miss:\n" + "\n".join(missed)


@pytest.mark.parametrize("kind", NOTES)
def test_no_note_tells_the_answer(kind: str) -> None:
    assert [entry for entry in WRONG[kind] if told(entry, NOTES[kind](entry))] == []


@by_group
def test_every_wrong_answer_gets_a_note_or_none_and_never_the_answer(group: dict[str, Any]) -> None:
    for text in group["wrong"]:
        entry = group | {"given": text}
        assert not told(entry, of_formula(entry)), text


def told(entry: dict[str, Any], note: Note | None) -> bool:
    """True where a note holds the expected answer."""
    said = "" if note is None else spaceless(note.message + note.see.replace("/", " "))
    return any(spaceless(text) in said for text in spellings(entry))


def spellings(entry: dict[str, Any]) -> list[str]:
    """The expected answer as it might be printed; a single letter stands in every sentence."""
    if "names" in entry:
        formula = read_formula(entry["expected"], entry["names"].split())
        texts = [entry["expected"], lecture(formula), str(formula)]
    else:
        number = Fraction(entry["expected"])
        texts = [entry["expected"], f"{float(number):,g}", f"{float(number):.4g}"]
        texts += [f"{int(number):,}"] if number.denominator == 1 else []
    return [text for text in texts if len(text) > 2]


def spaceless(text: str) -> str:
    return re.sub(r"\s", "", text)
