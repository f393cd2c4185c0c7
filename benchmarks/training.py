"""A real training step with and without checkpoints: what it costs and saves, beside PyTorch under the same plan."""

from __future__ import annotations

import json
from functools import partial
from statistics import median
from typing import Any

from .harness import Candidate, Finding, Progress, Result, Spread, answers, in_turn, ratio, timed

NAME = "training"
ABOUT = (
    "One training step of 12 stages (linear layer of 256 and tanh, batch 512, fp32), storing everything and in four "
    "segments: in NumPy (`train_step`), and in PyTorch (`run_torch`) on the same machine. Median of five steps; the "
    "peak is `tracemalloc`'s, and the prediction that of the chain measured on this machine."
)
STAGES, WIDTH, BATCH, SEGMENTS = 12, 256, 512, 4


def measure(repeats: int, progress: Progress) -> Result:
    """Times and peaks of both plans, in fresh processes."""
    candidate = Candidate("training", ("-m", "benchmarks.training"), ("dnnlab", "numpy", "torch"))
    runs, skipped = in_turn([candidate], repeats, progress)
    rounds = answers(runs.get(candidate.name, []))
    if not rounds:
        return Result(NAME, ABOUT, (), skipped)

    def every(who: str, what: str) -> list[float]:
        return [found[who][what] for found in rounds]

    more = {who: ratio(every(who, "saving"), every(who, "storing")) for who in ("numpy", "torch", "predicted")}
    findings = [
        Finding("step that stores everything, NumPy", Spread.of(every("numpy", "storing")), "s"),
        Finding("times as fast as NumPy, PyTorch", ratio(every("numpy", "storing"), every("torch", "storing")), "×"),
        Finding("time with checkpoints / without, NumPy", more["numpy"], "×"),
        Finding("time with checkpoints / without, PyTorch", more["torch"], "×"),
        Finding("time with checkpoints / without, predicted", more["predicted"], "×"),
        Finding(
            "peak with checkpoints / without, NumPy", ratio(every("peak", "saving"), every("peak", "storing")), "×"
        ),
        Finding("peak, measured / predicted", ratio(every("peak", "saving"), every("peak", "predicted")), "×"),
    ]
    return Result(NAME, ABOUT, tuple(findings), skipped, {"rounds": rounds})


def once() -> dict[str, dict[str, float]]:
    """Seconds and bytes of each way, in this process; gradients are compared."""
    import numpy
    import torch

    from dnnlab import Linear, Network, Tanh
    from dnnlab.checkpointing import sequential, simulate, store_all
    from dnnlab.checkpointing.pytorch import run_torch
    from dnnlab.checkpointing.training import measured_chain, parameters_of, train_step

    net = Network.sequential("net", (BATCH, WIDTH), [Linear(k=WIDTH, bias=True), Tanh()] * STAGES)
    names = [node.name for node in net.layers]
    blocks = [names[place : place + 2] for place in range(0, len(names), 2)]
    x, start = numpy.ones(net.input_shape, numpy.float32), parameters_of(net)
    modules = [torch.nn.Sequential(torch.nn.Linear(WIDTH, WIDTH), torch.nn.Tanh()) for _ in range(STAGES)]
    for module, block in zip(modules, blocks, strict=True):
        module[0].weight.data = torch.tensor(start[block[0]]["weight"])
        module[0].bias.data = torch.tensor(start[block[0]]["bias"])
    tensor = torch.tensor(x, requires_grad=True)
    chain = measured_chain(net, x, start, stages=blocks)
    plans = {"storing": store_all(STAGES), "saving": sequential(STAGES, SEGMENTS)}
    answer: dict[str, dict[str, float]] = {"numpy": {}, "torch": {}, "predicted": {}, "peak": {}}
    for name, plan in plans.items():
        ways: dict[str, Any] = {
            "numpy": partial(train_step, net, plan, x, start, stages=blocks, measure=False),
            "torch": partial(run_torch, modules, plan, tensor, lambda out: out.square().mean()),
        }
        steps = {}
        for who, way in ways.items():
            found = [timed(way) for _ in range(6)][1:]
            answer[who][name] = median(wall for wall, _, _ in found)
            steps[who] = found[0][2]
        if not numpy.allclose(steps["numpy"].input_gradient, steps["torch"].input_gradient.numpy(), atol=1e-7):
            raise RuntimeError(f"{name}: NumPy and PyTorch differ")
        predicted = simulate(chain, plan)
        answer["predicted"][name] = float(predicted.time)
        answer["peak"][name] = train_step(net, plan, x, start, stages=blocks).peak_bytes
        answer["peak"]["predicted"] = float(predicted.peak)  # of the last plan, which saves
    return answer


if __name__ == "__main__":
    print(json.dumps(once()))
