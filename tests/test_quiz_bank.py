"""Every question of the bank, held to the rules that make it one.

Answers that must be accepted, wrong ones with the note each must get, and ones that cannot be read stand in
tests/data/quiz/bank, apart from the library: whoever installs that gets no answers with it.
"""

from __future__ import annotations

import json
import re
import tomllib
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from dnnlab.quiz.bank import TOPICS, Topic, find, questions, topic
from dnnlab.quiz.kinds import Formula, Number
from dnnlab.quiz.questions import Question, wrong_values
from dnnlab.quiz.verdicts import OPEN, UNREADABLE, WRONG

ROOT = Path(__file__).resolve().parent.parent
ANSWERS = ROOT / "tests" / "data" / "quiz" / "bank"
SEEDS = [f"student {i}" for i in range(30)]

each_topic = pytest.mark.parametrize("number", list(TOPICS), ids=[one.room for one in TOPICS.values()])
each_question = pytest.mark.parametrize(
    "question", questions(), ids=[f"{TOPICS[int(q.id.partition('.')[0])].room}-{q.id}" for q in questions()]
)


def answers(question: Question) -> dict[str, Any]:
    room = TOPICS[int(question.id.partition(".")[0])].room
    return tomllib.loads((ANSWERS / f"{room}.toml").read_text("utf-8"))[question.id]


def cells(tree: str, one: Topic) -> list[dict[str, Any]]:
    return json.loads((ROOT / tree / f"{one.name}.ipynb").read_text("utf-8"))["cells"]


def headings() -> set[str]:
    found = set()
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        text = "\n".join("".join(cell["source"]) for cell in json.loads(path.read_text("utf-8"))["cells"])
        found |= {f"{path.stem}/{heading}" for heading in re.findall(r"^##? (.+)$", text, re.MULTILINE)}
    return found


HEADINGS = headings()


# -- the bank as a whole -------------------------------------------------------------------------------------


def test_there_are_enough_questions_on_each_topic_and_they_get_harder() -> None:
    assert len(questions()) >= 45
    for number in TOPICS:
        asked = topic(number)
        assert 4 <= len(asked) <= 10
        assert [q.id for q in asked] == [f"{number}.{place}" for place in range(1, len(asked) + 1)]
        levels = [q.level for q in asked]
        assert levels == sorted(levels) and levels[0] == 1 and levels[-1] == 4


def test_every_row_of_the_notes_is_examined() -> None:
    page = (ROOT / "docs" / "lecture-notes.md").read_text("utf-8")
    rows = {line.split(" | ")[0].removeprefix("| ").strip() for line in page.splitlines() if line.startswith("| ")}
    rows = {row for row in rows if ": " in row} - {"Layers: every cell beside what is derived"}
    named = {row for question in questions() for row in question.notes}
    assert named <= rows, sorted(named - rows)
    assert rows <= named, sorted(rows - named)


def test_all_kinds_are_asked() -> None:
    kinds = {type(question).__name__ for question in questions()}
    assert kinds >= {"Formula", "Number", "Choice", "Plan", "Setting", "Statement"}
    assert any(question.prediction for question in questions())


# -- each question -------------------------------------------------------------------------------------------


@each_question
def test_what_must_be_accepted_is(question: Question) -> None:
    accepted = answers(question)["accepted"]
    assert len(accepted) >= 3 and len({repr(a) for a in accepted}) == len(accepted)
    for answer in accepted:
        verdict = question.judge(answer)
        assert verdict.correct, (answer, verdict)
        assert question.judge(answer, key="another key").correct
        assert verdict.message == question.insight and not verdict.note


@each_question
def test_each_wrong_answer_gets_its_note_and_each_mistake_is_reached(question: Question) -> None:
    reached = set()
    for wrong in answers(question)["wrong"]:
        verdict = question.judge(wrong["answer"])
        assert (verdict.status, verdict.note) == (WRONG, wrong["note"]), (wrong, verdict)
        assert verdict.message.strip().endswith((".", "?"))
        reached.add(verdict.note)
    assert reached >= {mistake.id for mistake in question.mistakes}
    assert len({mistake.id for mistake in question.mistakes}) == len(question.mistakes)


@each_question
def test_what_cannot_be_read_is_no_try(question: Question) -> None:
    assert answers(question)["invalid"]
    for answer in answers(question)["invalid"]:
        verdict = question.judge(answer)
        assert verdict.status == UNREADABLE and len(verdict.message) > 20, (answer, verdict)
    for nothing in (..., None, "", " ... "):
        assert question.judge(nothing).status == OPEN


@each_question
def test_every_student_can_get_it_right_and_no_mistake_is_right(question: Question) -> None:
    drawn = set()
    for seed in SEEDS if question.given("a") != question.given("b") else SEEDS[:1]:
        given = question.given(seed)
        assert given == question.given(seed)
        drawn.add(repr(given))
        if isinstance(question, Number):
            wanted = Fraction(str(question.expected(given)))
            suffix = f" {question.unit}" if question.unit else ""
            assert question.judge(f"{float(wanted):.6g}{suffix}", seed).correct, (seed, wanted)
            for mistake, value in wrong_values(question, seed):
                said = question.judge(f"{float(Fraction(str(value))):.9g}{suffix}", seed)
                assert (said.status, said.note) == (WRONG, mistake.id), (seed, given, value)
        elif isinstance(question, Formula):
            assert question.judge(question.expected(given), seed).correct
            for mistake, value in wrong_values(question, seed):
                assert question.judge(value, seed).note == mistake.id
    assert len(drawn) == 1 or len(drawn) >= 4  # numbers of one's own, or the same for all


@each_question
def test_hints_lead_and_do_not_tell(question: Question) -> None:
    assert 2 <= len(question.hints) <= 5 and len(set(question.hints)) == len(question.hints)
    assert all(len(hint) > 20 for hint in question.hints)
    told = [question.title, question.example, *question.hints, *(m.message for m in question.mistakes)]
    for answer in map(str, answers(question)["accepted"]):
        if len(answer) > 3 and isinstance(question, Formula | Number):
            assert not any(answer in text for text in told), answer
    assert not question.judge(question.example.strip("'\"")).correct


@each_question
def test_a_note_sends_to_a_section_that_exists(question: Question) -> None:
    for mistake in question.mistakes:
        assert mistake.see in HEADINGS | {""}, mistake.see
        assert re.fullmatch(r"[a-z0-9:/,^-]+", mistake.id), mistake.id


@each_question
def test_the_solution_derives_the_answer(question: Question) -> None:
    for seed in ("", "Ada"):
        steps = list(question.solution(question.given(seed)))
        assert len(steps) >= 2 and all(step.words.strip() for step in steps)


# -- the notebooks -------------------------------------------------------------------------------------------


@each_topic
def test_the_notebook_asks_each_question_once_and_answers_it(number: int) -> None:
    one = TOPICS[number]
    sources = ["".join(cell["source"]) for cell in cells("solutions", one)]
    asked = re.findall(r"^check\(\"([^\"]+)\", answer\)$", "\n".join(sources), re.MULTILINE)
    assert asked == [question.id for question in topic(number)]
    for question in topic(number):
        assert any(re.match(rf"### {re.escape(question.id)} \S", source) for source in sources), question.id


@each_topic
def test_the_notebooks_points_are_the_levels(number: int) -> None:
    for cell in cells("solutions", TOPICS[number]):
        marks = cell["metadata"]["nbgrader"]
        if marks["grade"]:
            assert marks["points"] == find(marks["grade_id"].removeprefix("answer-").replace("-", ".")).level
