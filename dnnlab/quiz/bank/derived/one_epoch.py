"""Topic 3, derived: what the phases of a step compute, move and take, and the way to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from random import Random
from typing import Any

import sympy

from .... import SGD, Adam, Conv2d, Epoch, Linear, Momentum, device, epoch, symbol
from ....batches import Steps, steps
from ....bounds import NetworkTime
from ....epoch import EpochTime, updating
from ....extremes import Min
from ....layers.optimizers import Optimizer
from ....notation import Dim
from ....phases import Phase, joules
from ....quantities import bytes_of, show
from ....zoo import network
from ...questions import Given, Step
from ...verdicts import Note

WAITS = "03_one_epoch/Why the update waits for memory"

# 3.1 and 3.2 How many times the forward pass


def times(step: Epoch) -> Dim:
    """Operations of the backward pass over those of the forward pass."""
    return step.ratios(step.backward)["compute"]


def convolution_steps(given: Given) -> Iterable[Step]:
    """From the line to its adjoint lines."""
    conv = Conv2d()
    yield Step("The line multiplies two things:", conv.statements[0])
    for line in conv.backward().statements:
        yield Step("so there is an adjoint line for each of them:", line)
    yield Step("Both have the loops of the line itself, so the backward pass takes", f"{times(epoch(conv))} times")


def first() -> Epoch:
    """A linear layer whose input is data."""
    return epoch(Linear(), input_gradient=False)


def stack(first_one: Dim) -> Dim:
    """Backward over forward operations of L equal layers, the first of which takes `first_one` times its own."""
    count = symbol("L")
    return sympy.expand(((count - 1) * times(epoch(Linear())) + first_one) / count)


def stack_steps(given: Given) -> Iterable[Step]:
    """The layers inside, the first one, and all of them."""
    inside = times(epoch(Linear()))
    yield Step("A layer inside needs both gradients, that of its weights and that of its input:", inside)
    yield Step("Nobody needs the gradient of the first layer's input:", times(first()))
    yield Step("So L - 1 layers of one kind and one of the other, over L forward passes:", stack(times(first())))


# 3.3 Bottleneck operations


@cache
def phases() -> dict[str, Phase]:
    """Both passes of a convolution, and the updates."""
    step = epoch(Conv2d())
    rules = {"SGD": SGD(), "momentum": Momentum(), "Adam": Adam()}
    updates = {name: updating(symbol("p"), rule) for name, rule in rules.items()}
    return {"forward": step.forward, "backward": step.backward} | updates


def led(by: str | None) -> set[str]:
    """The phases in which multiplications lead alone, by count (None) or by the energy of a dtype."""
    return {name for name, phase in phases().items() if phase.bottleneck(by) == ("multiply",)}


def led_steps(given: Given) -> Iterable[Step]:
    """What leads each phase by count, and what by energy."""
    for name, phase in phases().items():
        most = phase.bottleneck()
        level = "alone" if len(most) == 1 else "level"
        yield Step(f"{name}, most by count: {' and '.join(most)} ({level}), each", phase.operations[most[0]])
    cost = joules("fp32")
    yield Step("By energy a multiplication in fp32 outweighs", f"{cost['multiply'] / cost['add']:.1f} additions")
    yield Step("and then multiplications lead in", ", ".join(name for name in phases() if name in led("fp32")))


# 3.4 and 3.5 Shares and traffic of single layers


def update_share(kinds: Iterable[str] = ("multiply", "subtract")) -> Dim:
    """Operations of SGD, of some kinds, over those of a convolution's forward pass."""
    step = epoch(Conv2d())
    return sum(step.update.operations[kind] for kind in kinds) / step.forward.ops


def update_steps(given: Given) -> Iterable[Step]:
    """Operations of the update, of the forward pass, and their ratio."""
    step = epoch(Conv2d())
    yield Step("SGD subtracts and multiplies once for each parameter:", step.update.ops)
    yield Step("The forward pass takes", step.forward.ops)
    yield Step("So the update's share is", update_share())


def first_steps(given: Given) -> Iterable[Step]:
    """What the first layer moves, one way and the other."""
    for line in Linear().backward(input_gradient=False).statements:
        yield Step("Only the gradient of the weights is asked for:", line)
    yield Step("It reads d_out and inp, and writes d_weight:", first().backward.traffic)
    yield Step("The forward pass reads weight and inp, and writes out:", first().forward.traffic)


# 3.6 A step of Adam


@cache
def parameters(name: str) -> int:
    """Parameters of a network of the zoo."""
    return int(network(name).parameters)


def draw_update(random: Random) -> Given:
    """A network, and a machine that updates it."""
    name = random.choice(("alexnet", "vgg16", "resnet50", "mobilenet_v2"))
    id = random.choice(("h100-sxm", "rtx-4090", "t4", "jetson-orin-nano"))
    return {"network": name, "parameters": parameters(name), "device": id}


def adam(given: Given) -> NetworkTime:
    """A step of Adam there, in fp32."""
    return updating(given["parameters"], Adam()).on(device(given["device"]), "fp32")


def crossing(given: Given, numbers: Dim) -> float:
    """Seconds in which `numbers`, a formula in p, of fp32 cross the memory interface for p parameters."""
    moved = numbers.subs(symbol("p"), given["parameters"]) * bytes_of("fp32")
    return float(moved / device(given["device"]).require("bandwidth"))


def adam_steps(given: Given) -> Iterable[Step]:
    """What crosses, and why nothing else counts."""
    yield Step("Adam reads parameter, gradient and two running means, and writes all but the gradient:", Adam().traffic)
    yield Step("They cross in", show(adam(given).memory, "s"))
    yield Step("The arithmetic takes far less, so it is the memory that counts:", show(adam(given).compute, "s"))


# 3.7 Until the update no longer leads

RULES: dict[str, Optimizer] = {"momentum": Momentum(), "adam": Adam()}
BATCHES = range(1, 1025)


def draw_setting(random: Random) -> Given:
    """An optimizer and a machine."""
    machines = ("t4", "v100-sxm", "a100-sxm", "h100-sxm")
    return {"optimizer": random.choice(tuple(RULES)), "device": random.choice(machines)}


def start(given: Given) -> Mapping[str, Any]:
    """The controls that stay where they are."""
    return {"work": "alexnet", "optimizer": given["optimizer"], "device": given["device"], "dtype": "fp16"}


@cache
def alexnet() -> Steps:
    """AlexNet's step at every batch."""
    return steps(network("alexnet"))


def at(batch: int, given: Given) -> EpochTime:
    """Its time at one batch."""
    return alexnet().using(RULES[given["optimizer"]]).at(batch).on(device(given["device"]), "fp16")


def enough(batch: int, given: Given) -> bool:
    """Does the update take no longer than the forward pass?"""
    time = at(batch, given)
    return bool(time.update.total <= time.forward.total)


def goal(setting: Mapping[str, Any], given: Given) -> Note | None:
    """What is wrong with a batch: the update still leads, or it stopped leading before."""
    batch = setting["batch"]
    if not enough(batch, given):
        say = (
            "The update still takes longer than the forward pass. It does not notice the batch; the forward pass does."
        )
        return Note("update-longer", say, WAITS)
    if batch > 1 and enough(batch - 1, given):
        return Note("not-the-least", "The forward pass is long enough here, but a smaller batch would do, too.", WAITS)
    return None


def least(given: Given) -> int:
    """The smallest batch that is enough."""
    low, high = 1, BATCHES[-1]
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle, given) else (middle + 1, high)
    return low


def least_steps(given: Given) -> Iterable[Step]:
    """The update, and the forward pass on both sides of the answer."""
    yield Step("The update takes the same time at every batch:", f"{at(1, given).update.total * 1e6:,.1f} µs")
    for batch in (1, least(given) - 1, least(given)):
        yield Step(f"The forward pass at batch {batch}:", f"{at(batch, given).forward.total * 1e6:,.1f} µs")


# 3.8 A batch that is worth an update


def square(optimizer: Optimizer) -> Epoch:
    """A linear layer with d numbers in and d out."""
    return epoch(Linear(c="d", k="d"), optimizer=optimizer)


@cache
def meeting(forward: Dim, update: Dim) -> Dim:
    """The batch at which two times, told in numbers that cross meanwhile, are equal."""
    (found,) = sympy.solve(forward - update, symbol("n"))
    return sympy.factor(found)


def regimes(step: Epoch, macs: bool = False) -> tuple[Dim, Dim]:
    """The batch at which the forward pass takes as long as the update, by its arithmetic alone (where B counts
    operations, or `macs`) and by its traffic alone."""
    work = step.forward.macs if macs else step.forward.ops
    return meeting(work / symbol("B"), step.update.traffic), meeting(step.forward.traffic, step.update.traffic)


def regimes_steps(given: Given) -> Iterable[Step]:
    """Both sides, the two batches, and which of them counts."""
    step = square(Adam())
    computing, moving = regimes(step)
    yield Step("Adam moves so many numbers, and waits for nothing else:", step.update.traffic)
    yield Step("The forward pass moves", step.forward.traffic)
    yield Step("and computes", step.forward.ops)
    yield Step("Its arithmetic alone takes as long as the update from a batch of", computing)
    yield Step("Its traffic alone does from a batch of", moving)
    yield Step("The longer of the two is its time, so one of them is enough:", Min(computing, moving))
