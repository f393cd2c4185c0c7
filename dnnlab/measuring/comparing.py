"""Measured against expected and against the best case: the error of each layer, and what explains its time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import correlation, median
from typing import TYPE_CHECKING

from ..errors import ExtentError, quote
from ..hardware import Device
from ..quantities import show
from ..tables import Column, Table
from .calibrating.assembling import AGAIN
from .expected import REASONS, Expectation, expectation
from .timing import Spread

if TYPE_CHECKING:
    from ..figures.measured import ComparisonPicture
    from .layers import Measured

#: An expectation is close where it is within this share of what was measured.
CLOSE = 0.25


@dataclass(frozen=True)
class Compared:
    """A layer as it was measured beside what is expected of it. Times are in seconds."""

    name: str
    expectation: Expectation
    measured: Spread

    @property
    def kind(self) -> str:
        """The layer's kind, such as `Conv2d`."""
        return self.expectation.best.kind

    @property
    def best(self) -> float:
        """The best case."""
        return float(self.expectation.best.total)

    @property
    def expected(self) -> float:
        """What it should take."""
        return self.expectation.total

    @property
    def time(self) -> float:
        """What it took: the median."""
        return self.measured.median

    @property
    def error(self) -> float:
        """By how much the expectation is off: +0.1 where it is 10% above what was measured."""
        return self.expected / self.time - 1

    @property
    def roof(self) -> float:
        """Fraction of the roof that the layer reaches: the best case over what was measured. More than 1 where its
        arrays stay in the cache, which the best case does not count on."""
        return self.best / self.time

    def explanation(self) -> str:
        """What adds most over the best case; and how far off the expectation is, where it is not close."""
        found = self.expectation
        words = found.explanation()
        if abs(self.error) <= CLOSE:
            return words
        if found.reason is None or abs(self.time - self.expected) > abs(found.over[found.reason]):
            words = "not explained by the model"
        if self.measured.least <= self.expected <= self.measured.greatest:
            return f"{words}; it varies from {show(self.measured.least, 's')} to {show(self.measured.greatest, 's')}"
        return f"{words}; it takes {self.time / self.expected:.2g}× as long as expected"


@dataclass(frozen=True, repr=False)
class Comparison:
    """Layers as they were measured, beside what is expected of them. Made by `Measured.against`.

    >>> from dnnlab import Device, ReLU
    >>> from dnnlab.measuring.work import Work
    >>> card = Device("card", {"fp32": "100 GFLOP/s"}, bandwidth="20 GB/s")
    >>> relu = expectation(ReLU(m=10**6), card, "torch", "fp32", Work(moved=8 * 10**6))
    >>> found = Comparison("torch", "fp32", card, (Compared("relu", relu, Spread.of([4e-4, 5e-4, 9e-4])),))
    >>> print(found.sentence())
    1 layer takes 500 µs in torch on card: expected 400 µs, at best 400 µs. The median error of a layer is 20%.
    >>> found.where(lambda row: row.roof > 0.5).rows[0].name
    'relu'
    """

    library: str
    dtype: str
    device: Device
    rows: tuple[Compared, ...]

    @property
    def best(self) -> float:
        """Seconds in all at best."""
        return sum(row.best for row in self.rows)

    @property
    def expected(self) -> float:
        """Seconds in all as expected."""
        return sum(row.expected for row in self.rows)

    @property
    def time(self) -> float:
        """Seconds in all as measured, the sum of the medians."""
        return sum(row.time for row in self.rows)

    @cached_property
    def over(self) -> Mapping[str, float]:
        """Seconds that each of the `REASONS` adds to the best case of all layers together, the most first."""
        total: Counter[str] = Counter()
        for row in self.rows:
            for reason, seconds in row.expectation.over.items():
                total[reason] += seconds  # type: ignore[assignment]  # a Counter of seconds
        return dict(total.most_common())

    @property
    def doubts(self) -> tuple[str, ...]:
        """What the device's notes say against its figures: that it was measured while something else was at work."""
        return tuple(note for note in self.device.notes if AGAIN in note)

    def where(self, holds: Callable[[Compared], bool]) -> Comparison:
        """The comparison of some layers only."""
        return Comparison(self.library, self.dtype, self.device, tuple(filter(holds, self.rows)))

    def median_error(self, *kinds: str) -> float:
        """The median of the errors' absolute values, over all layers or those of some kinds.

        Raises `ExtentError` where there is none of them.
        """
        errors = [abs(row.error) for row in self.rows if not kinds or row.kind in kinds]
        if not errors:
            have = ", ".join(dict.fromkeys(row.kind for row in self.rows)) or "no layer"
            raise ExtentError(f"no layer of the kind {', '.join(kinds) or 'any'} was measured; there is {have}")
        return median(errors)

    def rank_correlation(self) -> float:
        """Spearman's: 1 where the layers are expected in the same order, from the shortest to the longest, as measured.

        Raises `ExtentError` for fewer than two layers, or where all take the same time.
        """
        return rank_correlation([row.expected for row in self.rows], [row.time for row in self.rows])

    def outliers(self, factor: float = 2) -> tuple[Compared, ...]:
        """The layers that take `factor` times longer or shorter than expected, the farthest off first; each tells its
        `explanation()`."""
        if factor <= 1:
            raise ExtentError(f"an outlier is off by a factor above 1, got {quote(factor)}")
        far = [row for row in self.rows if _apart(row) >= factor]
        return tuple(sorted(far, key=_apart, reverse=True))

    def sentence(self) -> str:
        """The comparison in words."""
        if not self.rows:
            return "No layer was measured."
        layers = f"{len(self.rows)} layer{'s' if len(self.rows) != 1 else ''}"
        verb = "take" if len(self.rows) != 1 else "takes"
        parts = [
            f"{layers} {verb} {show(self.time, 's')} in {self.library} on {self.device.name}: "
            f"expected {show(self.expected, 's')}, at best {show(self.best, 's')}.",
            f"The median error of a layer is {self.median_error():.0%}.",
        ]
        reason, most = next(iter(self.over.items()))
        if most > 0.05 * self.expected:
            share = most / self.expected
            parts.append(f"What adds most over the best case: {REASONS[reason]} ({share:.0%} of the time).")
        if far := self.outliers():
            names = ", ".join(row.name for row in far[:3]) + (", …" if len(far) > 3 else "")
            parts.append(f"{len(far)} {'is' if len(far) == 1 else 'are'} off by a factor of 2 or more: {names}.")
        return " ".join(parts)

    def table(self) -> Table:
        """A row for each layer, and the totals."""
        columns = (
            Column("name", "layer"),
            Column("kind", "kind"),
            Column("best", "at best", "s"),
            Column("expected", "expected", "s"),
            Column("measured", "measured", "s"),
            Column("spread", "quartiles", align="right"),
            Column("error", "error", show=lambda error: f"{error:+.0%}"),
            Column("roof", "of the roof", show=lambda roof: f"{roof:.0%}"),
            Column("explanation", "explained by", least=34),
        )
        rows = [
            (row.name, row.kind, row.best, row.expected, row.time, _quartiles(row.measured), row.error, row.roof,
             row.explanation())
            for row in self.rows
        ]  # fmt: skip
        if not rows:
            return Table(columns, (), note=self.sentence())
        error, roof = self.expected / self.time - 1, self.best / self.time
        total = ("total", "", self.best, self.expected, self.time, None, error, roof, None)
        title = f"{self.library}, {self.dtype}, on {self.device.name}"
        return Table(columns, (*rows, total), title, " ".join((self.sentence(), *self.doubts)))

    def __repr__(self) -> str:
        return self.sentence()

    def _repr_html_(self) -> str:
        return self.table().html()

    def picture(self) -> ComparisonPicture:
        """Predicted against measured, a mark a layer; see `dnnlab.figures.measured`."""
        from ..figures.measured import ComparisonPicture

        return ComparisonPicture(self)


def compare(measured: Measured, device: Device) -> Comparison:
    """What was measured beside what is expected on a device. Raises the errors of `expected`."""
    rows = tuple(
        Compared(
            found.name,
            expectation(found.layer, device, measured.library, measured.dtype, found.work, measured.kept),
            found.times,
        )
        for found in measured.layers
    )
    return Comparison(measured.library, measured.dtype, device, tuple(row for row in rows if row.time and row.best))


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's rank correlation; equal values share the mean of their ranks.

    >>> rank_correlation([1, 2, 3, 4], [10, 20, 40, 30])
    0.8
    """
    if len(first) != len(second) or len(set(first)) < 2 or len(set(second)) < 2:
        raise ExtentError("a rank correlation needs two lists of one length, each with at least two different values")
    return correlation(_ranks(first), _ranks(second))


def _ranks(values: Iterable[float]) -> list[float]:
    values = list(values)
    order = sorted(values)
    first = {value: place for place, value in reversed(list(enumerate(order)))}
    times = Counter(values)
    return [first[value] + (times[value] - 1) / 2 for value in values]


def _apart(row: Compared) -> float:
    return max(row.expected / row.time, row.time / row.expected)


def _quartiles(spread: Spread) -> str:
    return f"{show(spread.lower, 's')} … {show(spread.upper, 's')}"
