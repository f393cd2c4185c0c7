"""A question whose answer is a checkpointing plan: which activations to keep. The simulator decides."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

from ... import checkpointing as room
from ...checkpointing import Chain, Simulation, simulate
from ...checkpointing.chains import Amount
from ...checkpointing.nesting import flat, frozen
from ...errors import ReadError, quote
from ...quantities import read_quantity, show
from ...reader import read_tree
from ..answers import LONGEST, refuse_type
from ..questions import UNKNOWN, Given, Question, expected, wrong_values
from ..verdicts import Note

_NESTED = re.compile(r"Plan\.nested\((.*)\)", re.DOTALL)
_READ = re.compile(r"Plan\.read\(['\"]([^'\"]*)['\"](?:,\s*[0-9]{1,4})?\)")
_SCHEDULE = re.compile(r"(?:(?:Fc|Fe|D|B)[0-9]+|L)(?:[\s,;]+(?:(?:Fc|Fe|D|B)[0-9]+|L))+")
_NAMES = re.compile(r"[^\s,;]+(?:[\s,;]+[^\s,;]+)*")


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan(Question):
    """A plan for a `chain` that fits a `budget` of memory is right if it takes no longer than the plan that is
    `expected`, or `slack` of its time more.

    A plan is written as a list of the outputs that are kept, [4, 8]: each stretch between two is run again, but a
    single stage and the last stretch keep their records, as `keeping` has it; or as nested segments, or as a schedule.
    `unit` is that of the chain's sizes, "" for outputs.

    >>> question = Plan(id="0.4", title="half of it", level=1, example="[2, 9]", budget=lambda given: 9,
    ...     chain=lambda given: Chain.equal(12, backward=2), hints=(), solution=lambda given: (),
    ...     expected=lambda given: room.best_plan(Chain.equal(12, backward=2), 9))
    >>> [question.judge(plan).note for plan in ([1, 2], [4, 8], [3, 6, 9])]
    ['over-budget', '', 'slower']
    """

    chain: Callable[[Given], Chain]
    budget: Callable[[Given], Amount | str]
    slack: Fraction = Fraction(0)
    unit: str = ""

    def data(self, answer: object, given: Given) -> Any:
        if type(answer) is room.Plan:
            answer = answer.text
        return super().data(answer, given)

    def read(self, answer: Any, given: Given) -> Simulation:
        chain = _chain(self, tuple(given.items()))
        return simulate(chain, read_plan(answer, chain.stages))

    def fault(self, value: Any, seed: str, key: str) -> Note | None:
        given, best = self.given(seed), expected(self, seed)
        limit = self._limit(given)
        wanted = Fraction(simulate(value.chain, best).time) * (1 + self.slack)
        if value.peak <= limit and Fraction(value.time) <= wanted:
            return None
        for mistake, wrong in wrong_values(self, seed):
            if value.plan == wrong:
                return mistake.note()
        if value.peak > limit:
            fullest = max(value.trace, key=lambda step: step.during)
            place = value.trace.index(fullest) + 1
            return Note(
                "over-budget",
                f"This plan needs {self._shown(value.peak)}, {self._shown(Fraction(value.peak) - limit)} more than "
                f"there is. Its fullest moment is {fullest.operation}, operation {place} of {len(value.trace)}: what "
                "is alive then, and does all of it have to be?",
                "07_checkpointing/Segments",
            )
        if Fraction(value.time) > wanted:
            return Note(
                "slower",
                f"It fits, with {self._shown(value.peak)}, and runs {_count(value.plan.extra_forwards, 'forward')} "
                "again. Another plan within the budget takes less time.",
                "07_checkpointing/Segments within segments",
            )
        return UNKNOWN

    def _limit(self, given: Given) -> Fraction:
        budget = self.budget(given)
        return Fraction(read_quantity(budget, self.unit) if isinstance(budget, str) else budget)

    def _shown(self, size: Amount) -> str:
        return show(size, self.unit) if self.unit else _count(size, "output")


@lru_cache(maxsize=256)
def _chain(question: Plan, given: tuple[tuple[str, Any], ...]) -> Chain:
    """The chain of a question, made once."""
    return question.chain(dict(given))


def read_plan(answer: Any, stages: int) -> room.Plan:
    """A plan of a chain from what somebody typed: kept outputs, nested segments, or a schedule.

    >>> read_plan("[2, 4]", 6), read_plan("x2 x4", 6) == read_plan(((0, 1), (2, 3), 4, 5), 6)
    (Plan.nested(((0, 1), (2, 3), 4, 5)), True)
    """
    if type(answer) is str:
        text = answer.strip()
        if inside := _READ.fullmatch(text):
            text = inside[1].strip()
        if _SCHEDULE.fullmatch(text):
            return _schedule(re.split(r"[\s,;]+", text), stages)
        inside = _NESTED.fullmatch(text)
        text = inside[1] if inside else text
        if "(" in text or "[" in text:
            answer = _listed(text)
        elif _NAMES.fullmatch(text):
            answer = re.split(r"[\s,;]+", text)
        else:
            raise ReadError(f"{quote(text)} is no plan; write the outputs that are kept, such as [4, 8]")
    if type(answer) is int:
        answer = [answer]
    if type(answer) not in (list, tuple):
        raise refuse_type(answer, "a plan such as [4, 8], the outputs that are kept")
    if answer and all(type(part) is str and _SCHEDULE.fullmatch(f"L {part}") for part in answer):
        return _schedule(answer, stages)
    if any(type(part) in (list, tuple) for part in answer) or answer == list(range(stages)):
        if sum(1 for _ in flat(frozen(answer))) != stages:
            raise ReadError(f"nested segments name all {stages} stages, 0 to {stages - 1}, in order and each once")
        return room.Plan.nested(answer)
    marks = [_mark(part) for part in answer]
    nested = room.keeping(stages, marks).segments or ()
    # A single stage between two kept outputs has nothing to run again for: its record stays.
    return room.Plan.nested(part[0] if type(part) is tuple and len(part) == 1 else part for part in nested)


def _schedule(words: Iterable[str], stages: int) -> room.Plan:
    operations = list(words)
    if len(operations) > 2 * LONGEST:
        raise ReadError(f"a schedule has at most {2 * LONGEST} operations here, this one has {len(operations)}")
    return room.Plan.read(operations, stages)


def _mark(part: Any) -> int:
    """The number of a kept output: 4, "4" or "x4"."""
    match = re.fullmatch(r"x?_?([0-9]{1,4})", part.strip()) if type(part) is str else None
    if match is None and type(part) is not int:
        raise ReadError(f"{quote(part)} is no output; name those that are kept by their numbers, such as [4, 8]")
    return int(match[1]) if match else part


def _listed(text: str) -> list[Any]:
    """Nested lists or tuples of whole numbers and names, from text."""

    def value(node: ast.AST) -> Any:
        if isinstance(node, ast.List | ast.Tuple):
            return [value(part) for part in node.elts]
        if isinstance(node, ast.Name):
            return _mark(node.id)
        if isinstance(node, ast.Constant) and type(node.value) in (int, str):
            return _mark(node.value)
        raise ReadError(f"{quote(text)} is no plan: it is made of whole numbers, brackets and commas")

    tree = read_tree(text, "eval")
    assert isinstance(tree, ast.Expression)
    found = value(tree.body)
    return found if isinstance(found, list) else [found]


def _count(number: Amount, what: str) -> str:
    return f"{float(number):g} {what}{'' if number == 1 else 's'}"
