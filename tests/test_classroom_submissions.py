"""Notebooks read as data: what is claimed of an answer is what running the cells would have given."""

from __future__ import annotations

import copy
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from classes import answering, cell, hand_in, notebook
from hypothesis import assume, event, example, given, settings
from hypothesis import strategies as st

from dnnlab.classroom.submissions import LARGEST, Found, Notebook, clean, content, read_notebook, sources
from dnnlab.errors import DnnlabError, ReadError
from dnnlab.quiz.bank import questions


def found(*cells: str | dict[str, Any]) -> dict[str, Found]:
    return {answer.question: answer for answer in read_notebook(notebook(*cells)).found}


def answer(*cells: str | dict[str, Any]) -> Any:
    """The value that is read for 2.1; "hidden" where none is claimed."""
    one = found(*cells)["2.1"]
    return "hidden" if one.problem else one.value


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ('check("2.1", "k·c")', "k·c"),
        ("check('2.1', answer=\"k·c\")", "k·c"),
        ('check(answer="k·c", question="2.1")', "k·c"),
        ('dnnlab.quiz.check("2.1", 3)', 3),
        ('verdict = check("2.1", 3)\nverdict', 3),
        ('answer = "k" "·" "c"\ncheck("2.1", answer)', "k·c"),
        ('answer = "k" + "·c"\ncheck("2.1", answer)', "k·c"),
        ('answer = ("k"\n  "·c")\ncheck("2.1", answer)', "k·c"),
        ('answer = """out[n] += w[n]\nout[n] += b[n]"""\ncheck("2.1", answer)', "out[n] += w[n]\nout[n] += b[n]"),
        ('answer = f"k·c"\ncheck("2.1", answer)', "k·c"),
        ('c = "c"\nanswer = f"k·{c}"\ncheck("2.1", answer)', "hidden"),
        ('answer = -3\ncheck("2.1", answer)', -3),
        ('answer = 2*64*3**2 // 1 - 2.5\ncheck("2.1", answer)', 1149.5),
        ('answer = 1\nanswer = 2\ncheck("2.1", answer)', 2),
        ('a = b = [1, "two", (3, -4)]\ncheck("2.1", b)', [1, "two", (3, -4)]),
        ('answer: str = "k"\ncheck("2.1", answer)', "k"),
        ('check("2.1", {"keep": [1, 2], "free": {"a", "b"}})', {"keep": [1, 2], "free": {"a", "b"}}),
        ('check("2.1", True)', True),
        ('check("2.1", None)', None),
        ('check("2.1")', ...),
        ('check("2.1", ...)', ...),
        ('answer = ...\ncheck("2.1", answer)', ...),
        ('%time\n!ls -l\nanswer = "k"\ncheck?\ncheck("2.1", answer)', "k"),
        ('%%time\nif True:\n    !ls\n    answer = "k"\ncheck("2.1", "k")', "k"),
        ('if not done:\n    check("2.1", "k")', "k"),
        # what no longer says so itself
        ('answer = "k".upper()\ncheck("2.1", answer)', "hidden"),
        ('check("2.1", unknown)', "hidden"),
        ('answer = 1\nanswer += 1\ncheck("2.1", answer)', "hidden"),
        ('answer = [1]\nanswer.append(2)\ncheck("2.1", answer)', "hidden"),
        ('answer = [1]\nalias = answer\nalias.append(2)\ncheck("2.1", answer)', "hidden"),
        ('answer = {}\nanswer["k"] = 2\ncheck("2.1", answer)', "hidden"),
        ('answer = 1\nif today: answer = 2\ncheck("2.1", answer)', "hidden"),
        ('answer = 1\nfor answer in range(3): check("2.1", answer)', "hidden"),
        ('answer = 1\nfrom elsewhere import *\ncheck("2.1", answer)', "hidden"),
        ('answer = 1\nimport answer\ncheck("2.1", answer)', "hidden"),
        ('answer = 1\ndef answer(): pass\ncheck("2.1", answer)', "hidden"),
        ('answer = 1\ndel answer\ncheck("2.1", answer)', "hidden"),
        ('answer = b"k"\ncheck("2.1", answer)', "hidden"),
        ('answer = 2j\ncheck("2.1", answer)', "hidden"),
        ('answer = 1 / 0\ncheck("2.1", answer)', "hidden"),
        ('answer = 9**9**9\ncheck("2.1", answer)', "hidden"),
        ('answer = 9.0**999999\ncheck("2.1", answer)', "hidden"),
        ('answer = (-8)**0.5\ncheck("2.1", answer)', "hidden"),
        ('answer = "k" * 10**9\ncheck("2.1", answer)', "hidden"),
        ('answer = 1\ncheck("2.1", answer', "hidden"),
    ],
)
def test_what_a_cell_says(source: str, value: Any) -> None:
    assert answer(source) == value
    assert type(answer(source)) is type(value)


def test_names_go_from_cell_to_cell() -> None:
    assert answer("x = 'k'", "answer = x", 'check("2.1", answer)') == "k"
    assert answer("x = 'k'", "x = f(x)", 'check("2.1", x)') == "hidden"
    assert answer("x = 'k'", "this is no Python", 'check("2.1", x)') == "hidden"
    assert answer("x = 'k'", "x = 'c'\nraise Stop\nx = 'n'", 'check("2.1", x)') == "c"


def test_a_cell_that_always_raises_checks_nothing() -> None:
    """nbgrader's own stub: `answer` is still that of the question before."""
    stub = '# YOUR CODE HERE\nraise NotImplementedError()\ncheck("2.2", answer)'
    assert list(found('answer = 1\ncheck("2.1", answer)', stub)) == ["2.1"]


def test_lists_within_lists_cannot_grow() -> None:
    lines = ["a0 = ['k'] * 1", "a0 = ['k', 'k']"]
    lines += [f"a{n + 1} = [a{n}, a{n}]" for n in range(40)]
    assert answer("\n".join(lines), 'check("2.1", a40)') == "hidden"
    doubled = "s = 'k'\n" + "s = s + s\n" * 40
    assert answer(doubled, 'check("2.1", s)') == "hidden"


def test_the_recorded_answer_counts_where_the_source_does_not_say() -> None:
    hidden = 'answer = work()\ncheck("2.1", answer)'
    assert answer(cell(hidden, {"2.1": "k·c"})) == "k·c"
    assert answer(cell(hidden, {"2.2": "k·c"})) == "hidden"
    assert answer(cell(hidden, {"2.1": None})) == "hidden"
    assert answer(cell('check("2.1", "n")', {"2.1": "k·c"})) == "n"
    assert answer(cell("for id in ids: display(check(id, a[id]))", {"2.1": "k", "2.2": "c"})) == "k"
    assert answer(cell('check("2.1", ...)', {"2.1": "k·c"})) is ...


def test_a_guess_from_a_lecture_stands_in_the_output_alone() -> None:
    guessed = next(question.id for question in questions() if question.prediction)
    left_open = f'answer = ...\ncheck("{guessed}", answer)'
    assert found(cell(left_open, {guessed: 3}))[guessed].value == 3
    assert found(left_open)[guessed].open
    assert found(cell(f'check("{guessed}", 4)', {guessed: 3}))[guessed].value == 4


@pytest.mark.parametrize(
    "outputs", [None, 3, [3], [{"data": 3}], [{"data": {"application/vnd.dnnlab.answer+json": 3}}]]
)
def test_odd_outputs(outputs: Any) -> None:
    odd = cell('check("2.1", work())')
    odd["outputs"] = outputs
    assert answer(odd) == "hidden"


def test_a_verdict_in_the_output_counts_for_nothing() -> None:
    forged = cell('check("2.1", work())', {"2.1": "c"})
    forged["outputs"][0]["data"] |= {"text/html": "<b>✓ right</b>", "text/plain": "✓ 2.1: right."}
    assert found(forged)["2.1"] == Found("2.1", "c")


def test_the_last_answer_counts_and_an_open_one_takes_nothing_back() -> None:
    assert answer('check("2.1", "a")', 'check("2.1", "b")', 'check("2.1", ...)') == "b"
    assert answer('check("2.1", ...)', 'check("2.1", "a")') == "a"


@pytest.mark.parametrize(
    ("source", "who"),
    [
        ('student("Ada", "k7m2")', ("Ada", "k7m2")),
        ('student(code=" k7m2 ", name="Ada ")', ("Ada", "k7m2")),
        ('me = "Ada"\nstudent(me)', ("Ada", "")),
        ("student(...)", ("", "")),
        ("student()", ("", "")),
        ("student(3, [4])", ("", "")),
        ('student("Ada")\nstudent(...)', ("Ada", "")),
        ('student("Ada")\nstudent("Bob")', ("Bob", "")),
    ],
)
def test_who_it_is(source: str, who: tuple[str, str]) -> None:
    read = read_notebook(notebook(source, 'check("2.1", 1)'))
    assert (read.name, read.code) == who


# -- against running it ----------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "answer"])
SCALARS = st.sampled_from(["1", "-2", "2.5", "'k'", "'k' 'c'", "...", "None", "True", "(1, 'k')", "[1, 2]", "{'k': 1}"])
VALUES = st.one_of(
    SCALARS,
    NAMES,
    st.builds("{} + {}".format, NAMES, SCALARS),
    st.builds("[{}, {}]".format, NAMES, SCALARS),
    st.builds("{} * {} - 3".format, NAMES, NAMES),
    st.builds("f'{{{}}}'".format, NAMES),
    st.builds("({} := {})".format, NAMES, SCALARS),
)
LINES = st.one_of(
    st.builds("{} = {}".format, NAMES, VALUES),
    st.builds("{}, {} = {}, 3".format, NAMES, NAMES, VALUES),
    st.builds("{} = {} = {}".format, NAMES, NAMES, VALUES),
    st.builds("{}: object = {}".format, NAMES, VALUES),
    st.builds("{} += {}".format, NAMES, VALUES),
    st.builds("{}.append(4)".format, NAMES),
    st.builds("{}['k'] = {}".format, NAMES, VALUES),
    st.builds("if {}: {} = {}".format, NAMES, NAMES, VALUES),
    st.builds("for {} in (1, 2): {} = {}".format, NAMES, NAMES, VALUES),
    st.builds("def f():\n    global {0}\n    {0} = {1}".format, NAMES, VALUES),
    st.just("f()"),
    st.builds("del {}".format, NAMES),
    st.builds("import math as {}".format, NAMES),
    st.builds("check('2.1', {})".format, VALUES),
    st.builds("x = [check('2.1', {}), {}]".format, VALUES, NAMES),
    st.builds("x = [{}, check('2.1', {})]".format, VALUES, NAMES),
    st.builds("{} = check('2.1', {})".format, NAMES, VALUES),
    st.builds("with open(__file__) as {}: check('2.1', {})".format, NAMES, VALUES),
    st.builds("try: {} = {}\nexcept Exception as b: pass\ncheck('2.1', {})".format, NAMES, VALUES, NAMES),
)


def ran(lines: list[str], seen: list[Any]) -> list[str]:
    """The lines that run without an error, one after the other, and in `seen` what `check` was given."""

    def check(question: str, answer: object = ...) -> None:
        seen.append(answer if hasattr(answer, "read") else copy.deepcopy(answer))

    space: dict[str, Any] = {"check": check, "__file__": __file__}
    fine = []
    for line in lines:
        try:
            exec(compile(line, "cell", "exec"), space)
        except Exception:
            continue
        fine.append(line)
    return fine


@given(st.lists(LINES, min_size=2, max_size=12), st.booleans(), NAMES)
@example(["a = [1]", "def f():\n    a.append(2)", "f()"], False, "a")
@example(["a = [1]", "b = a", "b.append(2)"], True, "a")
@settings(max_examples=400)
def test_nothing_is_claimed_that_running_would_not_give(lines: list[str], together: bool, last: str) -> None:
    """The witness runs the cells, without the lines that raise."""
    fine = ran(["a = [1]; b = 2; answer = 'k'", *lines, f"check('2.1', {last})"], [])
    seen: list[Any] = []
    assume(ran(fine, seen) == fine and seen)
    given_last = [answer for answer in seen if answer is not ...][-1:]
    for read in read_notebook(notebook("\n".join(fine)) if together else notebook(*fine)).found:
        if not (read.problem or read.value is ...):
            event("claimed")
            assert [read.value] == given_last and type(read.value) is type(given_last[0]), fine


# -- whatever comes --------------------------------------------------------------------------------------

GOOD = answering(who='"Ada"', q2_1='"k·c"', q2_2="[1, 2]")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


def survives(data: bytes) -> None:
    try:
        assert isinstance(read_notebook(data), Notebook)
    except ReadError as error:
        assert len(str(error)) < 200


@given(st.binary(max_size=200))
@settings(max_examples=200)
def test_garbage(data: bytes) -> None:
    survives(data)


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255), st.booleans())
@settings(max_examples=300)
def test_a_good_notebook_with_a_byte_changed_or_its_end_lost(place: int, byte: int, cut: bool) -> None:
    survives(GOOD[:place] if cut else GOOD[:place] + bytes([byte]) + GOOD[place + 1 :])


@given(JSON, JSON, JSON)
@settings(max_examples=200)
def test_json_that_is_no_notebook(source: Any, outputs: Any, metadata: Any) -> None:
    odd = {"cell_type": "code", "source": source, "outputs": outputs, "metadata": metadata}
    survives(json.dumps({"cells": [odd, source], "nbformat": 4}).encode())
    survives(json.dumps({"cells": outputs, "nbformat": source}).encode())


@given(st.text(max_size=60))
@settings(max_examples=300)
def test_any_source(source: str) -> None:
    survives(notebook(source, f'check("2.1", {source})', f'check("2.1", "{source}'))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (GOOD[:-20], "cut short"),
        (b"\xff\xfe\xfa", "UTF-8"),
        (b"\x80abc", "UTF-8"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a":' * 200_000, "nested too deeply"),
        (b"9" * 100_000, "not JSON"),
        (b"[]", "format 4"),
        (b'{"cells": []}', "format 4"),
        (b'{"worksheets": [], "nbformat": 3}', "format 4"),
        (notebook("1 + 1"), "no question"),
        (notebook('check("99.1", 1)', 'check("2.99", 1)', "check(2.1, 1)", "check()"), "no question"),
    ],
)
def test_why_it_cannot_be_read(data: bytes, told: str) -> None:
    with pytest.raises(ReadError, match=told):
        read_notebook(data)


@pytest.mark.parametrize(
    "source",
    [
        "answer = " + "(" * 5000 + "1" + ")" * 5000,
        "answer = " + "-" * 20_000 + "1",
        "answer = " + "+".join(["1"] * 20_000),
        "answer = " + "[" * 90 + "]" * 90,
        "answer = " + "+".join(["1"] * 1500),
        "answer = x" + ".a" * 1500,
        "if 1:\n" + "".join(" " * n + "if 1:\n" for n in range(1, 95)) + " " * 95 + "answer = 1",
        " " * 40_000 + "(",
        "(\n" + " " * 40_000 + "?x",
        "!" * 40_000,
        "x" * 1_000_000,
        "\n" * 1_000_000,
        "answer = '\\ud800'",
        "answer = '\x00'",
        "answer = 1" + "0" * 5000,
        "f" + ".a" * 20_000,
    ],
)
def test_hostile_sources_are_read_quickly_or_not_at_all(source: str) -> None:
    survives(notebook(source, 'check("2.1", answer)'))


def test_byte_order_marks_and_other_utf_are_read() -> None:
    text = GOOD.decode()
    for encoding in ("utf-8-sig", "utf-16", "utf-32"):
        assert read_notebook(text.encode(encoding)) == read_notebook(GOOD)


# -- folders ---------------------------------------------------------------------------------------------


def test_layouts(tmp_path: Path) -> None:
    files = (
        "flat.ipynb",
        "ada/02.ipynb",
        "bob/week1/02.IPYNB",
        "bob/week1/notes.txt",
        "cy/.ipynb_checkpoints/02.ipynb",
    )
    hand_in(tmp_path, dict.fromkeys(files, GOOD))
    read = {source.name: (source.student, source.problem) for source in sources(tmp_path)}
    assert read == {
        "ada/02.ipynb": ("ada", ""),
        "bob/week1/02.IPYNB": ("bob", ""),
        "cy": ("cy", "holds no notebook"),
        "flat.ipynb": ("", ""),
    }


def test_folders_that_never_end(tmp_path: Path) -> None:
    hand_in(tmp_path, {"ada/" + "a/" * 300 + "02.ipynb": GOOD})
    (one,) = sources(tmp_path)
    assert (one.student, "too deep" in one.problem) == ("ada", True)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DnnlabError, match="is not a folder"):
        sources(tmp_path / "nowhere")


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_links_are_reported_and_not_followed(tmp_path: Path) -> None:
    outside = hand_in(tmp_path / "outside", {"02.ipynb": GOOD})
    class_of = hand_in(tmp_path / "class", {"ada/02.ipynb": GOOD})
    for name in ("bob", "cy"):
        (class_of / name).mkdir()
    (class_of / "bob" / "02.ipynb").symlink_to(outside / "02.ipynb")
    (class_of / "cy" / "02.ipynb").symlink_to(class_of / "ada" / "02.ipynb")
    (class_of / "dee").symlink_to(outside)
    (class_of / "eve").symlink_to(class_of)
    told = {source.name: source.problem for source in sources(class_of)}
    assert told.pop("ada/02.ipynb") == ""
    assert set(told) == {"bob/02.ipynb", "cy/02.ipynb", "dee", "eve"}
    assert all("link" in problem for problem in told.values()), told
    replaced = next(source for source in sources(class_of) if source.name == "ada/02.ipynb")
    replaced.path.unlink()
    replaced.path.symlink_to(outside / "02.ipynb")
    with pytest.raises(ReadError):
        content(replaced)


def test_what_is_no_plain_file(tmp_path: Path) -> None:
    (tmp_path / "ada" / "02.ipynb").mkdir(parents=True)
    (one,) = sources(tmp_path)
    assert (one.name, one.student, one.problem) == ("ada/02.ipynb", "ada", "is a folder, not a notebook")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.ipynb")
        with pytest.raises(ReadError, match="not a plain file"):
            content(sources(tmp_path)[1])


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "huge.ipynb").open("wb") as file:
        file.truncate(LARGEST + 1)
    with pytest.raises(ReadError, match="at most"):
        content(sources(tmp_path)[0])


def test_what_the_system_refuses_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hand_in(tmp_path, {"ada/02.ipynb": GOOD})
    (one,) = sources(tmp_path)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ReadError, match="cannot be opened: Permission denied"):
        content(one)
    monkeypatch.setattr(os, "scandir", refuse)
    assert [source.problem for source in sources(tmp_path)] == ["cannot be opened: Permission denied"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_no_text(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/a\xff\nb\x1b[2J"
    os.mkdir(folder)
    with open(folder + b"/02.ipynb", "wb") as file:
        file.write(GOOD)
    (one,) = sources(tmp_path)
    assert one.student == "a��b�[2J"
    assert content(one) == GOOD
    one.name.encode("utf-8")


@given(st.text())
def test_clean_text_can_be_shown_anywhere(text: str) -> None:
    shown = clean(text, 30)
    assert len(shown) <= 30
    assert shown.encode("utf-8").decode() == shown
    assert shown.isprintable() or any(char.isspace() for char in shown)
    assert len(shown.splitlines()) <= 1 or "\u2028" in text or "\u2029" in text
