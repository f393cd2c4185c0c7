"""What the questions of topic 7 compute: chains, budgets and the derivations of their answers."""

from __future__ import annotations

from functools import lru_cache
from random import Random
from typing import Any

import sympy

from .... import Linear, Network, Tanh, checkpointing, zoo
from ....checkpointing import Chain, best_plan, closed_forms, extra_forwards, simulate, store_all
from ....notation import symbol
from ...questions import Given, Step
from ...verdicts import Note

REAL = "07_checkpointing/A real network is not equal"


# -- 7.1: the fullest moment ---------------------------------------------------------------------------------


def fullest(given: Given) -> str:
    """The operation at which memory is fullest where everything is kept, on a chain of equal stages."""
    found = simulate(Chain.equal(12, backward=2), store_all(12))
    kind, stage = max(found.trace, key=lambda step: step.during).operation
    pass_ = {"Fe": "forward", "B": "backward"}.get(kind, "")
    first = stage == 0 if pass_ == "forward" else stage == 11
    return f"{'first' if first else 'last'} {pass_}" if pass_ else "loss"


def fullest_steps(given: Given) -> list[Step]:
    found = simulate(Chain.equal(12, backward=2), store_all(12))
    during = {str(step.operation): step.during for step in found.trace}
    return [
        Step("Each forward adds an output; after the last of 12 there are, with the input,", during["Fe11"]),
        Step("The loss makes the gradient of the last output:", during["L"]),
        Step("The first backward reads it and makes the next one; for a moment both are there:", during["B11"]),
        Step("Then it frees an output and a gradient, and so does each backward after it. At the end:", during["B0"]),
    ]


# -- 7.2: the gradients --------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def gradients() -> str:
    """Whether a step that computes activations again finds other gradients than one that keeps them."""
    import numpy as np

    from ....checkpointing.training import parameters_of, train_step

    net = Network.sequential("small", (4, 8), [Linear(k=8), Tanh()] * 4)
    x, weights = np.random.default_rng(7).normal(size=net.input_shape), parameters_of(net)
    keep, drop = (train_step(net, plan(8), x, weights).gradients for plan in (store_all, checkpointing.sqrt))
    same = all(np.array_equal(keep[layer][name], drop[layer][name]) for layer in keep for name in keep[layer])
    return "equal" if same else "close"


# -- 7.3: only the input -------------------------------------------------------------------------------------


def times_as_long(given: Given) -> Any:
    n = symbol("n")
    return (closed_forms.store_none().forwards + 2 * n) / (3 * n)


def times_steps(given: Given) -> list[Step]:
    n, forwards = symbol("n"), closed_forms.store_none().forwards
    return [
        Step("For the last stage, run all n forwards; for the one before, n − 1; and so on:", forwards),
        Step("Each of the n backwards takes as long as two forwards:", 2 * n),
        Step("With everything kept, a step takes n forwards and those backwards:", 3 * n),
        Step("The ratio is", sympy.cancel(times_as_long(given))),
    ]


# -- 7.4: segments of unequal length -------------------------------------------------------------------------


def uneven(random: Random) -> Given:
    """A chain and a number of segments that does not divide it, so that the last segment is by far the longest."""
    pairs = [(n, k) for n in range(11, 40) for k in range(3, 8) if n - (k - 1) * (n // k) - -(-n // k) not in (0, 2)]
    n, k = random.choice(pairs)
    return {"n": n, "k": k}


def uneven_steps(given: Given) -> list[Step]:
    n, k = given["n"], given["k"]
    size, cost = n // k, closed_forms.sequential(n, k)
    return [
        Step(f"{n} / {k}, rounded down, is the length of all segments but the last:", size),
        Step("The last takes the rest:", n - (k - 1) * size),
        Step("After the forward pass the input of each segment is kept, and every output of the last:", cost.saved),
        Step("The first backward holds two gradients besides:", cost.peak),
    ]


# -- 7.5: a real network in the explorer ---------------------------------------------------------------------


@lru_cache(maxsize=1)
def resnet() -> tuple[dict[int, tuple[Any, Any]], Any]:
    """For ResNet-18 as the explorer has it, peak (in MB, as it is shown) and time of k segments by k, and the time with
    everything kept."""
    chain = Chain.of(zoo.network("resnet18", batch=8))
    found = {k: simulate(chain, checkpointing.sequential(chain.stages, k)) for k in range(1, 13)}
    return {k: (round(one.peak / 10**6), one.time) for k, one in found.items()}, chain.time


def best_k(given: Given) -> dict[str, int]:
    costs, _ = resnet()
    return {"k": min(costs, key=lambda k: costs[k])}


def lowest(setting: Any, given: Given) -> Note | None:
    costs, _ = resnet()
    best, (peak, time) = best_k(given)["k"], costs[setting["k"]]
    if peak > costs[best][0]:
        return Note("peak", "Some other number of segments has a lower peak. Move k through all its values.", REAL)
    if time > costs[best][1]:
        return Note("longer", "No peak is lower, but another k has the same peak and runs less again. "
                    "Compare the times in the sentence below the controls.", REAL)  # fmt: skip
    return None


def lowest_steps(given: Given) -> list[Step]:
    costs, least = resnet()
    rows = [f"k = {k}: {peak} MB, {float(time / least):.3f}×" for k, (peak, time) in costs.items()]
    best = best_k(given)["k"]
    return [
        Step("The peak and the time of each number of segments:", "; ".join(rows)),
        Step("Several share the lowest peak: the large early stages set it, however the rest is cut.", ""),
        Step("Among those, the least time has k =", best),
    ]


# -- 7.6: slots ----------------------------------------------------------------------------------------------


def slots(random: Random) -> Given:
    """A chain and slots for which the usual slips are numbers of their own."""
    cases = [(n, c, closed_forms.repeats(n, c)) for n in range(20, 61) for c in range(3, 7)]
    n, c, _ = random.choice([(n, c, r) for n, c, r in cases if extra_forwards(n, c) != (r - 1) * n])
    return {"n": n, "c": c}


def slots_steps(given: Given) -> list[Step]:
    n, c = given["n"], given["c"]
    r = closed_forms.repeats(n, c)
    return [
        Step(f"With {c} slots and every stage run again at most r times, a chain may have C({c} + r, {c}) stages."),
        Step(f"The smallest r that reaches {n} stages is", r),
        Step(f"The longest chain for {r - 1} times has", closed_forms.reach(c, r - 1)),
        Step("Not every stage needs all r runs: r·n − C(c + r, r − 1) =", extra_forwards(n, c)),
    ]


# -- 7.7: a plan of one's own --------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def budgets() -> tuple[tuple[int, int], ...]:
    """Lengths and budgets for which segments without segments inside do as well as any plan."""
    pairs = [(n, budget) for n in range(10, 17) for budget in range(8, n)]
    return tuple(pair for pair in pairs if flat(best_plan(Chain.equal(pair[0], backward=2), pair[1]).segments))


def flat(segments: Any) -> bool:
    """True for two segments or more, none of them split again."""
    again = [part for part in segments if type(part) is tuple]
    return len(again) > 1 and not any(type(inner) is tuple for part in again for inner in part)


def lengths(random: Random) -> Given:
    stages, budget = random.choice(budgets())
    return {"stages": stages, "budget": budget}


def equal_chain(given: Given) -> Chain:
    return Chain.equal(given["stages"], backward=2)


def plan_steps(given: Given) -> list[Step]:
    chain = equal_chain(given)
    plan = best_plan(chain, given["budget"])
    found = simulate(chain, plan)
    return [
        Step("With everything kept the peak is", simulate(chain, store_all(chain.stages)).peak),
        Step("The dynamic programme of best_plan finds the nested segments", repr(plan)),
        Step("The simulator confirms its peak:", found.peak),
        Step("Forwards that it runs again:", plan.extra_forwards),
    ]


# -- 7.8: drop it and make it again --------------------------------------------------------------------------

TIGHT = Chain(forward=(8, 2, 2, 1), backward=(16, 4, 4, 2, 0), outputs=(1, 2, 4, 2, 3), records=(2, 4, 2, 3))
ROOM = 13


def tight_steps(given: Given) -> list[Step]:
    nested, best = best_plan(TIGHT, ROOM, "persistent"), best_plan(TIGHT, ROOM, "exact")
    slow = sum(step.operation.stage == 0 and step.operation.kind[0] == "F" for step in simulate(TIGHT, nested).trace)
    return [
        Step("Of the plans that keep what they will still need, the fastest that fits is", repr(nested)),
        Step(f"It runs stage 0, the slow one, {slow} times. Its time:", simulate(TIGHT, nested).time),
        Step("The exact search looks at all schedules, and finds", best.text),
        Step("It frees x2 and makes it again from x1, which stays. Its time:", simulate(TIGHT, best).time),
    ]
