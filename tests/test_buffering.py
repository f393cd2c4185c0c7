"""Pipelines: the exact engine against a precedence graph, a simulation and reference data; schedules and stalls."""

from __future__ import annotations

import itertools
import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from pipeline_witness import longest_path, simulate

from dnnlab.buffering import Schedule, pipeline, pipeline_levels
from dnnlab.buffering.engine import _chain
from dnnlab.errors import DnnlabError, ExtentError, ReadError, ShapeError

REFERENCE = json.loads((Path(__file__).parent / "data" / "pipeline_makespans.json").read_text())["instances"]
NAMES = ("load", "compute", "store", "post", "last")
exact = st.integers(0, 9) | st.fractions(0, 9, max_denominator=6)


@st.composite
def chains(draw: st.DrawFn, least: int = 2, most: int = 5, time: Any = exact) -> tuple[list[list[Any]], list[int]]:
    """Times by engine, and buffers between neighbours."""
    engines, tiles = draw(st.integers(least, most)), draw(st.integers(1, 10))
    times = draw(st.lists(st.lists(time, min_size=tiles, max_size=tiles), min_size=engines, max_size=engines))
    return times, draw(st.lists(st.integers(1, tiles + 2), min_size=engines - 1, max_size=engines - 1))


def levels(times: list[list[Any]], buffers: Any) -> Schedule:
    return pipeline_levels(dict(zip(NAMES, times, strict=False)), buffers)


def intervals(schedule: Schedule) -> dict[tuple[int, int], tuple[Any, Any]]:
    """(start, end) by engine and tile."""
    return {(j, i): pair for j, name in enumerate(schedule.engines) for i, pair in enumerate(schedule.intervals[name])}


# -- the engine --------------------------------------------------------------------------------------------------


def test_every_reference_makespan() -> None:
    compared = 0
    for case in REFERENCE:
        for key, makespan in case["makespan"].items():
            counts = [int(part.lstrip("Bo")) for part in key.split("_")]
            schedule = pipeline(case["L"], case["C"], case["S"], *counts)
            assert (schedule.makespan, schedule.serial) == (makespan, case["serial"]), (case["id"], key)
            compared += 1
    assert compared == 567


@given(chains())
def test_engine_is_the_longest_path_and_the_simulation(chain: tuple[list[list[Any]], list[int]]) -> None:
    times, buffers = chain
    found = intervals(levels(times, buffers))
    assert {task: end for task, (_, end) in found.items()} == longest_path(times, buffers)
    assert found == simulate(times, buffers)


@given(chains(most=3, time=exact) | chains(most=3, time=st.floats(0, 10)))
def test_the_loop_written_out_is_the_loop(chain: tuple[list[list[Any]], list[int]]) -> None:
    times, buffers = chain
    schedule = levels(times, buffers)
    assert schedule.starts == _chain(tuple(map(tuple, times)), tuple(buffers))


@given(chains(least=3, most=3, time=st.integers(0, 5)))
def test_shared_channel_is_the_simulation(chain: tuple[list[list[Any]], list[int]]) -> None:
    times, (into, out) = chain
    schedule = pipeline(*times, into, out, shared_channel=True)
    assert intervals(schedule) == simulate(times, (into, out), shared=True)
    assert schedule.makespan >= max(sum(times[0]) + sum(times[2]), pipeline(*times, into, out).makespan)


def test_a_channel_serves_the_store_first_where_both_ask_at_once() -> None:
    # At 2 the second load and the first store both ask; the load would be done at 4, but must wait until 7.
    schedule = pipeline([1, 2], [1, 1], [5, 5], buffers=1, shared_channel=True)
    assert schedule.intervals == {"load": [(0, 1), (7, 9)], "compute": [(1, 2), (9, 10)], "store": [(2, 7), (10, 15)]}


def test_more_buffers_can_cost_time_on_a_shared_channel() -> None:
    # With a third buffer the long load of tile 2 asks for the channel earlier, and gets it before a store.
    times = [[1, 1, 2, 1], [2, 2, 2, 1], [1, 1, 1, 1]]
    assert [pipeline(*times, b, 1, shared_channel=True).makespan for b in (1, 2, 3, 4)] == [16, 12, 13, 13]


def test_defaults_of_the_buffers() -> None:
    times = [[3, 1, 4, 1], [1, 5, 9, 2], [6, 5, 3, 5]]
    assert pipeline(*times).buffers == (2, 2)
    assert pipeline(*times, buffers=3).buffers == (3, 3)
    assert pipeline(*times, out_buffers=1) == levels(times, (2, 1))
    assert pipeline(*times[:2], buffers=10**9).makespan == pipeline(*times[:2], buffers=4).makespan


# -- laws --------------------------------------------------------------------------------------------------------


@given(chains(), st.data())
def test_more_buffers_never_cost_time(chain: tuple[list[list[Any]], list[int]], data: st.DataObject) -> None:
    times, buffers = chain
    more = [count + data.draw(st.integers(0, 2)) for count in buffers]
    slow, fast = levels(times, buffers), levels(times, more)
    assert all(a >= b for x, y in zip(slow.ends, fast.ends, strict=True) for a, b in zip(x, y, strict=True))


@given(chains(), st.data())
def test_faster_parts_never_slow_the_whole(chain: tuple[list[list[Any]], list[int]], data: st.DataObject) -> None:
    times, buffers = chain
    faster = [[t * data.draw(st.fractions(0, 1, max_denominator=4)) for t in column] for column in times]
    slow, fast = levels(times, buffers), levels(faster, buffers)
    assert all(a >= b for x, y in zip(slow.ends, fast.ends, strict=True) for a, b in zip(x, y, strict=True))


@given(chains())
def test_between_the_busiest_engine_and_one_after_the_other(chain: tuple[list[list[Any]], list[int]]) -> None:
    schedule = levels(*chain)
    assert max(schedule.busy.values()) <= schedule.makespan <= schedule.serial == sum(map(sum, chain[0]))
    assert schedule.busy[schedule.bottleneck] == max(schedule.busy.values())
    assert schedule.speedup >= 1 and all(0 <= share <= 1 for share in schedule.utilisation.values())


@given(st.lists(st.tuples(exact, exact), min_size=1, max_size=10))
def test_one_buffer_is_one_after_the_other(tiles: list[tuple[Any, Any]]) -> None:
    load, compute = zip(*tiles, strict=True)
    schedule = pipeline(load, compute, buffers=1)
    assert schedule.makespan == schedule.serial


@given(chains(), st.fractions(Fraction(1, 5), 7))
def test_scaled_times_scale_the_schedule(chain: tuple[list[list[Any]], list[int]], factor: Fraction) -> None:
    times, buffers = chain
    scaled = levels([[t * factor for t in column] for column in times], buffers)
    assert scaled.ends == tuple(tuple(t * factor for t in column) for column in levels(times, buffers).ends)


@given(chains(time=st.floats(0, 1e9)))
def test_floats_are_close_to_the_exact_schedule(chain: tuple[list[list[Any]], list[int]]) -> None:
    times, buffers = chain
    truth = levels([[Fraction(t) for t in column] for column in times], buffers).makespan
    assert math.isclose(levels(times, buffers).makespan, truth, rel_tol=1e-13)


def test_a_third_buffer_helps_unequal_tiles() -> None:
    load, compute = [1, 1, 1, 9], [5, 5, 1, 1]
    assert [pipeline(load, compute, buffers=b).makespan for b in (1, 2, 3, 4)] == [24, 21, 16, 13]


# -- what a schedule tells ---------------------------------------------------------------------------------------


@given(chains(), st.booleans())
def test_work_and_stalls_fill_the_time_of_each_engine(chain: tuple[list[list[Any]], list[int]], shared: bool) -> None:
    times, buffers = chain
    one_channel = shared and len(times) == 3
    schedule = pipeline(*times, *buffers, shared_channel=True) if one_channel else levels(times, buffers)
    for name in schedule.engines:
        clock: Any = 0
        pieces = [(s, e) for s, e in schedule.intervals[name] if e > s]
        pieces += [(stall.start, stall.end) for stall in schedule.stalls[name]]
        for start, end in sorted(pieces):
            assert start == clock < end
            clock = end
        assert clock == schedule.makespan
        stalled = schedule.stalled[name]
        assert schedule.busy[name] + sum(stalled.values()) == schedule.makespan
        for reason, total in stalled.items():
            assert total == sum(stall.time for stall in schedule.stalls[name] if stall.reason == reason) > 0


@given(chains())
def test_each_stall_ends_with_what_it_waited_for(chain: tuple[list[list[Any]], list[int]]) -> None:
    schedule = levels(*chain)
    for j, name in enumerate(schedule.engines):
        for tile, start, end, reason in schedule.stalls[name]:
            if reason == "drain":
                assert tile is None and start == schedule.intervals[name][-1][1] and end == schedule.makespan
            elif reason == "fill":
                assert tile == 0 and j and start == 0 and end == schedule.intervals[NAMES[j - 1]][0][1]
            elif reason.endswith("buffer"):
                assert reason == ("output buffer" if j else "free buffer")
                assert end == schedule.intervals[NAMES[j + 1]][tile - schedule.buffers[j]][1]
            else:
                assert reason == NAMES[j - 1] and end == schedule.intervals[reason][tile][1]


def test_a_schedule_by_pencil() -> None:
    schedule = pipeline([1, 2, 3, 4], [4, 3, 2, 1], [2, 2, 2, 2], buffers=2, out_buffers=1)
    assert schedule.intervals == {
        "load": [(0, 1), (1, 3), (5, 8), (10, 14)],
        "compute": [(1, 5), (7, 10), (12, 14), (16, 17)],
        "store": [(5, 7), (10, 12), (14, 16), (17, 19)],
    }
    assert schedule.stalled == {
        "load": {"free buffer": 4, "drain": 5},
        "compute": {"fill": 1, "output buffer": 6, "drain": 2},
        "store": {"fill": 5, "compute": 6},
    }
    assert schedule.bottleneck == "load" and schedule.makespan == 19 and schedule.serial == 28
    assert repr(schedule) == "Schedule(4 tiles, load → 2 buffers → compute → 1 buffer → store, makespan 19 s)"
    assert schedule.sentence() == (
        "Load is the bottleneck: it works 53% of the 19 s. The longest wait inside: compute, 6 s for an output buffer. "
        "One step after the other would take 28 s, 1.47 times as long."
    )
    assert schedule.table().records()[1] == {
        "engine": "compute", "busy": 10, "utilisation": 10 / 19, "fill": 1, "waits": 6, "drain": 2,
        "reasons": "an output buffer (6 s)",
    }  # fmt: skip
    assert schedule.tile_table(2).rows[1] == (1, "1 s … 3 s", "7 s … 10 s", "10 s … 12 s")
    assert "<caption>4 tiles, load" in schedule._repr_html_()


def test_a_shared_channel_is_an_engine_that_can_be_the_bottleneck() -> None:
    schedule = pipeline([2] * 4, [3] * 4, [2] * 4, shared_channel=True)
    assert schedule.bottleneck == "channel" and schedule.busy["channel"] == 16 and schedule.serial == 28
    assert schedule.utilisation["channel"] == 16 / schedule.makespan
    assert schedule.stalled["load"]["channel"] > 0 and "share a channel" in repr(schedule)


def test_nothing_takes_no_time() -> None:
    schedule = pipeline([0, 0], [0, 0])
    assert schedule.makespan == 0 and schedule.speedup == 1 and set(schedule.utilisation.values()) == {0}
    assert schedule.sentence() == "Nothing takes any time." and schedule.table().rows


def test_schedules_are_values() -> None:
    assert pipeline([1, 2], [3, 4]) == pipeline((1, 2), (3, 4))
    assert hash(pipeline([1, 2], [3, 4])) == hash(pipeline([1, 2], [3, 4]))


def test_what_numbers_may_be() -> None:
    expected = pipeline([1, 2], [Fraction(1, 2), 1]).ends
    half = sympy.Rational(1, 2)
    assert pipeline([sympy.Integer(1), np.int64(2)], [half, sympy.Integer(1)]).ends == expected
    assert pipeline(np.array([1, 2]), np.array([0.5, 1.0])).ends == expected
    assert pipeline(["1 s", "2 s"], ["500 ms", 1]).ends == expected
    assert pipeline(range(1, 3), (t for t in (0.5, 1))).ends == expected
    assert all(type(end) in (int, Fraction) for column in expected for end in column)


def test_integers_beyond_floats_precision_stay_exact() -> None:
    assert pipeline([2**60, 1], [1, 2**60]).makespan == 2**61 + 1


def test_many_tiles() -> None:
    n = 200_000
    schedule = pipeline([2] * n, [3] * n, [1] * n)
    assert schedule.makespan == 6 + (n - 1) * 3 and schedule.intervals["load"][-1][1] == schedule.ends[0][-1]
    assert schedule.stalled["compute"] == {"fill": 2, "drain": 1}


@given(chains())
def test_measured_intervals_make_the_same_schedule(chain: tuple[list[list[Any]], list[int]]) -> None:
    schedule = levels(*chain)
    moved = {name: [(s + 7, e + 7) for s, e in pairs] for name, pairs in schedule.intervals.items()}
    measured = Schedule.from_intervals(moved, schedule.buffers)
    assert measured.measured and (measured.starts, measured.ends) == (schedule.starts, schedule.ends)
    assert (measured.times, measured.stalls) == (schedule.times, schedule.stalls)


def test_a_late_thread_is_a_handover() -> None:
    schedule = Schedule.from_intervals({"load": [(0, 2), (2, 4)], "compute": [(2, 3), (5, 6)]}, [2])
    assert [stall[1:] for stall in schedule.stalls["compute"]] == [(0, 2, "fill"), (3, 4, "load"), (4, 5, "handover")]


# -- bad input ---------------------------------------------------------------------------------------------------

WRONG: list[tuple[Any, type[DnnlabError], str]] = [
    (lambda: pipeline([], []), ShapeError, "load is empty: a pipeline needs at least one tile"),
    (lambda: pipeline([1], []), ShapeError, "compute is empty"),
    (lambda: pipeline([1, 2], [1]), ShapeError, "load has 2, compute has 1"),
    (lambda: pipeline([1], [1], [1, 2, 3]), ShapeError, "load has 1, compute has 1, store has 3"),
    (lambda: pipeline("12", [1, 2]), ShapeError, "load = '12': expected a sequence of times"),
    (lambda: pipeline(3, [1]), ShapeError, "load = 3: expected a sequence"),
    (lambda: pipeline(np.array(3.0), [1]), ShapeError, "load = 3.0: expected a sequence"),
    (lambda: pipeline(None, [1]), ShapeError, "load = None"),
    (lambda: pipeline({1: 2}, [1]), ShapeError, "expected a sequence"),
    (lambda: pipeline({1, 2}, [1, 2]), ShapeError, "expected a sequence"),
    (lambda: pipeline([1, -1], [1, 1]), ExtentError, "load[1] = -1: a time cannot be negative"),
    (lambda: pipeline([1], [Fraction(-1, 2)]), ExtentError, "compute[0] = Fraction(-1, 2): a time cannot be negative"),
    (lambda: pipeline([1], ["-1 ms"]), ExtentError, "compute[0] = '-1 ms': a time cannot be negative"),
    (lambda: pipeline([math.nan], [1]), ReadError, "load[0]: a quantity in s must be finite, not nan"),
    (lambda: pipeline([1, math.inf], [1, 1]), ReadError, "load[1]: a quantity in s must be finite, not inf"),
    (lambda: pipeline([1, math.inf, -math.inf], [1] * 3), ReadError, "load[1]"),
    (lambda: pipeline([True], [1]), ReadError, "load[0]: a quantity in s must be a number, not True"),
    (lambda: pipeline([None], [1]), ReadError, "load[0]"),
    (lambda: pipeline([[1]], [1]), ReadError, "load[0]"),
    (lambda: pipeline([1j], [1]), ReadError, "load[0]"),
    (lambda: pipeline(["3 GB"], [1]), ReadError, "load[0]: cannot read '3 GB' as s"),
    (lambda: pipeline([sympy.Symbol("x")], [1]), ReadError, "load[0]"),
    (lambda: pipeline([10**400], [1]), ExtentError, "at most 1e+300"),
    (lambda: pipeline([10**5000], [1]), ExtentError, "at most 1e+300"),
    (lambda: pipeline([1e308, 1e308], [1, 1]), ExtentError, "the times of load add up to more than 1e+300 s"),
    (lambda: pipeline([1], [10**300, 10**300]), ExtentError, "the times of compute add up"),
    (lambda: pipeline([1], [1], buffers=0), ExtentError, "buffers = 0: expected a whole number of at least 1"),
    (lambda: pipeline([1], [1], buffers=-2), ExtentError, "buffers = -2"),
    (lambda: pipeline([1], [1], buffers=True), ExtentError, "buffers = True"),
    (lambda: pipeline([1], [1], buffers=1.5), ExtentError, "buffers = 1.5"),
    (lambda: pipeline([1], [1], buffers=math.nan), ExtentError, "buffers = nan"),
    (lambda: pipeline([1], [1], buffers=None), ExtentError, "buffers = None"),
    (lambda: pipeline([1], [1], buffers=sympy.Symbol("B")), ExtentError, "not a formula"),
    (lambda: pipeline([1], [1], [1], out_buffers=0), ExtentError, "out_buffers = 0"),
    (lambda: pipeline([1], [1], out_buffers=2), ExtentError, "out_buffers = 2, but there is no store stage"),
    (lambda: pipeline([1], [1], shared_channel=True), ExtentError, "no store stage to share the channel"),
    (lambda: pipeline_levels({"disk": [1]}), ShapeError, "two engines or more"),
    (lambda: pipeline_levels([[1], [2]]), ShapeError, "by their names"),
    (lambda: pipeline_levels({1: [1], 2: [2]}), ShapeError, "by their names"),
    (lambda: pipeline_levels({"a": [1], "b": [1]}, [1, 2]), ShapeError, "2 engines have 1 places for buffers"),
    (lambda: pipeline_levels({"a": [1], "b": [1]}, "0"), ExtentError, "buffers = 0"),
    (lambda: pipeline_levels({"a": [1], "b": [1]}, []), ShapeError, "but 0 numbers of buffers were given"),
    (lambda: Schedule.from_intervals({"a": [(0, 1)], "b": [(1, 2)]}, [1, 1]), ShapeError, "places for buffers"),
    (
        lambda: Schedule.from_intervals({"a": [0, 1], "b": [(0, 1)]}, 1),
        ShapeError,
        "a = [0, 1]: expected a (start, end)",
    ),
    (lambda: Schedule.from_intervals({"a": 3, "b": [(0, 1)]}, 1), ShapeError, "a = 3: expected a (start, end)"),
    (lambda: Schedule.from_intervals({"a": [(0, 1)]}, []), ShapeError, "two engines or more"),
    (
        lambda: Schedule.from_intervals({"a": [(0, 1)], "b": [(2, 1)]}, [1]),
        ExtentError,
        "does not end before it starts",
    ),
    (
        lambda: Schedule.from_intervals({"a": [(0, 2), (1, 3)], "b": [(5, 6), (6, 7)]}, [1]),
        ExtentError,
        "starts at 2 or later",
    ),
    (lambda: Schedule.from_intervals({"a": [(0, 2)], "b": [(0, 1), (1, 2)]}, [1]), ShapeError, "a has 1, b has 2"),
]


@pytest.mark.parametrize(("call", "kind", "words"), WRONG, ids=itertools.count())
def test_bad_input_is_named(call: Any, kind: type[DnnlabError], words: str) -> None:
    with pytest.raises(kind) as caught:
        call()
    assert words in str(caught.value) and "\n" not in str(caught.value)


@settings(max_examples=100)
@given(
    st.lists(st.none() | st.booleans() | st.text(max_size=5) | st.floats() | st.integers(), max_size=4), st.integers()
)
def test_anything_is_scheduled_or_refused(values: list[Any], buffers: int) -> None:
    try:
        schedule = pipeline(values, values, buffers=buffers)
    except DnnlabError:
        return
    assert 0 <= schedule.makespan < math.inf and schedule.tiles == len(values)
