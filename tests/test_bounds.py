"""Time on a device: the semantics on random layers and machines, and some numbers by pencil."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction
from itertools import count
from typing import Any

import pytest
import sympy
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dnnlab import (
    SGD,
    Add,
    BatchedLinear,
    BatchNorm2d,
    Conv2d,
    DepthwiseConv2d,
    Device,
    Flatten,
    Linear,
    LoopNest,
    MaxPool2d,
    Network,
    ReLU,
    crossing,
    device,
    on,
    roofline,
    upgrades,
    zoo,
)
from dnnlab.bounds import LayerTime, NetworkTime
from dnnlab.errors import DnnlabError, ExtentError, UnknownNameError
from dnnlab.layers import Layer
from dnnlab.notation import symbol

H100 = device("h100-sxm")
small = st.integers(1, 64)


def near(a: float, b: float, tolerance: float = 1e-9) -> bool:
    return math.isclose(a, b, rel_tol=tolerance, abs_tol=0)


@st.composite
def machines(draw: st.DrawFn) -> Device:
    """A machine with any balance between arithmetic and memory."""
    rate = draw(st.floats(1e6, 1e16))
    return Device(
        "random", {"fp32": rate, "fp16": rate * draw(st.sampled_from([1, 2, 16])), "int8": rate},
        bandwidth=draw(st.floats(1e6, 1e14)), lanes=draw(st.integers(1, 20000)),
        link=draw(st.floats(1e6, 1e12)),  # what a memory on the chip changes is tested below
    )  # fmt: skip


@st.composite
def layers(draw: st.DrawFn) -> Layer:
    """A layer of a kind that computes."""
    n, k, c, h, w = (draw(small) for _ in range(5))
    r, s = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    return draw(
        st.sampled_from(
            [
                Conv2d(n=n, k=k, c=c, h=h, w=w, r=r, s=s, stride=draw(st.integers(1, 2))),
                DepthwiseConv2d(n=n, k=k, h=h, w=w, r=r, s=s),
                Linear(n=n, k=k, c=c, bias=draw(st.booleans())),
                BatchedLinear(n=n, t=h, k=k, c=c),
                MaxPool2d(n=n, c=c, h=h + 3, w=w + 3, r=r, s=s),
                BatchNorm2d(n=n, c=c, h=h, w=w),
                ReLU(shape=(n, c)),
                Add(shape=(n, c)),
                SGD(p=k),
            ]
        )
    )


dtypes = st.sampled_from(["fp32", "fp16", "int8"])
BYTES = {"fp32": 4, "fp16": 2, "int8": 1}


# -- one layer -------------------------------------------------------------------------------------------


@given(layers(), machines(), dtypes, st.booleans())
def test_the_slower_engine_sets_the_time(layer: Layer, machine: Device, dtype: str, overlap: bool) -> None:
    time: Any = on(layer, machine, dtype, overlap)
    assert near(time.compute, Fraction(layer.ops) / Fraction(machine.peak[dtype]))
    assert near(time.memory, Fraction(layer.traffic * BYTES[dtype]) / Fraction(machine.bandwidth))
    slow, fast = max(time.compute, time.memory), min(time.compute, time.memory)
    assert near(time.total, slow if overlap else slow + fast)
    assert near(time.margin, slow / fast) and time.margin >= 1
    if slow > 1.1 * fast:
        assert time.bound == ("compute" if time.compute > time.memory else "memory")
        assert {time.bound, time.stalled} == {"compute", "memory"}
    else:
        assert (time.bound, time.stalled) == ("balanced", None)
    assert (time.macs, time.ops, time.parallelism) == (layer.macs, layer.ops, layer.parallelism)


@given(layers(), machines(), dtypes, st.sampled_from(["compute", "bandwidth"]), st.floats(1, 100))
def test_a_faster_part_never_slows_the_whole(
    layer: Layer, machine: Device, dtype: str, part: str, factor: float
) -> None:
    for overlap in (True, False):
        before: Any = on(layer, machine, dtype, overlap)
        after: Any = on(layer, machine.scaled(**{part: factor}), dtype, overlap)
        assert after.total <= before.total * (1 + 1e-12)
        assert before.total <= after.total * factor * (1 + 1e-9)  # and it buys no more than its factor
        waits = "compute" if part == "compute" else "memory"
        if overlap and before.bound not in (waits, "balanced"):
            assert after.total == before.total, "the best engine makes no difference while it waits"


@given(layers(), machines(), dtypes, st.booleans())
def test_doubling_buys_between_nothing_and_two(layer: Layer, machine: Device, dtype: str, overlap: bool) -> None:
    bought = upgrades(layer, machine, dtype, overlap)
    time: Any = on(layer, machine, dtype, overlap)
    assert set(bought) == {"compute", "bandwidth", "both"}
    assert all(1 - 1e-12 <= value <= 2 + 1e-9 for value in bought.values())
    assert near(bought["both"], 2)
    if overlap and time.margin >= 2:
        side = {"compute": "compute", "memory": "bandwidth"}
        other = {"compute": "bandwidth", "memory": "compute"}
        assert near(bought[side[time.bound]], 2) and bought[other[time.bound]] == 1


@given(layers(), machines(), dtypes)
def test_no_layer_is_above_the_roof(layer: Layer, machine: Device, dtype: str) -> None:
    data = roofline(layer, machine, dtype)
    (point,) = data.points
    assert point.rate <= data.roof(point.intensity) * (1 + 1e-9)
    assert near(point.rate, data.roof(point.intensity), 1e-6), "with overlap it lies on the roof"
    assert near(data.ridge, machine.balance(dtype))
    assert near(data.roof(data.ridge), data.rate)
    without: Any = on(layer, machine, dtype, overlap=False)
    assert without.rate <= point.rate
    if point.bound == "memory":
        assert point.intensity < data.ridge
    elif point.bound == "compute":
        assert point.intensity > data.ridge


@given(st.integers(1, 400), st.integers(1, 130))
def test_utilisation_against_lanes_filled_one_by_one(outputs: int, lanes: int) -> None:
    machine = dataclasses.replace(H100, lanes=lanes)
    time: Any = on(Linear(n=1, c=3, k=outputs), machine)
    left, rounds, busy = outputs, 0, 0
    for _ in count():
        if not left:
            break
        now = min(lanes, left)
        left, rounds, busy = left - now, rounds + 1, busy + now
    assert time.parallelism == outputs
    assert time.rounds == rounds
    assert near(time.utilisation, busy / (rounds * lanes)) and 0 < time.utilisation <= 1


def test_what_is_not_known_is_none() -> None:
    nameless = Device("d", {"fp16": 1e12}, bandwidth=1e11)
    time: Any = on(Linear(n=1, c=2, k=2), nameless)
    assert time.rounds is time.utilisation is time.fits_on_chip is None
    assert on(Linear(), H100).fits_on_chip is None  # type: ignore[union-attr]
    view: Any = on(Flatten(n=2, rest=(3,)), H100)
    assert (view.bound, view.stalled, view.total, view.utilisation) == ("nothing", None, 0, None)
    assert view.sentence() == "Flatten computes nothing and moves nothing."
    assert upgrades(Flatten(n=2, rest=(3,)), H100) == {"compute": 1, "bandwidth": 1, "both": 1}


@given(st.integers(100, 10**7))
def test_what_fits_on_the_chip(on_chip: int) -> None:
    layer = Linear(n=1, c=1000, k=1000)
    time: Any = on(layer, dataclasses.replace(H100, on_chip=on_chip), "fp16")
    assert time.fits_on_chip == (on_chip >= (1000 * 1000 + 2000) * 2)


@given(layers(), machines(), dtypes, st.lists(st.integers(1000, 10**8), min_size=2, max_size=2))
def test_a_small_memory_on_the_chip_means_more_traffic(
    layer: Layer, machine: Device, dtype: str, sizes: list[int]
) -> None:
    small, large = (on(layer, dataclasses.replace(machine, on_chip=size), dtype) for size in sorted(sizes))
    free: Any = on(layer, machine, dtype)
    assert isinstance(small, LayerTime) and isinstance(large, LayerTime)
    assert small.bytes >= large.bytes >= free.bytes == layer.traffic * BYTES[dtype]
    assert small.total >= large.total >= free.total and small.compute == free.compute
    assert near(small.memory, small.bytes / machine.bandwidth)
    if layer.traffic * BYTES[dtype] <= max(sizes) and not layer.program.locals:
        assert large.bytes == free.bytes


def test_a_matrix_product_that_does_not_fit() -> None:
    # three tiles of t x t fill the chip; by pencil each operand is then read once for every tile of the other
    layer, chip = Linear(n=1024, c=1024, k=1024), dataclasses.replace(H100, on_chip=6 * 1024 * 32)
    tiled: Any = on(layer, chip)
    assert 2 * 1024**3 / math.sqrt(chip.on_chip / 2) <= tiled.bytes / 2 <= 2 * 1024**3 / 256 + 1024**2
    assert tiled.intensity < on(layer, H100).intensity  # type: ignore[union-attr]
    (nest,) = layer.program.nests
    alone: Any = on(nest, chip)
    assert alone.bytes == tiled.bytes
    with pytest.raises(ExtentError, match="needs at least 3 elements of fp16"):
        on(layer, dataclasses.replace(H100, on_chip=4))


# -- by pencil -------------------------------------------------------------------------------------------


def test_first_layer_of_resnet50_on_an_h100_by_pencil() -> None:
    """112 x 112 x 64 outputs of 7 x 7 x 3 multiply-accumulates each, eight times; 989.4 TFLOP/s, 3.35 TB/s."""
    macs = 8 * (112 * 112 * 64) * (7 * 7 * 3)
    assert macs == 8 * 118_013_952
    moved = 2 * (8 * 3 * 224 * 224 + 64 * 3 * 7 * 7 + 8 * 64 * 112 * 112)  # input, weights, output, 2 bytes each
    time: Any = on(zoo.resnet50(batch=8)["conv1"], H100, "fp16")
    assert (time.macs, time.ops, time.bytes) == (macs, 2 * macs, moved)
    assert near(time.compute, 2 * 118_013_952 * 8 / 989.4e12)
    assert near(time.memory, moved / 3.35e12)
    assert (time.bound, time.stalled) == ("memory", "compute")
    assert f"{time.compute * 1e6:.2f} {time.memory * 1e6:.2f} {time.margin:.1f}" == "1.91 4.56 2.4"
    assert time.rounds == math.ceil(8 * 64 * 112 * 112 / 16896)


def test_a_vector_times_a_matrix_waits_for_memory_and_a_batch_for_arithmetic() -> None:
    machine = Device("d", {"fp32": "10 TFLOP/s"}, bandwidth="1 TB/s")
    one: Any = on(Linear(n=1, c=1000, k=1000), machine, "fp32")
    assert (one.compute, one.memory) == (2e6 / 1e13, 4 * 1_002_000 / 1e12)
    assert one.bound == "memory" and near(one.margin, 20.04)
    many: Any = on(Linear(n=1000, c=1000, k=1000), machine, "fp32")
    assert many.bound == "compute" and near(many.margin, 2e9 / 1e13 / (4 * 3e6 / 1e12))


def test_balanced_is_within_ten_per_cent() -> None:
    layer = Linear(n=1, c=1000, k=1000)  # 2 000 000 operations, 4 008 000 bytes
    for rate, bound in ((1, "balanced"), (1.099, "balanced"), (1.101, "compute"), (1 / 1.099, "balanced"),
                        (1 / 1.101, "memory")):  # fmt: skip
        machine = Device("d", {"fp32": 2_000_000 / rate}, bandwidth=4_008_000)
        assert on(layer, machine, "fp32").bound == bound, rate


# -- crossings -------------------------------------------------------------------------------------------


@given(machines(), dtypes, st.integers(1, 5000), st.integers(1, 5000))
def test_at_the_crossing_both_take_equally_long(machine: Device, dtype: str, c: int, k: int) -> None:
    layer = Linear(c=c, k=k)
    n = crossing(layer, machine, dtype, "n")
    most = layer.at(n=10**15).intensity(BYTES[dtype])  # with more samples the weights cost nothing
    if n is None:
        assert most <= machine.balance(dtype) * (1 + 1e-6), "bound by memory at every batch"
        return
    ops, moved = 2 * n * c * k, BYTES[dtype] * (c * k + n * (c + k))
    assert near(ops / machine.peak[dtype], moved / machine.bandwidth, 1e-6)
    assume(n < 1e12)
    below, above = math.floor(n * 0.85), math.ceil(n * 1.15) + 1
    before: Any = on(layer.at(n=below), machine, dtype) if below >= 1 else None
    after: Any = on(layer.at(n=above), machine, dtype)
    assert before is None or before.memory > before.compute
    assert after.compute > after.memory


def test_crossings_that_are_known() -> None:
    n = crossing(Linear(c=4096, k=4096), H100, "fp16", "n")
    balance = 989.4e12 / 3.35e12
    assert near(n, balance / (1 - balance / 2048))  # from 2 n c k / (2 (c k + n c + n k)) = balance
    assert crossing(MaxPool2d(c=4, h=8, w=8, r=2, s=2), H100, "fp16", "n") is None
    node = zoo.alexnet()["classifier.1"]
    assert crossing(node, H100, "fp16", "n") == crossing(node.layer, H100, "fp16", "n")
    formula = crossing(Linear(), H100, "fp16", "n")
    assert near(float(formula.subs({symbol("c"): 4096, symbol("k"): 4096})), n)


def test_crossings_that_cannot_be_found() -> None:
    with pytest.raises(ExtentError, match=r"no dimension 'q'; it has n, k, c"):
        crossing(Linear(), H100, "fp16", "q")
    with pytest.raises(ExtentError, match="no dimension 'bias'"):
        crossing(Linear(c=8, k=8), H100, "fp16", "bias")
    with pytest.raises(DnnlabError, match="a network crosses layer by layer"):
        crossing(zoo.lenet5(), H100, "fp16", "n")  # type: ignore[arg-type]
    with pytest.raises(DnnlabError, match="cannot solve Conv2d"):
        crossing(Conv2d(n=1, k=64, c=64, w=56, r=3, s=3, stride=2), H100, "fp16", "h")


# -- symbols ---------------------------------------------------------------------------------------------


@settings(max_examples=20)
@given(st.integers(1, 2000), st.integers(1, 2000), st.integers(1, 2000), machines(), st.booleans())
def test_a_formula_with_numbers_put_in_is_the_number(n: int, k: int, c: int, machine: Device, overlap: bool) -> None:
    formula: Any = on(Linear(), machine, "fp32", overlap)
    number: Any = on(Linear(n=n, k=k, c=c), machine, "fp32", overlap)
    values = {symbol("n"): n, symbol("k"): k, symbol("c"): c}
    for name in ("macs", "ops", "bytes", "parallelism", "compute", "memory", "total"):
        found = sympy.sympify(getattr(formula, name)).subs(values)
        assert near(float(found), getattr(number, name), 1e-12), name


def test_what_symbols_leave_open_is_said() -> None:
    time: Any = on(Linear(c=8), H100)
    for ask in ("bound", "stalled", "margin", "rate", "intensity", "sentence"):
        with pytest.raises(ExtentError, match=r"Linear: who waits depends on k, n; bind them"):
            value = getattr(time, ask)
            value()
    with pytest.raises(ExtentError, match="an upgrade buys depends on c, k, n"):
        upgrades(Linear(), H100)


# -- where the parameters come from ----------------------------------------------------------------------


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 3000), st.floats(1e5, 1e12))
def test_io_is_a_third_engine(n: int, k: int, c: int, bandwidth: float) -> None:
    layer, machine = Linear(n=n, k=k, c=c), H100.with_disk("2 TB", bandwidth)
    time: Any = on(layer, machine, "fp16", parameters_from="disk")
    io = 2 * c * k / bandwidth
    assert near(time.io, io)
    assert near(time.total, max(io, time.compute, time.memory))
    assert near(on(layer, machine, "fp16", False, "disk").total, io + time.compute + time.memory)
    slow, second, _ = sorted((io, time.compute, time.memory), reverse=True)
    if slow <= 1.1 * second:
        assert time.bound == "balanced"
    elif slow == io:
        assert (time.bound, time.stalled) == ("I/O", "compute")
        assert "I/O-bound" in time.sentence()
    else:
        assert time.bound in ("compute", "memory")


def test_io_over_the_link_and_without_parameters() -> None:
    time: Any = on(Linear(n=1, c=4096, k=4096), H100, "fp16", parameters_from="link")
    assert near(time.io, 2 * 4096**2 / 64e9) and time.bound == "I/O"
    still: Any = on(ReLU(shape=(4,)), H100, parameters_from="link")
    assert still.io == 0 and set(still.engines) == {"compute", "memory"}
    close: Any = on(Linear(n=1, c=4096, k=4096), H100.with_disk(1e12, 3.35e12), parameters_from="disk")
    assert close.bound == "balanced" and "arithmetic" not in close.sentence()
    assert "the way of its parameters" in close.sentence() and "memory" in close.sentence()


# -- networks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overlap", [True, False])
def test_a_network_is_told_layer_by_layer(overlap: bool) -> None:
    net = zoo.alexnet(batch=16)
    time: Any = on(net, H100, "fp16", overlap)
    assert isinstance(time, NetworkTime)
    alone: list[Any] = [on(node, H100, "fp16", overlap) for node in net.layers]
    assert time.layers == tuple(alone)
    for total in ("compute", "memory", "total"):
        assert near(getattr(time, total), sum(getattr(layer, total) for layer in alone))
    assert time.bound == {node.name: layer.bound for node, layer in zip(net.layers, alone, strict=True)}
    assert time.stalled == {layer.name: layer.stalled for layer in alone}
    assert {"memory", "compute", "nothing"} <= set(time.bound.values()), "never one label for all"
    assert near(sum(time.shares.values()), 1)
    for bound, share in time.shares.items():
        assert near(share, sum(layer.total for layer in alone if layer.bound == bound) / time.total)
    totals = time.table().records()[-1]
    assert (totals["macs"], totals["ops"]) == (net.macs, net.ops)


def test_a_shared_table_has_no_parameters_to_fetch_again() -> None:
    time: Any = on(zoo.gpt2_small(length=8), H100, parameters_from="link")
    io = {layer.name: layer.io for layer in time.layers}
    assert io["wte"] > 0 and io["lm_head"] == 0


def test_roofline_leaves_out_what_computes_nothing() -> None:
    points = {point.name for point in roofline(zoo.lenet5(), H100).points}
    everything = {node.name for node in zoo.lenet5().layers}
    assert everything - points == {node.name for node in zoo.lenet5().layers if node.ops == 0} != set()


# -- words -----------------------------------------------------------------------------------------------


@given(layers(), machines(), dtypes)
def test_the_sentence_says_who_waits(layer: Layer, machine: Device, dtype: str) -> None:
    time: Any = on(layer, machine, dtype)
    text = time.sentence()
    assert text.startswith(layer.kind) and text.endswith(".") and "\n" not in text
    words = {"memory": "memory-bound", "compute": "compute-bound", "balanced": "is balanced"}
    assert [bound for bound, word in words.items() if word in text] == [time.bound]


def test_sentences_with_their_numbers() -> None:
    linear: Any = on(Linear(n=1, c=4096, k=4096), H100)
    assert linear.sentence() == (
        "Linear is memory-bound: moving 33.6 MB takes 10 µs, the arithmetic only 33.9 ns, so it waits."
    )
    # 64 x 4096 x 4096 in fp16 on 320 GB/s: (2 x 64 x 4096 + 4096^2) x 2 bytes, then 2 x 64 x 4096 x 2
    net: Any = on(Network.sequential("two", (64, 4096), [Linear(k=4096), ReLU()]), device("t4"))
    assert net.sentence().startswith("two takes 111 µs at best: 2 memory-bound layers take 100%")
    flat: Any = on(Network.sequential("flat", (1, 3), [Flatten()]), H100)
    assert flat.sentence() == "flat computes nothing and moves nothing."
    assert upgrades(Network.sequential("flat", (1, 3), [Flatten()]), H100)["both"] == 1


# -- loop nests, and what is refused ---------------------------------------------------------------------


def test_a_line_of_ones_own() -> None:
    nest = LoopNest("out[n,k] += w[k,c] * x[n,c]", n=4, k=100, c=50)
    mine: Any = on(nest, H100, "fp32")
    theirs: Any = on(Linear(n=4, k=100, c=50), H100, "fp32")
    same = ("macs", "ops", "bytes", "parallelism", "compute", "memory", "total", "bound", "rounds")
    assert [getattr(mine, name) for name in same] == [getattr(theirs, name) for name in same]


def test_bad_input() -> None:
    layer = Linear(n=1, c=4, k=4)
    with pytest.raises(UnknownNameError, match="unknown dtype 'fp61'; did you mean 'fp64'"):
        on(layer, H100, "fp61")
    with pytest.raises(UnknownNameError, match="unknown dtype of NVIDIA T4 'fp8'"):
        on(layer, device("t4"), "fp8")
    with pytest.raises(ExtentError, match=r"Eyeriss.*no known bandwidth"):
        on(layer, device("eyeriss"), "int16")
    with pytest.raises(DnnlabError, match="expected a device, got 'h100'"):
        on(layer, "h100")  # type: ignore[arg-type]
    with pytest.raises(DnnlabError, match="expected a layer, a loop nest or a network, got 'conv'"):
        on("conv", H100)  # type: ignore[arg-type]
    with pytest.raises(ExtentError, match=r"has no disk; give it one: device.with_disk"):
        on(layer, H100, parameters_from="disk")
    with pytest.raises(ExtentError, match="expected 'link'"):
        on(layer, H100, parameters_from="disc")
    names = [f"i{place}" for place in range(20)]
    huge = LoopNest(f"out[{','.join(names)}] = 2 * w[i0]", **dict.fromkeys(names, 10**18))
    with pytest.raises(ExtentError, match="longer than any number can say"):
        on(huge, H100)


def test_times_are_values() -> None:
    one, other = on(Linear(n=1, c=4, k=4), H100), on(Linear(n=1, c=4, k=4), H100)
    assert isinstance(one, LayerTime) and one == other and repr(one) == repr(other)
