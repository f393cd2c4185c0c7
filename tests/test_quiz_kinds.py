"""The kinds of questions: what each accepts and refuses, and that no answer, however hostile, breaks or runs.

What is judged is what is recorded: the verdict on the record is the verdict on the answer.
"""

from __future__ import annotations

import dataclasses
import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import sympy
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dnnlab import Conv2d, Linear, LoopNest, device, on
from dnnlab.checkpointing import Chain, best_plan, keeping, simulate, store_all, store_none
from dnnlab.checkpointing import Plan as Schedule
from dnnlab.layers import CATALOGUE
from dnnlab.notation import lecture, read_formula
from dnnlab.program import Program
from dnnlab.quiz.answers import data
from dnnlab.quiz.bank import questions
from dnnlab.quiz.kinds import Choice, Formula, Number, Plan, Setting, Statement
from dnnlab.quiz.kinds.plan import read_plan
from dnnlab.quiz.questions import Mistake, Question
from dnnlab.quiz.verdicts import OPEN, RIGHT, UNREADABLE, WRONG, Note

FRONTS = json.loads((Path(__file__).parent / "data" / "checkpointing_fronts.json").read_text("utf-8"))["chains"]
NONE: dict[str, Any] = {"hints": (), "solution": lambda given: (), "level": 1}
DILATED = "out[n,k,y] += weight[k,c,i] * inp[n,c,y+dilation*i-pad]"


def dilated(given: Any) -> LoopNest:
    return LoopNest(DILATED, n=2, k=3, c=4, y=7, i=5, dilation=2, pad=2)


def waits_least(setting: Any, given: Any) -> Note | None:
    """The least batch at which a linear layer waits for arithmetic."""
    bounds = [
        on(Linear(n=n, c=512, k=512), device("t4"), "fp32").bound
        for n in (setting["batch"], max(1, setting["batch"] - 1))
    ]
    if bounds[0] == "memory":
        return Note("memory", "It still waits for memory.")
    return Note("not-least", "A smaller batch would do.") if bounds[1] != "memory" else None


def crossing_batch(given: Any) -> dict[str, int]:
    return {"batch": next(n for n in range(2, 257) if waits_least({"batch": n}, given) is None)}


FORMULA = Formula(
    id="0.1", title="convolution", example="'2·k'", names=tuple("nkcrswh"), expected=lambda given: Conv2d(n=1).ops,
    **NONE,
)  # fmt: skip
NUMBER = Number(id="0.2", title="time", example="'3.2 ms'", unit="s", expected=lambda given: Fraction(1, 40), **NONE)
COUNT = Number(id="0.3", title="ratio", example="2.5", expected=lambda given: Fraction(7, 3), **NONE)
CHOICE = Choice(
    id="0.4", title="who waits", example="'memory'", options=("compute", "memory", "on-chip memory"),
    expected=lambda given: "memory", **NONE,
)  # fmt: skip
SEVERAL = Choice(
    id="0.5", title="what is kept", example="'input'", options=("input", "output", "weights"), several=True,
    expected=lambda given: {"input", "weights"}, **NONE,
)  # fmt: skip
TWELVE = Chain.equal(12, backward=2)
PLAN = Plan(
    id="0.6", title="a budget", example="[2, 9]", chain=lambda given: TWELVE, budget=lambda given: 9,
    expected=lambda given: best_plan(TWELVE, 9), **NONE,
)  # fmt: skip
SETTING = Setting(
    id="0.7", title="the crossing", example="'batch = 2'", explorer="roofline", controls={"batch": range(1, 257)},
    start=lambda given: {"device": "t4", "dtype": "fp32"}, goal=waits_least, expected=crossing_batch, **NONE,
)  # fmt: skip
STATEMENT = Statement(
    id="0.8", title="dilation", example="'out[n] += inp[n]'", expected=dilated,
    draw=lambda random: {"dilation": 2, "pad": 2}, **NONE,
)  # fmt: skip
QUESTIONS = (FORMULA, NUMBER, COUNT, CHOICE, SEVERAL, PLAN, SETTING, STATEMENT)
each_kind = pytest.mark.parametrize("question", QUESTIONS, ids=lambda q: f"{type(q).__name__}-{q.id}")

# -- hostile answers -----------------------------------------------------------------------------------------

RAN: list[str] = []


def trap(name: str) -> Callable[..., Any]:
    def sprung(*args: Any, **named: Any) -> Any:
        RAN.append(name)
        raise RuntimeError(name)

    return sprung


SPECIAL = ("__repr__", "__str__", "__eq__", "__ne__", "__hash__", "__bool__", "__len__", "__iter__", "__getattr__",
           "__getattribute__", "__int__", "__float__", "__index__", "__format__", "__contains__", "__getitem__",
           "__lt__", "__add__", "__radd__", "__instancecheck__", "__fspath__", "__array__", "__call__", "__next__",
           "__del__x", "strip", "items", "args", "free_symbols", "_sympy_", "_repr_html_")  # fmt: skip
TRAPS = {name: trap(name) for name in SPECIAL}


def trapped(*bases: type) -> type:
    return type("Trapped", bases, {**TRAPS, "__class__": property(trap("__class__"))})


class Meta(type):
    """A class that answers nothing that it is asked."""

    __eq__ = trap("type ==")
    __hash__ = trap("type hash")  # type: ignore[assignment]
    __getattribute__ = trap("type attribute")  # type: ignore[assignment]
    __instancecheck__ = trap("isinstance")
    __subclasscheck__ = trap("issubclass")


def deep(levels: int, empty: Callable[[], Any] = list) -> Any:
    nested = empty()
    for _ in range(levels):
        nested = {"a": nested} if empty is dict else [nested]
    return nested


def bomb() -> list[Any]:
    """Ten to the thirtieth elements in thirty short lists."""
    shared: list[Any] = [0] * 10
    for _ in range(29):
        shared = [shared] * 10
    return shared


def loop() -> list[Any]:
    endless: list[Any] = []
    endless.append(endless)
    return endless


def numbers() -> Iterator[int]:
    RAN.append("generator")
    yield 1


class Evil(sympy.Symbol):
    args = property(trap("args"))
    free_symbols = property(trap("free_symbols"))


MADE: dict[str, Callable[[], Any]] = {
    "object": lambda: object.__new__(trapped(object)),
    "str subclass": lambda: str.__new__(trapped(str), "memory"),
    "int subclass": lambda: int.__new__(trapped(int), 7),
    "float subclass": lambda: float.__new__(trapped(float), 0.025),
    "list subclass": lambda: list.__new__(trapped(list)),
    "tuple subclass": lambda: tuple.__new__(trapped(tuple), (1, 2)),
    "dict subclass": lambda: dict.__new__(trapped(dict)),
    "set subclass": lambda: frozenset.__new__(trapped(frozenset), "ab"),
    "fraction subclass": lambda: Fraction.__new__(
        type("F", (Fraction,), {"numerator": property(trap("numerator"))}), 1, 3
    ),
    "list of traps": lambda: [object.__new__(trapped(object))],
    "mapping of traps": lambda: {"batch": object.__new__(trapped(object))},
    "metaclass": lambda: object.__new__(Meta("Quiet", (), {})),
    "class": lambda: trapped(object),
    "expression": lambda: Evil("k"),
    "sum with a trap": lambda: sympy.Add(sympy.Symbol("c"), sympy.Symbol("k"), evaluate=False).xreplace({}),
    "huge int": lambda: 10**5000,
    "huger int": lambda: -(2**1_000_000),
    "huge fraction": lambda: Fraction(1, 10**5000),
    "nan": lambda: float("nan"),
    "infinity": lambda: float("-inf"),
    "complex": lambda: 3j,
    "bytes": lambda: b"memory",
    "bytearray": lambda: bytearray(b"x" * 100),
    "none in a list": lambda: [None],
    "dots in a list": lambda: [...],
    "deep list": lambda: deep(100_000),
    "deep mapping": lambda: deep(5000, dict),
    "deep tuple": lambda: tuple(deep(41)),
    "shared lists": bomb,
    "endless list": loop,
    "numbers as names": lambda: {1: 2},
    "mapping": lambda: MappingProxyType({"batch": 1}),
    "long text": lambda: "k" * 10_000_000,
    "long sum": lambda: "+".join("k" * 5000),
    "brackets": lambda: "(" * 5000 + ")" * 5000,
    "blank": lambda: " " * 300 + "\x00",
    "wide text": lambda: "𝓶𝓮𝓶𝓸𝓻𝔂 \u202e ﷽ 🧮",
    "half a character": lambda: "memory\ud800",
    "half a character in a name": lambda: {"batch\udfff": "\ud800"},
    "digits of the world": lambda: "٣.٢ ms",
    "superscript": lambda: "k²",
    "nothing much": lambda: "\n\t\r\x0b\u2028",
    "code": lambda: "__import__('os').system('exit 1')",
    "lambda": lambda: "(lambda: 0)()",
    "walrus": lambda: "(k := 2)",
    "power tower": lambda: "9**9**9**9**9",
    "power of a power": lambda: "((k**16)**16)**16",
    "format": lambda: "{0.__class__}",
    "function": lambda: trap("called"),
    "generator": numbers,
    "iterator": lambda: iter([1]),
    "range": lambda: range(10**15),
    "module": lambda: sys,
    "array": lambda: np.zeros((3, 3)),
    "numpy subclass": lambda: np.float64.__new__(type("N", (np.float64,), {"item": trap("item")}), 1.0),
    "exception": lambda: RuntimeError("memory"),
    "another question": lambda: FORMULA,
    "big device": lambda: device("t4"),
    "plan of zeros": lambda: [[0] * 50] * 50,
    "long plan": lambda: list(range(9000)),
    "long schedule": lambda: "Fc0 D1 " * 1400,
    "far schedule": lambda: "Fc999999999 L B0",
    "wide line": lambda: "out[a,b,c] += " + "+".join(f"weight[d{i},e{i},f{i}]" for i in range(30)),
    "large local": lambda: "t[n*999999999999] = inp[n,n,n]; out[n,n,n] += t[n]",
    "lookup": lambda: "out[n,k,y] += weight[k,k,inp[n,k,y]] * inp[n,k,inp[n,k,y]]",
    "overflow": lambda: "out[n,k,y] += exp(exp(exp(weight[k,c,y]**8))) + log(0)",
    "batch": lambda: {"batch": deep(30)},
    "batches": lambda: "batch=" * 150,
    "many batches": lambda: {f"b{i}": i for i in range(5000)},
}


@each_kind
@pytest.mark.parametrize("name", MADE)
def test_nothing_that_is_answered_breaks_or_runs(question: Question, name: str) -> None:
    RAN.clear()
    answer = MADE[name]()
    verdict = question.judge(answer)
    assert RAN == []
    assert verdict.status in ((OPEN,) if name == "nothing much" else (UNREADABLE, WRONG))
    shown = repr(verdict) + verdict._repr_mimebundle_()["text/html"]
    assert RAN == [] and len(shown) < 5000
    shown.encode("utf-8")
    written = json.dumps(verdict._repr_mimebundle_(), allow_nan=False, ensure_ascii=False).encode("utf-8")
    assert len(written) < 200_000


words = st.sampled_from(
    ["k", "c", "2", "·", "*", "+", "-", "(", ")", "[", "]", ",", " ", "max", "ceil", "rs", "wh", "^", "ms", "s", "%",
     "1e3", "memory", "batch", "=", "Fc0", "L", "B0", "x4", "out[n,k,y]", "+=", "weight[k,c,i]", "inp[n,c,y]", "\n",
     ";", "/", "0"]
)  # fmt: skip
texts = st.one_of(st.text(max_size=60), st.lists(words, max_size=25).map("".join))
values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), texts, st.binary(max_size=9), st.fractions(),
        st.complex_numbers(), st.integers(0, 13),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=6), st.tuples(inner, inner), st.dictionaries(texts, inner, max_size=4),
        st.dictionaries(st.sampled_from(["batch", "device", "dtype"]), inner, max_size=3),
        st.frozensets(texts, max_size=3),
    ),
    max_leaves=12,
)  # fmt: skip


@each_kind
@settings(max_examples=150)
@given(answer=values)
def test_the_verdict_on_the_record_is_the_verdict_on_the_answer(question: Question, answer: Any) -> None:
    verdict = question.judge(answer)
    if verdict.answer is None:
        assert verdict.status in (OPEN, UNREADABLE)
        return
    record = json.loads(json.dumps(verdict.answer, allow_nan=False))
    assert record == verdict.answer
    again = question.judge(record)
    assert again == verdict


@given(values)
def test_plain_data_is_its_own(answer: Any) -> None:
    try:
        plain = data(answer)
    except ValueError:
        return
    assert data(plain) == plain and type(data(plain)) is type(plain)


def test_numbers_of_libraries_become_plain_ones() -> None:
    for number in (np.int8(7), np.int64(7), np.uint16(7), np.float32(7), np.float64(7), Fraction(7), sympy.Integer(7)):
        plain = data(number)
        assert type(plain) in (int, float, str) and Fraction(plain) == 7
    assert data(np.float64("nan")) == "nan" and data(np.bool_(True)) is True and data(np.str_("k")) == "k"
    with pytest.raises(ValueError, match="object of type 'ndarray'"):
        data(np.zeros(2))


# -- formulas and numbers ------------------------------------------------------------------------------------

formulas = st.recursive(
    st.one_of(st.sampled_from(["k", "c", "r", "s"]), st.integers(1, 30).map(str)),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda t: f"({t[0]}{t[1]}{t[2]})"),
        st.tuples(st.sampled_from(["max", "min"]), inner, inner).map(lambda t: f"{t[0]}({t[1]}, {t[2]})"),
        st.tuples(st.sampled_from(["ceil", "floor", "sqrt", "log2"]), inner).map(lambda t: f"{t[0]}({t[1]})"),
        inner.map(lambda a: f"({a})^2"),
    ),
    max_leaves=6,
)


@settings(max_examples=200)
@given(formulas)
def test_an_expression_of_the_library_is_read_as_it_is(text: str) -> None:
    try:
        expr = read_formula(text, "kcrs")
    except ValueError:
        assume(False)
    assume(expr.is_finite is not False and not expr.has(sympy.I, sympy.zoo, sympy.nan))
    assume(all(p.exp.is_integer or abs(p.exp) == sympy.Rational(1, 2) for p in expr.atoms(sympy.Pow)))
    assume("log(2)" not in lecture(expr))  # SymPy has taken a log2 apart, and there is no way to write it
    question = Formula(id="0.9", title="", example="'2·k'", names=tuple("kcrs"), expected=lambda given: expr, **NONE)
    assert question.judge(text).correct
    said = question.judge(expr)
    assert said.correct, (expr, said)
    assert question.judge(said.answer).correct


@given(
    st.fractions(Fraction(1, 10**6), 10**6), st.sampled_from(["ms", "µs", "s", "ns", "min", "h"]), st.integers(-20, 20)
)
def test_a_time_is_right_in_every_unit(wanted: Fraction, unit: str, permille: int) -> None:
    question = Number(id="0.9", title="", example="'3 s'", unit="s", expected=lambda given: wanted, **NONE)
    scale = {"s": 1, "ms": 1000, "µs": 10**6, "ns": 10**9, "min": Fraction(1, 60), "h": Fraction(1, 3600)}[unit]
    off = wanted * (1 + Fraction(permille, 1000))
    said = question.judge(f"{float(off * scale):.12g} {unit}")
    assert said.status in (RIGHT, WRONG)
    assert said.correct == (abs(permille) <= 10) or abs(permille) == 10
    assert question.judge(f"{float(wanted * scale):.12f}".rstrip("0")).status == UNREADABLE  # of what?


RATIOS = (7 / 3, "7/3", Fraction(7, 3), "2.33", "2 + 1/3", np.float64(7 / 3), np.float32(7 / 3), sympy.Rational(7, 3),
          sympy.Float("2.333333"), "233 %", "sqrt(49)/3")  # fmt: skip


@pytest.mark.parametrize("answer", RATIOS)
def test_a_ratio_is_written_in_many_ways(answer: Any) -> None:
    assert COUNT.judge(answer).correct, COUNT.judge(answer)


def test_a_number_that_is_none() -> None:
    for answer in ("nan", "inf", float("nan"), "1/0", True, "sqrt(0-1)", "k", "2.33 GB", "", "..."):
        assert COUNT.judge(answer).status in (UNREADABLE, OPEN), answer


# -- choices -------------------------------------------------------------------------------------------------


@given(st.permutations(["input", "weights"]), st.sampled_from([", ", ";", " and ", "+", ",and "]), st.booleans())
def test_several_words_in_any_order(words: list[str], between: str, shout: bool) -> None:
    text = between.join(words)
    assert SEVERAL.judge(text.upper() if shout and "and" not in between else text).correct
    assert SEVERAL.judge(words).correct and SEVERAL.judge(set(words)).correct and SEVERAL.judge(tuple(words)).correct


def test_a_choice_tells_what_is_missing_and_what_is_too_much() -> None:
    assert SEVERAL.judge("input").note == "option:missing"
    assert SEVERAL.judge(["input", "output", "weights"]).note == "option:extra"
    assert SEVERAL.judge("output").note == "wrong"
    assert "did you mean 'memory'" in CHOICE.judge("memry").message
    assert CHOICE.judge("On_Chip  Memory").status == WRONG
    assert CHOICE.judge("memory, compute").status == UNREADABLE  # of one, one is named


# -- plans ---------------------------------------------------------------------------------------------------


def chain_of(entry: dict[str, Any]) -> Chain:
    """A chain of the reference."""
    return Chain(
        **{name: entry[name] for name in ("forward", "backward", "outputs", "records", "forward_temp", "backward_temp")}
    )


@pytest.mark.parametrize("entry", FRONTS, ids=lambda entry: str(entry["id"]))
def test_the_reference_optima_are_right_and_what_is_slower_or_larger_is_not(entry: dict[str, Any]) -> None:
    chain = chain_of(entry)
    front = entry["tied"]
    for (time, peak, schedule), slower in zip(front, [*front[1:], None], strict=True):
        question = Plan(
            id="0.9", title="", example="[2]", chain=lambda given: chain, budget=lambda given, peak=peak: peak,
            expected=lambda given, peak=peak: best_plan(chain, peak, "exact"), **NONE,
        )  # fmt: skip
        assert question.judge(schedule).correct
        if slower:
            assert question.judge(slower[2]).note == "slower"
        if time > front[0][0]:
            said = question.judge(front[0][2])
            assert said.note == "over-budget" and "more than there is" in said.message


@given(st.integers(2, 9), st.data())
def test_a_plan_is_right_where_it_fits_and_no_better_one_does(stages: int, draw: st.DataObject) -> None:
    chain = Chain.equal(stages, backward=2)
    budget = draw.draw(st.integers(5, stages + 4))
    marks = draw.draw(st.sets(st.integers(1, stages - 1)))
    question = Plan(
        id="0.9", title="", example="[2]", chain=lambda given: chain, budget=lambda given: budget,
        expected=lambda given: best_plan(chain, budget), **NONE,
    )  # fmt: skip
    plan = read_plan(sorted(marks), stages)
    found, best = simulate(chain, plan), simulate(chain, best_plan(chain, budget))
    wanted = "over-budget" if found.peak > budget else "slower" if found.time > best.time else ""
    said = [question.judge(way) for way in (
        sorted(marks), tuple(marks), set(marks), " ".join(f"x{m}" for m in marks) or "[]", str(sorted(marks)), plan,
        repr(plan), plan.text, plan.text.split(), plan.segments, str(plan.segments),
    )]  # fmt: skip
    assert {one.note for one in said} == {wanted}
    assert {one.correct for one in said} == {not wanted}
    assert simulate(chain, keeping(stages, marks)).peak >= found.peak or not marks


def test_what_is_said_of_a_plan() -> None:
    over = PLAN.judge(store_all(12))
    assert "15 outputs, 6 outputs more" in over.message and "B11, operation 14 of 25" in over.message
    assert "Fc" not in over.message and "[4, 8]" not in over.message
    slow = PLAN.judge(store_none(12))
    assert slow.note == "slower" and "5 outputs" in slow.message and "66 forwards" in slow.message
    assert "the output of stage 11" in PLAN.judge("Fe0 L").message
    assert "must reach B0" in PLAN.judge("Fe0 Fe1").message
    assert "1 to 11" in PLAN.judge([3, 12]).message
    for odd in (["a"], [3.5], [True], "3-6", "x", "Plan.nested(store)", {"kept": [4]}, [[1], [0]], "Fc0 Fd1"):
        assert PLAN.judge(odd).status == UNREADABLE, odd
    assert type(PLAN.judge(best_plan(TWELVE, 9)).answer) is str
    assert PLAN.judge([4, 8]).correct and PLAN.judge("[4, 8]").correct
    assert PLAN.judge([1, 5, 9]).correct  # stage 0 stands alone: its record stays, and it is not run again
    assert "at most 2000 operations" in PLAN.judge("Fc0 D1 " * 1400).message
    assert "all 12 stages" in PLAN.judge([[0, 1], [2]]).message and "all 12" in PLAN.judge([[0] * 50] * 50).message


def test_a_little_slower_may_do_and_bytes_are_shown_as_bytes() -> None:
    chain = Chain.equal(4, output=10**6)
    made: dict[str, Any] = {
        "id": "0.9", "title": "", "example": "[2]", "chain": lambda given: chain, "unit": "B", **NONE,
        "budget": lambda given: "6 MB", "expected": lambda given: best_plan(chain, 6 * 10**6),
    }  # fmt: skip
    assert simulate(chain, best_plan(chain, 6 * 10**6)).time == 10
    assert Plan(**made).judge([2]).correct
    assert "7 MB" in Plan(**made).judge(store_all(4)).message
    slow = Schedule.nested(((0, 1), (2,), 3))
    assert Plan(**made).judge(slow).note == "slower" and Plan(slack=Fraction(1, 5), **made).judge(slow).correct


# -- settings ------------------------------------------------------------------------------------------------


def test_a_setting_in_words_and_as_data() -> None:
    right = crossing_batch({})["batch"]
    answers: tuple[Any, ...] = (
        right, str(right), f"batch={right}", f"batch: {right}", {"batch": right}, {"batch": f"{right}"},
        f"batch = {right}, device = T4", {"batch": right, "dtype": "FP32"}, f"{{'batch': {right}}}",
    )  # fmt: skip
    for answer in answers:
        assert SETTING.judge(answer).correct, (answer, SETTING.judge(answer))
    assert SETTING.judge(right - 1).note == "memory" and SETTING.judge(right + 1).note == "not-least"
    moved = SETTING.judge({"batch": right, "device": "h100-sxm"})
    assert moved.note == "moved:device" and "t4" in moved.message
    for answer in (0, 257, 2.5, True, "many", "batch", {"batsch": 3}, {}, {"device": "t4"}, "batch=1=2", [4]):
        assert SETTING.judge(answer).status == UNREADABLE, answer
    assert "did you mean 'batch'" in SETTING.judge({"batsch": 3}).message


def test_words_and_quantities_of_a_setting() -> None:
    question = Setting(
        id="0.9", title="", example="'dtype = fp32, bandwidth = 1 GB/s'", explorer="roofline",
        controls={"dtype": ("fp16", "fp32"), "bandwidth": "B/s"}, expected=lambda given: {},
        goal=lambda setting, given: None if setting == {"dtype": "fp16", "bandwidth": 2e9} else Note("no", "No."),
        mistakes=(Mistake("half", lambda given: {"bandwidth": 10**9}, "Half."),), **NONE,
    )  # fmt: skip
    assert question.judge("dtype=FP16, bandwidth=2 GB/s").correct
    assert question.judge({"dtype": "fp16", "bandwidth": 2_000_000_000}).correct
    assert question.judge("dtype=fp32; bandwidth=2 GB/s").note == "no"
    assert question.judge("dtype=fp16, bandwidth=1 GB/s").note == "half"
    for answer in (
        "fp16",
        "dtype=fp16",
        "dtype=fp17, bandwidth=2 GB/s",
        "dtype=fp16, bandwidth=2 GW",
        {"dtype": "fp16"},
    ):
        assert question.judge(answer).status == UNREADABLE, answer


def test_a_panel_is_its_setting() -> None:
    from dnnlab.explorers import bound_types, roofline

    right = crossing_batch({})["batch"]
    panel = roofline("alexnet", "t4", "fp32", batch=right)
    said = SETTING.judge(panel)
    assert said.correct and said.answer == {"device": "t4", "dtype": "fp32", "batch": right}
    assert SETTING.judge(said.answer) == said
    panel.set(batch=right - 1)
    assert SETTING.judge(panel).note == "memory"
    panel.set(batch=right, device="h100-sxm")
    assert SETTING.judge(panel).note == "moved:device"
    other = bound_types()
    assert "another explorer" in SETTING.judge(other).message
    panel.close()
    other.close()


# -- statements ----------------------------------------------------------------------------------------------


@given(st.permutations("abdefg"), st.booleans(), st.booleans(), st.permutations(["dilation*I", "Y", "-pad"]))
def test_names_of_indices_and_the_order_of_factors_are_free(
    names: list[str], turned: bool, literal: bool, parts: list[str]
) -> None:
    n, k, y, c, i, _ = names
    sub = "+".join(parts).replace("+-", "-").replace("I", i).replace("Y", y)
    assume(not sub.startswith("-pad") or not literal)
    factors = [f"weight[{k},{c},{i}]", f"inp[{n},{c},{sub}]"]
    line = f"out[{n},{k},{y}] += {' * '.join(factors[::-1] if turned else factors)}"
    line = line.replace("dilation", "2").replace("pad", "2") if literal else line
    assert STATEMENT.judge(line).correct, (line, STATEMENT.judge(line))


@pytest.mark.parametrize(
    ("line", "note"),
    [
        ("out[n,k,y] += weight[k,c,i] * inp[n,c,y+i-pad]", "numbers"),
        ("out[n,k,y] += weight[k,c,i] * inp[n,c,dilation*y+i-pad]", "numbers"),
        ("out[n,k,y] += weight[k,c,i] * inp[n,c,y+dilation*i]", "numbers"),
        ("out[n,k,y] += weight[k,c,i] + inp[n,c,y+dilation*i-pad]", "numbers"),
        ("out[n,k,y] += weight[c,k,i] * inp[n,c,y+dilation*i-pad]", "shape"),
        ("out[n,k,y] += weight[k,c,i] * inp[c,n,y+dilation*i-pad]", "shape"),
        ("out[n,k,y] += inp[n,c,y+dilation*i-pad]", "tensor:missing:weight"),
        ("out[n,k,y] += weight[k,c,i] * inp[n,c,y+dilation*i-pad] * 1", "costs"),
        ("t[n,k,y,c] += weight[k,c,i] * inp[n,c,y+2*i-2]; out[n,k,y] += t[n,k,y,c]", "costs"),
        ("out[n,k,y] += weight[k,c,i] * inp[n,c,y+2*i-2] / 0", "undefined"),
        ("out[n,k,y] += weight[k,c,i] * exp(999 + inp[n,c,y+2*i-2]**2)", "undefined"),
    ],
)
def test_what_is_said_of_a_wrong_line(line: str, note: str) -> None:
    said = STATEMENT.judge(line)
    assert (said.status, said.note) == (WRONG, note), said
    assert "dilation" not in said.message and "weight[k,c,i]" not in said.message


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("out[n,k] += weight[k,c,i] * inp[n,c,i]", "'out' has 3 axes here, not 2"),
        ("out[n,k,y] += wieght[k,c,i] * inp[n,c,y]", "did you mean 'weight'"),
        ("out[n,k,y] += weight[k,c,i] * inp[n,c,y*stride+i]", "'stride' has no value"),
        ("out[n,k,y] += weight[k,c,i] * inp[n,c,y+i+z]", "how far index 'z' runs"),
        ("inp[n,c,y] = weight[c,n,y]", "'inp' is given"),
        ("t[n,k,y] += weight[k,c,i] * inp[n,c,y]", "no line writes 'out'"),
        ("out[n,k,y] == 3", "a statement is"),
        ("import os", "a statement is"),
        ("out[n,k,y] = open('/etc/passwd')", "cannot be called"),
        ("\n".join([DILATED] * 9), "at most 8 lines"),
        ("out[n,k,y] += " + "weight[k,c,i]*" * 20 + "inp[n,c,y+z]", "how far index 'z'"),
        ("out[n,k,y] += weight[a,b,c] * weight[d,e,f] * weight[g,h,i] * inp[j,l,m]", "far more passes"),
    ],
)
def test_a_line_that_cannot_be_read_says_why(line: str, words: str) -> None:
    said = STATEMENT.judge(line)
    assert said.status == UNREADABLE and words in said.message, said


def test_authored_mistakes_are_told_by_their_numbers() -> None:
    strided = "out[n,k,y] += weight[k,c,i] * inp[n,c,dilation*y+i-pad]"
    two = "t[n,k,y,c] += weight[k,c,i] * inp[n,c,y+2*i-2]\nout[n,k,y] += t[n,k,y,c]"
    question = Statement(
        id="0.9", title="", example="'out[n] += inp[n]'", expected=dilated, **NONE,
        draw=lambda random: {"dilation": 2, "pad": 2},
        mistakes=(Mistake("stride", lambda given: strided, "A stride."), Mistake("in-two", lambda given: two, "Two.")),
    )  # fmt: skip
    assert question.judge("out[a,b,y] += inp[a,q,2*y-2+z] * weight[b,q,z]").note == "stride"
    assert question.judge("s[n,c,k,y] += weight[k,c,i] * inp[n,c,y+2*i-2]\nout[n,k,y] += s[n,c,k,y]").note == "in-two"
    assert question.judge(f"{DILATED} * 1").note == "costs"  # too much, but not in two
    assert question.judge(DILATED).correct


SMALL = {"n": 1, "k": 2, "c": 3, "h": 4, "w": 5, "r": 3, "s": 2}
LAYERS = ("Conv2d", "DepthwiseConv2d", "Linear", "ReLU", "MaxPool2d", "AvgPool2d", "LeakyReLU", "Sigmoid", "Tanh",
          "Softmax")  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_the_lines_of_the_catalogue_are_right_for_themselves(name: str) -> None:
    layer = CATALOGUE[name]()
    layer = layer.at(**{d: SMALL.get(d, 3) for d in type(layer).dimensions if getattr(layer, d) == sympy.Symbol(d) or
                        getattr(getattr(layer, d), "is_symbol", False)})  # fmt: skip
    question = Statement(
        id="0.9", title="", example="'out[n] += inp[n]'", expected=lambda given: layer, low=1,
        draw=lambda random: {"slope": 3}, **NONE,
    )  # fmt: skip
    said = question.judge("\n".join(layer.statements))
    assert said.correct, (layer.statements, said)
    assert question.judge(list(layer.statements), key="another").correct
    assert question.judge(layer.program).correct


def test_a_nest_is_its_line_and_costs_less_is_right() -> None:
    wasteful = Statement(
        id="0.9", title="", example="'out[n] += inp[n]'", **NONE,
        expected=lambda given: LoopNest("y[n] = 2 * x[n] + 0", n=3),
    )  # fmt: skip
    assert wasteful.judge("y[n] = 2 * x[n]").correct and wasteful.judge(LoopNest("y[m] = x[m] * 2")).correct
    assert wasteful.judge("y[n] = x[n] * 2 + 0 + 0").note == "costs"
    program = Program.read("y[n] = 2 * x[n]", {"x": "input", "y": "output"}, n=3)
    assert wasteful.judge(program).correct and wasteful.judge(program).answer == "y[n] = 2 * x[n]"


# -- those of the bank ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("question", [q for q in questions() if isinstance(q, Setting)], ids=lambda q: q.id)
def test_an_explorer_has_what_a_setting_names(question: Setting) -> None:
    import dnnlab.explorers

    assert question.explorer in dnnlab.explorers.EXPLORERS
    state = sys.modules[f"dnnlab.explorers.{question.explorer}"].State
    for seed in ("", "Ada", "Bob"):
        drawn = question.given(seed)
        fields = {field.name for field in dataclasses.fields(state)}
        assert {*question.start(drawn), *question.controls} <= fields
        assert question.judge(dict(question.expected(drawn)), seed).correct


@pytest.mark.parametrize("question", [q for q in questions() if isinstance(q, Plan | Statement)], ids=lambda q: q.id)
def test_what_is_expected_is_right_and_no_tensor_looks_the_same_when_turned(question: Plan | Statement) -> None:
    for seed in ("", "Ada", "Bob", "Eve"):
        wanted = question.expected(question.given(seed))
        if isinstance(question, Statement):
            program = wanted if isinstance(wanted, LoopNest) else getattr(wanted, "program", wanted)
            for nest in getattr(program, "nests", (program,)):
                assert nest.iterations < 2000
                for name in nest.references:  # a tensor that is turned must not look the same
                    longer = [size for size in nest.shape(name) if size > 1]
                    assert len(set(longer)) == len(longer)
            wanted = "\n".join(getattr(program, "statements", None) or [program.text])
        assert question.judge(wanted, seed).correct


# -- all of them ---------------------------------------------------------------------------------------------


def test_judging_needs_neither_widgets_nor_figures() -> None:
    code = (
        "import sys\nfrom dnnlab.quiz.bank import questions\n"
        "for question in questions():\n    question.judge('k'), question.judge(3), question.judge([1])\n"
        "print(sorted({'matplotlib', 'ipywidgets', 'IPython', 'torch'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    assert ran.stdout.strip() == "[]"


@each_kind
def test_a_verdict_does_not_depend_on_the_hour_or_the_order(question: Question) -> None:
    answers = ["k", 3, "[4, 8]", "memory", DILATED, "25 ms"]
    first = [question.judge(a) for a in answers]
    random.shuffle(answers)
    assert [question.judge(a) for a in answers] == [
        first[["k", 3, "[4, 8]", "memory", DILATED, "25 ms"].index(a)] for a in answers
    ]
