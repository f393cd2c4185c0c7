"""The notes' table of common layers: type of bound, operations, parameters and the comments."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import sympy

from .. import hardware
from ..balance import crossing
from ..bounds import BALANCED, LayerTime, on
from ..errors import ExtentError
from ..folding import pooling_as_convolution, scale_shift
from ..hardware import Device
from ..layers import CATALOGUE, AvgPool2d, BatchNorm2d, Layer, MaxPool2d
from ..layers.windows import Windowed
from ..notation import Dim, lecture, ratio, read_formula, symbol
from ..quantities import show
from ..tables import Table
from .cells import Cell, bounded, compare, notes, table_of

#: What the bound column is told for, unless a device is given.
DEVICE = "h100-sxm"
#: Activation functions that the comments are about.
ACTIVATIONS = ("ReLU", "ReLU6", "LeakyReLU", "PReLU", "Sigmoid", "Tanh", "HardSwish", "GELU", "SiLU")
Judged = tuple[str, str, str]  # derived text, verdict, condition


def layer_table(device: Device | None = None, dtype: str = "fp16", batch: int = 1) -> Table:
    """The notes' table of layers: each cell derived, the note beside it, and whether it holds.

    >>> layer_table().records()[1]["derived"]
    'k · 2 · rs · wh · c'
    """
    machine = device or hardware.device(DEVICE)
    sizes = "; ".join(
        f"{row['name']} {', '.join(f'{name} = {size}' for name, size in row['size'].items())} ({row['from']})"
        for row in notes()["layers"]
    )
    note = (
        f"Operations are those of one sample. Machine balance is how many operations the machine does while it "
        f"moves one byte: {machine.balance(dtype):.3g} op/B for {machine.name} in {dtype}. Bounds at batch {batch} and "
        f"sizes of real layers: {sizes}."
    )
    title = f"Common layers, bounds on {machine.name} in {dtype}"
    return table_of(layer_cells(machine, dtype, batch), "layer", title, note)


def layer_cells(device: Device | None = None, dtype: str = "fp16", batch: int = 1) -> tuple[Cell, ...]:
    """The cells of the notes' table of common layers; operations are those of one sample.

    The bound is told at the real size that data/notes.toml names, for `batch` samples on a device (default
    `DEVICE`). Raises the errors of `bounds.on`, and `ExtentError` for a batch that is no positive number.
    """
    machine = device or hardware.device(DEVICE)
    return tuple(cell for row in notes()["layers"] for cell in _row(row, machine, dtype, batch))


def _row(row: dict[str, Any], device: Device, dtype: str, batch: int) -> Iterable[Cell]:
    def cell(column: str, note: str, judged: Judged) -> Cell:
        return Cell("layers", row["name"], column, note, *judged)

    layer = _layer(row, n=1)
    element, channel = ("output element", layer.activations), ("channel", symbol("c"))
    yield cell("bound", row["bound"]["text"], _bound(row, device, dtype, batch))
    yield cell("operations", row["compute"]["text"], _count(row["compute"], layer.ops, element, _simplest(layer)))
    biased = f"no bias; with one {lecture(_layer(row, bias=True).parameters)}" if hasattr(layer, "bias") else ""
    yield cell("parameters", row["memory"]["text"], _count(row["memory"], layer.parameters, channel, biased))
    for comment in row.get("comments", ()):
        yield cell("comment", comment["text"], COMMENTS[comment["derive"]]())


def _layer(row: dict[str, Any], **sizes: int) -> Layer:
    """The layer of a row, fitted to its input; a dimension without a size stays a symbol."""
    own = {name: size for name, size in sizes.items() if name not in row["input"]}
    return CATALOGUE[row["layer"]](**own).fit(tuple(sizes.get(name, symbol(name)) for name in row["input"]))


def _simplest(layer: Layer) -> str:
    """What the formula for the operations assumes, and what it is with a stride."""
    if isinstance(layer, Windowed) and layer.padding == "same":
        strided = lecture(layer.at(stride=symbol("stride")).ops)
        return f"stride 1, the border counted as input, no bias; with a stride {strided}"
    return "no bias" if hasattr(layer, "bias") else ""


# -- counts ----------------------------------------------------------------------------------------------


def _count(note: dict[str, Any], derived: Dim, each: tuple[str, Dim], assumed: str) -> Judged:
    """A count beside a formula, an order, or nothing; `each` is what an order may be counted for."""
    shown = lecture(derived)
    if "formula" in note:
        verdict, condition = compare(read_formula(note["formula"], "krswhc"), derived)
        return shown, verdict, condition or assumed
    if "order" not in note:
        return shown, "open", assumed
    if bounded(derived):
        return shown, "agrees", "for every size"
    what, elements = each
    share = sympy.expand(ratio(derived, elements))
    if not bounded(share):
        return shown, "is short", f"it grows even for one {what}"
    return f"{shown}, or {lecture(share)} for each {what}", "holds when", f"counted for one {what}"


# -- bounds ----------------------------------------------------------------------------------------------


def _bound(row: dict[str, Any], device: Device, dtype: str, batch: int) -> Judged:
    """The bound at a real size; the condition names the machines, and the batches, for which the note holds."""
    layer = _layer(row, **{"n": batch, **row["size"]})
    time = on(layer, device, dtype)
    assert isinstance(time, LayerTime)
    least, most = time.intensity / BALANCED, time.intensity * BALANCED
    means = row["bound"]["means"]
    balance = {
        "compute": f"below {least:.3g}",
        "memory": f"above {most:.3g}",
        "balanced": f"from {least:.3g} to {most:.3g}",
    }[means]
    bounds = {other.id: _bound_on(layer, other, dtype) for other in hardware.devices()}
    known = [name for name, bound in bounds.items() if bound]
    here = [name for name in known if bounds[name] == means]
    names = f": {', '.join(here)}" if 0 < len(here) < 4 else ""
    condition = f"machine balance {balance} op/B ({len(here)} of {len(known)} devices with {dtype}{names})"
    batches = _batches(layer, device, dtype, means)
    if batches:
        condition += f", or here at batch {batches}"
    derived = (
        f"{time.bound}, {show(time.margin, '')} times the other: {time.intensity:.3g} op/B, "
        f"machine balance {device.balance(dtype):.3g} op/B"
    )
    return derived, "agrees" if time.bound == means else "holds when", condition


def _bound_on(layer: Layer, device: Device, dtype: str) -> str | None:
    """The bound on another device; None where its figures are not known."""
    if dtype not in device.peak or device.bandwidth is None:
        return None
    time = on(layer, device, dtype)
    assert isinstance(time, LayerTime)
    return time.bound


def _batches(layer: Layer, device: Device, dtype: str, means: str) -> str:
    """The batches at which a layer has this bound on a device; "" where that is all or none of them."""
    # balance ends where arithmetic takes ten per cent less than memory, and where it takes ten per cent more
    edges = (device.scaled(compute=factor) for factor in (1 / BALANCED, BALANCED))
    try:
        low, high = (crossing(layer, edge, dtype, "n") for edge in edges)
    except ExtentError:  # a layer that has no batch of its own, such as an activation
        return ""
    first = 1 if low is None else max(1, math.ceil(low))  # the first that is no longer memory-bound
    last = None if high is None else math.floor(high)  # the last that is not yet compute-bound
    if low is None or last == 0:
        return ""  # one bound for all batches
    if means == "memory":
        return f"1 to {first - 1}" if first > 1 else ""
    if means == "compute":
        return "" if last is None else f"{last + 1} or more"
    return f"{first} or more" if last is None else f"{first} to {last}" if first <= last else ""


# -- comments --------------------------------------------------------------------------------------------


def _reuse_of_hardware() -> Judged:
    """Pooling on a convolution's hardware: the average is a convolution, the maximum has its loops."""
    conv, weight = pooling_as_convolution(AvgPool2d())
    pooling, convolving = (layer.program.nests[0] for layer in (MaxPool2d(), conv))
    alike = list(pooling.extent.values()) == list(convolving.extent.values())
    return (
        f"average: a {conv.kind} with every weight {lecture(weight)}; maximum: "
        f"{'the same' if alike else 'other'} loops, {', '.join(pooling.operations)} for "
        f"{' and '.join(convolving.operations)}",
        "holds when",
        "the units can compare, for the maximum",
    )


def _scale_and_shift() -> Judged:
    line, norm = scale_shift(BatchNorm2d()).nests[-1], BatchNorm2d(training=False)
    each = [lecture(ratio(nest.ops, nest.iterations)) for nest in (line, *norm.program.nests)]
    derived = f"{line.text}: {each[0]} operations an element instead of {each[1]}"
    return derived, "agrees", "the running statistics no longer change"


def _in_place() -> Judged:
    functions = [CATALOGUE[name]() for name in ACTIVATIONS]
    can = [layer.kind for layer in functions if layer.in_place]
    cannot = [layer.kind for layer in functions if not layer.in_place and "inp" in layer.saved]
    derived = f"in place: {', '.join(can)}; the input is kept for: {', '.join(cannot)}"
    return derived, "holds when", "gradients mean what the backward pass reads: the input, beside the output"


def _learned() -> Judged:
    functions = [CATALOGUE[name]() for name in ACTIVATIONS]
    learned = [f"{layer.kind} {lecture(layer.parameters)}" for layer in functions if layer.parameters != 0]
    return f"{', '.join(learned)}; the others none", "agrees" if learned else "is short", ""


#: How the comment of a row is derived, by the name that data/notes.toml gives it.
COMMENTS: dict[str, Callable[[], Judged]] = {
    "pooling": _reuse_of_hardware,
    "scale and shift": _scale_and_shift,
    "in place": _in_place,
    "parameters": _learned,
}
