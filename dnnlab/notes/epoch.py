"""The notes' table of an epoch (forward pass, backward pass, gradient update), and their symbols.

Without a layer of your own the cells are told for the convolution, with the rest of the catalogue beside it;
for a layer or a network they are told for that one.
"""

from __future__ import annotations

from typing import Any

import sympy

from ..epoch import Epoch, epoch
from ..hardware import energy
from ..layers import CATALOGUE, SGD, BatchNorm2d, Conv2d, Layer, MaxPool2d, ReLU
from ..layers.optimizers import Optimizer
from ..networks import Network
from ..notation import Dim, is_bound, lecture, plain, ratio, read_formula, symbol
from ..phases import Phase
from ..tables import Table
from .cells import SIZES, Cell, compare, notes, table_of

#: Layers that are a product of weights and inputs.
PRODUCTS = ("Conv2d", "DepthwiseConv2d", "Linear", "BatchedLinear")
Judged = tuple[str, str, str]  # derived text, verdict, condition


def epoch_table(work: Layer | Network | None = None, optimizer: Optimizer | None = None) -> Table:
    """The notes' table of an epoch, derived for a layer or network; see `epoch_cells`.

    >>> epoch_table().records()[4]["derived"]
    '2 times in Conv2d, DepthwiseConv2d, Linear, BatchedLinear'
    """
    of = "" if work is None else f" of {work.name if isinstance(work, Network) else work.kind}"
    return table_of(epoch_cells(work, optimizer), "pass", f"Operations in an epoch{of}")


def symbol_table() -> Table:
    """The notes' symbols, looked up in the convolution's line."""
    return table_of(symbol_cells(), "symbol", "Symbols of a convolution")


def epoch_cells(work: Layer | Network | None = None, optimizer: Optimizer | None = None) -> tuple[Cell, ...]:
    """The cells of the notes' table of an epoch: what is the bottleneck, and compute and memory as multiples
    of the forward pass, each with the reading under which the note holds.

    Without `work`, for a convolution and SGD, with the other layers and optimizers beside them. Raises the errors
    of `epoch`.

    >>> from dnnlab import zoo
    >>> [cell.verdict for cell in epoch_cells(zoo.alexnet()) if cell.row == "Backward pass"]
    ['holds when', 'holds when', 'holds when']
    """
    forward, backward, update = notes()["epoch"]
    step = epoch(Conv2d() if work is None else work, optimizer=optimizer)
    general = work is None and optimizer is None
    judged: list[tuple[dict[str, Any], str, Judged]] = [
        (forward, "bottleneck", _multiplications(forward["bottleneck"], step.forward)),
        (forward, "compute", (f"1: {plain(step.forward.ops)} operations", "open", "")),
        (forward, "memory", (f"1: {plain(step.forward.traffic)} elements cross the interface", "open", "")),
        (backward, "bottleneck", _multiplications(backward["bottleneck"], step.backward)),
        (backward, "compute", _twice(backward["compute"]) if general else _times(backward["compute"], step)),
        (backward, "memory", _stored(backward["memory"], step)),
        (update, "bottleneck", _subtractions(update["bottleneck"], step, general)),
        (update, "compute", _update_ratio() if general else _share(step)),
        (update, "memory", _state() if general else (f"{plain(step.update.stored)} numbers kept", "open", "")),
    ]
    return tuple(Cell("epoch", row["name"], column, row[column]["text"], *rest) for row, column, rest in judged)


# -- bottleneck operations -------------------------------------------------------------------------------


def _counts(operations: dict[str, Dim]) -> str:
    return ", ".join(f"{kind} {plain(count)}" for kind, count in operations.items()) or "no arithmetic"


def _multiplications(note: dict[str, Any], phase: Phase) -> Judged:
    """Multiplications and additions are level by count in a product; by energy they are not."""
    times = energy()["fp32_mul"].value / energy()["fp32_add"].value
    derived = (
        f"{_counts(phase.operations)}; a multiplication takes {times:.2g} times the energy of an addition (fp32, 45 nm)"
    )
    most, dearest = phase.bottleneck(), phase.bottleneck("fp32")
    level = "the two are level" if {*most} == {"multiply", "add"} else f"there is most of {' and '.join(most)}"
    if most == (note["means"],):
        return derived, "agrees", ""
    if dearest == (note["means"],):
        return derived, "holds when", f"weighed by energy; by count {level}"
    return derived, "is short", level if most else "there is no arithmetic"


def _subtractions(note: dict[str, Any], step: Epoch, general: bool) -> Judged:
    own = step.update.operations
    derived = _counts(own)
    if general:
        derived = "; ".join(f"{name}: {_counts(layer.operations)}" for name, layer in _optimizers().items())
    others = [kind for kind in own if kind != note["means"]]
    if note["means"] not in own:
        return derived, "is short", "nothing is updated"
    if not others:
        return derived, "agrees", ""
    if others == ["multiply"]:
        return derived, "holds when", "plain SGD, its multiply by the learning rate left out"
    return derived, "is short", "it holds for plain SGD, its multiply by the learning rate left out"


def _optimizers() -> dict[str, Layer]:
    return {name: cls() for name, cls in CATALOGUE.items() if issubclass(cls, Optimizer)}


# -- compute ---------------------------------------------------------------------------------------------


def _twice(note: dict[str, Any]) -> Judged:
    """One product for the gradient of the weights, one for the gradient of the input."""
    ratios = {name: _backward(CATALOGUE[name]()) for name in PRODUCTS}
    (value,) = set(ratios.values())
    alone = _backward(Conv2d(), input_gradient=False)
    verdict, condition = compare(read_formula(note["formula"]), value)
    others = ", ".join(f"{layer.kind} {lecture(_when_large(layer))}" for layer in (ReLU(), MaxPool2d(), BatchNorm2d()))
    assumed = f"the gradient of the input is needed; in a first layer it is {alone} times; other layers: {others} times"
    return f"{lecture(value)} times in {', '.join(ratios)}", verdict, condition or assumed


def _times(note: dict[str, Any], step: Epoch) -> Judged:
    """The same for one layer or network; a network is a little short of it by its first layer."""
    value, multiple = step.ratios(step.backward)["compute"], read_formula(note["formula"])
    derived = f"{plain(value)} times"
    if compare(multiple, value)[0] == "agrees":
        return derived, "agrees", ""
    if is_bound(value) and 0.85 < value / multiple < 1.15:
        short = "nobody needs the gradient of the first layer's input, and not all layers are products"
        return derived, "holds when", short
    return derived, "is short", "it holds for products of weights and inputs"


def _backward(layer: Layer, input_gradient: bool = True) -> Dim:
    step = epoch(layer, input_gradient=input_gradient)
    return step.ratios(step.backward)["compute"]


def _when_large(layer: Layer) -> Dim:
    """Backward over forward operations as the layer grows."""
    value = sympy.sympify(_backward(layer))
    for size in sorted(value.free_symbols & SIZES, key=str):
        value = sympy.limit(value, size, sympy.oo)
    return value


def _update_ratio() -> Judged:
    layers = [CATALOGUE[name]() for name in PRODUCTS]
    shares = [f"{layer.kind} {lecture(ratio(SGD(p=layer.parameters).ops, layer.ops))}" for layer in layers]
    return f"SGD, of the forward pass: {', '.join(shares)}", "open", ""


def _share(step: Epoch) -> Judged:
    return f"{plain(step.ratios(step.update)['compute'])} of the forward pass", "open", ""


# -- memory ----------------------------------------------------------------------------------------------


def _stored(note: dict[str, Any], step: Epoch) -> Judged:
    """A gradient is as large as what it belongs to; more than that crosses the memory interface."""
    times = step.ratios(step.backward)
    derived = (
        f"stored: {plain(times['stored'])} gradient for each weight and input; traffic: {plain(times['traffic'])} times"
    )
    if compare(read_formula(note["formula"]), times["stored"])[0] == "agrees":
        return derived, "holds when", f"what is stored is meant; traffic is {_range(times['traffic'])} times"
    if is_bound(times["stored"]) and 0 < times["stored"] < 1:
        return derived, "holds when", "what is stored is meant, and the input of the network had a gradient too"
    return derived, "is short", "never agrees"


def _range(value: Dim) -> str:
    """The least and the most a ratio can be, whichever tensor is the largest."""
    if is_bound(value):
        return plain(value)
    # numerator and denominator are sums of the same positive products: each alone gives one extreme
    top, bottom = (sympy.expand(part).as_coefficients_dict() for part in sympy.fraction(sympy.together(value)))
    shares = [top.get(product, 0) / count for product, count in bottom.items()]
    return f"{min(shares)} {'or more' if top.keys() - bottom.keys() else f'to {max(shares)}'}"


def _state() -> Judged:
    kept = [f"{name} {lecture(ratio(layer.state, layer.parameters))}" for name, layer in _optimizers().items()]
    return f"numbers kept beside each parameter: {', '.join(kept)}", "open", ""


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
