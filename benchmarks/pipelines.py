"""A million tiles through `dnnlab.buffering.pipeline`, beside networkx and an event simulation."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from typing import Any

from .harness import ROOT, Candidate, Finding, Progress, Result, Spread, answers, in_turn, ratio, timed

NAME = "pipelines"
ABOUT = (
    "Load, compute and store of unequal tiles with two buffers each: `pipeline` with a million tiles (checks, and "
    "the starts of all engines; the median of three), and per tile against networkx's longest path through the "
    "precedence graph (its construction left out) and against an event simulation with `heapq` (20 000 tiles each). "
    "All makespans are compared."
)
TILES, FEW = 1_000_000, 20_000
WORDS = {
    "two": "a million tiles, load and compute",
    "three": "a million tiles, with a store",
    "stalls": "their stalls by reason",
}
TARGETS = {"two": ("<=", 1.0), "three": ("<=", 1.0)}


def measure(repeats: int, progress: Progress) -> Result:
    """Seconds for a million tiles, and tiles a second against the peers, in fresh processes."""
    candidate = Candidate("pipelines", ("-m", "benchmarks.pipelines"), ("dnnlab", "networkx"))
    runs, skipped = in_turn([candidate], repeats, progress)
    raw = answers(runs.get(candidate.name, []))
    findings: list[Finding] = []
    if raw:
        rate = {who: [found["tiles"] / found["wall"] for found in (r[who] for r in raw)] for who in raw[0]}
        for who, words in WORDS.items():
            findings += [
                Finding(words, Spread.of(r[who]["wall"] for r in raw), "s", TARGETS.get(who)),
                Finding(f"{words}, processor time", Spread.of(r[who]["processor"] for r in raw), "s", TARGETS.get(who)),
            ]
        findings += [
            Finding("with a store, times as fast as networkx", ratio(rate["three"], rate["networkx"]), "×", (">=", 10)),
            Finding("with a store, times as fast as the simulation", ratio(rate["three"], rate["simulation"]), "×"),
        ]
    return Result(NAME, ABOUT, tuple(findings), skipped, {"rounds": raw})


def once() -> dict[str, dict[str, float]]:
    """Tiles and seconds of each way, in this process; makespans are compared."""
    from statistics import median

    import networkx

    from dnnlab.buffering import pipeline

    sys.path.insert(0, str(ROOT / "tests"))  # the simulation is the tests' witness
    from pipeline_witness import simulate

    source = random.Random(1)
    times = [[source.randint(1, 1000) for _ in range(TILES)] for _ in range(3)]
    few = [column[:FEW] for column in times]
    graph = precedence(few)
    whole = pipeline(*times)
    ways: dict[str, tuple[int, int, Callable[[], Any]]] = {
        "two": (TILES, 3, lambda: pipeline(*times[:2]).makespan),
        "three": (TILES, 3, lambda: pipeline(*times).makespan),
        "stalls": (TILES, 1, lambda: whole.stalled),
        "networkx": (FEW, 1, lambda: networkx.dag_longest_path_length(graph)),
        "simulation": (FEW, 1, lambda: max(end for _, end in simulate(few, (2, 2)).values())),
    }
    answer, results = {}, {}
    for who, (tiles, repeats, way) in ways.items():
        found = [timed(way) for _ in range(repeats)]
        results[who] = found[0][2]
        answer[who] = {
            "tiles": tiles,
            "wall": median(wall for wall, _, _ in found),
            "processor": median(processor for _, processor, _ in found),
        }
    if not pipeline(*few).makespan == results["networkx"] == results["simulation"]:
        raise RuntimeError("the makespans differ")
    return answer


def precedence(times: list[list[int]]) -> Any:
    """The precedence graph with two buffers: an edge weighs the time of the task it leaves."""
    import networkx

    graph = networkx.DiGraph()
    tiles = len(times[0])
    for j, column in enumerate(times):
        for i, time in enumerate(column):
            after = [(k, m) for k, m in ((j, i + 1), (j + 1, i), (j - 1, i + 2)) if 0 <= k <= 2 and m < tiles]
            graph.add_weighted_edges_from(((j, i), then, time) for then in after)
    graph.add_edge((2, tiles - 1), "end", weight=times[2][-1])
    return graph


if __name__ == "__main__":
    print(json.dumps(once()))
