"""A real training step under any plan: the same gradients bit for bit, and memory as the simulator says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from segments import segments

import dnnlab as dl
from dnnlab.checkpointing.chains import Chain
from dnnlab.checkpointing.givens import Tensors
from dnnlab.checkpointing.optimal import best_plan, pareto
from dnnlab.checkpointing.plans import Plan
from dnnlab.checkpointing.simulator import simulate
from dnnlab.checkpointing.stages import read_stages
from dnnlab.checkpointing.training import (
    TrainingStep,
    measured_chain,
    parameters_of,
    train_step,
    training_chain,
)
from dnnlab.errors import DnnlabError, ExtentError, ShapeError, UnknownNameError
from dnnlab.vectorised import run

Blocks = list[list[str]] | None


def store_all(stages: int) -> Plan:
    return Plan.nested(range(stages))


def random_parameters(network: dl.Network, seed: int, dtype: str = "float32") -> Tensors:
    """No zeros and ones: every gradient depends on every tensor."""
    rng = np.random.default_rng(seed)
    start = parameters_of(network, seed, dtype)
    return {
        n: {t: a + rng.uniform(0.1, 0.4, a.shape).astype(dtype) for t, a in own.items()} for n, own in start.items()
    }


def same(one: TrainingStep, other: TrainingStep) -> None:
    """To the last bit."""
    assert one.loss == other.loss
    np.testing.assert_array_equal(one.input_gradient, other.input_gradient)
    for a, b in ((one.gradients, other.gradients), (one.state, other.state)):
        assert {(n, t) for n in a for t in a[n]} == {(n, t) for n in b for t in b[n]}
        for name in a:
            for tensor in a[name]:
                np.testing.assert_array_equal(a[name][tensor], b[name][tensor], err_msg=f"{name} {tensor}")


@st.composite
def networks(draw: st.DrawFn) -> tuple[dl.Network, Blocks]:
    """A chain of layers on images or on rows, and perhaps blocks of it as stages."""
    n = draw(st.integers(1, 4))
    layers: list[dl.Layer] = []
    shape: tuple[int, ...] = (n, draw(st.integers(1, 9)))
    plain = [dl.Tanh(), dl.ReLU(), dl.LeakyReLU(), dl.SiLU(), dl.PReLU(), dl.Dropout(p=0.4)]
    if draw(st.booleans()):
        shape = (n, draw(st.integers(1, 3)), draw(st.integers(4, 7)), draw(st.integers(4, 7)))
        wide = [dl.Conv2d(k=2, r=3, s=3, bias=True), dl.Conv2d(k=3, r=2, s=3, stride=1, groups=1), dl.BatchNorm2d()]
        wide += [dl.MaxPool2d(r=2, s=2, stride=1), dl.AvgPool2d(r=2, s=2, stride=1)]
        some = draw(st.lists(st.sampled_from(wide + plain), min_size=1, max_size=4))
        layers += [*some, dl.Flatten()]
    flat = [dl.Linear(k=draw(st.integers(1, 9)), bias=True), dl.Linear(k=draw(st.integers(1, 9))), dl.Softmax()]
    layers += draw(st.lists(st.sampled_from(flat + plain), min_size=1, max_size=6))
    net = dl.Network.sequential("random", shape, layers)
    if draw(st.booleans()):
        return net, None
    blocks: list[list[str]] = [[]]
    for node in net.layers:
        if blocks[-1] and blocks[-1] != ["0.flatten"] and node.kind != "Flatten" and draw(st.booleans()):
            blocks.append([])
        blocks[-1].append(node.name)
    return net, blocks


@settings(max_examples=60)
@given(networks(), st.integers(0, 2**32), st.data())
def test_any_plan_gives_the_same_bits_and_holds_what_the_simulator_says(
    drawn: tuple[dl.Network, Blocks], seed: int, data: st.DataObject
) -> None:
    net, stages = drawn
    chain = training_chain(net, stages)
    plan = Plan.nested(data.draw(segments(0, chain.stages)))
    start = random_parameters(net, seed)
    x = np.random.default_rng(seed).standard_normal(net.input_shape).astype(np.float32)
    steps = [train_step(net, p, x, start, stages=stages, seed=seed) for p in (store_all(chain.stages), plan)]
    same(*steps)
    for step, p in zip(steps, (store_all(chain.stages), plan), strict=True):
        predicted = simulate(chain, p)
        assert step.held_bytes == predicted.peak
        assert step.forwards == predicted.forwards
        assert [m.operation for m in step.trace] == list(p.operations)
        assert [m.held for m in step.trace] == [s.during for s in predicted.trace]
        assert [m.after for m in step.trace] == [s.after for s in predicted.trace]
        assert step.peak_bytes >= step.held_bytes


# The best schedules of three chains of 7 stages, by exhaustive search: none of them can be written as segments.
FLAT = (
    "Fc0 Fc1 Fc2 D2 Fe3 Fe4 Fe5 Fe6 L B6 B5 B4 B3 D3 Fc1 D1 Fe2 B2 D2 Fe0 Fe1 B1 B0",
    "Fc0 Fc1 D1 Fc2 Fc3 D3 Fc4 D4 Fe5 Fe6 L B6 B5 D5 Fc2 Fc3 D3 Fe4 B4 D4 Fc2 D2 Fe3 B3 D3 Fe0 Fe1 Fe2 B2 B1 B0",
    "Fc0 Fc1 D1 Fc2 D2 Fc3 D3 Fc4 Fc5 D5 Fe6 L B6 D6 Fc4 D4 Fe5 B5 D5 Fc0 Fc1 D1 Fc2 D2 Fc3 D3 Fe4 B4 D4 Fc0 Fc1 D1 "
    "Fe2 Fe3 B3 B2 D2 Fe0 Fe1 B1 B0",
)


@pytest.mark.parametrize("schedule", FLAT)
def test_flat_schedules_run_too(schedule: str) -> None:
    net = dl.Network.sequential(
        "seven", (5, 6), [dl.Linear(k=6), dl.Tanh(), dl.Dropout(), dl.Linear(k=6), dl.SiLU(), dl.Tanh(), dl.Linear(k=6)]
    )
    x, start, plan = np.ones((5, 6), np.float32), random_parameters(net, 0), Plan.read(schedule)
    assert plan.segments is None
    step = train_step(net, plan, x, start)
    same(step, train_step(net, store_all(7), x, start))
    assert step.held_bytes == simulate(training_chain(net), plan).peak


def residual() -> tuple[dl.Network, list[list[str]]]:
    build, blocks, x = dl.Builder("residual", 2, 3, 6, 6), [], "input"
    for place in range(3):
        names = [f"{place}.conv", f"{place}.norm", f"{place}.relu", f"{place}.add"]
        build.add(names[0], dl.Conv2d(k=3, r=3, s=3), x)
        build.add(names[1], dl.BatchNorm2d())
        build.add(names[2], dl.ReLU())
        x = build.add(names[3], dl.Add(), x, names[2])
        blocks.append(names)
    return build.network(), blocks


def transformer() -> tuple[dl.Network, list[list[str]]]:
    build, blocks, x = dl.Builder("transformer", 2, 5, 8), [], "input"
    for place in range(3):
        names = [f"{place}.{name}" for name in ("norm1", "attention", "add1", "norm2", "ffn", "add2")]
        build.add(names[0], dl.LayerNorm(), x)
        build.add(names[1], dl.MultiHeadAttention(a=2, causal=True))
        x = build.add(names[2], dl.Add(), x, names[1])
        build.add(names[3], dl.LayerNorm())
        build.add(names[4], dl.FeedForward(m=12))
        x = build.add(names[5], dl.Add(), x, names[4])
        blocks.append(names)
    return build.network(), blocks


@pytest.mark.parametrize("make", [residual, transformer])
@settings(max_examples=10)
@given(st.data())
def test_blocks_with_shortcuts_are_stages(make: Any, data: st.DataObject) -> None:
    net, blocks = make()
    start = random_parameters(net, 1)
    for name in (f"{place}.attention" for place in range(3 * (make is transformer))):
        start[name]["mask"] = np.triu(np.full((5, 5), -1e9), 1)
    x = np.random.default_rng(0).standard_normal(net.input_shape)
    scalars = {"scale": 0.5} if make is transformer else {"eps": 1e-3}
    options: dict[str, Any] = {"stages": blocks, "scalars": scalars, "measure": False}
    plan = Plan.nested(data.draw(segments(0, 3)))
    step = train_step(net, plan, x, start, **options)
    same(step, train_step(net, store_all(3), x, start, **options))
    assert step.held_bytes == simulate(training_chain(net, blocks), plan).peak


# -- are they gradients at all? -----------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_gradients_predict_how_the_loss_changes(loss: str) -> None:
    net = dl.zoo.lenet5(batch=3)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 1, 32, 32))
    target = rng.standard_normal((3, 10)) if loss == "mse" else np.array([7, 0, 9])
    start = parameters_of(net, 0, "float64")
    plan = Plan.nested(((0, 1, (2, 3), 4), (5, 6), 7, 8, 9, 10))
    step = train_step(net, plan, x, start, target, loss=loss)
    along = {n: {t: rng.standard_normal(a.shape) for t, a in own.items()} for n, own in start.items()}
    shift, tiny = rng.standard_normal(x.shape), 1e-6
    slope = np.vdot(step.input_gradient, shift)
    slope += sum(np.vdot(step.gradients[n][t], along[n][t]) for n in along for t in along[n])

    def at(size: float) -> float:
        moved = {n: {t: a + size * along[n][t] for t, a in own.items()} for n, own in start.items()}
        return train_step(net, store_all(11), x + size * shift, moved, target, loss=loss, measure=False).loss

    assert slope == pytest.approx((at(tiny) - at(-tiny)) / (2 * tiny), rel=1e-6)


def test_losses_are_what_their_names_say() -> None:
    net = dl.Network.sequential("one", (2, 3), [("fc", dl.Linear(k=3))])
    eye = {"fc": {"weight": np.eye(3)}}
    x = np.array([[1.0, 2, 3], [0, 0, 900]])
    assert train_step(net, store_all(1), x, eye).loss == pytest.approx(np.mean(x**2))
    assert train_step(net, store_all(1), x, eye, np.ones((2, 3))).loss == pytest.approx(np.mean((x - 1) ** 2))
    expected = (np.log(np.exp(x[0]).sum()) - x[0, 1] + 0) / 2
    assert train_step(net, store_all(1), x, eye, [1, 2], loss="cross_entropy").loss == pytest.approx(expected)


def test_training_under_a_plan_is_training() -> None:
    """Ten steps of gradient descent: the loss falls, and both plans arrive at the same weights."""
    net = dl.Network.sequential(
        "net", (16, 4), [dl.Linear(k=8, bias=True), dl.Tanh(), dl.Dropout(p=0.1), dl.Linear(k=3, bias=True)]
    )
    rng = np.random.default_rng(0)
    x, target = rng.standard_normal((16, 4)), rng.integers(0, 3, 16)
    ends, losses = [], []
    for plan in (store_all(4), Plan.nested(((0, (1, 2)), 3))):
        now = parameters_of(net, 0, "float64")
        for turn in range(10):
            step = train_step(net, plan, x, now, target, loss="cross_entropy", seed=turn, measure=False)
            now = {n: {t: a - 0.5 * step.gradients[n][t] for t, a in own.items()} for n, own in now.items()}
            losses.append(step.loss)
        ends.append(now)
    assert losses[9] < losses[0] / 1.5
    assert losses[:10] == losses[10:]
    for name in ends[0]:
        for tensor in ends[0][name]:
            np.testing.assert_array_equal(ends[0][name][tensor], ends[1][name][tensor])


def test_a_shared_layer_gets_the_sum_of_its_gradients() -> None:
    build = dl.Builder("shared", 2, 3)
    build.add("a", dl.Linear(k=3))
    build.add("b", dl.Tanh())
    build.add("c", dl.Linear(k=3), shares="a")
    apart = dl.Network.sequential("apart", (2, 3), [("a", dl.Linear(k=3)), ("b", dl.Tanh()), ("c", dl.Linear(k=3))])
    x, own = np.arange(6.0).reshape(2, 3), random_parameters(apart, 0, "float64")["a"]
    step = train_step(build.network(), Plan.nested(((0, 1), 2)), x, {"a": own})
    twin = train_step(apart, store_all(3), x, {"a": own, "c": own})
    assert list(step.gradients) == ["a"]
    np.testing.assert_allclose(
        step.gradients["a"]["weight"], twin.gradients["a"]["weight"] + twin.gradients["c"]["weight"], rtol=1e-12
    )


def test_running_statistics_move_once_however_often_a_stage_runs() -> None:
    net = dl.Network.sequential("norm", (4, 2, 3, 3), [("norm", dl.BatchNorm2d()), ("tanh", dl.Tanh())])
    x = np.random.default_rng(0).standard_normal((4, 2, 3, 3))
    start = parameters_of(net, 0, "float64")
    step = train_step(net, Plan.nested((((0,), 1),)), x, start)
    assert step.forwards == 5
    np.testing.assert_allclose(step.state["norm"]["running_mean"], 0.1 * x.mean((0, 2, 3)))
    np.testing.assert_allclose(step.state["norm"]["running_var"], 0.9 + 0.1 * x.var((0, 2, 3)))
    assert set(step.gradients["norm"]) == {"weight", "bias"}
    assert (start["norm"]["running_mean"] == 0).all(), "what is given is not changed"


def test_masks_differ_by_seed_and_layer_but_not_by_replay() -> None:
    net = dl.Network.sequential("drop", (1, 1000), [("a", dl.Dropout(p=0.25)), ("b", dl.Dropout(p=0.25))])
    x = np.ones((1, 1000))

    def gradient(seed: int) -> Any:
        return train_step(net, Plan.nested(((0, 1),)), x, {}, seed=seed).input_gradient

    kept = (gradient(0) != 0).mean()
    assert 0.5 < kept < 0.63  # 0.75 * 0.75: two masks, not one twice
    np.testing.assert_array_equal(gradient(0), gradient(0))
    assert (gradient(0) != gradient(1)).any()


# -- memory -------------------------------------------------------------------------------------------------


def deep(layers: int = 10, n: int = 128, width: int = 256) -> dl.Network:
    return dl.Network.sequential("deep", (n, width), [dl.Linear(k=width, bias=True), dl.Tanh()] * (layers // 2))


def test_the_measured_peak_is_predicted_from_one_measured_chain() -> None:
    """Within 3 % and 100 kB, which are Python's own objects."""
    net, x = deep(), np.ones((128, 256), np.float32)
    start = parameters_of(net)
    chain, lines = measured_chain(net, x, start), training_chain(net)
    assert min(chain.forward) > 0
    assert (chain.outputs, chain.records) == (lines.outputs, lines.records)

    @settings(max_examples=10)
    @given(segments(0, 10))
    def law(nest: tuple[Any, ...]) -> None:
        plan = Plan.nested(nest)
        step = train_step(net, plan, x, start)
        assert abs(step.peak_bytes - simulate(chain, plan).peak) < 0.03 * step.peak_bytes + 100_000

    law()


def test_checkpointing_saves_real_memory() -> None:
    net, x = deep(24), np.ones((128, 256), np.float32)
    start, tensor = parameters_of(net), x.nbytes
    nested = [range(0, 4), range(4, 8), range(8, 12), range(12, 16), range(16, 20), range(20, 24)]
    store, save = (
        train_step(net, plan, x, start)
        for plan in (store_all(24), Plan.nested((*map(tuple, nested[:-1]), *nested[-1])))
    )
    assert (store.held_bytes, save.held_bytes) == (27 * tensor, 12 * tensor)
    for step in (store, save):
        assert 0 < step.peak_bytes - step.held_bytes < 6 * tensor, "the workspace of one layer, whatever the plan"
    assert save.forwards == 44


def test_a_forward_that_does_not_record_lets_go_within_a_block() -> None:
    names = [f"{place}" for place in range(8)]
    net = dl.Network.sequential("block", (128, 256), [(name, dl.Tanh()) for name in names])
    x = np.ones((128, 256), np.float32)
    step = train_step(net, Plan.nested(((0,),)), x, {}, stages=[names])
    passing, recording = (moment for moment in step.trace if moment.operation.kind in ("Fc", "Fe"))
    assert (passing.held, recording.held) == (2 * x.nbytes, 10 * x.nbytes)  # with the gradient
    assert passing.allocated and passing.allocated < 5 * x.nbytes


def test_looping_over_a_filter_takes_less_memory_than_copying_windows() -> None:
    conv = dl.Conv2d(n=2, k=4, c=3, h=9, w=8, r=3, s=3, stride=2, padding=1).program
    rng = np.random.default_rng(0)
    tensors = {"inp": rng.standard_normal((2, 3, 9, 8)), "weight": rng.standard_normal((4, 3, 3, 3))}
    np.testing.assert_allclose(run(conv, tensors, copied=0)["out"], run(conv, tensors)["out"], rtol=1e-12)
    net = dl.Network.sequential("conv", (4, 8, 32, 32), [("conv", dl.Conv2d(k=8, r=5, s=5))])
    x = np.ones((4, 8, 32, 32), np.float32)
    step = train_step(net, store_all(1), x, parameters_of(net))
    assert step.peak_bytes < 8 * x.nbytes < 25 * x.nbytes, "25 windows are not copied"


def test_the_number_type_is_that_of_the_parameters() -> None:
    net, x = deep(2, 3, 4), np.ones((3, 4))
    for dtype, width in (("float16", "fp16"), ("float32", "fp32"), ("float64", "fp64")):
        step = train_step(net, store_all(2), x, parameters_of(net, dtype=dtype))
        assert step.input_gradient.dtype == step.gradients["0.linear"]["weight"].dtype == dtype
        assert step.held_bytes == simulate(training_chain(net, dtype=width), store_all(2)).peak


def test_unmeasured_steps_say_so_and_a_running_meter_is_left_running() -> None:
    import tracemalloc

    net, x = deep(2, 3, 4), np.ones((3, 4))
    step = train_step(net, store_all(2), x, parameters_of(net), measure=False)
    with pytest.raises(DnnlabError, match="measure=True"):
        step.peak_bytes  # noqa: B018
    assert "NumPy" not in step.sentence()
    tracemalloc.start()
    try:
        assert train_step(net, store_all(2), x, parameters_of(net)).peak_bytes > 0
        assert tracemalloc.is_tracing()
    finally:
        tracemalloc.stop()
    train_step(net, store_all(2), x, parameters_of(net))
    assert not tracemalloc.is_tracing()


def test_a_step_shows_itself() -> None:
    net = deep(2, 3, 4)
    step = train_step(net, store_all(2), np.ones((3, 4)), parameters_of(net))
    assert step.sentence().startswith("2 forwards for 2 stages; at the fullest moment, B1, the plan holds 240 B")
    assert [row["operation"] for row in step.table().records()] == ["Fe0", "Fe1", "L", "B1", "B0"]
    assert "Memory over time" in step._repr_html_()
    assert "loss=" in repr(step) and "array" not in repr(step)


# -- stages and bad input -----------------------------------------------------------------------------------


def test_stages_are_cut_where_the_chain_is() -> None:
    net = residual()[0]
    assert [[node.name for node in stage.nodes] for stage in read_stages(net)] == residual()[1]
    assert [stage.result for stage in read_stages(dl.zoo.lenet5())][7:9] == ["flatten", "fc1"]


def test_a_view_may_be_a_stage_and_is_a_copy_then() -> None:
    net = dl.Network.sequential("view", (2, 2, 2, 2), [dl.Flatten(), dl.Linear(k=2), dl.Tanh()])
    names = [[node.name] for node in net.layers]
    x, start = np.ones((2, 2, 2, 2), np.float32), random_parameters(net, 0)
    for nest in ((0, 1, 2), ((0, 1), 2), ((0,), (1,), 2)):
        step = train_step(net, Plan.nested(nest), x, start, stages=names)
        assert step.input_gradient.shape == x.shape
        assert step.held_bytes == simulate(training_chain(net, names), Plan.nested(nest)).peak
    flat = dl.Network.sequential("flat", (2, 8), [dl.Linear(k=2), dl.Tanh()])
    twin = train_step(flat, store_all(2), x.reshape(2, 8), {"0.linear": start["1.linear"]})
    np.testing.assert_array_equal(step.input_gradient, twin.input_gradient.reshape(x.shape))


@pytest.mark.parametrize("make", [dl.zoo.lenet5, lambda: residual()[0], lambda: dl.zoo.resnet18(batch=1)])
def test_the_chain_of_a_network_is_this_chain(make: Any) -> None:
    """Two derivations of what a stage keeps: from `saved_bytes` with a probe, and from the tensors that are held."""
    net = make()
    ours, theirs = training_chain(net), Chain.of(net, framework=None)
    assert (ours.outputs, ours.records) == (theirs.outputs, theirs.records)


def test_the_best_plan_for_a_budget_keeps_to_it() -> None:
    net = dl.Network.sequential("six", (8, 16), [dl.Linear(k=16), dl.GELU(), dl.Tanh()] * 2)
    chain, x, start = training_chain(net), np.ones((8, 16), np.float32), random_parameters(net, 0)
    front = pareto(chain)
    assert len(front) > 1
    steps = [train_step(net, best_plan(chain, point.peak), x, start) for point in front]
    for step, point in zip(steps, front, strict=True):
        same(step, steps[0])
        assert step.held_bytes <= point.peak


def lenet(**changes: Any) -> Any:
    net = dl.zoo.lenet5(batch=2)
    given = {
        "network": net,
        "plan": store_all(11),
        "inputs": np.zeros((2, 1, 32, 32)),
        "parameters": parameters_of(net),
    }
    return train_step(**given | changes)


PARAMETERS = parameters_of(dl.zoo.lenet5())


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"plan": store_all(10)}, DnnlabError, "the plan is for 10 stages, the chain has 11"),
        ({"plan": Plan.read("Fe0 L B0", 11)}, DnnlabError, "needs x11"),
        ({"plan": "Fe0 L B0"}, DnnlabError, "Plan.read or Plan.nested, got 'Fe0 L B0'"),
        ({"network": "lenet"}, DnnlabError, "a Network such as zoo.lenet5"),
        ({"network": dl.zoo.lenet5("n")}, ShapeError, "open extents.*batch=8"),
        ({"inputs": np.zeros((1, 1, 32, 32))}, ShapeError, r"the input should have shape \(2, 1, 32, 32\), got \(1,"),
        ({"inputs": np.full((2, 1, 32, 32), np.nan)}, DnnlabError, "the input holds NaN"),
        ({"inputs": [[1, 2], [3]]}, DnnlabError, "the input should be an array of numbers"),
        ({"inputs": "picture"}, DnnlabError, "the input should be an array of numbers"),
        ({"parameters": {}}, DnnlabError, r"parameters lack 'weight' of 'conv1'; add an array of shape \(6, 1, 5, 5\)"),
        ({"parameters": [1]}, DnnlabError, "parameters_of"),
        ({"parameters": {**PARAMETERS, "conv9": {}}}, UnknownNameError, "did you mean 'conv"),
        ({"parameters": {**PARAMETERS, "fc2": {"w": 1}}}, UnknownNameError, "tensor of 'fc2' 'w'"),
        ({"parameters": {**PARAMETERS, "fc2": {"weight": [1], "bias": [1]}}}, ShapeError, "'weight' of 'fc2' should"),
        ({"loss": "hinge"}, UnknownNameError, "unknown loss 'hinge'"),
        ({"loss": "cross_entropy"}, DnnlabError, "a class for each sample"),
        ({"loss": "cross_entropy", "target": [1, 10]}, DnnlabError, "whole numbers from 0 to 9"),
        ({"loss": "cross_entropy", "target": [1, 0.5]}, DnnlabError, "whole numbers from 0 to 9"),
        ({"target": np.zeros(3)}, ShapeError, r"the target should have shape \(2, 10\)"),
        ({"seed": -1}, ExtentError, "seed = -1"),
        ({"scalars": {"epsilon": 1}}, UnknownNameError, "number in the lines of LeNet-5 'epsilon'"),
        ({"stages": "conv1"}, DnnlabError, "lists of layer names"),
        ({"stages": [["conv1"]]}, DnnlabError, "name every layer once"),
        ({"stages": [["conv1", "tanh7"]]}, UnknownNameError, "tanh7"),
        ({"stages": 5}, DnnlabError, "lists of layer names"),
        ({"parameters": {**PARAMETERS, "fc2": {"weight": [[1], [1, 2]], "bias": 0}}}, DnnlabError, "array of numbers"),
        ({"stages": [1]}, DnnlabError, "lists of layer names"),
    ],
)  # fmt: skip
def test_bad_input_is_named(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        lenet(**changes)


def test_stages_that_cannot_be_run_alone_are_refused() -> None:
    net, _ = residual()
    with pytest.raises(
        DnnlabError, match=r"'0\.add' reads 'input' past the stage that '0\.relu' enters.*into one stage"
    ):
        read_stages(net, [[node.name] for node in net.layers])
    with pytest.raises(DnnlabError, match="Embedding 'e' has an input without a gradient"):
        read_stages(dl.Network.sequential("words", (1, 3), [("e", dl.Embedding(v=5, c=2))]))
    build = dl.Builder("dead", 1, 2)
    build.add("a", dl.Tanh())
    build.add("b", dl.Tanh(), "input")
    with pytest.raises(DnnlabError, match="nothing in its stage reads 'a'"):
        read_stages(build.network(), [["a", "b"]])


def test_numbers_of_the_lines_can_be_set_and_are_asked_for() -> None:
    net = dl.Network.sequential("leaky", (1, 4), [("leaky", dl.LeakyReLU())])
    x = np.array([[-1.0, -1, 1, 1]])
    step = train_step(net, store_all(1), x, {}, scalars={"slope": 0.5})
    np.testing.assert_allclose(step.input_gradient, x / 2 * [[0.25, 0.25, 1, 1]])
    with pytest.raises(DnnlabError, match="must be finite"):
        train_step(net, store_all(1), x, {}, scalars={"slope": float("nan")})
    net, blocks = transformer()
    start = parameters_of(net)
    for place in range(3):
        start[f"{place}.attention"]["mask"] = np.zeros((5, 5), np.float32)
    with pytest.raises(ExtentError, match="needs a number for scale"):
        train_step(net, store_all(3), np.ones((2, 5, 8)), start, stages=blocks)


def test_parameters_are_scaled_by_the_terms_they_are_summed_with() -> None:
    layers = [
        ("conv", dl.Conv2d(k=64, r=5, s=5, bias=True)),
        ("flat", dl.Flatten()),
        ("fc", dl.Linear(k=50, bias=True)),
    ]
    start = parameters_of(dl.Network.sequential("net", (1, 32, 4, 4), layers), 0)
    for name, terms in (("conv", 32 * 5 * 5), ("fc", 64 * 4 * 4)):
        assert start[name]["weight"].std() == pytest.approx(terms**-0.5, rel=0.02)
        assert (start[name]["bias"] == 0).all()
    with pytest.raises(UnknownNameError, match="float8"):
        parameters_of(dl.zoo.lenet5(), dtype="float8")
    with pytest.raises(DnnlabError, match="a Network such as"):
        parameters_of([dl.Linear()])  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="open shape"):
        parameters_of(dl.Network.sequential("open", (1, "c"), [dl.Linear(k=3)]))
