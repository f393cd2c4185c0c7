"""Plans by a rule: keep everything, nothing, every k-th tensor, equal segments, the binomial schedule."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

from ..errors import ExtentError, quote
from .chains import count
from .closed_forms import reach, repeats
from .plans import Plan


def store_all(stages: int) -> Plan:
    """Record every stage: nothing is run twice.

    >>> store_all(4)
    Plan.nested((0, 1, 2, 3))
    """
    return Plan.nested(range(count(stages, "stages")))


def store_none(stages: int) -> Plan:
    """Keep only the input, and run forward from it for every backward.

    >>> store_none(4).text
    'Fc0 Fc1 D1 Fc2 D2 Fe3 L B3 D3 Fc0 Fc1 D1 Fe2 B2 D2 Fc0 Fe1 B1 D1 Fe0 B0'
    """
    return binomial(stages, 1)


def keeping(stages: int, kept: Iterable[int]) -> Plan:
    """Keep the named tensors (of x_1 to x_{L-1}) in the forward pass, and record what follows the last of them; each
    segment between two is run again, recorded, when the backward pass reaches it.

    >>> keeping(6, [2, 4])
    Plan.nested(((0, 1), (2, 3), 4, 5))
    >>> keeping(6, [6])
    Traceback (most recent call last):
    ...
    dnnlab.errors.ExtentError: kept names tensors between stages, 1 to 5, not 6
    """
    stages = count(stages, "stages")
    marks = sorted(set(kept))
    for mark in marks:
        if count(mark, "a kept tensor", 0) not in range(1, stages):
            raise ExtentError(f"kept names tensors between stages, 1 to {stages - 1}, not {quote(mark)}")
    wrapped = (tuple(range(a, b)) for a, b in pairwise([0, *marks]))
    return Plan.nested((*wrapped, *range(marks[-1] if marks else 0, stages)))


def every(stages: int, k: int) -> Plan:
    """Keep every k-th tensor.

    >>> every(7, 3)
    Plan.nested(((0, 1, 2), (3, 4, 5), 6))
    """
    stages, k = count(stages, "stages"), count(k, "k")
    return keeping(stages, range(k, stages, k))


def sequential(stages: int, segments: int) -> Plan:
    """What PyTorch's `checkpoint_sequential` does: equal segments, rounded down, of which the last takes the rest and
    is recorded.

    >>> sequential(12, 5)
    Plan.nested(((0, 1), (2, 3), (4, 5), (6, 7), 8, 9, 10, 11))
    """
    stages, segments = count(stages, "stages"), count(segments, "segments")
    if segments > stages:
        raise ExtentError(f"a chain of {stages} stages has at most {stages} segments, not {segments}")
    size = stages // segments
    return keeping(stages, range(size, size * segments, size))


def sqrt(stages: int) -> Plan:
    """`sequential` with the number of segments that needs the least memory if all stages are equal: about the square
    root of their number (Chen et al. 2016).

    >>> sqrt(12)
    Plan.nested(((0, 1, 2, 3), (4, 5, 6, 7), 8, 9, 10, 11))
    """
    stages = count(stages, "stages")
    return sequential(stages, min(range(1, stages + 1), key=lambda k: k + stages - (k - 1) * (stages // k)))


def binomial(stages: int, slots: int) -> Plan:
    """At most `slots` tensors kept at a time, the chain's input among them, beside the input and the record of the
    running stage: the least number of extra forwards for equal stages under that rule (Griewank and Walther 2000).

    >>> binomial(5, 2)
    Plan.nested((((0,), 1), ((2,), 3), 4))
    """
    stages, slots = count(stages, "stages"), count(slots, "slots")
    whole: list[object] = []
    todo = [(0, stages, slots, whole)]
    while todo:
        first, length, left, items = todo.pop()
        while length > 1:
            ahead = _ahead(length, left)
            inner: list[object] = []
            items.append(inner)
            todo.append((first, ahead, left, inner))
            first, length, left = first + ahead, length - ahead, left - 1
        items.append(first)
    return Plan.nested(whole)


def _ahead(length: int, slots: int) -> int:
    """How far to run before the next tensor is kept: so that each of the two parts, the first once less often than the
    second, can be run again as often as it must and no more."""
    if slots == 1:
        return length - 1
    times = repeats(length, slots)
    return max(1, length - reach(slots - 1, times), reach(slots, times - 2))


def partitions(stages: int) -> Iterator[Plan]:
    """All ways to cut the chain into segments of which the last is recorded and the others are run again."""
    stages = count(stages, "stages")
    for marks in range(2 ** (stages - 1)):
        yield keeping(stages, (j for j in range(1, stages) if marks >> (j - 1) & 1))


def flat(stages: int) -> Iterator[Plan]:
    """All plans without nesting: each stage is recorded or part of a checkpointed segment."""
    stages = count(stages, "stages")
    todo: list[tuple[object, ...]] = [()]
    starts = [0]
    while todo:
        items, start = todo.pop(), starts.pop()
        if start == stages:
            yield Plan.nested(items)
            continue
        for item, stop in [(start, start + 1), *((tuple(range(start, b)), b) for b in range(start + 1, stages + 1))]:
            todo.append((*items, item))
            starts.append(stop)
