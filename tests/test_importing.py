"""What importing needs without any framework: the message about the extra, and the layers that only it uses."""

from __future__ import annotations

import subprocess
import sys
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnnlab import Add, Builder, Conv2d, Linear, Multiply, ReLU, vectorised
from dnnlab.errors import ShapeError
from dnnlab.interpreter import interpret
from dnnlab.layers import (
    Copy,
    Divide,
    Given,
    GroupNorm,
    Layer,
    MatrixProduct,
    Mean,
    Subtract,
    Sum,
    Unknown,
    View,
    Viewed,
)

BLOCKED = """
import sys
sys.modules[{package!r}] = None
from dnnlab import DnnlabError, Network
try:
    Network.from_{name}({argument!r}{more})
except DnnlabError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("name", "package", "more", "message"),
    [
        ("torch", "torch", ", (1, 3)", "importing a PyTorch module needs PyTorch: pip install dnnlab[torch]\n"),
        ("onnx", "onnx", "", "importing an ONNX file needs the package onnx: pip install dnnlab[onnx]\n"),
    ],
)
def test_without_the_extra_the_message_names_it(name: str, package: str, more: str, message: str) -> None:
    code = BLOCKED.format(name=name, package=package, argument="net.onnx", more=more)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.returncode) == (message, 0), done.stderr


def test_asking_for_the_room_loads_no_framework() -> None:
    code = "import dnnlab.importing, sys; print(*{'torch', 'onnx', 'numpy'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout == "\n", done.stderr


# -- layers of imported networks, against NumPy and the counting interpreter -----------------------------------


def runs(layer: Layer, *arrays: np.ndarray, expected: np.ndarray, **scalars: float) -> None:
    """The lines give NumPy's numbers, and the formula counts what the interpreter does."""
    program = layer.program
    names = [name for name in program.tensors if program.role(name) in ("input", "parameter")]
    given_ = {name: array.reshape(program.shape(name)) for name, array in zip(names, arrays, strict=True)}
    (output,) = program.having("output")
    plain = interpret(program, given_, scalars)
    assert plain.operations == layer.operations
    np.testing.assert_allclose(np.reshape(plain.tensors[output], expected.shape), expected, rtol=1e-9, atol=1e-9)
    fast = vectorised.run(program, given_, scalars)
    np.testing.assert_allclose(np.reshape(fast[output], expected.shape), expected, rtol=1e-9, atol=1e-9)
    assert layer.output_shape == expected.shape


SHAPES = st.lists(st.integers(1, 3), min_size=1, max_size=4)


@given(SHAPES, st.data())
def test_two_tensors_stretch_to_each_other(shape: list[int], data: st.DataObject) -> None:
    def part() -> tuple[int, ...]:
        kept = [data.draw(st.sampled_from([1, size])) for size in shape]
        return tuple(kept[data.draw(st.integers(0, len(kept) - 1)) :])

    first, second = part(), part()
    rng = np.random.default_rng(0)
    a, b = rng.uniform(1, 2, first), rng.uniform(1, 2, second)
    for kind, expected in ((Add, a + b), (Subtract, a - b), (Multiply, a * b), (Divide, a / b)):
        layer = kind().fit(first, second)
        assert layer.input_shapes == (first, second) and layer.ops == expected.size
        runs(layer, a, b, expected=expected)
        gradients = vectorised.run(
            layer.backward(),
            {"first": a.reshape(layer.program.shape("first")), "second": b.reshape(layer.program.shape("second"))}
            | {"d_out": np.ones(layer.program.shape("out"))},
            {},
        )
        slopes = {Add: (1, 1), Subtract: (1, -1), Multiply: (b, a), Divide: (1 / b, -a / b**2)}[kind]
        for name, size, slope in (("d_first", first, slopes[0]), ("d_second", second, slopes[1])):
            whole = np.broadcast_to(slope, expected.shape)
            axes = (1,) * (expected.ndim - len(size)) + size
            summed = whole.sum(tuple(place for place, n in enumerate(axes) if n == 1), keepdims=True)
            np.testing.assert_allclose(np.reshape(gradients[name], -1), summed.reshape(-1), rtol=1e-9)


def test_shapes_that_do_not_stretch_are_refused() -> None:
    with pytest.raises(ShapeError, match="takes inputs of one shape"):
        Add().fit((2, 3), (2, 4))


@given(*(st.integers(1, 4),) * 4)
def test_matrix_products_sums_and_means(b: int, t: int, d: int, u: int) -> None:
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((b, t, d)), rng.standard_normal((b, d, u))
    layer = MatrixProduct(b=b, t=t, d=d, u=u)
    assert layer.macs == b * t * d * u and layer.backward().macs == 2 * layer.macs
    runs(layer, first, second, expected=first @ second)
    rows = rng.standard_normal((t, d))
    runs(Sum(n=t, m=d), rows, expected=rows.sum(1))
    runs(Mean(n=t, m=d), rows, expected=rows.mean(1), count=d)


@given(st.integers(1, 2), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.booleans(), st.booleans())
def test_group_norm(n: int, groups: int, each: int, size: int, scale: bool, shift: bool) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, groups * each, size, 2))
    weight, bias = rng.standard_normal(groups * each), rng.standard_normal(groups * each)
    parts = x.reshape(n, groups, -1)
    unit = (parts - parts.mean(2, keepdims=True)) / np.sqrt(parts.var(2, keepdims=True) + 1e-5)
    expected = unit.reshape(x.shape)
    expected = expected * weight[:, None, None] if scale else expected
    expected = expected + bias[:, None, None] if shift else expected
    layer = GroupNorm(n=n, c=groups * each, h=size, w=2, groups=groups, scale=scale, shift=shift)
    assert layer.parameters == (scale + shift) * groups * each
    learned = [array for array, there in ((weight, scale), (bias, shift)) if there]
    runs(layer, x, *learned, expected=expected, eps=1e-5)


def test_layers_that_compute_nothing() -> None:
    view, copy = View(source=(2, 8), target=(4, 4)), Copy(source=(2, 8), target=(2, 12))
    assert (view.ops, view.traffic, copy.ops, copy.traffic) == (0, 0, 0, 40)
    table = Given(role="parameter", shape=(3, 4))
    assert (table.kind, table.parameters, table.ops, table.traffic) == ("Parameter", 12, 0, 0)
    lost = Unknown(operation="lstm", sources=((2, 5),), target=(2, 7), learned=9)
    assert (lost.kind, lost.parameters, lost.ops, lost.traffic) == ("lstm", 9, 0, 10 + 9 + 14)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))
def test_a_layer_on_other_axes_costs_the_same(n: int, k: int, factor: int) -> None:
    shape = (n, 2, 3, 5)
    layer = Viewed(layer=Linear(n=n * 6, k=k, c=5, bias=True), sources=(shape,), target=(n, 2, 3, k))
    inner = layer.layer
    assert (layer.macs, layer.parameters, layer.saved) == (inner.macs, inner.parameters, inner.saved)
    wider = layer.fit((n * factor, 2, 3, 5))
    assert wider.macs == factor * layer.macs and wider.output_shape == (n * factor, 2, 3, k)
    assert prod(wider.output_shape) == prod(wider.layer.output_shape)
    with pytest.raises(ShapeError, match="import the network again"):
        layer.fit((n, 2, 4, 5))
    with pytest.raises(ShapeError, match="does not hold as many elements"):
        Viewed(layer=inner, sources=((n, 2, 3, 6),), target=(n, 2, 3, k))


def test_totals_say_what_they_are_without() -> None:
    build = Builder("lost", 1, 3, 8, 8)
    build.add("conv", Conv2d(k=4, r=3, s=3))
    for place in range(2):
        build.add(f"grid{place}", Unknown(operation="grid_sample", sources=((1, 4, 8, 8),), target=(1, 4, 8, 8)))
    net = build.network()
    assert [node.name for node in net.left_out] == ["grid0", "grid1"]
    assert repr(net) == "<Network lost: input (1, 3, 8, 8), 3 layers, without grid_sample (× 2)>"
    assert net.table().records()[-1]["name"] == "total, without grid_sample (× 2)"
    assert Builder("a", 1, 4).add("relu", ReLU()) == "relu"
    whole = Builder("whole", 1, 4)
    whole.add("relu", ReLU())
    assert whole.network().left_out == () and "without" not in repr(whole.network())
