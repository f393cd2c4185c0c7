"""Pipelines that run: order, buffers, results and failures. No test here looks at how long anything took."""

from __future__ import annotations

import itertools
import math
import threading
import traceback
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnnlab.buffering import Run, measured_overlap, pipeline, run_pipeline
from dnnlab.errors import DnnlabError, ExtentError, ReadError


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
    assert set(threading.enumerate()) <= before


def check_order(run: Run) -> None:
    """Every constraint of the recurrence, on the measured intervals."""
    schedule = run.schedule
    columns = [schedule.intervals[name] for name in schedule.engines]
    for j, column in enumerate(columns):
        for i, (start, end) in enumerate(column):
            assert start <= end
            assert i == 0 or start >= column[i - 1][1]
            assert j == 0 or start >= columns[j - 1][i][1]
            if j + 1 < len(columns) and i >= schedule.buffers[j]:
                assert start >= columns[j + 1][i - schedule.buffers[j]][1]
    assert min(start for column in columns for start, _ in column) == 0
    # The prediction starts each tile as soon as the same constraints allow, so that it is never later.
    assert run.predicted.makespan <= schedule.makespan * (1 + 1e-9)


def busy(steps: int) -> int:
    return sum(range(steps))


@settings(max_examples=20)
@given(
    st.integers(1, 12), st.integers(1, 14), st.none() | st.integers(1, 14), st.booleans(),
    st.lists(st.integers(0, 3000), min_size=36, max_size=36),
)  # fmt: skip
def test_order_results_and_at_most_as_many_tiles_as_buffers(
    n: int, buffers: int, out_buffers: int | None, stores: bool, work: list[int]
) -> None:
    held = {"in": 0, "out": 0}
    most = dict(held)
    lock = threading.Lock()
    out = (out_buffers or buffers) if stores else 1

    def take(what: str, change: int) -> None:
        with lock:
            held[what] += change
            most[what] = max(most[what], held[what])

    def load(i: int) -> int:
        take("in", 1)  # the buffer fills as soon as loading starts
        busy(work[i])
        return i

    def compute(i: int) -> int:
        take("out", 1)
        busy(work[12 + i])
        take("in", -1)
        if not stores:
            take("out", -1)
        return i * i

    def store(square: int) -> int:
        busy(work[24 + math.isqrt(square)])
        take("out", -1)
        return square + 1

    run = run_pipeline(load, compute, n, buffers, store if stores else None, out_buffers if stores else None)
    assert run.results == tuple(i * i + stores for i in range(n))
    assert most["in"] <= buffers and most["out"] <= out and set(held.values()) == {0}
    assert run.schedule.engines == (("load", "compute", "store") if stores else ("load", "compute"))
    assert run.schedule.buffers == ((buffers, out) if stores else (buffers,)) and run.schedule.measured
    check_order(run)


@pytest.mark.parametrize("buffers", [1, 2, 3])
def test_places_used_in_turn_never_hold_two_tiles(buffers: int) -> None:
    n, side = 24, 64
    source = np.random.default_rng(1).random((n, side, side))
    places = np.zeros((buffers, side, side))
    full = [False] * buffers

    def load(i: int) -> tuple[int, Any]:
        assert not full[i % buffers], f"tile {i} overwrites one that is still needed"
        full[i % buffers] = True
        np.copyto(places[i % buffers], source[i])
        return i, places[i % buffers]

    def compute(tile: tuple[int, Any]) -> Any:
        i, place = tile
        product = place @ place
        full[i % buffers] = False
        return product

    run = run_pipeline(load, compute, n, buffers)
    assert all(np.array_equal(result, tile @ tile) for result, tile in zip(run.results, source, strict=True))
    check_order(run)


@pytest.mark.parametrize("buffers", [1, 2, 3])
def test_a_tile_that_was_used_is_let_go(buffers: int) -> None:
    class Tile:
        pass

    alive: list[weakref.ref[Tile]] = []

    def load(i: int) -> Tile:
        assert sum(ref() is not None for ref in alive) < buffers
        tile = Tile()
        alive.append(weakref.ref(tile))
        return tile

    assert run_pipeline(load, lambda tile: type(tile).__name__, 20, buffers).results == ("Tile",) * 20
    assert len(alive) == 20 and not any(ref() for ref in alive)


def test_loading_and_computing_overlap_with_two_buffers_and_not_with_one() -> None:
    # Each waits for the other to be at work at the same time: that happens with two buffers, and never with one.
    met = threading.Barrier(2, timeout=20)

    def load(i: int) -> int:
        if i:
            met.wait()
        return i

    def compute(i: int) -> int:
        if i < 5:
            met.wait()
        return i

    run = run_pipeline(load, compute, 6, 2)
    assert run.results == tuple(range(6))
    loads, computes = run.schedule.intervals["load"], run.schedule.intervals["compute"]
    for i in range(5):
        assert loads[i + 1][0] < computes[i][1] and computes[i][0] < loads[i + 1][1]
    single = run_pipeline(lambda i: i, lambda i: i, 6, 1).schedule
    for i in range(5):
        assert single.intervals["load"][i + 1][0] >= single.intervals["compute"][i][1]


@pytest.mark.parametrize("stage", ["load", "compute", "store"])
@pytest.mark.parametrize("error", [KeyError, StopIteration, SystemExit, MemoryError])
def test_what_a_function_raises_reaches_the_caller(stage: str, error: type[BaseException]) -> None:
    calls = {"load": 0, "compute": 0, "store": 0}

    def make(name: str) -> Any:
        def work(tile: int) -> int:
            calls[name] += 1
            if name == stage and tile == 3:
                raise error("spilled")
            return tile

        return work

    with pytest.raises(error) as caught:
        run_pipeline(make("load"), make("compute"), 100, 2, make("store"))
    assert caught.value.__notes__ == [f"raised by {stage} of tile 3 of 100 in run_pipeline"]
    assert "in work" in "".join(traceback.format_exception(caught.value))
    assert calls[stage] == 4 and max(calls.values()) <= 4 + 2 * 2  # nobody ran on


@pytest.mark.parametrize("stage", ["load", "compute", "store"])
def test_a_function_that_hangs_is_named(stage: str) -> None:
    release = threading.Event()

    def make(name: str) -> Any:
        def work(tile: int) -> int:
            if name == stage and tile == 2:
                release.wait(60)
            return tile

        return work

    try:
        with pytest.raises(DnnlabError, match=f"{stage} has been at tile 2 for 1 s; raise `timeout`"):
            run_pipeline(make("load"), make("compute"), 100, 2, make("store"), timeout="1 s")
    finally:
        release.set()  # the fixture sees that the thread then ends


def test_results_may_be_anything() -> None:
    assert run_pipeline(lambda i: None, lambda tile: tile, 3).results == (None, None, None)
    assert run_pipeline(lambda i: i, lambda tile: tile, 1, 10**6).results == (0,)
    assert run_pipeline(lambda i: [], lambda tile: tile.append(1) or tile, 2).results == ([1], [1])


def test_a_measured_schedule_is_drawn_like_a_predicted_one() -> None:
    run = run_pipeline(lambda i: busy(2000), lambda tile: busy(1000), 5, 2)
    predicted = pipeline([1] * 5, [2] * 5)
    assert type(run.schedule) is type(predicted) and run.schedule.engines == predicted.engines
    assert [len(pairs) for pairs in run.schedule.intervals.values()] == [5, 5]
    assert run.schedule.table().records()[0].keys() == predicted.table().records()[0].keys()
    for name in run.schedule.engines:
        stalled = sum(run.schedule.stalled[name].values())
        assert math.isclose(run.schedule.busy[name] + stalled, run.schedule.makespan, rel_tol=1e-9)
    assert (
        "(measured)" in repr(run.schedule) and "handing tiles over" in run.sentence() and "<table" in run._repr_html_()
    )


def test_the_demonstration_sums_its_file_whatever_the_buffers() -> None:
    overlap = measured_overlap(tiles=5, size="64 kB", passes=2, buffers=(3, 1, 2))
    random = np.random.default_rng(0)
    sums = tuple(float(random.random(16_000, np.float32).sum()) for _ in range(5))
    assert [run.schedule.buffers for run in overlap.runs] == [(1,), (2,), (3,)]
    for run in overlap.runs:
        assert run.results == sums
        check_order(run)
    assert [record["buffers"] for record in overlap.table().records()] == [1, 2, 3]
    assert overlap.sentence().startswith("With 1 buffer it took ") and "<table" in overlap._repr_html_()


WRONG: list[tuple[Any, type[DnnlabError], str]] = [
    (lambda: run_pipeline(3, len, 2), DnnlabError, "load = 3: expected a function"),
    (lambda: run_pipeline(str, len, 2, store="s"), DnnlabError, "store = 's': expected a function"),
    (lambda: run_pipeline(str, len, 0), ExtentError, "n = 0"),
    (lambda: run_pipeline(str, len, True), ExtentError, "n = True"),
    (lambda: run_pipeline(str, len, 2, 0), ExtentError, "buffers = 0"),
    (lambda: run_pipeline(str, len, 2, out_buffers=2), ExtentError, "no store stage"),
    (lambda: run_pipeline(str, len, 2, timeout=0), ExtentError, "timeout must be positive"),
    (lambda: run_pipeline(str, len, 2, timeout=math.inf), ReadError, "timeout"),
    (lambda: measured_overlap(tiles=0), ExtentError, "tiles = 0"),
    (lambda: measured_overlap(size=3), ExtentError, "at least the 4 bytes"),
    (lambda: measured_overlap(size="3 s"), ReadError, "3 s"),
    (lambda: measured_overlap(passes=-1), ExtentError, "passes = -1"),
    (lambda: measured_overlap(buffers=()), ExtentError, "expected numbers of buffers to compare"),
]


@pytest.mark.parametrize(("call", "kind", "words"), WRONG, ids=itertools.count())
def test_bad_input_is_named(call: Any, kind: type[DnnlabError], words: str) -> None:
    with pytest.raises(kind) as caught:
        call()
    assert words in str(caught.value)
