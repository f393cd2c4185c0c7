"""dnnlab: what deep networks cost, derived from one line of Python per layer.

>>> from dnnlab import Conv2d, device, on
>>> conv = Conv2d(n=1)
>>> conv.ops
2*c*h*k*r*s*w
>>> on(conv.at(k=64, c=3, h=224, w=224, r=7, s=7, stride=2), device("h100-sxm")).bound
'memory'
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import zoo
from .balance import Roofline, crossing, roofline, upgrades
from .bounds import LayerTime, NetworkTime, on
from .epoch import Epoch, epoch
from .errors import DnnlabError
from .hardware import Device, Memory, device, devices, energy, memories
from .layers import (
    GELU,
    SGD,
    Adam,
    AdaptiveAvgPool2d,
    Add,
    AddEmbedding,
    AvgPool2d,
    BatchedLinear,
    BatchNorm2d,
    Concatenate,
    Conv1d,
    Conv2d,
    ConvTranspose2d,
    DepthwiseConv2d,
    Dropout,
    Embedding,
    FeedForward,
    Flatten,
    GlobalAvgPool2d,
    HardSwish,
    Layer,
    LayerNorm,
    LeakyReLU,
    Linear,
    MaxPool2d,
    Momentum,
    MultiHeadAttention,
    Multiply,
    PointwiseConv2d,
    PReLU,
    ReLU,
    ReLU6,
    RMSNorm,
    RotaryEmbedding,
    ScaledDotProductAttention,
    Sigmoid,
    SiLU,
    Softmax,
    Tanh,
)
from .loopnest import LoopNest
from .networks import Builder, Network
from .notation import lecture, read_formula, symbol
from .predictions import predict, predictions, reveal
from .program import Program
from .sweep import sweep

if TYPE_CHECKING:
    from .buffering import (
        Schedule,
        device_pipeline,
        equal_levels,
        equal_tiles,
        measured_overlap,
        pipeline,
        pipeline_levels,
        run_pipeline,
        tradeoff,
    )
    from .checkpointing import Chain, Plan, best_plan, extra_forwards, pareto, simulate
    from .measuring.calibrating.machine import this_machine
    from .measuring.layers import measure
    from .memory import (
        afford,
        fits,
        kv_cache,
        largest_batch,
        place,
        spill,
        training_step,
        transformer_layer_saved,
        zero,
    )
    from .memory.footprint import footprint
    from .memory.lives import lives
    from .quiz import check, hint, progress, solution, student
    from .tiling import best_tiling, traffic

#: Rooms that are read when one of their names is first asked for: without them `import dnnlab` is quick.
_LATER = {
    "buffering": (
        "Schedule", "device_pipeline", "equal_levels", "equal_tiles", "measured_overlap", "pipeline",
        "pipeline_levels", "run_pipeline", "tradeoff",
    ),
    "checkpointing": ("Chain", "Plan", "best_plan", "extra_forwards", "pareto", "simulate"),
    "measuring.calibrating.machine": ("this_machine",),
    "measuring.layers": ("measure",),
    "memory": (
        "afford", "fits", "footprint", "kv_cache", "largest_batch", "lives", "place", "spill", "training_step",
        "transformer_layer_saved", "zero",
    ),
    "quiz": ("check", "hint", "progress", "solution", "student"),
    "tiling": ("best_tiling", "traffic"),
}  # fmt: skip
_ROOMS = {name: room for room, names in _LATER.items() for name in names}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """A name of one of those rooms."""
        if name not in _ROOMS:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = getattr(import_module(f".{_ROOMS[name]}", __name__), name)
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *_ROOMS})


__version__ = "0.1.0"

__all__ = [
    "Builder", "Chain", "Device", "DnnlabError", "Epoch", "Layer", "LayerTime", "LoopNest", "Memory", "Network",
    "NetworkTime", "Plan", "Program", "Roofline", "Schedule", "afford", "best_plan", "best_tiling", "check",
    "crossing", "device", "device_pipeline", "devices", "energy", "epoch", "equal_levels", "equal_tiles",
    "extra_forwards", "fits", "footprint", "hint", "kv_cache", "largest_batch", "lecture", "lives",
    "measure", "measured_overlap", "memories", "on", "pareto", "pipeline", "pipeline_levels", "place", "predict",
    "predictions", "progress", "read_formula", "reveal", "roofline", "run_pipeline", "simulate", "solution",
    "spill", "student", "sweep", "symbol", "this_machine", "tradeoff", "traffic", "training_step",
    "transformer_layer_saved", "upgrades", "zero", "zoo",
    "Conv2d",
    "DepthwiseConv2d",
    "PointwiseConv2d",
    "Conv1d",
    "ConvTranspose2d",
    "Linear",
    "BatchedLinear",
    "MaxPool2d",
    "AvgPool2d",
    "AdaptiveAvgPool2d",
    "GlobalAvgPool2d",
    "BatchNorm2d",
    "LayerNorm",
    "RMSNorm",
    "ReLU",
    "ReLU6",
    "LeakyReLU",
    "PReLU",
    "Sigmoid",
    "Tanh",
    "HardSwish",
    "GELU",
    "SiLU",
    "Softmax",
    "Dropout",
    "Embedding",
    "AddEmbedding",
    "RotaryEmbedding",
    "Add",
    "Multiply",
    "Concatenate",
    "Flatten",
    "ScaledDotProductAttention",
    "MultiHeadAttention",
    "FeedForward",
    "SGD",
    "Momentum",
    "Adam",
]  # fmt: skip
