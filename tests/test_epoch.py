"""An epoch: its phases against the counting interpreter, PyTorch's counts, and the sum over batches one by one."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnnlab import (
    GELU,
    SGD,
    Adam,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    DepthwiseConv2d,
    Flatten,
    LayerNorm,
    Linear,
    Momentum,
    MultiHeadAttention,
    Network,
    PReLU,
    ReLU,
    Softmax,
    device,
    devices,
    on,
    zoo,
)
from dnnlab.epoch import epoch
from dnnlab.errors import DnnlabError, ExtentError, UnknownNameError
from dnnlab.hardware import energy
from dnnlab.interpreter import interpret
from dnnlab.layers import CATALOGUE, Layer
from dnnlab.layers.optimizers import Optimizer
from dnnlab.networks import Node
from dnnlab.notation import typical
from dnnlab.notes import epoch_cells
from dnnlab.phases import joules

REFERENCE = json.loads((Path(__file__).parent / "data" / "networks.json").read_text())
OPTIMIZERS = (SGD(), Momentum(), Adam())
sizes = st.integers(1, 3)


def flat(nested: Any) -> list[float]:
    return [x for part in nested for x in flat(part)] if isinstance(nested, list) else [nested]


@st.composite
def layers(draw: st.DrawFn) -> Layer:
    n, c, k = draw(sizes), draw(sizes), draw(sizes)
    h, w, r, s = draw(st.integers(3, 5)), draw(st.integers(3, 5)), draw(sizes), draw(sizes)
    t = draw(sizes)
    return draw(
        st.sampled_from(
            (
                Conv2d(n=n, c=c, k=k, h=h, w=w, r=r, s=s, bias=draw(st.booleans())),
                DepthwiseConv2d(n=n, k=k, h=h, w=w, r=r, s=s),
                Linear(n=n, c=c, k=k, bias=draw(st.booleans())),
                BatchNorm2d(n=n, c=c, h=h, w=w),
                LayerNorm(n=n, t=t, c=c),
                AvgPool2d(n=n, c=c, h=4, w=4, r=2, s=2),
                PReLU(n=n, c=c, m=t),
                Softmax(n=n, c=c),
                ReLU(m=n * c),
                GELU(m=n * c),
                MultiHeadAttention(n=n, t=t, a=2, c=4),
            )
        )
    )


@settings(max_examples=200)
@given(layers(), st.sampled_from(OPTIMIZERS), st.booleans())
def test_every_phase_against_the_interpreter(layer: Layer, rule: Optimizer, input_gradient: bool) -> None:
    step = epoch(layer, optimizer=rule, input_gradient=input_gradient)
    program, backward = layer.program, layer.backward(input_gradient)
    ones = {name: 1.0 for line in (*program.nests, *backward.nests) for name in line.statement.scalars}
    ahead = interpret(program, {}, ones)
    back = interpret(backward, {name: ahead.tensors[name] for name in backward.tensors if name in ahead.tensors}, ones)
    for phase, run in ((step.forward, ahead), (step.backward, back)):
        assert {k: v for k, v in phase.operations.items() if v} == {k: v for k, v in run.operations.items() if v}

    # every array the backward pass reads or makes crosses once, unless it is an intermediate gradient
    passing = {"d_" + name for name in program.locals}
    assert step.backward.traffic == sum(len(flat(array)) for name, array in back.tensors.items() if name not in passing)
    kept = {name for name in back.tensors if not name.startswith("d_")} & {*program.locals}
    assert step.forward.traffic == layer.traffic + sum(len(flat(ahead.tensors[name])) for name in kept)

    assert step.kept == sum(
        len(flat(array))
        for name, array in back.tensors.items()
        if not name.startswith("d_") and name not in program.having("parameter")
    )
    gradients = [
        name for name in back.tensors if name.startswith("d_") and name[2:] in program.having("input", "parameter")
    ]
    assert step.backward.stored == sum(len(flat(back.tensors[name])) for name in gradients)

    parameters = sum(len(flat(ahead.tensors[name])) for name in program.having("parameter"))
    if parameters:
        one = interpret(
            rule.at(p=parameters).program,
            {},
            {name: 0.5 for name in ("lr", "mu", "beta1", "beta2", "fix1", "fix2", "eps")},
        )
        assert step.update.operations == one.operations
        extra = [len(flat(array)) for name, array in one.tensors.items() if name not in ("param", "grad")]
        assert step.update.stored == sum(extra)
        assert step.update.traffic == 3 * parameters + 2 * sum(extra)  # state is read and written
    else:
        assert not step.update.tasks and step.update.stored == 0


@pytest.mark.parametrize("name", [name for name, kind in CATALOGUE.items() if not issubclass(kind, Optimizer)])
def test_one_gradient_for_each_number(name: str) -> None:
    step = epoch(CATALOGUE[name]())
    assert step.backward.stored == step.forward.stored or step.forward.stored == 0


def test_twice_and_the_first_layer_exception() -> None:
    for layer in (Conv2d(), DepthwiseConv2d(), Linear()):
        step, first = epoch(layer), epoch(layer, input_gradient=False)
        assert step.ratios(step.backward)["compute"] == 2
        assert first.ratios(first.backward)["compute"] == 1


@pytest.mark.parametrize("name", ["alexnet", "resnet50"])
@pytest.mark.parametrize("batch", [1, 8])
def test_networks_against_pytorch(name: str, batch: int) -> None:
    cases = REFERENCE["flops_forward_backward"]["cases"]
    net = zoo.network(name, batch=batch)
    for suffix, input_gradient in (("", False), ("_xgrad", True)):
        step, case = epoch(net, input_gradient=input_gradient), cases[f"{name}_b{batch}{suffix}"]
        assert (2 * step.forward.macs, 2 * step.backward.macs) == (case["fwd_flops"], case["bwd_flops"])
    assert step.update.operations == {"subtract": net.parameters, "multiply": net.parameters}
    assert step.ratios(step.backward)["stored"] == 1  # with the gradient of its input
    masks = sum(node.activations for node in net.layers if node.kind == "Dropout")  # a byte each
    assert step.kept * 4 - masks * 3 == net.saved_bytes("fp32", framework=None)


SMALL = Network.sequential(
    "small", (5, 3, 8, 8), [Conv2d(k=4, r=3, s=3), BatchNorm2d(), ReLU(), Flatten(), Linear(k=10)]
)


@given(st.integers(1, 40), st.integers(1, 12), st.sampled_from(OPTIMIZERS), st.booleans())
def test_an_epoch_is_its_batches_one_by_one(samples: int, batch: int, rule: Optimizer, network: bool) -> None:
    work = SMALL.at_batch(batch) if network else Linear(n=batch, c=3, k=2)
    chunks = [min(batch, samples - start) for start in range(0, samples, batch)]
    steps = [epoch(work.at_batch(n) if isinstance(work, Network) else work.at(n=n), optimizer=rule) for n in chunks]
    whole = epoch(work, samples, rule)
    assert whole.ops == sum(phase.ops for step in steps for phase in step.phases)
    assert whole.traffic == sum(phase.traffic for step in steps for phase in step.phases)
    assert whole.batches + (whole.tail is not None) == len(chunks) == math.ceil(samples / batch)
    card = device("t4")
    assert whole.on(card).total == pytest.approx(sum(step.on(card).total for step in steps))
    assert whole.energy() == pytest.approx(sum(step.energy() for step in steps))
    if samples >= batch:
        assert epoch(work, samples, rule, drop_last=True).batches == samples // batch


@given(st.integers(1, 10**6), st.integers(1, 512))
def test_open_symbols_count_full_batches(samples: int, batch: int) -> None:
    count = epoch(Linear(), "N").batches
    names = {str(symbol): symbol for symbol in count.free_symbols}
    assert count.subs({names["N"]: samples, names["n"]: batch}) == math.ceil(samples / batch)


@given(layers(), st.sampled_from(("fp32", "fp16", "int8")))
def test_energy_is_count_times_price(layer: Layer, dtype: str) -> None:
    step = epoch(layer)
    for phase in step.phases:
        counts = phase.operations
        price = {
            kind: energy()[f"{dtype}_{name}"].value
            for kind, name in (("multiply", "mul"), ("add", "add"), ("subtract", "add"))
        }
        assert phase.energy(dtype) == pytest.approx(sum(price.get(kind, 0) * count for kind, count in counts.items()))
        assert {*counts} - {*price} == {*phase.unpriced}
        assert {*phase.bottleneck()} == {kind for kind in counts if counts[kind] * 1.1 >= max(counts.values()) > 0}


def test_a_multiplication_takes_four_times_an_addition() -> None:
    facts = json.loads((Path(__file__).parent / "data" / "devices.json").read_text())
    assert joules("fp32")["multiply"] / joules("fp32")["add"] == pytest.approx(3.7 / 0.9)
    assert "3.7" in json.dumps(facts)
    step = epoch(Conv2d())
    assert step.forward.bottleneck() == ("multiply", "add") and step.forward.bottleneck("fp32") == ("multiply",)
    assert step.update.bottleneck() == ("subtract", "multiply")


@pytest.mark.parametrize("machine", [d for d in devices() if d.bandwidth and "fp32" in d.peak], ids=lambda d: d.id)
def test_each_phase_on_a_device(machine: Any) -> None:
    net = zoo.lenet5(batch=16)
    time = epoch(net).on(machine, "fp32")
    for phase, counted in zip((time.forward, time.backward, time.update), epoch(net).phases, strict=True):
        for layer, task in zip(phase.layers, counted.tasks, strict=True):
            slow, fast = task.ops / machine.rate("fp32"), task.traffic * 4 / machine.bandwidth
            assert (layer.compute, layer.memory) == (pytest.approx(slow), pytest.approx(fast))
            assert layer.total == max(layer.compute, layer.memory)
    assert time.step == pytest.approx(time.forward.total + time.backward.total + time.update.total)
    assert time.update.bound == {"SGD": "memory"}
    # the forward pass is that of `on`, where nothing is kept but inputs and outputs
    assert time.forward.total == pytest.approx(on(net, machine, "fp32").total)


@pytest.mark.parametrize(
    "work", [*(zoo.network(name) for name in ("alexnet", "mobilenet_v2")), Linear(), GELU(), Flatten()], ids=str
)
def test_the_cells_of_the_notes_for_any_work(work: Layer | Network) -> None:
    cells = {(cell.row, cell.column): cell for cell in epoch_cells(work)}
    step = epoch(work)
    compute, stored = (step.ratios(step.backward)[name] for name in ("compute", "stored"))
    assert (cells["Backward pass", "compute"].verdict == "agrees") == (compute == 2)
    near = not getattr(compute, "free_symbols", ()) and compute != 2 and 0.85 < compute / 2 < 1.15
    assert (cells["Backward pass", "compute"].verdict == "holds when") == near
    assert (cells["Backward pass", "memory"].verdict == "holds when") == (0 < typical(stored) <= 1)
    leads = step.forward.bottleneck("fp32") == ("multiply",)
    assert (cells["Forward pass", "bottleneck"].verdict in ("agrees", "holds when")) == leads
    assert cells["Gradient update", "bottleneck"].verdict == ("holds when" if step.update.tasks else "is short")
    adam = {(cell.row, cell.column): cell for cell in epoch_cells(work, Adam())}
    assert adam["Gradient update", "bottleneck"].verdict == "is short"


def test_tables_and_sentences() -> None:
    step = epoch(zoo.lenet5(batch=64), 60_000, Adam())
    records = step.table().records()
    assert [record["phase"] for record in records] == ["Forward pass", "Backward pass", "Gradient update"]
    assert records[1]["ops"] == step.backward.ops and "<table" in step._repr_html_()
    time = step.on(device("t4"), "fp32")
    assert sum(record["share"] for record in time.table().records()) == pytest.approx(1)
    assert "the epoch" in time.sentence() and "937 batches and one smaller" in step.sentence()
    assert "one smaller" not in epoch(zoo.lenet5(batch=60), 60_000).sentence()
    node = zoo.lenet5().layers[0]
    assert isinstance(node, Node) and epoch(node) == epoch(node.layer)


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        (("resnet50",), DnnlabError, "expected a layer or a network"),
        ((SGD(),), DnnlabError, "expected a layer or a network"),
        ((Linear(n=4), 0), ExtentError, "samples"),
        ((Linear(n=4), -3), ExtentError, "samples"),
        ((Linear(n=4), 2.5), ExtentError, "samples"),
        ((Linear(n=4), math.nan), ExtentError, "samples"),
        ((Linear(n=4), True), ExtentError, "samples"),
        ((ReLU(), 10), ExtentError, "no batch n"),
        ((Linear(), None, "adam"), DnnlabError, "expected SGD"),
        ((Linear(n=8), 3, None, None, True), ExtentError, "do not fill one batch"),
    ],
)
def test_bad_input(arguments: tuple[Any, ...], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        epoch(*arguments)


def test_energies_that_nobody_published() -> None:
    step = epoch(Linear(n=1, c=2, k=3))
    with pytest.raises(ExtentError, match="take fp16, fp32, int32, int8"):
        step.energy("bf16")
    with pytest.raises(UnknownNameError):
        step.energy("fp33")
