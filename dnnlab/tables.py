"""One table for notebook, command line and tests: raw values in, text, HTML, JSON or CSV out.

A cell keeps its raw value; only text and HTML round it. So a number read from the JSON is the number
that was computed, and the same `Table` is what a test compares and what a student sees.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from numbers import Integral, Real

from dnnlab.errors import DnnlabError, quote, unknown
from dnnlab.quantities import show as show_quantity

MISSING = "–"
_ALIGNMENTS = ("left", "right", "center")


@dataclass(frozen=True)
class Column:
    """A column: the `key` of its values in JSON and CSV, its `title` on screen, and how a value is shown.

    With a `unit`, numbers are shown as quantities in it ('3.35 TB/s'); `show` overrides that. Numbers
    align right, all else left, unless `align` says 'left', 'right' or 'center'. A page that is too narrow squeezes
    words first: `least` is the number of letters that a line of them keeps.
    """

    key: str
    title: str = ""
    unit: str = ""
    show: Callable[[object], str] | None = None
    align: str | None = None
    least: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "title", self.title or self.key)
        if self.align is not None and self.align not in _ALIGNMENTS:
            raise unknown("alignment", self.align, _ALIGNMENTS)

    def cell(self, value: object) -> str:
        """One value as it is shown, on one line; a missing one (None) is '–'."""
        if value is None:
            return MISSING
        if self.show is not None:
            text = self.show(value)
        elif self.unit and _is_number(value):
            text = show_quantity(value, self.unit)
        else:
            text = f"{_plain(value)} {self.unit}".rstrip()
        return " ".join(text.split())


@dataclass(frozen=True, repr=False)
class Table:
    """Rows under columns, with a title above and a note below.

    A column may be given by its key alone; a row is a sequence of cells or a mapping by key, where a
    missing key is an empty cell. Raises DnnlabError for a row that does not fit the columns.

    >>> table = Table([Column("name"), Column("rate", "Rate", "FLOP/s")], [["T4", 65e12], ["own", None]])
    >>> table
    name        Rate
    ----  ----------
    T4    65 TFLOP/s
    own            –
    >>> table.json()
    '[{"name": "T4", "rate": 65000000000000.0}, {"name": "own", "rate": null}]'
    """

    columns: Sequence[Column | str]
    rows: Sequence[Sequence[object] | Mapping[str, object]]
    title: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        columns = tuple(Column(c) if isinstance(c, str) else c for c in self.columns)
        keys = [c.key for c in columns]
        if len(set(keys)) != len(keys):
            raise DnnlabError(f"a table needs a different key for each column, not {', '.join(keys)}")
        object.__setattr__(self, "columns", columns)
        object.__setattr__(self, "rows", tuple(_row(row, keys) for row in self.rows))

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        return self.html()

    def text(self, width: int | None = None) -> str:
        """Aligned plain text. Where it is wider than `width` characters, text columns are cut with '…'
        (a number is never cut, so a table of many numbers may stay wider)."""
        columns, cells, aligns = self._shown()
        lines = [[c.title for c in columns], *cells]
        widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
        while width is not None and sum(widths) + 2 * (len(widths) - 1) > width:
            cuttable = [i for i, align in enumerate(aligns) if align == "left" and widths[i] > 6]
            if not cuttable:
                break
            widths[max(cuttable, key=lambda i: widths[i])] -= 1
        lines.insert(1, ["-" * w for w in widths])
        body = ["  ".join(map(_fit, line, widths, aligns)).rstrip() for line in lines]
        return "\n".join([*filter(None, [self.title]), *body, *filter(None, [self.note])])

    def html(self) -> str:
        """A table for a notebook: captioned, its headers tied to rows and columns, escaped, without
        colours of its own, and scrolling in its own box when it is wider than the page."""
        columns, cells, aligns = self._shown()
        # A number and its unit stay on one line.
        nowrap = {"right": ";white-space:nowrap"}
        styles = [f' style="text-align:{align}{nowrap.get(align, "")}"' for align in aligns]

        def line(texts: Iterable[str], first: str, tag: str) -> str:
            tags = [first] + [tag] * len(columns)
            parts = zip(tags, styles, texts, strict=False)
            row = "".join(f"<{t}{style}>{text}</{t.split()[0]}>" for t, style, text in parts)
            return f"<tr>{row}</tr>"

        head = line((escape(c.title) + _room(c) for c in columns), 'th scope="col"', 'th scope="col"')
        body = "".join(line(map(escape, row), 'th scope="row"', "td") for row in cells)
        caption = f"<caption>{escape(self.title)}</caption>" if self.title else ""
        note = f'<p class="mathjax_ignore tex2jax_ignore">{escape(self.note)}</p>' if self.note else ""
        label = escape(self.title or "table")
        return (
            # Focusable, or a keyboard could not scroll it. Between two prices MathJax would see a formula.
            f'<div class="mathjax_ignore tex2jax_ignore" style="overflow-x:auto" tabindex="0" role="region" '
            f'aria-label="{label}">'
            f'<table style="font-variant-numeric:tabular-nums">{caption}<thead>{head}</thead>'
            f"<tbody>{body}</tbody></table></div>{note}"
        )

    def records(self) -> list[dict[str, object]]:
        """The rows as dictionaries of plain values: numbers, text, true and false, None, lists of them."""
        keys = [c.key for c in self._typed()]
        return [dict(zip(keys, map(_raw, row), strict=True)) for row in self.rows]

    def json(self, indent: int | None = None) -> str:
        """The rows as a JSON list of objects; a symbolic value is its text."""
        return json.dumps(self.records(), ensure_ascii=False, allow_nan=False, indent=indent)

    def csv(self) -> str:
        """The rows as CSV with a header of keys; an empty cell is a missing value, a list is its JSON."""
        lines: list[list[object]] = [[c.key for c in self._typed()]]
        for record in self.records():
            lines.append([json.dumps(v) if isinstance(v, (list, dict)) else v for v in record.values()])
        return "".join(map(_csv_line, lines))

    def _typed(self) -> list[Column]:
        return [c for c in self.columns if isinstance(c, Column)]

    def _shown(self) -> tuple[list[Column], list[list[str]], list[str]]:
        """The columns, the text of each cell by row, and the alignment of each column."""
        columns = self._typed()
        rows = [tuple(row) for row in self.rows]
        cells = [[c.cell(value) for c, value in zip(columns, row, strict=True)] for row in rows]
        aligns = []
        for i, column in enumerate(columns):
            present = [row[i] for row in rows if row[i] is not None]
            numeric = bool(present) and all(map(_is_number, present))
            aligns.append(column.align or ("right" if numeric else "left"))
        return columns, cells, aligns


def _row(row: Sequence[object] | Mapping[str, object], keys: list[str]) -> tuple[object, ...]:
    if isinstance(row, Mapping):
        for key in row:
            if key not in keys:
                raise unknown("column", key, keys)
        return tuple(row.get(key) for key in keys)
    if isinstance(row, str) or len(row) != len(keys):
        raise DnnlabError(f"a row needs {len(keys)} cells ({', '.join(keys)}), not {quote(row)}")
    return tuple(row)


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _plain(value: object) -> str:
    """A value without a unit as text: 25,557,032; 0.3333; 3×224×224; yes."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Integral):
        return f"{int(value):,}" if abs(int(value)) < 10**30 else show_quantity(value, "")
    if isinstance(value, Real):
        return f"{float(value):.4g}" if math.isfinite(value) else show_quantity(value, "")
    if isinstance(value, (tuple, list)):
        return (", " if any(isinstance(v, str) for v in value) else "×").join(map(str, value))
    return str(value)


def _raw(value: object) -> object:
    """A value as JSON knows it. NumPy and SymPy numbers become Python's, all that is unknown text."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        # JSON has no infinity.
        return float(value) if math.isfinite(value) else str(float(value))
    if isinstance(value, Mapping):
        return {str(key): _raw(v) for key, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [_raw(v) for v in value]
    return str(value)


def _csv_line(values: Sequence[object]) -> str:
    # The writer quotes a carriage return only where it ends its lines with one; ours end as Python's do.
    file = io.StringIO()
    csv.writer(file, lineterminator="\r\n").writerow(values)
    return file.getvalue().removesuffix("\r\n") + "\n"


def _room(column: Column) -> str:
    """An empty box that keeps a column wide. (JupyterLab drops a `min-width` until the reader runs the cell.)"""
    return f'<div style="width:{column.least / 2:g}em"></div>' if column.least else ""


def _fit(text: str, width: int, align: str) -> str:
    short = text if len(text) <= width else text[: width - 1] + "…"
    return {"left": short.ljust, "right": short.rjust, "center": short.center}[align](width)
