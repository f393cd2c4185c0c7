"""What a lecturer gets: `grades.csv`, a row for each student; `grades.json`, all there is; `report.txt`, to read.

The same notebooks give the same bytes, however the work was spread.
"""

from __future__ import annotations

import json
import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import DnnlabError, quote
from ..quiz.questions import UNKNOWN, Question
from ..quiz.verdicts import OPEN, RIGHT, UNREADABLE, WRONG, Verdict
from ..tables import Column, Table
from .grading import Grades, Student, status
from .submissions import clean

STATUSES = (RIGHT, WRONG, UNREADABLE, OPEN)


def misconceptions(grades: Grades) -> Table:
    """Which wrong turn how many students took, on which questions, and the part of the lectures to go through again."""
    students: dict[str, set[str]] = defaultdict(set)
    asked: dict[str, Counter[str]] = defaultdict(Counter)
    said: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
    for student, question, verdict in _counted(grades):
        if verdict.status == WRONG and verdict.note != UNKNOWN.id:
            students[verdict.note].add(student.name)
            asked[verdict.note][question.id] += 1
            said[verdict.note][verdict.message, verdict.see] += 1
    rows = []
    for note in sorted(students, key=lambda note: (-len(students[note]), note)):
        where = ", ".join(f"{id} ({times})" for id, times in sorted(asked[note].items(), key=_by_question))
        message, see = min(said[note], key=lambda words: (-said[note][words], words))
        rows.append((note, len(students[note]), where, message, see))
    heads = (Column("note"), Column("students"), Column("questions"), Column("message"), Column("lecture"))
    return Table(heads, rows, "Misconceptions, by the number of students who have one")


def by_question(grades: Grades) -> Table:
    """How each question went; `unexplained` are the wrong answers that no note fits."""
    counts = {question.id: Counter(status(student, question) for student in grades.students)
              for question in grades.questions}  # fmt: skip
    unexplained = Counter(question.id for _, question, verdict in _counted(grades) if verdict.note == UNKNOWN.id)
    heads = (Column("question"), Column("title"), Column("level"), *(Column(s.replace(" ", "_"), s) for s in STATUSES),
             Column("unexplained"))  # fmt: skip
    rows = [(q.id, q.title, q.level, *(counts[q.id][s] for s in STATUSES), unexplained[q.id]) for q in grades.questions]
    return Table(heads, rows, "Questions, by the number of students")


def by_student(grades: Grades) -> Table:
    """A row for each student: score, the status of each question with the note on it, and remarks."""
    heads = ("student", "score", "possible", "percent", *(s.replace(" ", "_") for s in STATUSES))
    columns = (*heads, *(question.id for question in grades.questions), "remarks")
    return Table(columns, [_row(grades, student) for student in grades.students])


def record(grades: Grades) -> dict[str, Any]:
    """All there is, as JSON holds it."""
    return {
        "possible": grades.possible,
        "questions": by_question(grades).records(),
        "misconceptions": misconceptions(grades).records(),
        "files_not_read": [{"file": file, "problem": problem} for file, problem in grades.problems],
        "students": [_record(grades, student) for student in grades.students],
    }


def text(grades: Grades) -> str:
    """The report to read: misconceptions first, then questions, files that were not read, and remarks."""
    scores = sorted(grades.score(student) for student in grades.students)
    middle = (scores[(len(scores) - 1) // 2] + scores[len(scores) // 2]) / 2
    head = f"{len(scores)} students, {len(grades.questions)} questions. Points: median {middle:g} of {grades.possible}"
    wrong = misconceptions(grades)
    parts = [f"{head}, from {scores[0]} to {scores[-1]}.", f"{wrong.title}{'' if wrong.rows else ': none'}"]
    parts += map(_misconception, wrong.records())
    parts.append(by_question(grades).text() if grades.questions else "No question was handed in.")
    unread = {f"{file} {problem}" for file, problem in grades.problems}
    remarks = [(s.name, remark) for s in grades.students for remark in s.remarks if remark not in unread]
    tables = (Table(("file", "why"), grades.problems, "Not read"), Table(("student", "remark"), remarks, "Remarks"))
    parts += [table.text() for table in tables if table.rows]
    return "\n\n".join(parts) + "\n"


def _misconception(row: Mapping[str, Any]) -> str:
    lines = textwrap.wrap(row["message"], 96, break_on_hyphens=False)
    again = [f"Again: {row['lecture']}"] if row["lecture"] else []
    head = f"{row['note']}: {row['students']} student{'s' if row['students'] != 1 else ''}, on {row['questions']}"
    return "\n    ".join([head, *lines, *again])


def write(folder: Path, grades: Grades) -> tuple[Path, ...]:
    """Write the three files; files of the same names from before are replaced."""
    contents = {
        "grades.csv": defused(by_student(grades)).csv(),
        "grades.json": json.dumps(record(grades), indent=1, allow_nan=False) + "\n",
        "report.txt": text(grades),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            (folder / name).write_text(content, encoding="utf-8", newline="\n")
    except OSError as error:
        raise DnnlabError(f"the grades cannot be written to {quote(str(folder))}: {error.strerror}") from None
    return tuple(folder / name for name in contents)


def defused(table: Table) -> Table:
    """The table with no cell that a spreadsheet would take for a formula: '=1+1' gets an apostrophe before it."""

    def cell(value: object) -> object:
        return f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@\t\r") and value else value

    return Table(table.columns, [[cell(v) for v in row.values()] for row in table.records()], table.title, table.note)


def _counted(grades: Grades) -> Iterator[tuple[Student, Question, Verdict]]:
    """Every verdict on a question that counts."""
    for student in grades.students:
        for question in grades.questions:
            if question.id in student.verdicts:
                yield student, question, student.verdicts[question.id]


def _row(grades: Grades, student: Student) -> tuple[Any, ...]:
    score, counts = grades.score(student), Counter(status(student, question) for question in grades.questions)
    percent = round(100 * score / grades.possible, 1) if grades.possible else 0.0
    cells = (f"{status(student, q)}: {_note(student, q)}".removesuffix(": ") for q in grades.questions)
    about = (student.name, score, grades.possible, percent, *(counts[s] for s in STATUSES))
    return (*about, *cells, "; ".join(student.remarks))


def _note(student: Student, question: Question) -> str:
    verdict = student.verdicts.get(question.id)
    return "" if verdict is None or verdict.note == UNKNOWN.id else verdict.note  # not "wrong: wrong"


def _record(grades: Grades, student: Student) -> dict[str, Any]:
    keys = ("question", "status", "points", "level", "note", "message", "see", "given", "answer", "notebook")
    rows = []
    for question in grades.questions:
        verdict = student.verdicts.get(question.id)
        if verdict is None:
            rows.append((question.id, OPEN, 0, question.level, "", "", "", "", None, ""))
        else:
            said = (verdict.note, clean(verdict.message, 1000), verdict.see, verdict.given, verdict.answer)
            points, file = student.points(question), student.notebooks[question.id]
            rows.append((question.id, verdict.status, points, question.level, *said, file))
    about = {"student": student.name, "score": grades.score(student), "remarks": list(student.remarks)}
    return about | {"answers": Table(keys, rows).records()}


def _by_question(item: tuple[str, int]) -> tuple[int, ...]:
    return tuple(int(part) for part in item[0].split("."))
