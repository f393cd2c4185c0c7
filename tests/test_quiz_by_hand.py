"""Questions with numbers of one's own, answered by hand from what a student is shown, and from nothing else.

The formulas here know nothing of the library: they are what a student would work out on paper, with the figures as
they are shown, rounded. So the expected answers have an independent witness, and no question needs a hidden figure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from math import floor
from typing import Any

import pytest

from dnnlab.quiz.bank import find

PREFIX = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "m": 1e-3, "µ": 1e-6, "n": 1e-9}
BYTES = {"fp32": 4, "fp16": 2, "fp8": 1, "int8": 1}
PARAMETERS = 8.03e9  # of the decoder, as the notebook says
Given = Mapping[str, Any]


def value(text: str) -> float:
    """'35.66 MB' as a number; prefixes by hand, too."""
    number, unit = text.split()
    return float(number) * (PREFIX[unit[0]] if len(unit) > 1 and unit[0] in PREFIX else 1)


def idle(given: Given) -> str:
    compute = value(given["operations"]) / value(given["arithmetic"])
    memory = value(given["bytes"]) / value(given["memory"])
    return f"{100 * (1 - compute / memory):.3g} %"


def used(given: Given) -> str:
    return f"{value(given['arithmetic']) / value(given['memory']) * BYTES[given['format']] / 2:.3g}"


def drive(given: Given) -> str:
    return f"{value(given['parameters']) / max(value(given['arithmetic']), value(given['memory'])):.3g} B/s"


def buy(given: Given) -> str:
    dollars, size = float(given["budget"].split()[0]), PARAMETERS / 1e9 * BYTES[given["format"]]
    slow_to_fast = ("DDR5", "GDDR6X", "HBM3")
    return [name for name in slow_to_fast if size * float(given[name].split()[0]) <= dollars][-1]


def conversations(given: Given) -> int:
    token = 2 * 2 * 8 * 128 * 32  # key and value, 2 bytes, 8 heads of 128, 32 layers
    return floor((value(given["memory"]) - 2 * PARAMETERS) / (token * given["tokens"]))


def outside(given: Given) -> str:
    return f"{100 * given['times'] * value(given['link']) / value(given['memory']):.3g} %"


def two_buffers(given: Given) -> str:
    load, compute = given["load in ms"], given["compute in ms"]
    return f"{load + compute + (given['tiles'] - 1) * max(load, compute)} ms"


def waits(given: Given) -> str:
    """The lanes, drawn tile by tile."""
    load, compute = ([int(time) for time in given[name].split(" …")[0].split(",")] * 2 for name in ("load", "compute"))
    loaded, computed, found = [load[0]], [load[0] + compute[0]], set()
    for i in range(1, 8):
        free = computed[i - given["buffers"]] if i >= given["buffers"] else 0
        if free > loaded[-1]:
            found.add("load for a buffer")
        loaded.append(max(free, loaded[-1]) + load[i])
        if loaded[i] > computed[-1]:
            found.add("compute for a tile")
        computed.append(max(loaded[i], computed[-1]) + compute[i])
    return ", ".join(found) or "nobody"


def slowest(given: Given) -> str:
    """A T4: 16 GB/s of link, 320 GB/s of memory, 65 TFLOP/s."""
    tile = value(given["tile"])
    times = {"disk": tile / value(given["disk"]), "link": tile / 16e9, "memory": tile / 320e9}
    times["arithmetic"] = value(given["operations"]) / 65e12
    return max(times, key=lambda name: times[name])


def sizes(layer: str) -> dict[str, int]:
    """'Linear(n=4, k=8, c=2)' as its letters."""
    return {name: int(number) for name, number in re.findall(r"(\w)=(\d+)", layer)}


def counted(layer: str) -> tuple[int, int, int]:
    """Operations of the multiply-adds, bytes of weights, inputs and outputs, and bytes of the outputs, in fp32."""
    d = sizes(layer)
    if "m" in d:
        return 0, 8 * d["m"], 4 * d["m"]
    image, window = d.get("w", 1) * d.get("h", 1), d.get("r", 1) * d.get("s", 1)
    outputs = d["n"] * d["k"] * image
    return (
        2 * outputs * d["c"] * window,
        4 * (d["k"] * d["c"] * window + d["n"] * d["c"] * image + outputs),
        4 * outputs,
    )


def share_of_roof(given: Given) -> str:
    operations, moved, _ = counted(given["layer"])
    arithmetic, memory = operations / value(given["arithmetic"]), moved / value(given["memory"])
    return f"{100 * max(arithmetic, memory) / value(given['measured']):.3g} %"


def from_which_size(given: Given) -> int:
    """Tried out, size after size."""
    each = (given["t2 in µs"] - given["t1 in µs"]) / (given["m2"] - given["m1"])
    overhead = given["t1 in µs"] - given["m1"] * each
    return next(m for m in range(0, 10**8, 100) if overhead <= 0.1 * (overhead + m * each) * (1 + 1e-9))


def why(given: Given) -> str:
    """What is most, once all of it makes up what was measured, as the table in the notebook has it."""
    layer = given["layer"]
    operations, size, result = counted(layer)
    arithmetic, memory = operations / 150e9, size / 25e9
    assert abs(value(given["at best"]) / max(arithmetic, memory) - 1) < 0.01
    speed = 100e9 if size <= 32e6 else 25e9
    added = {"overhead": 5e-6, "overlap": min(arithmetic, memory), "cache": size / speed - memory}
    added["allocation"] = result * (1 / 4e9 - 1 / speed) * (result > 32e6)
    added["functions"] = sizes(layer).get("m", 0) / 2e9 * layer.startswith("Sigmoid")
    added["copies"] = 2 * size / speed * layer.startswith("Conv2d")
    assert abs((max(arithmetic, memory) + sum(added.values())) / value(given["measured"]) - 1) < 0.03
    most, *others = sorted(map(abs, added.values()), reverse=True)
    assert most > 2 * sum(others)  # nothing else comes near
    return next(name for name, seconds in added.items() if abs(seconds) == most)


BY_HAND: dict[str, Callable[[Given], Any]] = {
    "4.1": idle,
    "4.3": used,
    "4.6": drive,
    "4.8": lambda given: given["a"] ** 2,
    "5.2": buy,
    "5.4": conversations,
    "5.7": outside,
    "6.2": two_buffers,
    "6.3": waits,
    "6.4": slowest,
    "6.7": lambda given: f"spread = {100 * (given['compute'] - given['load']) // (given['compute'] + given['load'])}",
    "8.3": share_of_roof,
    "8.4": from_which_size,
    "8.8": why,
    "8.9": lambda given: "b·P/B",  # k·2·rs·wh·c·n / P = 2·rs·wh·c·n·b / B
}


@pytest.mark.parametrize("id", BY_HAND)
def test_what_is_shown_is_enough(id: str) -> None:
    question = find(id)
    for seed in map(str, range(60)):
        given = question.given(seed)
        answer = BY_HAND[id](given)
        verdict = question.judge(answer, seed)
        assert verdict.correct, (given, answer, verdict)
