"""What the checkpointing explorer says of a plan: its memory over time, its place beside the best, the words for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from html import escape
from itertools import pairwise

from .. import checkpointing as room
from .. import zoo
from ..checkpointing import Chain, Front, Plan, Simulation, simulate
from ..checkpointing.chains import Amount
from ..figures import MemoryTrace, Stretch
from ..quantities import show
from ..tables import Column, Table

#: Networks of the explorer by the name the zoo knows: what they are called, and the batch.
NETWORKS = {"lenet5": ("LeNet-5", 32), "alexnet": ("AlexNet", 32), "resnet18": ("ResNet-18", 8)}
LONGEST = 12  # equal stages
MOST = 13  # tensors between the stages of the longest chain, AlexNet's
#: Plans of the explorer by name: what they are called, and how they are made of a chain's length and k. Those
#: without a rule need more than that.
PLANS: dict[str, tuple[str, Callable[[int, int], Plan] | None]] = {
    "all": ("Keep everything", lambda stages, k: room.store_all(stages)),
    "none": ("Keep the input alone", lambda stages, k: room.store_none(stages)),
    "sqrt": ("About √n segments", lambda stages, k: room.sqrt(stages)),
    "best": ("The best for the budget", None),
    "own": ("Your own", None),
    "sequential": ("k segments (PyTorch)", room.sequential),
    "every": ("Every k-th tensor", room.every),
    "binomial": ("k slots (binomial)", room.binomial),
}
WITH_K = ("sequential", "every", "binomial")


@dataclass(frozen=True)
class State:
    """A chain ("12" equal stages, or a network), a plan with its k, a budget in percent of the peak of keeping
    everything, and which of the tensors between stages are kept when the loss begins. `seen` is the rest of the state
    that `kept` belongs to: if only `kept` differs, somebody marked a tensor, and the plan is their own."""

    chain: str
    plan: str
    k: int
    budget: int
    kept: tuple[bool, ...] = ()
    seen: tuple[str, str, int, int] | None = None


@dataclass(frozen=True)
class Reading:
    """What the explorer says of a state."""

    state: State
    found: Simulation
    front: Front
    data: MemoryTrace
    sentence: str
    table: Table
    alt: str
    formula: str


def settle(state: State) -> State:
    """The state with a k that the chain has room for, and the tensors that its plan keeps; where other ones are marked,
    with your own plan."""
    stages = chain_of(state.chain).stages
    state = replace(state, k=min(state.k, stages))
    setting = (state.chain, state.plan, state.k, state.budget)
    fits = len(state.kept) == stages - 1
    if state.plan != "own":
        kept = _kept(simulate(chain_of(state.chain), _plan(state)))
        if fits and state.seen == setting and state.kept != kept:
            state = replace(state, plan="own")
        else:
            state = replace(state, kept=kept)
    elif not fits:  # another chain: begin with a plan that is good for many
        state = replace(state, kept=_kept(simulate(chain_of(state.chain), room.sqrt(stages))))
    return replace(state, seen=(state.chain, state.plan, state.k, state.budget))


def keeping(kept: tuple[bool, ...]) -> Plan:
    """The plan that keeps the marked ones of the tensors between stages: a stage between two that are kept is
    recorded, a longer stretch is a segment to run again.

    >>> keeping((False, True, True, False))
    Plan.nested(((0, 1), 2, (3, 4)))
    """
    bounds = [0, *(number for number, mark in enumerate(kept, 1) if mark), len(kept) + 1]
    return Plan.nested(a if b == a + 1 else tuple(range(a, b)) for a, b in pairwise(bounds))


def model(state: State) -> Reading:
    """What a state means, in numbers and in words."""
    chain, front, found = chain_of(state.chain), _front(state.chain), simulate(chain_of(state.chain), _plan(state))
    whole = _whole(state.chain)
    size, unit = _scale(state.chain)
    budget = _budget(state)
    data = MemoryTrace(
        _stretches(found, size),
        _stretches(whole, size),
        tuple((float(point.time / chain.time), float(point.peak / size)) for point in front),
        float(budget / size),
        unit,
    )
    label = PLANS[state.plan][0].replace("k ", f"{state.k} ").replace("k-th", f"{state.k}th")
    formula = f"As nested checkpoints: <code>{escape(repr(found.plan))}</code>"
    alt = (
        f"Memory over time for {chains()[state.chain]} with the plan: {label}. It rises and falls through "
        f"{len(data.stretches)} operations up to a peak of {_amount(state, found.peak)}; beside it, the frontier of "
        f"{len(front)} best plans, from {_amount(state, front[0].peak)} down to {_amount(state, front[-1].peak)}."
    )
    return Reading(state, found, front, data, verdict(state, found), table(state, found, label), alt, formula)


def verdict(state: State, found: Simulation) -> str:
    """What a plan costs, how far it is from the best, and whether it fits the budget."""
    chain, whole, front, budget = found.chain, _whole(state.chain), _front(state.chain), _budget(state)
    again = sum(not first for _, first in _forwards(found))
    if again:
        times = f"{_times(found.time, chain)} times as long"
        text = f"{again} forward{'s' * (again > 1)} run again, so a step takes {times}"
        if again < chain.stages:
            text = f"{again} of {chain.stages} forwards run again, so a step takes {times}"
    else:
        text = "No forward runs twice: no plan is faster"
    text += f"; the peak is {_amount(state, found.peak)}"
    if found.peak != whole.peak:
        most = _amount(state, whole.peak).removesuffix(" outputs")
        text += f" instead of {most} ({100 * float(found.peak / whole.peak):.0f} %)"
    elif again:
        text += ", as if everything were kept"
    faster = next((p for p in front if p.peak <= found.peak and p.time < found.time), None)
    leaner = next((p for p in reversed(front) if p.time <= found.time and p.peak < found.peak), None)
    if faster and faster.time == chain.time:
        text += ". With no more memory, the best plan runs none twice"
    elif faster:
        text += f". With no more memory, the best plan takes {_times(faster.time, chain)} times as long"
    elif leaner:
        text += f". The best plan in the same time has a peak of {_amount(state, leaner.peak)}"
    else:
        text += ". It is on the frontier: less memory costs time, less time costs memory"
    limit = f"{state.budget} % ({_amount(state, budget)})"
    if found.peak <= budget:
        return f"{text}. It fits the budget of {limit}."
    least = front[-1].peak
    if least > budget:
        return f"{text}. No plan fits the budget of {limit}: the leanest needs {_amount(state, least)}."
    return f"{text}. It does not fit the budget of {limit}."


def table(state: State, found: Simulation, label: str) -> Table:
    """The plan beside the plans it can be measured by."""
    chain, whole, front = found.chain, _whole(state.chain), _front(state.chain)
    within = next((point for point in front if point.peak <= found.peak), front[-1])
    columns = (
        Column("plan", "plan"),
        Column("forwards", "forwards run"),
        Column("time", "time", show=lambda time: f"{float(str(time)):.3g}×"),
        Column("peak", "peak", "B") if state.chain in NETWORKS else Column("peak", "peak, outputs"),
        Column("share", "of keeping everything", show=lambda share: f"{float(str(share)):.0%}"),
    )
    rows = [
        (name, plan.forwards, float(time / chain.time), peak, float(peak / whole.peak))
        for name, plan, time, peak in (
            (f"This plan: {label}", found.plan, found.time, found.peak),
            ("Keep everything", whole.plan, whole.time, whole.peak),
            ("The fastest with no more memory", within.plan, within.time, within.peak),
            ("The least memory", front[-1].plan, front[-1].time, front[-1].peak),
        )
    ]
    return Table(columns, rows, chains()[state.chain], front.sentence())


# -- what does not change ---------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def chains() -> dict[str, str]:
    equal = {str(n): f"{n} equal stages" for n in range(2, LONGEST + 1)}
    return equal | {name: f"{label}, batch {batch}" for name, (label, batch) in NETWORKS.items()}


@lru_cache(maxsize=16)
def chain_of(name: str) -> Chain:
    if name in NETWORKS:
        return Chain.of(zoo.network(name, batch=NETWORKS[name][1]))
    return Chain.equal(int(name), backward=2)


@lru_cache(maxsize=16)
def _front(name: str) -> Front:
    return room.pareto(chain_of(name), "persistent")


@lru_cache(maxsize=16)
def _whole(name: str) -> Simulation:
    return simulate(chain_of(name), room.store_all(chain_of(name).stages))


@lru_cache(maxsize=16)
def names(name: str) -> tuple[str, ...]:
    """Of the tensors between stages; in a network, the stages whose outputs they are."""
    chain = chain_of(name)
    return chain.names[:-1] if name in NETWORKS else tuple(f"x{i}" for i in range(1, chain.stages))


# -- of a state ---------------------------------------------------------------------------------------------


def _plan(state: State) -> Plan:
    _, rule = PLANS[state.plan]
    if rule is not None:
        return rule(chain_of(state.chain).stages, state.k)
    if state.plan == "own":
        return keeping(state.kept)
    front, budget = _front(state.chain), _budget(state)
    return next((point for point in front if point.peak <= budget), front[-1]).plan


def _budget(state: State) -> Fraction:
    return Fraction(state.budget, 100) * Fraction(_whole(state.chain).peak)


def _kept(found: Simulation) -> tuple[bool, ...]:
    """Which tensors between stages are alive, plain or as records, when the loss has run."""
    alive = next(step.alive for step in found.trace if step.operation.kind == "L")
    return tuple(f"x{i}" in alive or f"xb{i}" in alive for i in range(1, found.chain.stages))


def _forwards(found: Simulation) -> list[tuple[int, bool]]:
    """The places in the trace of forwards, and whether the stage had not run before."""
    seen: set[int | None] = set()
    places = []
    for place, step in enumerate(found.trace):
        if step.operation.kind in ("Fc", "Fe"):
            places.append((place, step.operation.stage not in seen))
            seen.add(step.operation.stage)
    return places


def _stretches(found: Simulation, size: int) -> tuple[Stretch, ...]:
    """The operations that take place in time, which is in units of keeping everything; freeing is none of them."""
    kinds = {place: "forward" if first else "again" for place, first in _forwards(found)}
    least = found.chain.time
    return tuple(
        Stretch(
            float(step.start / least), float(step.end / least), float(step.during / size), kinds.get(place, "backward")
        )
        for place, step in enumerate(found.trace)
        if step.operation.kind != "D"
    )


def _scale(name: str) -> tuple[int, str]:
    """The unit of memory on the axis: how large it is in the chain's sizes, and its name."""
    return (10**6, "MB") if name in NETWORKS else (1, "outputs")


def _amount(state: State, size: Amount) -> str:
    return show(size, "B") if state.chain in NETWORKS else f"{float(size):g} outputs"


def _times(time: Amount, chain: Chain) -> str:
    """How many times the least, to as many digits as tell it from 1."""
    times = float(time / chain.time)
    return next((text for digits in range(3, 9) if (text := f"{times:.{digits}g}") != "1"), "1")
