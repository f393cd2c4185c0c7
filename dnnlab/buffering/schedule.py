"""When each engine of a pipeline works on which tile, why it stands still, and who is the bottleneck."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, repeat
from operator import add, sub
from typing import Any, NamedTuple

from ..errors import ExtentError, ShapeError, quote
from ..quantities import show
from ..tables import Column, Table
from .times import Time, Times, between, read_stages, read_times, same_length


class Stall(NamedTuple):
    """An engine stands still from `start` to `end` (seconds) before it takes up `tile` (None: it has done all).

    `reason`: "fill" and "drain" (the first tile is not here yet, the last one is gone), the name of the engine
    whose tile it waits for, "free buffer" or "output buffer", "channel" (the other user of a shared one), and in a
    measured schedule "handover": all was there, and the thread had yet to wake up.
    """

    tile: int | None
    start: Time
    end: Time
    reason: str

    @property
    def time(self) -> Time:
        """Seconds it lasts."""
        return self.end - self.start


@dataclass(frozen=True, repr=False)
class Schedule:
    """A pipeline in time: how long each engine takes for each tile, and when it starts it.

    `engines` in the order a tile passes them; `times[j][i]` and `starts[j][i]` of engine j and tile i, in seconds from
    the start of the first tile on; `buffers[j]` between engine j and the next. Predicted by `pipeline` or measured by
    `run_pipeline`: the form is the same.

    >>> from dnnlab.buffering import pipeline
    >>> schedule = pipeline(load=[2, 2, 2], compute=[3, 3, 3])
    >>> schedule
    Schedule(3 tiles, load → 2 buffers → compute, makespan 11 s)
    >>> schedule.intervals["compute"]
    [(2, 5), (5, 8), (8, 11)]
    >>> schedule.stalls["load"][0]
    Stall(tile=2, start=4, end=5, reason='free buffer')
    """

    engines: tuple[str, ...]
    buffers: tuple[int, ...]
    times: tuple[Times, ...]
    starts: tuple[Times, ...]
    shared_channel: bool = False
    measured: bool = False

    @classmethod
    def from_intervals(cls, intervals: Mapping[str, Sequence[tuple[Time, Time]]], buffers: Sequence[int]) -> Schedule:
        """The schedule of measured (start, end) pairs, one a tile, by engine.

        Raises `ShapeError` where lengths differ, `ExtentError` where an interval ends before it starts or two of
        one engine overlap.

        >>> Schedule.from_intervals({"load": [(5.0, 6.0)], "compute": [(6.5, 8.0)]}, [1]).makespan
        3.0
        """
        counts = between(len(read_stages(intervals)), buffers)
        pairs = {name: _pairs(name, given) for name, given in intervals.items()}
        starts = {name: read_times(name, [start for start, _ in column]) for name, column in pairs.items()}
        ends = {name: read_times(name, [end for _, end in column]) for name, column in pairs.items()}
        same_length(starts)
        for name in starts:
            before: Time = 0
            for i, (start, end) in enumerate(zip(starts[name], ends[name], strict=True)):
                if not before <= start <= end:
                    raise ExtentError(f"{name}[{i}] = {quote((start, end))}: expected a (start, end) that starts at "
                                      f"{before} or later and does not end before it starts")  # fmt: skip
                before = end
        zero = min(column[0] for column in starts.values())
        times = tuple(tuple(map(sub, ends[name], starts[name])) for name in starts)
        moved = tuple(tuple(start - zero for start in column) for column in starts.values())
        return cls(tuple(starts), counts, times, moved, measured=True)

    @property
    def tiles(self) -> int:
        """Number of tiles."""
        return len(self.times[0])

    @cached_property
    def makespan(self) -> Time:
        """Seconds from the start of the first tile to the end of the last."""
        return max(starts[-1] + times[-1] for starts, times in zip(self.starts, self.times, strict=True))

    @cached_property
    def ends(self) -> tuple[Times, ...]:
        """When each engine ends each tile."""
        return tuple(tuple(map(add, *columns)) for columns in zip(self.starts, self.times, strict=True))

    @cached_property
    def busy(self) -> dict[str, Time]:
        """Seconds that each engine works; a shared channel works for two of them."""
        busy: dict[str, Time] = {name: sum(column) for name, column in zip(self.engines, self.times, strict=True)}
        return busy | ({"channel": busy["load"] + busy["store"]} if self.shared_channel else {})

    @property
    def serial(self) -> Time:
        """Seconds that the same work takes one step after the other, nothing overlapping."""
        return sum(self.busy[name] for name in self.engines)

    @property
    def speedup(self) -> float:
        """How many times faster than `serial` (1 where nothing takes any time)."""
        return float(self.serial / self.makespan) if self.makespan else 1.0

    @property
    def utilisation(self) -> dict[str, float]:
        """Share of the makespan that each engine works (0 where nothing takes any time)."""
        return {name: float(time / self.makespan) if self.makespan else 0.0 for name, time in self.busy.items()}

    @property
    def bottleneck(self) -> str:
        """The engine that works longest; of several the first. No schedule is shorter than what it has to do."""
        return max(self.busy, key=self.busy.__getitem__)

    @cached_property
    def intervals(self) -> dict[str, list[tuple[Time, Time]]]:
        """(start, end) of each tile, by engine."""
        columns = zip(self.engines, self.starts, self.ends, strict=True)
        return {name: list(zip(starts, ends, strict=True)) for name, starts, ends in columns}

    @cached_property
    def stalls(self) -> dict[str, tuple[Stall, ...]]:
        """When and why each engine stands still, in order of time."""
        return {name: tuple(map(Stall._make, self._gaps(j))) for j, name in enumerate(self.engines)}

    @cached_property
    def stalled(self) -> dict[str, dict[str, Time]]:
        """Seconds that each engine stands still, by reason."""
        totals: dict[str, dict[str, Time]] = {name: {} for name in self.engines}
        for j, own in enumerate(totals.values()):
            for _, start, end, reason in self._gaps(j):
                own[reason] = own.get(reason, 0) + end - start
        return totals

    def sentence(self) -> str:
        """The verdict in words.

        >>> from dnnlab.buffering import pipeline
        >>> print(pipeline([2, 2, 2], [3, 3, 3]).sentence())
        Compute is the bottleneck: it works 82% of the 11 s. The longest wait inside: load, 1 s for a free buffer. \
One step after the other would take 15 s, 1.36 times as long.
        """
        if not self.makespan:
            return "Nothing takes any time."
        name = self.bottleneck
        share, whole = f"{self.utilisation[name]:.0%}", show(self.makespan, "s")
        text = f"{name[0].upper()}{name[1:]} is the bottleneck: it works {share} of the {whole}."
        inside = [
            (time, engine, reason)
            for engine, totals in self.stalled.items()
            for reason, time in totals.items()
            if reason not in ("fill", "drain")
        ]
        if inside:
            time, engine, reason = max(inside, key=lambda item: item[0])
            text += f" The longest wait inside: {engine}, {show(time, 's')} for {_words(reason)}."
        longer = f"{self.speedup:.3g} times as long" if self.serial > self.makespan else "no longer"
        return f"{text} One step after the other would take {show(self.serial, 's')}, {longer}."

    def table(self) -> Table:
        """A row for each engine: its work, and what it waits for."""
        columns = (
            Column("engine"),
            Column("busy", "works", "s"),
            Column("utilisation", "in use", show=lambda share: f"{share:.0%}"),
            Column("fill", "fill", "s"),
            Column("waits", "waits inside", "s"),
            Column("drain", "drain", "s"),
            Column("reasons", "for"),
        )
        rows = []
        for name in self.engines:
            totals = dict(self.stalled[name])
            fill, drain = totals.pop("fill", 0), totals.pop("drain", 0)
            reasons = ", ".join(f"{_words(reason)} ({show(time, 's')})" for reason, time in totals.items())
            waits = sum(totals.values())
            rows.append((name, self.busy[name], self.utilisation[name], fill, waits, drain, reasons or None))
        return Table(columns, rows, title=self._title(), note=self.sentence())

    def tile_table(self, first: int = 20) -> Table:
        """When each engine works on each of the `first` tiles."""
        columns = [Column("tile"), *(Column(name, align="right") for name in self.engines)]
        rows = []
        for i in range(min(first, self.tiles)):
            times = [(starts[i], ends[i]) for starts, ends in zip(self.starts, self.ends, strict=True)]
            rows.append((i, *(f"{show(start, 's')} … {show(end, 's')}" for start, end in times)))
        return Table(columns, rows, title=self._title())

    def __repr__(self) -> str:
        return f"Schedule({self._title()}, makespan {show(self.makespan, 's')})"

    def _repr_html_(self) -> str:
        return self.table().html()

    def _title(self) -> str:
        way = self.engines[0]
        for count, name in zip(self.buffers, self.engines[1:], strict=True):
            way += f" → {_count(count, 'buffer')} → {name}"
        kind = " (measured)" if self.measured else ", load and store share a channel" if self.shared_channel else ""
        return f"{_count(self.tiles, 'tile')}, {way}{kind}"

    def _gaps(self, j: int) -> Iterator[tuple[int | None, Time, Time, str]]:
        """The stalls of engine j, as plain tuples. Of the two things that it needs for a tile the later one counts;
        what passes after both are there went to the channel's other user, or to a thread that had yet to wake up."""
        wait = "output buffer" if j else "free buffer"
        source = self.engines[j - 1]
        beyond = "channel" if self.shared_channel else "handover"
        arrivals: Iterable[Time] = self.ends[j - 1] if j else repeat(0)
        freed: Iterable[Time] = repeat(0)
        if j < len(self.buffers):  # the buffer of tile i is free when the next engine has done tile i - buffers[j]
            freed = chain(repeat(0, min(self.buffers[j], self.tiles)), self.ends[j + 1])
        before: Time = 0
        columns = zip(self.starts[j], self.ends[j], arrivals, freed, strict=False)
        for i, (start, end, arrival, free) in enumerate(columns):
            if start > before:
                needed = min(max(arrival, free), start)  # measured times may be off by a rounding
                if i == 0:
                    yield i, before, start, "fill"
                elif needed > before:
                    yield i, before, needed, source if arrival >= free else wait
                if i and start > max(needed, before):
                    yield i, max(needed, before), start, beyond
            before = end
        if self.makespan > before:
            yield None, before, self.makespan, "drain"


def _pairs(name: str, given: Any) -> list[tuple[Any, Any]]:
    try:
        return [(start, end) for start, end in given]
    except (TypeError, ValueError):
        raise ShapeError(f"{name} = {quote(given)}: expected a (start, end) for each tile") from None


def _words(reason: str) -> str:
    """What is waited for: a buffer, the channel or the handover, or an engine by its own name."""
    articles = {"free buffer": "a", "output buffer": "an", "channel": "the", "handover": "the"}
    return f"{articles.get(reason, '')} {reason}".strip()


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
