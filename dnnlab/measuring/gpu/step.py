"""A training step in PyTorch with and without checkpoints: its seconds, and the most memory that it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ...checkpointing import families
from ...checkpointing.plans import Plan
from ...checkpointing.pytorch import checkpointed
from ...errors import DnnlabError, quote
from ...quantities import positive, show
from ...tables import Column, Table
from ..in_torch.card import Card, card
from ..timing import Spread, steady


@dataclass(frozen=True)
class StepRun:
    """One way to take the step: how often stages run forward, its seconds, and the most bytes of tensors alive at once
    beyond parameters and input."""

    name: str
    forwards: int
    times: Spread
    most: int


@dataclass(frozen=True)
class CheckpointedStep:
    """The same training step twice: everything kept, and as the plan says."""

    place: str
    runs: tuple[StepRun, StepRun]

    def sentence(self) -> str:
        """What the checkpoints saved, and what they cost."""
        plain, saving = self.runs
        return (
            f"On {self.place}, keeping everything took {show(plain.times.median, 's')} and {show(plain.most, 'B')}; "
            f"with checkpoints it took {show(saving.times.median, 's')} and {show(saving.most, 'B')}: "
            f"{saving.times.median / plain.times.median:.2f} times the time, {saving.most / plain.most:.2f} times the "
            f"memory."
        )

    def table(self) -> Table:
        """A row for each way."""
        columns = (
            Column("way"), Column("forwards"), Column("median", "time", "s"), Column("lower", "quarter below", "s"),
            Column("upper", "quarter above", "s"), Column("most", "most memory", "B"),
        )  # fmt: skip
        rows = [(r.name, r.forwards, r.times.median, r.times.lower, r.times.upper, r.most) for r in self.runs]
        return Table(columns, rows, "A training step", self.sentence())

    def _repr_html_(self) -> str:
        return self.table().html()


def checkpointed_step(
    modules: Iterable[Any],
    x: Any,
    plan: Plan | None = None,
    loss: Callable[[Any], Any] | None = None,
    seconds: float | str = 1,
    place: Card | None = None,
) -> CheckpointedStep:
    """Time a forward and backward pass of `nn.Module`s in a row, one a stage, and meter its memory.

    Once with everything kept, once as `plan` says (None: segments of about the root of the number of stages).
    `x` is the input; `loss` makes a number of the output, its mean where there is none; each way runs for about
    `seconds`. Modules and input move to the place: the GPU, or another `Card`. On a GPU the memory is what PyTorch
    handed out, on the processor the tensors that operations made. Each step sets the parameters' gradients anew.
    Raises `DnnlabError` where PyTorch or a GPU is missing, or as `checkpointed` does.

    >>> print(checkpointed_step(modules, x).sentence())  # doctest: +SKIP
    """
    here = card() if place is None else place
    limit = positive(seconds, "s", "time to measure a training step")
    if not isinstance(modules, Iterable):
        raise DnnlabError(f"modules should be a list of nn.Modules, one for each stage, got {quote(modules)}")
    stages = [module.to(here.place) for module in modules]
    if not isinstance(x, here.torch.Tensor):
        raise DnnlabError(f"x should be a tensor, got {quote(x)}")
    x = x.to(here.place)
    plan = families.sqrt(len(stages)) if plan is None else plan
    ways = (("everything kept", Plan.nested(tuple(range(len(stages))))), ("checkpoints", plan))
    models = [(name, chosen, checkpointed(stages, chosen)) for name, chosen in ways]
    if not any(tensor.requires_grad for stage in stages for tensor in stage.parameters()) and not x.requires_grad:
        raise DnnlabError("nothing asks for a gradient: no parameter has requires_grad, nor has x")
    runs = [_run(here, name, chosen, model, x, loss, float(limit)) for name, chosen, model in models]
    return CheckpointedStep(here.name, (runs[0], runs[1]))


def _run(
    here: Card, name: str, plan: Plan, model: Any, x: Any, loss: Callable[[Any], Any] | None, seconds: float
) -> StepRun:
    def step() -> None:
        model.zero_grad(set_to_none=True)
        out = model(x)
        (out.mean() if loss is None else loss(out)).backward()

    times = steady(step, seconds, 3, here.clock())
    model.zero_grad(set_to_none=True)
    _, most = here.peak(step)
    model.zero_grad(set_to_none=True)
    return StepRun(name, plan.forwards, times, most)


def example(here: Card, depth: int = 16, width: int = 256, rows: int = 4096) -> tuple[list[Any], Any]:
    """A deep network whose activations outweigh its parameters, and an input."""
    nn = here.torch.nn
    stages = [nn.Sequential(nn.Linear(width, width), nn.ReLU()) for _ in range(depth)]
    return stages, here.torch.ones(rows, width)
