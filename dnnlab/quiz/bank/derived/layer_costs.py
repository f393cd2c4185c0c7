"""Topic 2, derived: what layers cost, and the way to it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from random import Random

import sympy

from .... import BatchedLinear, BatchNorm2d, Conv2d, DepthwiseConv2d, MaxPool2d, PointwiseConv2d, device, on, symbol
from ....bounds import LayerTime
from ....folding import Folded, fold, scale_shift
from ....inplace import Verdict, in_place
from ....notation import Dim
from ....notes.cells import notes
from ....program import Program
from ....zoo import network
from ...questions import Given, Step

# 2.1 Operations of a convolution


def convolution_steps(given: Given) -> Iterable[Step]:
    """From the line to its operations."""
    conv = Conv2d(n=1)
    yield Step("The line of the layer is", conv.statements[0])
    yield Step("Its loops run over", "k filters, w·h positions, c channels, r·s places of the filter")
    yield Step("One multiplication and one addition each time:", conv.ops)


# 2.2 A depth-wise convolution with gaps


def gappy() -> DepthwiseConv2d:
    """Small enough to be run, with lengths that tell its axes apart."""
    return DepthwiseConv2d(n=1, k=4, h=8, w=7, r=2, s=3, padding="valid", dilation=2)


def gappy_steps(given: Given) -> Iterable[Step]:
    """From a full convolution to one with fewer sums and longer steps."""
    yield Step("A convolution sums over channels and the window:", Conv2d(n=1, padding="valid").statements[0])
    slim = DepthwiseConv2d(n=1, padding="valid")
    yield Step("Without the sum over channels, each channel meets its own filter:", slim.statements[0])
    yield Step("With gaps, the steps inside the window become longer (dilation is 2):", gappy().statements[0])
    yield Step("The window has as many places as before, so each output takes as many operations.")


# 2.3 Two slim convolutions for a full one


def separable() -> tuple[Dim, Dim, Dim]:
    """Operations of the depth-wise, the pointwise and the full convolution."""
    return DepthwiseConv2d(n=1, k="c").ops, PointwiseConv2d(n=1).ops, Conv2d(n=1).ops


def share() -> Dim:
    """What the two take of what the full one takes."""
    slim, mixing, full = separable()
    return sympy.expand((slim + mixing) / full)


def separable_steps(given: Given) -> Iterable[Step]:
    """The three of them, and what is left for a size that is common."""
    slim, mixing, full = separable()
    yield Step("Each of c channels gets a filter of its own:", slim)
    yield Step("Then k filters of 1 × 1 mix the channels:", mixing)
    yield Step("The full convolution does both at once:", full)
    yield Step("So what is left is", share())
    common = {symbol("r"): 3, symbol("s"): 3, symbol("k"): 256}
    yield Step("For 3 × 3 windows and 256 filters:", f"{float(share().subs(common)):.1%}")


# 2.4 Comparisons of a max pooling


def pooling_steps(given: Given) -> Iterable[Step]:
    """From the windows that fit to what they look at."""
    yield Step("The line of the layer is", MaxPool2d(n=1).statements[0])
    yield Step("Windows that fit, in all channels:", MaxPool2d(n=1).activations)
    yield Step("Each of them looks at r·s elements:", MaxPool2d(n=1).ops)


# 2.5 Batch norm, folded away


@cache
def folded() -> Folded:
    """A convolution with the batch norm behind it in its weights."""
    return fold(Conv2d(), BatchNorm2d())


def folded_steps(given: Given) -> Iterable[Step]:
    """Where the scale goes, and where the shift."""
    *_, weight, bias = folded().statements
    yield Step("Batch norm at inference:", scale_shift(BatchNorm2d()).statements[-1])
    yield Step("The scale goes into the weights:", weight)
    yield Step("The shift becomes a bias:", bias)
    yield Step("Weights and biases together:", folded().conv.parameters)


# 2.6 Activation functions that are in no lecture

CURVES = {
    "exp": "exp(inp[i])",
    "softplus": "log(1 + exp(inp[i]))",
    "leaky ReLU": "max(inp[i], 0) + 0.01 * min(inp[i], 0)",
    "square": "inp[i]**2",
    "absolute value": "max(inp[i], 0) - min(inp[i], 0)",
    "mish": "inp[i] * tanh(log(1 + exp(inp[i])))",
}


@cache
def places() -> dict[str, Verdict]:
    """May each of them overwrite its input, and why (not)?"""
    roles = {"inp": "input", "out": "output"}
    return {name: in_place(Program.read(f"out[i] = {curve}", roles)) for name, curve in CURVES.items()}


def overwriting() -> set[str]:
    """Those that may."""
    return {name for name, verdict in places().items() if verdict}


def places_steps(given: Given) -> Iterable[Step]:
    """The reason for each."""
    return [Step(f"{name}:", verdict.reason) for name, verdict in places().items()]


# 2.7 Layers of MobileNetV2 on a GPU

MOBILE = {
    "convolution": "features.0.0",
    "depth-wise": "features.1.conv.0.0",
    "batch norm": "features.1.conv.0.1",
    "ReLU6": "features.1.conv.0.2",
    "pointwise": "features.18.0",
    "pooling": "avgpool",
    "linear": "classifier.1",
}


def draw_machine(random: Random) -> Given:
    """A machine and a batch at which no layer is balanced."""
    return {"device": random.choice(("v100-sxm", "a100-sxm", "rtx-3060")), "batch": random.choice((16, 64, 256, 512))}


@cache
def mobile(id: str, batch: int) -> dict[str, LayerTime]:
    """The times of the layers."""
    net, gpu = network("mobilenet_v2", batch=batch), device(id)
    times = {word: on(net[name], gpu, "fp16") for word, name in MOBILE.items()}
    return {word: time for word, time in times.items() if isinstance(time, LayerTime)}


def computing(given: Given) -> set[str]:
    """The layers that are compute-bound."""
    return {word for word, time in mobile(given["device"], given["batch"]).items() if time.bound == "compute"}


def noted(given: Given) -> set[str]:
    """Those that the notes' table says are; a pointwise convolution is a convolution."""
    said = {row["layer"] for row in notes()["layers"] if row["bound"]["means"] == "compute"}
    times = mobile(given["device"], given["batch"])
    return {word for word, time in times.items() if time.kind.replace("Pointwise", "") in said}


def bound_steps(given: Given) -> Iterable[Step]:
    """The balance of the machine, and what each layer does for a byte."""
    gpu = device(given["device"])
    yield Step(f"While a byte arrives, the {gpu.name} can do", f"{gpu.balance('fp16'):.0f} operations")
    for word, time in mobile(given["device"], given["batch"]).items():
        yield Step(f"{word}: {time.intensity:.1f} operations a byte, so it is bound by", time.bound)


# 2.8 When a batched linear layer stops waiting


def square() -> BatchedLinear:
    """t rows, d numbers in and d out."""
    return BatchedLinear(n=1, c="d", k="d")


@cache
def balanced(work: Dim, moved: Dim) -> Dim:
    """The t at which a machine that does B operations while a number crosses is balanced."""
    (found,) = sympy.solve(work - symbol("B") * moved, symbol("t"))
    return sympy.factor(found)


def balanced_steps(given: Given) -> Iterable[Step]:
    """The two sides of the equation, its solution, and where that leads in a wide layer."""
    layer = square()
    yield Step("Operations of t rows:", layer.ops)
    yield Step("Numbers moved, rows in, weights, rows out:", layer.traffic)
    yield Step("Balanced where operations = B · numbers moved, so t =", balanced(layer.ops, layer.traffic))
    yield Step("In a very wide layer only the weights count, and t comes near", balanced(layer.ops, layer.parameters))
