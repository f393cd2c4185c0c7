"""A transformer layer's `34sbh + 5as²b`, the key-value cache, and ZeRO: closed forms against publications."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from dnnlab import SGD, Adam, Momentum, MultiHeadAttention, Network, symbol, zoo
from dnnlab.errors import DnnlabError, ExtentError, UnknownNameError
from dnnlab.memory import kv_cache, transformer_layer, transformer_layer_saved, zero
from dnnlab.quantities import bytes_of

MEASURED = json.loads((Path(__file__).parent / "data" / "transformer_layer_saved.json").read_text())
s, b, h, a, t = map(symbol, "sbhat")
SIZES = {"s": st.integers(1, 300), "b": st.integers(1, 8), "a": st.integers(1, 16), "d": st.integers(1, 64)}


@pytest.mark.parametrize("case", MEASURED, ids=lambda case: case.get("variant", f"sdpa={case.get('sdpa')}"))
def test_measured_layers(case: dict[str, int]) -> None:
    """PyTorch, bf16, to the byte: masks of one byte; fused attention; masks as `F.dropout` keeps them on a CPU."""
    found = transformer_layer_saved(
        *(case[name] for name in "sbha"),
        case.get("dtype", "bf16"),
        fused=case.get("sdpa", False),
        mask_bytes=None if "variant" in case else 1,
    )
    assert found.total == case["measured"] == sum(part.bytes for part in found.parts)
    assert found.published == case["formula"] or "variant" in case


def test_the_published_terms() -> None:
    """Section 4.1 of the paper: attention 11sbh + 5as²b, feed-forward 19sbh, layer norms 4sbh."""
    found = transformer_layer_saved()
    assert sympy.expand(found.published - (34 * s * b * h + 5 * a * s**2 * b)) == 0
    blocks = found.blocks
    assert sympy.expand(blocks["attention"] - (11 * s * b * h + 5 * a * s**2 * b)) == 0
    assert sympy.expand(blocks["feed-forward"] - 19 * s * b * h) == 0
    assert sympy.expand(blocks["layer norms"] - 4 * s * b * h) == 0
    assert blocks["statistics"] == 8 * s * b
    assert sympy.expand(transformer_layer_saved(statistics="fp32").total - found.total - 8 * s * b) == 0


@pytest.mark.parametrize(
    ("options", "published"),
    [
        ({"tensor_parallel": "t"}, s * b * h * (10 + 24 / t + 5 * a * s / (h * t))),  # equation 2
        ({"tensor_parallel": "t", "sequence_parallel": True}, s * b * h / t * (34 + 5 * a * s / h)),  # equation 4
        ({"recompute": "selective"}, 34 * s * b * h),
        ({"recompute": "selective", "tensor_parallel": "t"}, s * b * h * (10 + 24 / t)),
        (
            {"recompute": "selective", "tensor_parallel": "t", "sequence_parallel": True},
            34 * s * b * h / t,
        ),  # equation 6
        ({"recompute": "full"}, 2 * s * b * h),
        ({"fused": True}, 34 * s * b * h),
        (
            {"dropout": False},
            s * b * h * 32 + 2 * a * s**2 * b,
        ),  # less two masks; softmax and its product with V are one
    ],
)
def test_variants_of_the_paper(options: dict[str, object], published: sympy.Expr) -> None:
    assert sympy.expand(transformer_layer_saved(**options).published - published) == 0


@given(**SIZES, dtype=st.sampled_from(["fp16", "bf16", "fp32", "fp64"]), fused=st.booleans(), cpu=st.booleans())
def test_numbers_are_the_formula(s: int, b: int, a: int, d: int, dtype: str, fused: bool, cpu: bool) -> None:
    h, width = a * d, bytes_of(dtype)
    mask = width if cpu else 1
    found = transformer_layer_saved(s, b, h, a, dtype, fused=fused, mask_bytes=None if cpu else 1)
    weights = max(4, width) * a * s * b if fused else (2 * width + mask) * a * s * s * b
    assert found.total == (16 * width + 2 * mask) * s * b * h + weights + 4 * width * s * b
    values = {symbol(name): value for name, value in (("s", s), ("b", b), ("h", h), ("a", a))}
    formula = transformer_layer_saved(dtype=dtype, fused=fused, mask_bytes=None if cpu else 1).total
    assert formula.subs(values) == found.total


@given(**SIZES, devices=st.integers(1, 8))
def test_recomputing_and_sharing_never_cost_memory(s: int, b: int, a: int, d: int, devices: int) -> None:
    sizes = {"s": s, "b": b, "a": a * devices, "h": a * devices * d}
    whole, selective, full = (transformer_layer_saved(**sizes, recompute=r).total for r in (None, "selective", "full"))
    assert full <= selective <= whole
    shared = transformer_layer_saved(**sizes, tensor_parallel=devices)
    both = transformer_layer_saved(**sizes, tensor_parallel=devices, sequence_parallel=True)
    assert both.total * devices == whole and both.total <= shared.total <= whole
    assert sum(shared.blocks.values()) == shared.total


def test_the_same_layer_as_a_network() -> None:
    """The table of what PyTorch keeps (measured) and the adjoint lines (derived) agree on the layer."""
    net = transformer_layer(37, 3, 60, 5)
    saved = net.saved_bytes("fp16", "pytorch-cuda")
    assert saved + saved.input == transformer_layer_saved(37, 3, 60, 5).total


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: transformer_layer_saved(0), ExtentError, "s = 0"),
        (lambda: transformer_layer_saved(s=True), ExtentError, "s = True"),
        (lambda: transformer_layer_saved(s=2.5), ExtentError, "s = 2.5"),
        (lambda: transformer_layer_saved(8, 1, 10, 4), ExtentError, "4 heads do not divide the width h = 10"),
        (lambda: transformer_layer_saved(8, 1, 8, 4, tensor_parallel=3), ExtentError, "3 devices do not divide"),
        (lambda: transformer_layer_saved(recompute="some"), ExtentError, "expected 'selective', 'full' or None"),
        (lambda: transformer_layer_saved(recompute=["full"]), ExtentError, "recompute"),
        (lambda: transformer_layer_saved(mask_bytes=0), ExtentError, "mask_bytes = 0"),
        (lambda: transformer_layer_saved(dtype="fp17"), UnknownNameError, "fp16"),
        (lambda: transformer_layer_saved(statistics="fp17"), UnknownNameError, "fp16"),
        (lambda: kv_cache("llama"), DnnlabError, "expected a network"),
        (lambda: kv_cache(zoo.lenet5()), DnnlabError, "LeNet-5 has no attention"),
        (lambda: kv_cache(zoo.gpt2_small(), length=float("nan")), ExtentError, "length = nan"),
        (lambda: kv_cache(zoo.gpt2_small(), batch=0), ExtentError, "batch = 0"),
        (lambda: zero(0, 4), ExtentError, "number of parameters must be positive"),
        (lambda: zero(1.5, 4), ExtentError, "must be whole"),
        (lambda: zero(float("inf"), 4), DnnlabError, "must be finite"),
        (lambda: zero(True, 4), DnnlabError, "number of parameters"),
        (lambda: zero("7.5 B", 4), DnnlabError, "cannot read '7.5 B'"),
        (lambda: zero(100, 0), ExtentError, "devices = 0"),
        (lambda: zero(100, 4, optimizer="adam"), DnnlabError, r"such as Adam\(\)"),
        (lambda: zero(100, 4)[4], ExtentError, "stages 0, 1, 2 and 3"),
    ],
)
def test_bad_input(call: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


# -- ZeRO ---------------------------------------------------------------------------------------------------


def test_zero_as_published() -> None:
    """Figure 1 of the paper: 7.5 G parameters on 64 devices, K = 12."""
    found = zero(7_500_000_000, 64)
    assert [round(stage.total / 1e9, 1) for stage in found.stages] == [120.0, 31.4, 16.6, 1.9]
    assert [stage.communication / (2 * 7.5e9) for stage in found.stages] == [2, 2, 2, 3]


def test_zero_as_formulas() -> None:
    """Table 1 of the paper, in bytes: (2 + 2 + K) P, 4P + KP / N, 2P + (2 + K) P / N, (4 + K) P / N with K = 12."""
    p, n = symbol("P"), symbol("N")
    held = [stage.total for stage in zero(p, n).stages]
    wanted = [16 * p, 4 * p + 12 * p / n, 2 * p + 14 * p / n, 16 * p / n]
    assert all(sympy.expand(got - want) == 0 for got, want in zip(held, wanted, strict=True))


@given(st.integers(1, 500), st.integers(1, 12), st.sampled_from([SGD(), Momentum(), Adam()]))
def test_zero_by_dealing_out_every_number(parameters: int, devices: int, optimizer: SGD) -> None:
    """Deal P numbers of each kind to N devices: what a kind needs is divided where the stage says so."""
    found = zero(parameters * devices, devices, optimizer)
    kinds = {
        "parameters": 2,
        "gradients": 2,
        "optimizer": 4 * (1 + {"SGD": 0, "Momentum": 1, "Adam": 2}[optimizer.kind]),
    }
    for stage, divided in enumerate(((), ("optimizer",), ("optimizer", "gradients"), tuple(kinds))):
        held = [dict.fromkeys(kinds, 0) for _ in range(devices)]
        for number in range(parameters * devices):
            for kind, width in kinds.items():
                for rank in [number % devices] if kind in divided else range(devices):
                    held[rank][kind] += width
        for rank in held:
            assert {kind: getattr(found[stage], kind) for kind in kinds} == rank
            assert sum(rank.values()) == found[stage].total


@given(st.integers(2, 16), st.integers(1, 20))
def test_communication_by_passing_around_a_ring(devices: int, chunk: int) -> None:
    """A ring moves each of N chunks N - 1 hops a pass, so a device sends P (N - 1) / N; the count is its limit."""
    parameters = devices * chunk
    sent = [0] * devices
    for start in range(devices):  # one pass: a reduce-scatter or a gather
        for hop in range(devices - 1):
            sent[(start + hop) % devices] += chunk
    assert len(set(sent)) == 1
    for stage, passes in enumerate((2, 2, 2, 3)):
        told = zero(parameters, devices)[stage].communication / 2
        assert told * (devices - 1) == passes * sent[0] * devices
    assert all(stage.communication == 0 for stage in zero(parameters, 1).stages)


def test_zero_of_a_network() -> None:
    net = zoo.gpt2_small()
    assert zero(net, 8)[1].total == 4 * net.parameters + 12 * net.parameters / 8
    assert zero(net, 1, master=None, dtype="fp32")[0].total == 16 * net.parameters
    assert "8 devices" in zero(net, 8).sentence() and "<table" in zero(net, 8)._repr_html_()


# -- the key-value cache ------------------------------------------------------------------------------------


def test_published_caches() -> None:
    """Llama 3 8B: 32 layers of 8 key-value heads of 128, 128 KiB a token in fp16; without sharing four times that."""
    grouped, full = (kv_cache(zoo.llama(1, 1, kv_heads=heads), "fp16", 8192, 1) for heads in (8, 32))
    assert grouped.per_token == 128 * 1024 and grouped.total == 2**30
    assert full.total == 4 * grouped.total
    assert kv_cache(zoo.gpt2_small(1, 1024), "fp16").total == 36 * 2**20


@given(
    st.integers(1, 3),
    st.integers(1, 9),
    st.integers(1, 4),
    st.integers(1, 4),
    st.sampled_from(["fp32", "int8", "int4"]),
)
def test_cache_by_counting_vectors(layers: int, length: int, kv_heads: int, group: int, dtype: str) -> None:
    heads = kv_heads * group
    sizes = {"layers": layers, "width": heads * 4, "heads": heads, "kv_heads": kv_heads, "hidden": 8, "vocabulary": 9}
    found = kv_cache(zoo.llama(2, 1, **sizes), dtype, length)
    numbers = 0
    for _layer in range(layers):
        for _sample in range(2):
            for _token in range(length):
                for _head in range(kv_heads):
                    numbers += 2 * 4  # a key and a value of four numbers
    assert found.total == numbers * bytes_of(dtype)
    assert found.as_large_as_weights * found.per_token == found.weights


def test_cache_of_whole_attention_layers() -> None:
    net = Network.sequential("own", (2, 5, 12), [MultiHeadAttention(a=3), MultiHeadAttention(a=4)])
    assert kv_cache(net, "fp32").total == 2 * (2 * 2 * 5 * 12 * 4)
    n, t = symbol("n"), symbol("t")
    found = kv_cache(zoo.gpt2_small(), "fp16", length=t, batch=n)
    assert found.total == 2 * 2 * 12 * 768 * n * t
    assert "n · 36864 · t" in found.sentence()
    assert "total" in str(found.table())
