"""Tables and paragraphs as wide as a terminal: columns give way, or cells are wrapped."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Mapping, Sequence

from .tables import Column, Table

FALLBACK = 120  # where the output is no terminal


def width() -> int:
    """Characters in a line of the terminal, or as the variable COLUMNS says; at least 40."""
    return max(40, shutil.get_terminal_size((FALLBACK, 24)).columns)


def paragraph(text: str, label: str = "") -> str:
    """Text as wide as the terminal, behind a label."""
    indent = " " * len(label)
    lines = textwrap.wrap(text, width(), initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
    return label + "\n".join(lines)[len(label) :]


def fitted(table: Table, give_way: Sequence[str] = ()) -> str:
    """The table on one line a row: columns that `give_way` names are left out, in that order, before any text
    is cut short."""
    records, heads = _records(table), _columns(table)
    needs = {head.key: max(len(t) for t in (head.title, *(head.cell(r[head.key]) for r in records))) for head in heads}
    for gone in give_way:
        if sum(needs.values()) + 2 * (len(needs) - 1) <= width():
            break
        del needs[gone]
    shown = [head for head in heads if head.key in needs]
    narrow = Table(shown, [[record[head.key] for head in shown] for record in records], table.title)
    return "\n".join([narrow.text(width()), *([paragraph(table.note)] if table.note else [])])


def wrapped(table: Table, sizes: Mapping[str, float]) -> str:
    """The table with long cells wrapped. `sizes` gives the width of some columns by key: a number of
    characters, or as a fraction a share of what the others leave.

    Rows whose first cell repeats are one group: it is named once, and a blank line stands before it.
    """
    heads = _columns(table)
    cells = [[head.cell(record[head.key]) for head in heads] for record in _records(table)]
    widths = [
        sizes.get(head.key, max(len(text) for text in (head.title, *(row[place] for row in cells))))
        for place, head in enumerate(heads)
    ]
    rest = width() - 2 * (len(heads) - 1) - sum(size for size in widths if size >= 1)
    fixed = [int(size) if size >= 1 else max(12, int(size * rest)) for size in widths]
    lines = [*filter(None, [table.title]), *_line([head.title for head in heads], fixed)]
    lines.append("  ".join("-" * size for size in fixed))
    grouped = len({row[0] for row in cells}) < len(cells)
    before = None
    for row in cells:
        if grouped and row[0] != before:
            lines.append("")
        lines += _line(["" if grouped and row[0] == before else row[0], *row[1:]], fixed)
        before = row[0]
    return "\n".join([*lines, *(["", paragraph(table.note)] if table.note else [])])


def _line(texts: Iterable[str], sizes: Sequence[int]) -> list[str]:
    """One row, over as many lines as its longest cell needs."""
    # a quotient such as ⌈h / stride⌉ stays on one line
    parts = [textwrap.wrap(t.replace(" / ", "\u00a0/\u00a0"), n) or [""] for t, n in zip(texts, sizes, strict=True)]
    lines = []
    for place in range(max(map(len, parts))):
        line = [part[place] if place < len(part) else "" for part in parts]
        padded = (f"{text:<{size}}" for text, size in zip(line, sizes, strict=True))
        lines.append("  ".join(padded).replace("\u00a0", " ").rstrip())
    return lines


def _columns(table: Table) -> list[Column]:
    return [column for column in table.columns if isinstance(column, Column)]


def _records(table: Table) -> list[dict[str, object]]:
    keys = [column.key for column in _columns(table)]
    return [dict(zip(keys, tuple(row), strict=True)) for row in table.rows]
