"""A lecturer's journey through the slides: every deck from disk, by keyboard, without a network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright", reason="no playwright: the browser journeys need the extra 'test'")
pytest.importorskip("nbconvert", reason="no nbconvert: slides need the extra 'slides'")
pytest.importorskip("latex2mathml", reason="no latex2mathml: slides need the extra 'slides'")

from playwright.sync_api import Page, Request

from slides.deck import build

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))


@pytest.fixture(scope="module")
def decks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slides")
    build(NOTEBOOKS, folder)
    return folder


@pytest.fixture
def page(browser: Any) -> Iterator[Page]:
    """A page without a network on which nothing may go wrong or be asked of one."""
    context = browser.new_context(viewport={"width": 1280, "height": 720}, offline=True)
    page = context.new_page()
    faults: list[str] = []

    def requested(request: Request) -> None:
        if not request.url.startswith(("file:", "data:")):
            faults.append(request.url)

    page.on("request", requested)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text))
    yield page
    context.close()
    assert faults == []


def opened(page: Page, decks: Path, stem: str, slide: int = 1) -> int:
    """Open a deck; return how many slides it has."""
    page.goto(f"{(decks / stem).as_uri()}.html#{slide}")
    return page.locator(".slide").count()


def number(page: Page) -> int:
    assert page.locator(".slide:visible").count() == 1
    shown = int(page.locator(".slide:visible").get_attribute("id") or 0)
    assert page.locator("#number").inner_text().startswith(f"{shown} / ")
    page.wait_for_function("shown => location.hash === `#${shown}`", arg=shown)
    return shown


@pytest.mark.parametrize("stem", [path.stem for path in NOTEBOOKS])
def test_every_slide_by_keyboard_with_nothing_cut_off(page: Page, decks: Path, stem: str) -> None:
    total = opened(page, decks, stem)
    for slide in range(1, total + 1):
        assert number(page) == slide
        assert page.evaluate(CUT_OFF) == [], slide
        assert page.evaluate(SMALLEST) >= 16, slide  # of 720: a projector's last row
        page.keyboard.press("ArrowRight")
    assert number(page) == total


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("stem", [path.stem for path in NOTEBOOKS])
def test_narrow_slides_scroll_down_only_and_all_words_can_be_read(
    page: Page, decks: Path, stem: str, scheme: Any
) -> None:
    page.set_viewport_size({"width": 400, "height": 700})
    page.emulate_media(color_scheme=scheme)
    opened(page, decks, stem)
    page.evaluate("document.querySelectorAll('.slide').forEach(slide => { slide.hidden = false; })")
    assert page.evaluate(WIDE) == []
    assert page.evaluate(PALE) == []


def test_keys_address_and_buttons_agree(page: Page, decks: Path) -> None:
    total = opened(page, decks, NOTEBOOKS[0].stem, slide=3)
    assert number(page) == 3
    for key, expected in [
        ("Space", 4), ("ArrowRight", 5), ("PageDown", 6), ("Shift+Space", 5), ("ArrowLeft", 4), ("PageUp", 3),
        ("End", total), ("ArrowRight", total), ("Home", 1), ("ArrowLeft", 1), ("Space", 2),
    ]:  # fmt: skip
        page.keyboard.press(key)
        assert number(page) == expected, key
    page.reload()
    assert number(page) == 2
    page.get_by_role("button", name="next slide").click()
    assert number(page) == 3
    page.keyboard.press("Space")  # presses the button again, not twice
    assert number(page) == 4
    page.get_by_role("button", name="previous slide").click()
    assert number(page) == 3
    page.evaluate("location.hash = '#999'")
    page.wait_for_function("n => location.hash === `#${n}`", arg=total)
    assert number(page) == total


def test_focus_goes_along_and_can_be_seen(page: Page, decks: Path) -> None:
    total = opened(page, decks, NOTEBOOKS[0].stem)
    page.keyboard.press("End")
    label = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert label.startswith(f"{total} of {total}: ")  # what a screen reader says
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_the_index_leads_to_each_deck_and_back(page: Page, decks: Path) -> None:
    for n, path in enumerate(NOTEBOOKS):
        page.goto((decks / "index.html").as_uri())
        page.locator("li a").nth(n).click()
        page.wait_for_url(f"**/{path.stem}.html#1")
        page.get_by_role("link", name="All lectures").click()
        page.wait_for_url("**/index.html")


@pytest.mark.parametrize("stem", [path.stem for path in NOTEBOOKS])
def test_printed_each_slide_is_a_page(page: Page, decks: Path, stem: str) -> None:
    total = opened(page, decks, stem)
    pdf = page.pdf(prefer_css_page_size=True, print_background=True)
    assert pdf.count(b"/Type /Page\n") == total
    assert number(page) == 1  # and after it, the deck is as before


# What sticks out of the window, or out of a box in which it could not be scrolled to.
CUT_OFF = """() => { const slide = document.querySelector('.slide:not([hidden])');
  return [slide, ...slide.querySelectorAll('*')].filter(e => !e.closest('math')).filter(e =>
      e.getBoundingClientRect().right > innerWidth + 1 && !e.parentElement.closest('[role=region]') ||
      e === slide && e.scrollHeight > e.clientHeight + 1 ||
      e.matches('[role=region]') && e.scrollWidth > e.clientWidth + 1)
    .map(e => `${e.tagName} ${e.scrollWidth}x${e.scrollHeight} in ${e.clientWidth}x${e.clientHeight}`); }"""

# The size of the slide's words; code and tables are a fifth smaller.
SMALLEST = "() => parseFloat(getComputedStyle(document.querySelector('.slide:not([hidden])')).fontSize)"

# What is wider than the window, other than tables, which scroll in their own box.
WIDE = """() => [...document.querySelectorAll('.slide:not([hidden]), .slide:not([hidden]) *, nav, nav *')]
  .filter(e => !e.parentElement.closest('[role=region], math') && getComputedStyle(e).visibility === 'visible')
  .filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"""

# Words with less contrast to the first background behind them than WCAG asks for (AA).
PALE = """() => {
  const numbers = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const contrast = element => {
    let behind = element, colour = [0, 0, 0, 0];
    while (behind && colour.length > 3 && colour[3] === 0) {
      colour = numbers(getComputedStyle(behind).backgroundColor); behind = behind.parentElement; }
    const [high, low] = [light(numbers(getComputedStyle(element).color)), light(colour)].sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05); };
  return [...document.querySelectorAll('.slide:not([hidden]) *, nav *')]
    .filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) && !e.disabled && contrast(e) < 4.5)
    .map(e => `${contrast(e).toFixed(2)} ${e.className} ${e.textContent.slice(0, 40)}`); }"""
