"""Explorers without a browser: controls are moved along the path that the browser uses, `set_state`."""

from __future__ import annotations

import base64
import io
import itertools
import math
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from html import escape
from typing import Any

import pytest
from driving import agrees, moves, open_widgets
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dnnlab import device, devices, zoo
from dnnlab import roofline as roofline_data
from dnnlab.errors import DnnlabError, ExtentError, UnknownNameError
from dnnlab.explorers import Amount, Choice, Explorer, Line, Marks, Number, Panel, Switch, roofline
from dnnlab.explorers.roofline import NETWORKS, Drawing, State, model, settle
from dnnlab.figures import Canvas, Layer, RooflineDrawing
from dnnlab.figures.scales import Scale
from dnnlab.quantities import DTYPES, bytes_of
from dnnlab.tables import Table

MACHINES = [machine.id for machine in devices() if machine.bandwidth is not None]
SMALL = ["lenet5", "alexnet", "resnet18", "mobilenet_v1"]
states = st.builds(
    State,
    st.sampled_from(SMALL), st.sampled_from(MACHINES), st.sampled_from(list(DTYPES)), st.sampled_from([1, 3, 32]),
    st.sampled_from(["", "conv1", "fc2", "relu", "layer1.0.add"]),
)  # fmt: skip


@pytest.fixture
def panel() -> Iterator[Panel]:
    panel = roofline("alexnet", "t4", "fp16", batch=4, strict=True)
    yield panel
    panel.close()


# --- driving it


def test_only_what_changed_is_drawn(panel: Panel) -> None:
    canvas = panel._picture.canvas
    before = canvas.draws[:]
    for widget, message in [*list(moves(panel, "layer"))[:5], *moves(panel, "batch")]:
        widget.set_state(message)
    assert canvas.draws[:3] == before[:3]  # neither axes nor roofs: they are those of the device
    assert canvas.draws[3] > before[3]
    panel.set(device="h100-sxm")
    assert canvas.draws[:3] == [*before[:2], before[2] + 1]


# --- what it says


@given(states)
@settings(max_examples=60)
def test_settled_states_are_valid_and_stay(state: State) -> None:
    settled = settle(state)
    network = zoo.network(state.network)
    assert settled.dtype in device(state.device).peak
    assert settled.layer in [node.name for node in network.layers]
    assert settle(settled) == settled
    assert (settled.network, settled.device, settled.batch) == (state.network, state.device, state.batch)
    if state.dtype in device(state.device).peak:
        assert settled.dtype == state.dtype
    if state.layer in [node.name for node in network.layers]:
        assert settled.layer == state.layer


@given(states, st.randoms())
@settings(max_examples=60)
def test_the_sentence_says_who_waits(state: State, choose: random.Random) -> None:
    nodes = zoo.network(state.network, batch=state.batch).layers
    node = choose.choice(nodes)
    state = settle(replace(state, layer=node.name))
    machine = device(state.device)
    # Exact fractions of the layer's own counts: another way than the floats of the model.
    moved = Fraction(node.traffic) * Fraction(bytes_of(state.dtype))
    compute = Fraction(node.ops) / Fraction(machine.rate(state.dtype))
    memory = moved / Fraction(machine.require("bandwidth"))
    sentence = model(state).sentence
    verdict = sentence.partition(f" {NETWORKS[state.network]} at batch {state.batch} takes")[0]
    assert verdict.startswith(f"{node.name} ")
    if moved == 0:
        assert verdict.endswith("another shape.")
    elif memory > compute * Fraction(1.1):
        assert verdict.endswith("memory-bound.") and ("the arithmetic waits" in verdict or node.ops == 0)
    elif compute > memory * Fraction(1.1):
        assert verdict.endswith("the memory waits, compute-bound.")
    else:
        assert verdict.endswith("balanced.")


@given(states)
@settings(max_examples=30)
def test_the_table_lists_the_slowest_and_the_picked(state: State) -> None:
    reading = model(settle(state))
    rows = reading.table.records()
    assert reading.layer.name in [row["name"] for row in rows]
    machine, dtype = device(state.device), reading.state.dtype
    layers = zoo.network(state.network, batch=state.batch).layers
    # every tensor crosses once, as the explorer's note says
    times = [
        max(node.ops / machine.rate(dtype), node.traffic * bytes_of(dtype) / machine.require("bandwidth"))
        for node in layers
    ]
    assert max(float(rows[0]["compute"]), float(rows[0]["memory"])) == pytest.approx(max(times))
    assert 0 < sum(float(str(row["share"])) for row in rows) <= 1.0000001


def test_devices_without_a_bandwidth_are_not_offered(panel: Panel) -> None:
    assert [id for _, id in panel.widgets["device"][0].options] == MACHINES
    assert device("eyeriss").bandwidth is None and "eyeriss" not in MACHINES


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"network": "resnet51"}, UnknownNameError, "did you mean 'resnet50'"),
        ({"device": "h100"}, UnknownNameError, "h100-sxm"),
        ({"device": "eyeriss", "dtype": "int16"}, ExtentError, "no known bandwidth"),
        ({"dtype": "fp4"}, UnknownNameError, "unknown dtype"),
        ({"layer": "conv9"}, UnknownNameError, "unknown layer of resnet50 'conv9'"),
        ({"batch": 0}, ExtentError, "batch must be a whole number from 1 to 256, not 0"),
        ({"batch": "8"}, ExtentError, "not '8'"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], error: type[DnnlabError], words: str) -> None:
    with pytest.raises(error, match=words.replace("(", r"\(")):
        roofline(**arguments)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"colour": "red"}, "unknown control 'colour'"),
        ({"layer": "conv9"}, "unknown layer 'conv9'"),
        ({"dtype": "bf16"}, "unknown dtype 'bf16'"),
        ({"device": "t5"}, "did you mean 't4'"),
        ({"batch": 257}, "from 1 to 256, not 257"),
    ],
)
def test_set_refuses_what_no_control_offers(panel: Panel, fields: dict[str, Any], words: str) -> None:
    before = panel.state
    with pytest.raises(DnnlabError, match=words):
        panel.set(**fields)
    assert panel.state == before
    agrees(panel)


# --- the base, with an explorer of a few lines


@dataclass(frozen=True)
class Toy:
    shape: str
    size: int


@dataclass(frozen=True)
class ToyReading:
    sentence: str
    table: Table
    alt: str


class ToyPicture:
    def __init__(self) -> None:
        self.canvas = Canvas(120, 80)
        (self._line,) = self.canvas.axes(0.1, 0.1, 0.8, 0.8).plot([0, 1], [0, 1], animated=True)

    def png(self, reading: ToyReading) -> bytes:
        self._line.set_ydata([0, len(reading.sentence)])
        return self.canvas.png(Layer(None, (self._line,)))


def toy_model(toy: Toy) -> ToyReading:
    if toy.size == 13:
        raise ExtentError("13 is <unlucky>; take 12")
    if toy.size == 14:
        raise ZeroDivisionError("oops")
    return ToyReading(f"a {toy.shape} & {toy.size}", Table(["size"], [[toy.size]]), "a toy")


def toy(strict: bool | None = None, size: int = 4) -> Panel:
    controls = (
        Choice("shape", "Shape", lambda toy: [("Disc", "disc"), ("Cube", "cube")][: 1 + (toy.size > 2)]),
        Number("size", "Size", 1, 16, doubling=True),
    )

    def keep(toy: Toy) -> Toy:
        return toy if toy.size > 2 else replace(toy, shape="disc")

    return Panel(Explorer("toy", Toy("cube", size), controls, keep, toy_model, ToyPicture), strict)


def test_an_error_is_shown_with_its_fix_and_goes_away() -> None:
    panel = toy(strict=False)
    _slider, box = panel.widgets["size"]
    shown = panel.image.value
    box.set_state({"value": 13})
    assert panel.error.layout.display == ""
    assert 'role="alert"' in panel.error.value and "13 is &lt;unlucky&gt;; take 12" in panel.error.value
    assert panel.state.size == 4 and box.value == 4 and panel.image.value == shown
    box.set_state({"value": 14})
    assert "ZeroDivisionError: oops" in panel.error.value
    box.set_state({"value": 12})
    assert panel.error.layout.display == "none" and panel.state.size == 12
    assert "a cube &amp; 12" in panel.sentence.value
    panel.close()


def test_errors_are_raised_when_strict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DNNLAB_STRICT", "1")
    panel = toy()
    with pytest.raises(ExtentError, match="unlucky"):
        panel.widgets["size"][1].set_state({"value": 13})
    assert "unlucky" in panel.error.value
    monkeypatch.setenv("DNNLAB_STRICT", "0")
    assert not toy().strict and toy(strict=True).strict
    with pytest.raises(ZeroDivisionError):
        toy(strict=False, size=14)  # nothing could be shown: the cell itself fails
    toy().close()


def test_options_follow_the_state() -> None:
    panel = toy(strict=True)
    shape, (slider, box) = panel.widgets["shape"][0], panel.widgets["size"]
    slider.set_state({"value": 1})
    assert panel.state == Toy("disc", 2) and shape.options == (("Disc", "disc"),) and box.value == 2
    box.set_state({"value": 99})  # the box itself keeps to its range
    assert panel.state == Toy("disc", 16) and slider.value == 4
    assert [label for label, _ in shape.options] == ["Disc", "Cube"]
    panel.close()


@dataclass(frozen=True)
class All:
    rate: float
    still: bool
    line: str
    kept: tuple[bool, ...]
    count: int


def everything(strict: bool | None = True) -> Panel:
    controls = (
        Amount("rate", "Rate", "B/s", 1e9, 2e13),
        Switch("still", "Still"),
        Line("line", "Line", ("a", "b")),
        Marks("kept", "Kept", lambda state: [f"x{n}" for n in range(state.count)], 5),
        Number("count", "Count", 1, 5),
    )

    def fit(state: All) -> All:
        return replace(state, kept=(*state.kept, *[False] * 5)[: state.count])

    def model(state: All) -> ToyReading:
        if not state.line:
            raise ExtentError("a line is empty; write one")
        return ToyReading(str(state), Table(["rate"], [[state.rate]]), "all")

    state = All(3.35e12, False, "a", (True, False, True), 3)
    return Panel(Explorer("all", state, controls, fit, model, ToyPicture), strict)


def test_an_amount_is_slid_or_typed_with_its_unit() -> None:
    panel = everything()
    slider, box = panel.widgets["rate"]
    assert box.value == "3.35 TB/s"  # between two stops of the slider
    for typed, value in (("2 TB/s", 2e12), ("400 GB/s", 4e11), ("1e9", 1e9), ("20TB/s", 2e13)):
        box.set_state({"value": typed})
        assert panel.state.rate == pytest.approx(value)
        agrees(panel)
    stops = []
    for place in range(slider.min, slider.max + 1):
        slider.set_state({"value": place})
        stops.append(panel.state.rate)
        agrees(panel)
    assert stops[0] == 1e9 and stops[-1] == 2e13 and stops == sorted(set(stops))
    assert all(1.2 < high / low < 1.3 for low, high in itertools.pairwise(stops))
    panel.set(rate=3.35e12)
    box.set_state({"value": "3.35 TB/s "})
    assert panel.state.rate == pytest.approx(3.35e12)
    panel.close()


@pytest.mark.parametrize("typed", ["fast", "", "-1 GB/s", "9 PB/s", "3 GB", "1/0", "__import__('os')", "nan", "1e999"])
def test_an_amount_that_cannot_be_read_is_refused_and_undone(typed: str) -> None:
    panel = everything(strict=False)
    panel.widgets["rate"][1].set_state({"value": typed})
    assert panel.error.layout.display == "" and panel.state.rate == 3.35e12
    assert panel.widgets["rate"][1].value == "3.35 TB/s"
    panel.widgets["still"][0].set_state({"value": True})
    agrees(panel)
    panel.close()


def test_marks_come_and_go_without_new_widgets() -> None:
    panel = everything()
    buttons = panel.widgets["kept"]
    count = open_widgets()
    assert [b.layout.display for b in buttons] == ["", "", "", "none", "none"]
    buttons[1].set_state({"value": True})
    assert panel.state.kept == (True, True, True) and buttons[1].icon == "check"
    panel.widgets["count"][1].set_state({"value": 5})
    assert panel.state.kept == (True, True, True, False, False) and buttons[4].layout.display == ""
    buttons[4].set_state({"value": True})
    panel.set(kept=(False,) * 5)
    assert open_widgets() == count and not any(b.value for b in buttons)
    agrees(panel)
    panel.close()


@pytest.mark.parametrize(
    ("field", "value"),
    [("rate", 1.0), ("rate", "2 TB/s"), ("rate", True), ("rate", math.nan), ("still", 1), ("line", 3),
     ("kept", (True,)), ("kept", [True, True, True]), ("count", 6), ("count", 2.0)],
)  # fmt: skip
def test_values_that_no_control_could_give_are_refused(field: str, value: Any) -> None:
    panel = everything()
    before = panel.state
    with pytest.raises(ExtentError, match=f"{field} must be"):
        panel.set(**{field: value})
    assert panel.state == before
    panel.close()


def test_a_model_that_refuses_a_line_says_so() -> None:
    panel = everything(strict=False)
    panel.widgets["line"][0].set_state({"value": ""})
    assert "a line is empty; write one" in panel.error.value and panel.widgets["line"][0].value == "a"
    panel.close()


# --- without a kernel


def test_the_bundle_holds_the_picture_of_now(panel: Panel) -> None:
    panel.set(batch=64)
    bundle = panel._repr_mimebundle_()
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == panel.widget.model_id
    assert base64.b64decode(bundle["image/png"]) == bytes(panel.image.value)
    picture = Image.open(io.BytesIO(bytes(panel.image.value)))
    assert picture.mode == "P" and picture.width == 1.5 * panel._picture.canvas.width
    assert len(panel.image.value) < 20_000
    assert escape(model(panel.state).sentence) in bundle["text/html"]
    panel.set(batch=1)
    assert panel._repr_mimebundle_()["text/plain"] == bundle["text/plain"]  # so stored notebooks can be compared
    panel.close()
    assert set(panel._repr_mimebundle_()) == {"text/plain", "image/png", "text/html"}


def test_an_exported_page_shows_the_picture_with_its_words(panel: Panel) -> None:
    nbformat = pytest.importorskip("nbformat", reason="comes with JupyterLab, the extra 'lab'")
    nbconvert = pytest.importorskip("nbconvert", reason="comes with JupyterLab, the extra 'lab'")
    output = nbformat.v4.new_output("display_data", data=panel._repr_mimebundle_())
    page = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("roofline()", outputs=[output])])
    html, _ = nbconvert.HTMLExporter().from_notebook_node(page)
    shown = re.search(r'<img alt="([^"]*)"[^>]*src="data:image/png;base64,([^"]*)"', html)
    assert shown is not None
    assert shown[1] == model(panel.state).alt and base64.b64decode(shown[2]) == bytes(panel.image.value)
    assert escape(model(panel.state).sentence) in html


def test_explorers_leave_pyplot_alone() -> None:
    check = "import sys, dnnlab.explorers; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False, timeout=60).returncode == 0


# --- the picture


def test_each_layer_stands_where_its_numbers_say() -> None:
    data = roofline_data(zoo.resnet18(batch=2), device("a100-sxm"), "fp16")
    canvas = Canvas(480, 262)
    drawing = RooflineDrawing(canvas.axes(0.13, 0.17, 0.82, 0.73))
    drawing.update(data, data.points[3])
    looks = set()
    for bound, artist in drawing._points.items():
        placed = {tuple(place) for place in artist.get_offsets().tolist()}
        assert placed == {(p.intensity, p.rate) for p in data.points if p.bound == bound}
        looks.add((artist.get_paths()[0].vertices.tobytes(), tuple(artist.get_facecolor()[0])))
    assert len({shape for shape, _ in looks}) == len({colour for _, colour in looks}) == len(looks)
    (low, high), (left, right) = drawing.axes.get_ylim(), drawing.axes.get_xlim()
    assert all(left <= p.intensity <= right and low <= p.rate <= high for p in data.points)
    assert drawing._label.get_text() == data.points[3].name
    assert drawing._ring.get_data() == ([data.points[3].intensity], [data.points[3].rate])


@pytest.mark.parametrize("machine", MACHINES)
def test_labels_stay_inside_the_picture(machine: str) -> None:
    dtype = next(iter(device(machine).peak))
    data = roofline_data(zoo.mobilenet_v1(batch=256), device(machine), dtype)
    drawing = Drawing()
    names = sorted(data.points, key=lambda point: point.intensity)
    for point in (names[0], names[len(names) // 2], names[-1]):
        drawing.png(model(settle(State("mobilenet_v1", machine, dtype, 256, point.name))))
        figure = drawing.canvas.figure
        for text in figure.findobj(lambda artist: hasattr(artist, "get_text") and artist.get_visible()):
            if text.get_text():
                box = text.get_window_extent()
                assert box.x0 >= 0 and box.y0 >= 0, text.get_text()
                assert box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1, text.get_text()


def test_the_name_of_a_layer_does_not_hide_the_words_along_the_slope() -> None:
    state = settle(State("bert_base", "h100-sxm", "fp16", 1, "encoder.0.intermediate"))
    drawing = Drawing()
    drawing.png(model(state))
    name, words = (drawing._drawing._label, drawing._drawing._slope_label)
    assert not name.get_window_extent().overlaps(words.get_window_extent())


def test_a_scale_has_a_number_at_each_place_inside_its_axes() -> None:
    canvas = Canvas(300, 200)
    axes = canvas.axes(0.2, 0.2, 0.7, 0.7)
    scales = Scale(axes, "x", "time", 20, "{:g}".format), Scale(axes, "y", "memory", 30, "{:g}".format)
    for count in (4, 2, 7):
        for scale in scales:
            scale.put(0, 10, range(count))
        canvas.png(Layer(None, tuple(one for scale in scales for one in scale.artists)))
        for axis, scale in enumerate(scales):
            shown = [text for text in scale.numbers if text.get_visible()]
            assert [text.get_text() for text in shown] == [f"{place}" for place in range(count)]
            middles = [(text.get_window_extent().min + text.get_window_extent().max)[axis] / 2 for text in shown]
            wanted = [axes.transData.transform((place, place))[axis] for place in range(count)]
            assert middles == pytest.approx(wanted, abs=2)


def test_a_layer_without_arithmetic_has_no_ring() -> None:
    state = settle(State("alexnet", "t4", "fp16", 1, "flatten"))
    drawing = Drawing()
    drawing.png(model(state))
    assert not drawing._drawing._ring.get_visible() and not drawing._drawing._label.get_visible()
