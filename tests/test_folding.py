"""Folding: batch norm as a scale and a shift, folded into convolutions, and average pooling as a convolution.
The witness is the plain interpreter, which runs both sides on random numbers."""

from __future__ import annotations

import math
import random
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnnlab import (
    AdaptiveAvgPool2d,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    DepthwiseConv2d,
    GlobalAvgPool2d,
    Linear,
    MaxPool2d,
    PointwiseConv2d,
)  # fmt: skip
from dnnlab.errors import DnnlabError, ShapeError
from dnnlab.folding import fold, pooling_as_convolution, scale_shift
from dnnlab.interpreter import interpret
from dnnlab.layers import Layer
from dnnlab.program import Program

EPS = 1e-5
sizes = st.integers(1, 4)


def fill(program: Program, rng: random.Random, *names: str) -> dict[str, Any]:
    """Random numbers for tensors of a program, as nested lists; a variance is positive."""

    def nested(shape: tuple[int, ...], low: float) -> Any:
        if not shape:
            return rng.uniform(low, 2)
        return [nested(shape[1:], low) for _ in range(shape[0])]

    return {name: nested(program.shape(name), 0.1 if name == "running_var" else -2) for name in names}


def flat(tensor: Any) -> list[float]:
    return [x for part in tensor for x in flat(part)] if isinstance(tensor, list) else [tensor]


def close(one: Any, other: Any) -> bool:
    pairs = list(zip(flat(one), flat(other), strict=True))
    return bool(pairs) and all(math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9) for a, b in pairs)


@settings(max_examples=60)
@given(sizes, sizes, sizes, sizes, st.randoms(use_true_random=False))
def test_scale_and_shift_is_batch_norm_at_inference(n: int, c: int, h: int, w: int, rng: random.Random) -> None:
    norm = BatchNorm2d(n=n, c=c, h=h, w=w, training=False)
    program = scale_shift(norm)
    given_ = fill(norm.program, rng, "inp", "weight", "bias", "running_mean", "running_var")
    wanted = interpret(norm.program, given_, {"eps": EPS})
    got = interpret(program, given_, {"eps": EPS})
    assert close(got.tensors["out"], wanted.tensors["out"])
    # the statistics are touched once a channel, not once an element
    assert sum(got.operations.values()) == program.ops == 2 * n * c * h * w + 5 * c


def test_scale_and_shift_of_the_line() -> None:
    assert scale_shift(BatchNorm2d()).statements == (
        "scale[c] = weight[c] / sqrt(running_var[c] + eps)",
        "shift[c] = bias[c] - running_mean[c] * scale[c]",
        "out[n,c,y,x] = scale[c] * inp[n,c,y,x] + shift[c]",
    )


@st.composite
def convolutions(draw: st.DrawFn) -> Layer:
    """A small convolution of any kind."""
    n, h, w = draw(st.integers(1, 2)), draw(st.integers(3, 5)), draw(st.integers(3, 5))
    bias = draw(st.booleans())
    window = {
        "r": draw(st.integers(1, 3)), "s": draw(st.integers(1, 3)), "stride": draw(st.integers(1, 2)),
        "padding": draw(st.sampled_from(["same", "valid", 1])),
    }  # fmt: skip
    kind = draw(st.sampled_from([Conv2d, DepthwiseConv2d, PointwiseConv2d]))
    if kind is DepthwiseConv2d:
        return DepthwiseConv2d(n=n, k=draw(sizes), h=h, w=w, bias=bias, **window)
    if kind is PointwiseConv2d:
        return PointwiseConv2d(n=n, k=draw(sizes), c=draw(sizes), h=h, w=w, bias=bias)
    groups = draw(st.integers(1, 2))
    k, c = groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))
    return Conv2d(n=n, k=k, c=c, h=h, w=w, groups=groups, bias=bias, **window)


@settings(max_examples=80)
@given(convolutions(), st.randoms(use_true_random=False))
def test_a_folded_convolution_does_the_work_of_both(conv: Any, rng: random.Random) -> None:
    folded = fold(conv, BatchNorm2d())
    assert folded.conv.bias and folded.conv.output_shape == conv.output_shape
    norm = BatchNorm2d(training=False).fit(conv.output_shape)
    names = ["inp", "weight", *(["bias"] if conv.bias else [])]
    tensors = fill(conv.program, rng, *names)
    between = interpret(conv.program, tensors).tensors["out"]
    statistics = fill(norm.program, rng, "weight", "bias", "running_mean", "running_var")
    if getattr(conv, "groups", 1) != 1:  # grouped lines split the channels: (g, k) instead of k
        groups, each = conv.groups, conv.k // conv.groups
        between = [[plane for group in sample for plane in group] for sample in between]
        split = {
            name: [values[g * each : (g + 1) * each] for g in range(groups)] for name, values in statistics.items()
        }
    else:
        split = statistics
    wanted = interpret(norm.program, {"inp": between, **statistics}, {"eps": EPS}).tensors["out"]

    own = {name: tensors[name] for name in names if name != "inp"}
    numbers = own | {"gamma": split["weight"], "beta": split["bias"]}
    numbers |= {name: split[name] for name in ("running_mean", "running_var")}
    made = interpret(folded.program, numbers, {"eps": EPS}).tensors
    weights = {"inp": tensors["inp"], "weight": made["folded_weight"], "bias": made["folded_bias"]}
    assert close(interpret(folded.conv.program, weights).tensors["out"], wanted)


def test_folding_saves_the_whole_norm() -> None:
    conv, norm = Conv2d(n=1, k=64, c=3, h=8, w=8, r=3, s=3), BatchNorm2d(training=False)
    folded = fold(conv, norm).conv
    pixels = 64 * 8 * 8
    assert folded.ops - conv.ops == pixels  # one addition of the bias
    assert norm.fit(conv.output_shape).ops == 6 * pixels
    assert folded.parameters == conv.parameters + 64


@settings(max_examples=60)
@given(sizes, sizes, st.integers(3, 6), st.integers(3, 6), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3),
       st.sampled_from(["valid", "same", 1]), st.randoms(use_true_random=False))  # fmt: skip
def test_average_pooling_is_a_convolution(
    n: int, c: int, h: int, w: int, r: int, s: int, stride: int, padding: str | int, rng: random.Random
) -> None:
    pool = AvgPool2d(n=n, c=c, h=h, w=w, r=r, s=s, stride=stride, padding=padding)
    conv, weight = pooling_as_convolution(pool)
    assert weight == Fraction(1, r * s)
    _same_numbers(pool, conv, weight, rng)


@pytest.mark.parametrize(
    "pool", [GlobalAvgPool2d(n=2, c=3, h=4, w=5), AdaptiveAvgPool2d(n=1, c=2, h=6, w=4, y=2, x=4)]
)
def test_other_averages_are_convolutions_too(pool: Any) -> None:
    conv, weight = pooling_as_convolution(pool)
    _same_numbers(pool, conv, weight, random.Random(1))


def _same_numbers(pool: Any, conv: DepthwiseConv2d, weight: Any, rng: random.Random) -> None:
    inp = fill(pool.program, rng, "inp")
    weights = [[[float(weight)] * conv.s for _ in range(conv.r)] for _ in range(conv.k)]
    wanted = interpret(pool.program, inp).tensors["out"]
    assert close(interpret(conv.program, {**inp, "weight": weights}).tensors["out"], wanted)


def test_what_cannot_be_folded_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"does not fit behind Conv2d\(k=4\).*c = 5"):
        fold(Conv2d(k=4), BatchNorm2d(c=5))
    with pytest.raises(DnnlabError, match=r"expected a Conv2d.*Linear"):
        fold(Linear(), BatchNorm2d())  # type: ignore[arg-type]
    with pytest.raises(DnnlabError, match="expected a BatchNorm2d"):
        scale_shift(Conv2d())  # type: ignore[arg-type]
    with pytest.raises(DnnlabError, match="a maximum is no sum of products"):
        pooling_as_convolution(MaxPool2d())  # type: ignore[arg-type]
    with pytest.raises(DnnlabError, match="leave out ceil"):
        pooling_as_convolution(AvgPool2d(h=5, w=5, r=2, s=2, ceil=True))
