"""Predictions: recorded before the answer, compared with it, kept in a file that is never lost."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnnlab import Conv2d, DepthwiseConv2d, DnnlabError
from dnnlab.predictions import predict, predictions, reveal

UNREADABLE = "this cannot be read as a number or a formula"


@pytest.fixture(autouse=True)
def progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "progress.json"
    monkeypatch.setenv("DNNLAB_PROGRESS", str(path))
    return path


def test_a_guess_is_recorded_before_and_compared_after() -> None:
    assert "Not predicted yet" in repr(predict("02.factor", ...))
    assert repr(predict("02.factor", "c")) == "Recorded: c. You will see."
    assert "Recorded: c" in repr(predict("02.factor", ...))  # the cell may be run again with its dots
    shown = reveal("02.factor", Conv2d().ops / DepthwiseConv2d().ops)
    assert repr(shown) == "c. You predicted c: right."
    (row,) = predictions().records()
    assert (row["key"], row["guess"], row["verdict"]) == ("02.factor", "c", "right") and row["predicted"]


def test_without_a_guess_the_answer_is_shown_all_the_same() -> None:
    assert repr(reveal("04", 345)) == "345. You did not predict."
    assert "after the answer was shown" not in repr(reveal("04", 345))


def test_a_guess_after_the_answer_is_told_as_one() -> None:
    predict("a", 3)
    reveal("a", 12)
    predict("a", 3)  # the same cell run again is no change
    assert "after the answer" not in repr(reveal("a", 12))
    assert "already shown" in repr(predict("a", 12))
    assert repr(reveal("a", 12)) == "12. You predicted 12, after the answer was shown: right."
    reveal("b", 1)
    assert predict("b", 1).late


@pytest.mark.parametrize(
    ("guess", "answer", "verdict"),
    [
        (300, 345, "close enough"), ("690", 345, "2 times too high"), (3.45, 345, "100 times too low"),
        ("k*c", "k*c", "right"), ("memory", "Memory", "right"), ("compute", "memory", "not so"),
        (-3, 345, "far off"), ("c*k", Conv2d().parameters, "not equal"), ("rs*k*c", Conv2d().parameters, "not equal"),
        ("k*r*s*c", Conv2d().parameters, "right"), ("2*k*r*s*c", Conv2d().parameters, "2 times too high"),
        (("yes", "no"), ("yes", "yes"), "1 of 2 right"), (("yes",), ("yes", "no"), "1 parts, where 2 are asked for"),
        ((1.2, 1.9), (1.2, 1.74), "right"), ((1.2, 3.0), (1.2, 1.74), "1 of 2 right"),
        (("yes", "no"), ("yes", "no"), "right"), ("__import__('os')", 3, UNREADABLE),
        (0, 0, "right"), (5, 0, "far off"), ("1/3", Fraction(1, 3), "right"), (Fraction(1, 3), 0.3333, "close enough"),
        (10**190, 1, UNREADABLE),
    ],
)  # fmt: skip
def test_verdicts(guess: Any, answer: Any, verdict: str) -> None:
    predict("key", guess)
    assert reveal("key", answer).verdict == verdict


@given(st.text(max_size=60), st.integers(1, 10**9))
def test_nothing_a_student_types_breaks_the_reveal(text: str, answer: int) -> None:
    predict("typed", text)
    shown = reveal("typed", answer)
    assert shown.verdict and "<script" not in shown._repr_html_()


@pytest.mark.parametrize(
    "guess", [None, True, [1], {}, (), object(), "x" * 201, (1, None), pytest.param(10**5000, id="many digits")]
)
def test_guesses_that_are_none(guess: Any) -> None:
    with pytest.raises(DnnlabError, match="a prediction"):
        predict("key", guess)


@pytest.mark.parametrize("key", ["", " ", 3, None, "k" * 201])
def test_keys_that_are_none(key: Any) -> None:
    with pytest.raises(DnnlabError, match="needs the name"):
        predict(key, 1)


def test_html_is_escaped() -> None:
    assert "<b>" not in predict("key", "<b>")._repr_html_()


def test_units() -> None:
    predict("key", 3.35e12)
    assert repr(reveal("key", 3.35e12, "B/s")).startswith("3.35 TB/s. You predicted")


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"predictions": 3}', "\x00"])
def test_a_broken_file_is_kept_aside(progress: Path, content: str) -> None:
    progress.write_text(content)
    predict("key", 3)
    assert progress.with_suffix(".broken.json").read_text() == content
    assert json.loads(progress.read_text())["predictions"]["key"]["guess"] == "3"


def test_what_others_keep_in_the_file_stays(progress: Path) -> None:
    progress.write_text('{"answers": {"2.1": "k"}}')
    predict("key", 3)
    assert json.loads(progress.read_text())["answers"] == {"2.1": "k"}


def test_a_folder_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DNNLAB_PROGRESS", str(tmp_path / "nowhere" / "x.json"))
    with pytest.raises(DnnlabError, match="set DNNLAB_PROGRESS"):
        predict("key", 3)
    assert repr(reveal("key", 3)) == "3. You did not predict."  # the answer is not held back
