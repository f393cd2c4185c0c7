"""Dependencies across layers, held against the footprint of a gradient: the adjoint lines, run by the interpreter on
tensors of ones, so that nothing cancels, tell which elements each output depends on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnnlab import (
    Add,
    AvgPool2d,
    BatchNorm2d,
    Builder,
    Concatenate,
    Conv2d,
    DepthwiseConv2d,
    Flatten,
    Linear,
    MaxPool2d,
    Network,
    PReLU,
    ReLU,
    zoo,
)
from dnnlab.errors import ExtentError, ShapeError, UnknownNameError
from dnnlab.interpreter import interpret
from dnnlab.layers import CATALOGUE
from dnnlab.layers.base import Layer
from dnnlab.networks import INPUT
from dnnlab.receptive import dependencies, keeps_apart, line_buffer, required, volume

SCALARS = {"eps": 1e-5, "momentum": 0.1}


def box(footprint: np.ndarray) -> tuple[tuple[int, int], ...] | None:
    """The smallest box around what is not zero."""
    found = np.nonzero(footprint)
    if not len(found[0]):
        return None
    return tuple((int(axis.min()), int(axis.max()) + 1) for axis in found)


def gradients(layer: Layer, gradient: np.ndarray) -> list[np.ndarray]:
    """The gradients of a layer's inputs where every tensor of the forward pass is one."""
    if isinstance(layer, BatchNorm2d):
        layer = layer.at(training=False)
    if not layer.program.nests:
        return [gradient.reshape(layer.input_shapes[0])]
    program = layer.backward()
    tensors: dict[str, Any] = {
        name: np.ones(program.shape(name)) for name in program.tensors if not name.startswith("d_")
    }
    tensors["d_out"] = gradient.reshape(program.shape("d_out"))
    made = interpret(program, tensors, SCALARS).tensors
    return [
        np.asarray(made["d_" + name]).reshape(shape)
        for name, shape in zip(layer.input_names, layer.input_shapes, strict=True)
    ]


def footprints(net: Network, name: str, region: tuple[tuple[int, int], ...]) -> dict[str, Any]:
    """The box around the footprint of a region in every tensor before it."""
    grown = {edge: np.zeros(net.shape(edge)) for edge in (INPUT, *(node.name for node in net.layers))}
    grown[name][tuple(slice(*part) for part in region)] = 1
    for node in reversed(net.layers):
        if grown[node.name].any():
            for edge, gradient in zip(node.inputs, gradients(node.layer, grown[node.name]), strict=True):
                grown[edge] += gradient
    return {edge: box(gradient) for edge, gradient in grown.items() if gradient.any()}


@st.composite
def windows(draw: Any, gaps: bool) -> dict[str, Any]:
    r, s = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    stride = tuple(draw(st.integers(1, 3 if gaps else size)) for size in (r, s))
    padding = draw(st.sampled_from(["same", "valid", min(r, s) - 1]))
    return {"r": r, "s": s, "stride": stride, "padding": padding, "dilation": draw(st.integers(1, 2)) if gaps else 1}


@st.composite
def networks(draw: Any, gaps: bool = False) -> Network:
    """One to four layers on a small image, branches among them."""
    build = Builder("random", draw(st.integers(1, 2)), draw(st.integers(1, 2)), *(draw(st.integers(4, 9)),) * 2)
    for _ in range(draw(st.integers(1, 4))):
        before, name = build.last, f"layer{len(build.nodes)}"
        kind = draw(st.sampled_from(["conv", "depthwise", "max", "mean", "relu", "prelu", "norm", "add", "cat"]))
        options = draw(windows(gaps))
        kernel = min(build.shapes[before][2:]) > options["dilation"] * (max(options["r"], options["s"]) - 1)
        if kind == "conv" and kernel:
            build.add(name, Conv2d(k=draw(st.integers(1, 2)), **options))
        elif kind == "depthwise" and kernel:
            build.add(name, DepthwiseConv2d(**options))
        elif kind in ("max", "mean") and kernel:
            build.add(name, (MaxPool2d if kind == "max" else AvgPool2d)(**options))
        elif kind in ("add", "cat"):
            other = build.add(name + "b", Conv2d(k=build.shapes[before][1], r=3, s=3), before)
            build.add(name, Add() if kind == "add" else Concatenate(), before, other)
        else:
            build.add(name, {"prelu": PReLU, "norm": BatchNorm2d}.get(kind, ReLU)())
    return build.network()


def regions(shape: tuple[int, ...]) -> st.SearchStrategy[tuple[tuple[int, int], ...]]:
    def parts(size: int) -> st.SearchStrategy[tuple[int, int]]:
        return st.integers(0, size - 1).flatmap(lambda a: st.integers(a + 1, size).map(lambda b: (a, b)))

    return st.tuples(*map(parts, shape))


@given(networks(), st.data())
@settings(max_examples=60, deadline=None)
def test_dependencies_are_the_footprint_of_the_gradient(net: Network, data: Any) -> None:
    last = net.layers[-1]
    region = data.draw(regions(last.output_shape))
    assert dependencies(net, last.name, *region) == footprints(net, last.name, region)


@given(networks(gaps=True), st.data())
@settings(max_examples=60, deadline=None)
def test_with_gaps_nothing_that_is_needed_lies_outside(net: Network, data: Any) -> None:
    last = net.layers[-1]
    region = data.draw(regions(last.output_shape))
    found = dependencies(net, last.name, *region)
    for edge, footprint in footprints(net, last.name, region).items():
        assert all(a <= b < c <= d for (a, d), (b, c) in zip(found[edge], footprint, strict=True))


@given(networks(gaps=True), st.data())
@settings(max_examples=60, deadline=None)
def test_each_layer_needs_the_smallest_box(net: Network, data: Any) -> None:
    layer = data.draw(st.sampled_from(net.layers)).layer
    region = data.draw(regions(layer.output_shape))
    gradient = np.zeros(layer.output_shape)
    gradient[tuple(slice(*part) for part in region)] = 1
    assert required(layer, region) == tuple(map(box, gradients(layer, gradient)))


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_linear_layers_and_views(data: Any) -> None:
    build = Builder("flat", 2, 2, 3, 4)
    build.add("flatten", Flatten())
    flat = build.network()
    region = data.draw(regions((2, 24)))
    assert dependencies(flat, "flatten", *region) == footprints(flat, "flatten", region)
    build.add("fc", Linear(k=5))
    net = build.network()
    region = data.draw(regions((2, 5)))
    found = dependencies(net, "fc", *region)
    assert found == footprints(net, "fc", region)
    assert found[INPUT] == (region[0], (0, 2), (0, 3), (0, 4))


@pytest.mark.parametrize("name", ["lenet5", "resnet18", "mobilenet_v2"])
def test_one_pixel_needs_its_receptive_field(name: str) -> None:
    net = zoo.network(name)
    nodes = [node for node in net.layers if len(node.output_shape) == 4 and min(node.output_shape[2:]) > 6]
    for node in nodes[::5]:
        middle = [(size // 2, size // 2 + 1) for size in node.output_shape[2:]]
        part = dependencies(net, node.name, (0, 1), None, *middle)[INPUT]
        field = net.receptive_field(node.name)
        tall = part[2][1] - part[2][0]
        assert tall == field.height or (tall < field.height and (part[2][0] == 0 or part[2][1] == net.input_shape[2]))


def test_attention_needs_every_token_and_a_linear_layer_its_own() -> None:
    net = zoo.bert_base(length=16)
    part = ((0, 1), (3, 5), (0, 768))
    linear = dependencies(net, "encoder.0.attention.query", *part)
    assert linear[INPUT] == ((0, 1), (3, 5))
    attention = dependencies(net, "encoder.0.attention.core", *part)
    assert attention["encoder.0.attention.query"] == part
    assert attention["encoder.0.attention.value"] == ((0, 1), (0, 16), (0, 768))
    assert attention[INPUT] == ((0, 1), (0, 16))


def test_an_output_that_sees_only_border_needs_nothing() -> None:
    build = Builder("border", 1, 1, 4, 4)
    build.add("conv", Conv2d(k=1, r=1, s=1, padding=1))
    net = build.network()
    assert list(dependencies(net, "conv", None, None, (0, 1), None)) == ["conv"]
    assert dependencies(net, "conv", None, None, (0, 2), None)[INPUT] == ((0, 1), (0, 1), (0, 1), (0, 4))


def test_batch_norm_needs_the_batch_while_training() -> None:
    build = Builder("norm", 4, 2, 6, 6)
    build.add("norm", BatchNorm2d())
    net = build.network()
    part = ((1, 2), (0, 1), (2, 3), (2, 3))
    assert dependencies(net, "norm", *part)[INPUT] == part
    assert dependencies(net, "norm", *part, training=True)[INPUT] == ((0, 4), (0, 1), (0, 6), (0, 6))


def test_what_keeps_elements_apart_does() -> None:
    for kind, layer in CATALOGUE.items():
        if not keeps_apart(layer()) or kind == "BatchNorm2d":
            continue
        one = layer(n=1, c=1, m=3) if kind == "PReLU" else layer(m=3)
        for nest in one.program.nests:  # every tensor of their own size is read at the target's place
            target = nest.statement.target
            whole = [ref for name in one.input_names for ref in nest.references.get(name, ())]
            assert whole and all(ref.subscripts == target.subscripts for ref in whole)


@given(windows(gaps=False), st.integers(5, 12), st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_line_buffer_holds_the_window(options: dict[str, Any], size: int, channels: int) -> None:
    conv = Conv2d(n=2, k=2, c=channels, h=size, w=size, **options)
    held = line_buffer(conv)
    rows = [
        required(conv, ((0, 1), (0, 2), (y, y + 1), (0, conv.output_shape[3])))[0] for y in range(conv.output_shape[2])
    ]
    assert volume(held) == max(volume(row) for row in rows if row)
    assert held[2][1] <= options["r"] and held[:2] == ((0, 1), (0, channels))


@pytest.mark.parametrize(
    ("name", "region", "error", "words"),
    [
        ("conv9", (), UnknownNameError, "conv9"),
        ("conv1", ((0, 1),), ShapeError, "has 4 axes"),
        ("conv1", ((0, 1), None, (0, 29), None), ExtentError, "axis 2 of 'conv1'"),
        ("conv1", ((0, 1), None, (3, 3), None), ExtentError, "0 <= start < stop <= 28"),
    ],
)
def test_bad_regions_are_named(name: str, region: tuple[Any, ...], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        dependencies(zoo.lenet5(), name, *region)
