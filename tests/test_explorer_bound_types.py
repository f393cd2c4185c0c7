"""The bound explorer: its times against exact fractions, its lanes against a pipeline reckoned step by step."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from driving import agrees, pixels
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dnnlab import device, zoo
from dnnlab.errors import ExtentError, UnknownNameError
from dnnlab.explorers import Panel, bound_types
from dnnlab.explorers.bound_types import (
    BANDWIDTHS,
    LARGEST_BATCH,
    LAYERS,
    ON_CHIPS,
    OPERANDS,
    PARTS,
    RATES,
    Drawing,
    Reading,
    State,
    model,
)
from dnnlab.quantities import bytes_of, show
from dnnlab.tiling import moved

#: Where each layer stands: a layer of that kind and these sizes must be in the network.
HOMES = {
    "conv": "resnet50", "pointwise": "mobilenet_v1", "depthwise": "mobilenet_v1", "linear": "vgg16",
    "batched_linear": "bert_base", "attention": "bert_base", "pooling": "resnet50", "norm": "resnet50",
}  # fmt: skip
H100 = State("linear", 32, "fp16", 3.35e12, 989.4e12, 52_428_800)


def amounts(ends: tuple[float, float]) -> st.SearchStrategy[float]:
    return st.sampled_from([ends[0], (ends[0] * ends[1]) ** 0.5, ends[0] * 37, ends[1]])


states = st.builds(
    State, st.sampled_from(list(LAYERS)), st.sampled_from([1, 8, 100, LARGEST_BATCH]), st.sampled_from(OPERANDS),
    amounts(BANDWIDTHS), amounts(RATES), st.sampled_from([1e6, 3e7, 1e9]),
)  # fmt: skip


@pytest.fixture
def panel() -> Iterator[Panel]:
    panel = bound_types(strict=True)
    yield panel
    panel.close()


# --- what it says


@pytest.mark.parametrize("name", list(LAYERS))
def test_each_layer_is_one_of_the_network_it_names(name: str) -> None:
    label, layer = LAYERS[name]
    network = zoo.network(HOMES[name])
    own = (layer.kind, layer.ops, layer.input_shapes, layer.output_shape)
    there = []
    for node in network.layers:
        plain = node.layer.at(**{option: False for option in ("bias", "dropout") if hasattr(node.layer, option)})
        there.append((plain.kind, plain.ops, plain.input_shapes, plain.output_shape))
    short = {"resnet50": "ResNet-50", "mobilenet_v1": "MobileNetV1", "vgg16": "VGG-16", "bert_base": "BERT"}
    assert own in there and label.endswith(f"({short[HOMES[name]]})")


@given(states)
@settings(max_examples=60, deadline=None)
def test_the_times_are_operations_by_rate_and_bytes_by_bandwidth(state: State) -> None:
    layer, time = LAYERS[state.layer][1].at(n=state.batch), model(state).time
    numbers = moved(layer, state.on_chip, state.dtype)
    compute = Fraction(layer.ops) / Fraction(state.rate)
    memory = Fraction(numbers) * Fraction(bytes_of(state.dtype)) / Fraction(state.bandwidth)
    assert (time.compute, time.memory) == (pytest.approx(float(compute)), pytest.approx(float(memory)))
    assert time.total == pytest.approx(float(max(compute, memory)))
    slow, fast = max(compute, memory), min(compute, memory)
    engine = "memory" if memory > compute else "compute"
    assert time.bound == ("balanced" if slow <= Fraction(11, 10) * fast else engine)


@given(states)
@settings(max_examples=60, deadline=None)
def test_what_twice_of_a_resource_buys(state: State) -> None:
    reading = model(state)
    twice = {
        "bandwidth": replace(state, bandwidth=2 * state.bandwidth), "compute": replace(state, rate=2 * state.rate),
        "on_chip": replace(state, on_chip=2 * state.on_chip),
        "both": replace(state, bandwidth=2 * state.bandwidth, rate=2 * state.rate),
    }  # fmt: skip
    assert set(reading.faster) == set(twice)
    for name, other in twice.items():
        assert reading.faster[name] == pytest.approx(reading.time.total / model(other).time.total)
    assert reading.faster["both"] == pytest.approx(2)
    if reading.time.bound == "memory":
        assert reading.faster["compute"] == 1 and "twice the arithmetic buys nothing" in reading.sentence
    if reading.time.bound == "compute":
        assert reading.faster["bandwidth"] == 1 and "Twice the bandwidth buys nothing" in reading.sentence


@given(states)
@settings(max_examples=60, deadline=None)
def test_the_sentence_says_who_waits(state: State) -> None:
    time, sentence = model(state).time, model(state).sentence
    waits = {"memory": "The arithmetic stands still", "compute": "Memory stands still", "balanced": "Neither waits"}
    assert [phrase in sentence for phrase in waits.values()] == [bound == time.bound for bound in waits]
    assert sentence.startswith(f"{LAYERS[state.layer][0]} at batch {state.batch} is {time.bound}")
    again = moved(LAYERS[state.layer][1].at(n=state.batch), state.on_chip, state.dtype)
    excess = again / LAYERS[state.layer][1].at(n=state.batch).traffic
    assert ("compulsory bytes move" in sentence) == (excess > 1.005)


@given(states)
@settings(max_examples=40, deadline=None)
def test_the_table_has_the_five_factors(state: State) -> None:
    reading, width = model(state), bytes_of(state.dtype)
    layer, rows = LAYERS[state.layer][1].at(n=state.batch), reading.table.records()
    assert [row["factor"] for row in rows] == [
        "Memory bandwidth", "Compute speed, parallelism", "Size of operands", "Size of result", "On-chip buffering",
    ]  # fmt: skip
    shown = [show(state.bandwidth, "B/s"), show(state.rate, "OP/s"), f"{state.dtype}: {width} B"]
    assert [row["here"] for row in rows[:3]] == shown
    assert rows[4]["here"] == show(state.on_chip, "B")
    follows = [str(row["follows"]) for row in rows]
    assert show(reading.time.memory, "s") in follows[0] and show(reading.time.compute, "s") in follows[1]
    assert follows[3] == show(layer.activations * width, "B")
    assert show(reading.time.bytes, "B") in follows[4] and show(layer.traffic * width, "B") in follows[4]
    assert [row["doubled"] for row in rows] == [
        reading.faster["bandwidth"], reading.faster["compute"], None, None, reading.faster["on_chip"],
    ]  # fmt: skip


def test_each_factor_moves_the_time_it_should() -> None:
    def times(**fields: object) -> tuple[float, float]:
        reading = model(replace(H100, **fields))  # type: ignore[arg-type]
        return reading.time.compute, reading.time.memory

    compute, memory = times()
    assert times(bandwidth=H100.bandwidth / 2) == pytest.approx((compute, 2 * memory))
    assert times(rate=H100.rate / 2) == pytest.approx((2 * compute, memory))
    assert times(dtype="fp32") == pytest.approx((compute, 2 * memory))
    more = times(batch=64)
    assert more[0] == pytest.approx(2 * compute) and memory < more[1] < 1.1 * memory  # the weights are shared
    tight = times(batch=512, on_chip=2e5)
    assert tight[0] == pytest.approx(16 * compute) and tight[1] > 2.5 * times(batch=512)[1]


def test_the_figures_of_a_device_are_where_it_starts(panel: Panel) -> None:
    h100 = device("h100-sxm")
    state = panel.state
    assert (state.bandwidth, state.rate, state.on_chip) == (h100.bandwidth, h100.rate("fp16"), h100.on_chip)
    small = bound_types("conv", "raspberry-pi-4", "fp32", rate=1e12)
    assert (small.state.bandwidth, small.state.rate) == (device("raspberry-pi-4").bandwidth, 1e12)
    tiny = bound_types("conv", "stm32h743", "fp32")
    assert tiny.state.on_chip == ON_CHIPS[0]
    tiny.close()


# --- the picture


@given(states)
@settings(max_examples=80, deadline=None)
def test_the_lanes_are_a_pipeline_in_full_swing(state: State) -> None:
    reading = model(state)
    time, lanes = reading.time, reading.lanes
    load, compute = time.memory / PARTS, time.compute / PARTS
    pace = max(load, compute)
    near = {"rel": 1e-6, "abs": 1e-6 * pace}
    for lane, busy, first in zip(lanes.lanes, (load, compute), (2, 1), strict=True):
        assert len(lane.blocks) == PARTS
        for place, block in enumerate(lane.blocks):
            assert block.label == str(first + place)
            assert (block.start, block.end) == (pytest.approx(place * pace, **near),
                                                pytest.approx(place * pace + busy, **near))  # fmt: skip
        still = sum(wait.end - wait.start for wait in lane.waits)
        assert still == pytest.approx(PARTS * (pace - busy), **near)
    waiting = {lane.name: {wait.reason for wait in lane.waits} for lane in lanes.lanes}
    slower = "arithmetic" if compute > load else "memory"
    faster = "memory" if slower == "arithmetic" else "arithmetic"
    assert waiting == {slower: set(), faster: {slower}}
    assert lanes.end is not None and lanes.end.time == pytest.approx(time.total)
    assert lanes.reference is not None and time.total / 2 * 0.999 <= lanes.reference.time <= time.total
    assert show(time.memory, "s") in reading.alt and show(time.compute, "s") in reading.alt


def test_a_part_is_computed_after_it_has_come() -> None:
    for state in (H100, replace(H100, batch=512), replace(H100, bandwidth=1e13)):
        memory, arithmetic = model(state).lanes.lanes
        came = {block.label: block.end for block in memory.blocks}
        for block in arithmetic.blocks[1:]:
            assert block.start >= came[block.label] - 1e-12 * came["9"]


def test_only_the_engine_that_waits_is_hatched() -> None:
    drawing = Drawing()
    for state, lane in ((H100, "memory"), (replace(H100, rate=1e12), "arithmetic")):
        drawing.png(model(state))
        wide = {reason: found.get_path().get_extents().width for reason, found in drawing.lanes.waits.items()}
        assert {reason for reason, width in wide.items() if width > 0} == {lane}
    legend = {text.get_text() for text in drawing.lanes.axes.texts if text.get_visible()}
    assert {"waits for memory", "waits for arithmetic"} < legend and "fill, drain" not in legend


def test_the_picture_changes_with_the_bound(panel: Panel) -> None:
    before = pixels(panel.image.value)
    panel.set(rate=1e12)
    agrees(panel)
    after = pixels(panel.image.value)
    assert before.shape == after.shape and (before != after).any()
    assert np.asarray(Image.open(io.BytesIO(panel.image.value))).shape == before.shape[:2]


# --- what is wrong


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"layer": "lineal"}, UnknownNameError, "linear"),
        ({"dtype": "fp61"}, UnknownNameError, "fp16"),
        ({"device": "h1000"}, UnknownNameError, "h100"),
        ({"device": "t4", "dtype": "fp8"}, UnknownNameError, "fp16"),
        ({"batch": 0}, ExtentError, "from 1 to 512"),
        ({"bandwidth": 5}, ExtentError, "1 GB/s to 10 TB/s"),
        ({"rate": 1e17}, ExtentError, "10 GOP/s to 10 POP/s"),
        ({"on_chip": "big"}, ExtentError, "200 kB to 1 GB"),
        ({"device": "jetson-orin-nano"}, ExtentError, "no known on_chip"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        bound_types(**arguments)  # type: ignore[arg-type]


def test_a_reading_is_pure() -> None:
    first, second = model(H100), model(H100)
    assert isinstance(first, Reading) and first.sentence == second.sentence and first.lanes == second.lanes
