"""Measured beside expected: errors, ranks, outliers and the picture, from invented times; and the benchmark's page."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from benchmarks import measuring as benchmark
from dnnlab import Conv2d, Device, Flatten, Linear, ReLU
from dnnlab.errors import ExtentError
from dnnlab.hardware import Fact
from dnnlab.layers import Layer
from dnnlab.measuring.calibrating.assembling import AGAIN
from dnnlab.measuring.comparing import Compared, Comparison, compare, rank_correlation
from dnnlab.measuring.expected import expectation
from dnnlab.measuring.layers import Measured, MeasuredLayer
from dnnlab.measuring.timing import Spread
from dnnlab.measuring.work import Work

CARD = Device(
    "invented", {"fp32": "100 GFLOP/s"}, bandwidth="20 GB/s", on_chip="1 MiB",
    facts=(Fact("overhead.torch", 1e-5, "s", "estimate", ("invented",)),),
)  # fmt: skip


def spread(time: float) -> Spread:
    return Spread(0.9 * time, 0.95 * time, time, 1.1 * time, 1.3 * time, 9)


def work(layer: Layer, copies: int = 0) -> Work:
    moved = int(layer.traffic) * 4
    return Work(int(layer.macs) * 2, moved + copies, copies, 2**30)


def compared(name: str, layer: Layer, slower: float = 1.0, copies: int = 0) -> Compared:
    """A layer that takes `slower` times what is expected."""
    found = expectation(layer, CARD, "torch", "fp32", work(layer, copies))
    return Compared(name, found, spread(slower * found.total))


CONVS = [Conv2d(n=1, k=c, c=c, h=28, w=28, r=3, s=3) for c in (16, 32, 64, 128)]
ROWS = (
    *(compared(f"conv{i}", conv, 1 + 0.1 * i, 10**6) for i, conv in enumerate(CONVS)),
    compared("relu", ReLU(m=10**6), 0.9),
    compared("a long name of a layer that is far off", Linear(n=1, c=2000, k=2000), 4),
    compared("fast", ReLU(m=10**5), 0.2),
)
COMPARISON = Comparison("torch", "fp32", CARD, ROWS)


def test_error_and_fraction_of_the_roof() -> None:
    row = compared("relu", ReLU(m=10**6), 2)
    best = 8e6 / 20e9
    assert row.best == pytest.approx(best)
    assert row.expected == pytest.approx(best + 1e-5)
    assert row.time == pytest.approx(2 * (best + 1e-5))
    assert row.error == pytest.approx(-0.5)
    assert row.roof == pytest.approx(best / row.time)


def test_the_median_error_is_of_all_or_of_some_kinds() -> None:
    errors = [abs(1 / slower - 1) for slower in (1, 1.1, 1.2, 1.3, 0.9, 4, 0.2)]
    assert COMPARISON.median_error() == pytest.approx(sorted(errors)[3])
    assert COMPARISON.median_error("ReLU") == pytest.approx((errors[4] + errors[6]) / 2)
    assert COMPARISON.median_error("ReLU", "Linear") == pytest.approx(0.75)
    assert COMPARISON.where(lambda row: row.kind == "Linear").median_error() == pytest.approx(0.75)
    with pytest.raises(ExtentError, match=r"no layer of the kind GELU was measured; there is Conv2d, ReLU, Linear"):
        COMPARISON.median_error("GELU")


def test_outliers_come_farthest_first_with_an_explanation() -> None:
    far = COMPARISON.outliers()
    assert [row.name for row in far] == ["fast", "a long name of a layer that is far off"]
    assert "it takes 4× as long as expected" in far[1].explanation()
    assert "it takes 0.2× as long as expected" in far[0].explanation()
    assert [row.name for row in COMPARISON.outliers(1.25)][-1] == "conv3"
    with pytest.raises(ExtentError, match="factor above 1"):
        COMPARISON.outliers(1)


def test_an_expectation_within_the_times_that_vary_is_said_to_be() -> None:
    row = compared("relu", ReLU(m=10**6))
    wide = replace(row, measured=Spread(row.expected / 2, row.expected, row.expected * 2, row.expected * 3, 1.0, 5))
    assert wide.explanation().startswith("not explained by the model; it varies from ")
    assert row.explanation() == "close to the best case"


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """By the formula for different values: 1 - 6 Σd² / (n (n² - 1))."""
    n = len(first)
    places = [[sorted(values).index(value) for value in values] for values in (first, second)]
    squares = sum((a - b) ** 2 for a, b in zip(*places, strict=True))
    return 1 - 6 * squares / (n * (n * n - 1))


def test_rank_correlation_of_all_orders_of_five() -> None:
    for order in permutations((0.1, 2, 30, 400, 5000)):
        assert rank_correlation([1, 2, 3, 4, 5], order) == pytest.approx(spearman([1, 2, 3, 4, 5], order))


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=2))
def test_rank_correlation_with_ties(pairs: list[tuple[int, int]]) -> None:
    first, second = map(list, zip(*pairs, strict=True))
    if len(set(first)) < 2 or len(set(second)) < 2:
        with pytest.raises(ExtentError, match="at least two different values"):
            rank_correlation(first, second)
        return
    # midranks counted: those below, and half of the equals
    ranks = [[math.fsum([(a > b) + (a == b) / 2 for b in values]) for a in values] for values in (first, second)]
    assert rank_correlation(first, second) == pytest.approx(float(np.corrcoef(ranks).flat[1]), abs=1e-9)


def test_the_comparison_of_a_measurement() -> None:
    layers = (CONVS[0], ReLU(m=10**6))
    parts = tuple(
        MeasuredLayer(f"layer {i}", layer, spread(1e-3 * (i + 1)), work(layer)) for i, layer in enumerate(layers)
    )
    found = compare(Measured("torch", "fp32", "2026-01-01", parts), CARD)
    assert [row.name for row in found.rows] == ["layer 0", "layer 1"]
    assert found.time == pytest.approx(3e-3)
    assert found.expected == pytest.approx(sum(row.expectation.total for row in found.rows))
    assert found.rows[1].expected == pytest.approx(8e6 / 20e9 + 1e-5)


def test_the_table_has_every_layer_and_the_totals() -> None:
    *rows, total = COMPARISON.table().records()
    assert [row["name"] for row in rows] == [row.name for row in ROWS]
    for key in ("best", "expected", "measured"):
        assert total[key] == pytest.approx(sum(float(row[key]) for row in rows))  # type: ignore[arg-type]
    assert total["error"] == pytest.approx(COMPARISON.expected / COMPARISON.time - 1)
    text = COMPARISON.table().text()
    assert "the library copies its operands into another layout" in text
    assert "-75%" in text and "0.9" not in text


def test_doubts_about_the_machine_stand_below_the_table() -> None:
    notes = ("Without PyTorch, its figures are missing.", f"Others were at work. When they are closed, {AGAIN}.")
    found = Comparison("torch", "fp32", replace(CARD, notes=notes), ROWS)
    assert found.doubts == notes[1:]
    assert found.table().note == f"{found.sentence()} {notes[1]}"
    assert COMPARISON.doubts == () and COMPARISON.table().note == COMPARISON.sentence()


def test_the_reasons_of_all_layers_add_up() -> None:
    assert sum(COMPARISON.over.values()) == pytest.approx(COMPARISON.expected - COMPARISON.best)
    assert list(COMPARISON.over.values()) == sorted(COMPARISON.over.values(), reverse=True)


def test_sentences() -> None:
    text = COMPARISON.sentence()
    assert text.startswith("7 layers take ")
    assert "The median error of a layer is 17%." in text  # of 1.2 times longer
    assert "2 are off by a factor of 2 or more: fast, a long name of a layer that is far off." in text
    one = Comparison("torch", "fp32", CARD, ROWS[:1]).sentence()
    assert one.startswith("1 layer takes ") and "factor" not in one
    assert Comparison("torch", "fp32", CARD, ()).sentence() == "No layer was measured."
    assert Comparison("torch", "fp32", CARD, ()).table().records() == []


# -- the picture ---------------------------------------------------------------------------------------------------


def drawn(comparison: Comparison) -> Any:
    from dnnlab.figures import Canvas
    from dnnlab.figures.measured import HEIGHT, WIDTH, MeasuredDrawing

    canvas = Canvas(WIDTH, HEIGHT)
    drawing = MeasuredDrawing(canvas.axes(0.155, 0.12, 0.82, 0.79))
    drawing.update(comparison)
    canvas.png(*drawing.layers)
    return drawing, canvas


def test_every_layer_is_a_mark_where_it_belongs() -> None:
    drawing, _ = drawn(COMPARISON)
    filled = {point for line in drawing._filled.values() for point in zip(*line.get_data(), strict=True)}
    hollow = {point for line in drawing._hollow.values() for point in zip(*line.get_data(), strict=True)}
    assert filled == {(row.expected, row.time) for row in ROWS}
    assert hollow == {(row.best, row.time) for row in ROWS}
    (left, right), (low, high) = drawing.axes.get_xlim(), drawing.axes.get_ylim()
    assert all(left < x < right and low < y < high for x, y in filled | hollow)


@given(st.floats(1e-7, 10), st.floats(0.76, 1.24))
def test_the_band_holds_what_is_within_a_quarter(time: float, share: float) -> None:
    from dnnlab.figures.measured import band

    low, high = band(time)
    assert low < time / share < high
    assert not low < time / 1.26 < high and not low < time / 0.74 < high


FAR = tuple(compared(f"features.{i}.block.conv", conv, 3) for i, conv in enumerate(CONVS * 2))


@pytest.mark.parametrize("rows", [ROWS, ROWS[:1], ROWS[4:6], (*ROWS, compared("tiny", ReLU(m=2), 900)), FAR])
def test_words_stay_in_the_picture_and_apart(rows: tuple[Compared, ...]) -> None:
    drawing, canvas = drawn(Comparison("torch", "fp32", CARD, rows))
    renderer = canvas._agg.get_renderer()
    wide, tall = canvas._agg.get_width_height()
    texts = [t for t in drawing.axes.texts if t.get_visible() and t.get_text()]
    for text in texts:
        box = text.get_window_extent(renderer)
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= wide and box.y1 <= tall, text.get_text()
    for scale in drawing._scales:
        boxes = [t.get_window_extent(renderer) for t in scale.numbers if t.get_visible()]
        assert len(boxes) >= 2
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    boxes = [name.get_window_extent(renderer) for name in drawing._names if name.get_visible()]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_the_picture_is_shown_with_its_words() -> None:
    picture = COMPARISON.picture()
    bundle = picture._repr_mimebundle_()
    assert "Expected against measured time of 7 layers" in picture.alt
    assert "4 lie within 25% of the diagonal, 2 above it" not in picture.alt
    assert "5 lie within 25% of the diagonal, 1 above it (slower than expected) and 1 below" in picture.alt
    assert 'alt="Expected against' in bundle["text/html"]
    image = Image.open(io.BytesIO(picture.png()))
    assert image.size[0] == 720
    assert len(image.getcolors() or ()) > 20


# -- the benchmark -------------------------------------------------------------------------------------------------


def turn(slower: float) -> dict[str, Any]:
    """A round with invented times."""
    layers = benchmark.layers(2**22)
    rows = []
    for name, layer in layers.items():
        found = expectation(layer, CARD, "torch", "fp32", work(layer))
        rows.append(Compared(name, found, spread(slower * found.total)))
    return benchmark.answer(Comparison("torch", "fp32", CARD, tuple(rows)), {"odd": "no recipe"})


def test_the_benchmark_has_enough_different_layers() -> None:
    layers = benchmark.layers(2**27)
    assert len(set(layers.values())) == len(layers) >= 40
    assert all(math.isfinite(float(layer.traffic)) for layer in layers.values())
    assert Flatten not in {type(layer) for layer in layers.values()}


def test_the_benchmark_sums_up_and_writes_its_page() -> None:
    rounds = [
        {"device": "invented", "figures": {"bandwidth": "20 GB/s"}, "libraries": {"torch": turn(slower)}}
        for slower in (1.1, 1.25, 2.0)
    ]
    found = {finding.what: finding for finding in benchmark.findings(rounds)}
    assert found["layers, torch"].met
    error = found["error of products, torch"]
    assert (error.spread.least, error.spread.median) == pytest.approx((1 - 1 / 1.1, 0.2))
    assert error.met is False and found["error of streaming, torch"].met
    assert found["rank correlation, torch"].spread.median == pytest.approx(1)
    assert found["error of products, torch, plain roofline"].spread.median > 0.2
    page = benchmark.page(rounds, {"numpy": "not asked for"})
    assert page.count("| products |") > 20 and page.count("| streaming |") > 10
    assert "Not run: numpy: not asked for" in page and "Not measured: odd: no recipe" in page
    relu = next(line for line in page.splitlines() if line.startswith("| large ReLU |"))
    assert "| -20% |" in relu
