"""The epoch explorer: its numbers against exact sums over layers, batch by batch, and its bars against its numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from driving import agrees
from hypothesis import given, settings
from hypothesis import strategies as st

from dnnlab import device, devices, zoo
from dnnlab.errors import DnnlabError, ExtentError, UnknownNameError
from dnnlab.explorers import Panel, one_epoch
from dnnlab.explorers.one_epoch import OPTIMIZERS, Drawing, State, model, settle
from dnnlab.figures.phases import _LONGEST as _AXIS
from dnnlab.notation import plain
from dnnlab.quantities import DTYPES, bytes_of, show

MACHINES = [machine.id for machine in devices() if machine.bandwidth is not None]
NETWORKS = ["lenet5", "alexnet", "resnet18", "mobilenet_v1"]
LAYERS = ["Conv2d", "DepthwiseConv2d", "Linear", "BatchedLinear", "MaxPool2d", "BatchNorm2d", "ReLU"]
#: Operations on each parameter, and numbers moved for it, counted by hand from the update rules.
RULES = {"sgd": (2, 3), "momentum": (4, 5), "adam": (16, 7)}
states = st.builds(
    State,
    st.sampled_from([*NETWORKS, *LAYERS, "Conv2d-first"]), st.sampled_from(list(OPTIMIZERS)),
    st.sampled_from([1, 3, 64, 700]), st.sampled_from([10_000, 1_000_000]),
    st.sampled_from(MACHINES), st.sampled_from(list(DTYPES)),
)  # fmt: skip


@pytest.fixture
def panel() -> Iterator[Panel]:
    panel = one_epoch("alexnet", "sgd", batch=4, device="t4", strict=True)
    yield panel
    panel.close()


# --- what it says


@given(states)
@settings(max_examples=60)
def test_settled_states_are_valid_and_stay(state: State) -> None:
    settled = settle(state)
    assert settled.dtype in device(state.device).peak
    assert settle(settled) == settled == replace(state, dtype=settled.dtype)
    if state.dtype in device(state.device).peak:
        assert settled == state


@given(st.sampled_from(NETWORKS), states)
@settings(max_examples=25, deadline=None)
def test_the_times_of_a_batch_are_sums_over_layers(network: str, state: State) -> None:
    state = settle(replace(state, work=network))
    machine, net = device(state.device), zoo.network(network, batch=state.batch)
    rate, width = Fraction(machine.rate(state.dtype)), Fraction(bytes_of(state.dtype))
    bandwidth = Fraction(machine.require("bandwidth"))
    time = model(state).time
    ahead = [(node.ops / rate, node.traffic * width / bandwidth) for node in net.layers]
    assert time.forward.compute == pytest.approx(float(sum(compute for compute, _ in ahead)))
    # in training, batch norm writes its statistics too, a thousandth at most of what all layers move
    near = 1e-9 if network in ("lenet5", "alexnet") else 2e-3
    assert time.forward.memory == pytest.approx(float(sum(memory for _, memory in ahead)), rel=near)
    assert time.forward.total == pytest.approx(float(sum(max(pair) for pair in ahead)), rel=near)
    assert time.backward.compute == pytest.approx(float(sum(row.backward_ops for row in net.rows()) / rate))
    ops, moved = RULES[state.optimizer]
    assert time.update.compute == pytest.approx(float(ops * net.parameters / rate))
    assert time.update.memory == pytest.approx(float(moved * net.parameters * width / bandwidth))


@given(states)
@settings(max_examples=25, deadline=None)
def test_an_epoch_is_the_sum_of_its_batches(state: State) -> None:
    state = settle(state)
    reading = model(state)
    full, rest = divmod(state.samples, state.batch)
    whole = full * reading.time.step
    if rest:
        whole += model(replace(state, batch=rest)).time.step
    batches = f"{full:,} batch{'es' if full > 1 else ''}"
    assert f" is {batches}{f' and a last one of {rest}' if rest else ''}: " in reading.sentence
    assert reading.time.total == pytest.approx(whole)
    assert f"{show(reading.time.total, 's')} at best" in reading.sentence


@given(states)
@settings(max_examples=60, deadline=None)
def test_the_sentence_says_what_each_phase_is_bound_by(state: State) -> None:
    reading = model(settle(state))
    words = reading.sentence.partition("Here ")[2].partition(". An epoch")[0].split(", ")
    assert len(words) == 3
    for said, phase in zip(words, reading.time.phases, strict=True):
        if not phase.layers:
            assert said == "there is nothing to update"
            continue
        most = max(("memory", "compute", "balanced"), key=lambda bound: _spent(phase, bound))
        assert most in said
        assert ("of its time" in said) == (_spent(phase, most) / phase.total <= 0.995)


def _spent(phase: Any, bound: str) -> float:
    """Seconds in layers of a bound, told from their two engines."""
    total = 0.0
    for layer in phase.layers:
        slow, fast = max(layer.compute, layer.memory), min(layer.compute, layer.memory)
        own = "balanced" if slow <= 1.1 * fast else "memory" if slow == layer.memory else "compute"
        total += slow if own == bound else 0.0
    return total


@pytest.mark.parametrize(
    ("work", "compute", "traffic"),
    [("Conv2d", 2, None), ("Linear", 2, None), ("DepthwiseConv2d", 2, None), ("Conv2d-first", 1, 1), ("ReLU", 3, None)],
)
def test_the_backward_pass_beside_the_forward_pass(work: str, compute: int, traffic: int | None) -> None:
    reading = model(State(work, "sgd", 8, 10_000, "t4", "fp16"))
    assert reading.sentence.startswith(f"The backward pass does {compute}× the operations of the forward pass and")
    row = reading.table.records()[1]
    assert row["compute"] == compute and row["memory"] == (1 if work != "Conv2d-first" else row["memory"])
    assert traffic is None or row["traffic"] == traffic


@given(states)
@settings(max_examples=30, deadline=None)
def test_the_table_says_the_same(state: State) -> None:
    reading = model(settle(state))
    rows = reading.table.records()
    assert [row["phase"] for row in rows] == ["Forward pass", "Backward pass", "Gradient update"]
    assert sum(float(str(row["share"])) for row in rows) == pytest.approx(1)
    for row, phase, counted in zip(rows, reading.time.phases, reading.step.phases, strict=True):
        assert (row["time"], row["ops"]) == (pytest.approx(phase.total), counted.ops)
        assert row["bytes"] == counted.traffic * bytes_of(reading.state.dtype)
        assert float(Fraction(str(row["compute"]))) == pytest.approx(float(counted.ops / reading.step.forward.ops))
        assert show(phase.total, "s") in reading.alt
    assert plain(reading.step.ratios(reading.step.backward)["traffic"]) in reading.sentence


def test_a_larger_batch_leaves_less_for_the_update(panel: Panel) -> None:
    shares = []
    for batch in (1, 8, 64, 512):
        panel.set(batch=batch)
        agrees(panel)
        time = panel.reading.time  # type: ignore[attr-defined]
        shares.append(time.update.total / time.step)
    assert shares == sorted(shares, reverse=True) and shares[0] > 5 * shares[-1]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"work": "resnet51"}, UnknownNameError, "did you mean 'resnet50'"),
        ({"work": "Conv"}, UnknownNameError, "unknown work 'Conv'"),
        ({"optimizer": "adma"}, UnknownNameError, "did you mean 'adam'"),
        ({"device": "h100"}, UnknownNameError, "h100-sxm"),
        ({"device": "eyeriss", "dtype": "int16"}, ExtentError, "no known bandwidth"),
        ({"dtype": "fp5"}, UnknownNameError, "dtype"),
        ({"batch": 0}, ExtentError, "batch must be a whole number from 1 to 1024, not 0"),
        ({"samples": "many"}, ExtentError, "not 'many'"),
        ({"samples": 10}, ExtentError, "samples must be from 10 k to 10 M, not 10"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], error: type[DnnlabError], words: str) -> None:
    with pytest.raises(error, match=words):
        one_epoch(**arguments)


# --- what it shows


@given(states)
@settings(max_examples=30, deadline=None)
def test_bars_are_as_long_as_their_times(state: State) -> None:
    reading, picture = model(settle(state)), _picture()
    picture.png(reading)
    pairs = picture._drawing.bars
    for pair, phase in zip(pairs, reading.time.phases, strict=True):
        for engine, bar in pair.items():
            busy, scale = float(getattr(phase, engine)), _longest(pairs) / max(t.total for t in reading.time.phases)
            assert bar.busy.get_width() == pytest.approx(busy * scale)
            assert bar.busy.get_width() + bar.waits.get_width() == pytest.approx(phase.total * scale)
            assert bar.waits.get_x() == pytest.approx(bar.busy.get_x() + bar.busy.get_width())
            assert bar.time.get_text() == show(busy, "s")
            if phase is not reading.time.forward:
                ratio = busy / float(getattr(reading.time.forward, engine))
                assert float(bar.ratio.get_text().removesuffix("×")) == pytest.approx(ratio, rel=0.06, abs=1e-9)
    assert 0.75 * _AXIS < _longest(pairs) <= _AXIS + 1e-6
    assert reading.alt.startswith("Bars for the phases of one batch of ")


def _longest(pairs: Any) -> float:
    return float(max(bar.busy.get_width() + bar.waits.get_width() for pair in pairs for bar in pair.values()))


def test_only_what_changed_is_drawn(panel: Panel) -> None:
    canvas = panel._picture.canvas
    frame, ratios, ticks, bars, whole = canvas.draws
    panel.set(samples=20_000)
    assert canvas.draws == [frame, ratios, ticks, bars, whole + 1]
    panel.set(device="h100-sxm")
    assert canvas.draws[:2] == [frame, ratios] and canvas.draws[3] == bars + 1
    panel.set(optimizer="adam")
    assert canvas.draws[:2] == [frame, ratios + 1]


def test_engines_are_told_apart_without_colour() -> None:
    compute, memory = (_picture()._drawing.bars[0][engine].busy for engine in ("compute", "memory"))
    assert compute.get_hatch() and not memory.get_hatch()


_PICTURES: list[Drawing] = []


def _picture() -> Drawing:
    if not _PICTURES:
        _PICTURES.append(Drawing())
    return _PICTURES[0]
