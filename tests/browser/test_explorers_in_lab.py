"""Every explorer in a real JupyterLab in a real Chromium: moved by keyboard, read in both themes and two widths."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

pytest.importorskip("playwright", reason="no playwright: the browser journeys need the extra 'test'")
pytest.importorskip("jupyterlab", reason="no JupyterLab: the browser journeys need the extra 'lab'")

import ipywidgets as widgets
from lab import (
    CONTRAST,
    CUT_OFF,
    ORDER,
    SLIDER,
    STOPWATCH,
    Lab,
    View,
    complaints,
    named,
    notebook,
    opened,
    run_all,
    shut,
    themed,
)
from playwright.sync_api import Locator, Page

from dnnlab.explorers import EXPLORERS, Amount, Line, Marks
from dnnlab.quantities import show

# A control that counts only where another one stands at its end: k is for three of the plans.
NEEDS = {("checkpointing", "k"): "Plan"}


@dataclass(frozen=True)
class Case:
    """An explorer on the page, and the controls it should have in their order, each with one of its widgets."""

    name: str
    view: View
    controls: list[tuple[Any, widgets.Widget]]


@pytest.fixture(scope="module", params=list(EXPLORERS))
def case(request: Any, page: Page, lab: Lab) -> Iterator[Case]:
    name = request.param
    (lab.folder / f"{name}.ipynb").write_text(notebook(f"from dnnlab.explorers import {name}\n\n{name}()"))
    model = EXPLORERS[name]()
    controls = [(one, widget) for one in model.explorer.controls for widget in model.widgets[one.field]]
    model.close()
    page.set_viewport_size({"width": 1280, "height": 800})
    opened(page, f"{name}.ipynb")
    run_all(page)
    view = View(page)
    view.settled()
    yield Case(name, view, controls)
    assert complaints(page) == []
    assert view.alarm() == []
    shut(page)


def press(page: Page, control: Any, widget: widgets.Widget, place: Locator, far: bool) -> None:
    """Move a control by keyboard from wherever it stands; far, where one step is too little to see."""
    place.focus()
    if isinstance(widget, widgets.Dropdown):
        # An arrow belongs to JupyterLab while a dropdown is closed, as on other pages on a Mac: Space opens it.
        at, options = place.evaluate("box => [box.selectedIndex, box.options.length]")
        keys = ["Space", "ArrowDown" if at + 1 < options else "ArrowUp", "Enter"]
    elif isinstance(widget, widgets.IntSlider):
        low, at, high = (float(place.get_attribute(f"aria-value{end}") or 0) for end in ("min", "now", "max"))
        up = 2 * at < low + high  # towards the end that is farther off
        keys = [("End" if up else "Home") if far else ("ArrowRight" if up else "ArrowLeft")]
    elif isinstance(widget, widgets.ToggleButton | widgets.Checkbox):
        keys = ["Space"]
    else:
        before, keys = place.input_value(), ["Enter"]
        page.keyboard.press("ControlOrMeta+a")
        page.keyboard.type(next(text for text in typed(control, widget, before, far) if text != before))
    for key in keys:
        page.keyboard.press(key)


def typed(control: Any, widget: widgets.Widget, before: str, far: bool) -> tuple[str, ...]:
    """What may be typed into a box."""
    if isinstance(control, Amount):
        return tuple(show(x, control.unit, binary=control.binary) for x in (control.low, control.high))
    if isinstance(control, Line):
        return control.examples
    up = 2 * int(before) < widget.min + widget.max
    return (str((widget.max if up else widget.min) if far else int(before) + (1 if up else -1)),)


def test_each_control_moves_by_keyboard_and_the_panel_follows(case: Case, record_property: Any) -> None:
    view = case.view
    view.image.evaluate(STOPWATCH)
    assert view.controls.count() == len(case.controls)
    for place, (control, widget) in enumerate(case.controls):
        box = view.controls.nth(place)
        if box.is_visible():
            if other := NEEDS.get((case.name, control.label)):
                view.control(other, SLIDER).press("End")
            before = view.settled(0.15)
            for far in (False, True):
                press(view.page, control, widget, box, far)
                if view.changed(before):
                    break
            else:
                pytest.fail(f"{control.label}: no key changes anything")
            assert view.alarm() == [], control.label
    view.settled()
    times = view.page.evaluate("() => window.times")
    record_property("key_to_picture_ms", round(statistics.median(times)))  # a report: machines differ
    print(f"{case.name}: {len(times)} keys, median {statistics.median(times):.0f} ms to the picture")


def test_everything_has_a_name_and_the_keyboard_goes_in_the_order_of_reading(case: Case) -> None:
    view, page = case.view, case.view.page
    image = named(page, view.image)
    assert image["role"] == "image" and len(image["name"]) > 20
    every = [view.controls.nth(place) for place in range(len(case.controls))]
    shown = [box for box in every if box.is_visible() and box.is_enabled()]  # a k without a part is passed over
    rows: dict[str, list[str]] = {}
    for place, (control, _) in enumerate(case.controls):
        if view.controls.nth(place).is_visible():
            rows.setdefault(control.label, []).append(named(page, view.controls.nth(place))["name"])
    # The handle of a slider has no name, which ipywidgets cannot give it; it stands beside a box that has one.
    for control, _ in case.controls:
        names = rows.get(control.label, [""])
        assert all(names) if isinstance(control, Marks) else any(n.startswith(control.label) for n in names), names
    for width in (1280, 400):
        page.set_viewport_size({"width": width, "height": 800})
        view.settled(0.15)
        shown[0].focus()
        for place in range(len(shown) - 1):
            page.keyboard.press("Tab")
            assert shown[place + 1].evaluate("e => e === document.activeElement"), (width, place)
        assert view.panel.evaluate(ORDER) == [], width


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_nothing_is_cut_off_and_the_words_can_be_read(case: Case, theme: str) -> None:
    view = case.view
    themed(view.page, theme)
    for width in (1280, 400):
        view.page.set_viewport_size({"width": width, "height": 800})
        view.settled(0.2)
        assert view.panel.evaluate(CUT_OFF) == [], width
    for where in ("[role=status]", ".widget-label", "select", "input", ".widget-toggle-button"):
        for found in view.panel.locator(where).all():
            if found.is_visible():
                assert found.evaluate(CONTRAST) >= 4.5, (where, found.evaluate("e => e.outerHTML"))
