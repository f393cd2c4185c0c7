"""Footprints, whether they fit, and how long activations stay: against PyTorch's tracker and published numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnnlab import GELU, SGD, Adam, Builder, Conv2d, Device, Linear, Momentum, Network, ReLU, device, symbol, zoo
from dnnlab.errors import DnnlabError, ExtentError, UnknownNameError
from dnnlab.lifetimes import learned, peak_activations
from dnnlab.memory import Footprint, fits, footprint, kv_cache, largest_batch, lives, training_step

REFERENCE = json.loads((Path(__file__).parent / "data" / "networks.json").read_text())["peak_memory"]["cases"]
MIB, GIB = 2**20, 2**30
SMALL = {"layers": 2, "width": 64, "heads": 8, "kv_heads": 2, "hidden": 96, "vocabulary": 100}
NETWORKS = {
    "lenet5": zoo.lenet5(batch=3),
    "resnet18": zoo.resnet18(batch=2),
    "mobilenet_v2": zoo.mobilenet_v2(batch=1),
    "gpt2": zoo.gpt2_small(batch=1, length=16),
    "llama": zoo.llama(2, 24, **SMALL),
}


@pytest.mark.parametrize("case", REFERENCE)
def test_training_peak_as_tracked_by_pytorch(case: str) -> None:
    """To the byte. A gradient that a layer has just made is temporary to the tracker until it is stored."""
    name, batch = case.rsplit("_b", 1)
    tracked = REFERENCE[case]["train_adam_peak"]["cpu"]
    found = footprint(zoo.network(name, batch=int(batch)), training=True, optimizer=Adam())
    parts = {part.name: part.bytes for part in found.parts}
    assert found.total == tracked["Total"] == sum(parts.values())
    assert parts["parameters"] == tracked["Parameter"]
    assert parts.get("buffers", 0) == tracked["Buffer"]
    assert parts["input"] == tracked["Other"]
    working = parts["gradients"] + parts["activations"] + parts["temporary"]
    state = parts["optimizer state"] + parts["step counts"]
    assert working + state == sum(tracked[key] for key in ("Gradient", "Activation", "Temp", "Optstate"))


@pytest.mark.parametrize("case", REFERENCE)
def test_inference_as_tracked_by_pytorch(case: str) -> None:
    name, batch = case.rsplit("_b", 1)
    tracked = REFERENCE[case]["inference_peak"]["cpu"]
    found = footprint(zoo.network(name, batch=int(batch)))
    assert found.total == tracked["Total"]
    assert found["activations"] == tracked["Activation"]


def test_bert_as_published() -> None:
    """Hugging Face's memory estimator for bert-base-cased: 413.17 MiB, and 1.61 GiB for training with Adam."""
    bert = zoo.bert_base(batch=1, length=8, vocabulary=28996, pooler=True)
    assert bert.parameters == 108_310_272
    found = footprint(bert, "fp32", training=True, optimizer=Adam())
    assert f"{found['parameters'] / MIB:.2f}" == "413.17"
    assert f"{found.states / GIB:.2f}" == "1.61"
    assert found.state_per_parameter == 16


def test_the_pooler_reads_one_token() -> None:
    with_, without = (zoo.bert_base(3, 7, pooler=choice) for choice in (True, False))
    assert with_.macs - without.macs == 3 * 768 * 768
    assert with_.layers[-1].output_shape == (3, 768)
    assert with_.parameters - without.parameters == 768 * 768 + 768


@pytest.mark.parametrize(
    ("optimizer", "dtype", "master", "expected"),
    [
        (Adam(), "fp16", "fp32", 16),  # 2 + 2 + (4 + 4 + 4)
        (Adam(), "bf16", None, 8),
        (Adam(), "fp32", None, 16),
        (Momentum(), "fp32", None, 12),
        (Momentum(), "fp16", "fp32", 12),
        (SGD(), "fp32", None, 8),
        (None, "fp16", None, 4),
    ],
)
def test_bytes_a_parameter(optimizer: Adam | None, dtype: str, master: str | None, expected: int) -> None:
    found = footprint(NETWORKS["lenet5"], dtype, training=True, optimizer=optimizer, master=master)
    assert found.state_per_parameter == expected


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("framework", ["pytorch", "pytorch-cuda", None])
def test_parts_and_moments(name: str, framework: str | None) -> None:
    net = NETWORKS[name]
    found = footprint(net, training=True, optimizer=Adam(), framework=framework)
    moments = training_step(net, "fp32", Adam(), framework)
    assert found.total == sum(part.bytes for part in found.parts)
    assert found.moment in moments and found.moment.total == max(moment.total for moment in moments)
    ran = dict.fromkeys(moment.layer for moment in moments if moment.phase == "forward")
    assert [*ran] == [node.name for node in net.layers]
    assert moments[-1].gradients == 4 * net.parameters
    gradients = [moment.gradients for moment in moments if moment.phase == "backward"]
    assert gradients == sorted(gradients) and gradients[-1] == 4 * net.parameters
    # the end of the forward pass holds what is saved (and the results of this step and of the one before)
    result = 4 * net.layers[-1].activations
    saved = int(net.saved_bytes("fp32", framework))
    end = next(moment for moment in reversed(moments) if moment.phase == "forward").activations
    assert saved + result + 4 <= end + result and end >= saved
    assert footprint(net, framework=framework).total <= found.total


@pytest.mark.parametrize("name", NETWORKS)
def test_lives_in_training_are_what_is_saved(name: str) -> None:
    net = NETWORKS[name]
    found = lives(net, training=True)
    saved = net.saved_bytes("fp32")
    assert sum(life.bytes for life in found.tensors if life.layer != "input") == saved
    order = {"input": -1} | {node.name: place for place, node in enumerate(net.layers)}
    count = len(net.layers)
    for life in found.tensors:
        # replay the step: forward layers after the maker, then backward layers down to the last reader
        run = [place for place in range(count) if place > order[life.layer]]
        run += [place for place in reversed(range(count)) if place >= order[life.until]]
        assert life.passes == len(run)


@pytest.mark.parametrize("name", NETWORKS)
def test_lives_in_inference(name: str) -> None:
    net = NETWORKS[name]
    readers: dict[str, int] = {}
    for place, node in enumerate(net.layers):
        for edge in node.inputs:
            while edge != "input" and net[edge].kind == "Flatten":
                edge = net[edge].inputs[0]
            readers[edge] = place
    found = lives(net, device=device("t4")).tensors
    for life in found:
        until = readers.get(life.layer, len(net.layers) - 1)
        assert life.until == net.layers[until].name and life.phase == "forward"
        assert life.seconds is not None and life.seconds >= 0
        place = {"input": -1} | {node.name: number for number, node in enumerate(net.layers)}
        assert life.passes == until - place[life.layer]


def test_seconds_of_a_life_add_up() -> None:
    """The network's input stays for the whole forward and backward pass; what the last layer keeps for one backward."""
    from dnnlab import on
    from dnnlab.phases import Phase, backward

    net, card = NETWORKS["resnet18"], device("t4")
    found = {(life.layer, life.tensor): life for life in lives(net, training=True, device=card).tensors}
    tasks = tuple(backward(node.name, node.layer, node.name in net.deep) for node in net.layers)
    back = Phase("backward", tasks, 0).on(card, "fp32")
    whole = on(net, card, "fp32").total + back.total
    assert found["input", "input"].seconds == pytest.approx(whole)
    last = (
        found[net.layers[-2].inputs[0], "out"]
        if net.layers[-2].kind == "Flatten"
        else found[net.layers[-2].name, "out"]
    )
    assert last.until == net.layers[-1].name
    assert last.seconds == pytest.approx(
        sum(t.total for t in on(net, card, "fp32").layers[-1:]) + back.layers[-1].total
    )


def test_a_cache_is_a_part() -> None:
    net = zoo.llama(1, 1, **SMALL)
    found = footprint(net, "fp16", cache=100)
    assert found["KV cache"] == kv_cache(net, "fp16", length=100).total == 2 * 2 * 2 * 8 * 100 * 2
    assert found.total == footprint(net, "fp16").total + found["KV cache"]


def test_symbols() -> None:
    n, c, k = map(symbol, "nck")
    found = footprint(Linear())
    assert found.total == 4 * (c * k + n * c + n * k)
    assert "4 · " in found.sentence() and "c" in str(found.table())
    assert footprint(Conv2d(), "fp16")["parameters"] == 2 * Conv2d().parameters


def test_huge_layers() -> None:
    size = 10**12
    found = footprint(Linear(n=size, c=size, k=size), training=True, optimizer=Adam())
    assert found.state_per_parameter == 16 and found["optimizer state"] == 8 * 10**24
    assert "B" in found.sentence()


def test_half_a_byte() -> None:
    assert footprint(Linear(n=1, c=3, k=1), "int4").total == 3.5
    assert footprint(Linear(n=1, c=3, k=1), "int4")["parameters"] * 2 == 3


# -- fits ---------------------------------------------------------------------------------------------------


@given(st.integers(1, 10**9), st.integers(1, 10**9))
def test_fits_is_monotone_in_capacity(small: int, more: int) -> None:
    net = NETWORKS["lenet5"]
    tight, roomy = (Device("card", {"fp32": 1}, capacity=c, bandwidth=1) for c in (small, small + more))
    first, second = fits(net, tight), fits(net, roomy)
    assert bool(first) == (footprint(net).total <= small)
    assert bool(second) >= bool(first)
    assert second["vram"].spare - first["vram"].spare == more


@pytest.mark.parametrize("training", [False, True])
def test_the_largest_batch_is_the_last_that_fits(training: bool) -> None:
    optimizer = Adam() if training else None
    card = Device("card", {"fp32": 1}, capacity="40 MB", bandwidth=1)
    best = largest_batch(zoo.lenet5(), card, training=training, optimizer=optimizer)
    assert best > 10
    for batch, good in ((best, True), (best + 1, False)):
        assert bool(fits(zoo.lenet5(batch=batch), card, training=training, optimizer=optimizer)) is good
    assert largest_batch(zoo.lenet5(), Device("tiny", {"fp32": 1}, capacity=1000)) == 0


def test_levels_and_words() -> None:
    card = device("t4").with_disk("2 TB", "7 GB/s")
    found = fits(zoo.resnet50(), card, host="64 GB")
    assert [level.name for level in found.levels] == ["on-chip", "vram", "host", "disk"]
    assert [level.fits for level in found.levels] == [False, True, True, True]
    assert found["host"].capacity == 64e9
    assert fits(zoo.resnet50(), device("t4"))["host"].fits is None
    assert "fc" not in found.on_chip and "conv1" in found.on_chip
    assert "which leaves 15.9 GB" in found.sentence()
    big = fits(zoo.vgg16(batch=400), device("t4"), training=True, optimizer=Adam())
    assert not big and "more than the 16 GB of vram" in big.sentence()
    assert "may fit" in fits(zoo.lenet5(), Device("own", {"fp32": 1})).sentence()
    assert "<table" in found._repr_html_()


# -- bad input ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: footprint("resnet50"), DnnlabError, "expected a network or a layer, got 'resnet50'"),
        (lambda: footprint(NETWORKS["lenet5"], "fp61"), UnknownNameError, "did you mean 'fp64'|unknown dtype"),
        (lambda: footprint(NETWORKS["lenet5"], optimizer=Adam()), ExtentError, "training=True"),
        (lambda: footprint(NETWORKS["lenet5"], master="fp32"), ExtentError, "training=True"),
        (lambda: footprint(NETWORKS["lenet5"], training=True, optimizer="adam"), DnnlabError, r"such as Adam\(\)"),
        (lambda: footprint(NETWORKS["lenet5"], training=True, cache=3), ExtentError, "leave out"),
        (lambda: footprint(NETWORKS["lenet5"], cache=3), DnnlabError, "no attention layer"),
        (lambda: footprint(NETWORKS["llama"], cache=-3), ExtentError, "length = -3"),
        (lambda: footprint(NETWORKS["lenet5"], framework="tensorflow"), UnknownNameError, "framework"),
        (lambda: footprint(NETWORKS["lenet5"], framework=["pytorch"]), UnknownNameError, "framework"),
        (lambda: lives(NETWORKS["lenet5"], training=True, framework={}), UnknownNameError, "framework"),
        (lambda: footprint(Linear(), training=True), ExtentError, "depends on k, n: bind"),
        (lambda: footprint(NETWORKS["lenet5"])["gradient"], UnknownNameError, "unknown part 'gradient'"),
        (lambda: fits(NETWORKS["lenet5"], "t4"), DnnlabError, "expected a device"),
        (lambda: fits(Linear(), device("t4")), ExtentError, "bind its symbols"),
        (lambda: fits(NETWORKS["lenet5"], device("t4"), host="-3 GB"), ExtentError, "RAM of the host"),
        (lambda: fits(NETWORKS["lenet5"], device("t4"), host=float("nan")), DnnlabError, "RAM of the host"),
        (lambda: fits(NETWORKS["lenet5"], device("t4"), trainign=True), DnnlabError, "trainign"),
        (lambda: fits(NETWORKS["lenet5"], device("t4"))["ram"], ExtentError, "no level 'ram'"),
        (lambda: largest_batch(NETWORKS["lenet5"], Device("own", {"fp32": 1})), ExtentError, "no known capacity"),
        (lambda: lives("lenet5"), DnnlabError, "expected a network"),
        (lambda: training_step("lenet5"), DnnlabError, "expected a network"),
        (lambda: largest_batch("lenet5", device("t4")), DnnlabError, "expected a network"),
    ],
)
def test_bad_input(call: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_a_layer_that_pytorch_was_not_asked_about() -> None:
    """Where nothing was measured, the minimum can still be asked for."""
    net = Network.sequential("chain", (2, 8), [Linear(k=4), ReLU(), GELU(), Linear(k=2)])
    assert footprint(net, training=True, framework=None).total <= footprint(net, training=True).total
    assert isinstance(footprint(net), Footprint)
    assert peak_activations(net) * 4 == footprint(net, framework=None)["activations"] + 4 * 16
    assert learned(net) == {node.name for node in net.layers}


def test_a_network_that_learns_nothing() -> None:
    build = Builder("fixed", 1, 8)
    build.add("relu", ReLU())
    moments = training_step(build.network(), optimizer=Adam())
    assert moments[-1].gradients == 0 and moments[-1].temporary == 0
    assert footprint(build.network(), training=True, optimizer=Adam()).state_per_parameter == 0
