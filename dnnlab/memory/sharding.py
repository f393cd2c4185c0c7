"""ZeRO: the state of training is divided between devices instead of being held whole by each.

Rajbhandari et al. (2020), "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models".
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import DnnlabError, ExtentError, quote
from ..layers.optimizers import Adam, Optimizer
from ..networks import Network
from ..notation import Dim, dimension, is_bound, plain, ratio
from ..quantities import positive, show
from ..tables import Column, Table
from .sizes import bytes_for, size

#: What each stage divides.
DIVIDED = ("nothing", "optimizer state", "optimizer state, gradients", "all")


@dataclass(frozen=True)
class Stage:
    """One stage of ZeRO on one device, in bytes: what it holds, and what it sends (and receives) in a step."""

    stage: int
    parameters: Dim
    gradients: Dim
    optimizer: Dim
    communication: Dim

    @property
    def total(self) -> Dim:
        """Bytes held on each device."""
        return self.parameters + self.gradients + self.optimizer


@dataclass(frozen=True)
class Sharding:
    """The four stages, for `parameters` on `devices`; `sharding[3]` is the third."""

    parameters: Dim
    devices: Dim
    stages: tuple[Stage, ...]

    def __getitem__(self, stage: int) -> Stage:
        """A stage, 0 to 3."""
        if type(stage) is not int or not 0 <= stage < len(self.stages):
            raise ExtentError(f"stage {quote(stage)}: ZeRO has the stages 0, 1, 2 and 3")
        return self.stages[stage]

    def table(self) -> Table:
        """A row for each stage."""
        columns = (
            Column("stage", "stage"),
            Column("divided", "divided"),
            *(Column(key, show=size) for key in ("parameters", "gradients", "optimizer", "total")),
            Column("communication", "sent in a step", show=size),
        )
        rows = [
            (s.stage, DIVIDED[s.stage], s.parameters, s.gradients, s.optimizer, s.total, s.communication)
            for s in self.stages
        ]
        return Table(columns, rows, f"ZeRO: {_count(self.parameters)} parameters on {plain(self.devices)} devices")

    def _repr_html_(self) -> str:
        return self.table().html()

    def sentence(self) -> str:
        """What dividing buys, in words.

        >>> print(zero("7.5 G", 64).sentence())
        Of 7.5 G parameters each of 64 devices holds 120 GB of training state undivided; dividing the optimizer state \
leaves 31.4 GB, gradients too 16.6 GB, parameters too 1.88 GB, at 1.5 times the communication.
        """
        held = [size(stage.total) for stage in self.stages]
        more = ratio(self[3].communication, self[0].communication) if self[0].communication != 0 else 1
        return (
            f"Of {_count(self.parameters)} parameters each of {plain(self.devices)} devices holds {held[0]} of "
            f"training state undivided; dividing the optimizer state leaves {held[1]}, gradients too {held[2]}, "
            f"parameters too {held[3]}, at {plain(more)} times the communication."
        )


def zero(
    work: Network | Dim | str,
    devices: Dim | str,
    optimizer: Optimizer | None = None,
    dtype: str = "fp16",
    master: str | None = "fp32",
) -> Sharding:
    """What each device holds of the training state at each stage of ZeRO, in bytes, and what it sends in a step.

    `work` is a network, or a number of parameters ("7.5 G", or a symbol such as `symbol("P")`). The `optimizer` (Adam)
    keeps its state, and with mixed precision a copy of the weights, in `master`; master=None keeps all in `dtype`.
    The volume counts what a device sends where the devices are many: the mean of the gradients takes two passes over
    them, 2P; stages 1 and 2 spread the same two over gradients and updated parameters; stage 3 gathers the parameters
    once more in the backward pass, 3P. Raises `ExtentError` for counts that are not positive.

    >>> [round(float(stage.total) / 1e9, 1) for stage in zero("7.5 G", 64).stages]
    [120.0, 31.4, 16.6, 1.9]
    """
    optimizer = Adam() if optimizer is None else optimizer
    if not isinstance(optimizer, Optimizer):
        raise DnnlabError(f"optimizer = {quote(optimizer)}: expected an optimizer such as Adam()")
    if isinstance(work, Network):
        count: Dim = work.parameters
    elif getattr(work, "free_symbols", ()):
        count = dimension("parameters", work)
    else:
        count = positive(work, "", "number of parameters")
        if not isinstance(count, int):
            raise ExtentError(f"number of parameters must be whole, not {quote(work)}")
    if count == 0:
        raise ExtentError(f"{quote(work)} has no parameters to divide")
    n = dimension("devices", devices)
    weights = bytes_for(count, dtype)
    state = bytes_for((optimizer.at(p=1).state + bool(master)) * count, master or dtype)
    parts = (weights, weights, state)  # parameters, gradients, optimizer
    stages = []
    for stage in range(4):
        # Stage 1 divides the last part, stage 2 the last two, stage 3 all of them.
        own, slope, rest = (ratio(part, n) if place >= 3 - stage else part for place, part in enumerate(parts))
        passes = 0 if n == 1 else 3 if stage == 3 else 2
        stages.append(Stage(stage, own, slope, rest, passes * weights))
    return Sharding(count, n, tuple(stages))


def _count(value: Dim) -> str:
    return show(value, "") if is_bound(value) else plain(value)
