"""Double buffering on a GPU: chunks are copied from the host on one stream while another stream computes.

A stream does its work in order; two streams do theirs at the same time, apart from where one waits for an event of the
other. So the rules of `pipeline` are written down as events: copy i waits until compute i-B has ended, compute i until
copy i has.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...buffering.overlap import Overlap, measured_overlap
from ...buffering.runner import Run
from ...buffering.schedule import Schedule
from ...buffering.times import read_count
from ...errors import ExtentError, quote
from ...quantities import read_quantity
from ..in_torch.card import Card, card


def overlapped_copies(
    tiles: int = 12,
    size: int | str = "64 MB",
    passes: int = 4,
    buffers: Iterable[int] = (1, 2),
    place: Card | None = None,
) -> Overlap:
    """Copy tiles to the GPU while it works on the tile before, once for each number of `buffers`, and time it.

    `size`: bytes of a tile of fp32 numbers, in pinned memory of the host; `passes`: how often a tile is gone over on
    the GPU, which makes its work longer and leaves the copying alone. With one buffer a copy waits for the work before,
    with two it does not. On the processor this is `measured_overlap`. Raises `ExtentError` or `ReadError` for a size or
    a number that is none, `DnnlabError` where PyTorch or a GPU is missing.

    >>> print(overlapped_copies().sentence())  # doctest: +SKIP
    """
    here = card() if place is None else place
    tiles, passes, numbers = read_count("tiles", tiles), read_count("passes", passes), read_quantity(size, "B") // 4
    if here.place != "cuda":
        return measured_overlap(tiles, size, passes, buffers)
    if numbers < 1:
        raise ExtentError(f"size = {quote(size)}: a tile needs at least the 4 bytes of one number")
    counts = sorted({read_count("buffers", b) for b in buffers})
    if not counts:
        raise ExtentError("buffers = (): expected numbers of buffers to compare, such as (1, 2)")
    torch = here.torch
    host = [torch.full((int(numbers),), float(i), dtype=torch.float32, pin_memory=True) for i in range(tiles)]
    runs = []
    for count in counts:
        places = [torch.empty(int(numbers), dtype=torch.float32, device="cuda") for _ in range(min(count, tiles))]
        _pass(torch, host, places, passes)  # the first time loads the code
        runs.append(_pass(torch, host, places, passes))
    return Overlap(tuple(runs))


def _pass(torch: Any, host: list[Any], places: list[Any], passes: int) -> Run:
    """All tiles once, through as many places, used in turn."""
    cuda = torch.cuda
    loading, computing = cuda.Stream(), cuda.Stream()
    begin = cuda.Event(enable_timing=True)
    cuda.synchronize()
    begin.record(loading)
    computing.wait_event(begin)
    loads: list[tuple[Any, Any]] = []
    works: list[tuple[Any, Any]] = []
    totals = []
    for i, tile in enumerate(host):
        room = places[i % len(places)]
        with cuda.stream(loading):
            if i >= len(places):
                loading.wait_event(works[i - len(places)][1])
            start = _marked(cuda, loading)
            room.copy_(tile, non_blocking=True)
            loads.append((start, _marked(cuda, loading)))
        with cuda.stream(computing):
            computing.wait_event(loads[i][1])
            start = _marked(cuda, computing)
            for _ in range(passes):
                total = room.mean()
            totals.append(total)
            works.append((start, _marked(cuda, computing)))
    cuda.synchronize()

    def seconds(event: Any) -> float:
        return float(begin.elapsed_time(event)) / 1000

    intervals = {
        name: [(seconds(start), seconds(end)) for start, end in pairs]
        for name, pairs in (("load", loads), ("compute", works))
    }
    return Run(tuple(float(total) for total in totals), Schedule.from_intervals(intervals, [len(places)]))


def _marked(cuda: Any, stream: Any) -> Any:
    """An event that the stream comes to here."""
    event = cuda.Event(enable_timing=True)
    event.record(stream)
    return event
