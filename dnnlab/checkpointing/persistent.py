"""Persistent plans, the best of them: a dynamic programme over segments of the chain and slots of memory.

A plan is persistent when a tensor that was kept is not dropped before its backward has run; then what happens
between two kept tensors is a smaller problem of the same kind. The recurrence is that of Beaumont, Eyraud-Dubois,
Herrmann, Joly and Shilova, "Optimal checkpointing for heterogeneous chains" (2019, Theorem 1), except that an
operation is charged exactly what it holds: their test of a recording forward also charges the gradient that only
its backward makes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

from ..errors import ExtentError
from .chains import Chain, count
from .exact import Found
from .plans import Plan
from .simulator import measure

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

WORK = 3 * 10**8  # additions that a default table may take: about half a second
SLOTS = (500, 20_000)  # of a default table, at least and at most
CELLS = 120_000_000  # of a table, at most: half a gigabyte in single precision
SLACK = 8  # slots by which rounded sizes may be too many
LONGEST = 2000  # stages
MANY = 12  # stages from which a front may have too many points to list them all


@dataclass(frozen=True)
class Sizes:
    """Sizes in slots. All memory is counted beside x_0, which always stays."""

    x: Array  # x_0 to x_L
    record: Array  # of stages 0 to L - 1
    y: Array  # y_0 to y_L, and 0: nothing is there before the loss
    forward_temp: Array
    backward_temp: Array
    forward_peaks: Array  # [k, s]: the most that forwards s to k - 1 hold at once, keeping only x_k, beside x_s

    @classmethod
    def of(cls, chain: Chain, step: int = 1, most: int | None = None) -> Sizes:
        """Rounded to the nearest multiple of `step` units; whatever is above `most` slots is cut to just above."""
        import numpy as np

        whole = chain.whole

        def slots(counts: Iterable[int]) -> list[int]:
            return [(2 * n + step) // (2 * step) for n in counts]

        # Records are held many at a time, neighbours together: so it is their running sum that is rounded.
        sums = slots(accumulate(whole.records, initial=0))
        lists = [[after - before for before, after in pairwise(sums)]]
        others = (whole.outputs, whole.gradients, whole.forward_temp, whole.backward_temp)
        lists += map(slots, others)
        lists[2].append(0)  # no gradient is there before the loss
        if most is not None:
            lists = [[min(n, most + 1) for n in counts] for counts in lists]
        # Python's own integers are slower and have no limit.
        kind = np.int64 if sum(map(sum, lists)) < 2**60 else object
        record, x, y, forward_temp, backward_temp = (np.array(counts, dtype=kind) for counts in lists)
        peaks = np.zeros((chain.stages + 1, chain.stages + 1), dtype=kind)
        for k in range(1, chain.stages + 1):
            peaks[k, : k - 1] = np.maximum(peaks[k - 1, : k - 1], x[k - 1] + x[k] + forward_temp[k - 1])
            peaks[k, k - 1] = x[k] + forward_temp[k - 1]
        return cls(x, record, y, forward_temp, backward_temp, peaks)

    def alone(self, t: int) -> int:
        """What the last step of a segment that ends with stage t holds: record it and go back, or the loss."""
        if t == len(self.record):
            return int(self.y[t] + self.backward_temp[t])
        return int(self.y[t + 1] + self.record[t] + max(self.forward_temp[t], self.y[t] + self.backward_temp[t]))

    def recording(self, t: int) -> list[int]:
        """For each stage before t, what it holds when it is recorded first in a segment that ends with stage t: in
        its forward, with y_{t+1} from behind the segment, and in its backward."""
        import numpy as np

        n = slice(min(t, len(self.record)))
        forward = self.y[t + 1] + self.forward_temp[n]
        backward = self.y[: t + 1][1:] + self.y[n] + self.backward_temp[n]
        return list((self.record[n] + np.maximum(forward, backward)).tolist())


class Table:
    """The least time of forwards of every segment in every number of slots.

    `time[t, s, m]` is for stages s to t (t = L includes the loss) in m slots beside x_s, with y_{t+1} among them.
    """

    def __init__(self, chain: Chain, step: int, slots: int) -> None:
        import numpy as np

        self.chain, self.step, self.slots = chain, step, slots
        self.sizes = sizes = Sizes.of(chain, step, slots)
        whole = [0, *chain.whole.forward]
        # Whole units while floats hold them exactly; else the times themselves.
        exact = sum(whole) < 2**53
        self.before = before = np.cumsum(np.array(whole if exact else [0.0, *map(float, chain.forward)], dtype=float))
        stages = chain.stages
        # Single precision holds small whole numbers exactly, and is enough for times where sizes are rounded.
        single = step > 1 or (exact and sum(whole) * stages < 2**24)
        precision = np.float32 if single else np.float64
        self.time = np.empty((stages + 1, stages + 1, slots + 1), precision)  # rows never written take no memory
        extra, sums = np.empty((2, stages + 1, slots + 1), precision)
        columns = np.arange(slots + 1)
        x, record, peaks = sizes.x.tolist(), sizes.record.tolist(), sizes.forward_peaks
        highest = peaks.max(axis=1).tolist()  # of the forwards that end with x_k
        lowest = np.zeros((stages + 1, stages + 1), dtype=np.int64)  # the fewest slots in which a segment can run
        excess = [0] * (stages + 1)  # of forwards that end with x_k, over what their segment needs anyway
        for t in range(stages + 1):
            # extra[s]: the time of forwards beyond one of each stage from s to t
            extra[: t + 1] = np.inf
            recording, y, alone = sizes.recording(t), int(sizes.y[t + 1]), sizes.alone(t)
            extra[t, alone:] = 0
            every = alone  # where every record fits, nothing runs twice, and there is nothing to find
            for k in range(t - 1, -1, -1):
                every = max(recording[k], record[k] + every)
            high = min(every, slots + 1)
            for k in range(t, -1, -1):
                if k < t:
                    held = record[k]
                    start = max(recording[k], held)
                    if start <= slots:
                        behind = extra[k + 1, start - held : slots + 1 - held]
                        np.minimum(extra[k, start:], behind, out=extra[k, start:])
                least = int((extra[k] < np.inf).argmax()) if extra[k, slots] < np.inf else slots + 1
                lowest[t, k] = least
                # Every segment that starts before k may run forward to x_k, keep it, and be replayed after.
                low = least + x[k]
                if not k or low > slots:
                    continue
                kept = extra[k, least : slots + 1 - x[k]]
                needs = None  # where running forward needs more than the rest does, which is rare
                if excess[k] + y > 0 and highest[k] + y > low:
                    needs = peaks[k, :k] + y
                total = np.add(self.time[k - 1, :k, low:high], kept[: high - low], out=sums[:k, low:high])
                if needs is not None:
                    total[columns[low:high] < needs[:, None]] = np.inf
                np.minimum(extra[:k, low:high], total, out=extra[:k, low:high])
            span = before[min(t + 1, stages)] - before[: t + 1]
            np.add(extra[: t + 1], span[:, None], out=self.time[t, : t + 1])
            if t < stages:
                excess[t + 1] = int((peaks[t + 1, : t + 1] - lowest[t, : t + 1]).max())

    def plan(self, slots: int) -> Plan:
        """The plan of least time in that many slots, read back from the table."""
        return _walk(self.chain.stages, slots, self._choice)

    def _choice(self, s: int, t: int, m: int) -> tuple[int | None, int]:
        """For a segment in m slots: the k whose x_k is kept plainly, or None to record stage s; slots left after."""
        import numpy as np

        sizes = self.sizes
        k = np.arange(s + 1, t + 1)
        left = m - sizes.x[k]
        totals = self.before[k] - self.before[s] + self.time[t, k, left.clip(0)] + self.time[s:t, s, m]
        totals[(left < 0) | (sizes.forward_peaks[k, s] + sizes.y[t + 1] > m)] = np.inf
        best = int(np.argmin(totals))
        after = m - int(sizes.record[s])
        if after >= 0 and sizes.recording(t)[s] <= m:
            recorded = self.before[s + 1] - self.before[s] + self.time[t, s + 1, after]
            if recorded <= totals[best] and np.isfinite(recorded):
                return None, after
        return int(k[best]), int(left[best])


def _walk(stages: int, slots: Any, choice: Any) -> Plan:
    """The nested plan that a table's choices lead to."""
    segments: list[Any] = []
    todo = [(0, stages, slots, segments)]
    while todo:
        s, t, m, items = todo.pop()
        while s < t:
            k, left = choice(s, t, m)
            if k is None:
                items.append(s)
                s, m = s + 1, left
            else:
                inner: list[Any] = []
                items.append(inner)
                todo.append((s, k - 1, m, inner))
                s, m = k, left
        items += [s] if s < stages else []
    return Plan.nested(segments)


def least(chain: Chain) -> Found:
    """A persistent plan that needs the least memory; sizes are exact, no slots."""
    import numpy as np

    sizes, stages = Sizes.of(chain), chain.stages
    # need[t, s]: the least memory of stages s to t beside x_s; choices[t, s]: its k, or 0 to record stage s
    need = np.zeros((stages + 1, stages + 1), dtype=sizes.x.dtype)
    choices = np.zeros((stages + 1, stages + 1), dtype=np.int64)
    for t in range(stages + 1):
        need[t, t] = sizes.alone(t)
        recording = sizes.recording(t)
        for s in range(t - 1, -1, -1):
            recorded = max(recording[s], sizes.record[s] + need[t, s + 1])
            k = np.arange(s + 1, t + 1)
            kept = np.maximum(sizes.x[k] + need[t, k], need[s:t, s])
            kept = np.maximum(kept, sizes.forward_peaks[k, s] + sizes.y[t + 1])
            best = int(np.argmin(kept))
            need[t, s] = min(recorded, kept[best])
            choices[t, s] = 0 if recorded <= kept[best] else k[best]
    plan = _walk(stages, None, lambda s, t, m: (int(choices[t, s]) or None, None))
    return measured(chain, plan)


def resolution(chain: Chain, slots: object = None) -> int:
    """How many slots a table has: as asked, or as many as half a second allows."""
    if chain.stages > LONGEST:
        raise ExtentError(f"a chain of {chain.stages} stages is too long to optimise (limit {LONGEST}); merge some")
    if slots is not None:
        return count(slots, "slots")
    return min(max(6 * WORK // chain.stages**3, SLOTS[0]), SLOTS[1], 2 * CELLS // chain.stages**2)


def fastest(chain: Chain, budget: int, slots: object = None) -> Found | None:
    """The persistent plan of least time within a budget in whole units; None where none fits.

    Exact where the budget has at most `slots` units. Beyond, sizes are rounded to slots of twice, four times, ... as
    many units, and the plans found are measured: none is above the budget, and among budgets of the same slot more
    memory never costs time.
    """
    import numpy as np

    resolved = resolution(chain, slots)
    outside = chain.whole.outputs[0]
    every = measured(chain, Plan.nested(range(chain.stages)))
    if every.peak <= budget:
        return every
    step = 1
    while budget - outside > step * resolved:
        step *= 2
    slack = 0 if step == 1 else SLACK
    table = Table(chain, step, max((budget - outside) // step, 0) + slack)
    times = table.time[chain.stages, 0]
    if step == 1:
        if not np.isfinite(times[-1]):
            return None
        return measured(chain, table.plan(int((times == times[-1]).argmax())))
    # Every budget asks the same columns in the same order, and a larger one never turns to a lower column.
    found = [least(chain)]
    low, high = 0, resolved + slack + 1
    while low < high:
        middle = (low + high) // 2
        fits = middle <= table.slots
        if fits and np.isfinite(times[middle]):
            found.append(measured(chain, table.plan(middle)))
            fits = found[-1].peak <= budget
        low, high = (middle + 1, high) if fits else (low, middle)
    return min((plan for plan in found if plan.peak <= budget), key=lambda plan: plan[:2], default=None)


def front(chain: Chain, slots: object = None) -> list[Found]:
    """The persistent plans that no other of them beats in time and peak, the fastest first; the best that were found
    where sizes are rounded (`rounds`)."""
    import numpy as np

    every, step = _everything(chain, slots)
    table = Table(chain, step, -(-every.peak // step))
    times = table.time[chain.stages, 0]
    fewest = np.flatnonzero(times < np.append(np.inf, times[:-1]))  # slots for each time
    return undominated([every, least(chain), *(measured(chain, table.plan(int(m))) for m in fewest)])


def rounds(chain: Chain, slots: object = None) -> bool:
    """Whether `front` has to round sizes."""
    return _everything(chain, slots)[1] > 1


def _everything(chain: Chain, slots: object) -> tuple[Found, int]:
    """The plan that keeps every record, and the units of a slot that let it fit into the table."""
    every = measured(chain, Plan.nested(range(chain.stages)))
    if slots is None and chain.stages > MANY:
        slots = SLOTS[0]  # a plan is read back for each time in the table
    inside = every.peak - chain.whole.outputs[0]
    return every, max(1, -(-inside // resolution(chain, slots)))


def measured(chain: Chain, plan: Plan) -> Found:
    """A plan with what it takes."""
    return Found(*measure(chain, plan), plan)


def undominated(plans: Iterable[Found]) -> list[Found]:
    """Those that no other beats in time and peak, the fastest first."""
    kept: list[Found] = []
    for found in sorted(plans, key=lambda found: found[:2]):
        if not kept or found.peak < kept[-1].peak:
            kept.append(found)
    return kept
