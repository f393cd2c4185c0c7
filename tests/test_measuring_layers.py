"""What `measure` times and what it leaves out, with an invented library; and a short measurement for real."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import dnnlab
from dnnlab import Conv2d, Flatten, Linear, ReLU
from dnnlab.errors import DnnlabError, ExtentError, UnknownNameError
from dnnlab.layers import Given, Layer, Unknown, View
from dnnlab.measuring import layers
from dnnlab.measuring.calls import Call
from dnnlab.measuring.layers import Measured, MeasuredLayer, measure
from dnnlab.measuring.timing import Spread
from dnnlab.measuring.work import Work
from dnnlab.networks import Network


class Library:
    """An invented library: every run moves its clock on by as many seconds as its layer has outputs."""

    def __init__(self, free: int | None = None) -> None:
        self.now, self.told, self.made = 0.0, [], []  # type: ignore[var-annotated]
        self.memory = free

    def clock(self, *place: str) -> Callable[[], float]:
        self.told.append(place)
        return lambda: self.now

    def free(self, *place: str) -> int | None:
        return self.memory

    def supports(self, layer: Layer, dtype: str, *place: str) -> str:
        return "it has no sigmoid" if layer.kind == "Sigmoid" else ""

    def work(self, layer: Layer, dtype: str, *place: str) -> Work:
        return Work(matrix=2 * int(layer.macs), moved=100, working=8 * int(layer.activations))

    def call(self, layer: Layer, dtype: str, seed: int, *place: str) -> Call:
        self.made.append((layer, dtype, seed, place))

        def run() -> None:
            self.now += float(layer.activations)

        return Call(run, {}, 0)


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    made = Library()
    monkeypatch.setattr(layers, "import_module", lambda name: made)
    return made


def network() -> Network:
    return Network.sequential(
        "small",
        (2, 3, 4, 4),
        [
            ("conv", Conv2d(k=3, r=3, s=3)),
            ("relu", ReLU()),
            ("again", Conv2d(k=3, r=3, s=3)),
            ("squash", dnnlab.Sigmoid()),
            ("flat", Flatten()),
            ("out", Linear(k=5)),
        ],
    )


def test_layers_of_a_network_in_order_and_equal_ones_once(library: Library) -> None:
    found = measure(network(), "numpy", seconds=1)
    assert [layer.name for layer in found.layers] == ["conv", "relu", "again", "out"]
    assert [layer.times.median for layer in found.layers] == [96, 96, 96, 10]
    assert [layer.kind for layer, *_ in library.made] == ["Conv2d", "ReLU", "Linear"]
    assert found.total == 298 and found.library == "numpy" and found.dtype == "fp32"
    assert found.layers[0].times is found.layers[2].times
    assert found.layers[3].work == Work(matrix=2 * 2 * 48 * 5, moved=100, working=80)
    assert found.left_out == (
        ("squash", "it has no sigmoid"),
        ("flat", "a view: it moves nothing and takes no time"),
    )


def test_a_layer_runs_for_its_seconds(library: Library) -> None:
    layer = Linear(n=1, k=4, c=2)
    (short,), (long,) = (measure(layer, "numpy", seconds=seconds).layers for seconds in (1, "100 s"))
    assert short.times.repeats == 7 and long.times.repeats == 25


def test_names_of_layers_in_a_sequence(library: Library) -> None:
    relu = ReLU(m=3)
    found = measure([relu, ("mine", Linear(n=1, k=2, c=2)), network()["conv"]], "numpy")
    assert [layer.name for layer in found.layers] == ["0.relu", "mine", "conv"]
    assert [layer.name for layer in measure(relu, "numpy").layers] == ["ReLU"]
    assert [layer.name for layer in measure(network()["out"], "numpy").layers] == ["out"]


def test_nothing_is_left_out_in_silence(library: Library) -> None:
    found = measure(
        [
            ("token", Given(role="parameter", shape=(1, 768))),
            ("lstm", Unknown(operation="lstm", sources=((5, 2),), target=(5, 2))),
            ("view", View(source=(2, 3), target=(6,))),
            ("sigmoid", dnnlab.Sigmoid(m=3)),
        ],
        "numpy",
    )
    assert dict(found.left_out) == {
        "token": "a tensor that is given: nothing runs",
        "lstm": "the catalogue does not know what it computes",
        "view": "a view: it moves nothing and takes no time",
        "sigmoid": "it has no sigmoid",
    }
    assert not library.made and not found.layers and found.total == 0
    assert found.sentence().startswith("No layer was measured. Left out: token (a tensor that is given")


def test_a_layer_that_needs_more_than_half_of_the_memory_is_left_out(library: Library) -> None:
    library.memory = 1600
    found = measure([ReLU(m=101), ReLU(m=100), Linear(n=1, k=1, c=99), Linear(n=1, k=1, c=100)], "numpy")
    assert [layer.name for layer in found.layers] == ["1.relu", "2.linear"]
    assert found.left_out == (
        ("0.relu", "it needs 808 B, more than half of the 1.6 kB of memory that are free"),
        ("3.linear", "it needs 804 B, more than half of the 1.6 kB of memory that are free"),
    )


def test_the_place_goes_to_a_library_that_has_several(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "find_spec", lambda name: object())
    for using, place in (("cuda", ("cuda",)), ("torch", ("cpu",)), (None, ("cpu",)), ("numpy", ())):
        assert measure(ReLU(m=2), using, "fp16").library == (using or "torch")
        assert library.made[-1] == (ReLU(m=2), "fp16", 0, place) and library.told[-1] == place


def test_without_pytorch_numpy_is_taken_or_the_extra_is_named(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers, "find_spec", lambda name: None)
    assert measure(ReLU(m=2)).library == "numpy"
    for using in ("torch", "cuda"):
        with pytest.raises(DnnlabError, match=r'pip install "dnnlab\[torch\]"'):
            measure(ReLU(m=2), using)


def test_progress_is_told(library: Library) -> None:
    told: list[tuple[float, str]] = []
    measure(network(), "numpy", progress=lambda part, doing: told.append((part, doing)))
    assert told == [
        (0, "conv (1 of 3)"),
        (pytest.approx(1 / 3), "relu (2 of 3)"),
        (pytest.approx(2 / 3), "out (3 of 3)"),
        (1, "done"),
    ]


@pytest.mark.parametrize(
    ("work", "options", "error", "part"),
    [
        (Linear(n=1, k=2), {}, ExtentError, "c is open"),
        ([ReLU(m=3), ReLU()], {}, ExtentError, "m is open"),
        (ReLU(m=3), {"using": "jax"}, UnknownNameError, "unknown library 'jax'"),
        (ReLU(m=3), {"dtype": "fp31"}, UnknownNameError, "unknown dtype 'fp31'"),
        (ReLU(m=3), {"seconds": 0}, ExtentError, "must be positive"),
        ("resnet50", {}, DnnlabError, "a layer, a network or a sequence of layers, got 'resnet50'"),
        (17, {}, DnnlabError, "a layer, a network or a sequence of layers, got 17"),
        ([ReLU(m=3), "relu"], {}, DnnlabError, r"or \(name, layer\), got 'relu'"),
    ],
)
def test_what_cannot_be_measured(
    library: Library, work: Any, options: dict[str, Any], error: type[Exception], part: str
) -> None:
    with pytest.raises(error, match=part):
        measure(work, **{"using": "numpy", **options})
    assert not library.made


def told() -> Measured:
    fast, slow = (Spread(least, least, least * 2, least * 3, least * 4, 9) for least in (0.001, 0.003))
    parts = (
        MeasuredLayer("conv", Conv2d(n=1, k=1, c=1, h=2, w=2, r=1, s=1), slow, Work(matrix=6000, moved=1200)),
        MeasuredLayer("relu", ReLU(m=4), fast, Work(moved=400)),
    )
    return Measured("numpy", "fp32", "2026-01-02", parts, (("flat", "a view"), ("flat2", "a view"), ("x", "too large")))


def test_the_table_has_a_row_for_each_layer_those_left_out_and_the_total() -> None:
    table = told().table()
    conv, relu, flat, *_, total = table.records()
    assert conv == {
        "name": "conv", "kind": "Conv2d", "time": 0.006, "quartiles": "3 ms … 9 ms", "share": 0.75,
        "rate": 1e6, "bandwidth": pytest.approx(2e5),
    }  # fmt: skip
    assert relu["rate"] is None and relu["bandwidth"] == 2e5
    assert (flat["name"], flat["kind"], flat["time"]) == ("flat", "left out: a view", None)
    assert total["time"] == 0.008 and len(table.records()) == 6
    assert table.title == "Measured in numpy, fp32, 2026-01-02" and table.note == told().sentence()
    assert told()._repr_html_() == table.html()


def test_the_sentence() -> None:
    assert repr(told()) == told().sentence() == (
        "2 layers take 8 ms in numpy, fp32; conv takes most, 6 ms (75%). "
        "Left out: flat, flat2 (a view); x (too large)."
    )  # fmt: skip
    alone = Measured("torch", "fp16", "2026-01-02", told().layers[:1])
    assert alone.sentence() == "conv takes 6 ms (3 ms … 9 ms, 9 times) in torch, fp16."


def test_against_a_device_and_against_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    from dnnlab import Device
    from dnnlab.measuring import comparing
    from dnnlab.measuring.calibrating import machine

    mine, card = (Device(name, {"fp32": "1 TFLOP/s"}, bandwidth="20 GB/s") for name in ("mine", "card"))
    monkeypatch.setattr(machine, "this_machine", lambda: mine)
    asked: list[tuple[Any, Device]] = []
    monkeypatch.setattr(comparing, "compare", lambda measured, device: asked.append((measured, device)))
    found = told()
    found.against(card)
    found.against()
    assert [(measured is found, device) for measured, device in asked] == [(True, card), (True, mine)]


def test_a_real_measurement_in_numpy() -> None:
    found = measure(network(), "numpy", seconds=0.002, progress=lambda part, doing: None)
    assert [layer.name for layer in found.layers] == ["conv", "relu", "again", "squash", "out"]
    for layer in found.layers:
        assert 0 < layer.times.least <= layer.times.median <= layer.times.greatest and layer.times.repeats >= 7
        assert layer.work.moved > 0 and layer.work.calls >= 1
    assert found.total > 0 and len(found.date) == 10
