"""Plans that PyTorch executes: nested segments become nested `torch.utils.checkpoint` calls.

A forward of a checkpointed segment keeps the segment's input alone; the backward pass runs the segment again, as
the plan inside says. PyTorch stops such a replay as soon as all that is needed is there ("early stop"): a segment
at the end of a replayed segment is then entered at once instead of being run forward first, as `Plan.nested` has
it. Without early stop every such forward would be run one more time, level by level.

PyTorch is an extra (`pip install dnnlab[torch]`) and imported when a function is called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from ..errors import DnnlabError, quote
from .plans import Plan, Segments

#: Nested checkpoints; each takes some six frames of Python's thousand.
DEEPEST = 100


@dataclass(frozen=True, eq=False)
class TorchStep:
    """What a training step in PyTorch gave: `loss`; `gradients` by parameter name ("0.weight": of stage 0) and
    `input_gradient` (None where the input asks for none); `forwards`, how often each stage was called; and
    `saved_bytes`, what was alive when the loss began: input, output and all that autograd kept for the backward
    pass, parameters apart, memory that tensors share counted once."""

    loss: float
    gradients: dict[str, Any] = field(repr=False)
    input_gradient: Any = field(repr=False)
    forwards: tuple[int, ...]
    saved_bytes: int


def checkpointed(modules: Iterable[Any], plan: Plan) -> Any:
    """An `nn.Sequential` of the modules, one a stage, whose forward checkpoints them as the plan says.

    Its parameters are those of the modules. A replay draws the same dropout masks and leaves the running statistics
    of batch norms alone. A last stage of a segment that keeps nothing for its backward pass (`Flatten`, a mean) is
    not run again: nobody asks for it, so such a plan takes fewer forwards than it says. Raises `DnnlabError` if
    PyTorch is missing, the plan has no nested form or another number of stages.
    """
    if not isinstance(plan, Plan):
        raise DnnlabError(f"a plan is made with Plan.nested or Plan.read, got {quote(plan)}")
    if not isinstance(modules, Iterable):
        raise DnnlabError(f"modules should be a list of nn.Modules, one for each stage, got {quote(modules)}")
    stages, made = list(modules), _sequential()
    for place, stage in enumerate(stages):
        if not callable(getattr(stage, "forward", None)):
            raise DnnlabError(f"stage {place} should be an nn.Module, got {quote(stage)}")
    if len(stages) != plan.stages:
        raise DnnlabError(f"the plan is for {plan.stages} stages, there are {len(stages)} modules")
    if plan.segments is None:
        raise DnnlabError(
            f"PyTorch runs nested segments, and this plan has no such form: {quote(plan.text)}; write one with "
            f"Plan.nested, such as Plan.nested(((0, 1), 2)), or run it with train_step"
        )
    depth = _depth(plan.segments)
    if depth > DEEPEST:
        raise DnnlabError(
            f"the plan nests checkpoints {depth} deep, PyTorch runs them by recursion: {DEEPEST} deep at most"
        )
    return made(stages, plan.segments)


def _depth(segments: Segments) -> int:
    """How deep checkpoints are nested."""
    depth, level = 0, [part for part in segments if isinstance(part, tuple)]
    while level:
        depth, level = depth + 1, [part for segment in level for part in segment if isinstance(part, tuple)]
    return depth


def run_torch(modules: Iterable[Any], plan: Plan, x: Any, loss_fn: Callable[[Any], Any]) -> TorchStep:
    """Run a forward and backward pass of the modules under a plan; `loss_fn` makes a number of the output.

    Gradients are computed anew; the `.grad` of the parameters and of `x` are left as they are. Raises as
    `checkpointed` does.
    """
    model = checkpointed(modules, plan)
    import torch

    if not isinstance(x, torch.Tensor):
        raise DnnlabError(f"x should be a tensor, got {quote(x)}")
    named = {name: tensor for name, tensor in model.named_parameters() if tensor.requires_grad}
    asked = [*named.values(), *([x] if x.requires_grad else [])]
    if not asked:
        raise DnnlabError("nothing asks for a gradient: no parameter has requires_grad, nor has x")
    storages: dict[int, Any] = {}  # held, so that no address is used twice

    def pack(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage
        return tensor

    calls = [0] * plan.stages

    def counter(place: int) -> Callable[..., None]:
        def count(*_: Any) -> None:
            calls[place] += 1

        return count

    handles = [stage.register_forward_pre_hook(counter(place)) for place, stage in enumerate(model)]
    try:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            output = model(x)
        for tensor in (x, output):
            pack(tensor)
        lasting = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
        saved = sum(storage.nbytes() for address, storage in storages.items() if address not in lasting)
        storages.clear()
        loss = loss_fn(output)
        found = torch.autograd.grad(loss, asked, allow_unused=True)
    finally:
        for handle in handles:
            handle.remove()
    gradients = dict(zip(named, found, strict=False))
    return TorchStep(float(loss.detach()), gradients, found[-1] if x.requires_grad else None, tuple(calls), saved)


def _run(segments: Segments, stages: Sequence[Any], x: Any) -> Any:
    """A stage is called; a segment is checkpointed, and so is every segment inside it."""
    from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop

    for part in segments:
        if isinstance(part, int):
            x = stages[part](x)
        else:
            with set_checkpoint_early_stop(True):
                x = checkpoint(
                    _run, part, stages, x, use_reentrant=False, context_fn=lambda: (nullcontext(), _replay(stages))
                )
    return x


@contextmanager
def _replay(stages: Sequence[Any]) -> Iterator[None]:
    """While a segment is replayed, batch norms do not count the batch a second time."""
    norms = [m for stage in stages for m in stage.modules() if getattr(m, "running_mean", None) is not None]
    before = [(norm, norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]
    try:
        for norm in norms:
            norm.momentum = 0.0  # new mean = 1 * old mean + 0 * mean of the batch
        yield
    finally:
        for norm, momentum, batches in before:
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(batches)


@cache
def _sequential() -> type[Any]:
    """The class of checkpointed modules; made on demand, as PyTorch is an extra."""
    try:
        import torch
    except ImportError as error:
        raise DnnlabError("running a plan in PyTorch needs PyTorch: pip install dnnlab[torch]") from error

    class Checkpointed(torch.nn.Sequential):
        def __init__(self, stages: Sequence[Any], segments: Segments) -> None:
            super().__init__(*stages)
            self.segments = segments

        def forward(self, x: Any) -> Any:
            return _run(self.segments, list(self), x)

        def extra_repr(self) -> str:
            return f"segments={self.segments}"

    return Checkpointed
