"""The layer-costs explorer: what it says against independent reckonings, and what it makes of wrong lines."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from driving import agrees
from hypothesis import given, settings
from hypothesis import strategies as st

from dnnlab import device, on
from dnnlab.costs import cost_facts
from dnnlab.errors import DnnlabError, ExtentError, ReadError, ShapeError, UnknownNameError
from dnnlab.explorers import Panel, layer_costs
from dnnlab.explorers.layer_costs_model import EXAMPLES, LARGEST, State, model, settle, uses
from dnnlab.explorers.lines import LAYERS, OWN, costs_of, text_of
from dnnlab.figures import Bar, Canvas, CostDrawing
from dnnlab.interpreter import interpret
from dnnlab.notation import expression, symbol

SMALL = st.integers(1, 5)
LINES = [*(text_of(kind) for kind in LAYERS), *EXAMPLES]


@pytest.fixture
def panel() -> Iterator[Panel]:
    panel = layer_costs(strict=True)
    yield panel
    panel.close()


def state_of(line: str, **sizes: int) -> State:
    return settle(State(OWN, line, "", tuple(sizes.items()), "h100-sxm", OWN))


# --- what it says


@given(st.sampled_from(LINES), st.data())
@settings(max_examples=60, deadline=None)
def test_what_is_counted_is_what_happens(line: str, data: Any) -> None:
    state = state_of(line, **{name: data.draw(SMALL, name) for name in costs_of(line).names})
    program = costs_of(line).at(state.sizes)
    given = {name: np.ones(program.shape(name)) for name in program.tensors if program.role(name) != "local"}
    scalars = {name: 1.0 for nest in program.nests for name in nest.statement.scalars}
    run = interpret(program, {name: array for name, array in given.items() if program.role(name) != "output"}, scalars)
    assert program.ops == sum(run.operations.values())
    bars = {bar.name.removesuffix(" (learned)"): bar for bar in model(state).bars}
    assert bars.pop("operations").count == program.ops
    for name, bar in bars.items():
        touches = sum(nest.accesses(name) for nest in program.nests if name in nest.references)
        assert bar.uses is not None
        assert (bar.count, bar.uses) == (
            program.size(name),
            pytest.approx(float(Fraction(touches, program.size(name)))),
        )


@pytest.mark.parametrize("kind", LAYERS)
def test_a_layer_costs_what_the_catalogue_says(kind: str) -> None:
    layer = LAYERS[kind][1]
    state = settle(State(kind, "", "", (), "t4"))
    sizes = {symbol(name): size for name, size in state.sizes}
    program = costs_of(state.line).at(state.sizes)
    assert state.layer == kind and program.statements == layer.statements
    assert program.ops == expression(layer.ops).subs(sizes) and program.macs == expression(layer.macs).subs(sizes)
    learned = sum(program.size(tensor) for tensor in program.having("parameter"))
    assert learned == expression(layer.parameters).subs(sizes)
    for tensor in program.tensors:
        assert expression(uses(program, tensor)) == expression(layer.reuse(tensor)).subs(sizes)


@given(SMALL, SMALL, SMALL)
@settings(max_examples=20, deadline=None)
def test_the_time_is_that_of_the_layer(n: int, c: int, k: int) -> None:
    layer = LAYERS["Linear"][1].at(n=n, c=c, k=k)
    sentence = model(state_of(text_of("Linear"), n=n, c=c, k=k)).sentence
    time = on(layer, device("h100-sxm"), "fp16")
    assert time.sentence().removeprefix("Linear") in sentence


def test_the_table_holds_every_derived_fact() -> None:
    state = state_of(text_of("Conv2d"), n=2, k=4, c=3, h=8, w=8, r=3, s=3)
    rows = model(state).table.records()
    facts = [fact for fact in cost_facts(costs_of(state.line).at(state.sizes)).records() if fact["quantity"] != "loops"]
    assert [(row["quantity"], row["of"], row["value"]) for row in rows] == [
        (fact["quantity"], fact["of"], fact["value"]) for fact in facts
    ]
    by = {(row["quantity"], row["of"]): row for row in rows}
    assert by["operations", "all"]["formula"] == "n · k · 2 · rs · wh · c"
    assert by["elements", "weight"]["formula"] == "k · rs · c" and by["elements", "weight"]["doubled"] == "× 2"
    assert by["reuse", "weight"]["doubled"] == "same"


@given(st.sampled_from(LINES), st.data())
@settings(max_examples=40, deadline=None)
def test_doubling_an_index_does_what_is_said(line: str, data: Any) -> None:
    state = state_of(line)
    index = data.draw(st.sampled_from([name for name, _ in state.sizes]))
    state = settle(State(state.layer, state.line, index, state.sizes, state.device, state.shown))
    reading = model(state)
    twice = settle(State(state.layer, state.line, index, state.resized(**{index: 2 * state.size}), state.device, OWN))
    for now, then in zip(reading.bars, model(twice).bars, strict=True):
        assert now.grows == (then.count > now.count, (then.uses or 0) > (now.uses or 0))
    told = [row["doubled"] for row in reading.table.records() if (row["quantity"], row["of"]) == ("operations", "all")]
    assert any(said != "same" for said in told) == reading.bars[0].grows[0]


def test_tensors_without_samples_are_parameters() -> None:
    learned = costs_of("out[n,k,y,x] += a[k,c,i,j] * inp[n,c,y+i,x+j]").parameters
    assert learned == ("a",)
    assert costs_of("out[k] += a[k,c] * inp[c]").parameters == ()  # no samples: nothing tells
    assert costs_of("out[n,d] = table[ids[n],d]").parameters == ("table",)


def test_own_lines_are_written_in_the_letters_of_the_lecture() -> None:
    assert r"k \cdot 2 \cdot rs \cdot wh \cdot c" in costs_of("out[k,y,x] += a[k,c,i,j] * inp[c,y+i,x+j]").formula
    assert costs_of("out[i] = inp[i] * inp[i]").names == ("i",)  # a lone i is no place of a filter
    assert set(costs_of("out[y,x,h] = inp[y,x,h]").names) == {"y", "x", "h"}  # h is taken


# --- settling


@given(st.sampled_from([*LAYERS, OWN]), st.sampled_from(LINES), st.sampled_from(["", *LAYERS, OWN]), st.data())
@settings(max_examples=80, deadline=None)
def test_settled_states_are_valid_and_stay(layer: str, line: str, shown: str, data: Any) -> None:
    sizes = data.draw(st.dictionaries(st.sampled_from(["n", "k", "c", "h", "pad", "q"]), st.integers(-3, 2 * LARGEST)))
    settled = settle(State(layer, line, "z", tuple(sizes.items()), "nothing", shown))
    assert settle(settled) == settled
    assert settled.index in dict(settled.sizes) and settled.size == dict(settled.sizes)[settled.index]
    assert all(0 <= size <= LARGEST and (size or name.startswith("pad")) for name, size in settled.sizes)
    assert settled.layer == settled.shown and (settled.layer == OWN or settled.line == text_of(settled.layer))
    assert model(settled).state == settled


def test_choosing_a_layer_fills_the_line_and_typing_makes_it_your_own(panel: Panel) -> None:
    panel.widgets["layer"][0].set_state({"index": [*LAYERS].index("Linear")})
    assert panel.widgets["line"][0].value == text_of("Linear") and panel.state.layer == "Linear"
    panel.widgets["line"][0].set_state({"value": "out[n,k] += weight[k,c]*inp[n,c]"})
    assert panel.state.layer == "Linear" and panel.widgets["line"][0].value == text_of("Linear")  # the same line
    panel.widgets["line"][0].set_state({"value": "out[n,k] = weight[k] * inp[n,k]"})
    assert panel.state.layer == OWN and panel.widgets["layer"][0].value == OWN
    agrees(panel)
    panel.set(layer="Conv2d")
    assert panel.state.line == text_of("Conv2d")
    panel.set(layer=OWN)
    assert panel.state.line == EXAMPLES[0]


def test_sizes_are_kept_from_line_to_line(panel: Panel) -> None:
    panel.set(sizes=panel.state.resized(k=300, c=20))
    panel.set(layer="Linear")
    assert dict(panel.state.sizes) == {"n": 1, "k": 300, "c": 20}
    slider, box = panel.widgets["sizes"]
    assert (slider.value, box.value) == (8, 300)
    panel.set(index="c")
    box.set_state({"value": 21})
    assert dict(panel.state.sizes)["c"] == 21 and slider.value == 4
    slider.set_state({"value": -1})  # an index runs at least once
    assert panel.state.size == 1 and slider.value == 0
    agrees(panel)


def test_a_border_may_be_nothing_and_is_never_wider_than_the_image(panel: Panel) -> None:
    panel.set(line="out[n,y] += weight[i] * inp[n,y+i-pad]", sizes=(("n", 1), ("y", 4), ("i", 3), ("pad", 1)))
    panel.set(index="pad")
    panel.widgets["sizes"][0].set_state({"value": -1})
    assert panel.state.size == 0 and costs_of(panel.state.line).at(panel.state.sizes).shape("inp") == (1, 6)
    panel.widgets["sizes"][1].set_state({"value": 1000})
    assert 0 < panel.state.size <= 2
    agrees(panel)


# --- what is wrong


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("out[n,k] += weight[k,c * inp[n,c]", "bracket"),
        ("out[n,k] = weight[k,c] * inp[n,c]", "use +="),
        ("hello", "a statement is"),
        ("out[n,k] += 2w[k]", "spelled out"),
        (";", "expected a line"),
        ("out[0] = inp[0]", "no index"),
        ("out[n] = __import__('os').system('x')", "cannot be called"),
        ("; ".join(["out[n] = inp[n]"] * 9), "at most 8"),
        ("<b>out</b>", "cannot read"),
    ],
)
def test_a_wrong_line_says_why_and_leaves_the_panel_as_it_was(line: str, words: str) -> None:
    panel = layer_costs("Linear", strict=False)
    shown, state = panel.image.value, panel.state
    panel.widgets["line"][0].set_state({"value": line})
    assert words in panel.error.value and "setting before" in panel.error.value and "<b>out" not in panel.error.value
    assert panel.image.value == shown and panel.state == state and panel.widgets["line"][0].value == state.line
    panel.widgets["line"][0].set_state({"value": EXAMPLES[0]})
    agrees(panel)
    panel.close()


def test_what_is_announced_of_a_size_is_what_it_takes(panel: Panel) -> None:
    panel.set(layer=OWN, line="out[n,k,y,x] += weight[k,c,i,j] * inp[n,c,y+i-pad,x+j-pad]")
    slider, box = panel.widgets["sizes"]
    for index, low in (("pad", 0), ("k", 1), ("pad", 0), ("n", 1)):
        panel.set(index=index)
        assert (box.description, box.min) == (f"Size, {low} to {LARGEST}", low)
        for widget, least in ((slider, slider.min), (box, box.min)):
            widget.set_state({"value": least})
            assert panel.state.size == low == box.value
        assert panel.error.value == ""


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"layer": "Conv3d"}, UnknownNameError, "did you mean 'Conv2d'"),
        ({"line": "out[n] ="}, ReadError, "cannot read"),
        ({"device": "h100"}, UnknownNameError, "h100-sxm"),
        ({"index": "z"}, UnknownNameError, "unknown index 'z'"),
        ({"q": 3}, UnknownNameError, "unknown index or setting 'q'"),
        ({"k": 0}, ExtentError, "k must be a whole number from 1 to 65536, not 0"),
        ({"k": "64"}, ExtentError, "not '64'"),
        ({"line": "out[n,y] = inp[n,y-9]", "y": 3}, ShapeError, "inp"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], error: type[DnnlabError], words: str) -> None:
    with pytest.raises(error, match=words):
        layer_costs(**arguments)


# --- the picture


def test_the_bars_of_a_line_end_where_it_has_run(panel: Panel) -> None:
    drawing = CostDrawing(Canvas(480, 300).axes(0.02, 0.1, 0.95, 0.8))
    bars = panel.reading.bars
    drawing.update(bars)
    ends = set()
    for place, bar in enumerate(bars):
        solid, hatched = drawing._bars[place], drawing._uses[place]
        assert solid.get_x() + solid.get_width() == pytest.approx(bar.count)
        if bar.uses is not None:
            assert hatched.get_x() == bar.count and hatched.get_hatch()
            ends.add(round(hatched.get_x() + hatched.get_width()))
    assert ends == {costs_of(panel.state.line).at(panel.state.sizes).macs}
    assert solid.get_facecolor() != hatched.get_facecolor()
    assert [text.get_text() for text in drawing._names[: len(bars)]] == [bar.name for bar in bars]
    assert not drawing._bars[len(bars)].get_visible()
    # marked: operations, the numbers of out and weight, the uses of inp
    marks = list(zip(*drawing._growing.get_data(), strict=True))
    assert [x < bars[place].count for x, place in zip([x for x, _ in marks], (0, 1, 2, 3), strict=True)] == [
        True, True, True, False,
    ]  # fmt: skip


def test_used_once_is_not_hatched_and_large_counts_have_room() -> None:
    drawing = CostDrawing(Canvas(480, 300).axes(0.02, 0.1, 0.95, 0.8))
    drawing.update([Bar("operations", 0.0), Bar("a", 5.0, 1.0), Bar("b", 8.0, 0.25)])
    assert not any(artist.get_visible() for artist in drawing._uses)
    before = drawing.layers[0].look
    drawing.update([Bar("operations", 1e20)])
    assert drawing.axes.get_xlim()[1] >= 1e20 and drawing.layers[0].look != before
    assert Bar("a", 36864, 3136).words == "36.9 k × 3,136" and Bar("b", 8.0, 0.25).words == "8 × 0.25"


def test_formulas_change_with_the_line_alone(panel: Panel) -> None:
    before = panel.formula.value
    assert r"k \cdot 2 \cdot rs \cdot wh \cdot c" in before and text_of("Conv2d") in before
    panel.set(sizes=panel.state.resized(k=8))
    assert panel.formula.value == before
    panel.set(layer="Linear")
    assert panel.formula.value != before
