"""Predictions: a guess is written down before the answer is shown, so that one can be wrong and learn from it.

    predict("02.factor", "c")                      # in one cell
    reveal("02.factor", conv.ops / depthwise.ops)  # some cells later: the answer, and how far off the guess was

Both keep a record in a small file, `dnnlab-progress.json` in the folder of the notebook (or where the environment's
DNNLAB_PROGRESS says). A guess that is changed after its answer was shown is recorded as such.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from html import escape
from numbers import Real
from typing import Any

import sympy

from . import records
from .errors import DnnlabError, quote
from .notation import lecture, plain, read_formula
from .quantities import show
from .tables import Column, Table

HEADING = "predictions"  # in the file of records
#: A number within this factor of the answer counts as right: nobody is asked for digits.
NEAR = 1.25
#: Verdicts that count as right where several answers are asked for.
RIGHT = ("right", "close enough")
_LONGEST = 200


@dataclass(frozen=True)
class Prediction:
    """A guess as it was recorded, or None, and the answer once it is shown; `verdict` compares the two."""

    key: str
    guess: str | None
    answer: str | None = None
    verdict: str = ""
    late: bool = False

    def __repr__(self) -> str:
        if self.answer is None:
            if self.guess is None:
                return "Not predicted yet: put your guess in place of the dots, and run the cell again."
            return f"Recorded: {self.guess}." + (" The answer was already shown." if self.late else " You will see.")
        late = ", after the answer was shown" if self.late else ""
        said = "You did not predict." if self.guess is None else f"You predicted {self.guess}{late}: {self.verdict}."
        return f"{self.answer}. {said}"

    def _repr_html_(self) -> str:
        return f'<p role="status">{escape(repr(self))}</p>'


def predict(key: str, guess: object = ...) -> Prediction:
    """Record a guess (a number, a formula or an option as text, or several in a tuple); `...` records nothing.

    Raises `DnnlabError` for a guess that is none of these or longer than 200 characters.

    >>> predict("doctest", ...)
    Not predicted yet: put your guess in place of the dots, and run the cell again.
    """
    _named(key)
    if guess is ...:
        entry = records.read(HEADING).get(key, {})
        return Prediction(key, entry.get("guess"), late=entry.get("late", False))
    text = _written(guess)
    record = records.read(HEADING)
    before = record.get(key, {})
    late = ("revealed" in before and before.get("guess") != text) or before.get("late", False)
    record[key] = before | {"guess": text, "predicted": records.now(), "late": late}
    records.write(HEADING, record)
    return Prediction(key, text, late=late)


def reveal(key: str, answer: object, unit: str = "") -> Prediction:
    """Show the answer beside the guess that was recorded under this key. `answer` is a number (with a `unit`), a
    formula, an option as text, or several in a tuple.

    A number counts as right within a factor of 1.25, a formula when it is equal, a text when it is the same.

    >>> reveal("doctest", 345)
    345. You did not predict.
    """
    _named(key)
    record = records.read(HEADING)
    entry = record.get(key, {})
    guess = entry.get("guess")
    verdict = "" if guess is None else _compare(guess, answer, unit)
    record[key] = entry | {"revealed": entry.get("revealed", records.now()), "verdict": verdict}
    with suppress(DnnlabError):  # where nothing can be written, the answer is shown all the same
        records.write(HEADING, record)
    return Prediction(key, guess, _shown(answer, unit), verdict, entry.get("late", False))


def predictions() -> Table:
    """Every prediction of this folder: the guess, how it compared, and when it was made."""
    columns = (Column("key", "prediction"), Column("guess"), Column("verdict"), Column("predicted", "when"))
    known = sorted(records.read(HEADING).items())
    rows = [(key, *(entry.get(c.key) or None for c in columns[1:])) for key, entry in known]
    return Table(columns, rows, title="Your predictions")


# -- comparing -------------------------------------------------------------------------------------------


def _compare(guess: str, answer: object, unit: str) -> str:
    """In words, how a recorded guess compares with the answer."""
    if isinstance(answer, tuple):
        parts = [part.strip() for part in guess.strip("()").split(",") if part.strip()]
        if len(parts) != len(answer):
            return f"{len(parts)} parts, where {len(answer)} are asked for"
        right = sum(_compare(part, one, unit) in RIGHT for part, one in zip(parts, answer, strict=True))
        return "right" if right == len(answer) else f"{right} of {len(answer)} right"
    if isinstance(answer, str):
        return "right" if guess.casefold().strip() == answer.casefold().strip() else "not so"
    try:
        said = read_formula(guess)
    except DnnlabError:
        return "this cannot be read as a number or a formula"
    wanted = sympy.sympify(answer)
    ratio = sympy.cancel(said / wanted) if wanted != 0 else said
    if ratio == 1 or said == wanted:
        return "right"
    if not ratio.is_number or not ratio.is_real:
        return "not equal"
    if wanted == 0 or ratio <= 0:
        return "far off"
    if 1 / NEAR <= ratio <= NEAR and isinstance(answer, Real):
        return "close enough"
    times = ratio if ratio > 1 else 1 / ratio
    return f"{float(times):.3g} times too {'high' if ratio > 1 else 'low'}"


def _shown(answer: object, unit: str) -> str:
    if isinstance(answer, tuple):
        return ", ".join(_shown(one, unit) for one in answer)
    if isinstance(answer, str):
        return answer
    if unit:
        return show(answer, unit)
    return plain(answer) if isinstance(answer, Real) else lecture(answer)


def _written(guess: object) -> str:
    parts: tuple[Any, ...] = guess if isinstance(guess, tuple) else (guess,)
    if any(isinstance(part, bool) or not isinstance(part, Real | str | sympy.Expr) for part in parts) or not parts:
        raise DnnlabError(f"a prediction is a number or a text, such as 345 or 'k*c', not {quote(guess)}")
    if any(isinstance(part, int) and abs(part) > 10**_LONGEST for part in parts):
        raise DnnlabError(f"a prediction has at most {_LONGEST} digits")
    text = ", ".join(str(part) for part in parts)
    if len(text) > _LONGEST:
        raise DnnlabError(f"a prediction has at most {_LONGEST} characters, this one has {len(text)}")
    return text


def _named(key: object) -> None:
    if not isinstance(key, str) or not key.strip() or len(key) > _LONGEST:
        raise DnnlabError(f"a prediction needs the name it stands under in the lecture, not {quote(key)}")
