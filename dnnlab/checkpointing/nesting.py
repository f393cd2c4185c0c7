"""Nested segments and the schedule they stand for, one from the other.

All with stacks, not recursion, as plans may nest a thousand deep.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias, cast

from ..errors import DnnlabError, quote

#: A recorded stage is its number; a checkpointed segment is a tuple: how it is replayed.
Segments: TypeAlias = tuple[Any, ...]  # of int | Segments

KINDS = {
    "Fc": "forward that keeps only its output",
    "Fe": "forward that keeps the record for its backward",
    "D": "free a tensor",
    "L": "the loss",
    "B": "backward",
}
MOST = 50_000  # tuples of a nesting


class Operation(NamedTuple):
    """One step of a schedule: its kind (`KINDS`) and the stage it concerns (for D the tensor, for L None).

    >>> str(Operation("Fc", 0)), str(Operation("L"))
    ('Fc0', 'L')
    """

    kind: str
    stage: int | None = None

    def __str__(self) -> str:
        return self.kind if self.stage is None else f"{self.kind}{self.stage}"


def frozen(segments: object) -> Segments:
    """Lists and tuples of numbers as tuples; anything else is refused."""
    outer = tuple(segments) if isinstance(segments, Iterable) and not isinstance(segments, str) else segments
    todo: list[tuple[object, list[Any] | None]] = [(outer, None)]
    made: list[tuple[list[Any], list[Any] | None]] = []
    seen = 0
    while todo:
        item, home = todo.pop()
        if is_count(item) and home is not None:
            home.append(item)
            continue
        if not isinstance(item, list | tuple) or not item:
            raise DnnlabError(
                f"expected nested segments such as ((0, 1), 2), of stage numbers and tuples, got {quote(item)} in it"
            )
        seen += 1
        if seen > MOST:
            raise DnnlabError(f"nested segments hold more than {MOST} tuples; do they contain themselves?")
        own: list[Any] = []
        made.append((own, home))
        if home is not None:
            home.append(own)
        todo.extend((inner, own) for inner in reversed(item))
    for own, _ in reversed(made):  # innermost first
        own[:] = [item if isinstance(item, int) else tuple(item) for item in own]
    return tuple(made[0][0])


def flat(segments: Segments) -> Iterator[int]:
    """The stages in order of appearance."""
    todo: list[Any] = [segments]
    while todo:
        item = todo.pop()
        if isinstance(item, tuple):
            todo.extend(reversed(item))
        else:
            yield item


def ends(segments: Segments) -> tuple[int, int]:
    """First and last stage of a segment."""
    first, last = segments[0], segments[-1]
    while isinstance(first, tuple):
        first = first[0]
    while isinstance(last, tuple):
        last = last[-1]
    return first, last


def expanded(segments: Segments, stages: int) -> Iterator[Operation]:
    """The schedule of nested segments; every tensor is freed as soon as nothing needs it."""
    plain: set[int] = set()  # the x_i that are kept without a record
    todo: list[int | Segments] = [segments]
    while todo:
        item = todo.pop()
        if isinstance(item, int):
            yield Operation("B", item)
            if item in plain:
                plain.remove(item)
                yield Operation("D", item)
            continue
        if item is not segments:
            while isinstance(item[-1], tuple):
                item = (*item[:-1], *item[-1])
        for part in item:
            if isinstance(part, int):
                yield Operation("Fe", part)
                continue
            first, last = ends(part)
            for stage in range(first, last + 1):
                yield Operation("Fc", stage)
                if stage > first:
                    yield Operation("D", stage)
            plain.add(last + 1)
        if item is segments:
            yield Operation("L")
            if stages in plain:
                plain.remove(stages)
                yield Operation("D", stages)
        todo.extend(item)


def recovered(operations: Sequence[Operation], stages: int) -> Segments | None:
    """The nested segments whose schedule is exactly this one, or None."""
    words = list(operations)
    place = 0
    open_runs: list[list[Any]] = []  # items of each run that has not gone all the way back
    segments: Segments | None = None
    while True:
        items: list[Any] = []
        while place < len(words) and words[place].kind in ("Fc", "Fe"):
            stage = words[place].stage
            assert stage is not None  # only L has none
            follows = items and isinstance(items[-1], range) and items[-1].stop == stage
            place += 1
            if words[place - 1].kind == "Fe":
                items.append(stage)
            elif follows and words[place : place + 1] == [Operation("D", stage)]:
                items[-1] = range(items[-1].start, stage + 1)
                place += 1
            else:
                items.append(range(stage, stage + 1))
        if not items:
            return None
        if not open_runs:
            place += 1 + (words[place + 1 : place + 2] == [Operation("D", stages)])
        open_runs.append([items, len(items)])
        while open_runs:  # backward through the recorded stages, up to the next segment to replay
            items, left = open_runs[-1]
            while left and isinstance(items[left - 1], int):
                left -= 1
                place += 1 + (words[place + 1 : place + 2] == [Operation("D", items[left])])
            open_runs[-1][1] = left
            if left:
                break
            segments = tuple(items)
            open_runs.pop()
            if open_runs:
                open_runs[-1][1] -= 1
                open_runs[-1][0][open_runs[-1][1]] = segments
        if not open_runs:
            break
    assert segments is not None  # the loop ends only with a run that went all the way back
    in_order = all(given == stage for stage, given in enumerate(flat(segments)))
    return segments if in_order and tuple(expanded(segments, stages)) == tuple(operations) else None


def written(segments: Segments) -> str:
    """The segments as Python writes tuples."""
    text, pieces = [], [cast(Any, segments)]
    while pieces:
        item = pieces.pop()
        if isinstance(item, tuple):
            inner: list[Any] = ["("]
            for place, part in enumerate(item):
                inner += [", "] if place else []
                inner.append(part)
            inner.append(",)" if len(item) == 1 else ")")
            pieces.extend(reversed(inner))
        else:
            text.append(str(item))
    return "".join(text)


def is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
