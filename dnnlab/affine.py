"""Which places a subscript reaches: `y*stride + i - pad` over ranges of its indices, with numbers or symbols.

Every answer is exact. Where it depends on numbers that are still symbols, an `ExtentError` says what to bind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations

from sympy import Expr

from .errors import ExtentError
from .notation import Dim, ceil_div, floor_div, largest, product, ratio, smallest
from .rounding import is_whole
from .statements import Node, Number, Ref, Scalar, fold, is_setting

#: Above this many combinations of indices a footprint is not enumerated.
MAX_ENUMERATED = 4_000_000
Rows = list[tuple[Dim, Dim]]


@dataclass(frozen=True)
class Affine:
    """A subscript as `sum(coefficient * index) + constant`."""

    terms: tuple[tuple[str, Dim], ...]
    constant: Dim

    def at(self, point: Mapping[str, int]) -> Dim:
        """Its value where each index has the given value."""
        return sum((a * point[name] for name, a in self.terms), self.constant)

    def span(self, ranges: Mapping[str, tuple[Dim, Dim]]) -> tuple[Dim, Dim]:
        """Least and greatest value when each index runs over `start <= index < stop`."""
        low, rows = self.rows(ranges)
        return low, _last(low, rows)

    def rows(self, ranges: Mapping[str, tuple[Dim, Dim]]) -> tuple[Dim, Rows]:
        """Least value, and a row of evenly spaced steps `(step, count)` for each index: the values are the
        sums of one step from each row. A negative coefficient walks its row from the other end."""
        low, rows = self.constant, []
        for name, a in self.terms:
            start, stop = ranges[name]
            rising = a > 0 if isinstance(a, int) else _at_least_zero(a)
            if not rising and not _at_least_zero(-a):
                raise ExtentError(f"whether index {name!r} runs up or down depends on the sign of {a}: bind it")
            low += a * start if rising else a * (stop - 1)
            rows.append((a if rising else -a, stop - start))
        return low, rows

    def count(self, ranges: Mapping[str, tuple[Dim, Dim]], size: Dim) -> Dim:
        """How many different values `0 <= value < size` it takes."""
        low, rows = self.rows(ranges)
        rows = _joined(rows)
        if len(rows) < 2:
            step, times = rows[0] if rows else (1, 1)
            if not _positive(step):
                raise ExtentError(f"whether the step {step} is zero is open: bind it")
            if step == 1 and low == 0:
                return smallest(times, size)
            first, last = _cut(low, step, times, size)
            return largest(0, last - first + 1)
        if len(rows) == 2 and _at_least_zero(low) and _at_least_zero(size - 1 - _last(low, rows)):
            for (step, window), (stride, times) in permutations(rows):
                apart = ratio(stride, step) if _positive(step) and _positive(stride) else None
                if _whole(apart):  # windows with gaps between them, or none: it need not be known
                    return times * smallest(apart, window) + largest(0, window - apart)
        if not _known(low, size, *(n for row in rows for n in row)):
            raise ExtentError("how far apart the windows lie is open: bind stride, dilation and filter")
        return sum(0 <= at < size for at in _positions(low, rows))

    def reach(self, ranges: Mapping[str, tuple[Dim, Dim]], size: Dim) -> tuple[Dim, Dim]:
        """`(start, stop)` around its values `0 <= value < size`; `(0, 0)` where there are none."""
        low, rows = self.rows(ranges)
        high = _last(low, rows)
        if not _known(low, high, size):
            return largest(0, low), smallest(size, high + 1)
        if low < 0 or high >= size:  # a stride may step over the first and the last element
            rows = _joined(rows)
            if len(rows) < 2:
                step, times = rows[0] if rows else (1, 1)
                first, last = _cut(low, step, times, size)
                return (low + step * first, low + step * last + 1) if first <= last else (0, 0)
            inside = [at for at in _positions(low, rows) if 0 <= at < size]
            return (min(inside), max(inside) + 1) if inside else (0, 0)
        return low, high + 1


def affine(node: Node, settings: Mapping[str, Dim]) -> Affine:
    """The affine form of a subscript (which the reader has checked to be affine)."""

    def leaf(node: Number | Scalar | Ref) -> Affine:
        if isinstance(node, Number):
            return Affine((), node.value)
        assert isinstance(node, Scalar)
        if is_setting(node.name):
            return Affine((), settings[node.name])
        return Affine(((node.name, 1),), 0)

    def scale(form: Affine, by: Dim) -> Affine:
        return Affine(tuple((name, a * by) for name, a in form.terms if by != 0), form.constant * by)

    def apply(op: str, args: list[Affine]) -> Affine:
        if op == "negate":
            return scale(args[0], -1)
        left, right = args
        if op == "multiply":
            return scale(right, left.constant) if not left.terms else scale(left, right.constant)
        right = scale(right, -1) if op == "subtract" else right
        terms = dict(left.terms)
        for name, a in right.terms:
            terms[name] = terms.get(name, 0) + a
        return Affine(tuple((name, a) for name, a in terms.items() if a != 0), left.constant + right.constant)

    return fold(node, leaf, apply)


def _joined(rows: Rows) -> Rows:
    """Rows that meet or overlap made one: windows of 3 at steps of 3 leave no gap. A single place is no row."""
    rows = [(step, count) for step, count in rows if count != 1]
    for fine, coarse in permutations(rows, 2):
        (step, count), (stride, times) = fine, coarse
        apart = ratio(stride, step) if _positive(step) and _positive(stride) else None
        if apart == 1 or (_whole(apart) and smallest(apart, count) == apart):
            rest = list(rows)
            rest.remove(fine)
            rest.remove(coarse)
            return _joined([*rest, (step, count + apart * (times - 1))])
    return rows


def _cut(low: Dim, step: Dim, times: Dim, size: Dim) -> tuple[Dim, Dim]:
    """First and last step of a row that stand inside the border."""
    return largest(0, ceil_div(-low, step)), smallest(times - 1, floor_div(size - 1 - low, step))


def _positions(low: int, rows: Rows) -> set[int]:
    """Every sum of one step from each row, counted from `low`."""
    if product(count for _, count in rows) > MAX_ENUMERATED:
        raise ExtentError("windows with gaps between them have too many positions to count one by one")
    positions = {low}
    for step, count in rows:
        positions = {at + step * i for at in positions for i in range(count)}
    return positions


def _last(low: Dim, rows: Rows) -> Dim:
    return sum((step * (count - 1) for step, count in rows), low)


def _known(*values: Dim) -> bool:
    return all(isinstance(value, int) for value in values)


def _whole(value: Dim) -> bool:
    return isinstance(value, int) or (isinstance(value, Expr) and is_whole(value))


def _positive(value: Dim) -> bool:
    return value > 0 if isinstance(value, int) else value.is_positive is True


def _at_least_zero(value: Dim) -> bool:
    return value >= 0 if isinstance(value, int) else value.is_nonnegative is True
