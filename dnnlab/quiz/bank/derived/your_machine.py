"""What the questions of topic 8 compute: machines, measurements and the derivations of their answers."""

from __future__ import annotations

from functools import cache
from math import ceil, log
from random import Random
from typing import Any

import sympy

from .... import Conv2d, Device, Linear, LoopNest, ReLU, crossing, energy, on, symbol, upgrades, zoo
from ....bounds import LayerTime, NetworkTime
from ....notation import expression
from ....quantities import bytes_of, read_quantity, show
from ...questions import Given, Step

# -- 8.1: the peak rate ----------------------------------------------------------------------------------------------


def cores_drawn(random: Random) -> Given:
    return {
        "cores": random.choice((4, 6, 8, 10, 12)),
        "clock in GHz": random.choice((2.4, 2.8, 3.2, 3.6, 4.2)),
        "units in a core": random.choice((1, 2)),
        "bits in a unit": random.choice((128, 256, 512)),
    }


def peak(given: Given, *, numbers: bool = True, threads: int = 1) -> float:
    """Operations a second of cores whose units multiply and add as many fp32 numbers at once as they have room for."""
    cores, clock, units, bits = given.values()
    width = bits // (8 * bytes_of("fp32")) if numbers else 1
    return Device("cores", {"fp32": threads * cores * clock * 10**9 * units * width * 2}).rate("fp32")


def peak_steps(given: Given) -> list[Step]:
    cores, clock, units, bits = given.values()
    return [
        Step(f"A number of fp32 has 32 bits, so a unit of {bits} bits holds", bits // 32),
        Step("It multiplies and adds each of them in a cycle, two operations, so a core does in a cycle",
             units * bits // 32 * 2),
        Step(f"Times {cores} cores times {clock} billion cycles a second:", show(peak(given), "OP/s")),
    ]  # fmt: skip


# -- 8.2: words a second ---------------------------------------------------------------------------------------------


def memory_drawn(random: Random) -> Given:
    speed, channels, dtype = random.choice((3200, 4800, 5600, 6400)), random.choice((2, 4, 8)), ("fp16", "int8", "int4")
    return {"channels": channels, "MT/s": speed, "dtype": random.choice(dtype)}


def sheet(given: Given, channels: int | None = None) -> Device:
    bandwidth = (channels or given["channels"]) * given["MT/s"] * 10**6 * 8
    return Device("yours", {given["dtype"]: "1 TOP/s"}, bandwidth=bandwidth)


@cache
def token_bytes(dtype: str) -> float:
    """Bytes that cross the memory interface for a token of Llama 3 8B, one after the other."""
    time = on(zoo.network("llama", batch=1, length=1), Device("any", {dtype: 1}, bandwidth=1), dtype, tiled=False)
    assert isinstance(time, NetworkTime)
    return float(sum(layer.bytes for layer in time.layers))


def token(machine: Device, dtype: str) -> float:
    """Seconds that the memory needs for a token."""
    return token_bytes(dtype) / machine.require("bandwidth")


def token_steps(given: Given) -> list[Step]:
    machine, width, net = sheet(given), bytes_of(given["dtype"]), zoo.network("llama", batch=1, length=1)
    table = net["embed_tokens"].parameters
    return [
        Step("Channels × transfers a second × 8 bytes:", show(machine.bandwidth, "B/s")),
        Step("Parameters in all, and those of the table of words, of which a token reads one row:",
             f"{net.parameters:,} and {table:,}"),
        Step("All others are read for each token:", show((net.parameters - table) * width, "B")),
        Step("That takes", show(token(machine, given["dtype"]), "s")),
        Step("so the tokens in a second are", round(1 / token(machine, given["dtype"]), 2)),
    ]  # fmt: skip


# -- 8.5: a layer of one's own ---------------------------------------------------------------------------------------

GROUPED = "score[n,g,h,i,j] += query[n,g,h,i,d] * key[n,g,j,d]"


def grouped(given: Given) -> LoopNest:
    return LoopNest(GROUPED, n=1, g=2, h=3, i=4, j=5, d=6)


# -- 8.6: a detective's work -----------------------------------------------------------------------------------------

LAPTOP = Device("a laptop", {"fp32": 576e9}, bandwidth=51.2e9, capacity="16 GB", on_chip="12 MiB", lanes=96)
TIMED = {
    "conv": Conv2d(n=32, k=64, c=32, h=16, w=16, r=3, s=3),
    "first": Conv2d(n=32, k=32, c=3, h=32, w=32, r=3, s=3),
    "relu": ReLU(m=32 * 32 * 32 * 32),
    "small": ReLU(m=32 * 128),
}
STRENGTHS: dict[str, tuple[float, ...]] = {
    "overhead": (5e-6, 1e-5, 2e-5, 4e-5),  # seconds
    "bandwidth": (0.5, 0.6, 0.7, 0.8),  # of what the data sheet says
    "clock": (0.5, 0.6, 0.7, 0.8),
    "overlap": (0,),
}


@cache
def predicted(effect: str = "overhead", strength: float = 0) -> dict[str, float]:
    """Seconds of each layer where one effect makes the prediction wrong."""
    machine = {
        "clock": lambda: LAPTOP.scaled(compute=strength),
        "bandwidth": lambda: LAPTOP.scaled(bandwidth=strength),
    }.get(effect, lambda: LAPTOP)()
    found = {name: on(layer, machine, "fp32", overlap=effect != "overlap") for name, layer in TIMED.items()}
    return {name: float(time.total) + (strength if effect == "overhead" else 0) for name, time in found.items()}


def measured(random: Random) -> Given:
    """Times as they would be measured, a little off as all measurements are."""
    effect = random.choice(list(STRENGTHS))
    times = predicted(effect, random.choice(STRENGTHS[effect]))
    return {name: show(seconds * random.uniform(0.985, 1.015), "s") for name, seconds in times.items()}


def suspects(given: Given) -> list[str]:
    """The effects, that which explains the measurements best first."""
    seen = {name: read_quantity(time, "s") for name, time in given.items()}

    def misfit(effect: str) -> float:
        cases = (predicted(effect, strength) for strength in STRENGTHS[effect])
        return min(sum(abs(log(seen[name] / times[name])) for name in seen) for times in cases)

    return sorted(STRENGTHS, key=misfit)


def suspect_steps(given: Given) -> list[Step]:
    times = {name: on(layer, LAPTOP, "fp32") for name, layer in TIMED.items()}
    rows = []
    for name, time in times.items():
        assert isinstance(time, LayerTime)
        rows.append(f"{name}: {show(time.compute, 's')} of arithmetic, {show(time.memory, 's')} of memory")
    more = {name: read_quantity(given[name], "s") - float(time.total) for name, time in times.items()}
    differ = [f"{name} {show(seconds, 's')}" for name, seconds in more.items()]
    return [
        Step("Predicted:", "; ".join(rows)),
        Step("Measured, less predicted:", "; ".join(differ)),
        Step("Overhead adds the same to all; bandwidth stretches what waits for memory; the clock what waits for "
             "arithmetic; without overlap the two times add up."),
        Step("What fits all four layers best:", suspects(given)[0]),
    ]  # fmt: skip


# -- 8.7: energy -----------------------------------------------------------------------------------------------------


def linear_drawn(random: Random) -> Given:
    sizes = (1024, 1536, 2048, 3072, 4096, 8192)
    return {"c": random.choice(sizes), "k": random.choice(sizes)}


@cache
def even(moved: str = "traffic", adds: bool = True) -> Any:
    """The batch at which the arithmetic of a linear layer takes as much energy as its way to the DRAM, in c and k."""
    layer, joules = Linear(), {name: sympy.Rational(str(fact.value)) for name, fact in energy().items()}
    each = joules["fp32_mul"] + (joules["fp32_add"] if adds else 0)
    batch = sympy.Dummy(positive=True)
    balance = expression(layer.macs) * each - expression(getattr(layer, moved)) * joules["dram_32b"]
    return sympy.solve(balance.subs(symbol("n"), batch), batch)[0]


def even_batch(given: Given, **how: Any) -> int:
    return ceil(expression(even(**how)).subs({symbol(name): size for name, size in given.items()}))


def energy_steps(given: Given) -> list[Step]:
    layer, joules = Linear(), {name: str(fact) for name, fact in energy().items()}
    return [
        Step(f"A multiply-add takes {joules['fp32_mul']} and {joules['fp32_add']}; there are", layer.macs),
        Step(f"A number from or to the DRAM takes {joules['dram_32b']}; there are", layer.traffic),
        Step("Both take as much at the batch", sympy.factor(even())),
        Step("With your sizes, rounded up:", even_batch(given)),
    ]


# -- 8.10: which upgrade ---------------------------------------------------------------------------------------------


@cache
def turns() -> dict[tuple[int, int], int]:
    """For cores and MT/s of a laptop, the least batch of AlexNet for which twice the cores buy more than twice the
    bandwidth; only where that is no single image."""
    found = {}
    for cores in (6, 8, 12, 16):
        for speed in (2400, 3200, 4800):
            laptop = Device("yours", {"fp32": cores * 3e9 * 32}, bandwidth=2 * speed * 1e6 * 8, on_chip="12 MiB")
            for batch in range(1, 40):
                gain = upgrades(zoo.network("alexnet", batch=batch), laptop, "fp32")
                if gain["compute"] > gain["bandwidth"]:
                    break
            found[cores, speed] = batch
    return {case: batch for case, batch in found.items() if batch > 1}


def machine_drawn(random: Random) -> Given:
    cores, speed = random.choice(list(turns()))
    return {"cores": cores, "MT/s": speed}


def turn(given: Given) -> int:
    return turns()[given["cores"], given["MT/s"]]


def own_laptop(given: Given) -> Device:
    """Cores at 3 GHz with 32 operations a cycle, and two channels."""
    return Device(
        "yours", {"fp32": given["cores"] * 3e9 * 32}, bandwidth=2 * given["MT/s"] * 1e6 * 8, on_chip="12 MiB", lanes=96
    )


@cache
def crossed(cores: int, speed: int) -> int:
    layer, laptop = zoo.network("alexnet")["classifier.1"], own_laptop({"cores": cores, "MT/s": speed})
    return ceil(crossing(layer, laptop, "fp32", "n") or 0)


def one_layer(given: Given) -> int:
    """The batch at which the largest linear layer of AlexNet no longer waits for memory."""
    return crossed(given["cores"], given["MT/s"])


def turn_steps(given: Given) -> list[Step]:
    laptop = own_laptop(given)
    rows = []
    for batch in range(1, turn(given) + 1):
        gain = upgrades(zoo.network("alexnet", batch=batch), laptop, "fp32")
        rows.append(Step(f"At batch {batch}, twice the cores and twice the bandwidth buy",
                         f"{gain['compute']:.2f}× and {gain['bandwidth']:.2f}×"))  # fmt: skip
    return [
        *rows,
        Step("The linear layers still wait for memory, but their weights are fetched once for the whole batch. What "
             "grows with every image is the arithmetic of the convolutions."),
    ]  # fmt: skip
