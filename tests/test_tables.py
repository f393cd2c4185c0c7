"""Tables: what goes in comes out of text, HTML, JSON and CSV, each read by somebody else's parser."""

from __future__ import annotations

import csv
import io
import json
from html.parser import HTMLParser

import numpy
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from dnnlab.errors import DnnlabError, UnknownNameError
from dnnlab.tables import Column, Table

k, c = sympy.symbols("k c")
cells = st.none() | st.booleans() | st.integers(-(10**40), 10**40) | st.floats() | st.text(max_size=12)
tables = st.integers(1, 4).flatmap(
    lambda n: st.lists(st.lists(cells, min_size=n, max_size=n), max_size=6).map(
        lambda rows: Table([Column(f"c{i}", f"Column {i}") for i in range(n)], rows, "A <title>", "A & note")
    )
)


class Reader(HTMLParser):
    """The table as a browser sees it: rows of (tag, attributes, text)."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.rows: list[list[list[object]]] = []
        self.text: dict[str, str] = {"caption": "", "p": ""}
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)
        self.close()
        assert not self.open, "every tag is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.tags.add(tag)
        self.attributes.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append([tag, dict(attrs), ""])

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1] in ("td", "th"):
            self.rows[-1][-1][2] = str(self.rows[-1][-1][2]) + data
        else:
            self.text[self.open[-1]] += data


@given(tables)
def test_html_holds_every_cell_escaped_and_labelled(table: Table) -> None:
    seen = Reader(table.html())
    assert seen.tags <= {"div", "table", "caption", "thead", "tbody", "tr", "th", "td", "p"}
    assert (seen.text["caption"], seen.text["p"]) == ("A <title>", "A & note")
    head, *body = seen.rows
    assert [(tag, attrs["scope"]) for tag, attrs, _ in head] == [("th", "col")] * len(table.columns)
    assert len(body) == len(table.rows)
    for shown, row in zip(body, table.rows, strict=True):
        assert [tag for tag, _, _ in shown] == ["th"] + ["td"] * (len(row) - 1)
        assert shown[0][1]["scope"] == "row"
        texts = [Column("x").cell(value) for value in row]
        assert [text for _, _, text in shown] == texts


def test_html_scrolls_by_keyboard_and_has_no_colour_of_its_own() -> None:
    seen = Reader(Table(["a"], [[1]], "Wide").html())
    tag, attributes = seen.attributes[0]
    assert tag == "div" and attributes["style"] == "overflow-x:auto"
    assert (attributes["tabindex"], attributes["role"], attributes["aria-label"]) == ("0", "region", "Wide")
    styles = [a["style"].split(":")[0] for _, a in seen.attributes if a.get("style")]  # type: ignore[union-attr]
    assert set(styles) == {"overflow-x", "font-variant-numeric", "text-align"}


@given(tables)
def test_json_gives_the_raw_values_back(table: Table) -> None:
    records = json.loads(table.json(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    for record, row in zip(records, table.rows, strict=True):
        for got, value in zip(record.values(), row, strict=True):
            infinite = isinstance(value, float) and not abs(value) < float("inf")
            assert got == (str(value) if infinite else value)


@given(tables)
def test_csv_gives_the_raw_values_back(table: Table) -> None:
    header, *rows = csv.reader(io.StringIO(table.csv(), newline=""))
    assert header == [f"c{i}" for i in range(len(header))]
    if len(header) == 1:
        # A lone empty cell is an empty line to a reader, or '""': nothing can be told from its absence.
        rows = [row or [""] for row in rows]
    for got, row in zip(rows, table.rows, strict=True):
        for text, value in zip(got, row, strict=True):
            assert text == ("" if value is None else str(value))


@given(tables, st.none() | st.integers(1, 60))
def test_text_is_aligned(table: Table, width: int | None) -> None:
    title, _, rule, *lines, note = table.text(width).split("\n")
    assert (title, note) == ("A <title>", "A & note")
    widths = [len(dashes) for dashes in rule.split("  ")]
    assert len(lines) == len(table.rows)
    ends = [sum(widths[: i + 1]) + 2 * i for i in range(len(widths))]
    for line, row in zip(lines, table.rows, strict=True):
        assert len(line) <= ends[-1]
        padded = line.ljust(ends[-1])
        for end, size, value in zip(ends, widths, row, strict=True):
            shown = padded[end - size : end].strip()
            want = Column("x").cell(value)
            assert shown == want.strip() or (shown.endswith("…") and want.startswith(shown[:-1]))
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                present = [r[ends.index(end)] for r in table.rows if r[ends.index(end)] is not None]
                if all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in present):
                    assert padded[end - 1] != " ", "numbers end in the same column"


def test_width_cuts_text_and_never_numbers() -> None:
    table = Table(["name", "n"], [["a long name of a layer ⌈x⌉", 123_456_789]])
    assert max(map(len, table.text().split("\n"))) == 39
    narrow = table.text(24).split("\n")
    assert narrow[2] == "a long nam…  123,456,789" and max(map(len, narrow)) <= 24
    assert "123,456,789" in table.text(3)


def test_cells_as_they_are_shown() -> None:
    rate = Column("rate", "Rate", "FLOP/s")
    assert rate.cell(3.35e12) == "3.35 TFLOP/s" and rate.cell(None) == "–" and rate.cell(k) == "k FLOP/s"
    assert Column("n").cell(25_557_032) == "25,557,032" and Column("n").cell(10**40) == "1e+40"
    assert Column("x").cell(1 / 3) == "0.3333" and Column("x").cell(float("inf")) == "∞"
    assert Column("s").cell((3, 224, 224)) == "3×224×224" and Column("s").cell(["a", "b"]) == "a, b"
    assert Column("b").cell(True) == "yes" and Column("b").cell(False) == "no"
    assert Column("t").cell("two\nlines") == "two lines"
    assert Column("o", show=lambda v: f"<{v}>").cell(k * c) == "<c*k>"


def test_symbols_and_foreign_numbers_in_json_and_csv() -> None:
    row = [2 * k * c, sympy.Integer(5), sympy.Rational(1, 2), numpy.int64(7), numpy.float32(0.5), (3, k)]
    table = Table([f"c{i}" for i in range(6)], [row])
    assert json.loads(table.json()) == [
        {"c0": "2*c*k", "c1": 5, "c2": 0.5, "c3": 7, "c4": 0.5, "c5": [3, "k"]}
    ]
    assert table.csv().splitlines()[1] == '2*c*k,5,0.5,7,0.5,"[3, ""k""]"'
    assert table.records()[0]["c3"] == 7


def test_words_keep_the_room_they_ask_for() -> None:
    page = Table([Column("why", least=34), "what"], [["a sentence", "b"]]).html()
    assert page.count('why<div style="width:17em"></div></th>') == page.count("<div style") == 1


def test_rows_may_be_mappings() -> None:
    table = Table(["a", "b"], [{"b": 2}, [1, 2]])
    assert table.rows == ((None, 2), (1, 2))
    assert table == Table(["a", "b"], [[None, 2], [1, 2]])
    assert repr(table) == table.text() and table._repr_html_() == table.html()
    assert Table(["a"], []).text() == "a\n-" and json.loads(Table(["a"], []).json()) == []


def test_what_does_not_fit_is_an_error() -> None:
    with pytest.raises(UnknownNameError, match="unknown column 'opps'; did you mean 'ops'"):
        Table(["ops"], [{"opps": 1}])
    with pytest.raises(DnnlabError, match=r"needs 2 cells \(a, b\), not \[1\]"):
        Table(["a", "b"], [[1]])
    with pytest.raises(DnnlabError, match="needs 2 cells"):
        Table(["a", "b"], ["xy"])
    with pytest.raises(DnnlabError, match="a different key"):
        Table(["a", "a"], [])
    with pytest.raises(UnknownNameError, match="unknown alignment 'middle'"):
        Column("a", align="middle")
