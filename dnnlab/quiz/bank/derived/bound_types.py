"""Topic 4, derived: the times, balances and crossings that its questions ask for, and the way to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from functools import cache
from random import Random
from typing import Any

import sympy

from .... import Device, Linear, device, on
from ....bounds import LayerTime
from ....buffering.tradeoff import buffered_traffic
from ....notation import symbol
from ....quantities import bytes_of, show
from ....tiling import best_tiling
from ....zoo import network
from ...questions import Given, Step
from ...verdicts import Note

H100 = "h100-sxm"
SEE = "04_bound_types/Two engines, one layer"


def time(work: Any, machine: Device, dtype: str = "fp16") -> LayerTime:
    """The time of one layer."""
    found = on(work, machine, dtype)
    assert isinstance(found, LayerTime)
    return found


# 4.1 How much of the time does the arithmetic stand still?

WAITING = ((H100, 64), (H100, 96), (H100, 128), (H100, 192), ("t4", 32), ("t4", 48), ("t4", 64), ("t4", 96))


@cache
def waiting(id: str, samples: int) -> LayerTime:
    """A linear layer of VGG-16 in fp16."""
    return time(network("vgg16", batch=samples)["classifier.3"], device(id))


def one_waiting(random: Random) -> Given:
    """A device and a number of samples with which the layer waits for memory."""
    id, samples = random.choice(WAITING)
    found, own = waiting(id, samples), device(id)
    return {
        "device": id,
        "samples": samples,
        "operations": show(found.ops, "OP", digits=4),
        "bytes": show(found.bytes, "B", digits=4),
        "arithmetic": show(own.rate("fp16"), "OP/s", digits=4),
        "memory": show(own.bandwidth, "B/s"),
    }


def times(given: Given) -> tuple[Fraction, Fraction]:
    """Seconds of arithmetic and of memory."""
    found = waiting(given["device"], given["samples"])
    return Fraction(found.compute), Fraction(found.memory)


def idle(given: Given) -> Fraction:
    """Share of the time in which the arithmetic stands still."""
    compute, memory = times(given)
    return 1 - compute / memory


def idle_steps(given: Given) -> list[Step]:
    """Two times, and the share of the longer one that the other leaves."""
    compute, memory = times(given)
    return [
        Step("Operations by operations a second:", show(compute, "s")),
        Step("Bytes by bytes a second:", show(memory, "s")),
        Step("Both work at the same time, so the layer takes as long as the slower one, and the other waits for",
             f"{float(idle(given)):.1%} of that"),
    ]  # fmt: skip


# 4.2 The time of a linear layer


@cache
def linear_time(overlap: bool = True, result: bool = True, macs: bool = False) -> Any:
    """Seconds of a linear layer: that on a machine of one operation and one byte a second, each divided by its rate.

    Mistakes: without the results, and with a multiply-add as one operation.
    """
    linear, (P, B, b) = Linear(), map(symbol, "PBb")
    unit = time(linear, Device("one a second", {"int8": 1}, bandwidth=1), "int8")
    moved = unit.memory if result else unit.memory - linear.activations
    compute = linear.macs if macs else unit.compute
    return replace(unit, compute=compute / P, memory=moved * b / B, overlap=overlap).total


def linear_steps(given: Given) -> list[Step]:
    """Operations, numbers that cross, and the slower of the two times."""
    linear = Linear()
    return [
        Step("Operations, from the layer's line:", linear.ops),
        Step("Numbers that cross, weights and inputs and results, once each:", linear.traffic),
        Step("The first at P a second, the second with b bytes each at B a second; the slower sets the time:",
             linear_time()),
    ]  # fmt: skip


# 4.3 How often must a number be used?

RIDGES = (("t4", "int8"), ("t4", "fp32"), (H100, "fp8"), (H100, "fp32"), ("a100-sxm", "int8"), ("a100-sxm", "fp32"),
          ("rtx-4090", "fp8"), ("rtx-4090", "fp32"), ("l4", "fp8"), ("l4", "fp32"))  # fmt: skip


def machine_and_format(random: Random) -> Given:
    """A device and one of its formats, with the rates to go by."""
    id, dtype = random.choice(RIDGES)
    return {
        "device": id,
        "format": dtype,
        "arithmetic": show(device(id).rate(dtype), "OP/s"),
        "memory": show(device(id).bandwidth, "B/s"),
    }


def ridge(given: Given) -> Fraction:
    """Operations a byte at which the two engines are equally long busy."""
    own = device(given["device"])
    return Fraction(own.rate(given["format"])) / Fraction(own.require("bandwidth"))


def macs_each(given: Given) -> Fraction:
    """Multiply-adds for each number at which the two engines are equally long busy."""
    return ridge(given) * Fraction(bytes_of(given["format"])) / 2


def macs_steps(given: Given) -> list[Step]:
    """From a byte to a number, from operations to multiply-adds."""
    return [
        Step("Operations in the time of one byte:", f"{float(ridge(given)):.4g}"),
        Step(f"Bytes of a number in {given['format']}:", bytes_of(given["format"])),
        Step("Two operations are one multiply-add, so each number has to be used in", f"{float(macs_each(given)):.4g}"),
    ]


# 4.4 Money wasted

OFFERS = ("GPU", "memory", "drive")
PAIR = (("linear", "classifier.3"), ("convolution", "features.10"))


@cache
def speedups() -> dict[str, float]:
    """How many times as fast two layers of VGG-16 get with ten times as much of one thing; weights are in VRAM."""
    net, machine = network("vgg16", batch=1), device(H100).with_disk("2 TB", "7 GB/s")
    bought = (machine.scaled(compute=10), machine.scaled(bandwidth=10), machine.with_disk("2 TB", "70 GB/s"))
    found = {}
    for name, node in PAIR:
        before = time(net[node], machine).total
        for what, better in zip(OFFERS, bought, strict=True):
            found[f"{what} for {name}"] = float(before / time(net[node], better).total)
    return found


def wasted(given: Given) -> frozenset[str]:
    """The purchases that make no difference."""
    return frozenset(name for name, times in speedups().items() if times == 1)


def wasted_without(*names: str) -> Callable[[Given], frozenset[str]]:
    """The value of a mistake: what is wasted, without these."""
    return lambda given: wasted(given) - set(names)


def helpful(given: Given) -> frozenset[str]:
    """The mistake of naming what helps."""
    return frozenset(speedups()) - wasted(given)


def wasted_steps(given: Given) -> list[Step]:
    """What both layers wait for, and what each purchase does."""
    net = network("vgg16", batch=1)
    first = [
        Step(f"{name.capitalize()}:", replace(time(net[node], device(H100)), name="it").sentence())
        for name, node in PAIR
    ]
    return [*first, *(Step(f"{name}:", f"{times:.3g} times as fast") for name, times in speedups().items())]


def swapped(given: Given) -> frozenset[str]:
    """The same choice with memory-bound and compute-bound mistaken for each other."""
    other = {"GPU": "memory", "memory": "GPU"}
    return frozenset(" ".join([other.get(name.split()[0], name.split()[0]), *name.split()[1:]]) for name in wasted({}))


# 4.5 A slower GPU that is as fast

START = {
    "layer": "linear",
    "batch": 32,
    "dtype": "fp16",
    "bandwidth": device(H100).bandwidth,
    "on_chip": device(H100).on_chip,
}


@cache
def started() -> LayerTime:
    """The layer of the explorer as it starts, on an H100."""
    return time(Linear(n=START["batch"], c=4096, k=4096), device(H100))


def slower_gpu(setting: Mapping[str, Any], given: Given) -> Note | None:
    """What is wrong with a rate of arithmetic; None where it is just fast enough."""
    if setting["rate"] < 1e6:
        return Note("unit", "These are operations a second, without a prefix: did you mean TOP/s?", SEE)
    compute = float(started().ops) / setting["rate"]
    if compute > 1.01 * started().memory:
        return Note("too-slow", "Now memory waits, and the layer takes longer than on the H100.", SEE)
    if compute < 0.9 * started().memory:
        share = 1 - compute / started().memory
        return Note("too-fast", f"The layer takes no longer, but the arithmetic still stands still {share:.0%} of the "
                    "time: there is more to give away.", SEE)  # fmt: skip
    return None


def least_rate() -> float:
    """Operations a second with which the arithmetic takes as long as memory."""
    return float(started().ops / started().memory)


def slower_steps(given: Given) -> list[Step]:
    """The rate at which the arithmetic takes as long as memory."""
    rate = least_rate()
    return [
        Step(started().sentence()),
        Step("The arithmetic may take as long as memory, so this rate is enough:", show(rate, "OP/s")),
        Step("Of the arithmetic that the H100 has, that is", f"{rate / device(H100).rate('fp16'):.0%}"),
    ]


# 4.6 A drive that is just fast enough

LAYERS = ("features.17", "features.24", "classifier.0", "classifier.3")


@cache
def busy(layer: str, batch: int, id: str) -> tuple[Fraction, Fraction, Fraction]:
    """Bytes of its parameters, seconds of arithmetic, seconds of memory, of a layer of VGG-16 in fp16."""
    node = network("vgg16", batch=batch)[layer]
    found = time(node, device(id))
    return Fraction(int(node.parameters) * bytes_of("fp16")), Fraction(found.compute), Fraction(found.memory)


def layer_on_drive(random: Random) -> Given:
    """A layer, a batch and a device, with bytes and times to go by."""
    layer, batch, id = random.choice(LAYERS), random.choice((16, 32, 64)), random.choice(("t4", H100, "rtx-4090"))
    size, compute, memory = busy(layer, batch, id)
    return {
        "layer": f"VGG-16 {layer}",
        "batch": batch,
        "device": id,
        "parameters": show(size, "B", digits=4),
        "arithmetic": show(compute, "s", digits=4),
        "memory": show(memory, "s", digits=4),
    }


def drive(given: Given) -> tuple[Fraction, Fraction, Fraction]:
    """Bytes of parameters, seconds of arithmetic and of memory, of a student's layer."""
    return busy(given["layer"].split()[1], given["batch"], given["device"])


def least_drive(given: Given) -> Fraction:
    """Bytes a second with which the parameters arrive in the time of the slower engine."""
    size, compute, memory = drive(given)
    return size / max(compute, memory)


def drive_steps(given: Given) -> list[Step]:
    """The time there is, and the bytes that have to arrive in it."""
    size, compute, memory = drive(given)
    slower = "arithmetic" if compute > memory else "memory"
    return [
        Step(f"Three engines at once; without the drive, {slower} sets the time:", show(max(compute, memory), "s")),
        Step(f"In that time {show(size, 'B')} of parameters have to arrive:", show(least_drive(given), "B/s")),
        Step("A drive of today gives 7 to 14 GB/s."),
    ]


# 4.7 The most that a batch can do


@cache
def ceiling_of(result: bool = True) -> Any:
    """Operations a byte of a linear layer in fp16 that no batch exceeds."""
    linear = Linear()
    numbers = linear.traffic if result else linear.traffic - linear.activations
    return sympy.cancel(sympy.limit(linear.ops / (bytes_of("fp16") * numbers), symbol("n"), sympy.oo))


def ceiling_steps(given: Given) -> list[Step]:
    """The limit, and what it means for a wide and a narrow layer."""
    linear = Linear()
    wide, narrow = (ceiling_of().subs({symbol("c"): c, symbol("k"): k}) for c, k in ((4096, 4096), (256, 256)))
    return [
        Step("Operations of n samples:", linear.ops),
        Step("Bytes that cross, two for each number:", bytes_of("fp16") * linear.traffic),
        Step("Divide. For large n the weights no longer count, and n cancels:", ceiling_of()),
        Step(f"{wide} for a layer of 4096 by 4096, but {narrow} for one of 256 by 256: an H100 has 295 operations for "
             "each byte in fp16, so this one waits for memory at any batch."),
    ]  # fmt: skip


# 4.8 Faster arithmetic, the same memory


@cache
def roomier() -> Any:
    """By which factor M, the memory on the chip, has to grow for the operands' traffic to fall to 1/a."""
    traffic = buffered_traffic() - Linear().activations
    M, a, x = symbol("M"), symbol("a"), sympy.Symbol("x", positive=True)
    return sympy.solve(sympy.simplify(a * traffic.subs(M, x * M) / traffic) - 1, x)[0]


def room(a: int) -> int:
    """That factor for a student's a."""
    return int(roomier().subs(symbol("a"), a))


def room_steps(given: Given) -> list[Step]:
    """From the traffic of blocks to the factor, and a search over tilings that agrees."""
    a, product = given["a"], Linear(n=131072, k=131072, c=131072)
    small, large = (best_tiling(product, 2**20 * factor).total - product.activations for factor in (1, room(a)))
    return [
        Step("Numbers that cross, for a product in blocks with M bytes on the chip (B buffers, w bytes a number):",
             buffered_traffic()),
        Step("Its first term falls with the square root of M. For 1/a of the traffic, M has to grow by",
             roomier()),
        Step(f"The best tiling of a real product, n = k = c = 131,072, says the same: with {room(a)} MiB in place of "
             f"1 MiB its operands cross {small / large:.3g} times less."),
    ]  # fmt: skip
