"""A student's minute with the roofline explorer: a real JupyterLab in a real Chromium, moved by keyboard."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright", reason="no playwright: the browser journeys need the extra 'test'")
pytest.importorskip("jupyterlab", reason="no JupyterLab: the browser journeys need the extra 'lab'")

from playwright.sync_api import Locator, Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
CELL = 'from dnnlab.explorers import roofline\npanel = roofline("alexnet", "t4", "fp16", batch=4)\npanel'
OUTPUT = ".jp-OutputArea-output"
PICTURE = f"{OUTPUT} img"
SENTENCE = f"{OUTPUT} [role=status]"
SLIDER = ".noUi-handle"
# What a picture shows is its blob's address: a new one for each value.
SHOWN = "element => element.complete && element.naturalWidth > 0 ? element.src : ''"


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab: where it listens, its token, and the folder it serves."""

    address: str
    token: str
    folder: Path


def notebook(*sources: str) -> str:
    """A notebook of code cells as JSON."""
    cells = [
        {"cell_type": "code", "id": f"c{n}", "metadata": {}, "source": s, "outputs": [], "execution_count": None}
        for n, s in enumerate(sources)
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return json.dumps({"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5})


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Lab]:
    """JupyterLab on the loopback address, with settings and a runtime folder of its own, ended by its pid."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token, served, private = secrets.token_hex(16), folder / "work", folder / "private"
    served.mkdir()
    places = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR")
    places += ("JUPYTERLAB_WORKSPACES_DIR", "IPYTHONDIR")
    # A kernel resolves the package from here, whether or not it is installed; errors in callbacks are raised.
    settings = {name: str(private / name.lower()) for name in places}
    settings |= {"PYTHONPATH": str(ROOT), "DNNLAB_STRICT": "1"}
    quiet = private / "jupyterlab_settings_dir" / "@jupyterlab" / "apputils-extension"
    quiet.mkdir(parents=True)
    (quiet / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--ServerApp.ip=127.0.0.1", "--ServerApp.allow_root=True",
        f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}",
        f"--ServerApp.root_dir={served}", "--LabApp.expose_app_in_browser=True", "--LabApp.news_url=None",
    ]  # fmt: skip
    log = (folder / "server.log").open("w")
    # A group of its own, so that its kernels end with it.
    server = subprocess.Popen(
        command, cwd=served, env=os.environ | settings, stdout=log, stderr=log, start_new_session=True
    )
    try:
        lab = Lab(f"http://127.0.0.1:{port}", token, served)
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{lab.address}/api/status?token={token}", timeout=3).close()
                break
            assert server.poll() is None and time.monotonic() < deadline, (folder / "server.log").read_text()[-2000:]
            time.sleep(0.2)
        yield lab
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
        log.close()


def opened(page: Page, lab: Lab, name: str) -> None:
    """Open a notebook, run all its cells, and wait for the first picture."""
    page.goto(f"{lab.address}/doc/workspaces/{secrets.token_hex(4)}/tree/{name}?token={lab.token}")
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=60_000)
    page.wait_for_function("() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel != null")
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
    page.wait_for_selector(PICTURE, timeout=60_000)
    settled(page)


def settled(page: Page) -> str:
    """Wait until the picture has stopped changing, and return its address."""
    last, since = "", time.monotonic()
    while not last or time.monotonic() - since < 0.5:
        now = page.locator(PICTURE).evaluate(SHOWN)
        if now != last:
            last, since = now, time.monotonic()
        page.wait_for_timeout(50)
    return last


def control(page: Page, label: str, kind: str) -> Locator:
    """The widget of a kind that stands in the row with a label."""
    row = page.locator(f"{OUTPUT} .widget-hbox, {OUTPUT} .widget-dropdown")
    return row.filter(has=page.locator(f".widget-label:text-is('{label}')")).locator(kind).first


def says(page: Page, words: str) -> None:
    """Wait until the sentence has these words in it."""
    page.wait_for_function("([where, words]) => document.querySelector(where).innerText.includes(words)",
                           arg=[SENTENCE, words])  # fmt: skip


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with serving(tmp_path_factory.mktemp("lab")) as lab:
        (lab.folder / "roofline.ipynb").write_text(notebook(CELL))
        yield lab


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    with sync_playwright() as playwright:
        # A browser that playwright launches has a fresh profile, and ends with it.
        running = playwright.chromium.launch(executable_path=chromium, headless=True, args=list(FLAGS))
        yield running
        running.close()


@pytest.fixture(scope="module")
def page(browser: Any, lab: Lab) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    opened(page, lab, "roofline.ipynb")
    yield page
    assert page.locator("[data-mime-type='application/vnd.jupyter.stderr']").all_inner_texts() == []
    assert faults == []
    page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    page.close()


# An arrow belongs to JupyterLab while a dropdown is closed, as on other pages on a Mac: the space bar opens it.
@pytest.mark.parametrize(
    ("label", "kind", "keys"),
    [
        ("Batch", SLIDER, ["ArrowRight"]),
        ("Layer", SLIDER, ["ArrowLeft"]),
        ("Layer", "select", ["Home"]),
        ("Device", "select", ["Space", "ArrowDown", "Enter"]),
        ("Dtype", "select", ["Space", "ArrowUp", "Enter"]),
        ("Network", "select", ["Space", "ArrowDown", "Enter"]),
    ],
)
def test_each_control_moves_by_keyboard_and_the_picture_follows(
    page: Page, label: str, kind: str, keys: list[str]
) -> None:
    picture, sentence = settled(page), page.locator(SENTENCE).inner_text()
    control(page, label, kind).focus()
    for key in keys:
        page.keyboard.press(key)
    page.wait_for_function("([where, before]) => document.querySelector(where).innerText !== before",
                           arg=[SENTENCE, sentence], timeout=10_000)  # fmt: skip
    assert settled(page) != picture
    assert page.locator("[role=alert]").count() == 0


def test_the_picture_is_back_soon_after_a_key(page: Page, record_property: Any) -> None:
    page.evaluate(STOPWATCH, PICTURE)
    slider = control(page, "Layer", SLIDER)
    slider.press("Home")
    settled(page)
    page.evaluate("() => { window.times = []; }")
    for _ in range(12):
        slider.press("ArrowRight")
        settled(page)
    times = page.evaluate("() => window.times")
    assert len(times) == 12
    record_property("key_to_picture_ms", round(statistics.median(times)))  # a report: machines differ
    print(f"key to picture: {statistics.median(times):.0f} ms")


def test_the_last_of_many_moves_wins(page: Page) -> None:
    slider, dropdown = control(page, "Layer", SLIDER), control(page, "Layer", "select")
    slider.press("Home")
    for _ in range(15):
        page.keyboard.press("ArrowRight")
    name = dropdown.locator("option").nth(15).inner_text().split()[0]
    says(page, f"{name} ")
    settled(page)
    assert page.locator(SENTENCE).inner_text().startswith(f"{name} ")
    expect(dropdown).to_have_js_property("selectedIndex", 15)


def test_a_typed_number_moves_the_slider_and_stays(page: Page) -> None:
    box, handle = control(page, "Batch", "input[type=number]"), control(page, "Batch", SLIDER)
    for number, doublings in (("37", 5), ("256", 8), ("140", 7)):  # the slider stands at the nearest power of two
        box.fill(number)
        box.press("Enter")
        says(page, f"at batch {number} takes")
        expect(handle).to_have_attribute("aria-valuenow", re.compile(rf"{doublings}(\.0)?"))
        settled(page)
        assert box.input_value() == number  # a slider that corrects what was typed would have done so by now
        says(page, f"at batch {number} takes")


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
@pytest.mark.parametrize("width", [1280, 800, 400])
def test_nothing_is_cut_off_and_the_words_can_be_read(page: Page, width: int, theme: str) -> None:
    page.evaluate("theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", theme)
    page.wait_for_function("theme => document.body.dataset.jpThemeName === theme", arg=theme)
    page.set_viewport_size({"width": width, "height": 600})
    settled(page)
    assert page.evaluate(CUT_OFF) == []
    for where in (SENTENCE, f"{OUTPUT} .widget-label", f"{OUTPUT} select"):
        assert page.evaluate(CONTRAST, where) >= 4.5, where
    if width == 800:
        panel = page.locator(OUTPUT).bounding_box()
        assert panel is not None and panel["height"] <= 490  # what JupyterLab's bars leave of 600
    # Without a name a screen reader says no more than "image".
    assert (page.locator(PICTURE).get_attribute("title") or "").startswith("Roofline of ")


# The contrast ratio of WCAG between an element's colour and the first background behind it that is one.
CONTRAST = """query => {
  const numbers = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const element = document.querySelector(query);
  let behind = element, colour = [0, 0, 0, 0];
  while (behind && (colour.length > 3 && colour[3] === 0)) {
    colour = numbers(getComputedStyle(behind).backgroundColor); behind = behind.parentElement; }
  const [high, low] = [light(numbers(getComputedStyle(element).color)), light(colour)].sort((a, b) => b - a);
  return (high + 0.05) / (low + 0.05); }"""

# Labels, pictures and controls that are wider than their box or stick out of the cell.
CUT_OFF = """() => [...document.querySelectorAll('.jp-OutputArea-output :is(.widget-label, img, select, input)')]
  .filter(e => e.getBoundingClientRect().width && (e.matches('.widget-label') && e.scrollWidth > e.clientWidth ||
               e.getBoundingClientRect().right > e.closest('.jp-OutputArea').getBoundingClientRect().right + 1))
  .map(e => e.innerText || e.tagName)"""

# Milliseconds from each key to the next picture that has loaded.
STOPWATCH = """where => { let pressed = 0; window.times = [];
  document.addEventListener('keydown', () => { pressed = performance.now(); }, true);
  document.querySelector(where).addEventListener('load', () => {
    if (pressed) { window.times.push(performance.now() - pressed); pressed = 0; } }); }"""
