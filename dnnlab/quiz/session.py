"""What a student calls in an exercise notebook: `check`, `hint`, `solution`, `progress` and, once, `student`.

None of these raises for anything that is typed: a notebook runs from top to bottom whatever its answers are.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from html import escape
from typing import Any

from .. import records
from ..errors import DnnlabError
from ..notation import lecture
from ..tables import Column, Table
from .bank import TOPICS, find, questions
from .questions import Question, Step
from .verdicts import OPEN, RIGHT, SIGNS, UNREADABLE, WRONG, Verdict

HEADING = "answers"  # in the file of records
WHO = "student"
_LONGEST = 100  # characters of a name or a code


@dataclass(frozen=True)
class Words:
    """Some lines for a student; formulas are set as mathematics."""

    title: str
    steps: tuple[Step, ...]

    def __repr__(self) -> str:
        lines = (f"{step.words} {lecture_or_text(step.value)}".rstrip() for step in self.steps)
        return "\n".join(filter(None, (self.title, *lines)))

    def _repr_html_(self) -> str:
        title = f"<b>{escape(self.title)}</b>" if self.title else ""
        lines = [f"{escape(step.words)} {lecture_or_text(step.value, 'html')}".rstrip() for step in self.steps]
        body = "".join(f"<li>{line}</li>" for line in lines) if len(lines) > 1 else "".join(lines)
        body = f"<ol>{body}</ol>" if len(lines) > 1 else f" {body}"
        return f'<div role="status" class="mathjax_ignore tex2jax_ignore">{title}{body}</div>'


def lecture_or_text(value: object, style: str = "text") -> str:
    """A value of a derivation as the lecture writes it; text stays text."""
    if isinstance(value, str):
        return escape(value) if style == "html" else value
    if hasattr(value, "free_symbols") or type(value) is int:
        return lecture(value, style)
    return escape(str(value)) if style == "html" else str(value)


def student(name: object = ..., code: object = "") -> Words:
    """Say who works here: some numbers in the exercises differ from student to student.

    `name` is the one your lecturer knows; `code` is the personal code, where your course gives you one. With the dots
    left in, the numbers are the same for everybody.
    """
    try:
        if name is ... or (type(name) is str and not name.strip()):
            known = records.read(WHO)
            if not known:
                return _words("No name yet: the numbers are those that everybody without a name gets.")
            return _words(f"The numbers are those of {known.get('name')}.")
        if type(name) is not str or type(code) is not str or max(len(name), len(code)) > _LONGEST:
            return _words(
                f"A name and a code are text of at most {_LONGEST} characters, such as student('Ada', 'k7m2')."
            )
        records.write(WHO, {"name": name.strip(), "code": code.strip()})
    except DnnlabError as error:
        return _words(f"Your name could not be kept: {error}")
    return _words(f"Hello {name.strip()}. From here on the numbers are yours.")


def check(question: object, answer: object = ...) -> Verdict:
    """The verdict on an answer: right, wrong with the likely reason, or not attempted; never the answer itself.

    >>> check("2.1", ...).status
    'not attempted'
    """
    try:
        asked = find(question)
    except DnnlabError as error:
        return Verdict(str(question)[:20] if type(question) is str else "?", UNREADABLE, f"{error}", "unknown-question")
    try:
        record, who = records.read(HEADING), records.read(WHO)
        if answer is ... and asked.prediction:
            answer = records.read("predictions").get(asked.prediction, {}).get("guess", ...)
    except DnnlabError:
        record, who = {}, {}
    verdict = asked.judge(answer, seed_of(who))
    if verdict.status != OPEN:
        try:
            records.write(HEADING, record | {asked.id: _after(record.get(asked.id, {}), verdict)})
        except DnnlabError as error:
            lost = f"{verdict.message} Your progress could not be kept: {error}."
            return replace(verdict, message=lost.strip())
    return verdict


def hint(question: object) -> Words:
    """The next hint on a question; after the last one, they begin again."""
    try:
        asked = find(question)
        record = records.read(HEADING)
        entry = record.get(asked.id, {})
        seen = int(entry.get("hints", 0))
        records.write(HEADING, record | {asked.id: entry | {"hints": seen + 1}})
    except DnnlabError as error:
        return _words(str(error))
    place = seen % len(asked.hints)
    return _words(asked.hints[place], f"Hint {place + 1} of {len(asked.hints)} on {asked.id}:")


def solution(question: object) -> Words:
    """How the answer is derived, once an answer has been tried."""
    try:
        asked = find(question)
        entry = records.read(HEADING).get(asked.id, {})
        seed = seed_of(records.read(WHO))
    except DnnlabError as error:
        return _words(str(error))
    if not entry.get("tries"):
        return _words(
            f"Try first: the solution of {asked.id} opens after your first answer, right or wrong. "
            f'hint("{asked.id}") helps on the way.'
        )
    return Words(f"{asked.id}, {asked.title}:", tuple(asked.solution(asked.given(seed))))


def progress(topic: int | None = None) -> Table:
    """Where one stands, a row for each question of all topics or of one; `.csv()` and `.json()` export it."""
    try:
        record = records.read(HEADING)
    except DnnlabError:
        record = {}
    columns = (Column("question"), Column("title"), Column("level"), Column("status"), Column("tries"), Column("hints"))
    asked = [q for q in questions() if topic is None or q.id.startswith(f"{topic}.")]
    rows = [_row(question, record.get(question.id, {})) for question in asked]
    done = sum(row[3].endswith(RIGHT) for row in rows)
    where = "" if topic is None else f" on {TOPICS[topic].title}"
    return Table(columns, rows, title=f"{done} of {len(rows)} questions{where} answered")


def seed_of(who: Mapping[str, Any]) -> str:
    """What a student's numbers are made from: the personal code, else the name, else nothing."""
    return folded(str(who.get("code") or who.get("name") or ""))


def folded(name: str) -> str:
    """A name or code without what people write differently: capitals, spaces, how accents are stored."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def _after(entry: Mapping[str, Any], verdict: Verdict) -> dict[str, Any]:
    """The record of a question after one more verdict; once right stays right, and no further try is counted."""
    if entry.get("status") == RIGHT:
        return dict(entry)
    tries = int(entry.get("tries", 0)) + (verdict.status != UNREADABLE)
    return {**entry, "status": verdict.status, "note": verdict.note, "tries": tries, "answer": verdict.answer,
            "when": records.now()}  # fmt: skip


def _row(question: Question, entry: Mapping[str, Any]) -> tuple[Any, ...]:
    status = entry.get("status", OPEN)
    if status == UNREADABLE:
        status = OPEN if not entry.get("tries") else WRONG
    return (question.id, question.title, question.level, f"{SIGNS[status]} {status}", entry.get("tries", 0),
            entry.get("hints", 0))  # fmt: skip


def _words(text: str, title: str = "") -> Words:
    return Words(title, (Step(text),))
