"""Notebooks as students hand them in, for the tests of what reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dnnlab.quiz.bank import questions
from dnnlab.quiz.kinds import Number
from dnnlab.quiz.questions import Question, nothing
from dnnlab.quiz.session import folded
from dnnlab.quiz.verdicts import ANSWER_TYPE

RIGHT, HALF = "k·2·rs·wh·c", "k·rs·wh·c"  # answers to 2.1: the formula, and the one of who counts MACs


def cell(source: str, recorded: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A cell of code; `recorded` are answers, by question, that its output holds beside a verdict."""
    outputs = [
        {
            "output_type": "execute_result",
            "execution_count": 1,
            "metadata": {},
            "data": {"text/plain": f"✓ {id}: right.", ANSWER_TYPE: {"question": id, "answer": answer}},
        }
        for id, answer in (recorded or {}).items()
    ]
    about = {"id": "c", "metadata": {}, "execution_count": None}
    return {"cell_type": "code", "source": source.splitlines(keepends=True), "outputs": outputs, **about}


def notebook(*cells: str | dict[str, Any]) -> bytes:
    """The bytes of a notebook; a cell of code may be given by its source."""
    parts = [cell(part) if isinstance(part, str) else part for part in cells]
    for place, part in enumerate(parts):
        part["id"] = f"c{place}"
    return json.dumps({"cells": parts, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}).encode()


def answering(**answers: str) -> bytes:
    """A notebook as it is handed in: `who` is what `student` is called with, `q2_1` the source of an answer."""
    cells = ["from dnnlab.quiz import check, student", f"student({answers.pop('who', '...')})"]
    for name, source in answers.items():
        cells.append(f'answer = {source}\ncheck("{name[1:].replace("_", ".")}", answer)')
    return notebook(*cells)


def hand_in(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write files below a folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def seeded() -> Question:
    """A question whose numbers differ from student to student, and with them the answer."""
    for question in questions():
        if question.draw is not nothing and isinstance(question, Number) and own(question, "a") != own(question, "b"):
            return question
    raise AssertionError("no question of the bank has numbers of one's own")


def own(question: Question, seed: str) -> str:
    """The right answer of the student with this seed, as Python source."""
    assert isinstance(question, Number)
    return repr(f"{float(question.expected(question.given(folded(seed)))):.12g} {question.unit}".strip())
