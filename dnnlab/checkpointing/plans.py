"""Plans: which forwards keep a record, which are run again, and when each tensor is freed.

A plan is a flat schedule of operations. Most plans can also be written as nested segments, as a program with
nested `torch.utils.checkpoint` calls would be: `((0, 1, (2, 3)), 4, 5)` records stages 4 and 5, and wraps stages
0 to 3 in a checkpoint, in which 2 and 3 are wrapped once more.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from html import escape
from typing import Self

from ..errors import DnnlabError, ReadError, quote
from .nesting import KINDS, Operation, Segments, ends, expanded, flat, frozen, is_count, recovered, written

__all__ = ["Operation", "Plan", "Segments"]

_WORD = re.compile(r"(Fc|Fe|D|B)([0-9]{1,9})|L")
_WIDEST = 40  # stages whose nesting fits a picture


@dataclass(frozen=True, repr=False)
class Plan:
    """A schedule for a chain of `stages` stages and a loss. Make one with `Plan.nested`, `Plan.read` or a family.

    `Fc i` runs stage i and keeps its output x_{i+1}; `Fe i` runs it and keeps its record xb_{i+1}; `D j` frees
    x_j or xb_j; `L` makes the gradient y_L; `B i` makes y_i and frees xb_{i+1} and y_{i+1}. `segments` is the
    same plan as nested segments, or None where it has no such form.

    >>> plan = Plan.nested(((0, 1), 2))
    >>> plan
    Plan.nested(((0, 1), 2))
    >>> plan.text
    'Fc0 Fc1 D1 Fe2 L B2 D2 Fe0 Fe1 B1 B0'
    >>> Plan.read(plan.text) == plan, plan.forwards
    (True, 5)
    """

    stages: int
    operations: tuple[Operation, ...]
    segments: Segments | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not is_count(self.stages) or self.stages < 1:
            raise DnnlabError(f"a plan needs a whole number of stages, at least 1, not {quote(self.stages)}")
        object.__setattr__(self, "operations", tuple(map(_operation, self.operations)))
        for place, (kind, stage) in enumerate(self.operations):
            last = self.stages - (kind != "D")
            if stage is not None and not 0 <= stage <= last:
                raise DnnlabError(
                    f"operation {place} of the plan is {kind}{stage}, but a chain of {self.stages} stages "
                    f"has {kind}0 to {kind}{last}"
                )

    @classmethod
    def read(cls, schedule: str | Iterable[object], stages: int | None = None) -> Self:
        """The plan of a schedule, given as text ("Fc0 Fe1 L B1 ...") or as operations.

        `stages` defaults to what the schedule's forwards and backwards reach. Raises `ReadError` for a word that
        is no operation; whether the schedule can run is what `simulate` says.
        """
        words = schedule.split() if isinstance(schedule, str) else schedule
        if not isinstance(words, Iterable):
            raise ReadError(f"expected a schedule such as 'Fe0 Fe1 L B1 B0', got {quote(schedule)}")
        operations = tuple(map(_operation, words))
        reached = [op.stage for op in operations if op.stage is not None and op.kind != "D"]
        if not reached:
            raise ReadError("expected a schedule such as 'Fe0 Fe1 L B1 B0', got one without a forward or backward")
        plan = cls(max(reached) + 1 if stages is None else stages, operations)
        object.__setattr__(plan, "segments", recovered(plan.operations, plan.stages))
        return plan

    @classmethod
    def nested(cls, segments: Iterable[object]) -> Self:
        """The plan of nested segments, as nested `torch.utils.checkpoint(use_reentrant=False)` calls execute it.

        A number is a stage whose record is kept. A tuple is a checkpoint: forward keeps only its input; when the
        backward pass arrives, it is replayed as the plan inside the tuple says, and then runs backward. A tuple at
        the end of a tuple being replayed is entered at once, its own forward is skipped (PyTorch's early stop).
        Raises DnnlabError unless the stages stand in order, 0, 1, 2 ..., each once.
        """
        nest = frozen(segments)
        stages = 0
        for stage in flat(nest):
            if stage != stages:
                raise DnnlabError(
                    f"nested segments name the stages in order, each once: expected {stages}, got {stage}"
                )
            stages += 1
        return cls(stages, tuple(expanded(nest, stages)), nest)

    @property
    def text(self) -> str:
        """The schedule as text that `Plan.read` takes."""
        return " ".join(map(str, self.operations))

    @property
    def forwards(self) -> int:
        """How many forwards of stages are run in all, the first pass included."""
        return sum(op.kind in ("Fc", "Fe") for op in self.operations)

    @property
    def extra_forwards(self) -> int:
        """How many of them run a stage again."""
        return self.forwards - self.stages

    def picture(self) -> str:
        """The nesting as text: a line per level of replay, ● a recorded stage, └─┘ a segment to be replayed below.

        >>> print(Plan.nested(((0, 1, 2, (3, 4), 5), 6, 7)).picture())
        stage   0  1  2  3  4  5  6  7
        run     └──────────────┘  ●  ●
        again   ●  ●  ●  └──┘  ●
        again            ●  ●
        """
        if self.segments is None or self.stages > _WIDEST:
            return self.text
        levels: list[dict[int, str]] = []
        todo: list[tuple[Segments, int]] = [(self.segments, 0)]
        while todo:
            items, depth = todo.pop()
            levels += [{}] if depth == len(levels) else []
            for item in items:
                if isinstance(item, int):
                    levels[depth][item] = "●"
                    continue
                first, *_, last = [*ends(item)]
                levels[depth] |= {stage: "─" for stage in range(first, last + 1)}
                levels[depth] |= {last: "┘", first: "└"} if first < last else {first: "◡"}
                todo.append((item, depth + 1))
        width = len(str(self.stages - 1)) + 2
        lines = ["stage".ljust(6) + "".join(str(stage).rjust(width) for stage in range(self.stages))]
        for depth, level in enumerate(levels):
            line = ("again" if depth else "run").ljust(6)
            for stage in range(self.stages):
                mark = level.get(stage, " ")
                line += mark.rjust(width, "─" if mark in "─┘" else " ")
            lines.append(line.rstrip())
        return "\n".join(lines)

    def __repr__(self) -> str:
        if self.segments is not None:
            return f"Plan.nested({written(self.segments)})"
        return f"Plan.read({self.text!r}, {self.stages})"

    def _repr_html_(self) -> str:
        return f'<pre style="overflow-x:auto" tabindex="0">{escape(self.picture())}</pre>'


def _operation(word: object) -> Operation:
    """One operation, of a word such as 'Fc0' or of a pair of kind and stage."""
    if isinstance(word, Operation) and (word.kind in KINDS) and is_count(word.stage) is (word.kind != "L"):
        return word
    text = word
    if isinstance(word, tuple) and len(word) in (1, 2):
        kind, stage = (*word, None)[:2]
        if isinstance(kind, str) and (stage is None or is_count(stage)):
            text = str(Operation(kind, stage))
    match = _WORD.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ReadError(f"{quote(word)} is no operation; expected Fc0, Fe0, D1, L or B0, with the number of a stage")
    return Operation("L") if text == "L" else Operation(match[1], int(match[2]))
