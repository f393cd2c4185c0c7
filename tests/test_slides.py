"""Slides: where they begin, that they hold all of their notebook and nothing else, and that they need no network."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("nbconvert", reason="no nbconvert: slides need the extra 'slides'")
pytest.importorskip("latex2mathml", reason="no latex2mathml: slides need the extra 'slides'")

import nbformat
from nbconvert import HTMLExporter
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from slides.__main__ import main
from slides.deck import Slide, SlidesError, build, deck, slides
from slides.parts import bundle, formula

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABpfZFQAAAAABJRU5ErkJggg=="
# Elements without an end tag.
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """The tags of a page with their attributes, its pictures and its text; a page that is not well nested fails."""

    def __init__(self, html: str, nested: bool = True) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.text = ""
        self.nested = nested
        self.feed(html)
        self.close()
        assert self.open == [] or not nested

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert not self.nested or self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"script", "style"}.intersection(self.open):
            self.text += data


def shown(*cells: Any, folder: Path = ROOT) -> list[Slide]:
    return slides(new_notebook(cells=list(cells)), folder, ["01_next"])


def text(slide: Slide) -> str:
    return squeezed(" ".join(unescape(re.sub("<[^>]+>", "", part.words)) for part in slide.parts))


def squeezed(words: str) -> str:
    return "".join(words.split())


def result(**data: str) -> Any:
    kinds = {"html": "text/html", "latex": "text/latex", "png": "image/png", "plain": "text/plain"}
    return new_output("execute_result", {kinds[kind]: value for kind, value in data.items()}, execution_count=1)


# -- where slides begin ----------------------------------------------------------------------------------


def test_each_heading_of_two_levels_begins_a_slide_also_inside_a_cell() -> None:
    md = new_markdown_cell
    lecture = shown(md("# Title\nwords\n\n## One\nmore"), md("## `Two`\n### small\n```\n## no heading\n```"))
    assert [(slide.title, slide.level) for slide in lecture] == [("Title", 1), ("One", 2), ("<code>Two</code>", 2)]
    assert "## no heading" in lecture[2].parts[0].words and "small" in lecture[2].parts[0].words


def test_the_slide_after_a_prediction_holds_its_answer() -> None:
    asked, answered = shown(
        new_markdown_cell("## Guess\nHow many?"),
        new_code_cell('from dnnlab import predict\npredict("1.a", ...)'),
        new_code_cell('reveal("1.a", 3)', outputs=[result(html='<p role="status">3. You did not predict.</p>')]),
    )
    assert (asked.label, answered.label) == ("Guess, 1 of 2", "Guess, 2 of 2")
    assert "Howmany?" in text(asked) and "predict(" in text(asked)
    assert text(answered) == squeezed('reveal("1.a", 3) 3')


def test_a_long_section_is_divided_between_cells_and_words_stay_with_their_code() -> None:
    pairs = [(new_markdown_cell(f"words {n}\n\nand more:"), new_code_cell(f"a\nb\nc\ncode{n}")) for n in range(8)]
    lecture = shown(new_markdown_cell("## Long"), *(cell for pair in pairs for cell in pair))
    assert 2 < len(lecture) < 8
    assert "".join(map(text, lecture)) == "".join(f"words{n}andmore:abccode{n}" for n in range(8))
    assert all(slide.parts[-1].words.startswith("<pre") for slide in lecture)


def test_a_long_table_goes_on_with_its_heads_and_ends_with_its_note() -> None:
    rows = "".join(f"<tr><th>row {n}</th><td>{n}</td></tr>" for n in range(60))
    html = f"<div><table><thead><tr><th>name</th></tr></thead><tbody>{rows}</tbody></table><p>note</p></div>"
    lecture = shown(new_markdown_cell("## Table"), new_code_cell("table()", outputs=[result(html=html)]))
    assert len(lecture) > 2
    words = [part.words for slide in lecture for part in slide.parts]
    assert len(words) == len(lecture) and all("<th>name</th>" in one for one in words)
    assert [n for one in words for n in re.findall(r"<th>row (\d+)</th>", one)] == [str(n) for n in range(60)]
    assert [one.count("note") for one in words] == [0] * (len(words) - 1) + [1]
    Page(deck(lecture))


def test_a_few_last_words_stay_with_what_they_are_about() -> None:
    cell = new_code_cell("\n".join("abcdefghijklmnopqrst"))
    assert len(shown(new_markdown_cell("## Short"), cell, new_markdown_cell("so it is\n\nindeed"))) == 1
    assert len(shown(new_markdown_cell("## Long"), cell, new_markdown_cell("word\n\n" * 5))) == 2
    assert len(shown(new_markdown_cell("## On"), cell, new_markdown_cell("so it is"), new_code_cell("x"))) == 2


def test_outputs_too_tall_together_go_on_the_next_slide() -> None:
    rows = "".join(f"<tr><th>row {n}</th></tr>" for n in range(9))
    tables = [result(html=f"<table><tbody>{rows}</tbody></table><p>note {n}</p>") for n in range(2)]
    assert len(shown(new_code_cell("x", outputs=tables[:1]))) == 1
    first, second = shown(new_code_cell("x", outputs=tables))
    assert "note0" in text(first) and "note1" not in text(first) and "note1" in text(second)


# -- what they show --------------------------------------------------------------------------------------


def test_outputs_in_their_richest_form_without_a_kernel() -> None:
    figure = f'<figure><img src="data:image/png;base64,{PNG}" alt="A line"><figcaption>It rises</figcaption></figure>'
    (slide,) = shown(
        new_code_cell(
            "x",
            outputs=[
                new_output("stream", name="stdout", text="one "),
                new_output("stream", name="stdout", text="line\n"),
                result(latex=r"$\displaystyle 18 c$", plain="18*c"),
                result(html=figure, png=PNG, plain="explorer: run this cell"),
                new_output("error", ename="E", evalue="bad", traceback=["\x1b[31mE: bad\x1b[0m"]),
            ],
        )
    )
    assert '<pre class="out">one line</pre>' in slide.parts[0].words
    assert "<mn>18</mn><mi>c</mi>" in slide.parts[0].words
    assert '<pre class="out">E: bad</pre>' in slide.parts[0].words
    assert 'alt="A line"' in slide.parts[0].picture and "It rises" in slide.parts[0].picture
    assert "run this cell" not in deck([slide])
    assert f'src="data:image/png;base64,{PNG}" alt="a plot"' in bundle({"image/png": PNG, "text/plain": "a plot"})


def test_formulas_are_drawn_by_the_browser_and_dollars_in_code_are_no_formulas() -> None:
    (slide,) = shown(new_markdown_cell("It is $k_1 < n$, not `$x$`.\n\n$$\\frac{a}{b}$$"))
    words = slide.parts[0].words
    assert "<msub><mi>k</mi><mn>1</mn></msub>" in words and "<code>$x$</code>" in words and "<mfrac>" in words
    assert 'display="block"' in words


@pytest.mark.parametrize("latex", [r"\text{<script>f()</script>}", r"\href{javascript:f()}{x}", "{", r"\text{a & b}"])
def test_what_is_no_formula_stays_text(latex: str) -> None:
    assert formula(latex).startswith("<code>") and "<script" not in formula(latex)


def test_links_lead_from_deck_to_deck_and_nowhere_else_than_told() -> None:
    (slide,) = shown(new_markdown_cell("[a](01_next.ipynb) [b](02_none.ipynb) [c](https://x.org) [d](javascript:f())"))
    links = [attrs["href"] for tag, attrs in Page(slide.parts[0].words).tags if tag == "a"]
    assert links == ["01_next.html", "https://x.org", "#harmful-link"]


def test_pictures_in_words_are_taken_into_the_deck(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(base64.b64decode(PNG))
    (slide,) = shown(new_markdown_cell("![A dot](a.png)"), folder=tmp_path)
    assert f'src="data:image/png;base64,{PNG}"' in slide.parts[0].words
    for source in ("![A dot](http://x.org/a.png)", "![A dot](absent.png)", "![](a.png)"):
        with pytest.raises(SlidesError, match=r"a\.png|absent\.png"):
            shown(new_markdown_cell(source), folder=tmp_path)


HOSTILE = '<script>f()</script><img src="http://x.org/a.png" onerror="f()"></section><b style="position:fixed">'


def test_hostile_content_is_text() -> None:
    page = deck(
        shown(
            new_markdown_cell(f"# T {HOSTILE}\n{HOSTILE}"),
            new_code_cell(HOSTILE, outputs=[new_output("stream", name="stdout", text=HOSTILE), result(plain=HOSTILE)]),
            new_code_cell("x", outputs=[result(html=HOSTILE), result(png=PNG, plain=f'"{HOSTILE}')]),
        )
    )
    found = Page(page)
    assert sum(tag == "script" for tag, _ in found.tags) == 1
    assert not any(
        name.startswith("on") or "x.org" in attrs.get("src", "") for _, attrs in found.tags for name in attrs
    )
    assert not any("position" in attrs.get("style", "") for _, attrs in found.tags)
    assert found.text.count("f()") >= 6


# -- decks of the lectures -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def decks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slides")
    build(NOTEBOOKS, folder)
    return folder


def outputs(path: Path) -> Iterator[dict[str, str]]:
    for cell in nbformat.read(path, 4).cells:
        for output in cell.get("outputs", ()):
            yield {"text/plain": output.text} if output.output_type == "stream" else output.data


def loaded(page: Page) -> list[str]:
    """What a browser would fetch to show the page."""
    places = [attrs[name] for tag, attrs in page.tags for name in ("src", "srcset", "data", "poster") if name in attrs]
    return places + [attrs["href"] for tag, attrs in page.tags if tag == "link"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_lecture_as_slides_is_whole_and_needs_nothing_else(path: Path, decks: Path) -> None:
    html = (decks / f"{path.stem}.html").read_text("utf-8")
    page = Page(html)
    assert all(place.startswith("data:image/") for place in loaded(page))
    assert "@import" not in html and "url(" not in html
    assert any(attrs.get("content", "").startswith("default-src 'none'; img-src data:;") for _, attrs in page.tags)
    assert all(attrs.get("alt") for tag, attrs in page.tags if tag == "img")
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    said = squeezed(page.text)
    for cell in nbformat.read(path, 4).cells:
        if cell.cell_type == "code":
            assert squeezed(cell.source) in said
    for data in outputs(path):
        if "text/html" in data:
            words = [unescape(word) for word in re.findall(">([^<>]+)<", data["text/html"])]
            missing = [
                word for word in words if squeezed(word.replace(" You did not predict.", "")).rstrip(".") not in said
            ]
            assert [word for word in missing if not word.startswith("Not predicted yet")] == []
            assert all(source in html for source in re.findall(r'src="([^"]+)"', data["text/html"]))
        elif "text/latex" not in data:
            plain = data["text/plain"].strip()
            assert squeezed(plain.replace(". You did not predict.", "")) in said


def test_the_same_notebooks_give_the_same_files(decks: Path, tmp_path: Path) -> None:
    build(NOTEBOOKS, tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {p.name: p.read_bytes() for p in decks.iterdir()}
    index = Page((decks / "index.html").read_text("utf-8"))
    assert [attrs["href"] for tag, attrs in index.tags if tag == "a"] == [f"{p.stem}.html" for p in NOTEBOOKS]


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notebook = tmp_path / "a.ipynb"
    notebook.write_text(nbformat.writes(new_notebook(cells=[new_markdown_cell("# A\n\n## B")])), "utf-8")
    assert main([str(notebook), "--to", str(tmp_path / "out")]) == 0
    assert "a.html  2 slides" in capsys.readouterr().out
    for bad in ("{", nbformat.writes(new_notebook())):
        notebook.write_text(bad, "utf-8")
        assert main([str(notebook), "--to", str(tmp_path / "out")]) == 1
        assert "a.ipynb: " in capsys.readouterr().err


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_page_without_a_kernel_shows_every_explorer_as_a_picture_with_words(path: Path) -> None:
    html, _ = HTMLExporter().from_filename(str(path))
    panels = [data for data in outputs(path) if "explorer:" in data.get("text/plain", "")]
    pictures = {attrs["src"]: attrs["alt"] for tag, attrs in Page(html, nested=False).tags if tag == "img"}
    for data in panels:
        ((source, alt),) = ((a["src"], a["alt"]) for tag, a in Page(data["text/html"]).tags if tag == "img")
        assert pictures[source] == alt and len(alt) > 20 and len(source) > 1000
        assert data["text/plain"] not in html
