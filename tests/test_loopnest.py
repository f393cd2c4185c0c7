"""What a line costs, against a witness that shares nothing with it: Python executing `loops()` on tensors and
numbers that count what is done to them."""

from __future__ import annotations

import itertools
import math
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sympy
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dnnlab.affine import Affine
from dnnlab.errors import ExtentError, ReadError, ShapeError
from dnnlab.interpreter import interpret
from dnnlab.loopnest import LoopNest
from dnnlab.notation import settle, symbol
from dnnlab.statements import write

# -- the witness ------------------------------------------------------------------------------------------


class Num:
    """A number that counts the operations it takes part in."""

    count: Counter[str] = Counter()  # noqa: RUF012 - one counter for all numbers of a run is the point

    def __init__(self, value: float) -> None:
        self.value = float(value)

    @classmethod
    def of(cls, kind: str, result: float, times: int = 1) -> Num:
        cls.count[kind] += times
        return cls(result)

    def __add__(self, other: Any) -> Num:
        return Num.of("add", self.value + plain(other))

    __radd__ = __add__

    def __sub__(self, other: Any) -> Num:
        return Num.of("subtract", self.value - plain(other))

    def __rsub__(self, other: Any) -> Num:
        return Num.of("subtract", plain(other) - self.value)

    def __mul__(self, other: Any) -> Num:
        return Num.of("multiply", self.value * plain(other))

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Num:
        return Num.of("divide", self.value / plain(other))

    def __rtruediv__(self, other: Any) -> Num:
        return Num.of("divide", plain(other) / self.value)

    def __neg__(self) -> Num:
        return Num.of("subtract", -self.value)

    def __pow__(self, exponent: int) -> Num:
        return Num.of("multiply", math.prod([self.value] * exponent), exponent - 1)


def plain(value: Any) -> float:
    return value.value if isinstance(value, Num) else value


def picking(pick: Callable[..., float]) -> Callable[..., Num]:
    return lambda *args: Num.of("compare", pick(*map(plain, args)), len(args) - 1)


def calling(name: str, function: Callable[[float], float]) -> Callable[[Any], Num]:
    return lambda arg: Num.of(name, function(plain(arg)))


SCOPE: dict[str, Any] = {name: calling(name, getattr(math, name)) for name in ("exp", "tanh", "erf")} | {
    "max": picking(max),
    "min": picking(min),
    "abs": calling("abs", abs),
    "range": range,
}


class Tensor:
    """A tensor with a border: outside nothing is stored, and a read gives `outside`."""

    def __init__(self, shape: tuple[int, ...], fill: Callable[[], float], outside: float) -> None:
        self.shape, self.outside = shape, outside
        self.cells = {at: Num(fill()) for at in itertools.product(*map(range, shape))}
        self.seen: set[tuple[int, ...]] = set()

    def __getitem__(self, at: Any) -> Num:
        at = at if isinstance(at, tuple) else (at,)
        if at not in self.cells:
            return Num(self.outside)
        self.seen.add(at)
        return self.cells[at]

    def __setitem__(self, at: Any, value: Any) -> None:
        at = at if isinstance(at, tuple) else (at,)
        if at in self.cells:
            self.seen.add(at)
            self.cells[at] = value if isinstance(value, Num) else Num(value)

    def nested(self, prefix: tuple[int, ...] = ()) -> Any:
        if len(prefix) == len(self.shape):
            return self.cells[prefix].value
        return [self.nested((*prefix, i)) for i in range(self.shape[len(prefix)])]


def execute(nest: LoopNest, seed: int) -> tuple[dict[str, Tensor], dict[str, Any], Counter[str]]:
    """Run the nest's own text as Python: tensors after, tensors before, operations."""
    rng = random.Random(seed)
    outside = {"max": -math.inf, "min": math.inf}.get(nest.statement.accumulate or "", 0.0)
    fill = lambda: float(rng.randint(-4, 4))  # noqa: E731 - passed on as a value
    tensors = {name: Tensor(nest.shape(name), fill, outside) for name in nest.references}
    before = {name: tensor.nested() for name, tensor in tensors.items()}
    Num.count = Counter()
    exec(nest.loops(), SCOPE | tensors)
    return tensors, before, +Num.count


def points(nest: LoopNest, **narrowed: tuple[int, int]) -> Iterator[dict[str, int]]:
    """Every point of the nest, or of a tile of it."""
    ranges = [range(*narrowed.get(name, (0, extent))) for name, extent in nest.extents]
    return (dict(zip(nest.extent, values, strict=True)) for values in itertools.product(*ranges))


def positions(nest: LoopNest, tensor: str, **narrowed: tuple[int, int]) -> dict[Any, list[tuple[int, ...]]]:
    """For each place where a tensor stands, every position it takes, border included: the subscripts as text,
    evaluated by Python."""
    scope = dict(nest.settings)
    found = {}
    for ref in nest.references[tensor]:
        text = "(" + "".join(write(sub) + "," for sub in ref.subscripts) + ")"
        code = compile(text, "subscripts", "eval")
        found[ref] = [eval(code, {}, scope | point) for point in points(nest, **narrowed)]
    return found


# -- random lines -----------------------------------------------------------------------------------------

SETTINGS = {"stride": st.integers(1, 4), "dilation": st.integers(1, 3), "pad": st.integers(0, 3)}


@st.composite
def subscripts(draw: st.DrawFn, indices: list[str]) -> str:
    """`2*i - j + stride*y - pad + 1`: each index at most once."""
    chosen = draw(st.lists(st.sampled_from(indices), min_size=0, max_size=3, unique=True))
    terms = []
    for name in chosen:
        scale = draw(st.sampled_from(["", "", "", "-", "2*", "-2*", "3*", "stride*", "stride*", "dilation*"]))
        terms.append(f"{scale}{name}")
    terms.append(draw(st.sampled_from(["0", "0", "0", "1", "4", "-1", "-pad", "-pad", "7"])))
    return " + ".join(terms).replace("+ -", "- ")


@st.composite
def lines(draw: st.DrawFn, subscript: Any = subscripts) -> str:
    indices = draw(st.lists(st.sampled_from("ijy"), min_size=1, max_size=3, unique=True))
    ranks = {name: draw(st.integers(1, 2)) for name in "ab"}

    def ref(name: str) -> str:
        return f"{name}[{', '.join(draw(subscript(indices)) for _ in range(ranks[name]))}]"

    factors = [ref(draw(st.sampled_from("ab"))) for _ in range(draw(st.integers(1, 3)))]
    value = draw(st.sampled_from([" * ", " + ", " - "])).join(factors)
    value = draw(st.sampled_from(["{}", "{}", "-({})", "({})**2", "abs({})", "max({}, 1)", "2 * {} - 3"])).format(value)
    kind = draw(st.sampled_from(["+=", "+=", "max", "min", "="]))
    if kind == "=":  # no index may be left to the right alone
        return f"out[{', '.join(sorted(indices))}] = {value}"
    left = draw(st.lists(st.sampled_from(indices), min_size=1, max_size=2, unique=True))
    target = draw(st.sampled_from([",".join(left), " + ".join(left), f"{left[0]}*stride - pad"]).map("out[{}]".format))
    return f"{target} += {value}" if kind == "+=" else f"{target} = {kind}({target}, {value})"


@st.composite
def nests(draw: st.DrawFn) -> LoopNest:
    line = draw(lines())
    free = LoopNest(line)
    extents = {name: draw(st.integers(1, 5)) for name in free.extent}
    extents |= {name: draw(SETTINGS[name]) for name, _ in free.settings}
    nest = LoopNest(line, **extents)
    try:
        assume(all(nest.size(name) <= 2000 for name in nest.references))
    except ShapeError:
        assume(False)
    return nest


# -- numbers ----------------------------------------------------------------------------------------------


@settings(max_examples=200)
@given(nests(), st.integers(0, 99))
def test_executing_the_loops(nest: LoopNest, seed: int) -> None:
    after, before, count = execute(nest, seed)
    run = interpret(nest, before)
    assert dict(count) == {kind: n for kind, n in nest.operations.items() if n} == run.operations
    assert sum(count.values()) == nest.ops
    assert math.prod(nest.extent.values()) == nest.iterations
    for name, tensor in after.items():
        assert tensor.nested() == run.tensors[name], name
        assert len(tensor.seen) == nest.touched(name) == run.touched[name], name


@settings(max_examples=100)
@given(nests())
def test_shapes_follow_the_reach_of_the_subscripts(nest: LoopNest) -> None:
    for name in nest.references:
        for axis, size in enumerate(nest.shape(name)):
            reach = [[at[axis] for at in places] for places in positions(nest, name).values()]
            assert size == max(max(at) + min(0, min(at)) + 1 for at in reach)
        assert nest.size(name) == math.prod(nest.shape(name))
        assert nest.accesses(name) == sum(map(len, positions(nest, name).values()))
        assert nest.reuse(name) * nest.size(name) == nest.accesses(name)


@settings(max_examples=200)
@given(nests(), st.data())
def test_a_tile_needs_what_it_reads_and_no_more(nest: LoopNest, data: st.DataObject) -> None:
    tile = {}
    for name, extent in nest.extents:
        if data.draw(st.booleans()):
            start = data.draw(st.integers(0, extent - 1))
            tile[name] = (start, data.draw(st.integers(start + 1, extent)))
    needed = nest.needs(tile)
    reads = {ref.name: [] for ref in nest.statement.refs}
    for ref in nest.statement.refs:
        reads[ref.name].append(ref)
    assert set(needed) == set(reads)
    for name, refs in reads.items():
        places = positions(nest, name, **tile)
        for axis, (size, (start, stop)) in enumerate(zip(nest.shape(name), needed[name], strict=True)):
            inside = {at[axis] for ref in refs for at in places[ref] if 0 <= at[axis] < size}
            assert (start, stop) == ((min(inside), max(inside) + 1) if inside else (0, 0))


@settings(max_examples=100)
@given(nests())
def test_independent_iterations_do_not_meet(nest: LoopNest) -> None:
    target = nest.statement.target
    places = dict(zip(map(str, points(nest)), positions(nest, target.name)[target], strict=True))
    for name, extent in nest.extents:
        moves = extent > 1 and any(
            places[str(point)] != places[str({**point, name: 1})] for point in points(nest, **{name: (0, 1)})
        )
        assert (name in nest.independent) == (moves or (extent == 1 and name in re.findall("[a-z]+", write(target))))
        assert (name in nest.reducing) != (name in nest.independent)
    inside = {at for at in places.values() if all(0 <= i < n for i, n in zip(at, nest.shape(target.name), strict=True))}
    assert nest.parallelism >= len(inside)
    alone = {sub.name for sub in target.subscripts if hasattr(sub, "name")}
    if alone == set(nest.independent):
        assert nest.parallelism == len(set(places.values()))


# -- symbols ----------------------------------------------------------------------------------------------


@settings(max_examples=150)
@given(nests(), st.data())
def test_symbolic_answers_agree_with_numbers_wherever_they_are_given(nest: LoopNest, data: st.DataObject) -> None:
    bound = dict((*nest.extents, *nest.settings))
    some = data.draw(st.sets(st.sampled_from(sorted(bound))))
    part = LoopNest(nest.text, **{name: value for name, value in bound.items() if name not in some})
    values = {symbol(name): value for name, value in bound.items()}

    def number(value: Any) -> Any:
        return settle(value.subs(values)) if isinstance(value, sympy.Expr) else value

    assert number(part.ops) == nest.ops
    assert {kind: number(n) for kind, n in part.operations.items()} == nest.operations
    for name in nest.references:
        try:
            assert tuple(map(number, part.shape(name))) == nest.shape(name)
            assert number(part.reuse(name)) == nest.reuse(name)
            assert number(part.touched(name)) == nest.touched(name), (part, name, part.touched(name))
        except ExtentError as error:
            assert some and "bind" in str(error)


@st.composite
def windows(draw: st.DrawFn) -> str:
    """Convolution-like subscripts, where a formula is most often possible, and most easily wrong."""
    a = draw(st.sampled_from(["y", "y*stride", "2*y", "y*3", "-y", "y*stride*2", "-y*stride"]))
    b = draw(st.sampled_from(["", " + i", " + i*dilation", " + 2*i", " - i", " + 3*i", " - i*dilation", " + i*stride"]))
    c = draw(st.sampled_from(["", "", " + j", " + 4*j", " - j"])) if b else ""
    return a + b + c + draw(st.sampled_from(["", "", " - pad", " + pad", " - 1", " + 2", " - 2*pad", " + offset"]))


@settings(max_examples=250)
@given(windows(), st.data())
def test_symbolic_windows(window: str, data: st.DataObject) -> None:
    line = f"out[y] += w[i,j] * x[{window}]"
    free = LoopNest(line)
    some = data.draw(st.sets(st.sampled_from([name for name, _ in (*free.extents, *free.settings)])))
    fixed = {name: data.draw(st.integers(1, 5)) for name in some}
    part = LoopNest(line, **fixed)
    try:
        formula = part.touched("x")
    except ExtentError:
        assume(False)
    except ShapeError:
        return
    assert formula is not None
    for _ in range(8):
        rest = {
            name: data.draw(st.integers(0 if name in ("pad", "offset") else 1, 6))
            for name, _ in (*free.extents, *free.settings)
            if name not in some
        }
        try:
            nest = LoopNest(line, **fixed, **rest)
            (size,) = nest.shape("x")
        except ShapeError:
            continue
        (places,) = positions(nest, "x").values()
        want = len({at for (at,) in places if 0 <= at < size})
        got = formula.subs({symbol(k): v for k, v in rest.items()}) if isinstance(formula, sympy.Expr) else formula
        assert got == want, (part, formula, rest)


def test_common_windows_do_have_a_formula() -> None:
    """The cases the lectures use must not hide behind `bind`."""
    conv = "out[n,k,y,x] += weight[k,c,i,j] * inp[n,c,y*stride+i*dilation-pad,x*stride+j*dilation-pad]"
    assert str(LoopNest(conv, stride=1, dilation=1, pad=0).touched("inp")) == "c*n*(i + y - 1)*(j + x - 1)"
    assert LoopNest(conv, stride=2, i=3, j=3, dilation=1, pad=1).touched("inp") == sympy.sympify(
        "(2*y-1)*(2*x-1)*c*n", locals={name: symbol(name) for name in "yxcn"}
    )
    assert LoopNest(conv, dilation=1, pad=0).touched("weight") == math.prod(map(symbol, "kcij"))
    gap = LoopNest("out[y] += w[i] * x[y*stride+i]").touched("x")
    assert str(gap) == "y*Min(i, stride) + Max(0, i - stride)"


def test_which_way_an_index_runs() -> None:
    flipped = LoopNest("out[y] += w[i] * x[y-i*dilation]")
    assert str(flipped.shape("x")[0]) == "-dilation*(i - 1) + y"
    unknown = Affine((("i", symbol("stride") - 2),), 0)
    with pytest.raises(ExtentError, match=r"whether index 'i' runs up or down depends on the sign of stride - 2: bind"):
        unknown.span({"i": (0, 3)})
    with pytest.raises(ExtentError, match=r"whether the step pad is zero is open: bind"):
        LoopNest("out[i] = x[i*pad]").touched("x")
    assert LoopNest("out[i] = x[i*pad]", pad=0, i=5).touched("x") == 1


@pytest.mark.parametrize("line", ["out[n,d] = table[ids[n],d]", "out[ids[n],d] += table[n,d]"])
def test_lookups_can_reach_any_row(line: str) -> None:
    nest = LoopNest(line, n=4, d=3)
    name = "table" if line.startswith("out[n") else "out"
    with pytest.raises(ExtentError, match="depends on the indices looked up"):
        nest.touched(name)
    assert str(nest.shape(name)[0]) == f"rows_{name}"
    assert nest.touched("ids") == 4 and nest.needs({"n": (1, 3)})["ids"] == ((1, 3),)
    assert nest.parallelism == (12 if name == "table" else 3)


def test_a_transposed_convolution_meets_in_its_output() -> None:
    nest = LoopNest("out[y*stride+i] += w[i] * x[y]", y=4, i=3, stride=1)
    assert set(nest.independent) == {"y", "i"} and nest.parallelism == 6
    assert LoopNest("out[y+k] += x[y,k]").parallelism == symbol("y") + symbol("k") - 1


# -- large and wrong --------------------------------------------------------------------------------------


def test_large_windows_are_not_counted_one_by_one() -> None:
    start = time.process_time()
    conv = LoopNest("out[y] += w[i] * x[y*stride+i-pad]", y=10**12, i=7, stride=2, pad=3)
    assert conv.shape("x") == (2 * 10**12 - 1,) and conv.touched("x") == 2 * 10**12 - 1
    assert conv.needs({"y": (0, 10**11)})["x"] == ((0, 2 * 10**11 + 2),)
    assert LoopNest("out[i] = x[3*i-4]", i=10**15).touched("x") == 10**15 - 4
    with pytest.raises(ExtentError, match="too many"):
        LoopNest("out[y] += w[i] * x[y*7+i*3-1]", y=10**4, i=10**4, shapes={"x": (50,)}).touched("x")
    with pytest.raises(ExtentError, match="too many elements to count one by one"):
        LoopNest("out[i,j] = x[i,j] + x[j,i]", i=10**5, j=10**5).touched("x")
    assert time.process_time() - start < 5


@pytest.mark.parametrize("tile", [(0, 0), (3, 2), (-1, 2), (0, 5), (4, 4)])
def test_a_tile_lies_inside_the_nest(tile: tuple[int, int]) -> None:
    nest = LoopNest("out[y] = x[y]", y=4)
    with pytest.raises(ExtentError, match=r"tile y = .*: expected 0 <= start < stop <= 4"):
        nest.needs({"y": tile})
    with pytest.raises(ExtentError, match=r"'z' is no index of .*its indices are y"):
        nest.needs({"z": (0, 1)})


def test_no_such_tensor() -> None:
    with pytest.raises(ReadError, match=r"no tensor 'z' in 'out\[y\] = x\[y\]'; it has out, x"):
        LoopNest("out[y] = x[y]").touched("z")


def test_an_axis_all_border() -> None:
    with pytest.raises(ShapeError, match=r"axis 0 of 'x' .* is empty: the border is wider than it"):
        LoopNest("out[y] = x[y-pad]", y=3, pad=3).shape("x")


def test_loops_are_readable() -> None:
    conv = LoopNest("out[n,k,y] += weight[k,c,i] * inp[n,c,y*stride+i-pad]", n=8, stride=2, y="h/2")
    assert conv.loops().splitlines() == [
        "stride = 2",
        "pad = PAD",
        "for n in range(8):",
        "    for k in range(K):",
        "        for y in range(H/2):",
        "            for c in range(C):",
        "                for i in range(I):",
        "                    out[n,k,y] += weight[k,c,i] * inp[n,c,y*stride+i-pad]",
    ]
