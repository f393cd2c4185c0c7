"""The computational view: its answers against reckonings of our own, and the picture against its numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from driving import agrees, moves
from hypothesis import given, settings
from hypothesis import strategies as st

from dnnlab import device, devices, zoo
from dnnlab.errors import DnnlabError, ExtentError, UnknownNameError
from dnnlab.explorers import Panel, computational_view
from dnnlab.explorers.computational_view import LARGEST_TILE, State, again, model, settle, tile
from dnnlab.figures import Canvas, DependencyDrawing, FeatureMap
from dnnlab.figures.dependencies import SLOTS
from dnnlab.layers.windows import AXES, Windowed, both
from dnnlab.networks import INPUT
from dnnlab.notes.view import QUESTIONS, place, view
from dnnlab.quantities import bytes_of, show

MACHINES = [machine.id for machine in devices() if machine.bandwidth is not None]
NETWORKS = ["lenet5", "alexnet", "resnet18", "mobilenet_v2", "bert_base"]
states = st.builds(
    State,
    st.sampled_from(NETWORKS), st.sampled_from(MACHINES), st.sampled_from([1, 3, 32]),
    st.sampled_from(["", "conv1", "fc2", "classifier.1", "layer1.0.add", "features.1.conv.0.2", "encoder.1.norm"]),
    st.integers(1, LARGEST_TILE), st.integers(0, 100), st.sampled_from(["fp16", "fp32"]),
)  # fmt: skip


@pytest.fixture
def panel() -> Iterator[Panel]:
    panel = computational_view("alexnet", "t4", batch=4, strict=True)
    yield panel
    panel.close()


# --- the state


@given(states)
@settings(max_examples=60, deadline=None)
def test_settled_states_are_valid_and_stay(state: State) -> None:
    settled = settle(state)
    net = zoo.network(state.network)
    names = [node.name for node in net.layers]
    assert settled.layer in names and settled.dtype in device(state.device).peak
    assert state.layer not in names or settled.layer == state.layer
    assert 1 <= settled.tile <= state.tile
    assert settle(settled) == settled
    region, shape = tile(settled), net[settled.layer].output_shape
    for (start, stop), size in zip(region[1:], shape[1:], strict=True):
        assert 0 <= start < stop <= size
        assert stop - start in (settled.tile, size)
    assert region[0] == (0, 1)
    if state.place == 0:
        assert all(start == 0 for start, _ in region)
    if state.place == 100:
        assert all(stop == size for (_, stop), size in zip(region[1:], shape[1:], strict=True))


# --- what a tile needs


@given(st.integers(1, 60), st.integers(0, 100), st.sampled_from(["features.10", "features.5", "features.3"]))
@settings(max_examples=30, deadline=None)
def test_a_chain_of_windows_back_to_the_image(size: int, where: int, layer: str) -> None:
    """AlexNet's rows, by the arithmetic of one window after the other."""
    reading = model(settle(State("alexnet", "t4", 1, layer, size, where, "fp16")))
    net = zoo.alexnet()
    names = [node.name for node in net.layers]
    spans = [tile(reading.state)[2:]]
    for node in reversed(net.layers[: names.index(layer) + 1]):
        one = node.layer
        found = list(spans[-1])
        if isinstance(one, Windowed):
            for number, axis in enumerate(AXES):
                step, reach = one.strides[number], getattr(one, AXES[axis][1])
                low = found[number][0] * step - one.border(axis)
                high = (found[number][1] - 1) * step - one.border(axis) + reach
                assert both("dilation", one.dilation) == (1, 1)
                found[number] = (max(0, low), min(one.input_shapes[0][2 + number], high))
        spans.append(tuple(found))
        assert reading.needed[node.inputs[0]][2:] == spans[-1]
    assert reading.maps[0].part == spans[-1] and reading.maps[0].name == INPUT


@given(states)
@settings(max_examples=60, deadline=None)
def test_the_maps_are_a_chain_to_the_tile(state: State) -> None:
    state = settle(state)
    reading = model(state)
    net = zoo.network(state.network)
    assert 1 <= len(reading.maps) <= SLOTS and len(reading.links) == len(reading.maps) - 1
    assert reading.maps[-1].name == state.layer
    order = [INPUT, *(node.name for node in net.layers)]
    places = [order.index(one.name) for one in reading.maps]
    assert places == sorted(places)
    for one in reading.maps:
        assert math.prod(one.size) <= math.prod(net.shape(one.name))
        assert all(0 <= start < stop <= size for (start, stop), size in zip(one.part, one.size, strict=True))
        assert one.needed in reading.alt and one.extent in reading.alt
    for link, (before, after) in zip(reading.links, zip(reading.maps, reading.maps[1:], strict=False), strict=True):
        if match := re.fullmatch(r"(\d+)×(\d+)(?: /(\d+))?", link):
            step = int(match[3] or 1)
            for (a, b), (c, d), window in zip(before.part, after.part, match.groups()[:2], strict=True):
                assert b - a <= (d - c - 1) * step + int(window)
    sentence = reading.sentence
    for edge in net[state.layer].inputs:
        assert edge in sentence
    direct = reading.needed[net[state.layer].inputs[0]]
    assert place(direct, axes=2) in sentence or "all " in sentence


def test_a_linear_layer_needs_everything() -> None:
    reading = model(settle(State("alexnet", "t4", 1, "classifier.1", 1, 30, "fp16")))
    assert all(one.whole for one in reading.maps[:-1]) and not reading.maps[-1].whole
    assert "all 9,216 of classifier.0" in reading.sentence
    assert "all 224×224 of the network's input" in reading.sentence


@given(
    st.sampled_from(["features.2", "features.12", "features.19", "features.28"]), st.integers(1, 7), st.integers(0, 100)
)
@settings(max_examples=30, deadline=None)
def test_the_halo_is_the_window_less_its_step(layer: str, size: int, where: int) -> None:
    state = settle(State("vgg16", "t4", 1, layer, size, where, "fp16"))
    node = zoo.vgg16()[layer]  # 3 × 3 windows at steps of one
    start, stop = tile(state)[2]
    neighbour = stop + state.tile <= node.output_shape[2] or start >= state.tile
    assert again(node.layer, tile(state)) == (2 if neighbour else None)


# --- the questions


@given(states)
@settings(max_examples=80, deadline=None)
def test_every_answer_by_our_own_arithmetic(state: State) -> None:
    state = settle(state)
    net, machine = zoo.network(state.network, batch=state.batch), device(state.device)
    node = net[state.layer]
    seen = view(net, state.layer, machine, state.dtype)
    answers = seen.answers()
    assert list(answers) == list(QUESTIONS)
    width = Fraction(bytes_of(state.dtype))
    parameters = Fraction(node.layer.parameters) * width
    assert seen.load == pytest.approx(float(parameters / Fraction(machine.require("bandwidth"))))
    if not parameters:
        assert answers["parameters"] == "there are none"
        assert all(answers[key] is None for key in ("parameters_fit", "load", "hidden", "reuse"))
    else:
        assert f"{node.layer.parameters:,} numbers" in str(answers["parameters"])
        if machine.on_chip is not None:
            assert str(answers["parameters_fit"]).startswith("yes" if parameters <= machine.on_chip else "no")
        arithmetic = Fraction(node.ops) / Fraction(machine.rate(state.dtype))
        memory = parameters / Fraction(machine.require("bandwidth"))
        assert ("all of it" in str(answers["hidden"])) == (arithmetic >= memory)
    both_ways = (Fraction(node.layer.inputs) + Fraction(node.activations)) * width
    if machine.on_chip is None:
        assert "not known" in str(answers["activations_fit"])
    else:
        assert str(answers["activations_fit"]).startswith("yes" if both_ways <= machine.on_chip else "no")
    if node.ops and machine.lanes:
        rounds = -(-node.parallelism // machine.lanes)
        use = Fraction(node.parallelism, rounds * int(machine.lanes))
        assert f"{rounds:,} round" in str(answers["lanes"]) and f"{float(use):.1%}" in str(answers["lanes"])
        assert str(answers["lanes"]).startswith("yes" if node.parallelism >= machine.lanes else "no")
    if node.kind == "Conv2d":
        n, k, y, x = node.output_shape
        assert seen.reuse == n * y * x and f"{n * y * x:,} times" in str(answers["reuse"])
        terms = node.layer.c * node.layer.r * node.layer.s
        assert f"{n * k * y * x:,} independent results, each a sum of {terms:,} products" == answers["parallelism"]
    if node.kind == "Linear":
        assert seen.reuse == state.batch


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "bert_base"])
def test_an_output_stays_until_its_last_reader(name: str) -> None:
    net, machine = zoo.network(name), device("t4")
    for place_, node in list(enumerate(net.layers))[::4]:
        readers = [other for other, later in enumerate(net.layers) if node.name in later.inputs]
        views = [other for other in readers if net.layers[other].kind == "Flatten"]
        if node.kind == "Flatten" or views:
            continue
        seen = view(net, node.name, machine, "fp16")
        last = max(readers, default=place_)
        assert (seen.until, seen.passes) == (net.layers[last].name, last - place_)
        slowest = [max(Fraction(one.ops) / 65 * Fraction(1, 10**12), Fraction(2 * one.traffic) / (320 * 10**9))
                   for one in net.layers[place_ + 1 : last + 1]]  # fmt: skip
        assert float(seen.stay) == pytest.approx(float(sum(slowest)))
        assert seen.passes == 0 or show(seen.stay, "s") in str(seen.answers()["life"])


def test_a_view_stores_nothing_and_a_shortcut_waits_long() -> None:
    net = zoo.resnet18()
    assert view(net, "flatten", device("t4")).passes is None
    assert view(net, "maxpool", device("t4")).until == "layer1.0.add"
    assert view(net, "fc", device("t4")).passes == 0


@given(states)
@settings(max_examples=20, deadline=None)
def test_the_table_has_a_row_for_each_question(state: State) -> None:
    reading = model(settle(state))
    rows = reading.table.records()
    asked = [(row["about"], row["question"]) for row in rows]
    assert asked[: len(QUESTIONS)] == list(QUESTIONS.values())
    assert len(rows) == len(QUESTIONS) + len(reading.maps)  # one for each map but the tile, and the halo


# --- the panel and its picture


@pytest.mark.parametrize(("layer", "size"), [("layer2.0.conv2", 8), ("layer4.0.conv2", 2), ("conv1", 4)])
def test_every_step_of_the_place_moves_the_tile(panel: Panel, layer: str, size: int) -> None:
    panel.set(network="resnet18", layer=layer, tile=size, place=0)
    slider, box = panel.widgets["place"]
    rows = panel.reading.maps[-1].size[0]  # type: ignore[attr-defined]
    assert slider.max == min(100, rows - size)
    starts = []
    for stop in range(slider.max + 1):
        slider.set_state({"value": stop})
        assert slider.value == stop
        starts.append(panel.reading.maps[-1].part[0][0])  # type: ignore[attr-defined]
    assert starts == sorted(set(starts)) and (starts[0], starts[-1]) == (0, rows - size)
    if rows - size <= 100:
        assert starts == list(range(rows - size + 1))
    box.set_state({"value": 0})
    box.set_state({"value": box.step})
    assert panel.reading.maps[-1].part[0][0] > 0  # type: ignore[attr-defined]


def test_a_tile_as_large_as_the_output_has_no_other_place(panel: Panel) -> None:
    panel.set(network="resnet18", layer="layer4.0.conv2", tile=7)
    assert all(widget.disabled for widget in panel.widgets["place"])
    panel.set(tile=4)
    assert not any(widget.disabled for widget in panel.widgets["place"])


def test_only_what_changed_is_drawn(panel: Panel) -> None:
    canvas = panel._picture.canvas
    before = canvas.draws[:]
    for field in ("place", "batch"):
        for widget, message in list(moves(panel, field))[:5]:
            widget.set_state(message)
    assert canvas.draws[:2] == before[:2] and canvas.draws[2] > before[2]  # the maps are the same, the parts move
    panel.set(layer="features.0")
    assert canvas.draws[:2] == [before[0], before[1] + 1]


@given(states)
@settings(max_examples=30, deadline=None)
def test_the_parts_stand_where_the_numbers_say(state: State) -> None:
    reading = model(settle(state))
    canvas = Canvas(480, 204)
    drawing = DependencyDrawing(canvas.axes(0, 0, 1, 1))
    drawing.update(reading.maps, reading.links)
    canvas.png(*drawing.layers)
    slots = drawing._slots
    assert [slot.box.get_visible() for slot in slots] == [n < len(reading.maps) for n in range(SLOTS)]
    for slot, one in zip(slots, reading.maps, strict=False):
        part, box = slot.part.get_bbox(), slot.box.get_bbox()
        assert box.x0 - 1e-9 <= part.x0 < part.x1 <= box.x1 + 1e-9
        assert box.y0 - 1e-9 <= part.y0 < part.y1 <= box.y1 + 1e-9
        start, stop = one.part[0]
        if part.height > 3.001:
            assert (part.y0 - box.y0) / box.height == pytest.approx(start / one.size[0])
            assert part.height / box.height == pytest.approx((stop - start) / one.size[0])
        assert slot.needed.get_text() == ("all" if one.whole else one.needed)
        assert slot.extent.get_text() == f"of {one.extent}"
        assert "".join(line.get_text() for line in slot.name).removeprefix("…") in one.name
    xs, ys = drawing._cones.get_data()
    assert len(xs) == len(ys) == 6 * (len(reading.maps) - 1)
    assert [link.get_text() for link in drawing._links][: len(reading.links)] == list(reading.links)


def test_a_map_can_vanish_and_come_back() -> None:
    canvas = Canvas(480, 204)
    drawing = DependencyDrawing(canvas.axes(0, 0, 1, 1))
    maps = [FeatureMap(f"m{n}", (8, 8), ((0, n + 1), (0, n + 1))) for n in range(5)]
    pictures = []
    for count in (5, 2, 5):
        drawing.update(maps[:count], ["3×3"] * (count - 1))
        pictures.append(canvas.png(*drawing.layers))
    assert pictures[0] == pictures[2] != pictures[1]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"network": "resnet51"}, UnknownNameError, "did you mean 'resnet50'"),
        ({"device": "h100"}, UnknownNameError, "h100-sxm"),
        ({"device": "eyeriss", "dtype": "int16"}, ExtentError, "no known bandwidth"),
        ({"dtype": "fp4"}, UnknownNameError, "unknown dtype"),
        ({"layer": "conv9"}, UnknownNameError, "unknown layer of resnet18 'conv9'"),
        ({"batch": 0}, ExtentError, "batch must be a whole number from 1 to 256, not 0"),
        ({"tile": 129}, ExtentError, "tile must be a whole number from 1 to 128, not 129"),
        ({"place": -1}, ExtentError, "from 0 to 100, not -1"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], error: type[DnnlabError], words: str) -> None:
    with pytest.raises(error, match=words):
        computational_view(**arguments)


def test_a_tile_larger_than_the_map_becomes_the_map(panel: Panel) -> None:
    panel.set(layer="features.12", tile=100)
    assert panel.state == replace(panel.state, tile=6)
    assert all(one.whole for one in panel.reading.maps[1:])
    agrees(panel)
