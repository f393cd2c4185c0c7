"""Journeys through the lectures in a real JupyterLab: a student's first ten minutes, a lecturer who jumps, run all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

pytest.importorskip("playwright", reason="no playwright: the browser journeys need the extra 'test'")
pytest.importorskip("jupyterlab", reason="no JupyterLab: the browser journeys need the extra 'lab'")

from lab import SLIDER, Lab, View, complaints, opened, panels, run_all, said, select, shut
from playwright.sync_api import Page

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("[0-9][0-9]_*.ipynb"))
JUMPS = ("04", "06")  # the lecturer's two


@pytest.fixture(autouse=True)
def tidy(page: Page, lab: Lab) -> Iterator[None]:
    """Begin each journey wide, without predictions, and end it with every kernel ended."""
    lab.progress.unlink(missing_ok=True)
    page.set_viewport_size({"width": 1280, "height": 800})
    yield
    while page.locator(".jp-NotebookPanel").count():
        shut(page)


def place(path: Path, words: str) -> int:
    """Where a notebook's code cell with these words is."""
    cells = nbformat.read(path, as_version=4).cells
    return next(n for n, cell in enumerate(cells) if cell.cell_type == "code" and words in cell.source)


def lecture(number: str) -> Path:
    return next(path for path in NOTEBOOKS if path.name.startswith(number))


def moved(page: Page, at: int) -> str:
    """Move the first slider of the panel of the cell at a place by keyboard, and return the new sentence."""
    select(page, at)
    view = View(page)
    before = view.settled()
    view.panel.locator(SLIDER).first.press("ArrowRight")
    view.until(lambda now: now != before, "a key changed nothing")
    assert view.alarm() == []
    return view.settled().sentence  # the picture may come before the words


def everything_runs(page: Page) -> None:
    """Run all of the lecture in front: no error, not a word on stderr, and panels with a picture and a sentence."""
    run_all(page)
    assert complaints(page) == []
    assert panels(page)
    for at in panels(page):
        select(page, at)
        assert View(page).settled(0.1).sentence


def test_a_students_first_ten_minutes(page: Page, lab: Lab) -> None:
    path = lecture("00")
    guess, answer, last = (
        place(path, 'predict("00.operations"'),
        place(path, 'reveal("00.operations"'),
        place(path, "roofline()"),
    )
    opened(page, path.name)
    select(page, 0)
    keys = page.keyboard
    page.locator(".jp-NotebookPanel .jp-Cell.jp-mod-active").focus()
    for at in range(last + 1):
        assert page.evaluate("() => window.jupyterapp.shell.currentWidget.content.activeCellIndex") == at
        if at == guess:
            keys.press("Enter")  # begin to edit
            keys.press("ControlOrMeta+End")
            keys.press("Home")
            for _ in 'predict("00.operations", ':
                keys.press("ArrowRight")
            for _ in "...":
                keys.press("Delete")
            keys.type('"k*c*r*s*w*h"')  # and the factor 2 forgotten
        keys.press("Shift+Enter")
        if at == guess:
            assert "Recorded: k*c*r*s*w*h. You will see." in said(page, at)
        if at == answer:
            assert "You predicted k*c*r*s*w*h: 2 times too low." in said(page, at)
    said(page, last)
    assert json.loads(lab.progress.read_text())["predictions"]["00.operations"]["verdict"] == "2 times too low"
    select(page, last)
    before = View(page).settled().sentence
    assert moved(page, last) != before
    assert complaints(page) == []


def test_a_lecturer_jumps_between_two_lectures(page: Page) -> None:
    bounds, buffers = (lecture(number) for number in JUMPS)
    lanes, tiles = place(bounds, "bound_types()"), place(buffers, "double_buffering()")
    opened(page, bounds.name)
    everything_runs(page)
    first = moved(page, lanes)
    opened(page, buffers.name)
    everything_runs(page)
    other = moved(page, tiles)
    opened(page, bounds.name)
    select(page, lanes)
    assert View(page).settled().sentence == first  # as it was left
    for at in panels(page):
        moved(page, at)
    assert complaints(page) == []
    opened(page, buffers.name)
    select(page, tiles)
    assert View(page).settled().sentence == other
    moved(page, tiles)
    assert complaints(page) == []


@pytest.mark.parametrize("path", [path for path in NOTEBOOKS if path.name[:2] not in JUMPS], ids=lambda path: path.stem)
def test_every_other_lecture_runs(page: Page, path: Path) -> None:
    opened(page, path.name)
    everything_runs(page)
