"""Plans in PyTorch: forwards counted, bytes kept and peaks measured from outside, and the gradients of a plain run."""

from __future__ import annotations

import subprocess
import sys
import weakref
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from segments import segments

import dnnlab as dl
from dnnlab.checkpointing.chains import Chain
from dnnlab.checkpointing.plans import Plan
from dnnlab.checkpointing.simulator import simulate
from dnnlab.checkpointing.training import parameters_of, train_step
from dnnlab.errors import DnnlabError

torch = pytest.importorskip("torch", reason="PyTorch is an extra: pip install dnnlab[torch]")

from torch import nn  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402
from torch.utils.checkpoint import checkpoint_sequential  # noqa: E402
from torch_meters import saved_bytes  # noqa: E402

from dnnlab.checkpointing.pytorch import checkpointed, run_torch  # noqa: E402

torch.set_num_threads(1)  # the arrays are tiny, and other tests run beside this one

UNIT = 1024  # elements of an activation
NESTED = (
    ((0, 1, (2, 3)), 4, 5),
    ((0, 1, (2, 3), 4), 5),
    (((0, 1), (2, 3)), 4, 5),
    ((0, (1, (2, (3, (4, (5,)))))),),
    ((((((0,), 1), 2), 3), 4), 5),
)

NOT_NESTED = "Fc0 Fc1 Fc2 D2 Fe3 Fe4 Fe5 Fe6 L B6 B5 B4 B3 D3 Fc1 D1 Fe2 B2 D2 Fe0 Fe1 B1 B0"


# -- what PyTorch does, seen from outside -------------------------------------------------------------------


class Unit(torch.autograd.Function):
    """A stage of DESIGN's chain: its backward needs input and output, and makes one gradient, nothing else."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        y = x.sin()
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx: Any, slope: Any) -> Any:
        _input, _output = ctx.saved_tensors  # a checkpoint has to replay for them; they are held while this runs
        return slope.clone()


class Total(torch.autograd.Function):
    """A loss that makes its gradient from the output, and nothing else."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x.sum()

    @staticmethod
    def backward(ctx: Any, slope: Any) -> Any:
        return torch.ones_like(ctx.saved_tensors[0])


class Stage(nn.Module):
    """A `Unit` that counts how often it is run."""

    def __init__(self) -> None:
        super().__init__()
        self.runs = 0

    def forward(self, x: Any) -> Any:
        self.runs += 1
        return Unit.apply(x)


class Meter(TorchDispatchMode):
    """Storages made while it watches: units alive now, and the most there were. A number of few bytes is none."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: set[int] = set()
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            storage = tensor.untyped_storage() if isinstance(tensor, torch.Tensor) else None
            if storage is not None and storage.nbytes() >= UNIT and storage._cdata not in self.alive:
                self.alive.add(storage._cdata)
                weakref.finalize(storage, self.alive.discard, storage._cdata)
        self.peak = max(self.peak, len(self.alive))
        return made


def units(run: Any) -> tuple[int, int]:
    """Units alive when the loss begins, and at most."""
    with Meter() as meter:
        x = torch.ones(UNIT, requires_grad=True)
        out = run(x)
        begun = len(meter.alive)
        loss = Total.apply(out)
        del out
        loss.backward()
    return begun, meter.peak


def counts(plan: Plan) -> tuple[int, ...]:
    """Forwards of each stage."""
    ran = [op.stage for op in plan.operations if op.kind in ("Fc", "Fe")]
    return tuple(ran.count(stage) for stage in range(plan.stages))


@pytest.mark.parametrize(("k", "kept"), [(1, 13), (2, 8), (3, 7), (4, 7), (5, 9), (6, 8)])
def test_checkpoint_sequential_on_an_equal_chain_of_twelve(k: int, kept: int) -> None:
    """The facts of PyTorch's own function, and the same from the plan, run by PyTorch and by the simulator."""
    n, size = 12, 12 // k
    parts = [tuple(range(a, b)) for a, b in pairwise([*range(0, k * size, size), n])]
    plan = Plan.nested((*parts[:-1], *parts[-1]))
    peak, forwards = k + max(map(len, parts)) + 2, 2 * n - len(parts[-1])
    stages = [Stage() for _ in range(n)]
    assert units(lambda x: checkpoint_sequential(nn.Sequential(*stages), k, x, use_reentrant=False)) == (kept, peak)
    assert sum(stage.runs for stage in stages) == forwards
    stages = [Stage() for _ in range(n)]
    assert units(checkpointed(stages, plan)) == (kept, peak)
    assert sum(stage.runs for stage in stages) == forwards
    found = simulate(Chain.equal(n), plan)
    begun = next(step.before for step in found.trace if step.operation.kind == "L")
    assert (begun, found.peak, found.forwards) == (kept, peak, forwards)


@settings(max_examples=100)
@given(st.integers(1, 9).flatmap(lambda stages: segments(0, stages, 4)))
@example(NESTED[0])
@example(NESTED[1])
@example(NESTED[2])
@example(NESTED[3])
@example(NESTED[4])
def test_every_nested_plan_runs_as_the_simulator_says(nest: tuple[Any, ...]) -> None:
    plan = Plan.nested(nest)
    stages = [Stage() for _ in range(plan.stages)]
    begun, peak = units(checkpointed(stages, plan))
    found = simulate(Chain.equal(plan.stages), plan)
    assert tuple(stage.runs for stage in stages) == counts(plan)
    assert begun == next(step.before for step in found.trace if step.operation.kind == "L")
    assert peak == found.peak


def test_without_early_stop_a_segment_at_the_end_of_a_replay_runs_once_more() -> None:
    """Why plans are run with it: PyTorch would run the last segment forward, only to throw the result away."""
    from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop

    stages = [Stage() for _ in range(4)]

    def inner(x: Any) -> Any:
        return stages[3](stages[2](x))

    def outer(x: Any) -> Any:
        return checkpoint(inner, stages[1](stages[0](x)), use_reentrant=False)

    with set_checkpoint_early_stop(False):
        checkpoint(outer, torch.ones(UNIT, requires_grad=True), use_reentrant=False).sum().backward()
    assert [stage.runs for stage in stages] == [2, 2, 3, 3]
    plan = Plan.nested(((0, 1, (2, 3)),))
    stages = [Stage() for _ in range(4)]
    with set_checkpoint_early_stop(False):  # whoever switched it off: a plan switches it on for itself
        units(checkpointed(stages, plan))
    assert tuple(stage.runs for stage in stages) == counts(plan) == (2, 2, 2, 2)


# -- real layers --------------------------------------------------------------------------------------------


def block(kind: int) -> nn.Module:
    made = [
        lambda: nn.Linear(6, 6),
        lambda: nn.Sequential(nn.Linear(6, 6, bias=False), nn.BatchNorm1d(6), nn.ReLU()),
        lambda: nn.Sequential(nn.GELU(), nn.Dropout(0.5)),
        lambda: nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 6), nn.Tanh()),
        lambda: nn.BatchNorm1d(6, momentum=None),
    ][kind]
    return made()


@settings(max_examples=60)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=7), st.integers(0, 2**32), st.data())
def test_gradients_masks_and_running_statistics_are_those_of_a_plain_run(
    kinds: list[int], seed: int, data: st.DataObject
) -> None:
    torch.manual_seed(seed)
    plan = Plan.nested(data.draw(segments(0, len(kinds))))
    modules = [block(kind) for kind in kinds]
    before = [{name: tensor.clone() for name, tensor in module.state_dict().items()} for module in modules]
    x = torch.randn(5, 6, requires_grad=True)
    target = torch.randn(5, 6)

    def loss(out: Any) -> Any:
        return nn.functional.mse_loss(out, target)

    found = []
    for each in (Plan.nested(range(len(kinds))), plan):
        for module, state in zip(modules, before, strict=True):
            module.load_state_dict(state)
        torch.manual_seed(seed)
        step = run_torch(modules, each, x, loss)
        found.append((step, [tensor.clone() for module in modules for tensor in module.state_dict().values()]))
    (plain, end), (step, other) = found
    assert step.loss == plain.loss
    torch.testing.assert_close(step.gradients, plain.gradients, rtol=0, atol=0)
    torch.testing.assert_close(step.input_gradient, plain.input_gradient, rtol=0, atol=0)
    torch.testing.assert_close(other, end, rtol=0, atol=0)
    assert step.forwards == counts(plan)
    assert x.grad is None and all(p.grad is None for module in modules for p in module.parameters())


@given(st.integers(1, 8).flatmap(lambda stages: segments(0, stages)))
def test_bytes_kept_by_linear_layers_are_the_plans(nest: tuple[Any, ...]) -> None:
    """A linear layer keeps its input, as the plan's stages do; the loss has the output."""
    plan = Plan.nested(nest)
    x = torch.randn(16, 8, requires_grad=True)
    modules = [nn.Linear(8, 8) for _ in range(plan.stages)]
    begun = next(
        s.before for s in simulate(Chain.equal(plan.stages, output=16 * 8 * 4), plan).trace if s.alive[-1][0] == "y"
    )
    assert run_torch(modules, plan, x, lambda out: out.sum()).saved_bytes == begun
    watched = saved_bytes(checkpointed(modules, plan), x)
    assert watched["activations"] + watched["input"] == begun - 16 * 8 * 4  # the output itself is not kept


def test_what_a_stage_keeps_is_measured_not_assumed() -> None:
    """GELU keeps its input, ReLU its output: the tensor between them is one, counted once."""
    x = torch.randn(4, 8, requires_grad=True)
    modules = [nn.GELU(), nn.Linear(8, 8), nn.ReLU()]
    unit = x.numel() * 4
    assert run_torch(modules, Plan.nested((0, 1, 2)), x, torch.sum).saved_bytes == 3 * unit  # x0, x1, x3
    assert run_torch(modules, Plan.nested(((0, 1, 2),)), x, torch.sum).saved_bytes == 2 * unit  # x0, x3


def test_a_last_stage_that_keeps_nothing_is_not_run_again() -> None:
    modules, x = [nn.Linear(4, 4), nn.Flatten()], torch.randn(2, 2, 4)
    assert run_torch(modules, Plan.nested(((0, 1),)), x, torch.sum).forwards == (2, 1)


def test_a_module_of_its_own() -> None:
    modules = [nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 2)]
    model = checkpointed(modules, Plan.nested(((0, 1), 2)))
    assert isinstance(model, nn.Sequential)
    assert list(model.state_dict()) == list(nn.Sequential(*modules).state_dict())
    assert "segments=((0, 1), 2)" in repr(model)
    model(torch.ones(1, 3)).sum().backward()
    assert modules[0].weight.grad is not None
    with torch.no_grad():
        assert model(torch.ones(1, 3)).shape == (1, 2)


# -- NumPy's step is PyTorch's ------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_the_step_in_numpy_is_that_of_pytorch(loss: str) -> None:
    net = dl.Network.sequential(
        "small", (4, 2, 8, 8),
        [("conv", dl.Conv2d(k=3, r=3, s=3, padding=1, bias=True)), ("norm", dl.BatchNorm2d()), ("relu", dl.ReLU()),
         ("pool", dl.MaxPool2d(r=2, s=2)), ("flat", dl.Flatten()), ("fc", dl.Linear(k=5, bias=True))],
    )  # fmt: skip
    names = {"conv": 0, "norm": 1, "fc": 4}
    modules = [
        nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.Sequential(nn.MaxPool2d(2), nn.Flatten()),
        nn.Linear(48, 5),
    ]  # fmt: skip
    rng = np.random.default_rng(0)
    start = parameters_of(net, 0, "float64")
    for module in modules:
        module.double()
    for name, place in names.items():
        for tensor in ("weight", "bias"):
            start[name][tensor] += rng.uniform(0.1, 0.4, start[name][tensor].shape)
            getattr(modules[place], tensor).data = torch.tensor(start[name][tensor])
    x = rng.standard_normal((4, 2, 8, 8))
    target = rng.standard_normal((4, 5)) if loss == "mse" else np.array([0, 4, 2, 2])
    plan = Plan.nested(((0, (1, 2)), 3, 4))
    ours = train_step(net, plan, x, start, target, loss=loss)
    given_x = torch.tensor(x, requires_grad=True)
    theirs = run_torch(
        modules,
        plan,
        given_x,
        lambda out: getattr(nn.functional, loss + "_loss" * (loss == "mse"))(out, torch.tensor(target)),
    )
    assert ours.loss == pytest.approx(theirs.loss, rel=1e-12)
    assert ours.forwards == sum(theirs.forwards) == plan.forwards
    np.testing.assert_allclose(ours.input_gradient, theirs.input_gradient.numpy(), atol=1e-12)
    for name, place in names.items():
        for tensor in ("weight", "bias"):
            expected = theirs.gradients[f"{place}.{tensor}"].numpy()
            np.testing.assert_allclose(ours.gradients[name][tensor], expected, atol=1e-12, err_msg=f"{name} {tensor}")
    np.testing.assert_allclose(ours.state["norm"]["running_mean"], modules[1].running_mean.numpy(), atol=1e-12)


# -- bad input ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("modules", "plan", "message"),
    [
        ([nn.Tanh()] * 3, Plan.nested((0, 1)), "the plan is for 2 stages, there are 3 modules"),
        ([nn.Tanh()], "Fe0 L B0", "Plan.nested or Plan.read"),
        ([nn.Tanh(), torch.tanh], Plan.nested((0, 1)), "stage 1 should be an nn.Module"),
        (7, Plan.nested((0, 1)), "modules should be"),
        ([nn.Tanh()] * 7, Plan.read(NOT_NESTED), "no such form.*Plan.nested"),
    ],
)
def test_bad_input_is_named(modules: Any, plan: Any, message: str) -> None:
    with pytest.raises(DnnlabError, match=message):
        checkpointed(modules, plan)


def test_a_nest_that_recursion_cannot_reach_is_refused_and_a_deep_one_runs() -> None:
    def nest(depth: int) -> Plan:
        segments: tuple[Any, ...] = (depth - 1,)
        for stage in reversed(range(depth - 1)):
            segments = (stage, segments)
        return Plan.nested((segments,))

    modules = [nn.Tanh() for _ in range(101)]
    with pytest.raises(DnnlabError, match=r"nests checkpoints 101 deep.*100 deep at most"):
        checkpointed(modules, nest(101))
    x = torch.ones(1, requires_grad=True)
    assert sum(run_torch(modules[:100], nest(100), x, torch.sum).forwards) == nest(100).forwards == 200


def test_a_step_needs_a_tensor_and_something_to_differentiate() -> None:
    with pytest.raises(DnnlabError, match="x should be a tensor"):
        run_torch([nn.Tanh()], Plan.nested((0,)), [1.0], torch.sum)
    with pytest.raises(DnnlabError, match="nothing asks for a gradient"):
        run_torch([nn.Tanh()], Plan.nested((0,)), torch.ones(3), torch.sum)


def test_without_pytorch_the_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from dnnlab.checkpointing.plans import Plan\n"
        "from dnnlab.checkpointing.pytorch import checkpointed\n"
        "try: checkpointed([1], Plan.nested((0,)))\n"
        "except ValueError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "running a plan in PyTorch needs PyTorch: pip install dnnlab[torch]\n"
