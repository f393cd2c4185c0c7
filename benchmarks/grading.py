"""A class graded: `dnnlab grade` beside `nbgrader autograde` on the same notebooks."""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any

from .harness import ROOT, Candidate, Finding, Progress, Result, Run, Spread, answers, in_turn, ratio, run

NAME = "grading"
STUDENTS, ANSWERS, SAMPLE = 200, 20, 4
ABOUT = (
    f"{STUDENTS} students hand in a notebook of {ANSWERS} questions of all topics: answers that are right, wrong, open "
    "or cannot be read, each student with numbers of their own, and every fiftieth file is cut short. `dnnlab grade -j "
    f"2` grades all of them, its start included. nbgrader runs notebooks one after the other; it gets {SAMPLE} of them "
    "in a process that has imported it already, and its time is counted for each notebook."
)
SHEET = "sheet.ipynb"
BANK = ROOT / "tests" / "data" / "quiz" / "bank"


def measure(repeats: int, progress: Progress) -> Result:
    """Seconds and processor time of both, in turn."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        progress("the class is made")
        run(("-m", "benchmarks.grading", "class", name))
        ours = ("-m", "dnnlab", "grade", str(folder / "class"), "-j", "2", "--out", str(folder / "grades"))
        candidates = [Candidate("dnnlab grade", ours, ("dnnlab",))]
        peer = Candidate("nbgrader autograde", ("-m", "benchmarks.grading", "autograde", name), ("nbgrader",))
        if peer.missing is None:
            progress("the course is made")
            run(("-m", "benchmarks.grading", "course", name))
        runs, skipped = in_turn([*candidates, peer], repeats, progress)
        whole = json.loads((folder / "grades" / "grades.json").read_text(encoding="utf-8"))
    return Result(NAME, ABOUT, tuple(_findings(runs, whole)), skipped, _raw(runs))


def _findings(runs: dict[str, list[Run]], whole: Any) -> list[Finding]:
    ours = runs["dnnlab grade"]
    counts = [sum(question[status] for question in whole["questions"]) for status in ("right", "wrong")]
    if len(whole["students"]) != STUDENTS or min(counts) < STUDENTS or len(whole["files_not_read"]) != STUDENTS // 50:
        raise RuntimeError("the class was not graded as it was made")
    findings = [Finding(f"{STUDENTS} notebooks of {ANSWERS} answers, two processes", _spread(ours), "s", ("<=", 30))]
    if all(found.processor for found in ours):
        findings.append(Finding("its processor time", Spread.of(found.processor or 0 for found in ours), "s"))
    if theirs := runs.get("nbgrader autograde"):
        told = answers(theirs)
        mine = [found.seconds / STUDENTS for found in ours]
        findings.append(Finding("a notebook in nbgrader", Spread.of(found["wall"] for found in told), "s"))
        findings.append(
            Finding("times as fast as nbgrader", ratio([found["wall"] for found in told], mine), "×", (">=", 10))
        )
        if all(found.processor for found in ours):
            work = [(found.processor or 0) / STUDENTS for found in ours]
            spread = ratio([found["processor"] for found in told], work)
            findings.append(Finding("times less processor time than nbgrader", spread, "×", (">=", 10)))
    return findings


def _spread(runs: list[Run]) -> Spread:
    return Spread.of(found.seconds for found in runs)


def _raw(runs: dict[str, list[Run]]) -> dict[str, Any]:
    raw: dict[str, Any] = {f"{name}, seconds": [found.seconds for found in several] for name, several in runs.items()}
    raw["dnnlab grade, processor"] = [found.processor for found in runs["dnnlab grade"]]
    return raw | {"nbgrader, a notebook": answers(runs.get("nbgrader autograde", []))}


# -- what runs in processes of its own -------------------------------------------------------------------


def make_class(folder: Path) -> None:
    """The notebooks of all students, the same ones whenever they are made."""
    draw, forms = random.Random(5), _forms()
    sheet = _sheet(solved=False)
    for number in range(STUDENTS):
        notebook = json.loads(json.dumps(sheet))
        for cell in notebook["cells"]:
            text = "".join(cell["source"])
            id = text.partition('check("')[2].partition('"')[0]
            if id:
                cell["source"] = text.replace("answer = ...", f"answer = {_answer(draw, forms[id])}")
            cell["source"] = "".join(cell["source"]).replace("student(...)", f'student("student {number:03}")')
        whole = json.dumps(notebook)
        path = folder / "class" / f"student{number:03}" / "sheet" / SHEET
        path.parent.mkdir(parents=True)
        path.write_text(whole if number % 50 != 49 else whole[: len(whole) // 2], encoding="utf-8")


def _answer(draw: random.Random, forms: dict[str, Any]) -> str:
    """The source of an answer: more than half are right, where the numbers are everybody's."""
    kind = draw.choices(("accepted", "wrong", "invalid", "open"), (55, 25, 10, 10))[0]
    if kind == "open":
        return "..."
    form = draw.choice(forms[kind])
    return repr(form["answer"] if kind == "wrong" else form)


def _forms() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in sorted(BANK.glob("*.toml")):
        found |= tomllib.loads(path.read_text(encoding="utf-8"))
    return found


def _sheet(solved: bool) -> Any:
    """One notebook with questions of all topics."""
    paths = sorted((ROOT / ("solutions" if solved else "exercises")).glob("*.ipynb"))
    notebooks = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    setup = {"nbformat": 4, "nbformat_minor": 5, "metadata": notebooks[0]["metadata"]}
    first = [cell for cell in notebooks[0]["cells"] if cell["id"] in ("intro", "setup", "student")]
    asked = [[c for c in n["cells"] if c["id"].startswith("answer-")] for n in notebooks]
    in_turns = [cells[place] for place in range(max(map(len, asked))) for cells in asked if place < len(cells)]
    return setup | {"cells": [*first, *in_turns[:ANSWERS]]}


def make_course(folder: Path) -> None:
    """nbgrader's course with the same sheet, and the notebooks of some students handed in."""
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    source = folder / "source" / "sheet" / SHEET
    source.parent.mkdir(parents=True)
    source.write_text(json.dumps(_sheet(solved=True)), encoding="utf-8")
    _done(_nbgrader(folder).generate_assignment("sheet"))
    for number in range(SAMPLE):
        name = f"student{number:03}"
        (folder / "submitted").mkdir(exist_ok=True)
        (folder / "submitted" / name).symlink_to(folder / "class" / name)


def autograde(folder: Path) -> dict[str, float]:
    """Seconds and processor time of nbgrader for one notebook; the kernels' time counts, as they are its children."""
    os.environ["DNNLAB_PROGRESS"] = str(folder / "progress.json")
    nbgrader = _nbgrader(folder)
    begin, processor = time.perf_counter(), _processor()
    for number in range(SAMPLE):
        _done(nbgrader.autograde("sheet", f"student{number:03}", force=True))
    return {
        "wall": (time.perf_counter() - begin) / SAMPLE,
        "processor": (_processor() - processor) / SAMPLE,
    }


def _nbgrader(folder: Path) -> Any:
    from nbgrader.apps import NbGraderAPI  # type: ignore[import-untyped]
    from traitlets.config import Config  # type: ignore[import-untyped]

    config = Config()
    config.CourseDirectory.root = str(folder)
    config.CourseDirectory.course_id = "class"
    config.ClearSolutions.code_stub = {"python": "answer = ..."}
    return NbGraderAPI(config=config)


def _done(outcome: dict[str, Any]) -> None:
    if not outcome["success"]:
        raise RuntimeError(outcome["log"][-2000:])


def _processor() -> float:
    return sum(os.times()[:4])  # of this process and of children that have ended


if __name__ == "__main__":
    step, place = sys.argv[1], Path(sys.argv[2])
    if step == "autograde":
        print(json.dumps(autograde(place)))
    else:
        {"class": make_class, "course": make_course}[step](place)
