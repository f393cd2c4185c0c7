"""The best tiling of ResNet-50's layers, beside an exhaustive and a random search of the same space."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

from .harness import Candidate, Finding, Progress, Result, Spread, answers, in_turn, ratio, timed

NAME = "tiling"
ABOUT = (
    "Tiles and loop order with least traffic for ResNet-50 with a batch of 8, in processor time: the slowest single "
    "layer with all caches empty, the network from cold, and five more memories after it. Beside it, in the same "
    "process, every tile and every stationary order of a small convolution tried in turn (the same answer is "
    "required), and 2000 random tilings of one layer. Timeloop and ZigZag are not run: they are not among the "
    "packages of the benchmarks."
)
MEMORIES = ("108 kB", "256 kB", "1 MB", "4 MB", "16 MB", "50 MB")
SAMPLES = 2000


def measure(repeats: int, progress: Progress) -> Result:
    """Processor seconds of each way, in fresh processes."""
    candidate = Candidate("tiling", ("-m", "benchmarks.tiling"), ("dnnlab",))
    runs, skipped = in_turn([candidate], repeats, progress)
    skipped |= dict.fromkeys(("Timeloop", "ZigZag"), "not among the packages of the extra `bench`")
    raw = answers(runs.get(candidate.name, []))
    if not raw:
        return Result(NAME, ABOUT, (), skipped)

    def spread(key: str) -> Spread:
        return Spread.of(answer[key] for answer in raw)

    def times(ours: str, theirs: str) -> Spread:
        return ratio([answer[theirs] for answer in raw], [answer[ours] for answer in raw])

    findings = (
        Finding("slowest layer, cold", spread("slowest"), "s", ("<=", 0.05)),
        Finding("network at 108 kB, cold", spread("network"), "s", ("<=", 2.0)),
        Finding("network at five more memories", spread("more"), "s", ("<=", 2.0)),
        Finding("small convolution, times as fast as exhaustive", times("small", "exhaustive"), "×", (">=", 10.0)),
        Finding("one layer, times as fast as 2000 random tilings", times("layer", "random"), "×"),
        Finding("traffic of the best random tiling / ours", spread("worse"), "×", (">=", 1.0)),
    )
    return Result(NAME, ABOUT, findings, skipped, {"rounds": raw})


def once() -> dict[str, Any]:
    """Processor seconds of each way, in this process."""
    from dnnlab import Conv2d, zoo
    from dnnlab.tiling import best_tiling

    net = zoo.resnet50(batch=8)
    layers = list(dict.fromkeys(node.layer for node in net.layers))
    for layer in layers:
        assert layer.program  # read and derived before any clock starts
    each = {}
    for layer in layers:
        _forget()
        each[repr(layer)] = timed(lambda layer=layer: best_tiling(layer, MEMORIES[0]))[1]
    _forget()
    network = timed(lambda: best_tiling(net, MEMORIES[0]))[1]
    more = timed(lambda: [best_tiling(net, memory) for memory in MEMORIES[1:]])[1]

    small = Conv2d(n=2, k=6, c=4, h=6, w=6, r=3, s=3).program.nests[0]
    _forget()
    _, quick, found = timed(lambda: best_tiling(small, 200, "int8"))
    _, slow, least = timed(lambda: _exhaustive(small, 200))
    if found.total != least:
        raise RuntimeError(f"the search found {found.total}, trying everything {least}")

    layer = Conv2d(n=8, k=256, c=256, h=14, w=14, r=3, s=3).program.nests[0]
    _forget()
    _, one, best = timed(lambda: best_tiling(layer, MEMORIES[0]))
    _, guess, lucky = timed(lambda: _random(layer, best.capacity))
    return {
        "slowest": max(each.values()),
        "network": network,
        "more": more,
        "small": quick,
        "exhaustive": slow,
        "layer": one,
        "random": guess,
        "worse": lucky / best.total,
        "each": each,
    }


def _forget() -> None:
    """Empty the caches of tiling."""
    from dnnlab.tiling import axes, best, bound, counting, search

    for room in (axes, best, bound, counting, search):
        for function in vars(room).values():
            if hasattr(function, "cache_clear"):
                function.cache_clear()


def _exhaustive(nest: Any, capacity: int) -> int:
    """The least traffic over the smallest tile for each number of tiles, under the orders of the search."""
    from dnnlab.tiling import traffic
    from dnnlab.tiling.search import loop_orders, tile_sizes

    orders = loop_orders(nest)
    found = []
    for sizes in itertools.product(*(tile_sizes(extent) for extent in nest.extent.values())):
        tile = dict(zip(nest.extent, sizes, strict=True))
        for order in orders:
            moved = traffic(nest, tile, order)
            if moved.footprint > capacity:
                break  # under any order
            found.append(moved.total)
    return min(found)


def _random(nest: Any, capacity: int) -> int:
    """The least traffic of random tilings that fit; those that do not are drawn again."""
    from dnnlab.tiling import traffic

    draw, found = random.Random(0), []
    while len(found) < SAMPLES:
        tile = {name: max(1, round(extent ** draw.random())) for name, extent in nest.extents}
        moved = traffic(nest, tile, draw.sample(list(nest.extent), len(nest.extent)))
        if moved.footprint <= capacity:
            found.append(moved.total)
    return min(found)


if __name__ == "__main__":
    print(json.dumps(once()))
