"""The simulator: what a plan takes on a chain, operation by operation, in time and in memory.

What it lets a plan do is what automatic differentiation can execute: a record holds on to its input.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from ..errors import DnnlabError, quote
from ..tables import Column, Table
from .chains import Amount, Chain
from .plans import Operation, Plan


class Step(NamedTuple):
    """One operation as it ran: start and end time; memory resident before, during (its output and temporary
    included) and after; and what is alive after: "x0" a plain tensor, "xb3" a record, "y3" a gradient."""

    operation: Operation
    start: Amount
    end: Amount
    before: Amount
    during: Amount
    after: Amount
    alive: tuple[str, ...]


@dataclass(frozen=True)
class Simulation:
    """What a plan takes: `time` in all, `peak` memory, and the `trace`, a `Step` for each operation.

    `forwards` counts executed forwards; `extra_time` is what the plan takes longer than keeping everything.
    """

    time: Amount
    peak: Amount
    forwards: int
    extra_time: Amount
    chain: Chain = field(repr=False)
    plan: Plan = field(repr=False)

    @cached_property
    def trace(self) -> tuple[Step, ...]:
        """The steps, in order."""
        times, sizes = self.chain.whole.times, self.chain.whole.sizes
        clock, before, steps = 0, self.chain.whole.outputs[0], list[Step]()
        for operation, seconds, during, after, alive in _run(self.chain, self.plan):
            end = clock + seconds
            started, ended = times.amount(clock), times.amount(end)
            held = sizes.amount(before), sizes.amount(during), sizes.amount(after)
            steps.append(Step(operation, started, ended, *held, tuple(alive)))
            clock, before = end, after
        return tuple(steps)

    def table(self) -> Table:
        """A row for each operation."""
        columns = ("operation", "start", "end", "before", "during", "after", Column("alive", "alive after", show=str))
        rows = [(str(step.operation), *step[1:-1], " ".join(step.alive)) for step in self.trace]
        return Table(columns, rows, note=self.sentence())

    def sentence(self) -> str:
        """The verdict in words."""
        most = max(self.trace, key=lambda step: step.during)
        extra = self.forwards - self.chain.stages
        again = "runs no forward twice" if not extra else f"runs {extra} forward{'s' * (extra > 1)} again"
        return (
            f"This plan {again}: it takes {self.time}, {float(self.time / self.chain.time or 1):.3g} times the least, "
            f"and needs {self.peak} of memory, during {most.operation}."
            if self.chain.time
            else f"This plan {again} and needs {self.peak} of memory, during {most.operation}."
        )

    def _repr_html_(self) -> str:
        return self.table().html()


def simulate(chain: Chain, plan: Plan | str) -> Simulation:
    """Run a plan, or a schedule as `Plan.read` takes it, on a chain: its time, its peak memory and its trace.

    `Fc i` needs x_i (or xb_i) and makes x_{i+1}; `Fe i` makes the record xb_{i+1}; `D j` frees; `L` needs x_L and
    makes y_L; `B i` needs x_i, xb_{i+1} and y_{i+1}, makes y_i and frees the other two. x_0 always stays, and while
    a record is alive its input may not be freed. An operation's memory is all that is resident before it, its output
    and its temporary. Raises `DnnlabError` that names the first operation which cannot run and what it misses.

    >>> chain = Chain.equal(4, backward=2)
    >>> found = simulate(chain, Plan.nested(((0, 1), 2, 3)))
    >>> found.time, found.peak, found.trace[2].alive
    (14, 6, ('x0', 'x2'))
    >>> simulate(chain, "Fe0 Fe1 Fe2 L")
    Traceback (most recent call last):
    ...
    dnnlab.errors.DnnlabError: operation 3 of the plan, L, cannot run: it needs x4, the output of stage 3, which is \
not alive; run Fc3 or Fe3 before it
    """
    if isinstance(plan, str) and isinstance(chain, Chain):
        plan = Plan.read(plan, chain.stages)
    if not isinstance(chain, Chain) or not isinstance(plan, Plan):
        raise DnnlabError(f"simulate takes a chain and a plan, got {quote(chain)} and {quote(plan)}")
    time, peak = measure(chain, plan)
    whole = chain.whole
    extra = time - sum(whole.forward) - sum(whole.backward)
    amount = whole.times.amount
    return Simulation(amount(time), whole.sizes.amount(peak), plan.forwards, amount(extra), chain, plan)


def measure(chain: Chain, plan: Plan) -> tuple[int, int]:
    """Time and peak of a plan in whole units (`Chain.whole`), without a trace."""
    time, peak = 0, chain.whole.outputs[0]
    for _, seconds, during, _, _ in _run(chain, plan):
        time += seconds
        peak = max(peak, during)
    return time, peak


def _run(chain: Chain, plan: Plan) -> Iterator[tuple[Operation, int, int, int, dict[str, int]]]:
    """For each operation its time, the memory during and after it, and what is alive after it, in whole units."""
    if plan.stages != chain.stages:
        raise DnnlabError(f"the plan is for {plan.stages} stages, the chain has {chain.stages}")
    stages, whole = chain.stages, chain.whole
    alive = {"x0": whole.outputs[0]}
    resident = whole.outputs[0]
    for place, operation in enumerate(plan.operations):
        if why := _obstacle(operation, alive, stages):
            raise DnnlabError(f"operation {place} of the plan, {operation}, cannot run: {why}")
        kind, i = operation.kind, stages if operation.stage is None else operation.stage
        seconds = temporary = size = 0
        made, freed = "", tuple[str, ...]()
        if kind == "D":
            freed = (f"xb{i}",) if f"xb{i}" in alive else (f"x{i}",)
        elif kind in ("Fc", "Fe"):
            made, size = (f"x{i + 1}", whole.outputs[i + 1]) if kind == "Fc" else (f"xb{i + 1}", whole.records[i])
            seconds, temporary = whole.forward[i], whole.forward_temp[i]
        else:
            made, size = f"y{i}", whole.gradients[i]
            seconds, temporary = whole.backward[i], whole.backward_temp[i]
            freed = (f"xb{i + 1}", f"y{i + 1}") if kind == "B" else ()
        during = resident + size + temporary
        if made:
            alive[made] = size
            resident += size
        for name in freed:
            resident -= alive.pop(name)
        yield operation, seconds, during, resident, alive
    if "y0" not in alive:
        missing = next((f"B{i}" for i in reversed(range(stages)) if f"y{i + 1}" in alive), "L")
        raise DnnlabError(f"the plan ends after {len(plan.operations)} operations without {missing}; it must reach B0")


def _obstacle(operation: Operation, alive: Mapping[str, int], stages: int) -> str:
    """Why an operation cannot run; empty where it can."""
    kind, i = operation.kind, stages if operation.stage is None else operation.stage
    if kind == "D":
        if i == 0:
            return "x0, the chain's input, always stays"
        if f"x{i}" not in alive and f"xb{i}" not in alive:
            return f"x{i} is not alive"
        if f"xb{i + 1}" in alive:
            return f"xb{i + 1}, the record of stage {i}, holds on to its input x{i}; run B{i} or D{i + 1} first"
        return ""
    if kind == "B" and f"y{i + 1}" not in alive:
        maker = f"B{i + 1}" if i + 1 < stages else "L"
        return f"it needs y{i + 1}, the gradient that {maker} makes, which is not alive"
    if kind == "B" and f"xb{i + 1}" not in alive:
        return f"it needs xb{i + 1}, the record of stage {i}, which is not alive; run Fe{i} before it"
    if f"x{i}" not in alive and f"xb{i}" not in alive:
        return f"it needs x{i}, the output of stage {i - 1}, which is not alive; run Fc{i - 1} or Fe{i - 1} before it"
    if kind == "L" and any(name[0] == "y" for name in alive):
        return "the loss has run already"
    if kind in ("Fc", "Fe") and (f"x{i + 1}" in alive or f"xb{i + 1}" in alive):
        return f"x{i + 1} is alive already; run D{i + 1} before it"
    return ""
