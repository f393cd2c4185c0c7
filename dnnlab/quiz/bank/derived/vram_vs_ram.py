"""Topic 5, derived: what fits, what a share of the weights outside costs, and the way to either."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from random import Random
from typing import Any

import sympy

from .... import Adam, device
from ....memory import Fit, Spill, afford, fits, kv_cache, spill, transformer_layer_saved, zero
from ....networks import Network
from ....notation import largest, symbol
from ....quantities import bytes_of, show
from ....zoo import network
from ...questions import Given, Step

H100 = "h100-sxm"


@cache
def llama(length: int = 1) -> Network:
    """The decoder of the lecture; of length 1 its pass makes one more token."""
    return network("llama", batch=1, length=length)


# 5.1 Does it fit?


@cache
def tries() -> dict[str, Fit]:
    """Llama at work in five places: making a token after 8,192 others, or in training on texts of 2,048."""
    found = {
        name: fits(llama(), device(id), dtype, cache=8192)
        for name, id, dtype in (
            ("fp16 on a T4", "t4", "fp16"),
            ("int8 on a T4", "t4", "int8"),
            ("fp16 on an RTX 4090", "rtx-4090", "fp16"),
            ("fp16 on a desktop CPU", "ryzen-7950x", "fp16"),
        )
    }
    training = fits(llama(2048), device(H100), "fp16", training=True, optimizer=Adam(), master="fp32")
    return found | {"training on an H100": training}


def fitting(given: Given) -> frozenset[str]:
    """Where it fits."""
    return frozenset(name for name, fit in tries().items() if fit)


def fitting_steps(given: Given) -> list[Step]:
    """The verdict on each of the five."""
    return [
        Step("A network fits where its parameters and activations fit in the external memory: VRAM, or RAM of a CPU."),
        *(Step(f"{name}:", fit.sentence()) for name, fit in tries().items()),
    ]


# 5.2 Room or speed for one's money

SHOP = {"DDR5": "ddr5", "GDDR6X": "gddr6x", "HBM3": "hbm3"}


def budget(random: Random) -> Given:
    """A budget, a format, and a price for each technology."""
    low, middle, high = random.choice((2, 3)), random.choice((5, 6)), random.choice((12, 15))
    return {
        "budget": f"{random.choice((150, 60, 250, 100, 180, 300, 400))} $",
        "format": random.choice(("int8", "fp16", "fp16")),
        **{name: f"{price} $/GB" for name, price in zip(SHOP, (low, middle, high), strict=True)},
    }


def tokens(given: Given) -> dict[str, float]:
    """Tokens a second of Llama by technology; 0 where the budget does not buy room for it."""
    prices = {id: given[name] for name, id in SHOP.items()}
    bought = afford(given["budget"], SHOP.values(), prices, llama(), given["format"])
    return {name: bought[id].tokens or 0 for name, id in SHOP.items()}


def best_buy(given: Given) -> str:
    """The technology with most tokens a second."""
    found = tokens(given)
    return max(found, key=lambda name: found[name])


def budget_steps(given: Given) -> list[Step]:
    """What all weights cost in each, and how fast that is."""
    size = llama().parameters * bytes_of(given["format"])
    rates = tokens(given)
    return [
        Step("All weights have to be in it:", show(size, "B")),
        *(
            Step(f"{name} at {given[name]} costs {show(size / 1e9 * float(given[name].split()[0]), '')} $;",
                 f"at best {rate:.3g} tokens/s" if rate else "more than there is")
            for name, rate in rates.items()
        ),
    ]  # fmt: skip


# 5.3 Weights in two memories

INSIDE, OUTSIDE = symbol("V"), symbol("R")


@cache
def slowdown(inside: Any = INSIDE, outside: Any = OUTSIDE) -> Any:
    """How many times as long a pass takes with some bytes in RAM as with all in VRAM."""
    return sympy.factor(spill().slowdown(outside / (inside + outside), "stored"))


def mean_speed(given: Given) -> Any:
    """The mistake of reading all bytes at the mean of the two bandwidths."""
    one = spill()
    return one.fast * (INSIDE + OUTSIDE) / (INSIDE * one.fast + OUTSIDE * one.slow)


def seconds(given: Given) -> Any:
    """The mistake of leaving the comparison with VRAM out."""
    return INSIDE / spill().fast + OUTSIDE / spill().slow


def all_outside(given: Given) -> Any:
    """The mistake of putting all bytes into RAM."""
    return spill().fast / spill().slow


def stored_steps(given: Given) -> list[Step]:
    """The two times, their sum, and the time to compare it with."""
    one = spill()
    ten_times = slowdown().subs({one.slow: one.fast / 10, OUTSIDE: INSIDE})
    return [
        Step("The bytes in VRAM take", INSIDE / one.fast),
        Step("Those in RAM take", OUTSIDE / one.slow),
        Step("With all in VRAM it would be", (INSIDE + OUTSIDE) / one.fast),
        Step("The sum of the first two, divided by the third:", slowdown()),
        Step("With half of the bytes in a memory that is ten times as slow:", sympy.simplify(ten_times)),
    ]


# 5.4 How many conversations?


#: Less than a hundred conversations each, so that three digits tell a whole one from the next.
SERVERS = (*(("l4", tokens) for tokens in (1024, 2048, 4096)), *(("rtx-4090", tokens) for tokens in (1024, 2048, 4096)),
           *(("a100-sxm", tokens) for tokens in (8192, 16384)), *((H100, tokens) for tokens in (8192, 16384)),
           ("h200-sxm", 16384), ("b200", 16384), ("b200", 32768))  # fmt: skip


def server(random: Random) -> Given:
    """A device and the length of a conversation."""
    id, tokens = random.choice(SERVERS)
    return {"device": id, "memory": show(device(id).capacity, "B"), "tokens": tokens}


def conversations(given: Given, weights: bool = True, share: Fraction = Fraction(1)) -> int:
    """How many caches, or shares of one, fit beside the weights."""
    cache = kv_cache(llama(), "fp16", length=given["tokens"])
    room = Fraction(device(given["device"]).require("capacity")) - (cache.weights if weights else 0)
    return int(room // (Fraction(cache.total) * share))


def all_heads() -> Fraction:
    """How many query heads share a key-value head."""
    core = llama()["layers.0.attention.core"].layer
    return Fraction(core.a, kv_cache(llama()).layers[0].heads)  # type: ignore[attr-defined]  # an attention layer


def server_steps(given: Given) -> list[Step]:
    """Bytes of a token, of a conversation, and the room for them."""
    cache = kv_cache(llama(), "fp16", length=given["tokens"])
    layer, number = cache.layers[0], len(cache.layers)
    room = device(given["device"]).require("capacity") - cache.weights
    return [
        Step(f"A token: a key and a value, {layer.heads} heads of {layer.width}, {number} layers, 2 bytes:",
             show(cache.per_token, "B")),
        Step(f"A conversation of {given['tokens']} tokens:", show(cache.total, "B")),
        Step("Room beside the weights:", show(room, "B")),
        Step("Whole conversations in it:", str(conversations(given))),
    ]  # fmt: skip


# 5.5 Training state on many devices


def held(stage: int = 2) -> Any:
    """Bytes that each of d devices holds for P parameters."""
    return zero(symbol("P"), symbol("d"))[stage].total


def without_master(given: Given) -> Any:
    """The mistake of leaving the master copy out."""
    return held() - bytes_of("fp32") * symbol("P") / symbol("d")


def held_steps(given: Given) -> list[Step]:
    """The three parts of what a device holds."""
    P, d = symbol("P"), symbol("d")
    stage = zero(P, d)[2]
    return [
        Step("Each device holds all weights:", stage.parameters),
        Step("and its part of the gradients:", stage.gradients),
        Step("and of 4 + 4 + 4 bytes, the master copy and Adam's two numbers:", stage.optimizer),
        Step("In all:", stage.total),
    ]


# 5.7 How much may lie outside?


@cache
def streaming(id: str) -> Spill:
    """The decoder with a part of its weights beyond the link of a device."""
    return spill(llama(), device(id))


def patience(random: Random) -> Given:
    """A device, its bandwidths, and how many times as long a token may take."""
    id = random.choice(("t4", "l4", "rtx-4090", H100))
    own = device(id)
    return {
        "device": id,
        "memory": show(own.bandwidth, "B/s"),
        "link": show(own.link, "B/s"),
        "times": random.choice((1.5, 2, 3)),
    }


@cache
def share(id: str, times: float, way: str) -> float:
    """The share of the weights outside with which a token takes so many times as long."""
    found = streaming(id).crossing(times, way)
    assert found is not None
    return found


def outside(given: Given, way: str = "streamed") -> float:
    """The share outside with which a student's token takes that long."""
    return share(given["device"], given["times"], way)


def outside_steps(given: Given) -> list[Step]:
    """The time there is, and what the link brings in it."""
    own, times = device(given["device"]), given["times"]
    return [
        Step("A token reads each weight once. With all inside that takes", show(streaming(own.id).time(0), "s")),
        Step(f"It may take {times} times as long, in which the link brings",
             show(times * float(streaming(own.id).time(0)) * own.require("link"), "B")),
        Step("All weights that a token reads are", show(float(sum(streaming(own.id).weights)), "B")),
        Step("The one divided by the other, layer by layer:", f"{outside(given):.2%}"),
    ]  # fmt: skip


# 5.6 Where attention takes over


@cache
def takes_over(dropout: bool = True) -> Any:
    """The length at which the part of a transformer layer's activations with s² is as large as the rest."""
    s = symbol("s")
    kept = sympy.expand(transformer_layer_saved(dropout=dropout).published)
    return kept.coeff(s, 1) / kept.coeff(s, 2)


def takes_over_steps(given: Given) -> list[Step]:
    """The two parts, set equal."""
    s, h, a = map(symbol, "sha")
    kept = sympy.expand(transformer_layer_saved().published)
    small = takes_over().subs({h: 768, a: 12})
    return [
        Step("Kept for the backward pass:", kept),
        Step("The part with s²:", kept.coeff(s, 2) * s**2),
        Step("The rest:", kept.coeff(s, 1) * s),
        Step("Equal at s =", takes_over()),
        Step("For GPT-2, with h = 768 and a = 12, that is at", f"{float(small):.0f} tokens"),
    ]


# 5.8 Two processors at once


@cache
def even_share() -> Any:
    """The share outside with which both processors are done at the same time."""
    one, f = spill(), symbol("f")
    inside, outside = (1 - f) * one.time(0, "stored"), f * one.time(1, "stored")
    return sympy.factor(sympy.solve(inside - outside, f)[0])


@cache
def no_room() -> Any:
    """The share outside with which the weights inside fill M bytes."""
    f = symbol("f")
    return sympy.expand(sympy.solve(spill().weights[0] * (1 - f) - symbol("M"), f)[0])


def best_share(given: Given) -> Any:
    """The share outside that is fastest when both processors work at once."""
    return largest(even_share(), no_room())


def best_share_steps(given: Given) -> list[Step]:
    """The even share, the least share, and the larger of the two."""
    one, f = spill(), symbol("f")
    return [
        Step("The one processor takes", (1 - f) * one.time(0, "stored")),
        Step("and the other, at the same time,", f * one.time(1, "stored")),
        Step("The slower of them decides, so they had better take equally long. Solved for f:", even_share()),
        Step("But what has no room inside must lie outside:", no_room()),
        Step("Beyond the even share each byte more outside costs time, so the larger of the two is best:",
             best_share(given)),
    ]  # fmt: skip
