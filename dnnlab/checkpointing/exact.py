"""Exact optima of short chains: a shortest-path search through everything a plan may do.

A state is which backward comes next and which tensors are alive, plain or as a record. Operations lead from state to
state. Under a budget, those that need more memory are closed, and A* finds the least time; among plans of the same
time, the one of the least peak.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import NamedTuple

from .chains import Chain
from .plans import Operation, Plan


class State(NamedTuple):
    """The next backward (the number of stages: the loss), and the x_j that are alive as bits: plain, as records."""

    next: int
    plain: int
    records: int


class Found(NamedTuple):
    """A plan with its time and peak in whole units of the chain."""

    time: int
    peak: int
    plan: Plan


class Search:
    """The search on one chain, with its numbers in whole units."""

    def __init__(self, chain: Chain) -> None:
        whole = chain.whole
        self.stages = chain.stages
        self.forward, self.backward = whole.forward, whole.backward
        self.outputs, self.records, self.gradients = whole.outputs, (0, *whole.records), whole.gradients
        self.forward_temp, self.backward_temp = whole.forward_temp, whole.backward_temp

    def fastest(self, budget: int | None = None) -> Found | None:
        """The plan of least time that fits, of the least peak among those; None where nothing fits."""
        start = State(self.stages, 1, 0)
        resident = {start: self.outputs[0]}
        came: dict[State, tuple[State | None, Operation | None]] = {}
        # What must still run, each forward without a record once, orders the queue: it is never too much.
        queue: list[tuple[int, int, int, State, State | None, Operation | None]]
        queue = [(sum(self.forward), self.outputs[0], 0, start, None, None)]
        while queue:
            bound, peak, time, state, before, operation = heapq.heappop(queue)
            if state in came:
                continue
            came[state] = (before, operation)
            if state.next < 0:
                return Found(time + sum(self.backward), peak, self._plan(came, state))
            held = resident[state]
            for step, seconds, ahead, during, after, reached in self._moves(state, held):
                if reached in came or (budget is not None and during > budget):
                    continue
                resident[reached] = after
                entry = (bound + ahead, max(peak, during), time + seconds, reached, state, step)
                heapq.heappush(queue, entry)
        return None

    def _moves(self, state: State, held: int) -> Iterator[tuple[Operation, int, int, int, int, State]]:
        """Operations that can run: the time of a forward, what it adds to the bound, memory during and after, state."""
        following, plain, records = state
        alive = plain | records
        loss = following == self.stages
        for i in range(min(following + 1, self.stages)):
            output = 2 << i
            if alive & (1 << i) and not alive & output:
                seconds = self.forward[i]
                if loss or i < following:  # after the loss, a plain output of the last open stage is of no use
                    size = self.outputs[i + 1]
                    reached = State(following, plain | output, records)
                    yield Operation("Fc", i), seconds, seconds, held + size + self.forward_temp[i], held + size, reached
                size = self.records[i + 1]
                reached = State(following, plain, records | output)
                yield Operation("Fe", i), seconds, 0, held + size + self.forward_temp[i], held + size, reached
        for j in range(1, self.stages + 1):
            bit = 1 << j
            if alive & bit and not records & (bit << 1):
                reached = State(following, plain & ~bit, records & ~bit)
                if records & bit:
                    yield Operation("D", j), 0, self.forward[j - 1], held, held - self.records[j], reached
                else:
                    yield Operation("D", j), 0, 0, held, held - self.outputs[j], reached
        size = self.gradients[following]
        during = held + size + self.backward_temp[following]
        if loss:
            if alive & (1 << following):
                yield Operation("L"), 0, 0, during, held + size, State(following - 1, plain, records)
        elif records & (2 << following):
            after = held + size - self.records[following + 1] - self.gradients[following + 1]
            reached = State(following - 1, plain, records & ~(2 << following))
            yield Operation("B", following), 0, 0, during, after, reached

    def _plan(self, came: dict[State, tuple[State | None, Operation | None]], state: State) -> Plan:
        operations = []
        before, operation = came[state]
        while before is not None and operation is not None:
            operations.append(operation)
            before, operation = came[before]
        return Plan.read(_freed_early(operations[::-1], self.stages), self.stages)

    def front(self) -> Iterator[Found]:
        """Every plan that no other beats in time and peak, the fastest first."""
        budget = None
        while found := self.fastest(budget):
            yield found
            budget = found.peak - 1


def _freed_early(operations: list[Operation], stages: int) -> list[Operation]:
    """The same plan with every tensor freed right after its last use, as a reader expects it."""
    steps: list[tuple[Operation, frozenset[int]]] = []
    records: frozenset[int] = frozenset()
    for operation in operations:
        if operation.stage is not None and operation.kind in ("Fc", "Fe"):
            made = {operation.stage + 1}
            records = records | made if operation.kind == "Fe" else records - made
        if operation.kind != "D":
            steps.append((operation, records))
    wanted: set[int] = set()  # tensors that something later uses or frees
    backwards: list[Operation] = []
    for operation, records in reversed(steps):
        stage = stages if operation.stage is None else operation.stage
        freed: list[int] = []

        def use(j: int, records: frozenset[int] = records, freed: list[int] = freed) -> None:
            while j > 0 and j not in wanted:
                wanted.add(j)
                freed.append(j)
                j = j - 1 if j in records else 0  # a record that goes lets go of its input

        if operation.kind == "B":
            wanted.add(stage + 1)  # it frees its record itself
        elif operation.kind != "L":
            use(stage + 1)
        use(stage)
        if operation.kind in ("Fc", "Fe"):
            wanted.discard(stage + 1)
        backwards += [*(Operation("D", j) for j in reversed(freed)), operation]
    return backwards[::-1]
