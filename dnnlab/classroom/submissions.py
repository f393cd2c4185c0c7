"""A notebook that was handed in, read as data: the answers that stand in it. Nothing of it is ever run.

An answer is what the source says, where that is written out (`literals`). Where it is not, it is the answer that
`check` left in the output of the cell; the verdict beside it is not looked at, so nothing is gained by changing it.
"""

from __future__ import annotations

import ast
import json
import os
import re
import stat
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DnnlabError, ReadError, quote
from ..quiz.answers import data
from ..quiz.bank import find
from ..quiz.questions import Question
from ..quiz.verdicts import ANSWER_TYPE
from .literals import Names, NotWritten, calls, parse, value

SUFFIX = ".ipynb"
DEEPEST = 20  # folders within folders
LARGEST = 16 * 2**20  # bytes of a notebook; pictures make one large, answers never do
_ASKED = re.compile(r"""\bcheck\(\s*["'](\d{1,2}\.\d{1,2})["']""")
_HIDDEN = "the answer is worked out by code that was not run; write it out, or run the cell and save the notebook"
_BROKEN = "the cell is not valid Python, or far too long"


@dataclass(frozen=True)
class Source:
    """A file that was handed in: where it is, its `name` for people, and the student whose folder holds it ("" where
    there are no such folders). With a `problem` it is not read."""

    path: Path
    name: str
    student: str
    problem: str = ""


@dataclass(frozen=True)
class Found:
    """The last answer to a question in a notebook: its value, `...` where it is left open, or the problem with it."""

    question: str
    value: Any = ...
    problem: str = ""

    @property
    def open(self) -> bool:
        return self.value is ... and not self.problem


@dataclass(frozen=True)
class Notebook:
    """What a notebook says: its answers, and the name and code that `student(...)` was given."""

    found: tuple[Found, ...]
    name: str = ""
    code: str = ""


def clean(text: str, longest: int = 200) -> str:
    """Text from outside on one line that can be shown anywhere: no control characters, no halves of characters."""
    shown = "".join(char if unicodedata.category(char)[0] != "C" else "\ufffd" for char in text[: longest + 1])
    return shown if len(text) <= longest else shown[: longest - 1] + "…"


def sources(folder: Path) -> tuple[Source, ...]:
    """Every notebook below a folder, in the order of their names.

    Files right in the folder belong to whom their `student(...)` names; a folder below it is a student's own, however
    deep the notebooks lie in it (nbgrader's `submitted/<student>/<assignment>/`). Links are not followed.
    """
    if not folder.is_dir():
        raise DnnlabError(f"{quote(str(folder))} is not a folder; name the one that holds what was handed in")
    return tuple(sorted(_walk(folder, folder), key=lambda source: source.name))


def _walk(folder: Path, root: Path) -> Iterator[Source]:
    def source(path: Path, problem: str = "") -> Source:
        parts = path.relative_to(root).parts
        own = len(parts) > 1 or (problem and path.suffix.lower() != SUFFIX)  # in the folder of a student, or that
        return Source(path, clean("/".join(parts), 500) or ".", clean(parts[0]) if own and parts else "", problem)

    try:
        with os.scandir(folder) as listing:
            entries = list(listing)
    except OSError as error:
        yield source(folder, f"cannot be opened: {error.strerror}")
        return
    for entry in entries:
        path = folder / entry.name
        notebook = path.suffix.lower() == SUFFIX
        if entry.name.startswith("."):
            continue
        if entry.is_symlink():
            if notebook or path.is_dir():
                yield source(path, "is a link; links are not followed")
        elif entry.is_dir():
            if notebook:
                yield source(path, "is a folder, not a notebook")
            elif len(path.relative_to(root).parts) > DEEPEST:
                yield source(path, f"lies too deep; at most {DEEPEST} folders are opened")
            else:
                inside = list(_walk(path, root))
                yield from inside or ([source(path, "holds no notebook")] if folder == root else [])
        elif notebook:
            yield source(path)


def content(source: Source) -> bytes:
    """The bytes of a file. Raises ReadError for what is no plain file, too large or not to be read."""
    # A pipe must not block, and a link that took the file's place a moment ago is not followed.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    try:
        with os.fdopen(os.open(source.path, flags), "rb") as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise ReadError("is not a plain file")
            if about.st_size > LARGEST:
                raise ReadError(f"has {about.st_size:,} bytes; at most {LARGEST:,} are read")
            return file.read(LARGEST)
    except OSError as error:
        raise ReadError(f"cannot be opened: {error.strerror}") from None


def read_notebook(text: bytes) -> Notebook:
    """The answers in a notebook. Raises ReadError where it is none, or asks no question of this course."""
    if not text.strip():
        raise ReadError("is empty")
    try:
        notebook = json.loads(text)
    except RecursionError:
        raise ReadError("is nested too deeply") from None
    except ValueError:
        raise ReadError("is not JSON in UTF-8: broken, cut short, or no notebook") from None
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list) or notebook.get("nbformat") != 4:
        raise ReadError("is not a notebook of format 4")
    names: Names = {}
    found: dict[str, Found] = {}
    who = ("", "")
    for cell in cells:
        if isinstance(cell, dict) and cell.get("cell_type") == "code":
            for answer in _read_cell(cell, names):
                if isinstance(answer, tuple):
                    who = answer
                elif answer.question not in found or not answer.open:
                    found[answer.question] = answer
    if not found:
        raise ReadError("holds no question of this course")
    return Notebook(tuple(found.values()), *who)


def _read_cell(cell: Mapping[str, Any], names: Names) -> Iterator[Found | tuple[str, str]]:
    """The answers of one cell, and the name and code of a `student(...)`."""
    source = cell.get("source", "")
    if isinstance(source, list):
        source = "".join(part for part in source if isinstance(part, str))
    recorded = _recorded(cell.get("outputs"))
    statements = parse(source) if isinstance(source, str) else []
    if statements is None:
        names.clear()
        yield from (Found(question, problem=_BROKEN) for question in _ASKED.findall(source) if _known(question))
        return
    for function, call, known in calls(statements, ("check", "student"), names):
        arguments = _arguments(call, ("name", "code") if function == "student" else ("question", "answer"), known)
        if function == "student":
            name, code = (part.strip()[:100] if isinstance(part, str) else "" for part in arguments)
            if name or code:
                yield name, code
        elif asked := _known(arguments[0]):
            yield _found(asked, arguments[1], recorded.pop(asked.id, ...))
    for question, answer in recorded.items():  # checked by code: in a loop, in a function
        if asked := _known(question):
            yield Found(asked.id, answer)


def _known(question: object) -> Question | None:
    try:
        return find(question)
    except DnnlabError:
        return None


def _arguments(call: ast.Call, parameters: tuple[str, str], names: Names) -> list[Any]:
    """The values of two arguments: `...` for one that is left out, NotWritten for one that is not written out."""
    given = dict(zip(parameters, call.args, strict=False)) | {word.arg or "": word.value for word in call.keywords}
    found: list[Any] = []
    for parameter in parameters:
        try:
            found.append(value(given[parameter], names) if parameter in given else ...)
        except NotWritten:
            found.append(NotWritten)
    return found


def _found(question: Question, written: Any, recorded: Any) -> Found:
    if written is ...:  # a guess from the lecture stands in the output alone
        return Found(question.id, recorded if question.prediction else ...)
    if written is not NotWritten:
        return Found(question.id, written)
    return Found(question.id, problem=_HIDDEN) if recorded is ... else Found(question.id, recorded)


def _recorded(outputs: Any) -> dict[str, Any]:
    """The answers that a cell's outputs carry, by question."""
    found: dict[str, Any] = {}
    for output in outputs if isinstance(outputs, list) else ():
        shown = output.get("data") if isinstance(output, dict) else None
        record = shown.get(ANSWER_TYPE) if isinstance(shown, dict) else None
        if isinstance(record, dict) and isinstance(record.get("question"), str):
            with suppress(ReadError):
                found[record["question"]] = data(record.get("answer"))
    return found
