"""Two independent ways to schedule a pipeline: the longest path through its precedence graph, and a simulation of
processes, semaphores and a first-come-first-served resource on a clock. Neither knows the recurrence."""

from __future__ import annotations

import heapq
from collections.abc import Generator, Sequence
from typing import Any

Task = tuple[int, int]  # engine, tile


def longest_path(times: Sequence[Sequence[Any]], buffers: Sequence[int]) -> dict[Task, Any]:
    """The earliest end of each task: the heaviest chain of tasks that ends with it, by Kahn's order of the graph."""
    tiles, engines = len(times[0]), len(times)
    after: dict[Task, list[Task]] = {(j, i): [] for j in range(engines) for i in range(tiles)}
    waiting = dict.fromkeys(after, 0)

    def precede(first: Task, then: Task) -> None:
        after[first].append(then)
        waiting[then] += 1

    for j, i in after:
        if i + 1 < tiles:
            precede((j, i), (j, i + 1))  # an engine does one tile at a time
        if j + 1 < engines:
            precede((j, i), (j + 1, i))  # a tile is made before it is used
            if i + buffers[j] < tiles:
                precede((j + 1, i), (j, i + buffers[j]))  # a buffer is used before it is filled anew
    start: dict[Task, Any] = dict.fromkeys(after, 0)
    end: dict[Task, Any] = {}
    ready = [task for task, count in waiting.items() if not count]
    while ready:
        task = ready.pop()
        end[task] = start[task] + times[task[0]][task[1]]
        for then in after[task]:
            start[then] = max(start[then], end[task])
            waiting[then] -= 1
            if not waiting[then]:
                ready.append(then)
    assert len(end) == tiles * engines, "the graph has a cycle"
    return end


class Semaphore:
    """So many tokens; who finds none waits."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self.queue: list[Process] = []


Process = Generator[tuple[str, Any], None, None]


def simulate(
    times: Sequence[Sequence[Any]], buffers: Sequence[int], shared: bool = False
) -> dict[Task, tuple[Any, Any]]:
    """(start, end) of each task. With `shared`, the first and the last engine use one channel: first come, first
    served, and the last engine first where both ask at the same moment."""
    tiles, engines = len(times[0]), len(times)
    free = [Semaphore(count) for count in buffers]
    full = [Semaphore(0) for _ in buffers]
    clock: Any = 0
    log: dict[Task, tuple[Any, Any]] = {}
    events: list[tuple[Any, int, Process]] = []  # time, a number that keeps the order, who goes on
    requests: list[tuple[Any, int, Process]] = []  # of the channel: time of request, rank, who
    taken = False
    number = 0

    def at(time: Any, process: Process) -> None:
        nonlocal number
        number += 1
        heapq.heappush(events, (time, number, process))

    def engine(j: int) -> Process:
        on_channel = shared and j in (0, engines - 1)
        for i in range(tiles):
            if j:
                yield "take", full[j - 1]
            if j < engines - 1:
                yield "take", free[j]
            if on_channel:
                yield "channel", -j
            start = clock
            yield "work", times[j][i]
            log[j, i] = (start, clock)
            if on_channel:
                yield "release", None
            if j:
                yield "give", free[j - 1]
            if j < engines - 1:
                yield "give", full[j]

    for j in range(engines):
        at(0, engine(j))
    while events or (requests and not taken):
        if not taken and requests and not (events and events[0][0] == clock):
            # All that happens at this moment has happened: the channel goes to the first in the queue.
            taken = True
            at(clock, heapq.heappop(requests)[2])
            continue
        clock, _, process = heapq.heappop(events)
        for action, what in process:
            if action == "work":
                at(clock + what, process)
                break
            if action == "channel":
                heapq.heappush(requests, (clock, what, process))
                break
            if action == "release":
                taken = False
            elif action == "give":
                what.tokens += 1
                if what.queue:
                    what.tokens -= 1
                    at(clock, what.queue.pop(0))
            elif what.tokens:
                what.tokens -= 1
            else:
                what.queue.append(process)
                break
    assert len(log) == tiles * engines, "the processes wait for each other"
    return log
