"""Sweeps against exact fractions, point by point; and how fast a million points are."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from fractions import Fraction
from typing import Any

import numpy
import pytest
import sympy
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from dnnlab import ratios
from dnnlab.errors import DnnlabError, ExtentError, ReadError
from dnnlab.layers import Conv2d
from dnnlab.notation import read_formula, symbol
from dnnlab.ratios import Ratio
from dnnlab.sweep import sweep
from tests.formulas import Tree, spell, trees, value

NAMES = "kch"
whole = st.lists(st.integers(1, 60), min_size=1, max_size=4)
calm = settings(max_examples=150, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])


def grid(axes: dict[str, Any]) -> list[dict[str, Any]]:
    return [dict(zip(axes, point, strict=True)) for point in itertools.product(*axes.values())]


def read(tree: Tree) -> sympy.Expr:
    try:
        return read_formula(spell(tree), NAMES)
    except ReadError:
        assume(False)


# -- exactness --------------------------------------------------------------------------------------------


@calm
@given(trees(NAMES), st.fixed_dictionaries({name: whole for name in NAMES}))
def test_a_sweep_is_the_exact_value_at_every_point(tree: Tree, axes: dict[str, list[int]]) -> None:
    expr = read(tree)
    names = {str(s) for s in expr.free_symbols}
    axes = {name: values for name, values in axes.items() if name in names}
    assume(axes)
    try:
        want = [value(tree, {"k": 1, "c": 1, "h": 1} | point) for point in grid(axes)]
        got = sweep(expr, **axes)
    except ZeroDivisionError:
        assume(False)
    except ExtentError as error:
        assert "division by zero" in str(error)  # SymPy cancelled in another order
        assume(False)
    assert got.values.shape == tuple(map(len, axes.values()))
    for exact, number in zip(want, got.values.ravel().tolist(), strict=True):
        if isinstance(number, int):
            assert number == exact
        else:
            assert number == pytest.approx(float(exact), rel=1e-12, abs=1e-12)
    if all(exact.denominator == 1 and abs(exact) < 2**20 for exact in want) and degree(tree) < 9:
        assert got.values.dtype == numpy.int64


def degree(tree: Tree) -> int:
    """How many names are multiplied at most: a small degree cannot leave int64 on the way."""
    if not isinstance(tree, tuple):
        return 1
    op, *args = tree
    if op == "**":
        return degree(args[0]) * args[1]
    degrees = list(map(degree, args))
    return sum(degrees) if op in "*/+-" or op in ("max", "min") else max(degrees)


big = st.sampled_from([2**31, 2**31 - 1, 2**32 + 1, 3_037_000_499, 3_037_000_500, 2**40, 2**52, 2**53 + 1, 10**12, 7])


@calm
@given(
    st.lists(st.tuples(st.integers(-9, 9), st.lists(st.sampled_from(NAMES), max_size=4)), min_size=1, max_size=5),
    st.fixed_dictionaries({name: st.lists(big, min_size=1, max_size=2) for name in NAMES}),
    st.sampled_from(["{}", "max({}, k*c)", "ceil(({})/7)", "floor(({})/k)", "({})**2", "({})/3"]),
)
def test_nothing_overflows_unseen(terms: list[tuple[int, list[str]]], axes: dict[str, list[int]], wrap: str) -> None:
    text = wrap.format(" + ".join("*".join([f"({a})", *names]) for a, names in terms) + " + 0")
    expr = read_formula(text, NAMES)
    axes = {name: values for name, values in axes.items() if symbol(name) in expr.free_symbols}
    assume(axes)
    got = sweep(expr, **axes)
    for point, number in zip(grid(axes), got.values.ravel().tolist(), strict=True):
        exact = expr.subs({symbol(name): n for name, n in point.items()})
        exact = Fraction(int(exact.p), int(exact.q))
        if isinstance(number, int):
            assert number == exact
        else:  # what cancels counts by the size of what was added
            size = sum(abs(a) * math.prod(point.get(name, 1) for name in names) for a, names in terms)
            scale = {"({})**2": size**2, "max({}, k*c)": size + point.get("k", 1) * point.get("c", 1)}.get(wrap, size)
            assert abs(Fraction(number) - exact) <= Fraction(scale) * Fraction(1, 10**14) + 1


@pytest.mark.parametrize("top", [2**63 - 1, 2**63, 2**63 + 1, 2**64, 2**70 + 12345])
def test_the_edge_of_int64(top: int) -> None:
    k, c = symbol("k"), symbol("c")
    got = sweep(k + c, k=[top - 1], c=[1])
    assert (got.values.dtype == numpy.int64) == (top < 2**63)
    assert got.values.tolist() == [[top if top < 2**63 else float(top)]]
    assert sweep(k * c, k=[2**31], c=[2**32 - 1]).values.tolist() == [[2**31 * (2**32 - 1)]]
    assert sweep(k * c, k=[2**31], c=[2**32]).values.tolist() == [[float(2**63)]]
    root = math.isqrt(2**63 - 1)
    assert sweep(k**2, k=[root]).values.tolist() == [root**2]
    assert sweep(k**2, k=[root, root + 1]).values.tolist() == [float(root) ** 2, float(root + 1) ** 2]
    assert sweep(-k - c, k=[2**62], c=[2**62 - 1]).values.tolist() == [[-(2**63) + 1]]


def test_ceil_and_floor_divide_integers() -> None:
    n = 9_007_199_254_740_993  # 2**53 + 1: no float64
    assert sweep("floor(k/3)", k=[n, n + 1, n + 2]).values.tolist() == [n // 3, (n + 1) // 3, (n + 2) // 3]
    assert sweep("ceil(k/c + 2/3)", k=[1, 2, 3], c=[3]).values.tolist() == [[1], [2], [2]]
    assert sweep("floor((h + 2*k - 3)/c) + 1", h=[7], k=[1], c=[2]).values.tolist() == [[[4]]]
    assert sweep(sympy.floor(-symbol("k") / 2), k=[1, 2, 3]).values.tolist() == [-1, -1, -2]
    assert sweep(sympy.ceiling(-symbol("k") / 2), k=[1, 2, 3]).values.tolist() == [0, -1, -1]
    assert sweep(sympy.Mod(symbol("k"), 3) + sympy.Abs(symbol("k") - 2), k=[1, 2, 3]).values.tolist() == [2, 2, 1]


def test_fractions_stay_exact_until_the_end() -> None:
    assert sweep("k*c/6", k=[2, 4], c=[3]).values.tolist() == [[1], [2]]
    assert sweep("k*c/6", k=[2, 4], c=[3]).values.dtype == numpy.int64
    assert sweep("k/7 + c/3", k=[1], c=[1]).values.tolist() == [[10 / 21]]
    assert sweep(0.5 * symbol("k"), k=[1, 2]).values.tolist() == [0.5, 1.0]
    assert sweep("1/(k - 3)", k=[1, 2, 4]).values.tolist() == [-0.5, -1.0, 1.0]


def test_roots_and_logarithms() -> None:
    got = sweep("sqrt(k)*log2(c) + k**2", k=[2, 9], c=[8, 5])
    for (k, c), number in numpy.ndenumerate(got.values):
        k, c = (2, 9)[k], (8, 5)[c]
        assert number == pytest.approx(math.sqrt(k) * math.log2(c) + k**2)


# -- arrays by axis ---------------------------------------------------------------------------------------


def test_axes_stand_in_the_order_given() -> None:
    got = sweep("100*h + 10*c + k", c=[1, 2, 3], k=[4, 5], h=[6])
    assert got.values.shape == (3, 2, 1) and list(got.axes) == ["c", "k", "h"]
    assert got.values[2, 1, 0] == 635
    assert repr(got) == "Sweep(c: 3, k: 2, h: 1; int64)"
    assert numpy.asarray(got) is not None and (numpy.asarray(got) == got.values).all()
    assert numpy.asarray(got, dtype=float).dtype == float


def test_a_point_and_a_slice() -> None:
    got = sweep("10*c + k", c=[1, 2, 3], k=[4, 5])
    assert got.at(c=3, k=4) == 34 and isinstance(got.at(c=3, k=4), int)
    assert got.at(k=5).values.tolist() == [15, 25, 35] and list(got.at(k=5).axes) == ["c"]
    with pytest.raises(ExtentError, match=r"k = 6 is not on its axis \[4, 5\]"):
        got.at(k=6)
    with pytest.raises(ExtentError, match="no axis 'z'; the axes are c, k"):
        got.at(z=1)


def test_the_result_cannot_be_changed() -> None:
    mine = numpy.array([1, 2])
    got = sweep("k", k=mine)
    mine[0] = 9
    assert got.values.tolist() == [1, 2] and got.axes["k"].tolist() == [1, 2]
    with pytest.raises(ValueError, match="read-only"):
        got.values[0] = 3
    with pytest.raises(ValueError, match="read-only"):
        got.axes["k"][0] = 3
    with pytest.raises(AttributeError):
        got.values = mine  # type: ignore[misc]


@pytest.mark.parametrize(
    "axis",
    [[1, 2, 4], (1, 2, 4), range(1, 5), numpy.array([1, 2]), numpy.array([1, 2], numpy.uint8), [1.0, 2.0], [10**18],
     numpy.linspace(1, 4, 4), [sympy.Integer(3), 4], {1: "a", 2: "b"}, (n for n in (1, 2)), [numpy.int32(3)]],
)  # fmt: skip
def test_whole_numbers_of_any_make(axis: Any) -> None:
    got = sweep("2*k", k=axis)
    assert got.values.dtype == got.axes["k"].dtype == numpy.int64
    assert got.values.tolist() == [2 * n for n in got.axes["k"].tolist()]


def test_a_quantity_may_be_a_function_or_a_number() -> None:
    called = []

    def ops(k: Any, c: Any) -> Any:
        called.append((k, c))
        return Conv2d(n=1, h=7, w=7, r=3, s=3, k=k, c=c).ops

    got = sweep(ops, k=[1, 2], c=[5, 6, 7])
    assert called == [(symbol("k"), symbol("c"))]
    assert got.values.tolist() == [[2 * 9 * 49 * k * c for c in (5, 6, 7)] for k in (1, 2)]
    assert sweep(lambda k: 3, k=[1, 2]).values.tolist() == [3, 3]
    assert sweep(lambda k, c: c, k=[1, 2], c=[3]).values.tolist() == [[3], [3]]
    assert sweep(lambda share: share * 10, share=[0.25, 0.5]).values.tolist() == [2.5, 5.0]


def test_pads_may_be_zero() -> None:
    assert sweep("h + 2*pad", h=[5], pad=[0, 1]).values.tolist() == [[5, 7]]


# -- refusals ---------------------------------------------------------------------------------------------

K = symbol("k")


@pytest.mark.parametrize(
    "axis",
    [[], [0], [-1], [1, 0], [float("nan")], [1, float("inf")], [True], [2, True], "12", ["a"], [None], 3, None,
     [[1, 2]], numpy.zeros((2, 2)), numpy.array([True]), [1j], [K], b"12", [1, [2]],
     numpy.array([]), ["1"], [Fraction(-1, 2)]],
)  # fmt: skip
def test_an_axis_holds_positive_numbers(axis: Any) -> None:
    with pytest.raises(ExtentError, match=r"k (=|runs from).*such as k=\[1, 2, 4\]"):
        sweep(K, k=axis)


def test_every_symbol_has_an_axis_and_every_axis_a_symbol() -> None:
    conv = Conv2d(r=3, s=3)
    with pytest.raises(ExtentError, match=r"also depends on c, h, n, w: sweep c=\[\.\.\.\], h=\[\.\.\.\]"):
        sweep(conv.ops, k=[1])
    with pytest.raises(ExtentError, match="the quantity '2\\*k' does not depend on c; it depends on k"):
        sweep("2*k", k=[1], c=[1])
    with pytest.raises(ExtentError, match="does not depend on k; it depends on nothing"):
        sweep(sympy.Integer(6), k=[1])
    with pytest.raises(ExtentError, match="needs at least one axis"):
        sweep(K)
    with pytest.raises(ExtentError, match=r"cannot be called with batch: .*'n'"):
        sweep(lambda n: n, batch=[1])


@pytest.mark.parametrize("quantity", [None, [K], {"multiply": K}, True, K > 2, b"k", lambda k: [k], lambda k: None])
def test_a_quantity_is_an_expression(quantity: Any) -> None:
    with pytest.raises(ExtentError, match="is no quantity: give an expression"):
        sweep(quantity, k=[1])


@pytest.mark.parametrize(
    ("quantity", "says"),
    [
        (1 / (K - 2), "no finite value .*: division by zero"),
        ((K - 2) ** -3, "no finite value"),
        (1 / (sympy.sqrt(K) - sympy.sqrt(2)), "no finite value"),
        (sympy.log(K - 2), "no finite value"),
        (sympy.sqrt(K - 3), "no finite value"),
        (K**400 * 1e300, "no finite value"),
        (K * sympy.I, "is not a finite real number"),
        (K + sympy.exp(sympy.exp(50)), "is not a finite real number"),
        (sympy.Function("f")(K), r"'f\(k\)' cannot be swept"),
        (sympy.Piecewise((K, K > 2), (1, True)), "cannot be swept"),
    ],
)
def test_a_value_is_a_finite_number(quantity: Any, says: str) -> None:
    with pytest.raises(ExtentError, match=says):
        sweep(quantity, k=[1, 2, 50])


def test_a_dimension_is_whole_and_a_formula_is_read_as_data() -> None:
    with pytest.raises(ExtentError, match=r"k stands for a whole number; its axis holds 1\.5"):
        sweep("2*k", k=[1, 1.5])
    assert sweep(2 * sympy.Symbol("k"), k=[1, 1.5]).values.tolist() == [2.0, 3.0]
    with pytest.raises(ReadError, match="is not allowed"):
        sweep("__import__('os').getcwd()", k=[1])


def test_too_many_points() -> None:
    axis = range(1, 1001)
    with pytest.raises(ExtentError, match=r"1\.0e\+09 points are too many"):
        sweep("k*c*h", k=axis, c=axis, h=axis)
    with pytest.raises(ExtentError, match="70 axes"):
        sweep(sum(symbol(f"k{i}") for i in range(70)), **{f"k{i}": [1] for i in range(70)})


def test_errors_are_of_the_family() -> None:
    assert issubclass(ExtentError, DnnlabError)


# -- the arithmetic underneath ----------------------------------------------------------------------------

fractions = st.fractions(-50, 50, max_denominator=12)


def as_fractions(ratio: Ratio) -> list[Fraction]:
    return [Fraction(int(a), int(b)) for a, b in zip(ratio.above, ratio.below, strict=True)]


@given(st.lists(st.tuples(fractions, fractions), min_size=1, max_size=6))
def test_ratios_are_fractions(pairs: list[tuple[Fraction, Fraction]]) -> None:
    def array(values: list[Fraction]) -> Ratio:
        above = numpy.array([v.numerator for v in values])
        below = numpy.array([v.denominator for v in values])
        return Ratio(above, below, int(abs(above).max()), int(below.max()))

    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    laws = {
        "add": lambda a, b: a + b,
        "multiply": lambda a, b: a * b,
        "maximum": max,
        "minimum": min,
    }
    for name, law in laws.items():
        got = getattr(ratios, name)(array(first), array(second))
        assert as_fractions(got) == list(map(law, first, second))
        assert (abs(got.above) <= got.top).all() and (got.below > 0).all() and (got.below <= got.bottom).all()
        alone = getattr(ratios, name)(ratios.exact(first[0]), array(second))  # a number and an array
        assert alone.top >= abs(alone.above).max()
    for name, law in {"floor": math.floor, "ceiling": math.ceil}.items():
        got = getattr(ratios, name)(array(first))
        assert got.above.tolist() == list(map(law, first)) and got.below == 1
        assert (abs(got.above) <= got.top).all()
    for exponent in (1, 2, 3, -1, -2):
        if exponent < 0 and 0 in first:
            with pytest.raises(ZeroDivisionError):
                ratios.power(array(first), exponent)
            continue
        got = ratios.power(array(first), exponent)
        assert as_fractions(got) == [v**exponent for v in first]
        assert (abs(got.above) <= got.top).all() and (got.below > 0).all() and (got.below <= got.bottom).all()


# -- memory -----------------------------------------------------------------------------------------------


def test_a_large_sweep_needs_little_memory() -> None:
    import tracemalloc

    axis = range(1, 101)
    expr = read_formula(" + ".join(f"k*c*h*ceil(h/{n})" for n in range(2, 12)))
    sweep(expr, k=[1], c=[1], h=[1])
    tracemalloc.start()
    sweep(expr, k=axis, c=axis, h=axis)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * 8e6, "ten terms of 8 MB are not all held at once"


def test_importing_sweep_leaves_numpy_alone() -> None:
    code = "import sys, dnnlab.sweep; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
