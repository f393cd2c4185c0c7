"""Derivatives against finite differences, and every rewriting of a line against the line itself."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from dnnlab.calculus import slopes, substitute, through_output
from dnnlab.errors import DnnlabError
from dnnlab.inplace import witness
from dnnlab.reader import read_statement
from dnnlab.statements import Apply, Node, Number, Ref, Scalar, Statement, evaluate, walk, write

Values = dict[Node, float]
OUT = Ref("out", (Scalar("i"),))
LEAVES: list[Node] = [Ref("a", (Scalar("i"),)), Ref("b", (Scalar("i"),)), Ref("c", (Scalar("j"),)), Scalar("eps")]
OUTSIDE = (ValueError, ArithmeticError)  # of a domain: log(-1), 1/0, exp(1000)

leaves = st.sampled_from([*LEAVES, LEAVES[0]]) | st.sampled_from([0, 1, 2, 3, -1, 0.5, 1.7]).map(Number)


def grow(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    def call(name: str, *args: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
        return st.tuples(*args).map(lambda given_: Apply(name, given_))

    pairs = [call(name, inner, inner) for name in ("add", "subtract", "multiply", "divide", "max", "min", "equal")]
    singles = [call(name, inner) for name in ("negate", "exp", "log", "sqrt", "tanh", "erf", "abs", "step")]
    powers = st.builds(lambda a, n: Apply("power", (a, Number(n))), inner, st.integers(2, 3))
    return st.one_of(*pairs, *pairs[:4], *singles, powers, call("max", inner, inner, inner))


trees = st.recursive(leaves, grow, max_leaves=6)
seeds = st.integers(0, 2**32 - 1)


def line(tree: Node) -> Statement:
    """A line with this right side; nonsense such as log(-1) or 1 / 0 is passed over."""
    statement = Statement(Ref("out", (Scalar("i"), Scalar("j"))), None, tree)
    try:
        slopes(statement)
    except DnnlabError as error:
        assert "real value" in str(error)
        assume(False)
    return statement


def draw(rng: random.Random) -> Values:
    return {leaf: rng.choice([1, 1, -1]) * rng.uniform(0.1, 3) for leaf in LEAVES} | {LEAVES[-1]: rng.uniform(0.1, 2)}


def difference(tree: Node, values: Values, leaf: Node) -> float | None:
    """The slope by central differences; None where the tree is not smooth (or not steady) nearby."""
    found = []
    for h in (1e-4, 5e-5):
        up = evaluate(tree, {**values, leaf: values[leaf] + h})
        down = evaluate(tree, {**values, leaf: values[leaf] - h})
        middle = evaluate(tree, values)
        found += [(up - down) / (2 * h), (up - middle) / h, (middle - down) / h]
    scale = 1 + abs(found[3])
    return found[3] if max(found) - min(found) <= 2e-3 * scale and abs(found[0] - found[3]) <= 1e-6 * scale else None


# -- slopes -----------------------------------------------------------------------------------------------


@settings(max_examples=200, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(trees, seeds)
def test_slopes_are_finite_differences(tree: Node, seed: int) -> None:
    statement = line(tree)
    found, rng, compared = dict(slopes(statement)), random.Random(seed), 0
    for _ in range(12):
        values = draw(rng)
        for ref in statement.reads:
            try:
                steep = difference(tree, values, ref)
                if steep is None or abs(steep) > 1e6:
                    continue
                slope = evaluate(found[ref], values) if ref in found else 0.0
            except OUTSIDE:
                continue
            assert abs(slope - steep) <= 1e-4 * (1 + abs(steep)), (write(tree), write(ref), values, slope, steep)
            compared += 1
    assume(compared or not statement.reads)


@settings(max_examples=150, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(trees)
def test_a_slope_can_be_written_and_read(tree: Node) -> None:
    for ref, slope in slopes(line(tree)):
        text = f"d_{write(ref)} += {write(slope)}"
        try:
            again = read_statement(text)
        except DnnlabError as error:  # a long slope, an index that only the other factor had, a higher power
            assert any(words in str(error) for words in ("nests", "characters", "exponent", "powers of"))
            continue
        assert write(again) == text


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("out[i] = a[i] * b[i]", {"a[i]": "b[i]", "b[i]": "a[i]"}),
        ("out[i] = a[i] - b[i]", {"a[i]": "1", "b[i]": "(-1)"}),
        ("out[i] = a[i] / b[i]", {"a[i]": "1 / b[i]", "b[i]": "-(a[i] / b[i]**2)"}),
        ("out[i] = max(a[i], 0)", {"a[i]": "step(a[i])"}),
        ("out[i] = tanh(a[i])", {"a[i]": "1 - tanh(a[i])**2"}),
        ("out[i] = a[i]**3", {"a[i]": "3 * a[i]**2"}),
        ("out[i] = step(a[i])", {}),
        ("out[i] = 3", {}),
        ("out[i] = sqrt(a[i]**2)", {"a[i]": "step(a[i]) - step(-a[i])"}),
        ("out[i] = a[i] * max(1, 2) * step(3) * abs(-2) * equal(1, 2)", {}),
        ("out[i] = a[i] * max(1, 2) * step(3) * abs(-2) * equal(2, 2)", {"a[i]": "4"}),
    ],
)
def test_slopes_read_well(text: str, found: dict[str, str]) -> None:
    assert {write(ref): write(slope) for ref, slope in slopes(read_statement(text))} == found


@pytest.mark.parametrize(
    "right",
    ["a[i] / 0", "a[i] * sqrt(-2)", "log(0) * a[i]", "1 / (a[i] - a[i])", "sqrt(0 - a[i]**2)", 
     "a[i] * exp(exp(exp(9)))", "a[i] * " + "exp(" * 12 + "-9" + ")" * 12,
     "a[i] * 999999999999999999**8 * 999999999999999999**8 * 999999999999999999**8"],
)  # fmt: skip
def test_a_line_without_a_value_has_no_slope(right: str) -> None:
    with pytest.raises(DnnlabError, match=r"has no (finite )?real value|has no finite value"):
        list(slopes(read_statement(f"out[i] = {right}")))


# -- through the output -----------------------------------------------------------------------------------

THROUGH = {
    "1 / (1 + exp(-a[i]))": "out[i] * (1 - out[i])",
    "tanh(a[i])": "(out[i] + 1) * (1 - out[i])",
    "exp(a[i])": "out[i]",
    "max(a[i], 0)": "step(out[i])",
    "2 * a[i] + 3": "2",
    "-a[i]": "(-1)",
}
NOT_THROUGH = ["a[i]**2", "abs(a[i])", "a[i] / (1 + exp(-a[i]))", "0.5 * a[i] * (1 + erf(a[i] / 1.4142135623730951))",
               "a[i] * min(max(a[i] + 3, 0), 6) / 6", "a[i] * a[i]", "a[i]**2 + 0 * a[i]"]  # fmt: skip


@pytest.mark.parametrize(("right", "slope"), THROUGH.items())
def test_slopes_through_the_output(right: str, slope: str) -> None:
    found = through_output(read_statement(f"out[i] = {right}"))
    assert found is not None and [write(s) for _, s in found.slopes] == [slope]


@pytest.mark.parametrize("right", NOT_THROUGH)
def test_lines_whose_output_does_not_tell(right: str) -> None:
    assert through_output(read_statement(f"out[i] = {right}")) is None


def test_not_through_an_output_that_gathers_or_replaces() -> None:
    assert through_output(read_statement("out[i] += exp(a[i])")) is None
    assert through_output(read_statement("out[i] = exp(a[i+1])")) is None
    assert through_output(read_statement("p[i] = p[i] - lr * g[i]")) is None


@settings(max_examples=200, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(trees, seeds)
def test_through_the_output_is_the_same_slope(tree: Node, seed: int) -> None:
    base = line(tree)
    statement = Statement(OUT, None, base.value)  # so that a[i] and b[i] stand where the output stands
    found = through_output(statement)
    if found is None:
        return
    assert found.element in statement.reads and found.element.subscripts == OUT.subscripts
    direct, rng = dict(slopes(statement)), random.Random(seed)
    trees_ = [slope for _, slope in found.slopes] + ([found.inverse] if found.inverse else [])
    assert not any(node == found.element for one in trees_ for node in walk(one))
    for _ in range(20):
        values = draw(rng)
        try:
            values[OUT] = evaluate(tree, values)
            wanted = {ref: evaluate(slope, values) for ref, slope in direct.items()}
        except OUTSIDE:
            continue
        if max(map(abs, [values[OUT], *wanted.values()])) > 1e4 or is_saturated(values[OUT]):
            continue  # an output rounded to 1 no longer tells its input
        del values[found.element]
        for ref, slope in found.slopes:
            assert evaluate(slope, values) == pytest.approx(wanted.get(ref, 0.0), rel=1e-4, abs=1e-4), write(tree)
        assert {ref for ref, _ in found.slopes} == set(direct)


def is_saturated(value: float) -> bool:
    return abs(abs(value) - round(abs(value))) < 1e-6


@pytest.mark.parametrize(
    "right",
    ["1 / (1 + exp(-a[i]))", "exp(a[i])", "2 * a[i] + 3", "b[i] - 3 / a[i]", "exp(a[i] - b[i])",
     "log(1 + exp(a[i]))", "(a[i] - b[i]) / sqrt(c[i] + eps)"],
)  # fmt: skip
def test_the_inverse_gives_the_input_back(right: str) -> None:
    statement = read_statement(f"out[i] = {right}")
    found = through_output(statement)
    assert found is not None and found.inverse is not None
    rng = random.Random(0)
    for _ in range(50):
        values: Values = {leaf: rng.uniform(-3, 3) for leaf in statement.reads} | {Scalar("eps"): 0.1}
        values |= {ref: abs(values[ref]) for ref in statement.reads if ref.name == "c"}
        values[OUT] = evaluate(statement.value, values)
        element = values.pop(found.element)
        assert evaluate(found.inverse, values) == pytest.approx(element, rel=1e-6, abs=1e-6)


# -- substitution -----------------------------------------------------------------------------------------


@settings(max_examples=200, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(trees, trees, seeds)
def test_substitution_keeps_the_value(tree: Node, by: Node, seed: int) -> None:
    statement = line(tree)
    element = LEAVES[0]
    assert isinstance(element, Ref)
    line(by)
    try:
        changed = substitute(statement, element, by)
    except DnnlabError:
        assume(False)
    assert (changed.target, changed.accumulate) == (statement.target, None)
    rng, compared = random.Random(seed), 0
    for _ in range(20):
        values = draw(rng)
        try:
            inner = evaluate(by, values)
            want = evaluate(tree, {**values, element: inner})
            near = evaluate(tree, {**values, element: inner * (1 + 1e-9)})
        except OUTSIDE:
            continue
        if abs(want) > 1e6 or abs(near - want) > 1e-6 * (1 + abs(want)):
            continue  # on a step, where rounding decides
        compared += 1
        assert evaluate(changed.value, values) == pytest.approx(want, rel=1e-6, abs=1e-6), (write(tree), write(by))
    assume(compared)


def test_substitution_elsewhere_changes_nothing() -> None:
    statement = read_statement("out[i] = a[i] + 1")
    assert substitute(statement, Ref("z", (Scalar("i"),)), Number(3)) is statement


# -- the proof that a line cannot run in place ------------------------------------------------------------


@pytest.mark.parametrize("right", [*NOT_THROUGH, "exp(-a[i]**2)", "a[i]**3 - a[i]", "max(abs(a[i]) - 1, tanh(a[i]))"])
def test_a_witness_is_two_inputs_one_output_two_slopes(right: str) -> None:
    statement = read_statement(f"out[i] = {right}")
    found = witness(statement)
    assert found is not None
    first, second, level, slope_first, slope_second = found
    a = statement.reads[0]
    for x, slope in ((first, slope_first), (second, slope_second)):
        assert evaluate(statement.value, {a: x}) == pytest.approx(level, abs=1e-8)
        steep = difference(statement.value, {a: x}, a)
        assert steep is not None and slope == pytest.approx(steep, rel=1e-3, abs=1e-4)
    assert abs(first - second) > 0.05 and abs(slope_first - slope_second) > 1e-3


@pytest.mark.parametrize("right", [*THROUGH, "a[i] * b[i]", "a[i] + eps", "3", "abs(tanh(a[i] - 5.9))", "log(a[i])"])
def test_no_witness_where_there_is_none(right: str) -> None:
    assert witness(read_statement(f"out[i] = {right}")) is None


def test_long_polynomials_do_not_keep_anybody_waiting() -> None:
    for right in ("(a[i] + b[i] + c[i])**8 * (a[i] - b[i] + 2)**8 / (c[i] + d[i])**8",
                  "((a[i] + b[i] + c[i] + d[i] + e[i])**8 + 1)**8"):  # fmt: skip
        assert through_output(read_statement(f"out[i] = {right}")) is None
