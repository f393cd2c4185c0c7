"""A question whose answer is a layer of the student's own: its line, or its few lines.

The lines are read as data and run on small whole numbers by the plain interpreter, beside those that are expected;
what they cost is derived, as it is for every layer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import product as every
from random import Random
from typing import Any

from ...errors import ReadError, unknown
from ...interpreter import interpret
from ...layers.base import Layer
from ...loopnest import LoopNest
from ...program import Program
from ...reader import read_statement
from ...statements import Scalar, is_setting, walk
from ...statements import Statement as Line
from ..answers import LONGEST, refuse_type
from ..questions import UNKNOWN, Given, Question, wrong_values
from ..verdicts import Note

MOST_LINES = 8
MOST_WORK = 50_000  # passes, times the size of the line: less than a tenth of a second
LARGEST = 10_000  # elements of a tensor between two lines
_SEE = "02_layer_costs/Try: write a line and see every cost"
#: The elements of the tensors that lines write, in order; None where there are none, as after a division by zero.
Numbers = tuple[tuple[float, ...], ...] | None


@dataclass(frozen=True)
class Lines:
    """An answer: its program, and in words an index that is said to have two lengths ("" for none)."""

    program: Program
    torn: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Statement(Question):
    """The lines of a layer. They are right if they give the numbers of those that are `expected`, a layer, program or
    loop nest with small extents, all different, and need no more operations. The values of mistakes are text.

    Tensors have the names of the expected ones; how far an index runs follows from where it stands alone, so its name
    is free. One that stands alone nowhere has the name it has in the expected lines. Settings and plain numbers are
    those of the expected lines and of the given numbers. The elements of tensors are whole numbers from `low` to 9.

    >>> question = Statement(id="0.6", title="linear", level=1, example="'y[n] += x[n,c]'", hints=(),
    ...     expected=lambda given: LoopNest("y[n,k] += w[k,c] * x[n,c]", n=2, k=3, c=4), solution=lambda given: ())
    >>> lines = "y[a,b] += x[a,i] * w[b,i]", "y[a,b] += x[a,i] * w[i,b]", "y[n,k] += x[n,c] + 0*k", "y[n] = 1"
    >>> [question.judge(line).note for line in lines]
    ['', 'shape', 'unreadable', 'unreadable']
    """

    low: int = -5

    def data(self, answer: object, given: Given) -> Any:
        if type(answer) is LoopNest:
            answer = answer.text
        elif type(answer) is Program:
            answer = str(answer)
        return super().data(answer, given)

    def read(self, answer: Any, given: Given) -> Lines:
        return fitted(answer, _wanted(self, tuple(given.items())), _whole(given))

    def fault(self, value: Any, seed: str, key: str) -> Note | None:
        given = self.given(seed)
        wanted = _wanted(self, tuple(given.items()))
        results = _results(wanted)
        inputs, right = _right(self, tuple(given.items()), key)
        found = _run(value.program, results, inputs, given)
        equal = _same(found, right)
        if equal and value.program.ops <= wanted.ops:
            return None
        for mistake, wrong in wrong_values(self, seed):
            program = fitted(wrong, wanted, _whole(given)).program
            if _same(_run(program, results, inputs, given), found) and (not equal or program.ops == value.program.ops):
                return mistake.note()
        if equal:
            more = [kind for kind, n in value.program.operations.items() if n > wanted.operations.get(kind, 0)]
            return Note(
                "costs",
                "The numbers are right, but the layer needs fewer operations than these lines: look at each "
                f"{' and each '.join(more)}.",
                _SEE,
            )
        if value.torn:
            return Note("shape", value.torn, _SEE)
        for name in inputs:
            if name not in value.program.tensors:
                return Note(f"tensor:missing:{name}", f"These lines never read {name}, and the layer needs it.", _SEE)
        if found is None:
            return Note("undefined", "These lines divide by zero, or take a root or logarithm that has no value.", _SEE)
        for name, ours, theirs in zip(results, found, right or (), strict=False):
            places = [i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if not _near(a, b)]
            if places:
                index = list(every(*map(range, wanted.shape(name))))[places[0]]
                where = f"{name}[{','.join(map(str, index))}]"
                count = "at every place" if len(places) == len(ours) else f"at {len(places)} of {len(ours)} places"
                return Note("numbers", f"Run on small whole numbers, {name} is not what it should be {count}, "
                            f"first at {where}. Work that one out by hand.", _SEE)  # fmt: skip
        return UNKNOWN

    def inputs(self, wanted: Program, key: str) -> dict[str, Any]:
        """Whole numbers for every tensor that the expected lines read before they write it."""
        random = Random(f"{key}/{self.id}")
        written: set[str] = set()
        found: dict[str, Any] = {}
        for nest in wanted.nests:
            for ref in nest.statement.refs:
                if ref.name not in written | set(found):
                    found[ref.name] = _filled(wanted.shape(ref.name), random, self.low)
            written.add(nest.statement.target.name)
        return found


def fitted(answer: Any, wanted: Program, numbers: Mapping[str, int]) -> Lines:
    """Lines as a program over the tensors of the expected one, with the extents that follow from those.

    Raises ReadError, or another DnnlabError, where they cannot be read or do not fit those tensors.
    """
    lines = answer.replace(";", "\n").splitlines() if type(answer) is str else answer
    if type(lines) is not list or not all(type(line) is str for line in lines):
        raise refuse_type(answer, "a line of text")
    lines = [line for line in lines if line.strip()]
    if not 0 < len(lines) <= MOST_LINES or sum(map(len, lines)) > LONGEST:
        raise ReadError(f"an answer has at most {MOST_LINES} lines and {LONGEST} characters")
    names = [name for name in wanted.tensors if wanted.role(name) != "local"]
    shapes = {name: wanted.shape(name) for name in names}
    known = {**numbers, **{name: n for nest in wanted.nests for name, n in nest.settings}}
    lengths = {name: n for nest in wanted.nests for name, n in nest.extents}
    results, nests, torn, work = _results(wanted), [], "", 0
    for line in map(read_statement, lines):
        target = line.target.name
        if target in shapes and target in names and target not in results:
            raise ReadError(f"{target!r} is given; the result is {', '.join(results)}")
        for ref in line.refs:
            if ref.name not in shapes:
                raise unknown("tensor", ref.name, shapes)
        extents, double = _extents(line, shapes, lengths)
        torn = torn or double
        for name in (*line.settings, *line.scalars):
            if name not in known:
                raise ReadError(f"{name!r} has no value here; write the number in its place")
            extents[name] = known[name]
        nest = LoopNest(line, shapes=shapes, **extents)
        if target not in shapes:
            shapes[target] = nest.shape(target)
            if math.prod(shapes[target]) > LARGEST:
                raise ReadError(f"{target!r} is far larger than anything that is needed here")
        work += nest.iterations * sum(1 for part in (line.target, line.value) for _ in walk(part))
        if work > MOST_WORK:
            raise ReadError("these lines take far more passes than anything that is needed here")
        nests.append(nest)
    written = {nest.statement.target.name for nest in nests}
    for name in results:
        if name not in written:
            raise ReadError(f"no line writes {name!r}, which is the result")
    return Lines(Program(tuple(nests), wanted.roles, tuple(shapes.items())), torn)


def _extents(line: Line, shapes: Mapping[str, Any], lengths: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """How far each index of a line runs, from the tensors on whose axes it stands alone, the target first; and, in
    words, one that stands alone on axes of two lengths."""
    found: dict[str, tuple[Any, str]] = {}
    torn = ""
    for ref in (line.target, *line.refs):
        if ref.name not in shapes:
            continue
        shape = shapes[ref.name]
        if len(ref.subscripts) != len(shape):
            raise ReadError(f"{ref.name!r} has {len(shape)} axes here, not {len(ref.subscripts)}")
        for axis, (sub, size) in enumerate(zip(ref.subscripts, shape, strict=True)):
            if isinstance(sub, Scalar) and not is_setting(sub.name):
                place = f"axis {axis} of {ref.name}, {size} long here"
                first, where = found.setdefault(sub.name, (size, place))
                if first != size:
                    torn = torn or f"Index {sub.name} runs over {where}, and over {place}. An index has one length."
    for name in line.indices:
        if name not in found:
            if name not in lengths:
                raise ReadError(f"how far index {name!r} runs cannot be told: it stands alone nowhere, as in "
                                f"weight[i], and is none of {', '.join(lengths)}")  # fmt: skip
            found[name] = (lengths[name], "")
    return {name: size for name, (size, _) in found.items()}, torn


def _program(work: Any) -> Program:
    """The lines of a layer, a program or a loop nest; what a nest writes is its output."""
    if isinstance(work, Layer):
        return work.program
    if isinstance(work, LoopNest):
        target = work.statement.target.name
        roles = tuple((name, "output" if name == target else "input") for name in work.references)
        return Program((work,), roles, tuple((name, work.shape(name)) for name in work.references))
    assert isinstance(work, Program)
    return work


def _results(program: Program) -> tuple[str, ...]:
    """The tensors that are written and not only local."""
    written = dict.fromkeys(nest.statement.target.name for nest in program.nests)
    return tuple(name for name in written if program.role(name) != "local")


Items = tuple[tuple[str, Any], ...]  # of the given numbers


@lru_cache(maxsize=256)
def _wanted(question: Statement, given: Items) -> Program:
    """The expected lines, made once."""
    return _program(question.expected(dict(given)))


@lru_cache(maxsize=256)
def _right(question: Statement, given: Items, key: str) -> tuple[dict[str, Any], Numbers]:
    """What the tensors hold when the lines begin, and the numbers that the expected lines give, computed once."""
    wanted = _wanted(question, given)
    inputs = question.inputs(wanted, key)
    return inputs, _run(wanted, _results(wanted), inputs, dict(given))


def _run(program: Program, results: tuple[str, ...], inputs: Mapping[str, Any], given: Given) -> Numbers:
    scalars = {name: float(n) for name, n in _whole(given).items()}
    try:
        found = interpret(program, inputs, scalars).tensors
    except (ArithmeticError, ValueError):
        return None
    return tuple(_flat(found[name]) for name in results)


def _same(a: Numbers, b: Numbers) -> bool:
    if a is None or b is None:
        return False
    return all(_near(x, y) for one, other in zip(a, b, strict=True) for x, y in zip(one, other, strict=True))


def _near(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)


def _whole(given: Given) -> dict[str, int]:
    return {name: n for name, n in given.items() if type(n) is int}


def _filled(shape: tuple[Any, ...], random: Random, low: int) -> Any:
    if not shape:
        return random.choice([n for n in range(low, 10) if n])
    return [_filled(shape[1:], random, low) for _ in range(shape[0])]


def _flat(rows: Any) -> tuple[float, ...]:
    return tuple(x for row in rows for x in _flat(row)) if isinstance(rows, list) else (rows,)
