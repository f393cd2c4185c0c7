"""Topic 1, derived: what layers of real networks ask of real machines, and the way to it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from functools import cache
from random import Random
from typing import Any

from .... import Linear, LoopNest, device, lives, on, symbol
from ....bounds import LayerTime
from ....networks import Network, Node
from ....notation import Dim, ceil_div
from ....quantities import bytes_of, show
from ....receptive import dependencies, receptive_field
from ....zoo import ZOO
from ...questions import Given, Step

LENGTH = 16  # tokens of a sentence


@cache
def network(name: str) -> Network:
    """A network of the zoo for one sample."""
    return ZOO[name](batch=1, length=LENGTH) if name == "bert_base" else ZOO[name](batch=1)


def time(node: Node, id: str) -> LayerTime:
    """The time of one layer in fp16."""
    found = on(node, device(id), "fp16", tiled=False)
    assert isinstance(found, LayerTime)
    return found


def load(parameters: Dim, id: str, dtype: str = "fp16") -> Fraction:
    """Seconds in which so many parameters cross the memory interface, exactly."""
    return Fraction(parameters * bytes_of(dtype)) / Fraction(device(id).require("bandwidth"))


# 1.1 Loading weights


def draw_linear(random: Random) -> Given:
    """A layer, a type and a machine."""
    return {
        "device": random.choice(("h100-sxm", "rtx-4090", "t4", "raspberry-pi-5")),
        "c": random.choice((1024, 2048, 4096, 9216)),
        "k": random.choice((768, 1000, 3072, 4096)),
        "dtype": random.choice(("fp32", "fp16", "int8")),
    }


def linear(given: Given) -> Linear:
    """The layer."""
    return Linear(n=1, c=given["c"], k=given["k"])


def load_steps(given: Given) -> Iterable[Step]:
    """Weights, bytes, seconds."""
    layer, machine = linear(given), device(given["device"])
    yield Step("A weight for each pair of an input and an output:", layer.parameters)
    yield Step("In bytes:", show(layer.parameters * bytes_of(given["dtype"]), "B"))
    yield Step(f"The memory of the {machine.name} delivers", show(machine.require("bandwidth"), "B/s"))
    yield Step("So the load takes", show(load(layer.parameters, given["device"], given["dtype"]), "s"))


# 1.2 Lanes

#: Layers of ResNet-50 that leave some lanes of the last round without work.
ROUNDS = (
    ("layer4.2.conv2", "h100-sxm"),
    ("layer4.2.conv2", "rtx-4090"),
    ("layer4.2.conv2", "b200"),
    ("layer4.2.conv2", "a100-sxm"),
    ("layer3.1.conv2", "rtx-4090"),
    ("layer3.1.conv2", "b200"),
)


def draw_rounds(random: Random) -> Given:
    """A layer and a machine."""
    layer, id = random.choice(ROUNDS)
    return {"layer": layer, "device": id, "lanes": int(device(id).require("lanes"))}


def results(given: Given) -> int:
    """Results of the layer that can be summed at the same time, for one image."""
    return int(network("resnet50")[given["layer"]].layer.parallelism)


def busy(given: Given, split: bool = False) -> Fraction:
    """The share of the lanes that have work, over all rounds; with `split` each MAC is a piece of work."""
    work = int(network("resnet50")[given["layer"]].layer.macs) if split else results(given)
    return Fraction(work, given["lanes"] * int(ceil_div(work, given["lanes"])))


def busy_last(given: Given) -> Fraction:
    """The share in the last round."""
    return Fraction(results(given) % given["lanes"], given["lanes"])


def results_a_lane(given: Given) -> Fraction:
    """Results for each lane, all rounds together."""
    return Fraction(results(given), given["lanes"])


def lanes_steps(given: Given) -> Iterable[Step]:
    """Results, rounds, and the share."""
    shape = " · ".join(map(str, network("resnet50")[given["layer"]].output_shape))
    yield Step("Each output is a sum of its own, and none waits for another:", f"{shape} = {results(given):,}")
    yield Step(f"With {given['lanes']:,} lanes they take so many rounds:", ceil_div(results(given), given["lanes"]))
    yield Step("In all rounds together this share of the lanes has work:", f"{float(busy(given)):.1%}")


# 1.3 What overlap buys


def waiting(overlap: bool) -> Dim:
    """The time of a layer whose arithmetic takes C and whose memory traffic takes M."""
    layer = time(network("resnet50")["fc"], "t4")
    return replace(layer, compute=symbol("C"), memory=symbol("M"), overlap=overlap).total


def gain() -> Dim:
    """How many times faster it becomes by overlap."""
    return waiting(overlap=False) / waiting(overlap=True)


def best_gain(given: Given) -> Dim:
    """Where both take equally long."""
    return gain().subs(symbol("C"), symbol("M"))


def gain_steps(given: Given) -> Iterable[Step]:
    """The time before, the time after, and their ratio."""
    yield Step("Without overlap the two take turns:", waiting(overlap=False))
    yield Step("With overlap the longer one decides:", waiting(overlap=True))
    yield Step("So the layer becomes faster by", gain())


# 1.4 What fits on the chip

LAYERS = ("features.2", "features.12", "features.21", "features.28", "classifier.3", "classifier.6")


def draw_chip(random: Random) -> Given:
    """A machine and a batch at which some layers fit altogether, and of some only one part or the other."""
    return {"device": random.choice(("v100-sxm", "apple-m2")), "batch": random.choice((1, 2, 4, 8))}


def sizes(given: Given) -> dict[str, tuple[Dim, Dim]]:
    """Bytes of the parameters, and of inputs and outputs, of each layer."""
    net, width = network("vgg16"), bytes_of("fp16")
    return {
        name: (layer.parameters * width, (layer.inputs + layer.activations) * given["batch"] * width)
        for name, layer in ((name, net[name].layer) for name in LAYERS)
    }


def fitting(given: Given, parameters: bool, activations: bool | None) -> set[str]:
    """The layers whose parameters fit (or not), and whose inputs and outputs do (None: either)."""
    room = device(given["device"]).require("on_chip")
    return {
        name
        for name, (own, passing) in sizes(given).items()
        if (own <= room) is parameters and activations in (None, passing <= room)
    }


def chip_steps(given: Given) -> Iterable[Step]:
    """The room, and what each layer would put there."""
    room = device(given["device"]).require("on_chip")
    yield Step("On the chip there is room for", show(room, "B", binary=True))
    for name, (own, passing) in sizes(given).items():
        yield Step(f"{name}:", f"parameters {show(own, 'B')}, inputs and outputs {show(passing, 'B')}")


# 1.5 Re-use hides the loading

#: Layers in which several places of a sample use each weight.
SHARED: tuple[dict[str, Any], ...] = (
    {"network": "resnet50", "layer": "layer4.2.conv2"},
    {"network": "mobilenet_v2", "layer": "features.18.0"},
    {"network": "bert_base", "length": LENGTH, "layer": "encoder.0.intermediate"},
)


def draw_shared(random: Random) -> Given:
    """A layer and a machine."""
    return {**random.choice(SHARED), "device": random.choice(("h100-sxm", "l4", "t4", "a100-sxm"))}


def hiding(given: Given, positions: bool = True) -> Fraction:
    """The batch at which arithmetic takes as long as loading the weights; without `positions`, if each sample used a
    weight once."""
    node = network(given["network"])[given["layer"]]
    tensor = max(node.layer.program.having("parameter"), key=node.layer.program.size)
    once = Fraction(load(node.layer.parameters, given["device"])) / Fraction(time(node, given["device"]).compute)
    return once if positions else once * int(node.layer.reuse(tensor))


def whole(given: Given, positions: bool = True) -> int:
    """The first whole batch that is long enough."""
    return int(ceil_div(hiding(given, positions), 1))


def hiding_steps(given: Given) -> Iterable[Step]:
    """The load, the arithmetic of a sample, and how often it fits."""
    node = network(given["network"])[given["layer"]]
    yield Step("Loading the weights takes", show(load(node.layer.parameters, given["device"]), "s"))
    yield Step("The arithmetic of one sample takes", show(time(node, given["device"]).compute, "s"))
    yield Step("The load stays the same with more samples, the arithmetic grows:", f"{float(hiding(given)):.2f} times")
    yield Step("The first whole batch that is long enough:", whole(given))


# 1.6 How long an activation stays


def draw_kept(random: Random) -> Given:
    """A ReLU between the convolutions."""
    return {"layer": random.choice([node.name for node in network("vgg16").layers if node.kind == "ReLU"][:11])}


def stay(given: Given, training: bool) -> int:
    """Through how many layer passes the output of the layer must stay."""
    found = lives(network("vgg16"), "fp16", training=training).tensors
    return next(life.passes for life in found if life.layer == given["layer"] and life.tensor == "out")


def behind(given: Given) -> int:
    """How many layers come behind it."""
    names = [node.name for node in network("vgg16").layers]
    return len(names) - 1 - names.index(given["layer"])


def stay_steps(given: Given) -> Iterable[Step]:
    """Forwards to the end, and back."""
    yield Step("Layers of VGG-16 behind this one, which the forward pass runs first:", behind(given))
    yield Step("The backward pass runs from the last layer back to this one:", behind(given) + 1)
    yield Step(
        "The slope of ReLU is read off its output, so that waits for ReLU's own backward pass:", stay(given, True)
    )


# 1.7 A camera that delivers rows

STREAMED = {
    "resnet18": ("layer1.0.conv1", "layer1.1.conv2", "layer2.0.conv1", "layer2.1.conv2", "layer3.0.conv2"),
    "vgg16": ("features.7", "features.12", "features.14", "features.19", "features.21"),
}


def draw_stream(random: Random) -> Given:
    """A convolution of a network."""
    name = random.choice(tuple(STREAMED))
    return {"network": name, "layer": random.choice(STREAMED[name])}


def needed(given: Given) -> dict[str, int]:
    """How many rows of each tensor must be there for the first row of the layer."""
    found = dependencies(network(given["network"]), given["layer"], (0, 1), None, (0, 1), None)
    return {edge: int(region[2][1]) for edge, region in found.items()}


def just_before(given: Given) -> int:
    """Of the tensor that the layer reads."""
    return needed(given)[network(given["network"])[given["layer"]].inputs[0]]


def field(given: Given) -> int:
    """The receptive field of a pixel far from the border."""
    return int(receptive_field(network(given["network"]), given["layer"]))


def rows_steps(given: Given) -> Iterable[Step]:
    """From the layer back to the picture."""
    yield Step("From the layer back to the picture, so many rows are asked for:", f"1 of {given['layer']}")
    asked = needed(given)
    for node in reversed(network(given["network"]).layers):
        if node.name in asked and node.kind in ("Conv2d", "MaxPool2d"):
            yield Step(f"{node.name} ({node.kind}) asks for", f"{asked[node.inputs[0]]} of {node.inputs[0]}")


# 1.8 Fused layers


@cache
def rows(layers: int) -> Dim:
    """Rows that a tile of t rows needs before so many layers with a window of r rows."""
    asked: Dim = symbol("t")
    for _ in range(layers):
        asked = LoopNest("out[y] += weight[i] * inp[y+i]", y=asked, i="r").shape("inp")[0]
    return asked


def fused(first: int, axes: int = 2, layers: int = 3) -> Dim:
    """Arithmetic with tiles over arithmetic without, of layers of equal cost, counted from `first` layers before the
    end of the last one."""
    return sum(rows(first + layer) ** axes for layer in range(layers)) / (layers * symbol("t") ** axes)


def fused_steps(given: Given) -> Iterable[Step]:
    """Rows, layer by layer, and what they add up to."""
    yield Step("The last layer makes a tile of t rows; the one before it must make", rows(1))
    yield Step("and the first one", rows(2))
    yield Step("In both directions, over three layers, against t·t each:", fused(0))
    common = {symbol("r"): 3, symbol("t"): 8}
    yield Step("For 3 × 3 filters and tiles of 8 × 8:", f"{float(fused(0).subs(common)):.2f} times")
