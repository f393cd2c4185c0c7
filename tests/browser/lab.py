"""A real JupyterLab and what a person at a keyboard sees of it: the helpers of the browser tests."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page

ROOT = Path(__file__).resolve().parents[2]
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
STDERR = "application/vnd.jupyter.stderr"
VIEW = "application/vnd.jupyter.widget-view+json"
# What is looked at is what the selected cell of the notebook in front shows.
PANEL = ".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Cell.jp-mod-active .jp-OutputArea-output:has(.jupyter-widgets)"
CONTROLS = "select, .noUi-handle, input, .widget-toggle-button"
SLIDER = ".noUi-handle"


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab: where it listens, its token, the folder it serves, and the file of predictions."""

    address: str
    token: str
    folder: Path
    progress: Path


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
    settings |= {"PYTHONPATH": str(ROOT), "DNNLAB_STRICT": "1", "DNNLAB_PROGRESS": str(folder / "progress.json")}
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
        lab = Lab(f"http://127.0.0.1:{port}", token, served, folder / "progress.json")
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


# -- notebooks ---------------------------------------------------------------------------------------------------


def enter(page: Page, lab: Lab) -> None:
    """Load JupyterLab as it is without its side bars, which leaves a telephone's width to the notebook."""
    (lab.folder / "empty.ipynb").write_text(notebook(""))
    page.goto(f"{lab.address}/doc/workspaces/{secrets.token_hex(4)}/tree/empty.ipynb?token={lab.token}")
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=60_000)
    shut(page)


def opened(page: Page, name: str) -> None:
    """Open a notebook of the served folder, or bring it to the front, and wait for its kernel."""
    page.evaluate("async path => { await window.jupyterapp.commands.execute('docmanager:open', {path}); }", name)
    page.wait_for_function(READY, arg=name, timeout=60_000)


def run_all(page: Page) -> None:
    """Run every cell of the notebook in front, to the end."""
    page.evaluate("async () => { await window.jupyterapp.commands.execute('notebook:run-all-cells'); }")


def shut(page: Page) -> None:
    """Close the notebook in front without asking, and end its kernel."""
    page.evaluate("""async () => { const shown = window.jupyterapp.shell.currentWidget;
      await shown.sessionContext.ready; await shown.sessionContext.shutdown(); shown.dispose(); }""")


def complaints(page: Page) -> list[str]:
    """Every error and every word on stderr in the notebook in front, whether or not its cell is on the screen."""
    return list(
        page.evaluate("""() => window.jupyterapp.shell.currentWidget.content.widgets
      .flatMap(cell => cell.model.type === 'code' ? cell.model.outputs.toJSON() : [])
      .filter(output => output.output_type === 'error' || output.name === 'stderr')
      .map(output => output.evalue || output.text)""")
    )


def panels(page: Page) -> list[int]:
    """The places of the cells that show widgets in the notebook in front."""
    return list(
        page.evaluate(
            """view => window.jupyterapp.shell.currentWidget.content.widgets.flatMap((cell, place) =>
      cell.model.type === 'code' && cell.model.outputs.toJSON().some(o => o.data?.[view]) ? [place] : [])""",
            VIEW,
        )
    )


def select(page: Page, place: int) -> None:
    """Select the cell at a place and scroll to it."""
    page.evaluate("""async place => { const notebook = window.jupyterapp.shell.currentWidget.content;
      notebook.activeCellIndex = place; notebook.deselectAll(); await notebook.scrollToCell(notebook.activeCell); }""",
                  place)  # fmt: skip


def said(page: Page, place: int) -> str:
    """What a cell says, once it has run: the text of its outputs."""
    page.wait_for_function(RAN, arg=place, timeout=60_000)
    return str(
        page.evaluate(
            """place => window.jupyterapp.shell.currentWidget.content.widgets[place].model.outputs
      .toJSON().map(output => output.text || output.data?.['text/plain'] || '').join('\\n')""",
            place,
        )
    )


# -- explorers ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """What a panel shows: the address of its picture (a new one for each value), its sentence and its table."""

    picture: str
    sentence: str
    table: str


@dataclass(frozen=True)
class View:
    """The panel that the selected cell shows."""

    page: Page

    @property
    def panel(self) -> Locator:
        return self.page.locator(PANEL)

    @property
    def image(self) -> Locator:
        return self.panel.locator("img")

    @property
    def controls(self) -> Locator:
        return self.panel.locator(CONTROLS)

    def seen(self) -> Seen:
        return Seen(*self.panel.evaluate(SEEN))

    def settled(self, still: float = 0.3) -> Seen:
        """Wait until there is a picture and nothing has changed for `still` seconds."""
        self.image.wait_for(timeout=60_000)
        last, since = self.seen(), time.monotonic()
        while not last.picture or time.monotonic() - since < still:
            self.page.wait_for_timeout(30)
            if (now := self.seen()) != last:
                last, since = now, time.monotonic()
            assert time.monotonic() - since < 30, "no picture"
        return last

    def changed(self, before: Seen, within: float = 1.5) -> bool:
        """Whether the panel shows something else within some seconds."""
        deadline = time.monotonic() + within
        while not (now := self.seen()).picture or now == before:
            if time.monotonic() > deadline:
                return False
            self.page.wait_for_timeout(20)
        return True

    def until(self, holds: Callable[[Seen], bool], what: str) -> Seen:
        """Wait until the panel shows something that holds."""
        deadline = time.monotonic() + 15
        while not (holds(now := self.seen()) and now.picture):
            assert time.monotonic() < deadline, f"{what}: {now.sentence}"
            self.page.wait_for_timeout(20)
        return now

    def control(self, label: str, kind: str) -> Locator:
        """The widget of a kind that stands in the row with a label."""
        row = self.panel.locator(".widget-hbox, .widget-dropdown")
        return row.filter(has=self.page.locator(f".widget-label:text-is('{label}')")).locator(kind).first

    def alarm(self) -> list[str]:
        return self.panel.locator("[role=alert]").all_inner_texts()


def themed(page: Page, theme: str) -> None:
    page.evaluate("theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", theme)
    page.wait_for_function("theme => document.body.dataset.jpThemeName === theme", arg=theme)


def named(page: Page, control: Locator) -> dict[str, Any]:
    """Role and name of an element, as the browser tells them to a screen reader."""
    client = page.context.new_cdp_session(page)
    try:
        control.evaluate("element => { window.asked = element; }")
        thing = client.send("Runtime.evaluate", {"expression": "window.asked"})["result"]["objectId"]
        node = client.send("Accessibility.getPartialAXTree", {"objectId": thing, "fetchRelatives": False})["nodes"][0]
        return {key: node.get(key, {}).get("value", "") for key in ("role", "name", "description")}
    finally:
        client.detach()


READY = """name => { const shown = window.jupyterapp.shell.currentWidget;
  return shown?.context?.path === name && shown.context.isReady && shown.sessionContext.isReady &&
    shown.sessionContext.session?.kernel?.status === 'idle' && shown.content.widgets.length > 0; }"""

# A cell that was run in this kernel, and is done.
RAN = """place => { const cell = window.jupyterapp.shell.currentWidget.content.widgets[place].model;
  return cell.executionState === 'idle' && cell.executionCount !== null; }"""

SEEN = """panel => { const image = panel.querySelector('img'), words = panel.querySelector('[role=status]');
  return [image && image.complete && image.naturalWidth > 0 ? image.src : '', words ? words.innerText : '',
          panel.querySelector('table') ? panel.querySelector('table').textContent : '']; }"""

# The contrast ratio of WCAG between an element's colour and the first background behind it that is one.
CONTRAST = """element => {
  const numbers = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  let behind = element, colour = [0, 0, 0, 0];
  while (behind && (colour.length > 3 && colour[3] === 0)) {
    colour = numbers(getComputedStyle(behind).backgroundColor); behind = behind.parentElement; }
  const [high, low] = [light(numbers(getComputedStyle(element).color)), light(colour)].sort((a, b) => b - a);
  return (high + 0.05) / (low + 0.05); }"""

# Labels, pictures and controls that are wider than their box or stick out of the cell.
CUT_OFF = """panel => [...panel.querySelectorAll('.widget-label, img, select, input, button')]
  .filter(e => e.getBoundingClientRect().width && (e.matches('.widget-label') && e.scrollWidth > e.clientWidth ||
               e.getBoundingClientRect().right > e.closest('.jp-OutputArea').getBoundingClientRect().right + 1))
  .map(e => e.innerText || e.tagName)"""

# Milliseconds from each key to the next picture that has loaded.
STOPWATCH = """image => { let pressed = 0; window.times = [];
  document.addEventListener('keydown', () => { pressed = performance.now(); }, true);
  image.addEventListener('load', () => {
    if (pressed) { window.times.push(performance.now() - pressed); pressed = 0; } }); }"""

# Controls that the keyboard reaches before one that is read earlier: one above them, or in their line to the left.
ORDER = """panel => { const shown = [...panel.querySelectorAll('select, .noUi-handle, input, .widget-toggle-button')]
    .map(e => (e.matches('.noUi-handle') ? e.closest('.widget-slider') : e)).filter(e => e.offsetParent);
  return shown.slice(1).filter((e, place) => { const [a, b] = [shown[place], e].map(x => x.getBoundingClientRect());
    return b.bottom <= a.top || b.top < a.bottom && b.left < a.left; }).map(e => e.outerHTML.slice(0, 80)); }"""
