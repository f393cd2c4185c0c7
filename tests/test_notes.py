"""The lecture's tables: the derived side against counts by brute force, the verdicts against machines and
batches on either side of their conditions, and the notes as they were written."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from dnnlab import (
    SGD,
    BatchNorm2d,
    Conv2d,
    DepthwiseConv2d,
    Device,
    Linear,
    MaxPool2d,
    ReLU,
    device,
    devices,
    on,
    zoo,
)
from dnnlab.errors import DnnlabError, ExtentError, UnknownNameError
from dnnlab.interpreter import interpret
from dnnlab.layers import CATALOGUE
from dnnlab.notation import read_formula, symbol
from dnnlab.notes import (
    VERDICTS,
    Cell,
    bounded,
    cells,
    compare,
    epoch_table,
    layer_cells,
    layer_table,
    notes,
    symbol_table,
)

ROWS = {row["name"]: row for row in notes()["layers"]}
CELLS = {(cell.table, cell.row, cell.column, cell.note): cell for cell in cells()}
n, k, c, h, w, r, s = map(symbol, "nkchwrs")


def cell(row: str, column: str, note: str | None = None) -> Cell:
    (found,) = [
        one for one in CELLS.values() if (one.row, one.column) == (row, column) and note in (None, one.note)
    ]
    return found


# -- every cell is there ---------------------------------------------------------------------------------


def test_every_cell_of_the_notes_has_a_verdict() -> None:
    assert len(CELLS) == 7 * 3 + 4 + 3 * 3 + 6
    for one in CELLS.values():
        assert one.verdict in VERDICTS and one.derived
        assert (one.verdict == "open") == (one.note == ""), one
        assert one.condition or one.verdict not in ("holds when", "is short"), one
    assert {one.verdict for one in CELLS.values()} == set(VERDICTS)


def test_cells_are_values() -> None:
    assert cells() == cells() and hash(cells()[0]) == hash(cells()[0])
    with pytest.raises(dataclasses.FrozenInstanceError):
        cells()[0].verdict = "agrees"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("row", "column", "derived", "verdict"),
    [
        ("Convolution", "operations", "k · 2 · rs · wh · c", "agrees"),
        ("Convolution", "parameters", "k · rs · c", "agrees"),
        ("Depth-wise convolution", "operations", "k · 2 · rs · wh", "agrees"),
        ("Depth-wise convolution", "parameters", "k · rs", "agrees"),
        ("Linear/Fully-Connected", "operations", "k · 2 · c", "open"),
        ("Linear/Fully-Connected", "parameters", "k · c", "is short"),
        ("Batched Linear", "operations", "k · 2 · c · t", "open"),
        ("Batched Linear", "parameters", "k · c", "is short"),
        ("Pooling", "parameters", "0", "agrees"),
        ("Activation Functions", "parameters", "0", "agrees"),
    ],
)
def test_counts(row: str, column: str, derived: str, verdict: str) -> None:
    assert (cell(row, column).derived, cell(row, column).verdict) == (derived, verdict)


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3))
def test_the_notes_formulas_against_the_interpreters_count(
    k_: int, c_: int, h_: int, w_: int, r_: int, s_: int
) -> None:
    """What the notes write, with numbers put in, is what runs; for the linear layer it is not."""
    values = {k: k_, c: c_, h: h_, w: w_, r: r_, s: s_}
    runs: dict[str, Any] = {
        "Convolution": Conv2d(n=1, k=k_, c=c_, h=h_, w=w_, r=r_, s=s_),
        "Depth-wise convolution": DepthwiseConv2d(n=1, k=k_, h=h_, w=w_, r=r_, s=s_),
        "Linear/Fully-Connected": Linear(n=1, k=k_, c=c_),
    }
    for name, layer in runs.items():
        run = interpret(layer.program, {})
        weights = len(flat(run.tensors["weight"]))
        note = read_formula(ROWS[name]["memory"]["formula"], "krswhc").subs(values)
        assert (note == weights) == (cell(name, "parameters").verdict == "agrees" or c_ == 1)
        if "formula" in ROWS[name]["compute"]:
            written = read_formula(ROWS[name]["compute"]["formula"], "krswhc")
            assert written.subs(values) == sum(run.operations.values())


def flat(tensor: Any) -> list[float]:
    return [x for part in tensor for x in flat(part)] if isinstance(tensor, list) else [tensor]


# -- comparing -------------------------------------------------------------------------------------------


def test_compare_is_exact_and_finds_the_condition() -> None:
    assert compare(read_formula("k·2·rs·wh·c", "krswhc"), 2 * k * r * s * w * h * c) == ("agrees", "")
    assert compare(read_formula("(k + 1)·c"), k * c + c) == ("agrees", "")
    assert compare(k * r * s, k * r * s * c) == ("is short", "agrees only when c = 1")
    assert compare(k, k * c * h) == ("is short", "never agrees")
    assert compare(2 * k * c, k * c) == ("is short", "never agrees")
    assert compare(sympy.Integer(2), 2) == ("agrees", "")


@given(st.permutations("krswhc"), st.integers(1, 3))
def test_a_note_that_is_off_by_anything_is_not_called_right(order: list[str], off: int) -> None:
    derived = Conv2d(n=1).ops
    right = read_formula("·".join(["2", *order]))
    assert compare(right, derived) == ("agrees", "")
    assert compare(right * (1 + off), derived)[0] == "is short"
    assert compare(right / symbol(order[0]), derived)[0] == "is short"
    assert compare(right + off, derived)[0] == "is short"


@pytest.mark.parametrize(
    ("count", "verdict"),
    [
        (8 + 14 / (w * h), True), (2 * c, False), (r * s, True), (sympy.Integer(0), True), (sympy.floor(h / r), False),
        (1 / sympy.floor(h / r), True), ((c + 1) / c, True), (h**2 / h, False), (sympy.sqrt(w), False),
    ],
)  # fmt: skip
def test_bounded(count: Any, verdict: bool) -> None:
    assert bounded(count) is verdict


def test_orders_are_for_one_element() -> None:
    pooling, norm, relu = (cell(row, "operations") for row in ("Pooling", "Normalization", "Activation Functions"))
    assert [one.verdict for one in (pooling, norm, relu)] == ["holds when"] * 3
    assert pooling.derived.endswith("rs for each output element")
    assert relu.derived == "wh · c, or 1 for each output element"
    for layer, each in ((MaxPool2d(n=1, c=2, h=6, w=6, r=3, s=2), 6), (ReLU(shape=(1, 2, 3)), 1)):
        assert layer.ops == each * layer.activations
    assert norm.derived.endswith("14 / (wh) + 8 for each output element")
    numbers = BatchNorm2d(n=1, c=3, h=4, w=5)
    assert numbers.ops * 20 == numbers.activations * (8 * 20 + 14)
    assert cell("Normalization", "parameters").condition == "counted for one channel"


# -- bounds ----------------------------------------------------------------------------------------------


def build(row: dict[str, Any], batch: int = 1) -> Any:
    sizes = {"n": batch, **row["size"]}
    own = {name: size for name, size in sizes.items() if name not in row["input"]}
    return CATALOGUE[row["layer"]](**own).fit(tuple(sizes[name] for name in row["input"]))


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize(("own", "dtype"), [("h100-sxm", "fp16"), ("t4", "fp32"), ("stm32h743", "fp32")])
def test_bounds_are_those_of_the_device(name: str, own: str, dtype: str) -> None:
    (found,) = [one for one in layer_cells(device(own), dtype, 8) if (one.row, one.column) == (name, "bound")]
    time: Any = on(build(ROWS[name], 8), device(own), dtype)
    assert found.derived.startswith(f"{time.bound}, ")
    assert found.verdict == ("agrees" if time.bound == ROWS[name]["bound"]["means"] else "holds when")
    count = sum(
        on(build(ROWS[name], 8), other, dtype).bound == ROWS[name]["bound"]["means"]  # type: ignore[union-attr]
        for other in devices()
        if dtype in other.peak and other.bandwidth
    )
    assert re.search(rf"\({count} of \d+ devices with {dtype}", found.condition)


@pytest.mark.parametrize("name", ROWS)
def test_the_machine_balance_of_a_condition_is_where_the_note_starts_to_hold(name: str) -> None:
    """Machines a little to either side of each limit: inside the note is right, outside it is not."""
    means = ROWS[name]["bound"]["means"]
    text = cell(name, "bound").condition
    below = re.search(r"balance below ([\d.]+)", text)
    above = re.search(r"balance above ([\d.]+)", text)
    inside = re.search(r"balance from ([\d.]+) to ([\d.]+)", text)
    limits: list[tuple[float, float]] = []  # (a balance that holds, one that does not)
    for match, sides in ((below, (0.98, 1.02)), (above, (1.02, 0.98))):
        limits += [(float(match[1]) * sides[0], float(match[1]) * sides[1])] if match else []
    if inside:
        least, most = map(float, inside.groups())
        limits += [(least * 1.02, least * 0.98), (most * 0.98, most * 1.02)]
    assert limits
    for holds, fails in limits:
        for balance, right in ((holds, True), (fails, False)):
            machine = Device("d", {"fp16": balance * 1e9}, bandwidth=1e9)
            assert (on(build(ROWS[name]), machine, "fp16").bound == means) is right, balance


@pytest.mark.parametrize(("name", "own"), [("Linear/Fully-Connected", "h100-sxm"), ("Batched Linear", "h100-sxm"),
                                           ("Linear/Fully-Connected", "t4"), ("Batched Linear", "l4")])  # fmt: skip
def test_the_batches_of_a_condition_are_exactly_those(name: str, own: str) -> None:
    (found,) = [one for one in layer_cells(device(own)) if (one.row, one.column) == (name, "bound")]
    match = re.search(r"here at batch (\d+) to (\d+)", found.condition)
    assert match
    first, last = int(match[1]), int(match[2])
    row = ROWS[name]
    for batch in {1, max(1, first - 1), first, last, last + 1}:
        bound = on(build(row, batch), device(own), "fp16").bound
        assert (bound == row["bound"]["means"]) == (first <= batch <= last), batch


def test_depthwise_needs_a_machine_that_computes_slowly() -> None:
    found = cell("Depth-wise convolution", "bound")
    assert found.verdict == "holds when" and found.derived.startswith("memory, 66 times the other: 4.47 op/B")
    # rs multiply-adds an output; one input and one output of two bytes move: at most rs / 2 operations a byte
    assert build(ROWS["Depth-wise convolution"]).intensity(2) < 9 / 2
    slow = next(one for one in layer_cells(device("stm32h743"), "fp32") if one.row == "Depth-wise convolution")
    assert slow.verdict == "agrees" and "stm32h743" in slow.condition


@pytest.mark.parametrize(
    ("name", "net"), [("Convolution", "vgg16"), ("Depth-wise convolution", "mobilenet_v1"), ("Pooling", "vgg16"),
                      ("Linear/Fully-Connected", "vgg16"), ("Batched Linear", "bert_base"),
                      ("Normalization", "resnet50"), ("Activation Functions", "resnet50")]
)  # fmt: skip
def test_sizes_are_of_real_layers(name: str, net: str) -> None:
    layer = build(ROWS[name])
    known = {(node.kind, node.layer.input_shapes, node.output_shape) for node in zoo.network(net).layers}
    assert (layer.kind, layer.input_shapes, layer.output_shape) in known


# -- comments --------------------------------------------------------------------------------------------


def test_comments() -> None:
    norm = cell("Normalization", "comment")
    assert norm.derived.startswith("out[n,c,y,x] = scale[c] * inp[n,c,y,x] + shift[c]: 2 operations")
    assert "1 / (rs)" in cell("Pooling", "comment").derived
    (learned, keeping) = sorted(
        (one for one in CELLS.values() if (one.row, one.column) == ("Activation Functions", "comment")),
        key=lambda one: one.note, reverse=True,
    )  # fmt: skip
    assert learned.derived == "PReLU c; the others none" and learned.verdict == "agrees"
    can, cannot = keeping.derived.split("; ")
    for name in re.findall(r"[A-Z]\w+", can):
        assert "inp" not in CATALOGUE[name]().saved, name
    for name in re.findall(r"[A-Z]\w+", cannot):
        assert "inp" in CATALOGUE[name]().saved and not CATALOGUE[name]().in_place, name


# -- an epoch, and the symbols ---------------------------------------------------------------------------


def test_epoch() -> None:
    twice = cell("Backward pass", "compute")
    assert twice.verdict == "agrees" and twice.derived.startswith("2 times in Conv2d")
    conv = Conv2d(n=2, k=3, c=2, h=4, w=4, r=3, s=3)
    run = interpret(conv.backward(), {})
    assert sum(run.operations.values()) == 2 * conv.ops
    alone = interpret(conv.backward(input_gradient=False), {})
    assert sum(alone.operations.values()) == conv.ops and "in a first layer it is 1 times" in twice.condition
    norm = BatchNorm2d(n=10, c=2, h=100, w=100)
    assert "BatchNorm2d 25 / 8" in twice.condition and abs(norm.backward().ops / norm.ops - 25 / 8) < 1e-3

    stored = cell("Backward pass", "memory")
    assert stored.verdict == "holds when" and stored.condition.endswith("traffic is 1 to 2 times")
    assert len(flat(run.tensors["d_weight"])) == conv.parameters
    assert len(flat(run.tensors["d_inp"])) == conv.inputs

    update = cell("Gradient update", "bottleneck")
    assert update.derived.startswith("SGD: subtract p, multiply p; ") and update.verdict == "holds when"
    ratio = cell("Gradient update", "compute").derived
    assert "Conv2d 1 / (n · wh)" in ratio and "Linear 1 / n" in ratio
    assert SGD(p=conv.parameters).ops * 2 * 4 * 4 == conv.ops
    assert cell("Gradient update", "memory").derived.endswith("SGD 0, Momentum 1, Adam 2")


def test_multiplications_and_additions_are_level_by_count() -> None:
    for row in ("Forward pass", "Backward pass"):
        found = cell(row, "bottleneck")
        multiply, add = re.findall(r"(?:multiply|add) ([^,;]+)", found.derived)
        assert multiply == add and found.verdict == "holds when"
        assert "4.1 times the energy" in found.derived  # 3.7 pJ against 0.9 pJ


def test_symbols() -> None:
    shape = Conv2d().input_shapes[0]
    weights = Conv2d().program.shape("weight")
    places = {"h": shape[2], "w": shape[3], "c": shape[1], "k": weights[0], "r": weights[2], "s": weights[3]}
    for name, found in places.items():
        assert found == symbol(name) and cell(name, "meaning").verdict == "agrees"


# -- tables ----------------------------------------------------------------------------------------------


def test_tables_hold_the_cells() -> None:
    rows = layer_table().records()
    assert [(row["row"], row["column"], row["derived"]) for row in rows] == [
        (one.row, one.column, one.derived) for one in layer_cells()
    ]
    assert "295 op/B for NVIDIA H100" in layer_table().note
    assert "Bounds at batch 32" in layer_table(device("t4"), "fp32", 32).note
    assert len(epoch_table().rows) == 9 and len(symbol_table().rows) == 6
    assert json.loads(layer_table().json()) == rows


def test_what_a_device_cannot_do_is_said() -> None:
    with pytest.raises(UnknownNameError, match="fp16"):
        layer_table(device("apple-m2"), "fp16")
    with pytest.raises(ExtentError, match="n = 0"):
        layer_table(batch=0)
    with pytest.raises(DnnlabError, match="no known bandwidth"):
        layer_table(device("eyeriss"), "int16")
