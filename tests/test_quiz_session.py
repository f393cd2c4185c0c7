"""A student at work: check, hint, solution and progress, on a file that is never lost, whatever is typed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dnnlab import check, hint, predict, predictions, progress, solution, student
from dnnlab.quiz.verdicts import ANSWER_TYPE, OPEN, RIGHT, UNREADABLE, WRONG, Verdict


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "progress.json"
    monkeypatch.setenv("DNNLAB_PROGRESS", str(path))
    return path


def status(id: str) -> str:
    return next(str(row["status"]).partition(" ")[2] for row in progress().records() if row["question"] == id)


def test_from_the_first_dots_to_the_right_answer(file: Path) -> None:
    assert check("2.1", ...).status == OPEN and not file.exists()
    assert "Try first" in repr(solution("2.1"))
    unread = check("2.1", "k·2·q")
    assert unread.status == UNREADABLE and "column 5" in unread.message
    assert "Try first" in repr(solution("2.1")) and status("2.1") == OPEN  # what cannot be read is no try
    wrong = check("2.1", "k·rs·wh·c")
    assert wrong.status == WRONG and wrong.note == "factor:1/2" and not wrong
    assert "k · 2 · rs · wh · c" in repr(solution("2.1"))
    first, second = repr(hint("2.1")), repr(hint("2.1"))
    assert first != second and first.startswith("Hint 1 of ")
    right = check("2.1", "k·2·rs·wh·c")
    assert right and right.correct and status("2.1") == RIGHT
    check("2.1", "k")  # playing on takes nothing away
    (row,) = [row for row in progress(2).records() if row["question"] == "2.1"]
    assert (row["status"], row["tries"], row["hints"]) == (f"✓ {RIGHT}", 2, 2)
    assert "1 of" in repr(progress(2)) and "2.1" in progress().csv()


def test_after_the_last_hint_they_begin_again() -> None:
    told = [repr(hint("2.1")) for _ in range(7)]
    count = int(told[0].split()[3])
    assert told[count] == told[0] and len({*told[:count]}) == count


def test_a_name_makes_other_numbers_and_a_code_goes_before_it(file: Path) -> None:
    def numbers() -> str:
        return "".join(check(str(row["question"]), ...).given for row in progress().records())

    everybody = numbers()
    assert "No name yet" in repr(student(...))
    student("Ada")
    ada = numbers()
    student("Grace")
    assert numbers() != ada != everybody
    student("Ada", "k7m2")
    assert numbers() != ada and "Ada" in repr(student(...))
    student("Grace", "k7m2")
    secret = numbers()
    student("Ada", "k7m2")
    assert numbers() == secret
    assert json.loads(file.read_text())["student"] == {"name": "Ada", "code": "k7m2"}


def test_answers_and_predictions_share_a_file() -> None:
    predict("02.factor", "c")
    check("2.1", "k")
    predict("03.other", 2)
    assert len(predictions().rows) == 2 and status("2.1") == WRONG


@pytest.mark.parametrize("content", ["", "{", "[]", '{"answers": 3}', "\x00" * 100, "[" * 5000])
def test_a_broken_file_is_kept_aside(file: Path, content: str) -> None:
    file.write_text(content)
    assert check("2.1", "k").status == WRONG and status("2.1") == WRONG
    assert file.with_suffix(".broken.json").read_text() == content


def test_where_nothing_can_be_written_the_verdict_comes_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DNNLAB_PROGRESS", "/no/such/folder/progress.json")
    verdict = check("2.1", "k·2·rs·wh·c")
    assert verdict.correct and "could not be kept" in verdict.message
    assert "cannot write" in repr(hint("2.1")) and "could not be kept" in repr(student("Ada"))
    assert "Try first" in repr(solution("2.1")) and progress().rows


class Hostile:
    """Every way in which an object can hit back when it is looked at."""

    def _hit(self, *args: Any) -> Any:
        raise RuntimeError("looked at")

    __repr__ = __str__ = __eq__ = __hash__ = __bool__ = __len__ = __iter__ = __getattr__ = __float__ = _hit  # type: ignore[assignment]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.text(max_size=30), st.integers(), st.none(), st.floats(), st.lists(st.text(max_size=3))))
def test_no_question_of_any_name_and_no_answer_raises(thing: Any) -> None:
    assert check(thing, thing).status in (UNREADABLE, OPEN, WRONG, RIGHT)
    assert check("2.1", thing).status in (UNREADABLE, OPEN, WRONG)
    for ask in (hint, solution):
        repr(ask(thing))
    repr(student(thing, thing))


def test_a_hostile_object_is_told_apart_from_an_answer() -> None:
    for row in progress().records():
        verdict = check(str(row["question"]), Hostile())
        assert verdict.status == UNREADABLE and "Hostile" in verdict.message
    assert check(Hostile(), Hostile()).note == "unknown-question"
    for ask in (hint, solution, student):
        assert repr(ask(Hostile()))


def test_an_unknown_question_is_told_the_nearest() -> None:
    assert "did you mean" in check("2.11", "k").message
    assert "Known" in check("99.1", "k").message


def test_what_was_typed_is_escaped_and_carried_as_data() -> None:
    verdict = check("2.1", "<script>alert(1)</script>")
    bundle = verdict._repr_mimebundle_()
    assert "<script>" not in bundle["text/html"] and 'role="status"' in bundle["text/html"]
    assert bundle[ANSWER_TYPE] == {"question": "2.1", "answer": "<script>alert(1)</script>"}
    assert json.loads(json.dumps(bundle)) == bundle
    assert ANSWER_TYPE not in check("2.1", ...)._repr_mimebundle_()


def test_a_verdict_reads_as_a_sentence() -> None:
    verdict = Verdict("2.1", WRONG, "Look at c.", "missing:c", "02_layer_costs/Six letters", "Your numbers: k = 3.")
    assert repr(verdict).splitlines() == [
        "✗ 2.1: wrong. Look at c.",
        "Your numbers: k = 3.",
        "Look again: lecture 02_layer_costs, “Six letters”.",
    ]
    assert repr(Verdict("2.1", RIGHT, "")) == "✓ 2.1: right."


def test_asking_for_a_question_loads_no_plotting() -> None:
    code = (
        "import sys, dnnlab; dnnlab.check('2.1', 'k'); "
        "print([m for m in ('numpy', 'matplotlib', 'ipywidgets', 'IPython') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
