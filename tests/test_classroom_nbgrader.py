"""Beside nbgrader: it releases, collects and runs the notebooks, and its gradebook takes the grades."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from classes import HALF, RIGHT, answering, hand_in
from click.testing import CliRunner

from dnnlab.classroom.gradebook import put
from dnnlab.classroom.grading import Grades, grade
from dnnlab.classroom.workers import local
from dnnlab.cli import main
from dnnlab.errors import DnnlabError
from dnnlab.quiz.bank import topic

pytest.importorskip("nbgrader", reason="the extra nbgrader is not installed")
pytestmark = [
    pytest.mark.timeout(600),  # nbgrader starts a kernel for each notebook, and the tools of its database as commands
    pytest.mark.filterwarnings("ignore:Object of type"),  # of nbgrader's own use of SQLAlchemy
]

ROOT = Path(__file__).parents[1]
NAME = "02_layer_costs.ipynb"
WEEK = Path("week1", NAME)
STUB = {"python": "answer = ..."}  # as the README tells a lecturer
POSSIBLE = sum(question.level for question in topic(2))


class Course:
    """A course in a folder of its own that has released the solutions of one topic as week 1."""

    def __init__(self, folder: Path, stub: dict[str, str] | None) -> None:
        from nbgrader.apps import NbGraderAPI
        from traitlets.config import Config

        config = Config()
        config.CourseDirectory.root = str(folder)
        config.CourseDirectory.course_id = "costs"
        if stub:
            config.ClearSolutions.code_stub = stub
        self.folder, self.url = folder, f"sqlite:///{folder / 'gradebook.db'}"
        self.nbgrader = NbGraderAPI(config=config)
        (folder / "source" / "week1").mkdir(parents=True)
        shutil.copy(ROOT / "solutions" / NAME, folder / "source" / WEEK)
        self.done(self.nbgrader.generate_assignment("week1"))

    def done(self, outcome: Any) -> None:
        assert outcome["success"], outcome["log"] + str(outcome.get("error"))

    def released(self) -> Any:
        return json.loads((self.folder / "release" / WEEK).read_text(encoding="utf-8"))

    def hand_back(self, student: str, answers: dict[str, str]) -> None:
        """What a student makes of the released notebook: the cell of a question gets an answer."""
        notebook = self.released()
        for cell in notebook["cells"]:
            for id, answer in answers.items():
                if f'check("{id}"' in "".join(cell["source"]):
                    cell["source"] = f'answer = {answer!r}\ncheck("{id}", answer)'
        hand_in(self.folder / "submitted" / student, {str(WEEK): json.dumps(notebook).encode()})

    def graded(self) -> Grades:
        with local(1) as spread:
            return grade(self.folder / "submitted", spread)

    def exported(self) -> dict[str, tuple[float, float]]:
        """Score and greatest score of each student, as `nbgrader export` writes them."""
        from nbgrader.api import Gradebook
        from nbgrader.plugins import CsvExportPlugin

        path = self.folder / "grades.csv"
        with Gradebook(self.url) as book:
            CsvExportPlugin(to=str(path)).export(book)
        with path.open(newline="") as file:
            return {row["student_id"]: (float(row["score"]), float(row["max_score"])) for row in csv.DictReader(file)}


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an activated environment has: commands on the path; and kernels find dnnlab."""
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("DNNLAB_PROGRESS", str(tmp_path / "progress.json"))


def test_release_collect_autograde_and_the_grades_of_dnnlab(tmp_path: Path) -> None:
    course = Course(tmp_path, STUB)
    ours = json.loads((ROOT / "exercises" / NAME).read_text(encoding="utf-8"))["cells"]
    assert [cell["source"] for cell in course.released()["cells"]] == [cell["source"] for cell in ours]
    course.hand_back("ada", {"2.1": RIGHT, "2.2": "k"})
    course.hand_back("bob", {"2.1": HALF})
    course.done(course.nbgrader.autograde("week1", "bob"))  # runs the notebook: nothing in it stops that
    assert course.exported() == {"bob": (0, POSSIBLE)}
    options = ["-j", "1", "--out", str(tmp_path / "out"), "--gradebook", course.url]
    done = CliRunner().invoke(main, ["grade", str(tmp_path / "submitted"), *options])
    assert done.exit_code == 0, done.output
    assert f"{2 * len(topic(2))} grades are in" in done.stdout
    assert course.exported() == {"ada": (1, POSSIBLE), "bob": (0, POSSIBLE)}
    course.done(course.nbgrader.generate_feedback("week1", "bob"))
    page = (tmp_path / "feedback" / "bob" / WEEK).with_suffix(".html").read_text(encoding="utf-8")
    assert "wrong: This is exactly half" in page


def test_grades_need_no_autograding_and_no_stub_of_ours(tmp_path: Path) -> None:
    """With nbgrader's own stub a cell raises before it checks; what is not replaced is not attempted."""
    course = Course(tmp_path, None)
    course.hand_back("ada", {"2.1": RIGHT})
    course.hand_back("bob", {"2.1": HALF})
    grades = course.graded()
    assert [set(student.verdicts) for student in grades.students] == [{"2.1"}, {"2.1"}]
    assert put(grades, course.url) == put(grades, course.url) == 2 * len(topic(2))
    assert course.exported() == {"ada": (1, POSSIBLE), "bob": (0, POSSIBLE)}


def test_a_gradebook_without_the_assignment_is_refused(tmp_path: Path) -> None:
    hand_in(tmp_path / "submitted", {"ada/week1/02.ipynb": answering(q2_1=repr(RIGHT))})
    with local(1) as spread:
        grades = grade(tmp_path / "submitted", spread)
    with pytest.raises(DnnlabError, match="generate_assignment"):
        put(grades, f"sqlite:///{tmp_path / 'gradebook.db'}")
    for wrong in ("nonsense", "sqlite:////nowhere/at/all.db"):
        with pytest.raises(DnnlabError, match="cannot be used"):
            put(grades, wrong)
