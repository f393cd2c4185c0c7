"""The notes' table of an epoch (forward pass, backward pass, gradient update), and their symbols."""

from __future__ import annotations

from typing import Any

import sympy

from ..hardware import energy
from ..layers import CATALOGUE, SGD, BatchNorm2d, Conv2d, Layer, MaxPool2d, ReLU
from ..layers.optimizers import Optimizer
from ..notation import Dim, lecture, ratio, read_formula, symbol
from ..program import Program
from ..tables import Table
from .cells import SIZES, Cell, compare, notes, table_of

#: Layers that are a product of weights and inputs.
PRODUCTS = ("Conv2d", "DepthwiseConv2d", "Linear", "BatchedLinear")
Judged = tuple[str, str, str]  # derived text, verdict, condition


def epoch_table() -> Table:
    """The notes' table of an epoch, derived for a convolution.

    >>> epoch_table().records()[4]["derived"]
    '2 times in Conv2d, DepthwiseConv2d, Linear, BatchedLinear'
    """
    return table_of(epoch_cells(), "pass", "Operations in an epoch")


def symbol_table() -> Table:
    """The notes' symbols, looked up in the convolution's line."""
    return table_of(symbol_cells(), "symbol", "Symbols of a convolution")


def epoch_cells() -> tuple[Cell, ...]:
    """The cells of the notes' table of an epoch: what is the bottleneck, and compute and memory as multiples
    of the forward pass."""
    forward, backward, update = notes()["epoch"]
    conv = Conv2d()
    judged: list[tuple[dict[str, Any], str, Judged]] = [
        (forward, "bottleneck", _multiplications(conv.program)),
        (forward, "compute", (f"1: {lecture(conv.ops)} operations", "open", "")),
        (forward, "memory", (f"1: {lecture(conv.traffic)} elements cross the interface", "open", "")),
        (backward, "bottleneck", _multiplications(conv.backward())),
        (backward, "compute", _twice(backward["compute"])),
        (backward, "memory", _stored(backward["memory"], conv)),
        (update, "bottleneck", _subtractions(update["bottleneck"])),
        (update, "compute", _update_ratio()),
        (update, "memory", _state()),
    ]
    return tuple(Cell("epoch", row["name"], column, row[column]["text"], *rest) for row, column, rest in judged)


def _counts(operations: dict[str, Dim]) -> str:
    return ", ".join(f"{kind} {lecture(count)}" for kind, count in operations.items())


def _multiplications(program: Program) -> Judged:
    """Multiplications and additions are level by count; by energy they are not."""
    operations = program.operations
    times = energy()["fp32_mul"].value / energy()["fp32_add"].value
    derived = f"{_counts(operations)}; a multiplication takes {times:.2g} times the energy of an addition (fp32, 45 nm)"
    if operations["multiply"] == operations["add"]:
        return derived, "holds when", "weighed by energy; by count the two are level"
    return derived, *compare(operations["multiply"], sum(operations.values()))


def _twice(note: dict[str, Any]) -> Judged:
    """One product for the gradient of the weights, one for the gradient of the input."""
    ratios = {name: ratio(CATALOGUE[name]().backward().ops, CATALOGUE[name]().ops) for name in PRODUCTS}
    alone = ratio(Conv2d().backward(input_gradient=False).ops, Conv2d().ops)
    (value,) = set(ratios.values())
    verdict, condition = compare(read_formula(note["formula"]), value)
    others = ", ".join(f"{layer.kind} {lecture(_when_large(layer))}" for layer in (ReLU(), MaxPool2d(), BatchNorm2d()))
    assumed = f"the gradient of the input is needed; in a first layer it is {alone} times; other layers: {others} times"
    return f"{lecture(value)} times in {', '.join(ratios)}", verdict, condition or assumed


def _when_large(layer: Layer) -> Dim:
    """Backward over forward operations as the layer grows."""
    value = sympy.sympify(ratio(layer.backward().ops, layer.ops))
    for size in sorted(value.free_symbols & SIZES, key=str):
        value = sympy.limit(value, size, sympy.oo)
    return value


def _stored(note: dict[str, Any], layer: Layer) -> Judged:
    """A gradient is as large as what it belongs to; more than that crosses the memory interface."""
    program, backward = layer.program, layer.backward()
    sizes = {ratio(backward.size("d_" + name), program.size(name)) for name in program.having("parameter", "input")}
    # a gradient moves as many elements as its tensor; the share of the output decides between the extremes
    moved = [sum(symbol(name.removeprefix("d_")) for name in lines.tensors) for lines in (backward, program)]
    traffic, out = sympy.sympify(ratio(*moved)), symbol("out")
    least, most = sorted((sympy.limit(traffic, out, sympy.oo), traffic.subs(out, 0).cancel()))
    times = ", ".join(lecture(size) for size in sizes)
    derived = f"stored: {times} gradient for each weight and input; traffic: {lecture(traffic)} times"
    if any(compare(read_formula(note["formula"]), size)[0] != "agrees" for size in sizes):
        return derived, "is short", "never agrees"
    return derived, "holds when", f"what is stored is meant; traffic is {least} to {most} times"


def _subtractions(note: dict[str, Any]) -> Judged:
    derived = "; ".join(f"{name}: {_counts(layer.operations)}" for name, layer in _optimizers().items())
    operations = dict(SGD().operations)
    kinds = [kind for kind in operations if kind != note["means"]]
    if note["means"] not in operations:
        return derived, "is short", ""
    if not kinds:
        return derived, "agrees", ""
    return derived, "holds when", f"plain SGD, its {', '.join(kinds)} by the learning rate left out"


def _update_ratio() -> Judged:
    layers = [CATALOGUE[name]() for name in PRODUCTS]
    shares = [f"{layer.kind} {lecture(ratio(SGD(p=layer.parameters).ops, layer.ops))}" for layer in layers]
    return f"SGD, of the forward pass: {', '.join(shares)}", "open", ""


def _state() -> Judged:
    kept = [f"{name} {lecture(ratio(layer.state, layer.parameters))}" for name, layer in _optimizers().items()]
    return f"numbers kept beside each parameter: {', '.join(kept)}", "open", ""


def _optimizers() -> dict[str, Layer]:
    return {name: cls() for name, cls in CATALOGUE.items() if issubclass(cls, Optimizer)}


def symbol_cells() -> tuple[Cell, ...]:
    """The notes' symbols: each is looked up at its place in the convolution's line."""
    program = Conv2d().program
    found = []
    for entry in notes()["symbols"]:
        name, tensor, axis = entry["symbol"], entry["tensor"], entry["axis"]
        shape = program.shape(tensor)
        agrees = shape[axis] == symbol(name)
        derived = f"axis {axis} of {tensor}, which is {' × '.join(map(str, shape))}"
        verdict = ("agrees", "") if agrees else ("is short", f"that axis is {shape[axis]}")
        found.append(Cell("symbols", name, "meaning", entry["text"], derived, *verdict))
    return tuple(found)
