"""What the browser tests share: one browser, one JupyterLab, and one page in it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Any]:
    from lab import FLAGS
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # A browser that playwright launches has a fresh profile, and ends with it.
        running = playwright.chromium.launch(executable_path=chromium, headless=True, args=list(FLAGS))
        yield running
        running.close()


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A JupyterLab that serves copies of the lectures."""
    from lab import serving

    with serving(tmp_path_factory.mktemp("lab")) as lab:
        for path in (ROOT / "notebooks").glob("*.ipynb"):
            shutil.copy(path, lab.folder)
        yield lab


@pytest.fixture(scope="session")
def page(browser: Any, lab: Any) -> Iterator[Any]:
    """A page with JupyterLab, in which no script may fail."""
    from lab import enter

    page = browser.new_page(viewport={"width": 1280, "height": 800})
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    enter(page, lab)
    yield page
    page.close()
    assert faults == []
