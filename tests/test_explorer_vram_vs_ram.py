"""The memory explorer: its numbers against footprint and spill of each state, its picture against its numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from driving import agrees
from hypothesis import given, settings
from hypothesis import strategies as st

from dnnlab import Adam, device, zoo
from dnnlab.errors import DnnlabError, ExtentError, UnknownNameError
from dnnlab.explorers import Panel, vram_vs_ram
from dnnlab.explorers.vram_vs_ram import NETWORKS, Drawing, State, _machines, _outside, model, settle
from dnnlab.figures.memory import _BOTTOM, _FLOOR, _LEFT, _RIGHT, GROUPS, WAYS
from dnnlab.hardware import memories
from dnnlab.memory import fits, footprint, spill
from dnnlab.memory.batches import footprints, outside, spills
from dnnlab.quantities import DTYPES, bytes_of, show

SMALL = ["alexnet", "resnet50", "gpt2_small"]
states = st.builds(
    State,
    st.sampled_from(SMALL), st.sampled_from(list(_machines())), st.sampled_from(list(DTYPES)),
    st.sampled_from(["inference", "training"]), st.sampled_from([1, 3, 64, 1024]), st.sampled_from(list(_outside())),
)  # fmt: skip


@pytest.fixture
def panel() -> Iterator[Panel]:
    panel = vram_vs_ram("alexnet", "t4", "fp16", strict=True)
    yield panel
    panel.close()


# --- the same at every batch


@pytest.mark.parametrize("name", ["lenet5", "resnet18", "mobilenet_v2", "gpt2_small"])
@pytest.mark.parametrize("training", [False, True])
def test_two_batches_tell_the_footprint_of_every_batch(name: str, training: bool) -> None:
    net = zoo.network(name)
    options: dict[str, Any] = {"training": True, "optimizer": Adam(), "master": "fp32"} if training else {}
    every = footprints(net, "fp16", **options)
    for batch in (1, 2, 5, 300):
        told, found = every.at(batch), footprint(net.at_batch(batch), "fp16", **options)
        assert (told.total, told.states) == (found.total, found.states)
        if not training or told.moment == found.moment:  # of several equally full ones it may be another
            assert told == found
    assert every.one == footprint(net.at_batch(1), "fp16", **options)


@pytest.mark.parametrize(("name", "options"), [("resnet18", {}), ("bert_base", {}), ("gpt2_small", {"length": 1})])
def test_two_batches_tell_the_spill_of_every_batch(name: str, options: dict[str, int]) -> None:
    net, machine = zoo.network(name, **options), replace(device("t4"), on_chip=None)
    every = spills(net)
    assert len(every.kinds) < len(net.layers) and sum(kind.count for kind in every.kinds) == len(net.layers)
    for batch in (1, 2, 7, 1024):
        told = every.at(batch, device("t4"), "fp16", 60e9, 16e9)
        found = spill(net.at_batch(batch), machine, "fp16", "60 GB/s", "16 GB/s")
        assert sum(told.weights) == sum(found.weights)
        for way in WAYS:
            for f in (0.0, 0.3, 1.0):
                assert float(told.time(f, way)) == pytest.approx(float(found.time(f, way)), rel=1e-12)


@given(st.integers(1, 400_000))
@settings(deadline=None)
def test_with_the_share_outside_it_just_fits(capacity: int) -> None:
    held = footprint(zoo.network("lenet5"))
    share = outside(held, capacity)
    assert isinstance(share, Fraction) and share >= 0
    if share:
        assert held.total - share * held["parameters"] == capacity
    else:
        assert held.total <= capacity


# --- what it says


@given(states)
@settings(max_examples=60, deadline=None)
def test_settled_states_are_valid_and_stay(state: State) -> None:
    settled = settle(state)
    assert settled.dtype in device(state.device).peak
    assert settle(settled) == settled == replace(state, dtype=settled.dtype)
    assert state.work == "inference" or bytes_of(settled.dtype) >= 2


@given(states)
@settings(max_examples=25, deadline=None)
def test_the_verdict_is_that_of_fits(state: State) -> None:
    state = settle(state)
    reading = model(state)
    one, training = NETWORKS[state.network], state.work == "training"
    net = zoo.network(state.network, batch=state.batch, **dict(one.training if training else one.options))
    options: dict[str, Any] = {"cache": one.cache}
    if training:
        options = {"training": True, "optimizer": Adam(), "master": "fp32" if bytes_of(state.dtype) < 4 else None}
    found = fits(net, device(state.device), state.dtype, **options)
    assert bool(found) == bool(reading.fit) == (reading.share == 0)
    assert reading.fit.footprint.total == found.footprint.total
    assert reading.sentence.startswith(found.sentence().partition("Most of it")[0])
    missing = found.footprint.total - device(state.device).require("capacity")
    assert reading.share == pytest.approx(max(0, missing / found.footprint["parameters"]))
    assert ("Nothing has to lie outside" in reading.sentence) == (missing <= 0)
    assert ("Even with all its weights outside" in reading.sentence) == (reading.share > 1)


@given(states)
@settings(max_examples=25, deadline=None)
def test_the_rates_are_those_of_the_catalogue(state: State) -> None:
    state = settle(state)
    reading, machine = model(state), device(state.device)
    rate = {id: rate for one in memories() for id, rate in one.bandwidths.items()}[state.outside]
    assert (reading.spill.fast, reading.spill.slow) == (machine.bandwidth, rate)
    assert reading.spill.link == min(rate, machine.require("link"))
    inside = {way: float(reading.spill.time(0, way)) for way in WAYS}
    reading_is_all = inside["streamed"] <= 1.5 * inside["stored"]
    assert ("stored" in reading.scene.marks) == (reading_is_all and not state.outside.startswith("nvme"))
    share = min(reading.share, 1.0)
    for way, time in reading.scene.marks.items():
        assert time == pytest.approx(float(reading.spill.time(share, way)))
        assert show(time, "s") in reading.alt


@given(states)
@settings(max_examples=25, deadline=None)
def test_the_table_says_the_same(state: State) -> None:
    reading = model(settle(state))
    rows: dict[Any, dict[str, Any]] = {row["what"]: row for row in reading.table.records()}
    parts = [part.name for part in reading.fit.footprint.parts]
    assert list(rows)[: len(parts) + 2] == [*parts, "needed", "capacity"]
    assert sum(rows[name]["size"] for name in parts) == rows["needed"]["size"] == reading.fit.footprint.total
    assert sum(float(rows[name]["share"]) for name in parts) == pytest.approx(1)
    times = [row["time"] for row in rows.values() if row["time"] is not None]
    assert times == list(reading.scene.marks.values())


def test_a_share_outside_never_makes_a_pass_faster(panel: Panel) -> None:
    for network in ("gpt2_small", "vgg16"):
        for machine in ("t4", "b200"):
            panel.set(network=network, device=machine, batch=16)
            agrees(panel)
            scene = panel.reading.scene  # type: ignore[attr-defined]
            for times in scene.times.values():
                assert list(times) == sorted(times)
            assert all(a <= b for a, b in zip(scene.times["streamed"], scene.times["serial"], strict=True))


def test_reading_alone_is_shown_only_where_a_pass_is_little_else(panel: Panel) -> None:
    panel.set(network="llama")
    assert "stored" in panel.reading.scene.marks  # type: ignore[attr-defined]
    panel.set(network="resnet50", work="training", batch=256)  # arithmetic takes thousands of times as long
    assert "stored" not in panel.reading.scene.marks  # type: ignore[attr-defined]
    assert "where they are stored" not in panel.reading.sentence


def test_no_pass_takes_once_as_long(panel: Panel) -> None:
    panel.set(network="llama", dtype="fp16")  # the work hides what is streamed in beside it
    assert "then takes no longer if they are streamed in during the work, 1.41× as long" in panel.reading.sentence
    panel.set(batch=64)
    assert " 1× as" not in panel.reading.sentence


def test_training_needs_more_and_a_larger_batch_too(panel: Panel) -> None:
    def needed(**fields: Any) -> float:
        panel.set(**fields)
        return float(panel.reading.fit.footprint.total)  # type: ignore[attr-defined]

    one, many = needed(batch=1), needed(batch=64)
    assert one < many < needed(work="training") < needed(batch=512)
    assert needed(dtype="fp32") > needed(dtype="fp16")


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"network": "lama"}, UnknownNameError, "did you mean 'llama'"),
        ({"device": "raspberry-pi-5"}, UnknownNameError, "unknown device"),
        ({"device": "h100"}, UnknownNameError, "h100-sxm"),
        ({"dtype": "fp5"}, UnknownNameError, "dtype"),
        ({"work": "train"}, UnknownNameError, "did you mean 'training'"),
        ({"outside": "ddr5"}, UnknownNameError, "unknown memory outside 'ddr5'"),
        ({"network": "alexnet", "batch": 0}, ExtentError, "batch must be a whole number from 1 to 1024, not 0"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], error: type[DnnlabError], words: str) -> None:
    with pytest.raises(error, match=words):
        vram_vs_ram(**arguments)


# --- what it shows


@given(states)
@settings(max_examples=25, deadline=None)
def test_the_picture_stands_where_the_numbers_say(state: State) -> None:
    reading, picture = model(settle(state)), _picture()
    picture.png(reading)
    drawing, scene = picture._drawing, reading.scene
    floor = float(_FLOOR)
    scale = sum(part.get_height() for part in drawing.stack.values()) / scene.needed
    for name, part in drawing.stack.items():
        assert part.get_height() == pytest.approx(scene.groups[name] * scale)
        floor -= part.get_height()
        assert part.get_y() == pytest.approx(floor)
        seen = scene.groups[name] > (0.005 * scene.needed if name == "other" else 0)
        assert part.get_visible() == seen == (name in scene.shown) == drawing._names[name].get_visible()
    if drawing.limit.get_visible():
        assert drawing.room.get_height() == pytest.approx(scene.capacity * scale)
        assert (drawing.room.get_y() > floor + 1e-6) == (reading.share > 0)
    else:
        assert scene.capacity > 4 * scene.needed and drawing._break.get_visible()
    x = _LEFT + min(reading.share, 1) * (_RIGHT - _LEFT)
    for way, mark in drawing.marks.items():
        assert mark.get_visible() == (way in scene.marks)
        if way in scene.marks:
            assert _places(mark, 0)[0] == pytest.approx(x)
            heights = _places(drawing.curves[way])
            assert min(heights) - 1e-6 <= _places(mark)[0] <= max(heights) + 1e-6 <= _BOTTOM + 2e-6
            assert drawing._times[way].get_text() == show(scene.marks[way], "s")
    lowest = {way: time for way, time in scene.marks.items()}
    order = sorted(lowest, key=lambda way: lowest[way])
    heights = [_places(drawing.marks[way])[0] for way in order]
    assert heights == sorted(heights, reverse=True)  # the picture's y grows downwards


def _places(line: Any, axis: int = 1) -> list[float]:
    return [float(place) for place in line.get_data()[axis]]


def test_groups_and_ways_are_told_apart_without_colour() -> None:
    looks = [hatch for _, hatch in GROUPS.values()]
    assert len({look for look in looks if look}) == len(looks) - 2  # weights and the small rest are plain
    assert GROUPS["weights"][0] != GROUPS["other"][0]
    assert len({marker for _, _, marker, _ in WAYS.values()}) == len(WAYS)


_PICTURES: list[Drawing] = []


def _picture() -> Drawing:
    if not _PICTURES:
        _PICTURES.append(Drawing())
    return _PICTURES[0]
