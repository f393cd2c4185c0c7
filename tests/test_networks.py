"""Networks against independent reference data (PyTorch hooks, dispatcher, autograd; see tests/data)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dnnlab import (
    Add,
    AvgPool2d,
    BatchNorm2d,
    Builder,
    Concatenate,
    Conv2d,
    ConvTranspose2d,
    Flatten,
    Linear,
    MaxPool2d,
    Network,
    ReLU,
    Sigmoid,
    zoo,
)  # fmt: skip
from dnnlab.errors import DnnlabError, ShapeError, UnknownNameError
from dnnlab.lifetimes import lifetimes
from dnnlab.networks import INPUT
from dnnlab.notation import symbol

REFERENCE = json.loads((Path(__file__).parent / "data" / "networks.json").read_text())
TOTALS = {
    "alexnet": zoo.alexnet,
    "vgg16": zoo.vgg16,
    "resnet50": zoo.resnet50,
    "mobilenet_v2": zoo.mobilenet_v2,
    "bert_base_encoder_T128": lambda: zoo.bert_base(batch=1, length=128),
    "gpt2_small_T1024": lambda: zoo.gpt2_small(batch=1, length=1024),
}
CASES = [(name, batch) for name in ("alexnet", "resnet50") for batch in (1, 8)]


@pytest.mark.parametrize("name", REFERENCE["totals"])
def test_totals(name):
    net, wanted = TOTALS[name](), REFERENCE["totals"][name]
    assert net.macs == wanted["macs"]
    if "parameters" in wanted:
        assert net.parameters == wanted["parameters"]


@pytest.mark.parametrize("name", REFERENCE["layers"])
def test_each_layer(name):
    """Same layers in the same order, with the same shapes, parameters and MACs; adds and flattening are no
    modules in the reference."""
    rows = [row for row in zoo.network(name).rows() if row.kind not in ("Add", "Flatten")]
    wanted = REFERENCE["layers"][name]["rows"]
    assert len(rows) == len(wanted)
    for row, other in zip(rows, wanted, strict=True):
        assert row.name == other["name"] or row.name.startswith(other["name"] + "_")
        assert row.input_shape == tuple(other["input_shape"])
        assert row.output_shape == tuple(other["output_shape"])
        assert (row.parameters, row.macs) == (other["params"], other["macs"]), row.name


@pytest.mark.parametrize(("name", "batch"), CASES)
def test_forward_and_backward(name, batch):
    cases = REFERENCE["flops_forward_backward"]["cases"]
    net = zoo.network(name, batch=batch)
    for input_gradient, case in ((False, f"{name}_b{batch}"), (True, f"{name}_b{batch}_xgrad")):
        rows = net.rows(input_gradient)
        assert 2 * sum(row.macs for row in rows) == cases[case]["fwd_flops"]
        assert 2 * sum(row.backward_macs for row in rows) == cases[case]["bwd_flops"]


@pytest.mark.parametrize(("name", "batch"), CASES)
def test_saved_bytes(name, batch):
    wanted = REFERENCE["saved_for_backward"]["cases"][f"{name}_b{batch}"]["unique_storage_bytes"]
    saved = zoo.network(name, batch=batch).saved_bytes("fp32", framework="pytorch")
    assert saved == saved.activations == wanted["activation"]
    assert saved.input == wanted["input"]
    assert saved.parameters == wanted["param"]
    assert saved.buffers == wanted.get("buffer", 0)
    assert sum(saved.by_layer.values()) == saved


@pytest.mark.parametrize(("name", "batch"), CASES)
def test_minimum_is_not_more(name, batch):
    net = zoo.network(name, batch=batch)
    assert 0 < net.saved_bytes(framework=None) < net.saved_bytes(framework="pytorch")


@pytest.mark.parametrize(("name", "batch"), CASES)
def test_inference_peak(name, batch):
    wanted = REFERENCE["peak_memory"]["cases"][f"{name}_b{batch}"]["inference_peak"]["cpu"]
    net = zoo.network(name, batch=batch)
    assert net.peak_bytes("fp32", framework="pytorch") == wanted["Activation"]
    assert net.peak_bytes("fp32", framework=None) == 4 * net.peak_activations <= wanted["Activation"] + wanted["Other"]


@pytest.mark.parametrize("name", REFERENCE["receptive_field"]["cases"])
def test_receptive_field(name):
    net = zoo.network(name)
    for stage in REFERENCE["receptive_field"]["cases"][name]:
        field = net.receptive_field(stage["name"])
        assert (field, field.width, field.stride) == (stage["receptive_field"],) * 2 + (stage["stride"],)


def test_a_symbolic_batch_gives_formulas():
    batch = symbol("n")
    net = zoo.alexnet(batch=batch)
    assert net.macs == 714188480 * batch
    assert net.parameters == 61100840


def test_peak_by_hand():
    """conv 2x4x4 -> relu in place -> conv 1x4x4: input 16 + 32, then 32 + 16."""
    net = Network.sequential("tiny", (1, 1, 4, 4), [Conv2d(k=2, r=1, s=1), ReLU(), Conv2d(k=1, r=1, s=1)])
    assert net.peak_activations == 48
    lives = {life.name: (life.born, life.dies, life.elements) for life in lifetimes(net)}
    assert lives == {
        INPUT: (-1, 0, 16),
        "0.conv2d": (0, 1, 32),
        "1.relu": (1, 2, 32),
        "2.conv2d": (2, 2, 16),
    }


def test_a_skip_connection_keeps_its_tensor():
    build = Builder("skip", 1, 4, 8, 8)
    x = build.add("a", Conv2d(k=4, r=3, s=3))
    build.add("b", Conv2d(k=4, r=3, s=3))
    build.add("c", Conv2d(k=4, r=3, s=3))
    build.add("add", Add(), "c", x)
    assert build.network().peak_activations == 3 * 256  # a stays while b makes c


def test_concatenation_and_receptive_field_of_branches():
    build = Builder("branches", 1, 3, 32, 32)
    small = build.add("small", Conv2d(k=8, r=1, s=1), INPUT)
    large = build.add("large", Conv2d(k=8, r=5, s=5, dilation=2), INPUT)
    build.add("cat", Concatenate(), small, large)
    build.add("pool", AvgPool2d(r=2, s=2))
    net = build.network()
    assert net["cat"].output_shape == (1, 16, 32, 32)
    assert net.receptive_field("cat") == 9
    assert net.receptive_field("pool") == 10


def test_shape_mismatch_names_both_layers_and_both_shapes():
    build = Builder("broken", 1, 3, 8, 8)
    build.add("first", Conv2d(k=4, r=3, s=3))
    with pytest.raises(ShapeError) as error:
        build.add("second", Conv2d(k=4, c=7, r=3, s=3))
    assert all(part in str(error.value) for part in ("'first'", "'second'", "(1, 4, 8, 8)", "c = 7"))
    with pytest.raises(ShapeError, match=r"'fc'.*\(n, c\).*\(1, 4, 8, 8\)"):
        build.add("fc", Linear(k=10))
    with pytest.raises(ShapeError, match="one shape"):
        build.add("add", Add(), "first", INPUT)
    with pytest.raises(ShapeError, match="does not fit into"):
        build.add("wide", MaxPool2d(r=9, s=9))
    build.add("flat", Flatten())  # a refused layer leaves no trace
    assert [node.name for node in build.network().layers] == ["first", "flat"]


def test_names_are_checked():
    build = Builder("names", 1, 3, 8, 8)
    with pytest.raises(DnnlabError, match="no layers"):
        build.network()
    build.add("conv", Conv2d(k=4, r=3, s=3))
    with pytest.raises(DnnlabError, match="taken"):
        build.add("conv", ReLU())
    with pytest.raises(UnknownNameError, match="did you mean 'conv'"):
        build.add("relu", ReLU(), "comv")
    net = build.network()
    with pytest.raises(UnknownNameError, match="Known: conv"):
        net["missing"]
    with pytest.raises(UnknownNameError, match="dtype"):
        net.saved_bytes("fp31")
    with pytest.raises(UnknownNameError, match="framework"):
        net.saved_bytes(framework="tensorflow")
    with pytest.raises(UnknownNameError, match="did you mean 'resnet50'"):
        zoo.network("resnet51")


def test_receptive_field_ends_at_a_layer_that_sees_everything():
    with pytest.raises(DnnlabError, match="ask for a layer before"):
        zoo.resnet50().receptive_field("fc")
    build = Builder("up", 1, 3, 8, 8)
    build.add("up", ConvTranspose2d(k=4, r=2, s=2, stride=2))
    with pytest.raises(DnnlabError, match="scatters"):
        build.network().receptive_field("up")


def test_the_table_sums_up():
    net = zoo.lenet5()
    table = net.table()
    assert table.records()[-1]["macs"] == net.macs
    assert table.records()[-1]["parameters"] == net.parameters == 61706
    assert net.ops == sum(net.operations.values())


def test_rows_are_the_same_each_time():
    assert zoo.resnet18(batch=2).rows() == zoo.resnet18(batch=2).rows()
    assert repr(zoo.lenet5()) == repr(zoo.lenet5())


def test_layers_before_the_first_parameters_need_no_gradient():
    net = Network.sequential("late", (1, 1, 4, 4), [Sigmoid(), Conv2d(k=1, r=3, s=3), BatchNorm2d()])
    sigmoid, conv, norm = net.rows()
    assert sigmoid.backward_ops == 0
    assert conv.backward_macs == conv.macs
    assert norm.backward_ops > norm.ops
    sigmoid, conv, _ = net.rows(input_gradient=True)
    assert sigmoid.backward_ops > 0
    assert conv.backward_macs == 2 * conv.macs
