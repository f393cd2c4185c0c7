"""A class graded: whose numbers, which answer counts, what is reported, and that nothing handed in can stop it."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from classes import HALF, RIGHT, answering, cell, hand_in, notebook, own, seeded
from click.testing import CliRunner, Result

from dnnlab.classroom import report
from dnnlab.classroom.codes import ALPHABET, Roster, code, key, make_secret, read_roster, read_secret
from dnnlab.classroom.grading import Grades, Student, grade
from dnnlab.classroom.workers import Lost, Spread, local
from dnnlab.cli import main
from dnnlab.errors import DnnlabError
from dnnlab.quiz.bank import topic

SECRET = b"the secret of the class of the tests"
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def spread() -> Iterator[Spread]:
    with local(2) as started:
        yield started


def student(grades: Grades, name: str) -> Student:
    return next(student for student in grades.students if student.name == name)


def status(grades: Grades, name: str, question: str = "2.1") -> str:
    return student(grades, name).verdicts[question].status


def answer_to(id: str, source: str, who: str = "...") -> bytes:
    return answering(who=who, **{f"q{id.replace('.', '_')}": source})


# -- workers ---------------------------------------------------------------------------------------------


def test_results_come_in_the_order_of_the_items_and_progress_grows(spread: Spread) -> None:
    seen: list[int] = []
    assert spread(abs, range(-20, 0), seen.append) == list(range(20, 0, -1))
    assert seen[-1] == 20 and seen == sorted(seen)


def test_a_process_that_hangs_dies_or_needs_too_much_is_replaced() -> None:
    with local(1, seconds=0.5) as spread:
        assert spread(time.sleep, [0, 60, 0]) == [None, Lost("was given up after 0.5 seconds"), None]
    with local(1) as spread:
        lost, fine = spread(os._exit, [1]), spread(abs, [-1])
        assert "ended the process" in lost[0].reason and fine == [1]
        assert spread(print, ["a line that is no result"]) == [None]
        assert spread(json.loads, ["{", "[1]"]) == [Lost("failed with JSONDecodeError"), [1]]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit the memory of a process")
def test_memory_is_limited() -> None:
    with local(1, memory=2**30) as spread:
        huge, small = spread(bytearray, [2**31, 8])
        assert huge == Lost("needs too much memory") and small == bytearray(8)


def test_an_error_where_the_items_are_made_is_raised_here(spread: Spread) -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        spread(abs, items())
    with pytest.raises(DnnlabError, match="at least 1, not 0"), local(0):
        pass


# -- codes -----------------------------------------------------------------------------------------------


def test_codes_are_stable_personal_and_short() -> None:
    names = [f"student {n}" for n in range(2000)]
    codes = {code(SECRET, name) for name in names}
    assert len(codes) == 2000
    assert all(len(word) == 6 and set(word) <= set(ALPHABET) for word in codes)
    assert not codes & {code(SECRET + b"!", name) for name in names}
    assert code(SECRET, "Zoë  Q") == code(SECRET, " zoe\u0308 q") != code(SECRET, "zoe q")
    assert key(SECRET) != key(SECRET + b"!") and key(SECRET) not in codes


def test_a_secret_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    assert make_secret(path)
    first = read_secret(path)
    assert not make_secret(path) and read_secret(path) == first
    if os.name == "posix":
        assert path.stat().st_mode & 0o077 == 0
    with pytest.raises(DnnlabError, match="makes one"):
        read_secret(tmp_path / "none")
    path.write_text("short")
    with pytest.raises(DnnlabError, match="has 5 bytes"):
        read_secret(path)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("student,group\nAda,1\nBob,2\n", ("Ada", "Bob")),
        ("\ufeffName;Gruppe\r\nAda  Lovelace;1\r\n\r\nBob;2\r\n", ("Ada Lovelace", "Bob")),
        ("id\tname\n7\tAda\n", ("Ada",)),
        ('ID\n"Lovelace, Ada"\n', ("Lovelace, Ada",)),
    ],
)
def test_rosters(tmp_path: Path, text: str, names: tuple[str, ...]) -> None:
    path = tmp_path / "roster.csv"
    path.write_text(text, encoding="utf-8")
    assert read_roster(path).names == names


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "begins with ''"),
        (b"Ada\nBob\n", "begins with 'Ada'"),
        (b"name\n", "names no student"),
        (b"name\nAda\n ada \n", "twice"),
        (b"name\n\xff\n", "not UTF-8"),
    ],
)
def test_rosters_that_are_none(tmp_path: Path, data: bytes, told: str) -> None:
    path = tmp_path / "roster.csv"
    path.write_bytes(data)
    with pytest.raises(DnnlabError, match=told):
        read_roster(path)


# -- whose numbers ---------------------------------------------------------------------------------------


def test_without_a_secret_the_notebook_says_whose_numbers(tmp_path: Path, spread: Spread) -> None:
    asked = seeded()
    ada, bob = own(asked, "Ada"), own(asked, "b0b")
    files = {
        "ada/a.ipynb": answer_to(asked.id, ada, '"Ada"'),
        "bob/a.ipynb": answer_to(asked.id, bob, '"Bob", "b0b"'),
        "cy/a.ipynb": answer_to(asked.id, ada, '"Cy"'),
        "dee/a.ipynb": answer_to(asked.id, own(asked, "")),
        "eve/a.ipynb": answer_to(asked.id, own(asked, "Eve")),
        "eve/b.ipynb": answer_to("2.1", repr(RIGHT), '"Eve"'),  # where she gave her name once for all notebooks
    }
    grades = grade(hand_in(tmp_path, files), spread)
    statuses = {name: status(grades, name, asked.id) for name in ("ada", "bob", "cy", "dee", "eve")}
    assert statuses == {"ada": "right", "bob": "right", "cy": "wrong", "dee": "right", "eve": "right"}


def test_with_the_secret_only_ones_own_numbers_are_right(tmp_path: Path, spread: Spread) -> None:
    asked = seeded()
    codes = {name: code(SECRET, name) for name in ("ada", "bob", "cy", "dee", "eve", "fay")}
    mine = {name: own(asked, code) for name, code in codes.items()}
    shouted = codes["eve"].upper()
    files = {
        "ada/a.ipynb": answer_to(asked.id, mine["ada"], f'"Ada", "{codes["ada"]}"'),
        "bob/a.ipynb": answer_to(asked.id, mine["ada"], f'"Bob", "{codes["bob"]}"'),  # copied the number
        "cy/a.ipynb": answer_to(asked.id, mine["ada"], f'"Cy", "{codes["ada"]}"'),  # copied the notebook
        "dee/a.ipynb": answer_to(asked.id, own(asked, "Dee"), '"Dee"'),  # forgot the code
        "eve/a.ipynb": answer_to(asked.id, own(asked, shouted), f'"Eve", "{shouted}"'),
        "fay/a.ipynb": answer_to(asked.id, mine["fay"], '"Fay", "zzzzzz"'),
    }
    grades = grade(hand_in(tmp_path, files), spread, SECRET)
    statuses = {name: status(grades, name, asked.id) for name in codes}
    wrong = dict.fromkeys(("bob", "cy", "dee"), "wrong")
    assert statuses == {"ada": "right", "eve": "right", "fay": "right", **wrong}
    remarks = {one.name: one.remarks for one in grades.students}
    assert remarks["ada"] == remarks["bob"] == remarks["eve"] == ()
    assert remarks["cy"] == ("cy/a.ipynb has the personal code of ada",)
    assert "no personal code" in remarks["dee"][0]
    assert remarks["fay"] == ("fay/a.ipynb has the personal code of nobody in this class",)
    assert grade(tmp_path, spread, b"another secret of the class") != grades


def test_what_is_odd_is_said(tmp_path: Path, spread: Spread) -> None:
    files = {
        "ada/1.ipynb": answer_to("2.1", repr(HALF), '"Ada"'),
        "ada/2.ipynb": answer_to("2.1", repr(RIGHT), '"Eda"'),
        "bob/1.ipynb": answer_to("2.1", repr(RIGHT), '"Ada"'),
        "bob/2.ipynb": answer_to("2.1", "...", '"Ada"'),
    }
    grades = grade(hand_in(tmp_path, files), spread)
    assert status(grades, "ada") == status(grades, "bob") == "right"
    ada, bob = (student(grades, name).remarks for name in ("ada", "bob"))
    assert ada == (
        "the notebooks have different names or codes: Ada, Eda",
        "has the name or code, and so the numbers, of bob",
        "2.1 is answered in ada/1.ipynb and in ada/2.ipynb; ada/2.ipynb counts",
    )
    assert bob == ("has the name or code, and so the numbers, of ada",)


def test_files_without_folders_belong_to_whom_they_name(tmp_path: Path, spread: Spread) -> None:
    files = {
        "x1.ipynb": answer_to("2.1", repr(RIGHT), '"Ada Lovelace"'),
        "x2.ipynb": answer_to("2.2", "'k'", '"ada  lovelace"'),
        "bob.ipynb": answer_to("2.1", repr(RIGHT)),
        "broken.ipynb": b"{",
    }
    grades = grade(hand_in(tmp_path, files), spread)
    assert [one.name for one in grades.students] == ["Ada Lovelace", "bob", "broken"]
    assert set(student(grades, "Ada Lovelace").verdicts) == {"2.1", "2.2"}


def test_a_roster_says_who_is_missing_and_who_is_not_on_it(tmp_path: Path, spread: Spread) -> None:
    hand_in(tmp_path, {f"{name}/a.ipynb": answer_to("2.1", repr(RIGHT)) for name in ("ADA", "eve")})
    grades = grade(tmp_path, spread, roster=Roster(("name",), (), ("Ada", "Bob")))
    assert {one.name: one.remarks for one in grades.students} == {
        "Ada": (),
        "Bob": ("handed in nothing",),
        "eve": ("is not on the roster",),
    }


def test_progress_is_told(tmp_path: Path, spread: Spread) -> None:
    told: list[tuple[str, int, int]] = []
    hand_in(tmp_path, {f"s{n}/a.ipynb": answer_to("2.1", repr(RIGHT)) for n in range(4)})
    grade(tmp_path, spread, progress=lambda *step: told.append(step))
    assert ("reading", 4, 4) in told and told[-1] == ("judging", 4, 4)
    assert told == sorted(told, key=lambda step: (step[0] == "judging", step[1]))


# -- what counts -----------------------------------------------------------------------------------------


def test_points_are_levels_and_all_questions_of_a_topic_count(tmp_path: Path, spread: Spread) -> None:
    hand_in(tmp_path, {"ada/a.ipynb": answer_to("2.1", repr(RIGHT)), "bob/a.ipynb": answer_to("2.1", repr(HALF))})
    grades = grade(tmp_path, spread)
    assert grades.questions == topic(2)
    assert grades.possible == sum(question.level for question in topic(2))
    assert [grades.score(one) for one in grades.students] == [1, 0]
    only = grade(tmp_path, spread, topics=[4])
    assert only.questions == topic(4) and only.score(student(only, "ada")) == 0
    with pytest.raises(DnnlabError, match="unknown topic"):
        grade(tmp_path, spread, topics=[99])


def test_a_verdict_or_an_answer_that_was_not_written_down(tmp_path: Path, spread: Spread) -> None:
    hidden = 'answer = work()\ncheck("2.1", answer)'
    files = {"ada/a.ipynb": notebook(cell(hidden, {"2.1": RIGHT})), "bob/a.ipynb": notebook(cell(hidden))}
    grades = grade(hand_in(tmp_path, files), spread)
    assert (status(grades, "ada"), status(grades, "bob")) == ("right", "unreadable")
    assert student(grades, "bob").verdicts["2.1"].note == "not-written"


def test_notebooks_of_other_courses(tmp_path: Path, spread: Spread) -> None:
    files = {"ada/a.ipynb": notebook('check("99.1", 1)\ncheck("2.99", 1)'), "bob/a.ipynb": notebook("print(1)")}
    grades = grade(hand_in(tmp_path, files), spread)
    assert [problem for _, problem in grades.problems] == ["holds no question of this course"] * 2
    assert grades.questions == () and "No question" in report.text(grades)


HOSTILE = {
    "a1/empty.ipynb": b"",
    "a2/broken.ipynb": b'{"cells": [',
    "a3/deep.ipynb": b"[" * 100_000,
    "a4/bytes.ipynb": bytes(range(256)) * 10,
    "a5/old.ipynb": b'{"nbformat": 3, "worksheets": []}',
    "a6/foreign.ipynb": notebook("1 + 1"),
    "=1+1/formula.ipynb": answer_to("2.1", "'=HYPERLINK(\"x\")'"),
    "@sum/formula.ipynb": answer_to("2.1", repr(RIGHT), '"@Ada"'),
    "b1/long.ipynb": answer_to("2.1", "'k' + '" + "·k" * 4000 + "'"),
    "b2/nested.ipynb": answer_to("2.1", "(" * 90 + "1" + ")" * 90),
    "b3/power.ipynb": answer_to("2.1", "'9**9**9**9**9'"),
    "b4/code.ipynb": notebook("import os; os._exit(1)", 'check("2.1", os.system("touch /tmp/never"))'),
    "b5/script.ipynb": answer_to("2.1", "'<script>alert(1)</script>'", "'<b>Ada</b>\\x1b[2J\\n'"),
    "b6/surrogate.ipynb": answer_to("2.1", "'\\ud800'", "'\\ud800'"),
    "b7/inf.ipynb": answer_to("2.1", "1e999"),
    "b8/mapping.ipynb": answer_to("2.1", "{'a': [1, {2}], 3: None}"),
    "c1/recorded.ipynb": notebook(cell('check("2.1", f())', {"2.1": [[[[{"a": [1e999, None, {}]}]]]]})),
}


def test_nothing_that_is_handed_in_stops_the_run(tmp_path: Path, spread: Spread) -> None:
    grades = grade(hand_in(tmp_path / "in", HOSTILE), spread, SECRET)
    assert len(grades.students) == len(HOSTILE)
    assert len(grades.problems) == 6
    files = report.write(tmp_path / "out", grades)
    table, record, text = (path.read_bytes().decode("utf-8") for path in files)
    rows = list(csv.reader(io.StringIO(table)))
    assert len(rows) == len(HOSTILE) + 1
    assert not [value for row in rows[1:] for value in row if value[:1] in tuple("=+-@")]
    assert rows[1][0] == "'=1+1"
    assert len(json.loads(record, parse_constant=pytest.fail)["students"]) == len(HOSTILE)
    assert "\x1b" not in table + record + text
    assert not Path("/tmp/never").exists()


def test_the_same_bytes_for_any_number_of_processes(tmp_path: Path, spread: Spread) -> None:
    asked = seeded()
    files = HOSTILE | {
        f"s{n:02}/a.ipynb": answer_to("2.1", [repr(HALF), repr(RIGHT), "'k·c'"][n % 3]) for n in range(12)
    }
    files |= {f"t{n:02}/a.ipynb": answer_to(asked.id, own(asked, f"T{n}"), f'"T{n}"') for n in range(6)}
    hand_in(tmp_path / "in", files)
    written = []
    for jobs in (1, 3):
        with local(jobs) as some:
            paths = report.write(tmp_path / f"out{jobs}", grade(tmp_path / "in", some, SECRET))
        written.append([path.read_bytes() for path in paths])
    assert written[0] == written[1]
    assert written[0] == [
        path.read_bytes() for path in report.write(tmp_path / "o", grade(tmp_path / "in", spread, SECRET))
    ]


# -- the report ------------------------------------------------------------------------------------------


def test_misconceptions_are_counted_by_student(tmp_path: Path, spread: Spread) -> None:
    files = {f"s{n}/a.ipynb": answer_to("2.1", repr(HALF)) for n in range(3)}
    files |= {"t/a.ipynb": answer_to("2.1", repr(RIGHT)), "u/a.ipynb": answer_to("2.1", "'2·k'")}
    grades = grade(hand_in(tmp_path, files), spread)
    assert report.by_student(grades).records()[0]["2.1"] == "wrong: factor:1/2"
    first, *_ = report.misconceptions(grades).records()
    assert (first["note"], first["students"], first["questions"]) == ("factor:1/2", 3, "2.1 (3)")
    assert first["message"] and str(first["lecture"]).startswith("0")
    asked = report.by_question(grades).records()[0]
    assert (asked["right"], asked["wrong"], asked["not_attempted"]) == (1, 4, 0)
    assert report.by_question(grades).records()[1]["not_attempted"] == 5
    assert "factor:1/2: 3 students, on 2.1 (3)" in report.text(grades)


def test_scores_of_the_table_and_of_the_record_agree(tmp_path: Path, spread: Spread) -> None:
    grades = grade(hand_in(tmp_path, {"ada/a.ipynb": answer_to("2.1", repr(RIGHT))}), spread)
    (row,), (whole,) = report.by_student(grades).records(), report.record(grades)["students"]
    assert row["score"] == whole["score"] == sum(answer["points"] for answer in whole["answers"]) == 1
    assert row["possible"] == sum(answer["level"] for answer in whole["answers"])
    assert row["right"] == 1 and row["not_attempted"] == len(topic(2)) - 1
    assert (row["2.1"], row["2.2"]) == ("right", "not attempted")


# -- the commands ----------------------------------------------------------------------------------------


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="dnnlab")


def test_codes_then_grade(tmp_path: Path) -> None:
    asked, secret, roster = seeded(), tmp_path / "secret", tmp_path / "roster.csv"
    roster.write_text("name,group\nada,=1+1\nbob,2\n")
    made = run("codes", roster, "--secret", secret)
    assert made.exit_code == 0 and "keep it to yourself" in made.stderr
    rows = list(csv.DictReader(io.StringIO(made.stdout)))
    assert [row["name"] for row in rows] == ["ada", "bob"] and rows[0]["group"] == "'=1+1"
    assert run("codes", roster, "--secret", secret).stdout == made.stdout  # and the secret is still the same
    mine = rows[0]["code"]
    hand_in(tmp_path / "in", {"ada/a.ipynb": answer_to(asked.id, own(asked, mine), f'"ada", "{mine}"')})
    out = tmp_path / "out"
    graded = run("grade", tmp_path / "in", "-j", 2, "--secret", secret, "--roster", roster, "--out", out)
    assert graded.exit_code == 0, graded.output
    assert "2 students" in graded.stdout and "handed in nothing" in graded.stdout
    record = json.loads((out / "grades.json").read_text())
    assert [one["score"] for one in record["students"]] == [asked.level, 0]
    file = tmp_path / "codes.csv"
    assert run("codes", roster, "--secret", secret, "--out", file).exit_code == 0
    assert file.read_text() == made.stdout
    again = run("codes", roster, "--secret", secret, "--out", file)
    assert again.exit_code == 2 and "exists already" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("grade", "nowhere"), "is not a folder"),
        (("grade", "."), "no notebook"),
        (("grade", ".", "-j", "0"), "at least 1"),
        (("grade", ".", "--secret", "nowhere"), "makes one"),
        (("grade", ".", "--roster", "nowhere"), "cannot be read"),
        (("codes", "nowhere", "--secret", "secret"), "cannot be read"),
        (("build",), "holds no notebooks"),
    ],
)
def test_what_is_refused(
    arguments: tuple[str, ...], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2 and told in result.stderr and result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_modules_that_were_handed_in_are_not_imported(tmp_path: Path) -> None:
    """A lecturer may stand in the folder itself; what lies there must not be taken for a library."""
    evil = b"import pathlib; pathlib.Path('executed').touch()"
    files = {f"{name}.py": evil for name in ("sympy", "json", "dnnlab", "pickle", "sitecustomize")}
    hand_in(tmp_path, files | {"ada/a.ipynb": answer_to("2.1", repr(RIGHT))})
    entry = tmp_path.parent / "entry"
    entry.mkdir()
    (entry / "dnnlab_command.py").write_text("from dnnlab.cli import main\nmain()")
    command = [sys.executable, str(entry / "dnnlab_command.py"), "grade", ".", "-j", "1", "--out", str(entry / "out")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "executed").exists()


def test_the_commands_cost_the_others_nothing() -> None:
    rooms = ["distributed", "nbgrader", *(f"dnnlab.quiz.{name}" for name in ("codes", "grading", "trees"))]
    asked = f"import sys, dnnlab.cli; print([name for name in {rooms} if name in sys.modules])"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", asked], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_a_grade_of_nothing_raises_no_error_of_its_own(tmp_path: Path, spread: Spread) -> None:
    grades = grade(hand_in(tmp_path, {"a.ipynb": b""}), spread)
    whole: dict[str, Any] = report.record(grades)
    assert whole["possible"] == 0 and whole["students"][0]["score"] == 0
    assert report.by_student(grades).records()[0]["percent"] == 0
