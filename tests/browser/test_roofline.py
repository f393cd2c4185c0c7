"""What a student in a hurry does to the roofline: many keys at once, numbers that a slider has no place for."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("playwright", reason="no playwright: the browser journeys need the extra 'test'")
pytest.importorskip("jupyterlab", reason="no JupyterLab: the browser journeys need the extra 'lab'")

from lab import SLIDER, STOPWATCH, Lab, View, complaints, notebook, opened, run_all, shut
from playwright.sync_api import Page, expect

CELL = 'from dnnlab.explorers import roofline\n\nroofline("alexnet", "t4", "fp16", batch=4)'


@pytest.fixture(scope="module")
def view(page: Page, lab: Lab) -> Iterator[View]:
    (lab.folder / "alexnet.ipynb").write_text(notebook(CELL))
    page.set_viewport_size({"width": 1280, "height": 800})
    opened(page, "alexnet.ipynb")
    run_all(page)
    view = View(page)
    view.settled()
    yield view
    assert complaints(page) == []
    shut(page)


def test_the_last_of_many_moves_wins(view: View) -> None:
    slider, dropdown = view.control("Layer", SLIDER), view.control("Layer", "select")
    slider.press("Home")
    for _ in range(15):
        view.page.keyboard.press("ArrowRight")
    name = dropdown.locator("option").nth(15).inner_text().split()[0]
    view.until(lambda now: now.sentence.startswith(f"{name} "), name)
    assert view.settled().sentence.startswith(f"{name} ")
    expect(dropdown).to_have_js_property("selectedIndex", 15)


def test_the_picture_is_back_soon_after_a_key(view: View, record_property: Any) -> None:
    view.image.evaluate(STOPWATCH)
    slider = view.control("Layer", SLIDER)
    slider.press("Home")
    view.settled()
    view.page.evaluate("() => { window.times = []; }")
    for count in range(12):
        view.settled(0.1)
        slider.press("ArrowRight")
        # who looks at the panel meanwhile makes the browser lay it out, and is slow itself
        view.page.wait_for_function("count => window.times.length > count", arg=count, polling=100)
    times = view.page.evaluate("() => window.times")
    assert len(times) == 12
    record_property("key_to_picture_ms", round(statistics.median(times)))  # a report: machines differ
    print(f"roofline, one layer after the other: {statistics.median(times):.0f} ms to the picture")


def test_a_typed_number_moves_the_slider_and_stays(view: View) -> None:
    box, handle = view.control("Batch", "input[type=number]"), view.control("Batch", SLIDER)
    for number, doublings in (("37", 5), ("256", 8), ("140", 7)):  # the slider stands at the nearest power of two
        box.fill(number)
        box.press("Enter")
        view.until(lambda now, number=number: f"at batch {number} takes" in now.sentence, number)
        expect(handle).to_have_attribute("aria-valuenow", re.compile(rf"{doublings}(\.0)?"))
        # a slider that corrects what was typed would have done so by now
        assert f"at batch {number} takes" in view.settled(0.5).sentence
        assert box.input_value() == number


def test_all_of_it_is_on_a_small_screen_at_once(view: View) -> None:
    view.page.set_viewport_size({"width": 800, "height": 600})
    view.settled()
    panel = view.panel.bounding_box()
    assert panel is not None and panel["height"] <= 490  # what JupyterLab's bars leave of 600
