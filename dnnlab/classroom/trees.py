"""`solutions/` is what the authors write; `exercises/` is made from it, and this room says when the two differ.

The marks are those of nbgrader, and so is what becomes of them: what stands between `### BEGIN SOLUTION` and
`### END SOLUTION` becomes a stub, outputs and execution counts go. A student needs no nbgrader for that, and neither
does `dnnlab build`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import DnnlabError, quote

BEGIN, END = "BEGIN SOLUTION", "END SOLUTION"
STUB = "answer = ..."
#: The id of the cell that answers a question, as nbgrader's gradebook knows it: "answer-2-1".
ANSWER_CELL = "answer-"


def exercise(solutions: str, name: str = "the notebook") -> str:
    """The text of an exercise notebook, from that of a solutions notebook; `name` is for the messages.

    Raises DnnlabError where it is no notebook of format 4, where a mark has no partner, where a solution stands in a
    cell that nbgrader does not know as one, and where such a cell marks nothing.
    """
    try:
        notebook = json.loads(solutions)
        cells = notebook["cells"]
        if notebook["nbformat"] != 4:
            raise KeyError
    except (ValueError, KeyError, TypeError):
        raise DnnlabError(f"{name} is not a notebook of format 4; save it anew from JupyterLab") from None
    for place, cell in enumerate(cells, 1):
        _clear(cell, f"{name}, cell {place}")
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def build(solutions: Path, exercises: Path) -> tuple[str, ...]:
    """Write every exercise that differs from its solutions; returns the names of those that were written."""
    made = {name: text for name, text in _made(solutions).items() if _text(exercises / name) != text}
    exercises.mkdir(parents=True, exist_ok=True)
    for name, text in made.items():
        (exercises / name).write_text(text, encoding="utf-8", newline="\n")
    return tuple(made)


def out_of_step(solutions: Path, exercises: Path) -> dict[str, str]:
    """The exercises that are not what `build` would write, each with what is wrong with it."""
    made = _made(solutions)
    wrong = {}
    for name, text in made.items():
        found = _text(exercises / name)
        if found != text:
            wrong[name] = "is missing" if found is None else f"is not what {solutions.name}/{name} makes"
    kept = {path.name for path in exercises.glob("*.ipynb")} if exercises.is_dir() else set()
    return wrong | {name: f"has no source in {solutions.name}; delete it" for name in sorted(kept - made.keys())}


def _made(solutions: Path) -> dict[str, str]:
    """The texts of all exercises by the name of their file."""
    paths = sorted(solutions.glob("*.ipynb")) if solutions.is_dir() else []
    if not paths:
        raise DnnlabError(
            f"{quote(str(solutions))} holds no notebooks; run this where solutions/ is, or name the folder"
        )
    return {path.name: exercise(_text(path) or "", f"{solutions.name}/{path.name}") for path in paths}


def _text(path: Path) -> str | None:
    """The text of a file, exactly; None where there is none."""
    try:
        return path.read_bytes().decode("utf-8", "replace")
    except OSError:
        return None


def _clear(cell: dict[str, Any], where: str) -> None:
    """Clear one cell: its solution becomes the stub, and nothing that a run left stays."""
    source = cell.get("source", "")
    lines = (source if isinstance(source, str) else "".join(source)).split("\n")
    marked = bool(cell.get("metadata", {}).get("nbgrader", {}).get("solution"))
    if marked != any(BEGIN in line for line in lines):
        told = f"is a solution cell without a '### {BEGIN}'" if marked else "holds a solution and is not marked as one"
        raise DnnlabError(f"{where}: {told}; see nbgrader's cell metadata, solution: true")
    cell["source"] = "\n".join(_without_solution(lines, where)).splitlines(keepends=True)
    if cell.get("cell_type") == "code":
        cell["outputs"], cell["execution_count"] = [], None
        for left in ("collapsed", "scrolled", "execution"):
            cell["metadata"].pop(left, None)


def _without_solution(lines: list[str], where: str) -> list[str]:
    kept, inside = [], False
    for line in lines:
        if BEGIN in line or END in line:
            if (BEGIN in line) == inside:
                raise DnnlabError(f"{where}: '{line.strip()[:60]}' has no partner")
            if not inside:
                kept.append(line[: len(line) - len(line.lstrip())] + STUB)
            inside = not inside
        elif not inside:
            kept.append(line)
    if inside:
        raise DnnlabError(f"{where}: its '### {BEGIN}' has no '### {END}'")
    return kept
