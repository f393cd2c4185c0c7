"""A question: the numbers of one student, how an answer is read, and what is said of it.

The answer that is expected is never stored: the library computes it from the numbers that the student was given.
A kind of question (`kinds`) says how an answer is read and when it is right; all else is the same for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random
from typing import Any

from ..errors import DnnlabError
from .answers import data
from .verdicts import OPEN, RIGHT, UNREADABLE, WRONG, Note, Verdict

#: The numbers of one student by name, in the order in which they are shown.
Given = Mapping[str, Any]


@dataclass(frozen=True)
class Step:
    """One step of a derivation: words, and the formula or number they lead to ("" for none)."""

    words: str
    value: object = ""


@dataclass(frozen=True)
class Mistake:
    """A wrong answer that is worth a note of its own: `value` computes it, with the library, from the given numbers."""

    id: str
    value: Callable[[Given], Any]
    message: str
    see: str = ""

    def note(self) -> Note:
        return Note(self.id, self.message, self.see)


def nothing(random: Random) -> Given:
    """The numbers of a question that is the same for everybody."""
    return {}


@dataclass(frozen=True, kw_only=True, eq=False)
class Question:
    """What all kinds share. `read` and `fault` are a kind's own.

    `id` is "2.1", the first of topic 2; `level` goes from 1, a warm-up, to 4, where a specialist has to think;
    `example` shows how an answer is written; `expected` computes the answer from the given numbers; `hints` lead there
    step by step and `solution` all the way; `insight` is what to take away once it is right. `notes` names the rows of
    the lecture notes that are examined, as docs/lecture-notes.md does. With a `prediction`, the key of one in a
    lecture, an answer that is left open is the guess recorded there.
    """

    id: str
    title: str
    level: int
    example: str
    expected: Callable[[Given], Any]
    hints: tuple[str, ...]
    solution: Callable[[Given], Iterable[Step]]
    insight: str = ""
    mistakes: tuple[Mistake, ...] = ()
    notes: tuple[str, ...] = ()
    prediction: str = ""
    draw: Callable[[Random], Given] = nothing

    def given(self, seed: str = "") -> Given:
        """The numbers of one student: the same for the same seed, everywhere."""
        return self.draw(Random(f"{seed}/{self.id}"))

    def data(self, answer: object, given: Given) -> Any:
        """The answer as JSON holds it: what is judged, and recorded. Raises ReadError where it has no such form."""
        return data(answer)

    def read(self, answer: Any, given: Given) -> Any:
        """What `data` made of an answer as a value. Raises ReadError, saying how to write it, where it is none."""
        raise NotImplementedError

    def fault(self, value: Any, seed: str, key: str) -> Note | None:
        """What is wrong with a value; None where it is right."""
        raise NotImplementedError

    def here(self, note: Note) -> Note:
        """A note of the general rules, sent where this question's own mistakes are: to its lecture, not to a later one.

        A rule does not know what a student has heard; the section that it names is the one that treats it best.
        """
        lecture = f"{self.id.partition('.')[0]:0>2}_"
        return replace(note, see=next((m.see for m in self.mistakes if m.see.startswith(lecture)), note.see))

    def judge(self, answer: object = ..., seed: str = "", key: str = "") -> Verdict:
        """The verdict on an answer. `seed` makes the student's numbers; `key` varies where formulas are compared.

        Whatever the answer is, this raises nothing, and runs nothing that the answer holds.
        """
        given = self.given(seed)
        told = ", ".join(f"{name} = {value}" for name, value in given.items())
        told = f"Your numbers: {told}." if told else ""
        if (
            answer is ...
            or answer is None
            or (type(answer) is str and len(answer) < 100 and answer.strip() in ("", "...", "…"))
        ):
            say = f"Put your answer in place of the dots, such as {self.example}, and run the cell again."
            return Verdict(self.id, OPEN, say, given=told)
        record = None
        try:
            record = self.data(answer, given)
            value = self.read(record, given)
        except DnnlabError as error:
            message = f"This cannot be read as an answer: {error}."
            return Verdict(self.id, UNREADABLE, message, "unreadable", given=told, answer=record)
        note = self.fault(value, seed, key)
        if note is None:
            return Verdict(self.id, RIGHT, self.insight, given=told, answer=record)
        return Verdict(self.id, WRONG, note.message, note.id, note.see, told, record)


def expected(question: Question, seed: str) -> Any:
    """The expected answer of one student, computed once."""
    return _expected(question, seed if question.draw is not nothing else "")


@lru_cache(maxsize=1024)
def _expected(question: Question, seed: str) -> Any:
    return question.expected(question.given(seed))


def wrong_values(question: Question, seed: str) -> tuple[tuple[Mistake, Any], ...]:
    """The authored mistakes of one student with their values, computed once."""
    return _wrong_values(question, seed if question.draw is not nothing else "")


@lru_cache(maxsize=1024)
def _wrong_values(question: Question, seed: str) -> tuple[tuple[Mistake, Any], ...]:
    given = question.given(seed)
    return tuple((mistake, mistake.value(given)) for mistake in question.mistakes)


#: When neither a question's own mistakes nor the general rules know what went wrong.
UNKNOWN = Note("wrong", "Not yet: this differs, and not in one of the usual ways. The next hint may help.")
