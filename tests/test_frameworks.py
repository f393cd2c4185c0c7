"""What a framework keeps of a transformer layer, against the published formula and a measurement."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnnlab import (
    GELU,
    Add,
    BatchedLinear,
    Builder,
    Dropout,
    FeedForward,
    LayerNorm,
    MultiHeadAttention,
    Network,
    ScaledDotProductAttention,
)
from dnnlab.errors import UnknownNameError
from dnnlab.frameworks import FRAMEWORKS, keeps, moments
from dnnlab.layers import CATALOGUE


def transformer_layer(s: int, b: int, h: int, a: int) -> Network:
    """The layer of Korthikanti et al. (2022): s tokens, b samples, width h, a heads."""
    build = Builder("layer", b, s, h)
    norm = build.add("norm1", LayerNorm())
    parts = [build.add(name, BatchedLinear(k=h, bias=True), norm) for name in ("query", "key", "value")]
    build.add("core", ScaledDotProductAttention(a=a, dropout=True), *parts)
    build.add("project", BatchedLinear(k=h, bias=True))
    build.add("drop1", Dropout())
    x = build.add("add1", Add(), "drop1", "input")
    build.add("norm2", LayerNorm())
    build.add("widen", BatchedLinear(k=4 * h, bias=True))
    build.add("gelu", GELU())
    build.add("narrow", BatchedLinear(k=h, bias=True))
    build.add("drop2", Dropout())
    build.add("add2", Add(), "drop2", x)
    return build.network()


def test_measured_transformer_layer() -> None:
    """PyTorch 2.13, bf16: with a mask of one byte an element, and with the CPU's mask of the activations' type."""
    net = transformer_layer(s=128, b=2, h=256, a=4)
    for framework, measured in (("pytorch-cuda", 2885632), ("pytorch", 3147776)):
        saved = net.saved_bytes("bf16", framework)
        assert saved + saved.input == measured


@given(st.integers(2, 64), st.integers(1, 8), st.integers(1, 8), st.integers(1, 8))
def test_published_formula_of_a_transformer_layer(s: int, b: int, d: int, a: int) -> None:
    """34 s b h + 5 a s² b bytes, which leaves out the mean and the spread of two layer norms."""
    h = a * d
    saved = transformer_layer(s, b, h, a).saved_bytes("fp16", "pytorch-cuda")
    assert saved + saved.input == 34 * s * b * h + 5 * a * s * s * b + 8 * s * b


def test_composed_layers_keep_what_their_parts_keep() -> None:
    build = Builder("parts", 2, 7, 12)
    x = build.add("norm", LayerNorm())
    heads = [build.add(name, BatchedLinear(k=12, bias=True), x) for name in ("query", "key", "value")]
    build.add("core", ScaledDotProductAttention(a=3, dropout=True), *heads)
    build.add("project", BatchedLinear(k=12, bias=True))
    for name, layer in (("widen", BatchedLinear(k=20)), ("bend", GELU()), ("narrow", BatchedLinear(k=12))):
        build.add(name, layer)
    whole = Builder("whole", 2, 7, 12)
    whole.add("norm", LayerNorm())
    whole.add("attention", MultiHeadAttention(a=3, bias=True, dropout=True))
    whole.add("forward", FeedForward(m=20))
    for framework in FRAMEWORKS:
        apart, together = (net.network().saved_bytes("fp16", framework) for net in (build, whole))
        assert (apart, apart.parameters) == (together, together.parameters)


def test_tables_name_tensors_of_the_lines() -> None:
    """Every kind but the optimizers has an entry, and each name in it is a tensor of the layer in one of its forms."""
    forms = {
        "FeedForward": {"gated": True},
        "AddEmbedding": {"lookup": True},
        "MultiHeadAttention": {"dropout": True},
        "ScaledDotProductAttention": {"dropout": True},
    }
    for table in FRAMEWORKS.values():
        assert set(CATALOGUE) - set(table) == {"SGD", "Momentum", "Adam"}
        for kind, kept in table.items():
            layer = CATALOGUE[kind](**forms.get(kind, {}))
            assert {keep.name for keep in kept} <= set(layer.program.tensors), kind
            assert {k.name for moment in moments(layer) for k in moment} <= set(layer.program.tensors), kind


def test_unknown_framework_and_kind() -> None:
    net = transformer_layer(4, 1, 4, 2)
    for ask in (net.saved_bytes, net.peak_bytes):
        with pytest.raises(UnknownNameError, match=r"framework.*tensorflo"):
            ask("fp32", "tensorflo")
    with pytest.raises(UnknownNameError, match="measured in pytorch"):
        keeps("pytorch", CATALOGUE["Adam"](), False, ())
