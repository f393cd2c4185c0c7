"""The laws of the catalogue, for at least 200 shapes of each layer: the formulas are what the interpreter counts,
the numbers are NumPy's, and the gradients are finite differences.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from witness import WITNESSES, Array, Values, arrays, running

from dnnlab import vectorised
from dnnlab.errors import ExtentError
from dnnlab.interpreter import interpret
from dnnlab.layers import CATALOGUE, Layer
from dnnlab.loopnest import LoopNest
from dnnlab.notation import symbol
from dnnlab.program import Program
from dnnlab.statements import Apply, Node, Ref, Statement, fold

SHAPES = settings(max_examples=200, deadline=None)
SEEDS = st.integers(0, 2**32)
OPTIMIZERS = ("SGD", "Momentum", "Adam")
LAYERS = [name for name in CATALOGUE if name not in OPTIMIZERS]
OPTIONS = st.composite(lambda draw, name: WITNESSES[name].draw(draw))


def test_every_layer_has_a_witness() -> None:
    assert set(WITNESSES) == set(CATALOGUE)


def build(name: str, o: Values) -> Layer:
    return CATALOGUE[name](**o)


def dimensions(name: str) -> list[str]:
    return [field.name for field in dataclasses.fields(CATALOGUE[name]) if field.metadata.get("dimension")]


@cache
def in_symbols(
    what: Callable[[Layer], dict[str, Any]], name: str, options: tuple[tuple[str, Any], ...]
) -> dict[str, Any]:
    """What is derived from the layer with these options and a symbol for each dimension."""
    return what(CATALOGUE[name](**dict(options)))


def quantities(layer: Layer) -> dict[str, Any]:
    """Every number a layer tells."""
    known = {
        "parameters": layer.parameters, "inputs": layer.inputs, "activations": layer.activations,
        "state": layer.state, "traffic": layer.traffic, "ops": layer.ops, "macs": layer.macs,
        **{f"axis {place}": size for place, size in enumerate(layer.output_shape)},
        **passes("forward", layer.program),
    }  # fmt: skip
    if layer.kind not in OPTIMIZERS:
        known |= {f"saved {name}": size for name, size in layer.saved.items()}
        known |= passes("backward", layer.backward()) | passes("first layer", layer.backward(input_gradient=False))
    return known


def passes(label: str, program: Program) -> dict[str, Any]:
    known = {f"{label} macs": program.macs}
    return known | {f"{label} {kind}": count for kind, count in program.operations.items()}


def touched(layer: Layer) -> dict[str, Any]:
    """How many elements of each tensor each line touches, where that can be told in symbols."""
    known = {}
    for nest in layer.program.nests:
        for tensor in nest.references:
            try:
                known[f"touched {tensor} in {nest.text}"] = nest.touched(tensor)
            except ExtentError:
                continue  # only numbers can tell: the interpreter sees to those
    return known


# -- the formulas ----------------------------------------------------------------------------------------


def agree(what: Callable[[Layer], dict[str, Any]], name: str, o: Values) -> None:
    """Derive first and bind then, or bind first and derive then: it is all the same."""
    names = dimensions(name)
    formulas = in_symbols(what, name, tuple((key, value) for key, value in o.items() if key not in names))
    bound = what(build(name, o))
    values = {symbol(key): value for key, value in o.items() if key in names}
    # a border that turns out to be zero is left out of a line once it is known: that line has another text
    for label in formulas if what is quantities else formulas.keys() & bound.keys():
        formula, number = formulas[label], bound[label]
        assert isinstance(number, int), f"{label} of {name} {o} is {number!r}"
        value = formula.subs(values) if hasattr(formula, "subs") else formula
        assert value == number, f"{label} of {name} {o}: {formula} gives {value}, but {number} when bound"


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_formula_in_symbols_becomes_the_number(name: str) -> None:
    @SHAPES
    @given(OPTIONS(name))
    def law(o: Values) -> None:
        agree(quantities, name, o)

    law()


@pytest.mark.parametrize("name", CATALOGUE)
def test_what_is_touched_in_symbols_becomes_the_number(name: str) -> None:
    @settings(max_examples=25, deadline=None)
    @given(OPTIONS(name))
    def law(o: Values) -> None:
        agree(touched, name, o)

    law()


def counted(
    program: Program, given: dict[str, Any], scalars: dict[str, float]
) -> tuple[dict[str, Any], dict[LoopNest, Counter[str]]]:
    """Run each line alone in the interpreter, and hold its counts against the formulas."""
    tensors, counts = dict(given), {}
    for nest in program.nests:
        run = interpret(nest, tensors, scalars)
        assert nest.operations == run.operations, f"operations of {nest!r}"
        for tensor in nest.references:
            try:
                formula = nest.touched(tensor)
            except ExtentError:
                looked_up = any(isinstance(s, Ref) for ref in nest.references[tensor] for s in ref.subscripts)
                assert looked_up, f"{nest!r} knows all extents, so it can tell what it touches of {tensor}"
                continue
            assert formula == run.touched[tensor], f"elements of {tensor} touched by {nest!r}"
        tensors[nest.statement.target.name] = run.tensors[nest.statement.target.name]
        counts[nest] = Counter(run.operations)
    assert program.operations == sum(counts.values(), Counter()), f"operations of {program}"
    return tensors, counts


def lines_up(left: dict[str, Any], right: dict[str, Any], what: str) -> None:
    for name, array in left.items():
        if name in right:
            close(array, right[name], f"{what}: {name}")


def close(left: Any, right: Any, what: str) -> None:
    """All but equal, infinities included; some ten times faster than NumPy's own, which counts here."""
    left, right = np.asarray(left, float), np.asarray(right, float)
    assert left.shape == right.shape, f"{what}: {left.shape} against {right.shape}"
    with np.errstate(invalid="ignore"):  # infinity less infinity
        same = (left == right) | (np.abs(left - right) <= 1e-10 * (1 + np.abs(right)))
    assert same.all(), f"{what}:\n{left}\nagainst\n{right}"


# -- the laws --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LAYERS)
def test_counts_numbers_and_gradients(name: str) -> None:
    witness = WITNESSES[name]
    scalars = witness.scalars

    @SHAPES
    @given(OPTIONS(name), SEEDS)
    def law(o: Values, seed: int) -> None:
        layer = build(name, o)
        program = layer.program
        natural = dict(arrays(witness, o, seed))
        expected = witness.compute(o, natural)

        # sizes are those of real arrays
        assert layer.output_shape == expected.shape
        assert layer.activations == expected.size
        assert layer.input_shapes == tuple(witness.inputs(o).values())
        assert layer.inputs == sum(natural[key].size for key in witness.inputs(o))
        assert layer.parameters == sum(natural[key].size for key in witness.parameters(o))
        if not program.nests:  # a view
            assert layer.ops == 0 and layer.saved == {} and layer.backward().ops == 0
            return
        assert set(natural) == {key for key in program.tensors if program.role(key) not in ("local", "output")}

        # forward: counts, and the same numbers three times
        given = {key: array.reshape(program.shape(key)) for key, array in natural.items()}
        plain, _ = counted(program, given, scalars)
        (output,) = program.having("output")
        close(np.reshape(plain[output], expected.shape), expected, f"{name} {o}")
        lines_up(vectorised.run(program, given, scalars), plain, f"{name} {o}, vectorised")
        if len(program.nests) > 1 and program.ops < 300:
            whole = interpret(program, given, scalars)
            assert whole.operations == layer.operations
            lines_up(whole.tensors, plain, f"{name} {o}, all lines together")

        # backward, from nothing but what is said to be saved
        rng = np.random.default_rng(seed + 1)
        cotangent = rng.standard_normal(program.shape(output))
        values = {key: np.asarray(plain[key], float) for key in layer.saved}
        assert {key: array.size for key, array in values.items()} == layer.saved
        backward = layer.backward()
        gradients, counts = counted(backward, {**values, "d_" + output: cotangent}, scalars)
        fast = vectorised.run(backward, {**values, "d_" + output: cotangent}, scalars)
        lines_up(fast, gradients, f"{name} {o}, backward, vectorised")
        first = layer.backward(input_gradient=False)
        assert set(first.having("output")) == {"d_" + key for key in witness.parameters(o)}
        assert first.operations == sum((counts[nest] for nest in first.nests), Counter())
        for key, array in vectorised.run(first, {**values, "d_" + output: cotangent}, scalars).items():
            if key in first.having("output"):
                close(array, gradients[key], f"{name} {o}, without the gradient of the input: {key}")

        # the gradients are the slopes of the independent computation
        finite = np.isfinite(expected)
        weights = np.where(finite, cotangent.reshape(expected.shape), 0.0)

        def height(key: str, array: Array) -> float:
            out = witness.compute(o, natural | {key: array})
            return float((np.where(finite, out, 0.0) * weights).sum())

        learned = [*program.having("input"), *program.having("parameter")]
        assert set(backward.having("output")) == {"d_" + key for key in learned}
        for key in learned:
            direction = rng.standard_normal(natural[key].shape)
            step = 1e-6 * direction
            slope = (height(key, natural[key] + step) - height(key, natural[key] - step)) / 2e-6
            found = float((np.reshape(gradients["d_" + key], direction.shape) * direction).sum())
            assert math.isclose(slope, found, rel_tol=1e-5, abs_tol=1e-6), f"{name} {o}: d_{key}: {found} {slope}"

        if layer.in_place:
            runs_in_place(layer, plain, cotangent, gradients)

    law()


def runs_in_place(layer: Layer, plain: dict[str, Any], cotangent: Array, gradients: dict[str, Any]) -> None:
    """Let the output take the place of the first input, forward and backward."""
    program = layer.program
    source, output = program.having("input")[0], program.having("output")[0]
    scalars = WITNESSES[layer.kind].scalars
    given = {key: plain[key] for key in program.tensors if program.role(key) not in ("local", "output")}
    lines = [renamed(nest.statement, source, output) for nest in program.nests]
    nests = [
        LoopNest(line, shapes={key: program.shape(key) for key in program.tensors},
                 **{k: v for k, v in (*nest.extents, *nest.settings) if k in line.names})
        for line, nest in zip(lines, program.nests, strict=True)
    ]  # fmt: skip
    run = interpret(Program(tuple(nests)), {**given, output: given[source]}, scalars)
    close(run.tensors[output], plain[output], f"{layer!r} forward in place")
    kept: dict[str, Any] = {key: plain[key] for key in layer.saved} | {"d_" + output: cotangent}
    kept[source] = plain[output]
    lines_up(vectorised.run(layer.backward(), kept, scalars), gradients, f"{layer!r} backward in place")


def renamed(statement: Statement, old: str, new: str) -> Statement:
    def leaf(node: Any) -> Node:
        return Ref(new, node.subscripts) if isinstance(node, Ref) and node.name == old else node

    value = fold(statement.value, leaf, lambda op, args: Apply(op, tuple(args)))
    return Statement(statement.target, statement.accumulate, value)


@pytest.mark.parametrize("name", [name for name in LAYERS if name != "Flatten"])
def test_nothing_is_saved_in_vain(name: str) -> None:
    """Change one saved tensor, and some gradient changes: so each of them is needed."""
    witness = WITNESSES[name]

    @settings(max_examples=25, deadline=None)
    @given(OPTIONS(name), SEEDS)
    def law(o: Values, seed: int) -> None:
        o = roomy(o)
        layer = build(name, o)
        given = {key: array.reshape(layer.program.shape(key)) for key, array in arrays(witness, o, seed)}
        run = vectorised.run(layer.program, given, witness.scalars)
        rng = np.random.default_rng(seed)
        (output,) = layer.program.having("output")
        saved = {key: run[key] for key in layer.saved} | {"d_" + output: rng.standard_normal(run[output].shape)}
        backward = layer.backward()
        gradients = vectorised.run(backward, saved, witness.scalars)
        for key in layer.saved:
            lookup = key in ("ids", "kinds")
            poison = (run[key] + 1) % o["v"] if lookup else np.full_like(run[key], np.nan)
            with np.errstate(invalid="ignore"):
                changed = vectorised.run(backward, saved | {key: poison}, witness.scalars)
            same = [np.array_equal(changed[target], gradients[target]) for target in backward.having("output")]
            assert not all(same), f"{name} {o}: no gradient depends on {key}, so it need not be saved"

    law()


def roomy(o: Values) -> Values:
    """Sizes at which nothing cancels by chance, and windows that see all of the input."""
    larger = {key: 2 * value for key, value in o.items() if key in "ntuckhwmv" and isinstance(value, int)}
    return o | larger | ({"stride": 1, "padding": "same"} if "dilation" in o and "output_padding" not in o else {})


# -- optimizers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_update_counts_and_computes(name: str) -> None:
    witness = WITNESSES[name]

    @SHAPES
    @given(OPTIONS(name), SEEDS)
    def law(o: Values, seed: int) -> None:
        layer = build(name, o)
        tensors = dict(arrays(witness, o, seed))
        assert set(tensors) == set(layer.program.tensors)
        assert layer.parameters == layer.inputs == layer.activations == o["p"]
        assert layer.state == sum(tensors[key].size for key in witness.others(o))
        before = {key: array.copy() for key, array in tensors.items()}
        plain, _ = counted(layer.program, tensors, witness.scalars)
        fast = vectorised.run(layer.program, tensors, witness.scalars)
        for key, array in (before | witness.compute(o, before)).items():
            close(plain[key], array, f"{name} {o}: {key}")
            close(fast[key], array, f"{name} {o}: {key}, vectorised")

    law()


def test_running_statistics_follow_the_batch() -> None:
    witness = WITNESSES["BatchNorm2d"]

    @SHAPES
    @given(OPTIONS("BatchNorm2d"), SEEDS)
    def law(o: Values, seed: int) -> None:
        natural = dict(arrays(witness, o, seed))
        run = interpret(build("BatchNorm2d", o).program, natural, witness.scalars).tensors
        expected = running(o, natural) if o["training"] else {key: natural[key] for key in witness.others(o)}
        lines_up(run, expected, str(o))

    law()
