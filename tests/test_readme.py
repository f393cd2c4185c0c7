"""What the README promises: its Python examples run, and what it points to is there."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", "CONTRIBUTING.md")


def test_examples_of_the_readme_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DNNLAB_PROGRESS", str(tmp_path / "progress.json"))
    text = (ROOT / "README.md").read_text("utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert blocks
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    runner = doctest.DocTestRunner(optionflags=flags)
    names: dict[str, object] = {}  # one reader, one session: later blocks use the names of earlier ones
    for block in blocks:
        found = doctest.DocTestParser().get_doctest(block, names, "README.md", "README.md", 0)
        said: list[str] = []
        runner.run(found, out=said.append, clear_globs=False)
        names = found.globs
        assert runner.summarize(verbose=False).failed == 0, "".join(said)


def test_links_of_the_pages_lead_somewhere() -> None:
    for page in PAGES:
        text = (ROOT / page).read_text("utf-8")
        targets = {x.split("#")[0] for x in re.findall(r"\]\(([^)\s]+)\)", text) if ":" not in x}
        assert [x for x in sorted(targets) if x and not (ROOT / x).exists()] == [], page


def test_map_of_the_code_names_every_room() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    table = re.search(r"^\| room of `dnnlab` .*?(?=^\n)", text, re.MULTILINE | re.DOTALL)
    assert table is not None
    rows = table[0].splitlines()[2:]
    told = {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    inside = (x for x in (ROOT / "dnnlab").iterdir() if x.is_dir() or x.suffix == ".py")
    assert told == {x.stem for x in inside if not x.name.startswith("_")}
