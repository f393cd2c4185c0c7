"""An exercise in a real JupyterLab: a wrong answer, the hint, the right answer, and how far one has come."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator

import pytest

pytest.importorskip("playwright", reason="no playwright: the browser journeys need the extra 'test'")
pytest.importorskip("jupyterlab", reason="no JupyterLab: the browser journeys need the extra 'lab'")

from lab import CONTRAST, ROOT, Lab, complaints, opened, run_all, said, select, shut, themed
from playwright.sync_api import Page

NAME = "exercises/02_layer_costs.ipynb"
QUESTION = "2.1"


@pytest.fixture
def exercise(page: Page, lab: Lab) -> Iterator[Page]:
    """A fresh exercise, opened by a student of whom nothing is recorded yet."""
    lab.progress.unlink(missing_ok=True)
    (lab.folder / "exercises").mkdir(exist_ok=True)
    shutil.copy(ROOT / NAME, lab.folder / "exercises")
    page.set_viewport_size({"width": 1280, "height": 800})
    opened(page, NAME)
    yield page
    shut(page)


def place(page: Page, words: str) -> int:
    """Where the notebook in front has a code cell with these words."""
    script = """words => window.jupyterapp.shell.currentWidget.content.widgets.findIndex(
      cell => cell.model.type === 'code' && cell.model.sharedModel.source.includes(words))"""
    return int(page.evaluate(script, words))


def answered(page: Page, at: int, answer: str) -> str:
    """Type an answer where the old one or the dots stand, run the cell, and return what it says."""
    select(page, at)
    page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Cell.jp-mod-active").focus()
    keys = page.keyboard
    keys.press("Enter")  # begin to edit
    keys.press("ControlOrMeta+Home")
    keys.press("Shift+End")
    keys.type(f"answer = {answer}")
    keys.press("ControlOrMeta+Enter")
    page.wait_for_timeout(100)
    return said(page, at)


def ask(page: Page, at: int, line: str) -> str:
    """Put a cell with a line below the one at a place, as a student does, run it, and return what it says."""
    select(page, at)
    page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Cell.jp-mod-active").focus()
    keys = page.keyboard
    keys.press("b")
    keys.press("Enter")
    keys.type(line)
    keys.press("Escape")  # a list of names may be open
    keys.press("ControlOrMeta+Enter")
    page.wait_for_timeout(100)
    return said(page, at + 1)


def test_a_student_learns_from_a_wrong_answer(exercise: Page, lab: Lab) -> None:
    page = exercise
    run_all(page)  # a fresh notebook runs to its end
    assert complaints(page) == []
    at = place(page, f'check("{QUESTION}"')
    assert "not attempted" in said(page, at)
    wrong = answered(page, at, '"k·rs·wh·c"')
    assert f"✗ {QUESTION}: wrong" in wrong and "multipl" in wrong and "2·" not in wrong
    hint = ask(page, at, f'hint("{QUESTION}")')
    assert hint.startswith(f"Hint 1 of 3 on {QUESTION}")
    assert "Try first" not in ask(page, at, f'solution("{QUESTION}")')
    assert f"✓ {QUESTION}: right" in answered(page, at, '"k·2·rs·wh·c"')
    assert "1 of " in ask(page, at, "progress(2)")
    assert complaints(page) == []
    (entry,) = json.loads(lab.progress.read_text())["answers"].values()
    assert (entry["status"], entry["tries"], entry["hints"]) == ("right", 2, 1)


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_a_verdict_can_be_read_wide_and_narrow(exercise: Page, theme: str) -> None:
    page = exercise
    run_all(page)
    themed(page, theme)
    at = place(page, f'check("{QUESTION}"')
    answered(page, at, '"k·rs·wh·c"')
    for width in (1280, 400):
        page.set_viewport_size({"width": width, "height": 800})
        select(page, at)
        verdict = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Cell.jp-mod-active [role=status]")
        assert verdict.count() == 1 and verdict.evaluate(CONTRAST) >= 4.5
        assert verdict.evaluate("e => e.scrollWidth <= e.clientWidth + 1"), width
