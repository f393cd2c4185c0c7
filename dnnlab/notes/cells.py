"""One cell of the notes beside what is derived, and how a formula of theirs is compared."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import sympy

from ..notation import Dim, symbol
from ..tables import Column, Table

#: "agrees": under the assumptions beside it; "holds when": under the condition; "is short": it leaves something
#: out; "open": the notes' cell is empty.
VERDICTS = ("agrees", "holds when", "is short", "open")
#: What grows with a layer; the window of r x s is chosen.
SIZES = frozenset(map(symbol, "nkchwtm"))


@dataclass(frozen=True)
class Cell:
    """One cell of the notes: where it stands, what it says, what is derived, a verdict from `VERDICTS`, and
    the condition under which the note holds."""

    table: str
    row: str
    column: str
    note: str
    derived: str
    verdict: str
    condition: str = ""


def compare(note: Dim, derived: Dim) -> tuple[str, str]:
    """Verdict and condition for a formula of the notes beside the derived one, exactly.

    Where they differ, each symbol that could make them equal is solved for.

    >>> from dnnlab.notation import read_formula
    >>> compare(read_formula("k"), read_formula("c*k"))
    ('is short', 'agrees only when c = 1')
    """
    difference = sympy.expand(sympy.sympify(derived) - note)
    if difference == 0:
        return "agrees", ""
    roots = [
        f"{name} = {root}"
        for name in sorted(difference.free_symbols, key=str)
        for root in sympy.solve(difference, name)
        if root.is_Integer and root > 0
    ]
    return "is short", f"agrees only when {' or '.join(roots)}" if roots else "never agrees"


def bounded(count: Dim) -> bool:
    """Is a count O(1): does it stay below some number however large the layer grows?

    >>> from dnnlab.notation import read_formula
    >>> bounded(read_formula("8 + 14/(w*h)")), bounded(read_formula("2*c"))
    (True, False)
    """
    factors = (
        (base, power)
        for term in sympy.Add.make_args(sympy.expand(count))
        for base, power in term.as_powers_dict().items()
    )
    return all(power <= 0 for base, power in factors if base.free_symbols & SIZES)


@cache
def notes() -> dict[str, Any]:
    """The notes' tables as they are written in data/notes.toml."""
    return tomllib.loads((files("dnnlab") / "data" / "notes.toml").read_text(encoding="utf-8"))


def table_of(cells: Iterable[Cell], what: str, title: str, note: str = "") -> Table:
    """Cells as a table, a row each; `what` names the rows."""
    columns = (
        Column("row", what),
        Column("column"),
        Column("derived"),
        Column("note", "the notes"),
        Column("verdict", "the note"),
        Column("condition"),
    )
    return Table(columns, [[getattr(cell, c.key) or None for c in columns] for cell in cells], title, note)
