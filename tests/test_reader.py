"""The reader of statements: whatever it accepts survives a round trip; whatever it refuses, it explains."""

from __future__ import annotations

import math
import re
from math import isnan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnnlab.errors import DnnlabError, ExtentError, ReadError, ShapeError
from dnnlab.loopnest import LoopNest
from dnnlab.reader import read_statement
from dnnlab.statements import FUNCTIONS, Apply, Node, Number, Ref, Scalar, Statement, evaluate, operations, write

# -- trees as the reader makes them -----------------------------------------------------------------------

INDICES = ("n", "k", "i", "y")
TENSORS = {"inp": 2, "weight": 1, "bias": 1}
literals = st.integers(-9, 99).map(Number) | st.floats(-1e3, 1e3, allow_nan=False).map(Number)


def chain(inner: st.SearchStrategy[Node], ops: list[str]) -> st.SearchStrategy[Node]:
    return st.builds(lambda op, a, b: Apply(op, (a, b)), st.sampled_from(ops), inner, inner)


def scaled() -> st.SearchStrategy[Node]:
    names = st.sampled_from(INDICES).map(Scalar)
    factors = st.integers(-5, 9).map(Number) | st.sampled_from(["stride", "pad", "dilation_x"]).map(Scalar)
    return names | factors | st.builds(lambda a, b: Apply("multiply", (a, b)), names, factors)


def negated(node: Node) -> Node:
    """Minus a literal is read as a literal."""
    return Number(-node.value) if isinstance(node, Number) else Apply("negate", (node,))


affine = st.recursive(scaled(), lambda inner: chain(inner, ["add", "subtract"]) | inner.map(negated), max_leaves=4)
gathers = affine.map(lambda sub: Ref("ids", (sub,)))


@st.composite
def refs(draw: st.DrawFn, names: tuple[str, ...] = tuple(TENSORS)) -> Ref:
    name = draw(st.sampled_from(names))
    subscripts = draw(st.lists(affine | gathers, min_size=TENSORS[name], max_size=TENSORS[name]))
    return Ref(name, tuple(subscripts))


def grow(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    calls = [
        st.builds(lambda name, args: Apply(name, tuple(args)), st.just(name),
                  st.lists(inner, min_size=arity or 2, max_size=arity or 4))
        for name, arity in FUNCTIONS.items()
    ]  # fmt: skip
    powers = st.builds(lambda a, n: Apply("power", (a, Number(n))), inner, st.integers(2, 3))
    return st.one_of(chain(inner, ["add", "subtract", "multiply", "divide"]), inner.map(negated), powers, *calls)


values = st.recursive(literals | refs() | st.sampled_from(["eps", "lr"]).map(Scalar), grow, max_leaves=8)
targets = st.builds(lambda subs: Ref("out", tuple(subs)), st.lists(affine | gathers, min_size=1, max_size=3))


@st.composite
def statements(draw: st.DrawFn) -> Statement:
    target, value = draw(targets), draw(values)
    statement = Statement(target, draw(st.sampled_from([None, "add", "max", "min"])), value)
    if statement.accumulate is None:  # every index of the right must stand on the left
        target = Ref("out", (*target.subscripts, *(Scalar(name) for name in statement.indices)))
        statement = Statement(target, None, value)
    return statement


def depth(node: Node) -> int:
    children = node.args if isinstance(node, Apply) else node.subscripts if isinstance(node, Ref) else ()
    return 1 + max(map(depth, children), default=0)


@settings(max_examples=500)
@given(statements())
def test_writing_and_reading_gives_an_equal_tree(statement: Statement) -> None:
    line = write(statement)
    if len(line) > 1000 or depth(statement.value) > 12:
        return  # longer than the reader accepts; see test_limits
    try:
        again = read_statement(line)
    except ReadError as error:
        assert "powers of powers" in str(error)
        return
    assert again == statement
    assert write(again) == line


#: What Python needs to compute a right-hand side by itself.
PYTHON = {name: getattr(math, name) for name in ("exp", "log", "sqrt", "tanh", "erf")} | {
    "max": max,
    "min": min,
    "abs": abs,
    "step": lambda a: 1.0 if a > 0 else 0.0,
    "equal": lambda a, b: 1.0 if a == b else 0.0,
}


@settings(max_examples=300)
@given(
    st.recursive(literals | st.sampled_from(["eps", "lr"]).map(Scalar), grow, max_leaves=8),
    st.integers(-3, 3),
    st.integers(1, 5),
)
def test_a_line_means_the_same_to_python(tree: Node, eps: int, lr: int) -> None:
    try:
        want = evaluate(tree, {Scalar("eps"): eps, Scalar("lr"): lr})
        got = eval(write(tree), {"__builtins__": {}}, PYTHON | {"eps": eps, "lr": lr})
    except (ArithmeticError, ValueError):
        return
    assert got == want or abs(got - want) <= 1e-9 * abs(want) or (isnan(got) and isnan(want))


# -- what a line says -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "accumulate", "target", "value"),
    [
        ("out[i] = inp[i]", None, "out[i]", "inp[i]"),
        ("out[n,k] += weight[k,c] * inp[n,c]", "add", "out[n,k]", "weight[k,c] * inp[n,c]"),
        ("out[i] = max(out[i], inp[i,j])", "max", "out[i]", "inp[i,j]"),
        ("out[i] = min(out[i], inp[i,j] + 1)", "min", "out[i]", "inp[i,j] + 1"),
        ("out[i] = max(inp[i], 0)", None, "out[i]", "max(inp[i], 0)"),
        ("out[i] = max(out[i], inp[i], 0)", None, "out[i]", "max(out[i], inp[i], 0)"),
        ("  out [ i ]=(inp[ i ])  ", None, "out[i]", "inp[i]"),
        ("out[(n, k)] = inp[n, k]", None, "out[n,k]", "inp[n,k]"),
        ("out[y*stride+i-pad] += w[i]", "add", "out[y*stride+i-pad]", "w[i]"),
        ("out[ids[n],d] += x[n,d]", "add", "out[ids[n],d]", "x[n,d]"),
        ("out[i] = -inp[i]**2", None, "out[i]", "-inp[i]**2"),
        ("out[i] = (-inp[i])**2", None, "out[i]", "(-inp[i])**2"),
        ("out[i] = (-0.0)**2 - -1", None, "out[i]", "(-0.0)**2 - (-1)"),
        ("out[i] = a[i] - (b[i] - c[i])", None, "out[i]", "a[i] - (b[i] - c[i])"),
        ("out[i] = a[i] / (b[i] * c[i])", None, "out[i]", "a[i] / (b[i] * c[i])"),
        ("out[i] = (a[i] + b[i]) * 2", None, "out[i]", "(a[i] + b[i]) * 2"),
    ],
)
def test_reading(line: str, accumulate: str | None, target: str, value: str) -> None:
    statement = read_statement(line)
    assert (statement.accumulate, write(statement.target), write(statement.value)) == (accumulate, target, value)


def test_names_of_a_line() -> None:
    line = read_statement("out[n,y] += table[ids[n],y*stride+i-pad_top] * w[i] / count + eps")
    assert line.indices == ("n", "y", "i")
    assert line.settings == ("stride", "pad_top")
    assert line.scalars == ("count", "eps")
    assert [ref.name for ref in line.refs] == ["table", "ids", "w"]
    assert [ref.name for ref in line.reads] == ["table", "w"]
    assert line.names == {"n", "y", "i", "stride", "pad_top", "count", "eps"}


@pytest.mark.parametrize(
    ("line", "counted"),
    [
        ("out[n,k] += weight[k,c] * inp[n,c]", {"multiply": 1, "add": 1}),
        ("out[i] = max(inp[i], 0)", {"compare": 1}),
        ("out[i] = max(out[i], inp[i,j])", {"compare": 1}),
        ("out[i] = 1 / (1 + exp(-inp[i]))", {"divide": 1, "add": 1, "subtract": 1, "exp": 1}),
        ("out[i] = inp[i]**3", {"multiply": 2}),
        ("out[i] = max(a[i], b[i], c[i], 0)", {"compare": 3}),
        ("out[i] = table[ids[i*2+1]]", {}),
    ],
)
def test_operations_of_one_pass(line: str, counted: dict[str, int]) -> None:
    assert dict(operations(read_statement(line))) == counted


# -- what a line may not be -------------------------------------------------------------------------------

REFUSED = [
    ("out[i] = foo(inp[i])", r"'foo' cannot be called; allowed: max, min, exp, log, sqrt, tanh, erf, abs, step"),
    ("out[i] = inp[i].real", r"'inp\[i\]\.real' is not allowed here; a value is made of tensor elements"),
    ("out[i] = os.system(inp[i])", r"'os\.system' cannot be called; allowed"),
    ("out[i] = __import__('os')", r"'__import__' cannot be called"),
    ("out[i] = (lambda: inp[i])()", r"cannot be called"),
    ("out[i] = lambda: 1", r"'lambda: 1' is not allowed here"),
    ("out[i] = (x := 1)", r"'x := 1' is not allowed here|is not allowed here"),
    ("out[i] = f'{inp}'", r"is not allowed here"),
    ("out[i] = 'inp'", r"'inp' is not a number"),
    ("out[i] = b'x'", r"is not a number"),
    ("out[i] = [j for j in inp]", r"is not allowed here"),
    ("out[i] = {1: 2}", r"is not allowed here"),
    ("out[i] = inp[i] if 1 else 2", r"is not allowed here"),
    ("out[i] = inp[i] < 2", r"is not allowed here"),
    ("out[i] = inp[i] and 2", r"is not allowed here"),
    ("out[i] = not inp[i]", r"is not allowed here"),
    ("out[i] = await inp[i]", r"is not allowed here"),
    ("out[i] = yield", r"is not allowed here"),
    ("out[i] = inp[i] // 2", r"'inp\[i\] // 2' is not allowed here"),
    ("out[i] = inp[i] @ w[i]", r"is not allowed here"),
    ("out[i] = +inp[i]", r"is not allowed here"),
    ("out[i] = True", r"True is not a number"),
    ("out[i] = None", r"None is not a number"),
    ("out[i] = ...", r"Ellipsis is not a number"),
    ("out[i] = 2j", r"2j is not a number"),
    ("out[i] = 1e999", r"the number 'inf' is too large; at most 1e\+18 is read"),
    ("out[i] = " + "9" * 40, r"the number '9{23}…' is too large"),
    ("out[i] = 9**9**9", r"a power has a whole exponent from 2 to 8"),
    ("out[i] = inp[i]**9", r"a power has a whole exponent from 2 to 8"),
    ("out[i] = inp[i]**-2", r"a power has a whole exponent from 2 to 8"),
    ("out[i] = inp[i]**0.5", r"a power has a whole exponent.*use sqrt"),
    ("out[i] = inp[i]**w[i]", r"a power has a whole exponent"),
    ("out[i] = ((inp[i]**8)**8)**8", r"powers of powers go up to 64"),
    ("out[i] = exp(inp[i], 2)", r"exp\(\) takes 1 argument\(s\), got 2"),
    ("out[i] = max(inp[i])", r"max\(\) takes 2 to 8 argument\(s\), got 1"),
    ("out[i] = max(1,2,3,4,5,6,7,8,9)", r"max\(\) takes 2 to 8 argument\(s\), got 9"),
    ("out[i] = max(*inp[i], 2)", r"max\(\) takes plain arguments only"),
    ("out[i] = max(inp[i], 2, key=w)", r"max\(\) takes plain arguments only"),
    ("out[i*j] = inp[i,j]", r"index 'i\*j' is not affine: .*\(stride, pad, dilation, offset\)"),
    ("out[i] = inp[i*i]", r"index 'i\*i' is not affine"),
    ("out[i] = inp[(i+1)*(i+2)]", r"is not affine"),
    ("out[i] = inp[i**2]", r"index 'i\*\*2' is not affine: only \+ - \* are allowed"),
    ("out[i] = inp[i/2]", r"index 'i/2' is not affine: only \+ - \* are allowed"),
    ("out[i] = inp[i//2]", r"'i//2' is not allowed here; an index is made of names, integers, \+ - and \*"),
    ("out[i] = inp[i%2]", r"'i%2' is not allowed here; an index is made of"),
    ("out[i] = inp[max(i,2)]", r"'max\(i,2\)' is not allowed here; an index is made of"),
    ("out[i] = inp[1.5]", r"an index is a whole number, not 1.5"),
    ("out[i] = inp[i:j]", r"'i:j' is not allowed here"),
    ("out[i] = inp[...]", r"Ellipsis is not a number"),
    ("out[i] = inp[*i]", r"is not allowed here"),
    ("out[i] = inp[()]", r"inp\[\] needs at least one index"),
    ("out[i] = inp['i']", r"'i' is not a number"),
    ("out[i] = a[b[c[i]]]", r"an index that is looked up in a tensor cannot itself be looked up"),
    ("out[a[b[i]]] = inp[i]", r"an index that is looked up in a tensor cannot itself be looked up"),
    ("out[i] = i * inp[i]", r"loop index 'i' is used as a number; it can only stand in square brackets"),
    ("out[i] = inp[i] * stride", r"'stride' is a setting of an index; it can only stand in square brackets"),
    ("out[i] = inp[i,j]", r"index j stands only on the right of '='.*use \+= \(or max\)"),
    ("out[i] = inp[i] + inp[i,i]", r"'inp' is used with 1 and with 2 indices"),
    ("out[i] = out[i,i]", r"'out' is used with .* indices"),
    ("inp[i] = inp[ids[ids2[i]]]", r"cannot itself be looked up"),
    ("out[i] = i[i]", r"'i' is used both as a tensor and as a plain name; rename one"),
    ("out[i] = inp[i] * inp", r"'inp' is used both as a tensor and as a plain name"),
    ("pad[i] = inp[i]", r"'pad' is a setting of an index, not a tensor"),
    ("max[i] = inp[i]", r"'max' is a function; choose another name"),
    ("out[exp] = inp[exp]", r"'exp' is a function; choose another name"),
    ("_out[i] = inp[i]", r"'_out' is not a name: use letters, digits and _, at most 32"),
    ("оut[i] = inp[i]", r"'оut' is not a name"),  # Cyrillic o
    ("out[ı] = inp[ı]", r"'ı' is not a name"),  # dotless i
    ("out[i] = " + "x" * 33 + "[i]", r"is not a name: use letters, digits and _, at most 32"),
    ("out[i] = inp[i](2)", r"'inp\[i\]' cannot be called"),
    ("out[i] = inp[i][i]", r"'inp\[i\]' cannot be indexed; write name\[i,j\]"),
    ("out[i] = (inp + w)[i]", r"cannot be indexed"),
    ("out = inp[i]", r"the left side must be a tensor element such as out\[n,k\]"),
    ("2 = inp[i]", r"cannot read"),
    ("out.x = inp[i]", r"the left side must be a tensor element"),
    ("out[i], x = inp[i]", r"the left side must be a tensor element"),
    ("out[i] = x[i] = 2", r"a statement is 'tensor\[...\] = ...'"),
    ("out[i] -= inp[i]", r"a statement is 'tensor\[...\] = ...', 'tensor\[...\] \+= ...'"),
    ("out[i] *= inp[i]", r"a statement is"),
    ("out[i]: int = 2", r"a statement is"),
    ("inp[i]", r"a statement is"),
    ("import os", r"a statement is"),
    ("del out[i]", r"a statement is"),
    ("for i in x: out[i] = 2", r"a statement is"),
    ("def f(): pass", r"a statement is"),
    ("out[i] = 1; import os", r"one statement is read at a time, such as out\[n,k\]"),
    ("out[i] = 1\nx[i] = 2", r"one statement is read at a time"),
    ("", r"one statement is read at a time"),
    ("# out", r"one statement is read at a time"),
    ("out[i] = 2inp[i]", r"cannot read .* near column 1[0-9]: .*every product spelled out"),
    ("out[i] = inp[i", r"leaves 1 bracket\(s\) open; close each"),
    ("out[i] = inp]i[", r"closes a bracket that it never opened"),
    ("out[i] = inp(i]", r"cannot read"),
    ("out[i] = inp[i]\x00", r"cannot read"),
    ("out[i] = \ud800", r"cannot read"),
    ("out[i] = inp[i] · w[i]", r"cannot read"),
    ("out[i] = " + "(" * 41 + "1" + ")" * 41, r"nests brackets deeper than 40"),
    ("out[i] = " + "-" * 50 + "x[i]", r"the expression nests deeper than 40; split it"),
    ("out[i] = " + "-" * 980 + "x[i]", r"nests deeper than 40|nested too deeply"),
    ("out[i] = x" + ".a" * 480, r"is not allowed here"),
    ("out[i] = x[i" + "/2" * 400 + "]", r"is not affine"),
    ("out[i] = x()" + "()" * 400, r"cannot be called"),
    ("out[i] = " + "x[i]+" * 300 + "1", r"has 1510 characters; at most 1000 are read"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "says"), REFUSED)
def test_what_a_line_may_not_be(line: str, says: str) -> None:
    with pytest.raises(ReadError, match=says) as caught:
        read_statement(line)
    said = str(caught.value)
    assert repr(line)[1:30].rstrip("'\"") in said, "the message quotes the line"
    assert len(said) < 600


@pytest.mark.parametrize("given_", [None, 3, b"out[i] = 1", ["out[i] = 1"], pytest.param(10**5000, id="huge")])
def test_a_line_is_text(given_: object) -> None:
    with pytest.raises(ReadError, match=r"expected .*text, got"):
        read_statement(given_)  # type: ignore[arg-type]
    with pytest.raises(ReadError, match=r"expected .*text, got"):
        LoopNest(given_)  # type: ignore[arg-type]


def test_limits_leave_room() -> None:
    assert read_statement("out[i] = " + "+".join(["x[i]"] * 39)).indices == ("i",)
    assert read_statement("out[i] = " + "(" * 39 + "x[i]" + ")" * 39).indices == ("i",)
    assert read_statement("out[i] = ((x[i]**8)**4)**2").indices == ("i",)


# -- extents ----------------------------------------------------------------------------------------------

LINE = "out[y] += w[i] * x[y*stride+i-pad]"


@pytest.mark.parametrize("bad", [0, -3, True, 2.0, 1.5, None, "", "0", "2.5", "-k", "1/0", "__import__('os')", [3]])
@pytest.mark.parametrize("name", ["y", "i", "stride"])
def test_extents_are_positive_whole_numbers(name: str, bad: object) -> None:
    with pytest.raises((ExtentError, ReadError), match=rf"{name} = |{re.escape(str(bad))[:5]}"):
        LoopNest(LINE, **{name: bad})


def test_a_pad_is_not_negative() -> None:
    assert LoopNest(LINE, pad=0, stride=1, y=4, i=2).shape("x") == (5,)
    with pytest.raises(ExtentError, match="pad = -1: expected a whole number of at least 0"):
        LoopNest(LINE, pad=-1)


def test_an_unknown_extent_names_those_there_are() -> None:
    with pytest.raises(ExtentError, match=r"'z' is no index of 'out\[y\].*its indices are y, i, its settings stride"):
        LoopNest(LINE, z=3)


@pytest.mark.parametrize("shape", [(3, 3), (), (0,), (-2,)])
def test_a_shape_fits_its_tensor(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"of 'x': .* needs 1 extents of at least 1"):
        LoopNest(LINE, shapes={"x": shape})


def test_every_refusal_is_of_one_family() -> None:
    assert issubclass(ReadError, DnnlabError) and issubclass(DnnlabError, ValueError)
