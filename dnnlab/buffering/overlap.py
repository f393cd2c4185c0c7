"""Double buffering seen on this machine: a file is read tile by tile while NumPy works on the tile before."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import ExtentError, quote
from ..quantities import read_quantity, show
from ..tables import Column, Table
from .runner import Run, run_pipeline
from .schedule import Schedule
from .times import read_count

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Overlap:
    """The same work with several numbers of buffers, fewest first."""

    runs: tuple[Run, ...]

    def sentence(self) -> str:
        """The verdict in words: what the most buffers bought over the fewest."""
        first, last = self.runs[0].schedule, self.runs[-1].schedule
        gain, most = float(first.makespan / last.makespan), float(first.serial / max(first.busy.values()))
        return (
            f"With {_buffers(first)} it took {show(first.makespan, 's')}, with {_buffers(last)} "
            f"{show(last.makespan, 's')}: {gain:.3g} times as fast. "
            f"Perfect overlap of the first run's tiles would be {most:.3g} times as fast as one step after the other."
        )

    def table(self) -> Table:
        """A row for each number of buffers: measured, and what the recurrence makes of the measured times a tile."""
        columns = (
            Column("buffers"),
            Column("load", "load", "s"),
            Column("compute", "compute", "s"),
            Column("makespan", "time", "s"),
            Column("predicted", "without handover", "s"),
            Column("waits", "compute waits", "s"),
        )
        rows = [
            (
                run.schedule.buffers[0],
                run.schedule.busy["load"],
                run.schedule.busy["compute"],
                run.schedule.makespan,
                run.predicted.makespan,
                sum(run.schedule.stalled["compute"].values()),
            )
            for run in self.runs
        ]
        title = f"{self.runs[0].schedule.tiles} tiles, measured on this machine"
        return Table(columns, rows, title=title, note=self.sentence())

    def _repr_html_(self) -> str:
        return self.table().html()


def measured_overlap(
    tiles: int = 12, size: int | str = "8 MB", passes: int = 2, buffers: Iterable[int] = (1, 2)
) -> Overlap:
    """Read a temporary file tile by tile while NumPy sums the tile before, and time it.

    `size`: bytes of a tile of fp32 numbers (rounded down to whole ones). `passes`: how often a tile is summed, which
    makes the arithmetic longer and leaves the loading alone. Once for each number of `buffers`, each time into as many
    arrays, used in turn; a tile's result is its sum. The file was written just before and comes from the system's
    cache: what is seen is the bandwidth of memory, not of a disk. Needs NumPy, and two idle processor cores to show
    anything. Raises `ExtentError` or `ReadError` for a size or number that is none.

    >>> overlap = measured_overlap(tiles=3, size="4 kB")
    >>> [run.schedule.buffers for run in overlap.runs], len(overlap.runs[0].results)
    ([(1,), (2,)], 3)
    """
    import numpy

    tiles, passes, numbers = read_count("tiles", tiles), read_count("passes", passes), read_quantity(size, "B") // 4
    if numbers < 1:
        raise ExtentError(f"size = {quote(size)}: a tile needs at least the 4 bytes of one number")
    if not isinstance(buffers, Iterable) or not (counts := sorted({read_count("buffers", b) for b in buffers})):
        raise ExtentError(f"buffers = {quote(buffers)}: expected numbers of buffers to compare, such as (1, 2)")

    def compute(tile: NDArray[float32]) -> float:
        # A sum uses one core: the threads of a matrix product would take the loader's away.
        for _ in range(passes):
            total = tile.sum()
        return float(total)

    runs = []
    with tempfile.TemporaryFile() as file:
        random = numpy.random.default_rng(0)
        for _ in range(tiles):
            file.write(random.random(int(numbers), numpy.float32).data)
        for count in counts:
            # Ones, not empty: the first write to a fresh page costs more than all that follow.
            places = [numpy.ones(int(numbers), numpy.float32) for _ in range(min(count, tiles))]

            def load(i: int, places: list[NDArray[float32]] = places) -> NDArray[float32]:
                place = places[i % len(places)]
                file.seek(i * place.nbytes)
                file.readinto(place.data)
                return place

            runs.append(run_pipeline(load, compute, tiles, count))
    return Overlap(tuple(runs))


def _buffers(schedule: Schedule) -> str:
    count = schedule.buffers[0]
    return f"{count} buffer{'' if count == 1 else 's'}"
