"""Grades into nbgrader's gradebook, so that its exports and its feedback show them."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from ..errors import DnnlabError, quote
from .grading import Grades, Student
from .submissions import clean
from .trees import ANSWER_CELL


def put(grades: Grades, url: str) -> int:
    """Put the grades into the gradebook at `url`; returns how many.

    `nbgrader generate_assignment` has made its assignments before; `nbgrader autograde` need not have run. A student's
    notebook belongs to the assignment that has one of its name. Each answer's points become its manual score, and what
    was said of it the comment. Raises DnnlabError where nbgrader is missing or no assignment has one of the notebooks.
    """
    try:
        from nbgrader.api import Gradebook
        from sqlalchemy.exc import SQLAlchemyError
    except ImportError:
        raise DnnlabError("the gradebook needs nbgrader: pip install 'dnnlab[nbgrader]'") from None
    try:
        with Gradebook(url) as book:
            number = _put_all(grades, book)
            book.db.commit()
    except (OSError, SQLAlchemyError) as error:
        told = " ".join(f"the gradebook at {quote(url)} cannot be used: {error}".split())
        raise DnnlabError(f"{told[:300]}; expected one such as sqlite:///gradebook.db") from None
    if not number:
        told = f"no assignment in {url} has the notebooks that were graded"
        raise DnnlabError(f"{told}; run `nbgrader generate_assignment` first, with solutions/ as its source")
    return number


def _put_all(grades: Grades, book: Any) -> int:
    """Put each student's answers into the assignments that have a notebook of the same name."""
    number = 0
    assignments = {assignment.name: {nb.name for nb in assignment.notebooks} for assignment in book.assignments}
    for student in grades.students:
        handed_in = {PurePosixPath(file).stem for file in student.notebooks.values()}
        for assignment, names in assignments.items():
            if handed_in & names:
                book.update_or_create_student(student.name)
                number += _put(grades, student, book.update_or_create_submission(assignment, student.name))
    return number


def _put(grades: Grades, student: Student, submission: Any) -> int:
    cells = {f"{ANSWER_CELL}{question.id.replace('.', '-')}": question for question in grades.questions}
    number = 0
    for notebook in submission.notebooks:
        for grade in notebook.grades:
            if grade.name in cells:
                grade.manual_score = float(student.points(cells[grade.name]))
                grade.needs_manual_grade = False
                number += 1
        for comment in notebook.comments:
            verdict = student.verdicts.get(cells[comment.name].id) if comment.name in cells else None
            if verdict is not None:
                comment.manual_comment = clean(f"{verdict.status}: {verdict.message}".removesuffix(": "), 2000)
    return number
