"""A question whose answer is a setting of an explorer: where its controls have to stand."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import ExtentError, ReadError, quote, unknown
from ...quantities import read_quantity, show
from ..answers import LONGEST, refuse_type
from ..questions import Given, Question, wrong_values
from ..verdicts import Note

#: What a control may say: whole numbers, a few words, or a quantity in a unit.
Control = range | tuple[str, ...] | str


@dataclass(frozen=True, kw_only=True, eq=False)
class Setting(Question):
    """The panel of an `explorer`, or its setting in words, reaches the `goal`.

    `controls` are those to be moved, with what each may say: range(1, 257), ("fp16", "fp32"), or a unit such as
    "B/s". `start` names the others and where they stay. `goal` gives what is wrong with a setting, of all of these, or
    None; `expected` is one that reaches it, a mapping, and so are the values of mistakes.

    >>> question = Setting(id="0.5", title="big enough", level=1, example="'batch = 8'", explorer="roofline",
    ...     controls={"batch": range(1, 257)}, start=lambda given: {"device": "t4"}, hints=(),
    ...     goal=lambda setting, given: None if setting["batch"] == 64 else Note("small", "Not yet."),
    ...     expected=lambda given: {"batch": 64}, solution=lambda given: ())
    >>> [question.judge(a).status for a in (64, "batch=64", {"batch": 64, "device": "t4"}, "batch = 8", "batch = 0")]
    ['right', 'right', 'right', 'wrong', 'unreadable']
    """

    explorer: str
    controls: Mapping[str, Control]
    goal: Callable[[Mapping[str, Any], Given], Note | None]
    start: Callable[[Given], Mapping[str, Any]] = lambda given: {}
    #: The units of those controls in `start` that have one.
    units: Mapping[str, str] = field(default_factory=dict)

    def data(self, answer: object, given: Given) -> Any:
        panels = sys.modules.get("dnnlab.explorers.panel")  # who has a panel has imported it
        if panels is not None and type(answer) is panels.Panel:
            state = answer.state  # type: ignore[attr-defined]
            if type(state) is not sys.modules[f"dnnlab.explorers.{self.explorer}"].State:
                raise ReadError(f"this is the panel of another explorer; the question is about {self.explorer}")
            answer = {name: getattr(state, name) for name in (*self.start(given), *self.controls)}
        return super().data(answer, given)

    def read(self, answer: Any, given: Given) -> dict[str, Any]:
        start = dict(self.start(given))
        said: dict[str, Any] = {}
        known = {name.casefold(): name for name in (*self.controls, *start)}
        for typed, value in self._named(answer).items():
            name = known.get(str(typed).casefold(), "")
            if not name:
                raise unknown("control", typed, (*self.controls, *start))
            if name in self.controls:
                value = self._value(name, value)
            elif name in self.units:
                value = read_quantity(value, self.units[name])
            said[name] = value
        if missing := [name for name in self.controls if name not in said]:
            raise ReadError(f"say where {', '.join(missing)} stands, such as {self.example}")
        return start | said

    def _named(self, answer: Any) -> dict[str, Any]:
        """Where each control stands, by name; a single value stands for the only control there is to move."""
        if type(answer) is dict:
            return answer
        if type(answer) is str and len(answer) > LONGEST:
            raise ReadError(f"an answer has at most {LONGEST} characters, this one has {len(answer)}")
        if type(answer) is str and re.search(r"[=:]", answer):
            parts = [part for part in re.split(r"[,;\n]", answer.strip(" {}()")) if part.strip()]
            pairs = [re.split(r"[=:]", part, maxsplit=1) for part in parts]
            if any(len(pair) != 2 for pair in pairs):
                raise ReadError(f"{quote(answer)} is no setting; write it such as {self.example}")
            return {name.strip(" '\""): value.strip(" '\"") for name, value in pairs}
        if type(answer) in (str, int, float) and len(self.controls) == 1:
            return {next(iter(self.controls)): answer}
        raise refuse_type(answer, f"the explorer's panel, or where its controls stand, such as {self.example}")

    def _value(self, name: str, value: Any) -> Any:
        allowed = self.controls[name]
        if isinstance(allowed, str):
            return read_quantity(value, allowed)
        if isinstance(allowed, tuple):
            folded = {option.casefold(): option for option in allowed}
            if str(value).casefold() not in folded:
                raise unknown(name, value, allowed)
            return folded[str(value).casefold()]
        try:
            # A control of per cents may be told with its sign.
            number = read_quantity(value.removesuffix("%") if type(value) is str else value, "")
        except ReadError:
            number = allowed.start - 1
        if number not in allowed:
            wanted = f"a whole number from {allowed[0]} to {allowed[-1]}"
            raise ExtentError(f"{name} is {wanted} here, not {quote(value)}")
        return number

    def fault(self, value: Any, seed: str, key: str) -> Note | None:
        given = self.given(seed)
        start = self.start(given)
        for name, wanted in start.items():
            if str(value[name]).casefold() != str(wanted).casefold():
                there, here = (_shown(number, self.units.get(name, "")) for number in (wanted, value[name]))
                return Note(f"moved:{name}", f"Leave {name} at {there} here; this setting has {here}.")
        wrong = self.goal(value, given)
        if wrong is None:
            return None
        for mistake, other in wrong_values(self, seed):
            if all(value[name] == number for name, number in other.items()):
                return mistake.note()
        return wrong


def _shown(value: Any, unit: str) -> str:
    """Where a control stands, as a screen shows it."""
    return show(value, unit, binary=unit == "B") if unit and isinstance(value, int | float) else quote(value).strip("'")
