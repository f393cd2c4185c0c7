"""Cells become parts of a slide: clean HTML that needs nothing from outside, and how tall it will be."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from html import escape, unescape
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import bleach
from bleach.css_sanitizer import CSSSanitizer
from latex2mathml.converter import convert
from nbconvert.filters import strip_ansi
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from dnnlab.predictions import Prediction

# What the library's tables, words and pictures are made of. All else in an output is shown as text, not obeyed.
TAGS = {
    *("p", "div", "span", "br", "pre", "code", "a", "b", "strong", "i", "em", "small", "sub", "sup", "ul", "ol", "li"),
    *("table", "caption", "thead", "tbody", "tfoot", "tr", "th", "td", "figure", "figcaption", "img"),
}
ATTRIBUTES = {"alt", "aria-label", "colspan", "height", "role", "rowspan", "scope", "tabindex", "title", "width"}
STYLES = ["font-variant-numeric", "height", "max-width", "overflow-x", "text-align", "white-space"]
WIDTH = 88  # characters of prose on a line
CODE = 0.8  # the height of a line of code, in lines of prose
PICTURE = 5  # lines of its slide that a picture asks for: it stands beside the words
TABLE = 13  # lines of a table, before its rows go on on the next slide
FULL = 18  # lines of a code cell, before its next output goes to the next slide
ROW = re.compile("<tr>.*?</tr>", re.DOTALL)
TAG = re.compile("<[^>]+>")
MATHML = "http://www.w3.org/1998/Math/MathML"
MATHS = {
    *("math", "mrow", "mstyle", "mpadded", "mphantom", "mspace", "mi", "mn", "mo", "mtext", "mfrac", "msqrt", "mroot"),
    *("msub", "msup", "msubsup", "munder", "mover", "munderover", "mtable", "mtr", "mtd", "menclose", "mfenced"),
}


class SlidesError(Exception):
    """A notebook cannot become slides that open offline and can be read by everyone; says what to change."""


@dataclass(frozen=True)
class Part:
    """A piece of a slide that is not split: its words, what stands beside them, its height in lines of text.

    `leads` says that it introduces the part after it, `ends` that nothing may follow it on its slide.
    """

    words: str
    picture: str = ""
    lines: float = 0
    leads: bool = False
    ends: bool = False


# -- prose -----------------------------------------------------------------------------------------------


class Prose(IPythonRenderer):
    """nbconvert's Markdown, with formulas as MathML, HTML as text, and links from deck to deck."""

    def __init__(self, folder: Path, decks: Collection[str], attachments: dict[str, dict[str, str]]) -> None:
        super().__init__(
            escape=True,
            allow_harmful_protocols=False,
            embed_images=True,
            exclude_anchor_links=True,
            path=str(folder),
            attachments=attachments,
        )
        self.decks = decks

    def inline_math(self, body: str) -> str:
        return formula(body)

    def block_math(self, body: str) -> str:
        return formula(body, "block")

    def latex_environment(self, name: str, body: str) -> str:
        return formula(rf"\begin{{{name}}}{body}\end{{{name}}}", "block")

    def link(self, text: str, url: str, title: str | None = None) -> str:
        stem, suffix, _ = url.partition(".ipynb")
        if not suffix:
            return super().link(text, url, title)
        return super().link(text, f"{stem}.html", title) if stem in self.decks else text

    def image(self, text: str, url: str, title: str | None = None) -> str:
        html = super().image(text, url, title)
        if 'src="data:' not in html:
            raise SlidesError(f"the picture {url} is not a file beside the notebook, and slides open offline")
        if not text:
            raise SlidesError(f"the picture {url} needs words for those who cannot see it: ![words]({url})")
        return html


def prose(source: str, folder: Path, decks: Collection[str], attachments: dict[str, dict[str, str]]) -> Part:
    """Markdown as a part, which stays with the code that it introduces."""
    html = MarkdownWithMath(renderer=Prose(folder, decks, attachments)).render(source)
    return Part(html, lines=height(source), leads=True)


def formula(latex: str, display: str = "inline") -> str:
    """LaTeX as MathML, which browsers draw by themselves; what is no formula stays as it was written.

    >>> formula("2 c")
    '<math xmlns="http://www.w3.org/1998/Math/MathML" display="inline"><mrow><mn>2</mn><mi>c</mi></mrow></math>'
    >>> formula("{")
    '<code>{</code>'
    """
    try:
        math = convert(latex, display=display)
        known = {f"{{{MATHML}}}{name}" for name in MATHS}
        # It copies what it does not know as it stands, which may be any tag.
        if all(e.tag in known and not {"href", "style"} & e.attrib.keys() for e in ElementTree.fromstring(math).iter()):
            return math
    except Exception:  # its parser raises a dozen kinds
        pass
    return f"<code>{escape(latex)}</code>"


def height(text: str, width: int = WIDTH, paragraph: float = 0.5) -> float:
    """About how many lines a text takes, each empty one counted as the gap between two paragraphs.

    >>> height("one\\n\\ntwo", paragraph=0.5), height("1234567", width=4)
    (2.5, 2)
    """
    return sum(math.ceil(len(line) / width) if line.strip() else paragraph for line in text.splitlines())


# -- code and its outputs --------------------------------------------------------------------------------


def code(source: str, outputs: Iterable[Any]) -> list[Part]:
    """A code cell with its stored outputs; a figure among them stands beside the rest, a long table is several."""
    shown = highlight(source, PythonLexer(), HtmlFormatter(nowrap=True)).rstrip("\n")
    first = Part(
        f'<pre class="code"><code>{shown}</code></pre>' if source.strip() else "", "", CODE * height(source, 90) + 0.5
    )
    parts = [first]
    for html in merged(outputs):
        for n, piece in enumerate(table_pieces(html)):
            last = parts[-1]
            if n:
                parts.append(Part(piece, lines=tall(piece)))
            elif "<img" in piece:
                parts[-1] = replace(last, picture=f"{last.picture}\n{piece}", lines=last.lines + PICTURE)
            elif piece and last.lines + tall(piece) > FULL:
                parts.append(Part(piece, lines=tall(piece)))
            elif piece:
                parts[-1] = replace(last, words=f"{last.words}\n{piece}", lines=last.lines + tall(piece))
    asks = re.search(r"^predict\(", source, re.MULTILINE)
    return [*parts[:-1], replace(parts[-1], ends=bool(asks))]


def tall(html: str) -> float:
    """About how many lines an output takes."""
    rows = ROW.findall(html)
    if not rows:
        return CODE * height(unescape(TAG.sub("", html)), 90) + 0.5
    note = height(unescape(TAG.sub("", html.partition("</table>")[2])))
    # The longest cell of a row takes more than its share of the width; a row has a rule and a gap.
    return 1 + sum(max(1, len(TAG.sub("", row)) / 65) + 0.3 for row in rows) * 0.86 + note


def table_pieces(html: str) -> list[str]:
    """A table too long for a slide as several, each with its title and heads; any other output as it is."""
    body = re.search("<tbody>(.*)</tbody>", html, re.DOTALL)
    total, far = tall(body[1]) if body else 0.0, 0.0
    number = round(total / TABLE)
    if body is None or number < 2:
        return [html]
    shares = [""] * number
    for row in ROW.findall(body[1]):
        shares[min(int(far / total * number), number - 1)] += row
        far += tall(row) - 1
    head, tail = html[: body.start(1)], html[body.end(1) :]
    note = re.compile("<p.*</p>", re.DOTALL)  # it stands below the last piece
    pieces = [share for share in shares if share]  # a very long row may have left its neighbour none
    tails = [note.sub("", tail)] * (len(pieces) - 1) + [tail]
    return [head + piece + end for piece, end in zip(pieces, tails, strict=True)]


def merged(outputs: Iterable[Any]) -> Iterator[str]:
    """Each output as HTML; pieces of one stream, which the kernel sends as it likes, are one output."""
    said, stream = "", ""
    for output in outputs:
        if said and output.get("name") != stream:
            yield text(said)
            said = ""
        if output.output_type == "stream":
            said, stream = said + output.text, output.name
        elif output.output_type == "error":
            yield text("\n".join(output.traceback) or f"{output.ename}: {output.evalue}")
        else:
            yield bundle(output.data)
    if said:
        yield text(said)


def text(said: str) -> str:
    """Plain text; a table in it, which has a rule of dashes below its heads, keeps its lines and scrolls."""
    said = unasked(strip_ansi(said).rstrip())
    aligned = ' table" role="region" tabindex="0" aria-label="output' if re.search("^--+(  +--+)+$", said, re.M) else ""
    return f'<pre class="out{aligned}">{escape(said)}</pre>' if said else ""


def bundle(data: dict[str, Any]) -> str:
    """What a page without a kernel shows of a display bundle: its richest form that is still words or a picture."""
    plain = data.get("text/plain", "")
    if "text/html" in data:
        return clean(unasked(data["text/html"]))
    if "text/latex" in data:
        return f'<p class="out">{formula(data["text/latex"].strip().strip("$"))}</p>'
    for kind in ("image/png", "image/jpeg"):
        if kind in data:
            source = "".join(data[kind].split())
            return clean(f'<figure><img src="data:{kind};base64,{source}" alt="{escape(plain)}"></figure>')
    return text(plain)


def clean(html: str) -> str:
    """HTML of an output without scripts, addresses or anything else that reaches out of the page.

    >>> clean('<p onclick="x()">a <b>b</b> <script>c</script> <img src="http://d" alt="d"></p>')
    '<p>a <b>b</b> &lt;script&gt;c&lt;/script&gt; <img alt="d"></p>'
    """

    def allowed(tag: str, name: str, value: str) -> bool:
        if name == "src":
            return tag == "img" and value.startswith(("data:image/png;", "data:image/jpeg;"))
        if name == "href":
            return value.startswith(("https:", "#"))
        return name in ATTRIBUTES or name == "style"

    protocols = {"https", "data"}
    return bleach.clean(html, TAGS, allowed, protocols, css_sanitizer=CSSSanitizer(allowed_css_properties=STYLES))


def unasked(said: str) -> str:
    """An output without the words for a student who has made no prediction: here the room is asked.

    >>> unasked(Prediction("key", None)._repr_html_())
    ''
    >>> unasked(Prediction("key", None, "memory")._repr_html_())
    '<p role="status">memory</p>'
    """
    unmade = Prediction("", None)
    if said in (repr(unmade), unmade._repr_html_()):
        return ""
    return said.replace(repr(Prediction("", None, "")), "")
