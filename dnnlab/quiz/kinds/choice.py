"""A question whose answer is one of a few words, or several of them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ...errors import ReadError, unknown
from ..answers import LONGEST, refuse_type
from ..questions import UNKNOWN, Given, Question, expected, wrong_values
from ..verdicts import Note


@dataclass(frozen=True, kw_only=True, eq=False)
class Choice(Question):
    """`options` are the words to choose from. Where `several` are right, the answer names all of them.

    `expected` gives the option, or a set of them where `several`; a mistake's value likewise.

    >>> question = Choice(id="0.3", title="who waits", level=1, example="'memory'", options=("compute", "memory"),
    ...     expected=lambda given: "memory", hints=(), solution=lambda given: ())
    >>> question.judge("Memory").correct, question.judge("compute").status, question.judge("disk").status
    (True, 'wrong', 'unreadable')
    """

    options: tuple[str, ...]
    several: bool = False

    def read(self, answer: Any, given: Given) -> frozenset[str]:
        words: Iterable[object]
        if type(answer) is str:
            if len(answer) > LONGEST:
                raise ReadError(f"an answer has at most {LONGEST} characters, this one has {len(answer)}")
            words = re.split(r"[,;+]|\band\b", answer, flags=re.IGNORECASE) if self.several else (answer,)
        elif self.several and type(answer) is list:
            words = answer
        else:
            raise refuse_type(answer, f"{'some' if self.several else 'one'} of {', '.join(self.options)}, as text")
        known = {_folded(option): option for option in self.options}
        chosen = set()
        for word in words:
            if type(word) is not str:
                raise refuse_type(word, f"some of {', '.join(self.options)}, as text")
            if not word.strip():
                continue
            if _folded(word) not in known:
                raise unknown("option", word.strip(), self.options)
            chosen.add(known[_folded(word)])
        return frozenset(chosen)

    def fault(self, value: Any, seed: str, key: str) -> Note | None:
        if value == _chosen(expected(self, seed)):
            return None
        for mistake, wrong in wrong_values(self, seed):
            if value == _chosen(wrong):
                return mistake.note()
        if self.several:
            right = len(value & _chosen(expected(self, seed)))
            if right == len(value):
                return Note("option:missing", "All that you name is right, but it is not all there is.")
            if right == len(_chosen(expected(self, seed))):
                return Note("option:extra", "All that is right is there, and something that is not.")
        return UNKNOWN


def _folded(word: str) -> str:
    """A word without what people write differently: capitals, hyphens, underscores, spaces."""
    return re.sub(r"[\s_-]+", "", word).casefold()


def _chosen(value: Any) -> frozenset[str]:
    return frozenset((value,)) if isinstance(value, str) else frozenset(value)
