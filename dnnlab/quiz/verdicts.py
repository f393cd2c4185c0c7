"""What the kit says of an answer: right, or wrong with the likely reason, never the answer itself."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any

RIGHT, WRONG, OPEN, UNREADABLE = "right", "wrong", "not attempted", "unreadable"
#: A sign beside the word, so that no verdict depends on colour.
SIGNS = {RIGHT: "✓", WRONG: "✗", OPEN: "…", UNREADABLE: "?"}
#: Under this type a verdict carries the answer itself, so that a notebook can be graded without being run.
ANSWER_TYPE = "application/vnd.dnnlab.answer+json"


@dataclass(frozen=True)
class Note:
    """What an answer got wrong: a stable `id` (`factor:2`, `missing:c`), a sentence for the student, and the place
    of the lectures that treats it, as "02_layer_costs/Six letters" ("" for none)."""

    id: str
    message: str
    see: str = ""


@dataclass(frozen=True)
class Verdict:
    """The verdict on one answer. It is true where the answer is right.

    `status` is "right", "wrong", "not attempted" or "unreadable" (which does not count as a try); `note` and `see`
    are those of a `Note`; `given` are the numbers of this student in words; `answer` is the answer as JSON holds it.
    """

    question: str
    status: str
    message: str
    note: str = ""
    see: str = ""
    given: str = ""
    answer: Any = None

    @property
    def correct(self) -> bool:
        return self.status == RIGHT

    def __bool__(self) -> bool:
        return self.correct

    def lines(self) -> list[str]:
        """What follows the status, a line for each thing: the message, the numbers, where to look again."""
        lecture, _, section = self.see.partition("/")
        see = f"Look again: lecture {lecture}, “{section}”." if section else ""
        return [line for line in (self.message, self.given, see) if line]

    def _head(self) -> str:
        return f"{SIGNS[self.status]} {self.question}: {self.status}."

    def __repr__(self) -> str:
        return "\n".join([f"{self._head()} {self.message}".rstrip(), *self.lines()[bool(self.message) :]])

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        # What was typed may hold dollars, which are not mathematics here.
        start = '<p role="status" class="mathjax_ignore tex2jax_ignore">'
        body = "<br>".join(map(escape, self.lines()))
        bundle: dict[str, Any] = {
            "text/plain": repr(self),
            "text/html": f"{start}<b>{escape(self._head())}</b> {body}</p>",
        }
        if self.status != OPEN:
            bundle[ANSWER_TYPE] = {"question": self.question, "answer": self.answer}
        return bundle
