"""A question whose answer is a formula, written as in the lecture: 'k·2·rs·wh·c'."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sympy import Expr

from ...notation import read_formula
from ...notation.dims import expression
from ..answers import refuse_type
from ..comparing import same
from ..diagnosing import diagnose
from ..questions import UNKNOWN, Given, Question, expected, wrong_values
from ..verdicts import Note


@dataclass(frozen=True, kw_only=True, eq=False)
class Formula(Question):
    """`names` are the symbols that may stand in the answer; text, a number or an expression of the library is read.

    >>> from dnnlab import Conv2d
    >>> question = Formula(id="0.1", title="convolution", level=1, example="'2·k'", names=tuple("nkcrswh"),
    ...     expected=lambda given: Conv2d(n=1).ops, hints=(), solution=lambda given: ())
    >>> question.judge("k·2·rs·wh·c").correct, question.judge("k·rs·wh·c").note
    (True, 'factor:1/2')
    """

    names: tuple[str, ...]

    def read(self, answer: Any, given: Given) -> Expr:
        if type(answer) in (int, float):
            answer = repr(answer)
        if type(answer) is not str:
            raise refuse_type(answer, f"a formula as text, such as {self.example}")
        return read_formula(answer, self.names)

    def fault(self, value: Any, seed: str, key: str) -> Note | None:
        wanted = expression(expected(self, seed))
        if same(value, wanted, key):
            return None
        for mistake, wrong in wrong_values(self, seed):
            if same(value, expression(wrong), key):
                return mistake.note()
        found = diagnose(value, wanted)
        return UNKNOWN if found is None else self.here(found)
