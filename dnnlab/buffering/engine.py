"""The exact schedule of a pipeline: load, compute and store, or a chain of any length, with buffers between.

Engine j may start tile i when it has finished tile i-1, when the engine before has delivered tile i, and when one of
the `b` buffers behind it is free, that is, when the next engine has finished tile i-b:

    end[j][i] = max(end[j][i-1], end[j-1][i], end[j+1][i-b]) + time[j][i]

A stage holds its input until it has finished, and asks for its output's place before it starts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import ExtentError
from .channel import shared_starts
from .schedule import Schedule
from .times import Time, Times, behind, between, read_stages, read_times, same_length

Columns = tuple[Times, ...]  # by engine


def pipeline(
    load: Iterable[Any],
    compute: Iterable[Any],
    store: Iterable[Any] | None = None,
    buffers: int = 2,
    out_buffers: int | None = None,
    shared_channel: bool = False,
) -> Schedule:
    """The schedule of tiles that are loaded, computed and perhaps stored, each engine in order.

    `load`, `compute`, `store`: the seconds of each tile (numbers, or texts such as "45 ms"); integers and fractions
    stay exact. Load `i` waits for the loader and for one of the `buffers`, freed when compute `i-buffers` ends;
    compute `i` for its load, the engine and one of the `out_buffers` (None: as many as `buffers`), freed when store
    `i-out_buffers` ends. With `shared_channel`, load and store take turns on one channel: first come, first served,
    and the store first where both ask at the same moment.

    Raises `ShapeError` for empty or ragged sequences, `ReadError` or `ExtentError` for a time that is none and for
    fewer than one buffer.

    >>> pipeline([2, 2, 2], [3, 3, 3], buffers=1).makespan, pipeline([2, 2, 2], [3, 3, 3], buffers=2).makespan
    (15, 11)
    >>> pipeline(["250 ms"] * 4, ["500 ms"] * 4, ["250 ms"] * 4).makespan
    2.5
    """
    stages = {"load": load, "compute": compute} | ({} if store is None else {"store": store})
    counts = behind(store is not None, buffers, out_buffers)
    if not shared_channel:
        return pipeline_levels(stages, counts)
    if store is None:
        raise ExtentError("shared_channel = True, but there is no store stage to share the channel with")
    times = _read(stages)
    return Schedule(tuple(stages), counts, times, shared_starts(times, *counts), shared_channel=True)


def pipeline_levels(stages: Mapping[str, Iterable[Any]], buffers: int | Iterable[int] = 2) -> Schedule:
    """The schedule of a chain of engines, such as disk → RAM → VRAM → chip, with buffers between neighbours.

    `stages`: the seconds of each tile by the engine's name, in the order a tile passes them (at least two engines);
    `buffers`: how many between each neighbouring pair, one number for all or one a pair. Raises as `pipeline`.

    >>> levels = {"disk": [4] * 5, "link": [2] * 5, "compute": [3] * 5}
    >>> schedule = pipeline_levels(levels, buffers=2)
    >>> schedule.makespan, schedule.bottleneck
    (25, 'disk')
    """
    columns = read_stages(stages)
    counts = between(len(columns), buffers)
    times = _read(columns)
    starts = _three(times, counts) if len(times) <= 3 else _chain(times, counts)
    return Schedule(tuple(columns), counts, times, starts)


def _read(stages: Mapping[str, Any]) -> Columns:
    columns = {name: read_times(name, values) for name, values in stages.items()}
    same_length(columns)
    return tuple(columns.values())


def _chain(times: Columns, buffers: tuple[int, ...]) -> Columns:
    """When each engine starts each tile by the recurrence, for any number of engines."""
    tiles = len(times[0])
    # Zeros in front: that many tiles ago nothing was in the way. So ends[j+1][i] is the end of tile i-b.
    ends: list[list[Time]] = [[0] * min(b, tiles) for b in (1, *buffers)]
    starts: list[list[Time]] = [[] for _ in times]
    # The last engine has no buffer behind it; its own past never delays it twice.
    lanes = list(zip(times, starts, ends, [*ends[1:], ends[-1]], strict=True))
    for i in range(tiles):
        ready: Time = 0
        for time, start, end, freed in lanes:
            if end[-1] > ready:
                ready = end[-1]
            if freed[i] > ready:
                ready = freed[i]
            start.append(ready)
            ready += time[i]
            end.append(ready)
    return tuple(map(tuple, starts))


def _three(times: Columns, buffers: tuple[int, ...]) -> Columns:
    """`_chain` for three engines, its inner loop written out, which makes a million tiles twice as fast.

    Two engines have a third one that takes no time. The tests hold both loops against each other.
    """
    tiles, engines = len(times[0]), len(times)
    load, compute, store = times if engines == 3 else (*times, (0,) * tiles)
    computed: list[Time] = [0] * min(buffers[0], tiles)
    stored: list[Time] = [0] * (min(buffers[1], tiles) if engines == 3 else 1)
    starts: tuple[list[Time], ...] = ([], [], [])
    add_load, add_compute, add_store = (start.append for start in starts)
    l: Time = 0  # when the loader, the arithmetic and the storer are free again
    c: Time = 0
    s: Time = 0
    # zip follows the two lists as they grow: it finds tile i-b of the next engine in step with tile i of this one.
    for dl, dc, ds, buffer_free, out_free in zip(load, compute, store, computed, stored, strict=False):
        if buffer_free > l:
            l = buffer_free
        add_load(l)
        l += dl
        if l > c:
            c = l
        if out_free > c:
            c = out_free
        add_compute(c)
        c += dc
        computed.append(c)
        if c > s:
            s = c
        add_store(s)
        s += ds
        stored.append(s)
    return tuple(map(tuple, starts[:engines]))
