"""A pipeline for real: one thread an engine, buffers between them, and the times at which each tile was worked on."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import TIMEOUT_MAX, Condition, Thread
from typing import Any

from ..errors import DnnlabError, quote
from ..quantities import positive, show
from .engine import pipeline_levels
from .schedule import Schedule
from .times import behind, read_count


@dataclass(frozen=True)
class Run:
    """What a pipeline computed, tile by tile, and when: `schedule` has the form of a predicted one."""

    results: tuple[Any, ...] = field(repr=False)
    schedule: Schedule

    @property
    def predicted(self) -> Schedule:
        """What the recurrence makes of the measured times of the tiles: the same without any handover."""
        schedule = self.schedule
        return pipeline_levels(dict(zip(schedule.engines, schedule.times, strict=True)), schedule.buffers)

    def sentence(self) -> str:
        """The verdict in words, prediction beside measurement."""
        return (
            f"{self.schedule.sentence()} The recurrence makes {show(self.predicted.makespan, 's')} of the same times "
            f"a tile; the rest went into handing tiles over."
        )

    def _repr_html_(self) -> str:
        return self.schedule.table().html()


def run_pipeline(
    load: Callable[[int], Any],
    compute: Callable[[Any], Any],
    n: int,
    buffers: int = 2,
    store: Callable[[Any], Any] | None = None,
    out_buffers: int | None = None,
    timeout: float | str = 60,
) -> Run:
    """Run `n` tiles through `load(i)`, `compute(tile)` and perhaps `store(result)`, each in a thread of its own.

    The rules are those of `pipeline`: load `i` starts when a buffer is free, that is, when compute `i-buffers` has
    ended, so that at most `buffers` tiles are held at once and tile i may be loaded into place `i % buffers`. Threads
    overlap where the functions release Python's lock, as reading a file and NumPy's large operations do. The
    results are what the last engine returned, in order.

    What a function raises is raised here, with a note of the tile; the other threads then stop. A function that does
    not finish within `timeout` seconds of the last progress is a `DnnlabError`; Python cannot end it, but it gets no
    further tile. Raises `ExtentError` for a number of tiles or buffers that is none.

    >>> run = run_pipeline(load=lambda i: [i] * 3, compute=sum, n=4)
    >>> run.results
    (0, 3, 6, 9)
    >>> run.schedule.engines, run.schedule.tiles, run.schedule.measured
    (('load', 'compute'), 4, True)
    """
    stages = {"load": load, "compute": compute} | ({} if store is None else {"store": store})
    for name, function in stages.items():
        if not callable(function):
            raise DnnlabError(f"{name} = {quote(function)}: expected a function")
    counts = behind(store is not None, buffers, out_buffers)
    line = _Line(list(stages.values()), counts, read_count("n", n), list(stages))
    return line.run(min(positive(timeout, "s", "timeout"), TIMEOUT_MAX))


class _Line:
    """The state that the threads share, all of it guarded by one condition.

    How many tiles each engine has done is enough to know who may go on; one lock for all makes every hand-over a
    whole step, so that nothing is lost when a thread fails.
    """

    def __init__(self, stages: Sequence[Callable[[Any], Any]], buffers: Sequence[int], n: int, names: list[str]):
        self.stages, self.buffers, self.n, self.names = stages, buffers, n, names
        self.changed = Condition()
        self.done = [0] * len(stages)
        self.tiles: list[dict[int, Any]] = [{} for _ in stages]  # what each engine has made and the next still holds
        self.intervals: list[list[tuple[float, float]]] = [[] for _ in stages]
        self.failure: BaseException | None = None
        self.stopped = False

    def run(self, timeout: float) -> Run:
        threads = [
            Thread(target=self._work, args=(j,), name=f"dnnlab {name}", daemon=True)
            for j, name in enumerate(self.names)
        ]
        try:
            for thread in threads:
                thread.start()
            stuck = self._watch(timeout)
        finally:  # also where the user interrupts
            with self.changed:
                self.stopped = True
                self.changed.notify_all()
        if stuck:
            raise DnnlabError(f"{stuck} for {show(timeout, 's')}; raise `timeout` if it needs longer")
        for thread in threads:
            thread.join(timeout)
        if self.failure is not None:
            raise self.failure
        intervals = dict(zip(self.names, self.intervals, strict=True))
        results = tuple(self.tiles[-1][i] for i in range(self.n))
        return Run(results, Schedule.from_intervals(intervals, self.buffers))

    def _watch(self, timeout: float) -> str:
        """Wait for the end or a failure; where nothing has moved for `timeout` seconds, the words for who is stuck."""
        with self.changed:
            while self.done[-1] < self.n and self.failure is None:
                if not self.changed.wait(timeout):
                    busy = [j for j in range(len(self.stages)) if self._ready(j)]
                    return " and ".join(f"{self.names[j]} has been at tile {self.done[j]}" for j in busy)
        return ""

    def _ready(self, j: int) -> bool:
        """May engine j take up its next tile? Its input is there, and a buffer behind it is free."""
        i = self.done[j]
        return i < self.n and (
            (j == 0 or self.done[j - 1] > i)
            and (j == len(self.stages) - 1 or self.done[j + 1] + self.buffers[j] > i)
        )  # fmt: skip

    def _work(self, j: int) -> None:
        """One engine: its tiles in order, each when it is ready."""
        for i in range(self.n):
            with self.changed:
                self.changed.wait_for(lambda: self.stopped or self._ready(j))
                if self.stopped:
                    return
                given = self.tiles[j - 1][i] if j else i
            start = time.perf_counter()
            try:
                made = self.stages[j](given)
            except BaseException as failure:  # raised again in the caller's thread
                failure.add_note(f"raised by {self.names[j]} of tile {i} of {self.n} in run_pipeline")
                with self.changed:
                    self.failure = self.failure or failure
                    self.stopped = True
                    self.changed.notify_all()
                return
            end = time.perf_counter()
            del given  # or this thread would hold the tile for one round more
            with self.changed:
                self.intervals[j].append((start, end))
                self.tiles[j][i] = made
                if j:
                    del self.tiles[j - 1][i]  # its buffer is free
                self.done[j] += 1
                self.changed.notify_all()
            del made
