"""`exercises/` is made from `solutions/`, holds no answer, and both run from top to bottom as they should."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from dnnlab.classroom.grading import judge_all, read_one
from dnnlab.classroom.submissions import Notebook
from dnnlab.classroom.trees import ANSWER_CELL, BEGIN, END, STUB, build, exercise, out_of_step
from dnnlab.cli import main
from dnnlab.errors import DnnlabError
from dnnlab.quiz.bank import TOPICS, questions, topic
from dnnlab.quiz.kinds import Choice
from dnnlab.quiz.questions import Question
from dnnlab.quiz.verdicts import OPEN, RIGHT

ROOT = Path(__file__).parents[1]
SOLUTIONS, EXERCISES = ROOT / "solutions", ROOT / "exercises"
NAMES = [f"{topic.name}.ipynb" for topic in TOPICS.values()]
BANK = ROOT / "tests" / "data" / "quiz" / "bank"


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def source(cell: Any) -> str:
    return "".join(cell["source"])


def solving(text: str, **about: Any) -> str:
    """A notebook of one cell that nbgrader knows as a solution."""
    metadata = {"nbgrader": {"solution": True}, "collapsed": True, "tags": ["kept"]}
    cell = {
        "cell_type": "code",
        "id": "one",
        "metadata": metadata,
        "source": text,
        "outputs": [1],
        "execution_count": 7,
    }
    return json.dumps({"cells": [cell | about], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


# -- how an exercise is made -----------------------------------------------------------------------------


def test_the_solution_becomes_a_stub_and_all_else_stays() -> None:
    text = f'a = 1\n    ### {BEGIN}\n    answer = "k"\n    more = 2\n    ### {END}\ncheck("2.1", answer)'
    (cell,) = json.loads(exercise(solving(text)))["cells"]
    assert source(cell) == f'a = 1\n    {STUB}\ncheck("2.1", answer)'
    assert (cell["outputs"], cell["execution_count"], cell["id"]) == ([], None, "one")
    assert cell["metadata"] == {"nbgrader": {"solution": True}, "tags": ["kept"]}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("not json", "not a notebook"),
        ('{"cells": [], "nbformat": 3}', "not a notebook"),
        (solving("answer = 1"), "without a '### BEGIN SOLUTION'"),
        (solving(f"### {BEGIN}\nanswer = 1"), "has no '### END SOLUTION'"),
        (solving(f"### {BEGIN}\n### {BEGIN}\n### {END}"), "has no partner"),
        (solving(f"### {BEGIN}\n### {END}\n### {END}"), "has no partner"),
        (solving(f"### {BEGIN}\n### {END}", metadata={}), "not marked as one"),
    ],
)
def test_what_no_exercise_can_be_made_of(text: str, told: str) -> None:
    with pytest.raises(DnnlabError, match=re.escape(told)):
        exercise(text, "solutions/x.ipynb")


LINES = st.lists(st.text("ab =#\t", max_size=6), max_size=4)


@given(st.lists(st.tuples(LINES, LINES, st.booleans()), min_size=1, max_size=4), st.integers(1, 9))
def test_exercises_are_what_nbgrader_makes(cells: list[tuple[list[str], list[str], bool]], count: int) -> None:
    nbformat = pytest.importorskip("nbformat")
    preprocessors = pytest.importorskip("nbgrader.preprocessors")
    notebook = nbformat.v4.new_notebook()
    for place, (outside, inside, solution) in enumerate(cells):
        lines = [*outside, f"  ### {BEGIN}", *inside, f"  ### {END}", *outside] if solution else [*outside, "x = 1"]
        output = nbformat.v4.new_output("stream", text="something")
        cell = nbformat.v4.new_code_cell("\n".join(lines), execution_count=count, outputs=[output], id=f"c{place}")
        cell.metadata["nbgrader"] = {"solution": solution, "grade": solution, "grade_id": f"c{place}"}
        notebook.cells += [cell, nbformat.v4.new_markdown_cell("\n".join(outside), id=f"m{place}")]
    ours = exercise(nbformat.writes(notebook))
    clear = preprocessors.ClearSolutions(code_stub={"python": STUB})
    theirs, _ = clear.preprocess(notebook, {})
    theirs, _ = preprocessors.ClearOutput().preprocess(theirs, {})
    assert ours == nbformat.writes(theirs) + "\n"


@pytest.mark.parametrize("name", NAMES)
def test_the_project_s_own_exercises_are_what_nbgrader_makes(name: str) -> None:
    nbformat = pytest.importorskip("nbformat")
    preprocessors = pytest.importorskip("nbgrader.preprocessors")
    notebook = nbformat.read(SOLUTIONS / name, as_version=4)
    nbformat.validate(notebook)
    preprocessors.CheckCellMetadata().preprocess(notebook, {})
    theirs, _ = preprocessors.ClearSolutions(code_stub={"python": STUB}).preprocess(notebook, {})
    theirs, _ = preprocessors.ClearOutput().preprocess(theirs, {})
    assert (EXERCISES / name).read_bytes().decode() == nbformat.writes(theirs) + "\n"


# -- the two trees ---------------------------------------------------------------------------------------


def test_exercises_are_in_step() -> None:
    assert out_of_step(SOLUTIONS, EXERCISES) == {}
    assert sorted(path.name for path in EXERCISES.glob("*")) == NAMES


def test_the_check_names_what_is_out_of_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(SOLUTIONS, "solutions", ignore=shutil.ignore_patterns(".*"))
    run = CliRunner().invoke
    missing = run(main, ["build", "--check"])
    assert missing.exit_code == 2 and "02_layer_costs.ipynb is missing" in missing.stderr
    assert "run: dnnlab build" in missing.stderr and not Path("exercises").exists()
    built = run(main, ["build"])
    assert built.exit_code == 0 and built.stdout.count("wrote ") == len(NAMES)
    assert [(EXERCISES / name).read_bytes() for name in NAMES] == [Path("exercises", n).read_bytes() for n in NAMES]
    assert run(main, ["build"]).stdout == ""  # nothing to write any more
    assert run(main, ["build", "--check"]).exit_code == 0
    changed = Path("exercises", NAMES[1])
    changed.write_bytes(changed.read_bytes() + b" ")
    stray = Path("exercises", "99_other.ipynb")
    stray.write_text("{}")
    wrong = run(main, ["build", "--check"])
    assert wrong.exit_code == 2 and f"{NAMES[1]} is not what solutions/{NAMES[1]} makes" in wrong.stderr
    assert "99_other.ipynb has no source in solutions; delete it" in wrong.stderr
    assert build(Path("solutions"), Path("exercises")) == (NAMES[1],) and stray.exists()


@pytest.mark.parametrize("name", NAMES)
def test_every_question_has_a_cell_that_nbgrader_can_grade(name: str) -> None:
    number = int(name[:2])
    cells = [cell for cell in read(SOLUTIONS / name)["cells"] if cell["metadata"]["nbgrader"]["solution"]]
    asked = topic(number)
    assert [re.findall(r'check\("(.*?)"', source(cell)) for cell in cells] == [[question.id] for question in asked]
    for cell, question in zip(cells, asked, strict=True):
        about = cell["metadata"]["nbgrader"]
        assert about["grade_id"] == ANSWER_CELL + question.id.replace(".", "-")
        assert (about["grade"], about["points"]) == (True, question.level)


# -- no answer leaks -------------------------------------------------------------------------------------


def squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text)


@pytest.mark.parametrize("name", NAMES)
def test_no_line_of_a_solution_and_no_accepted_answer_stands_in_an_exercise(name: str) -> None:
    text = "\n".join(source(cell) for cell in read(EXERCISES / name)["cells"])
    for cell in read(SOLUTIONS / name)["cells"]:
        for inside in re.findall(rf"### {BEGIN}\n(.*?)### {END}", source(cell), re.DOTALL):
            for line in inside.splitlines():
                assert line.strip() not in text, line
    forms = tomllib.loads((BANK / f"{name[3:-6]}.toml").read_text(encoding="utf-8"))
    for question in topic(int(name[:2])):
        for form in forms[question.id]["accepted"]:
            if isinstance(form, str) and len(squeezed(form)) >= 6 and form not in getattr(question, "options", ()):
                assert squeezed(form) not in squeezed(text), (question.id, form)


def said(text: str) -> Iterable[str]:
    """All in a text that could be an answer: what is set as code or quoted, numbers with what follows, whole lines."""
    yield from re.findall(r"`([^`\n]+)`", text)
    yield from re.findall(r"[\"“]([^\"”\n]+)[\"”]", text)
    yield from re.findall(r"(?<![\w.])\d[\d.,]*(?: ?%| ?[A-Za-zµ]+(?:/s)?)?", text)
    yield from (re.sub(r"^[-*\d. ]+", "", line).strip("`* ") for line in text.splitlines())


@pytest.mark.parametrize("question", questions(), ids=lambda question: question.id)
def test_nothing_that_an_exercise_says_is_right(question: Question) -> None:
    """The question itself judges all that stands in its task and in the code; only options are named there."""
    cells = read(EXERCISES / f"{TOPICS[int(question.id[0])].name}.ipynb")["cells"]
    task = f"task-{question.id.replace('.', '-')}"
    texts = [source(cell) for cell in cells if cell["cell_type"] == "code" or cell["id"] == task]
    assert len(texts) > 2
    options = getattr(question, "options", ())
    for candidate in {candidate for text in texts for candidate in said(text)}:
        if not (isinstance(question, Choice) and candidate in options):
            assert not question.judge(candidate).correct, candidate


# -- from top to bottom ----------------------------------------------------------------------------------


def executed(path: Path, folder: Path) -> Any:
    """A notebook after a run in a folder of its own."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}}).execute()
    return notebook


def statuses(notebook: Any) -> dict[str, str]:
    """What each check says, by question, from the text beside its answer."""
    found = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            text = output.get("data", {}).get("text/plain", "")
            if said := re.match(r"\S (\d\.\d+): ([a-z ]+)\.", text):
                found[said[1]] = said[2]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_fresh_exercise_is_not_attempted_and_a_solution_is_right(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("DNNLAB_PROGRESS", str(tmp_path / "progress.json"))
    ids = [question.id for question in topic(int(name[:2]))]
    assert statuses(executed(EXERCISES / name, tmp_path)) == dict.fromkeys(ids, OPEN)
    solved = executed(SOLUTIONS / name, tmp_path)
    assert statuses(solved) == dict.fromkeys(ids, RIGHT)
    bare = read(SOLUTIONS / name)
    for notebook in (solved, bare):  # read as data, with outputs and without: the verdicts are the same
        graded = read_one(json.dumps(notebook).encode())
        assert isinstance(graded, Notebook)
        verdicts = judge_all(("", tuple((found.question, "", found, "") for found in graded.found)))
        assert [(verdict.question, verdict.status) for verdict in verdicts] == [(id, RIGHT) for id in ids]
