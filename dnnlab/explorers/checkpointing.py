"""The checkpointing explorer: a plan's memory over time, and its place beside the best that there are."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import ExtentError, quote, unknown
from ..figures import Canvas, TraceDrawing
from .amounts import Number
from .checkpointing_model import LONGEST, MOST, PLANS, WITH_K, Reading, State, chain_of, chains, model, names, settle
from .controls import Choice, Marks
from .panel import Explorer, Panel

#: How to read the picture.
NOTE = (
    "A bar is one operation: as wide as its time, as high as the memory that is in use meanwhile; ▼ is the peak. The "
    "budget is in percent of the peak of keeping everything. An "
    "equal stage takes 1 forward and 2 backward, and every output, record and gradient is 1 large. Networks count "
    "operations for time and fp32 bytes as PyTorch keeps them, parameters apart. The frontier holds the best "
    "<i>persistent</i> plans: what is kept stays until its backward pass has used it. In your own plan, a stage "
    "between two kept tensors keeps its record; each longer stretch is run again when the backward pass reaches it."
)


def checkpointing(
    chain: int | str = 12,
    plan: str = "sqrt",
    k: int = 3,
    budget: int = 60,
    kept: Iterable[int] = (),
    strict: bool | None = None,
) -> Panel:
    """A panel that shows what a checkpointing plan takes in memory and time. Run it as the last line of a cell.

    `chain` is a number of equal stages, 2 to 12, or one of `NETWORKS`; `plan` one of `PLANS`, for which `k` counts
    segments, steps or slots; `budget` is in percent of the peak of keeping everything. `kept` names the tensors of
    your own plan: 4 for x4, the output of the fourth stage.

    >>> panel = checkpointing(12, "sequential", k=4)
    >>> print(panel.reading.sentence.partition(". ")[0])
    9 of 12 forwards run again, so a step takes 1.25 times as long; the peak is 9 outputs instead of 15 (60 %)
    >>> panel.close()
    """
    if str(chain) not in chains():
        raise unknown("chain", str(chain), list(chains()))
    if plan not in PLANS:
        raise unknown("plan", plan, PLANS)
    numbers = set(kept)
    between = range(1, chain_of(str(chain)).stages)
    for number in numbers:
        if number not in between:
            raise ExtentError(f"kept names tensors between stages, 1 to {between[-1]}, not {quote(number)}")
    controls = (
        Choice("chain", "Chain", lambda state: [(label, name) for name, label in chains().items()], True),
        Choice("plan", "Plan", lambda state: [(label, name) for name, (label, _) in PLANS.items()], True),
        Number("k", "k", 1, LONGEST, applies=lambda state: state.plan in WITH_K),
        Number("budget", "Budget, %", 10, 110),
        Marks("kept", "Kept", lambda state: names(state.chain), MOST),
    )
    state = State(str(chain), plan, k, budget, tuple(number in numbers for number in between))
    return Panel(Explorer("checkpointing", state, controls, settle, model, Drawing, NOTE), strict)


class Drawing:
    """The picture: built once, redrawn for each reading."""

    def __init__(self) -> None:
        self.canvas = Canvas(480, 300)
        self._drawing = TraceDrawing(
            self.canvas.axes(0.115, 0.145, 0.5, 0.755), self.canvas.axes(0.655, 0.145, 0.317, 0.755)
        )

    def png(self, reading: Reading) -> bytes:
        """The picture of a reading."""
        self._drawing.update(reading.data)
        return self.canvas.png(*self._drawing.layers)
