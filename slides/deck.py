"""Notebooks become decks: where a slide begins and ends, and the page around the slides."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import nbformat
from markupsafe import Markup
from pygments.formatters import HtmlFormatter

from .parts import Part, SlidesError, code, prose

__all__ = ["Slide", "SlidesError", "build", "deck", "slides"]

HERE = Path(__file__).resolve().parent
LINES = 17  # of text on a slide, before the rest goes to the next one
SQUEEZED = 24  # lines that a slide holds at a smaller, still readable scale
FEW, LAST = 4, 20  # lines of last words that would look lost alone; lines of a slide that takes them in
PAGES = jinja2.Environment(loader=jinja2.FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True)


@dataclass(frozen=True)
class Slide:
    """One slide: its title as HTML, its level (1 opens the lecture), its parts, and which of how many under
    one title it is."""

    title: str
    level: int
    parts: tuple[Part, ...]
    part: int = 1
    of: int = 1

    @property
    def label(self) -> str:
        """The title without tags, for those who hear it."""
        words = Markup(self.title).striptags()
        return f"{words}, {self.part} of {self.of}" if self.of > 1 else words


def build(notebooks: Iterable[Path], folder: Path) -> dict[Path, int]:
    """Write a deck for each notebook, and an index of them, to a folder; return how many slides each has.

    Raises SlidesError for a notebook that cannot be read, or whose pictures are not at hand or lack words.
    """
    sources = {path.stem: path for path in notebooks}
    folder.mkdir(parents=True, exist_ok=True)
    written, index = {}, []
    for stem, path in sources.items():
        try:
            notebook = nbformat.reads(path.read_text("utf-8"), as_version=4)
            shown = slides(notebook, path.parent, list(sources))
        except (SlidesError, nbformat.reader.NotJSONError, nbformat.ValidationError) as problem:
            raise SlidesError(f"{path}: {problem}") from problem
        target = folder / f"{stem}.html"
        target.write_text(deck(shown), "utf-8", newline="\n")
        written[target] = len(shown)
        index.append((target.name, shown[0].label, len(shown)))
    (folder / "index.html").write_text(page("index.html.j2", decks=index), "utf-8", newline="\n")
    return written


def deck(shown: list[Slide]) -> str:
    """Slides as one HTML page that needs no other file."""
    return page("deck.html.j2", title=shown[0].label, slides=shown)


def page(template: str, **values: Any) -> str:
    script = (HERE / "deck.js").read_text("utf-8")
    colours = {
        style: HtmlFormatter(style=name).get_style_defs([".code", ".highlight"]) for style, name in STYLES.items()
    }
    # The browser itself then refuses whatever is not in this file: any address, any other script.
    trusted = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{trusted}'"
    return PAGES.get_template(template).render(
        style=Markup((HERE / "deck.css").read_text("utf-8")),
        colours={style: Markup(text) for style, text in colours.items()},
        script=Markup(script),
        policy=policy,
        **values,
    )


STYLES = {"light": "default", "dark": "github-dark"}


# -- where slides begin and end --------------------------------------------------------------------------


def slides(notebook: Any, folder: Path, decks: Collection[str] = ()) -> list[Slide]:
    """The slides of a notebook in its folder: one for each heading '# ' or '## ', more where it is long, and
    none with both a prediction and what comes after it."""
    shown: list[Slide] = []
    title, level, parts = "", 2, list[Part]()

    def finish() -> None:
        packs = list(packed(parts)) or [()]
        if title or parts:
            shown.extend(Slide(title, level, pack, n, len(packs)) for n, pack in enumerate(packs, 1))

    for cell in notebook.cells:
        if cell.cell_type == "code":
            parts += code(cell.source, cell.outputs)
        elif cell.cell_type == "markdown":
            attachments = cell.get("attachments", {})
            for heading, body in sections(cell.source):
                if heading:
                    finish()
                    marks, _, words = heading.partition(" ")
                    inline = prose(words, folder, decks, attachments).words.strip()
                    title, level, parts = re.sub("^<p>|</p>$", "", inline), len(marks), []
                if body.strip():
                    parts.append(prose(body, folder, decks, attachments))
    finish()
    if not shown:
        raise SlidesError("there is nothing to show in this notebook")
    return shown


def sections(source: str) -> Iterator[tuple[str, str]]:
    """Markdown divided at its headings of the first two levels: (heading or '', what stands below it).

    >>> list(sections("before\\n## One\\ntext\\n```\\n# code\\n```"))
    [('', 'before'), ('## One', 'text\\n```\\n# code\\n```')]
    """
    heading, body, fenced = "", list[str](), False
    for line in source.splitlines():
        fenced ^= line.lstrip().startswith("```")
        if re.match(r"##? ", line) and not fenced:
            yield heading, "\n".join(body)
            heading, body = line, []
        else:
            body.append(line)
    yield heading, "\n".join(body)


def packed(parts: list[Part]) -> Iterator[tuple[Part, ...]]:
    """Parts on as few slides as they go: a slide is full when the next part, with the code that it leads on to,
    would not fit, and when a prediction was asked for. Words are parted from their code only where the two
    together would be too small to read, and a few last words from what they are about hardly ever."""
    pack: list[Part] = []
    for n, part in enumerate(parts, 1):
        wanted = part.lines + (parts[n].lines if part.leads and n < len(parts) else 0)
        last = LAST if n == len(parts) and part.lines <= FEW else LINES
        room = SQUEEZED if pack and pack[-1].leads else last
        if pack and sum(before.lines for before in pack) + wanted > room:
            yield tuple(pack)
            pack = []
        pack.append(part)
        if part.ends:
            yield tuple(pack)
            pack = []
    if pack:
        yield tuple(pack)
