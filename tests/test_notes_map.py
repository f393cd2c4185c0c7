"""The page that maps each line of the lecture notes to its place: every place is there, and no line is missing."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from dnnlab.notes import notes

ROOT = Path(__file__).resolve().parent.parent
ROWS = [
    [cell.strip() for cell in line.strip().strip("|").split(" | ")]
    for line in (ROOT / "docs" / "lecture-notes.md").read_text("utf-8").splitlines()
    if line.startswith("| ") and not line.startswith(("| notes", "| ---"))
]
#: How many rows, cells and sentences of the notes there are outside the tables that `dnnlab.notes` holds.
OTHERS = {"Computational view": 12, "Bounds": 16, "Double buffering": 3, "Checkpointing": 3}


def section(name: str, heading: str) -> str:
    """The text of all cells of a notebook from a heading to the next."""
    cells = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text("utf-8"))["cells"]
    text = "\n".join("".join(c["source"]) for c in cells)
    found = re.search(rf"^##? {re.escape(heading)}$(.*?)(?=^##? |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"{name} has no section {heading!r}"
    return found[1]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_each_line_of_the_notes_is_where_the_page_says(row: list[str]) -> None:
    _, name, heading, shown = row
    assert shown.strip("`") in section(name, heading)


def test_no_line_of_the_notes_is_missing() -> None:
    items = [row[0] for row in ROWS]
    assert len(set(items)) == len(items)
    for entry in notes()["epoch"]:
        assert {f"Epoch: {entry['name'].lower()}, {c}" for c in ("bottleneck", "compute", "memory")} <= {*items}
    assert {f"Layers: {entry['name']}" for entry in notes()["layers"]} <= {*items}
    assert {f"Symbols: {entry['symbol']}" for entry in notes()["symbols"]} <= {*items}
    for group, count in OTHERS.items():
        assert sum(item.startswith(f"{group}: ") for item in items) == count, group
