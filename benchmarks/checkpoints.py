"""Optimal plans: the table for 50 and 339 stages beside the published recurrence in plain Python, and exact fronts."""

from __future__ import annotations

import json
import math
import random
import sys
from functools import partial
from typing import Any

from .harness import Candidate, Finding, Progress, Result, Spread, answers, in_turn, ratio, timed

NAME = "checkpoints"
ABOUT = (
    "The persistent optimum of a chain of 50 stages in 100 slots of memory and of 339 in 500, beside the recurrence of "
    "Beaumont et al. (2019) written out in plain Python (50 stages; 339 would take it hours), and exact fronts of 6 "
    "and 8 stages. Sizes and times are random whole numbers. The authors' own C code is not available here and was "
    "not run."
)
CASES = {"50": (50, 100), "339": (339, 500)}


def measure(repeats: int, progress: Progress) -> Result:
    """Seconds and peak memory of each, in fresh processes."""
    names = ("50", "plain", "339", "exact")
    candidates = [Candidate(name, ("-m", "benchmarks.checkpoints", name), ("dnnlab", "numpy")) for name in names]
    runs, skipped = in_turn(candidates, repeats, progress)
    raw = {name: answers(found) for name, found in runs.items()}
    findings: list[Finding] = []

    def add(what: str, name: str, key: str, unit: str, bound: float | None = None) -> None:
        if raw.get(name):
            target = None if bound is None else ("<=", bound)
            findings.append(Finding(what, Spread.of(answer[key] for answer in raw[name]), unit, target))

    add("50 stages, 100 slots", "50", "wall", "s", 0.05)
    add("50 stages, 100 slots, processor time", "50", "processor", "s")
    add("50 stages, 100 slots, plain Python", "plain", "wall", "s")
    if raw.get("50") and raw.get("plain"):
        if {answer["time"] for answer in raw["50"]} != {answer["time"] for answer in raw["plain"]}:
            raise RuntimeError("the table and the plain recurrence differ")
        ours, theirs = ([answer["wall"] for answer in raw[name]] for name in ("50", "plain"))
        findings.append(Finding("times as fast as plain Python", ratio(theirs, ours), "×"))
    add("339 stages, 500 slots", "339", "wall", "s", 10)
    add("339 stages, 500 slots, processor time", "339", "processor", "s")
    if runs.get("339") and all(found.peak for found in runs["339"]):
        peaks = Spread.of((found.peak or 0) / 1e9 for found in runs["339"])
        findings.append(Finding("339 stages, 500 slots, peak memory", peaks, "GB", ("<=", 1.0)))
    add("exact front of 6 stages", "exact", "6", "s", 1)
    add("exact front of 8 stages", "exact", "8", "s", 10)
    return Result(NAME, ABOUT, tuple(findings), skipped, raw)


def chain_of(stages: int, budget: int, seed: int = 1) -> tuple[Any, int]:
    """A random chain, and a budget (in units of its sizes beside x_0) that does not hold all its records."""
    from dnnlab.checkpointing import Chain

    draw = random.Random(seed)
    outputs = [draw.randint(1, 4) for _ in range(stages + 1)]
    chain = Chain(
        forward=[draw.randint(1, 9) for _ in range(stages)],
        backward=[draw.randint(1, 18) for _ in range(stages)] + [0],
        outputs=outputs,
        records=[size + draw.randint(0, 4) for size in outputs[1:]],
    )
    return chain, outputs[0] + budget


def plain(chain: Any, budget: int) -> float:
    """The recurrence as published, but for the test of the recording forward: a loop for every segment, number of
    slots, and place to keep. Returns the least time."""
    stages, slots = chain.stages, budget - chain.outputs[0]
    x, record, y = chain.outputs, chain.records, (*chain.gradients, 0)
    best: dict[tuple[int, int], list[float]] = {}
    for length in range(stages + 1):
        for s in range(stages + 1 - length):
            t = s + length
            row = [math.inf] * (slots + 1)
            best[s, t] = row
            if s == stages:
                row[y[s] :] = [chain.backward[s]] * len(row[y[s] :])
                continue
            work = chain.forward[s] + chain.backward[s]
            need = record[s] + max(y[t + 1], y[s + 1] + y[s])
            peaks = [x[s + 1]]
            for k in range(s + 1, t):
                peaks.append(max(peaks[-1], x[k] + x[k + 1]))
            for m in range(slots + 1):
                least = math.inf
                if m >= need:
                    least = work + (best[s + 1, t][m - record[s]] if t > s else 0)
                ahead = 0
                for k in range(s + 1, t + 1):
                    ahead += chain.forward[k - 1]
                    if m >= x[k] and m >= peaks[k - 1 - s] + y[t + 1]:
                        least = min(least, ahead + best[k, t][m - x[k]] + best[s, k - 1][m])
                row[m] = least
    return best[0, stages][slots]


def once(name: str) -> dict[str, float]:
    """One measurement in this process."""
    from dnnlab.checkpointing import best_plan, pareto, simulate

    if name == "exact":
        found = {}
        for stages in (6, 8):
            chains = [chain_of(stages, 0, seed)[0] for seed in range(5)]
            found[str(stages)] = max(timed(partial(pareto, chain))[0] for chain in chains)
        return found
    stages, slots = CASES["50" if name == "plain" else name]
    chain, budget = chain_of(stages, slots)
    import numpy  # noqa: F401  # imported by whoever works with it, and not to be measured

    if name == "plain":
        wall, processor, time = timed(lambda: plain(chain, budget))
    else:
        wall, processor, plan = timed(lambda: best_plan(chain, budget, slots=slots))
        time = simulate(chain, plan).time
    return {"wall": wall, "processor": processor, "time": time}


if __name__ == "__main__":
    print(json.dumps(once(sys.argv[1])))
