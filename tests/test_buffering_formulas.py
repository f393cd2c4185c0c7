"""Closed forms of equal tiles against the engine; buffers against tile size; a device's levels."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from dnnlab import Device, Memory, device, lecture, read_formula, symbol
from dnnlab.buffering import EqualTiles, device_pipeline, equal_levels, equal_tiles, pipeline, pipeline_levels, tradeoff
from dnnlab.buffering.closed_forms import COMPUTE, LOAD, STORE, TILES
from dnnlab.buffering.tradeoff import blocked_traffic, buffered_traffic
from dnnlab.errors import DnnlabError, ExtentError, ReadError, ShapeError, UnknownNameError
from dnnlab.extremes import Max

NAMES = ("a", "b", "c", "d", "e")
time = st.integers(0, 9) | st.fractions(0, 9, max_denominator=6)
CHIP = Device("chip", {"fp16": "10 TFLOP/s"}, bandwidth="200 GB/s", on_chip="128 KiB")


# -- equal tiles -------------------------------------------------------------------------------------------------


def test_formula_is_the_engine_for_all_small_pipelines() -> None:
    times = (1, 2, 3, 5)
    for load, compute, n, buffers in itertools.product(times, times, range(1, 6), (1, 2, 3)):
        form = equal_tiles(load, compute, n=n, buffers=buffers)
        assert form.makespan == pipeline([load] * n, [compute] * n, buffers=buffers).makespan
    for load, compute, store, n, into, out in itertools.product(times, times, times, (1, 2, 5), (1, 2, 3), (1, 2, 3)):
        form = equal_tiles(load, compute, store, n, into, out)
        assert form.makespan == pipeline([load] * n, [compute] * n, [store] * n, into, out).makespan


@given(st.data())
def test_formula_is_the_engine_for_chains(data: st.DataObject) -> None:
    times = data.draw(st.lists(time, min_size=2, max_size=5))
    n = data.draw(st.integers(1, 30))
    buffers = data.draw(st.lists(st.integers(1, 4), min_size=len(times) - 1, max_size=len(times) - 1))
    names = NAMES[: len(times)]
    form = equal_levels(dict(zip(names, times, strict=True)), n, buffers)
    schedule = pipeline_levels({name: [t] * n for name, t in zip(names, times, strict=True)}, buffers)
    assert (form.makespan, form.serial) == (schedule.makespan, schedule.serial)
    assert math.isclose(form.speedup, schedule.speedup)


@given(st.data())
def test_symbols_are_the_numbers_they_stand_for(data: st.DataObject) -> None:
    numbers = {s: data.draw(st.integers(1, 9)) for s in (LOAD, COMPUTE, STORE, TILES)}
    counts = [symbol("B"), symbol("B_o")]
    into, out = (data.draw(st.integers(1, 4)) for _ in counts)
    store = data.draw(st.sampled_from([None, STORE]))
    last = None if store is None else counts[1]
    open_form = equal_tiles(store=store, buffers=counts[0], out_buffers=last).makespan
    half_open = equal_tiles(store=store, buffers=into, out_buffers=None if store is None else out).makespan
    columns = [[numbers[s]] * numbers[TILES] for s in (LOAD, COMPUTE) + (() if store is None else (STORE,))]
    makespan = pipeline(*columns, buffers=into, out_buffers=None if store is None else out).makespan
    assert half_open.subs(numbers) == makespan
    assert open_form.subs({**numbers, counts[0]: into, counts[1]: out}) == makespan


def test_the_forms_that_the_lecture_shows() -> None:
    l, c, s, n = LOAD, COMPUTE, STORE, TILES
    assert equal_tiles(buffers=1).makespan == n * (l + c)
    assert equal_tiles(buffers=2).makespan == l + c + (n - 1) * Max(l, c)
    both = {
        (1, 1): Max(l + c, c + s), (1, 2): Max(l + c, s), (2, 1): Max(l, c + s),
        (2, 2): Max(l, c, s), (3, 2): Max(l, c, s), (2, 3): Max(l, c, s),
    }  # fmt: skip
    for (into, out), period in both.items():
        assert equal_tiles(store=s, buffers=into, out_buffers=out).makespan == l + c + s + (n - 1) * period


@given(time, time, time, st.integers(1, 20), st.integers(2, 5), st.integers(2, 5))
def test_a_third_buffer_gains_nothing_with_equal_tiles(l: Any, c: Any, s: Any, n: int, into: int, out: int) -> None:
    assert equal_tiles(l, c, s, n, 2).gain((into, out)) == 0
    assert pipeline([l] * n, [c] * n, [s] * n, 2).makespan == pipeline([l] * n, [c] * n, [s] * n, into, out).makespan


@given(time, time, st.integers(1, 20))
def test_a_second_buffer_saves_the_shorter_engine_for_each_tile_but_one(l: Any, c: Any, n: int) -> None:
    saved = pipeline([l] * n, [c] * n, buffers=1).makespan - pipeline([l] * n, [c] * n, buffers=2).makespan
    assert saved == (n - 1) * min(l, c) == equal_tiles(l, c, n=n, buffers=1).gain(2)


def test_speedup_goes_to_its_limit() -> None:
    form = equal_tiles(2, 3)
    assert sympy.limit(form.speedup, TILES, sympy.oo) == sympy.Rational(5, 3) == form.limit
    assert equal_tiles(3, 3, 3).limit == 3 and equal_tiles(buffers=1).speedup == 1
    for n in (1, 10, 1000):
        schedule = pipeline([2] * n, [3] * n)
        assert math.isclose(float(form.speedup.subs(TILES, n)), schedule.speedup) and schedule.speedup < form.limit


def test_formulas_in_words_and_signs() -> None:
    read = read_formula(lecture(equal_tiles().makespan), "nLC")
    assert read.subs({symbol("L"): LOAD, symbol("C"): COMPUTE}) == equal_tiles().makespan
    assert equal_tiles(Fraction(1, 2)).period == Max(sympy.Rational(1, 2), COMPUTE)  # C may be less than 1/2
    assert r"\max" in equal_tiles()._repr_latex_()
    assert repr(equal_tiles(2, 3, n=4)) == "EqualTiles(times=(2, 3), buffers=(2,), n=4)"
    assert equal_tiles(2, 3, n=4) == EqualTiles((2, 3), (2,), 4)
    assert equal_tiles(0, 0, n=4).speedup == 1 and equal_tiles(0, 0, n=4).limit == 1
    assert math.isclose(equal_tiles("30 ms", 0.5, n=3).makespan, 1.53)


# -- buffers against tiles ---------------------------------------------------------------------------------------


@given(*[st.integers(1, 12)] * 3, st.integers(1, 13))
def test_traffic_counts_each_block_that_is_fetched(n: int, k: int, c: int, t: int) -> None:
    elements = 0
    for i, j in itertools.product(range(0, n, t), range(0, k, t)):
        elements += min(t, n - i) * min(t, k - j)  # the block of outputs leaves
        for q in range(0, c, t):
            depth = min(t, c - q)
            elements += min(t, n - i) * depth + min(t, k - j) * depth  # and was summed from blocks of both operands
    assert blocked_traffic(n, k, c, t) == elements


def test_traffic_grows_with_the_square_root_of_the_buffers() -> None:
    n, k = symbol("n"), symbol("k")
    buffers = next(s for s in buffered_traffic().free_symbols if s.name == "B")
    again = buffered_traffic() - n * k
    assert sympy.simplify(again.subs(buffers, 2) / again.subs(buffers, 1)) == sympy.sqrt(2)
    # 128 KiB in four buffers of fp16: blocks of 90.5 on a side
    values = {"n": 4096, "k": 4096, "c": 4096, "B": 4, "M": 2**17, "w": 2}
    formula = buffered_traffic().subs({s: values[s.name] for s in buffered_traffic().free_symbols})
    assert math.isclose(formula * 2, tradeoff(CHIP, 4096, 4096, 4096).rows[3].traffic, rel_tol=0.02)


def test_a_row_of_the_trade_by_pencil() -> None:
    # Two buffers of 64 KiB: 128 x 128 blocks of two operands in fp16 fill one. 32 blocks a side, 32768 tiles.
    row = tradeoff(CHIP, 4096, 4096, 4096, buffers=[2]).rows[0]
    bytes_ = 2 * (2 * 4096**3 // 128 + 4096**2)
    assert (row.buffers, row.tile, row.tiles, row.traffic) == (2, 128, 32768, bytes_)
    load, compute = Fraction(bytes_, 200 * 10**9 * 32768), Fraction(2 * 4096**3, 10**13 * 32768)
    assert (row.load, row.compute) == (float(load), float(compute))
    assert math.isclose(row.makespan, pipeline([load] * 32768, [compute] * 32768).makespan)


def test_one_two_and_three_buffers_each_win_somewhere() -> None:
    product = {"n": 4096, "k": 4096, "c": 4096}
    slow = tradeoff(replace(CHIP, bandwidth="25 GB/s"), **product)
    assert slow.best.buffers == 1  # memory is far slower: the larger tile is worth more than the overlap
    assert slow.rows[0].load > 2.42 * slow.rows[0].compute
    even = tradeoff(replace(CHIP, bandwidth="100 GB/s"), **product)
    assert even.best.buffers == 2
    uneven = tradeoff(CHIP, 2048, 2048, 2048, pattern=(1, 1, 1, 5))
    assert uneven.best.buffers == 3 and tradeoff(CHIP, 2048, 2048, 2048).best.buffers == 2
    assert "3 buffers are best: tiles of 104 × 104" in uneven.sentence()
    assert uneven.table().records()[0]["buffers"] == 1 and "<table" in uneven._repr_html_()


def test_two_buffers_win_up_to_the_break_even_of_the_text() -> None:
    # max(sqrt(2) L, C) = L + C at L = C/(sqrt(2) - 1)
    for ratio, best in ((2.3, 2), (2.55, 1)):
        # Sizes that both tiles divide leave no rounding; L and C of the single-buffered tiling set the bandwidth.
        chip = Device("even", {"fp16": 1e12}, bandwidth=1e9, on_chip=2 * 2 * 128**2)
        row = tradeoff(chip, 128 * 90, 128 * 90, 128 * 90, buffers=[1]).rows[0]
        chip = chip.scaled(bandwidth=row.load / row.compute / ratio)
        assert tradeoff(chip, 128 * 90, 128 * 90, 128 * 90, buffers=(1, 2)).best.buffers == best


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 300), st.integers(16, 10**5))
def test_more_buffers_never_move_less_but_for_the_border(n: int, k: int, c: int, memory: int) -> None:
    found = tradeoff(replace(CHIP, on_chip=memory), n, k, c, buffers=(1, 2, 3, 4))
    for row in found.rows:
        assert row.buffers * 2 * row.tile**2 * 2 <= memory
        assert row.tile == max(n, k, c) or row.buffers * 2 * (row.tile + 1) ** 2 * 2 > memory
        assert row.makespan >= max(row.load, row.compute) * row.tiles * (1 - 1e-12)
    sides = [row.tile for row in found.rows]
    assert sides == sorted(sides, reverse=True)


def test_more_tiles_than_any_network_has() -> None:
    row = tradeoff(CHIP, 10**18, 10**18, 10**18, buffers=[2]).rows[0]
    assert row.bound == "compute" and math.isclose(row.makespan, 2 * 10**54 / 10**13, rel_tol=1e-9)


def test_setting_up_a_load_costs_each_tile() -> None:
    free, dear = (tradeoff(CHIP, 1024, 1024, 1024, setup=setup) for setup in (0, "1 us"))
    for before, after in zip(free.rows, dear.rows, strict=True):
        assert math.isclose(after.load - before.load, 1e-6) and after.makespan > before.makespan


# -- the levels of a device --------------------------------------------------------------------------------------


def test_a_device_is_a_chain_of_its_memories() -> None:
    machine = Device("machine", {"fp16": 10**12}, bandwidth=10**9, capacity=10**9, on_chip=10**7, link=10**8).with_disk(
        10**12, 10**7
    )
    sizes, ops = [10**6, 2 * 10**6, 10**6], [10**9, 3 * 10**9, 10**9]
    schedule = device_pipeline(machine, sizes, ops, buffers=(1, 2, 3))
    by_hand = {
        "disk to host": [0.1, 0.2, 0.1], "host to vram": [0.01, 0.02, 0.01], "vram to chip": [0.001, 0.002, 0.001],
        "compute": [0.001, 0.003, 0.001],
    }  # fmt: skip
    assert schedule == pipeline_levels(by_hand, (1, 2, 3)) and schedule.bottleneck == "disk to host"
    assert device_pipeline(machine, sizes, ops, source="vram").engines == ("vram to chip", "compute")
    assert device_pipeline(machine, sizes, ops, source="host").bottleneck == "host to vram"
    assert device_pipeline(machine, ["1 MB"] * 9, ["1 TFLOP"] * 9).bottleneck == "compute"


T4 = device("t4").with_disk("2 TB", "3 GB/s")
WRONG: list[tuple[Any, type[DnnlabError], str]] = [
    (lambda: equal_tiles(-1, 2), ExtentError, "load[0] = -1: a time cannot be negative"),
    (lambda: equal_tiles(sympy.Symbol("x", negative=True)), ExtentError, "load = x: a time cannot be negative"),
    (lambda: equal_tiles(sympy.Symbol("x", imaginary=True)), ExtentError, "load = x"),
    (lambda: equal_tiles(math.nan, 2), ReadError, "must be finite"),
    (lambda: equal_tiles(1, 2, n=0), ExtentError, "n = 0: expected a whole number of at least 1"),
    (lambda: equal_tiles(1, 2, buffers=0), ExtentError, "buffers = 0"),
    (lambda: equal_tiles(1, 2, out_buffers=1), ExtentError, "no store stage"),
    (lambda: equal_tiles(1e300, 2.0, n=10**10), ExtentError, "add up to more than 1e+300 s"),
    (lambda: equal_tiles(1, 2).gain(0), ExtentError, "buffers = 0"),
    (lambda: equal_levels({"a": 1}), ShapeError, "two engines or more"),
    (lambda: equal_levels([1, 2]), ShapeError, "by their names"),
    (lambda: equal_levels({"a": 1, "b": 2}, buffers=(1, 2)), ShapeError, "places for buffers"),
    (lambda: tradeoff(CHIP, 0, 1, 1), ExtentError, "n = 0"),
    (lambda: tradeoff(CHIP, 1, 1, 1, buffers=()), ExtentError, "expected numbers of buffers to compare"),
    (lambda: tradeoff(CHIP, 1, 1, 1, buffers=2), ExtentError, "expected numbers of buffers to compare"),
    (lambda: tradeoff(CHIP, 1, 1, 1, buffers=(0,)), ExtentError, "buffers = 0"),
    (lambda: tradeoff(CHIP, 1, 1, 1, setup=-1), ExtentError, "setup"),
    (lambda: tradeoff(CHIP, 1, 1, 1, pattern=()), ShapeError, "pattern is empty"),
    (lambda: tradeoff(CHIP, 1, 1, 1, pattern=(0, 0)), ExtentError, "pattern"),
    (lambda: tradeoff(CHIP, 1, 1, 1, dtype="fp61"), UnknownNameError, "fp61"),
    (lambda: tradeoff("chip", 1, 1, 1), DnnlabError, "expected a device"),
    (lambda: tradeoff(replace(CHIP, on_chip=None), 1, 1, 1), ExtentError, "no known on_chip"),
    (lambda: tradeoff(replace(CHIP, on_chip=15), 9, 9, 9), ExtentError, "4 buffers of one element of each operand in"),
    (lambda: tradeoff(CHIP, 10**6, 10**6, 10**6, pattern=(1, 2)), ExtentError, "too many to schedule one by one"),
    (lambda: device_pipeline("t4", [1], [1]), DnnlabError, "expected a device"),
    (lambda: device_pipeline(T4, [1], [1, 2]), ShapeError, "sizes has 1, ops has 2"),
    (lambda: device_pipeline(T4, [], []), ShapeError, "sizes is empty"),
    (lambda: device_pipeline(replace(T4, disk=Memory("tape")), [1], [1]), ExtentError, "bandwidth of the tape of"),
    (lambda: device_pipeline(T4, [-1], [1]), ExtentError, "sizes[0] = -1: cannot be negative"),
    (lambda: device_pipeline(T4, ["1 s"], [1]), ReadError, "sizes[0]"),
    (lambda: device_pipeline(T4, "1 MB", [1]), ShapeError, "sizes = '1 MB'"),
    (lambda: device_pipeline(T4, [1], [1], source="tape"), UnknownNameError, "memory of NVIDIA T4"),
    (lambda: device_pipeline(T4, [1], [1], source="on-chip"), UnknownNameError, "memory of NVIDIA T4"),
    (lambda: device_pipeline(T4, ["3 MB"], [1]), ExtentError, "of on-chip of NVIDIA T4; use tiles of at most"),
    (lambda: device_pipeline(device("eyeriss"), [1], [1], "int16"), ExtentError, "bandwidth"),
]


@pytest.mark.parametrize(("call", "kind", "words"), WRONG, ids=itertools.count())
def test_bad_input_is_named(call: Any, kind: type[DnnlabError], words: str) -> None:
    with pytest.raises(kind) as caught:
        call()
    assert words in str(caught.value) and "\n" not in str(caught.value)
