"""What every explorer must do, driven through all its controls without a browser."""

from __future__ import annotations

import base64
import gc
import io
import random
import statistics
import time
from collections.abc import Iterator
from html import escape
from typing import Any

import psutil
import pytest
from driving import agrees, figures, moves, open_widgets, pixels, texts
from PIL import Image

from dnnlab.explorers import EXPLORERS, Panel


@pytest.fixture(params=list(EXPLORERS))
def panel(request: Any) -> Iterator[Panel]:
    panel = EXPLORERS[request.param](strict=True)
    yield panel
    panel.close()


def test_every_control_at_every_place(panel: Panel) -> None:
    agrees(panel)
    for field in panel.widgets:
        pictures = set()
        for widget, message in moves(panel, field):
            widget.set_state(message)
            agrees(panel)
            pictures.add((bytes(panel.image.value), panel.sentence.value, panel.table.value))
        assert len(pictures) > 1, f"{field} changes nothing"


def test_two_hundred_random_moves_leave_nothing_behind(panel: Panel, record_property: Any) -> None:
    choose = random.Random(7)
    fields = list(panel.widgets)
    walk = [choose.choice(fields) for _ in range(220)]

    def move(field: str) -> float:
        widget, message = choose.choice(list(moves(panel, field)))
        begin = time.perf_counter()
        widget.set_state(message)
        return 1000 * (time.perf_counter() - begin)

    for field in (*fields, *walk):  # what is derived once and kept is a cache with a limit, no leak
        move(field)
    gc.collect()
    process = psutil.Process()
    before = open_widgets(), figures(), process.memory_info().rss
    times = [move(field) for field in walk[:200]]
    gc.collect()
    after = open_widgets(), figures(), process.memory_info().rss
    agrees(panel)
    grown = (after[2] - before[2]) / 2**20
    report = {"median_ms": statistics.median(times), "p95_ms": statistics.quantiles(times, n=20)[-1], "grown": grown}
    for name, value in report.items():
        record_property(name, round(value, 1))
    print(panel.explorer.name, {name: round(value, 1) for name, value in report.items()})
    assert after[:2] == before[:2]
    assert grown < 5


def test_a_picture_put_together_is_the_one_drawn_afresh(panel: Panel) -> None:
    choose = random.Random(8)
    for _ in range(12):
        for _ in range(3):
            widget, message = choose.choice(list(moves(panel, choose.choice(list(panel.widgets)))))
            widget.set_state(message)
        fresh = panel.explorer.picture().png(panel.explorer.model(panel.state))
        assert (pixels(panel.image.value) == pixels(fresh)).all()


def test_words_stay_inside_the_picture(panel: Panel) -> None:
    choose = random.Random(9)
    for _ in range(25):
        figure = panel._picture.canvas.figure
        for text, box in texts(panel):
            assert box.x0 >= -1 and box.y0 >= -1, text
            assert box.x1 <= figure.bbox.x1 + 1 and box.y1 <= figure.bbox.y1 + 1, text
        widget, message = choose.choice(list(moves(panel, choose.choice(list(panel.widgets)))))
        widget.set_state(message)


def test_a_page_without_a_kernel_shows_the_state(panel: Panel) -> None:
    bundle = panel._repr_mimebundle_()
    assert base64.b64decode(bundle["image/png"]) == bytes(panel.image.value)
    assert len(panel.image.value) < 20_000
    assert Image.open(io.BytesIO(bytes(panel.image.value))).mode == "P"
    assert panel._picture.canvas.width <= 480 and panel._picture.canvas.height <= 320
    assert f'alt="{escape(panel.reading.alt)}"' in bundle["text/html"]
    assert escape(panel.reading.sentence) in bundle["text/html"]
    assert all(control.label and len(control.label) <= 12 for control in panel.explorer.controls)
    assert len(panel.explorer.controls) <= 7


def test_a_second_panel_closes_the_first(panel: Panel) -> None:
    count = open_widgets()
    second = EXPLORERS[panel.explorer.name]()
    assert open_widgets() == count and panel.widget.comm is None
    second.close()
