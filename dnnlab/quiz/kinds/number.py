"""A question whose answer is a number with its unit: '3.2 ms', '25.6 M', '2·64·3 B'."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from ...errors import ReadError, quote
from ...notation import read_formula
from ...quantities import read_quantity
from ..answers import LONGEST, refuse_type
from ..diagnosing import diagnose_number
from ..questions import UNKNOWN, Given, Question, expected, wrong_values
from ..verdicts import Note

_PARTS = re.compile(r"(.*?[0-9.)⌉⌋])\s*([^0-9.()⌈⌉⌊⌋\s+*/^·×⋅∙−-][^0-9.()]*)?", re.DOTALL)

#: A letter that stands where a factor does: 'a^2', '3*a'. A function is followed by its bracket.
_NAME = re.compile(r"(?:^|(?<=[-+*/^·×(]))\s*[A-Za-z]\w*(?=\s*(?:[-+*/^·×)]|$))")


@dataclass(frozen=True, kw_only=True, eq=False)
class Number(Question):
    """`unit` is that of `expected`, "" for a plain count or ratio; an answer may be worked out as it is typed.

    An answer is right within the relative `tolerance`, so that three digits are enough.

    >>> question = Number(id="0.2", title="time to load", level=1, example="'3.2 ms'", unit="s",
    ...     expected=lambda given: Fraction(1, 40), hints=(), solution=lambda given: ())
    >>> question.judge("25 ms").correct, question.judge("100/4 ms").correct, question.judge("50 ms").note
    (True, True, 'factor:2')
    >>> question.judge(0.025).status  # 25 what?
    'unreadable'
    """

    unit: str = ""
    tolerance: Fraction = Fraction(1, 100)

    def read(self, answer: Any, given: Given) -> Fraction:
        if type(answer) in (int, float):
            if self.unit:
                raise ReadError(f"a number needs its unit here; write it as text, such as {self.example}")
            return _exact(read_quantity(answer, ""))
        if type(answer) is not str:
            raise refuse_type(answer, f"a number, such as {self.example}")
        if len(answer) > LONGEST:
            raise ReadError(f"an answer has at most {LONGEST} characters, this one has {len(answer)}")
        if not self.unit and (name := _NAME.search(answer)):
            why = f"{quote(answer)} has the name {name[0]!r} in it; put its number there, such as {self.example}"
            raise ReadError(why)
        parts = _PARTS.fullmatch(answer.strip())
        if parts is None:
            raise ReadError(f"{quote(answer)} is not a number; write one such as {self.example}")
        number, suffix = parts[1], (parts[2] or "").strip()
        if self.unit and not suffix:
            raise ReadError(f"{quote(answer)} needs its unit; write it such as {self.example}")
        share = not self.unit and suffix == "%"
        try:
            factor = Fraction(1, 100) if share else _exact(read_quantity(f"1 {suffix}", self.unit))
        except ReadError as error:  # it quotes the unit with a number that nobody typed
            if not self.unit:
                why = f"{quote(answer)} has a unit, and none is asked for; write it such as {self.example}"
                raise ReadError(why) from None
            raise ReadError(str(error).replace(quote(f"1 {suffix}"), quote(answer))) from None
        return _value(number, answer) * factor

    def fault(self, value: Any, seed: str, key: str) -> Note | None:
        wanted = _exact(expected(self, seed))
        if self._near(value, wanted):
            return None
        for mistake, wrong in wrong_values(self, seed):
            if self._near(value, _exact(wrong)):
                return mistake.note()
        numbers = {name: _exact(n) for name, n in self.given(seed).items() if isinstance(n, int | float | Fraction)}
        found = diagnose_number(value, wanted, numbers, self.tolerance)
        return UNKNOWN if found is None else self.here(found)

    def _near(self, value: Fraction, wanted: Fraction) -> bool:
        return abs(value - wanted) <= abs(wanted) * self.tolerance


def _exact(value: Any) -> Fraction:
    return Fraction(value) if isinstance(value, int | float | Fraction) else Fraction(int(value.p), int(value.q))


def _value(text: str, answer: str) -> Fraction:
    """A number, or arithmetic on numbers, exactly."""
    value = read_formula(text, ())
    if not value.is_Rational:
        value = value.evalf(30)
        if not value.is_Float:
            raise ReadError(f"{quote(answer)} is not a number that can be worked out")
        return Fraction(str(value))
    return _exact(value)
