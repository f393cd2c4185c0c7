"""The peers: each counts a hand-written ResNet-50 without computing it, once as a program, or several times in one.

python -m benchmarks.peers fvcore           prints the peer's table
python -m benchmarks.peers fvcore again     prints the times of counts in one process, as JSON
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Callable

from .harness import ROOT, timed

sys.path.insert(0, str(ROOT / "tests"))  # the tests' witness is the peers' network


def flop_counter(batch: int) -> str:
    """PyTorch's own counter on the meta device: shapes without numbers."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from torch_models import resnet50

    with torch.device("meta"):
        model, image = resnet50(), torch.empty(batch, 3, 224, 224)
    with torch.no_grad(), FlopCounterMode(display=False, depth=None) as counter:
        model(image)
    return f"{counter.get_table()}\ntotal {counter.get_total_flops()} FLOP"


def fvcore(batch: int) -> str:
    """fvcore traces the module with real numbers: PyTorch's tracer does not take this one on the meta device."""
    import logging

    import torch
    from fvcore.nn import FlopCountAnalysis, flop_count_table
    from torch_models import resnet50

    logging.disable(logging.WARNING)  # a list of operations that it does not count
    analysis = FlopCountAnalysis(resnet50().eval(), torch.zeros(batch, 3, 224, 224))
    return f"{flop_count_table(analysis, max_depth=4)}\ntotal {analysis.total()}"


def torchinfo(batch: int) -> str:
    """torchinfo calls the module with hooks; on the meta device too."""
    import torch
    from torch_models import resnet50
    from torchinfo import summary

    with torch.device("meta"):
        model, image = resnet50(), torch.empty(batch, 3, 224, 224)
    return str(summary(model, input_data=image, device="meta", verbose=0, depth=4))


def dnnlab(batch: int) -> str:
    """The same question put to dnnlab."""
    from dnnlab import zoo

    return str(len(zoo.resnet50(batch=batch).rows()))


COUNTS: dict[str, Callable[[int], str]] = {
    "dnnlab": dnnlab,
    "FlopCounterMode": flop_counter,
    "fvcore": fvcore,
    "torchinfo": torchinfo,
}
IMPORTS = {
    "dnnlab": "dnnlab",
    "FlopCounterMode": "torch.utils.flop_counter",
    "fvcore": "fvcore.nn",
    "torchinfo": "torchinfo",
}


def again(name: str) -> dict[str, list[tuple[float, float]]]:
    """Wall and processor seconds of the first count, of five more of the same, and of three of other batches."""
    import importlib

    importlib.import_module(IMPORTS[name])
    if name != "dnnlab":
        importlib.import_module("torch_models")

    def seconds(batch: int) -> tuple[float, float]:
        with contextlib.redirect_stdout(io.StringIO()):
            return timed(lambda: COUNTS[name](batch))[:2]

    first = seconds(1)
    return {"first": [first], "later": [seconds(1) for _ in range(5)], "other": [seconds(n) for n in (2, 3, 5)]}


if __name__ == "__main__":
    if sys.argv[2:] == ["again"]:
        print(json.dumps(again(sys.argv[1])))
    else:
        print(COUNTS[sys.argv[1]](1))
