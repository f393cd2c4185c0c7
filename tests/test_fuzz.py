"""Hostile text: whatever is typed, a reader answers or refuses; quickly, in little memory, executing nothing."""

from __future__ import annotations

import builtins
import random
import re
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnnlab.calculus import slopes
from dnnlab.errors import DnnlabError
from dnnlab.loopnest import LoopNest
from dnnlab.notation import lecture, read_formula
from dnnlab.quantities import read_quantity
from dnnlab.reader import read_statement
from dnnlab.statements import write

STRINGS = 10_000  # for each reader
SECONDS = 2.0  # of processor time, a string: generous, since machines differ
MEMORY = 30e6  # bytes, a string

LINES = [
    "out[n,k] += weight[k,c] * inp[n,c]",
    "out[n,k,y,x] += weight[k,c,i,j] * inp[n,c,y*stride+i*dilation-pad,x*stride+j-pad]",
    "out[i] = max(out[i], inp[i,j])",
    "out[i] = 1 / (1 + exp(-inp[i]))",
    "out[n,d] = table[ids[n],d]",
    "p[i] = p[i] - lr * m[i] / (sqrt(v[i]) + eps)",
    "out[i] = 0.5 * inp[i] * (1 + erf(inp[i] / 1.4142135623730951))",
]
FORMULAS = [
    "k·2·rs·wh·c", "2*c*h*k*r*s*w + k", "k*(ceil((h - r)/2) + 1)^2", "max(k*c/3, 4*n) + floor(h/7)",
    "k × rs × c − 1.5", "log2(k)*sqrt(c)", "⌈h / 2⌉ · ⌊w / 3⌋", "min(1, k/c)*8 + 2**10",
]  # fmt: skip
QUANTITIES = ["80 GB", "3.35 TB/s", "192 KiB", "989.4 TFLOP/s", "45 ms", "1e3", "-2.5e-3 s", "1_000", "25.6 M"]

#: Pieces that readers have stumbled over elsewhere.
PIECES = [
    "boom()", "__import__('os').system('boom')", "().__class__.__bases__[0]", "eval('boom()')", "exec('boom()')",
    "open('/etc/passwd')", "lambda: boom()", "[boom() for _ in (1,)]", "(x := boom())", "f'{boom()}'", "`boom`",
    "boom.__call__()", "max.__globals__", "yield boom()", "await boom()", "*boom()", "**{}", "import os", "del out",
    "9**9**9", "9" * 30, "1e400", "1e-400", "0x" + "f" * 40, "0b1", "1_0", "1j", "inf", "nan", "True", "None", "...",
    "(" * 30, ")" * 30, "[" * 30, "]" * 30, "-" * 50, "~" * 20, "not " * 20, "**2" * 20, "+k" * 30, "*k" * 30,
    "/2" * 60, ".a" * 90, "max(" * 8, "ceil(", "sqrt(sqrt(", "log2(", "floor(", "min(", ",", ", ", "=", "+=", "-=",
    "==", ":=", ":", ";", "\n", "\r", "\t", "\x0c", "\x00", "\\", "\\\n", "#", "'", '"', "'''", '"""', "`", "$", "?",
    "@", "!", "%", "&", "|", "//", "//2", "%2", "<<", ">>", "->",
    "\ufeff", "\u200b", "\u202e", "\ud800", "𝓀", "ｋ", "к",
    "²", "½", "×", "·", "−", "÷", "⌈", "⌉", "⌊", "⌋", "∞", "µ", "é", "e\u0301", "ﬁ", "٣", "一", "😀", "K", "KB",
    "mB", "GiB", "TB/s", " ", "  ", "e9", ".", "..", "0", "1", "2.5", "k", "c", "rs", "out", "[i]", "[i,j]", "inp[i]",
    "stride", "pad", "exp(", "step(", "equal(",
]  # fmt: skip


def deep(rng: random.Random, names: list[str], calls: list[str], level: int) -> str:
    """A formula that is mostly well formed, and large."""
    roll = rng.random()
    if level <= 0 or roll < 0.2:
        return rng.choice([*names, *names, str(rng.choice([0, 1, 2, 3, 10**18, 0.5, 1e-9, 7]))])
    if roll < 0.65:
        sign = rng.choice(["+", "-", "*", "/", " * ", "+", "-"])
        return f"{deep(rng, names, calls, level - 1)}{sign}{deep(rng, names, calls, level - 1)}"
    if roll < 0.8:
        return f"({deep(rng, names, calls, level - 1)})"
    if roll < 0.88:
        return f"({deep(rng, names, calls, level - 1)})**{rng.choice([0, 2, 3, 8, 16, 17, -1])}"
    many = rng.choice([1, 1, 2, 3, 8])
    return f"{rng.choice(calls)}({', '.join(deep(rng, names, calls, level - 2) for _ in range(many))})"


def strings(
    seed: int, valid: list[str], names: list[str], calls: list[str], head: str, levels: int = 8
) -> Iterator[str]:
    """An endless supply: noise, pieces put together, valid lines with a few slips, and large formulas."""
    rng = random.Random(seed)
    while True:
        kind = rng.random()
        if kind < 0.2:
            codes = (rng.choice([rng.randrange(32, 127), rng.randrange(0x11_0000)]) for _ in range(rng.randrange(60)))
            yield "".join(map(chr, codes))
        elif kind < 0.5:
            yield rng.choice(["", head]) + "".join(rng.choice(PIECES) for _ in range(rng.randrange(1, 9)))
        elif kind < 0.8:
            text = rng.choice(valid)
            for _ in range(rng.randrange(1, 5)):
                a, b = sorted((rng.randrange(len(text) + 1), rng.randrange(len(text) + 1)))
                b = min(b, a + rng.randrange(1, 12))
                text = text[:a] + rng.choice(["", rng.choice(PIECES), text[a:b] * 2, text[a:b][::-1]]) + text[b:]
            yield text[: rng.choice([200, 1200])]
        else:
            yield head + deep(rng, names, calls, rng.randrange(2, levels))


STATEMENTS = partial(
    strings,
    valid=LINES,
    names=["a[i]", "b[j]", "a[i]", "c[i*2+1]", "eps", "t[ids[i]]"],
    calls=["max", "min", "exp", "log", "sqrt", "tanh", "erf", "abs", "step", "equal"],
    head="out[i,j] = ",
)
TERMS = partial(
    strings, valid=FORMULAS, names=list("nkrswhc"), calls=["max", "min", "ceil", "floor", "sqrt", "log2"], head=""
)
SIZES = partial(strings, valid=QUANTITIES, names=["GB", "ms", "7", "1.5", "k"], calls=["max"], head="")


def statement(text: str) -> None:
    read = read_statement(text)
    assert read_statement(write(read)) == read


def nest(text: str) -> None:
    """A line that was read answers every question, or says why it cannot."""
    line = LoopNest(text)
    read = line.statement
    small = LoopNest(text, **dict.fromkeys(read.indices, 3), **dict.fromkeys(read.settings, 1))
    assert line.loops() and line.ops is not None and line.macs is not None
    for one in (small, line) if len(text) % 4 == 0 else (small,):
        for tensor in one.references:
            for question in (one.shape, one.size, one.reuse, one.touched):
                try:
                    question(tensor)
                except DnnlabError as error:
                    assert str(error)
    try:
        small.needs({name: (0, 2) for name in read.indices[:1]})
        if len(text) % 4 == 1:
            slopes(read)
    except DnnlabError as error:
        assert str(error)


def term(text: str, names: str | None) -> None:
    expr = read_formula(text, names)
    assert lecture(expr, ("text", "latex", "html")[len(text) % 3])


READERS: dict[str, tuple[Callable[[str], Any], Callable[[int], Iterator[str]]]] = {
    "statement": (statement, STATEMENTS),
    "nest": (nest, partial(STATEMENTS, levels=5)),
    "formula with names": (partial(term, names="nkrswhc"), TERMS),
    "formula": (partial(term, names=None), TERMS),
    "quantity in B": (partial(read_quantity, unit="B"), SIZES),
    "quantity in s": (partial(read_quantity, unit="s"), SIZES),
}

watching = False
seen: list[str] = []


def watch(event: str, args: tuple[Any, ...]) -> None:
    """Everything Python itself calls noteworthy: running code, imports, files, processes, sockets."""
    if not watching or event in ("builtins.id", "marshal.loads", "object.__getattr__", "sys._getframe"):
        return
    source = str(args[0]) if args else ""
    if event == "compile" and args[1] == "<unknown>":
        return  # ast.parse: it reads, and makes no code
    if event == "open" and source == "<unknown>":
        return  # Python looking for the line of a syntax error
    if re.search("sympy|mpmath|difflib", source) and "boom" not in source:
        return  # SymPy loads some of its modules when it first needs them
    seen.append(f"{event} {args!r:.200}")


sys.addaudithook(watch)  # it cannot be taken away again, so it looks only while `watching`


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Runs a test with `boom` as a builtin that tells when it is called, and the audit hook looking on."""
    global watching
    monkeypatch.setattr(builtins, "boom", lambda *a: seen.append("boom was called"), raising=False)
    seen.clear()
    yield seen
    watching = False


@pytest.mark.timeout(300)
@pytest.mark.parametrize("reader", READERS)
def test_ten_thousand_hostile_strings(reader: str, guarded: list[str], record_property: Callable[..., None]) -> None:
    global watching
    read, source = READERS[reader]
    supply = source(len(reader))
    accepted, slowest = 0, (0.0, "")
    for _ in range(100):  # SymPy, and Python, load what they need
        with suppress(DnnlabError):
            read(next(supply))
    for _ in range(STRINGS):
        text = next(supply)
        start = time.process_time()
        watching = True
        try:
            read(text)
            accepted += 1
        except DnnlabError as error:
            refusal = error
            watching = False
            assert 0 < len(str(refusal)) < 1000
        finally:
            watching = False
        slowest = max(slowest, (time.process_time() - start, text))
    record_property("slowest", ascii(slowest))  # a lone surrogate could not be sent from one process to another
    record_property("accepted", accepted)
    assert guarded == []
    assert slowest[0] < SECONDS, slowest
    assert accepted > STRINGS / 200, "the strings are not all nonsense"


NASTY = [
    "out[i] = " + "(" * 40 + "1" + ")" * 40,
    "out[i] = " + "((((((((x[i]+1)*2)+1)*2)+1)*2)+1)*2)**8" * 3,
    "out[i] = " + "9" * 900,
    "k" * 1000,
    "k" * 1_000_000,
    "(" * 1_000_000,
    "9**9**9",
    "2**16" * 100,
    "(((k**16)**4)*((c**16)**4))",
    "((9**16)**4)*((7**16)**4)/((5**16)**3)",
    "(10**18)**16*(10**18)**16*(10**18)**16",
    "max(" + ",".join(f"(k+{i}*c-h)**8" for i in range(8)) + ")",
    "max(k,c,h,w,max(r,s,n,k*c,max(h*w,h*c,c*r,s*n,max(k/2,c/2,h/2,w/2,2))))",
    "max(" + ",".join(f"max({a}*k,{a + 1}*c-h)" for a in range(7)) + ")",
    "floor(sqrt(2)*" + "1000000000000000000*" * 20 + "1)",
    "max(sqrt(2)+sqrt(3)-sqrt(5+2*sqrt(6)),0)",
    "max(" + "+".join(f"sqrt({n})" for n in (2, 3, 5, 7, 11, 13, 17)) + ",17)",
    "sqrt(" * 20 + "2" + ")" * 20,
    "ceil(log2(" * 12 + "k" + "))" * 12,
    "(k+c+h+w+r+s+n)**16*(k-c)**16*(h-w)**16",
    "1/(" * 30 + "k" + "+1)" * 30,
    "sqrt(" + "9" * 18 + "*" + "8" * 18 + "*" + "7" * 18 + ")",
    "out[i] = exp(exp(exp(exp(exp(exp(exp(9)))))))*x[i]",
    "out[i] = " + "exp(" * 30 + "x[i]" + ")" * 30,
    "out[i] = ((x[i]**8)**8)*((x[i]**8)**8)/((x[i]+1)**8)**8",
    "1" + "0" * 60 + " GB",
    "1e308 EB",
    "1e-999 s",
    "\ud800" * 60,
    "[" * 500 + "]" * 500,
    "f(" * 38 + "x y" + ")" * 38,
    "f'{" * 100 + "}'" * 100,
    "lambda:" * 140 + "1",
    "x if x else " * 80 + "x",
]


@pytest.mark.parametrize("reader", ["statement", "nest", "formula with names", "quantity in B"])
def test_memory_is_bounded(reader: str, guarded: list[str]) -> None:
    read, source = READERS[reader]
    supply = source(7)
    for text in (*NASTY, *(next(supply) for _ in range(40))):
        tracemalloc.start()
        try:
            start = time.process_time()
            read(text)
        except DnnlabError:
            pass
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < MEMORY, (text[:80], peak)
        assert time.process_time() - start < 3 * SECONDS, text[:80]  # counting memory slows everything


@pytest.mark.parametrize("reader", READERS)
@settings(max_examples=200)
@given(text=st.text(max_size=80) | st.text("k2cinpout[],()+-*/=. 9", max_size=60) | st.binary(max_size=9).map(repr))
def test_any_text_at_all(reader: str, text: str) -> None:
    try:
        READERS[reader][0](text)
    except DnnlabError as error:
        assert str(error)
