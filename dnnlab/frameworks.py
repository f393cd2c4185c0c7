"""What PyTorch keeps for the backward pass and allocates in inference, kind by kind.

These are facts about a program, measured (PyTorch 2.13, saved-tensor hooks on the CPU), not derivations: the
derivations are in `Layer.saved`, and the difference is a lesson. Names are the tensors of the layer's lines;
`Keep` says when a stored element is not of the network's dtype, or is a copy that shares no storage.
"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import unknown


@dataclass(frozen=True)
class Keep:
    """A kept tensor: as large as tensor `name`; `element_bytes` if not the dtype's, `copy` if it is its own
    storage even though the tensor itself lives on."""

    name: str
    element_bytes: int | None = None
    copy: bool = False


INDEX = 8  # PyTorch's indices are int64
_PRODUCT = (Keep("inp"), Keep("weight"))
_INPUT = (Keep("inp"),)
_OUTPUT = (Keep("out"),)
_ROWS = (Keep("inp"), Keep("mean"), Keep("inv"), Keep("weight"), Keep("bias"))

PYTORCH: dict[str, tuple[Keep, ...]] = {
    **dict.fromkeys(
        ("Conv2d", "DepthwiseConv2d", "PointwiseConv2d", "Conv1d", "ConvTranspose2d", "Linear", "BatchedLinear"),
        _PRODUCT,
    ),
    "BatchNorm2d": (Keep("inp"), Keep("mean"), Keep("inv"), Keep("weight"), Keep("running_mean"), Keep("running_var")),
    "LayerNorm": _ROWS,
    "RMSNorm": (Keep("inp"), Keep("inv"), Keep("weight")),
    "ReLU": _OUTPUT,
    "ReLU6": (Keep("inp", copy=True),),  # hardtanh keeps a copy of its input, even in place
    "Sigmoid": _OUTPUT,
    "Tanh": _OUTPUT,
    "Softmax": _OUTPUT,
    **dict.fromkeys(("LeakyReLU", "HardSwish", "GELU", "SiLU", "AvgPool2d", "AdaptiveAvgPool2d"), _INPUT),
    "PReLU": (Keep("inp"), Keep("slope")),
    "MaxPool2d": (Keep("inp"), Keep("out", INDEX, copy=True)),
    "GlobalAvgPool2d": (),  # a mean needs only its count
    "Dropout": (Keep("mask"),),  # a float mask on the CPU
    "Embedding": (Keep("ids", INDEX),),
    "AddEmbedding": (),
    "RotaryEmbedding": (Keep("cos"), Keep("sin")),
    "Add": (),
    "Multiply": (Keep("first"), Keep("second")),
    "Concatenate": (),
    "Flatten": (),
    # plain matrix products, whose operands are copied into one piece; softmax keeps its result
    "ScaledDotProductAttention": (
        *(Keep(name, copy=True) for name in ("query", "key", "value")), Keep("prob"), Keep("drop"), Keep("dropped"),
    ),
}  # fmt: skip
#: On a GPU, dropout keeps one byte an element.
PYTORCH_CUDA = {**PYTORCH, "Dropout": (Keep("mask", 1),)}
FRAMEWORKS = {"pytorch": PYTORCH, "pytorch-cuda": PYTORCH_CUDA}


def keeps(framework: str, kind: str) -> tuple[Keep, ...]:
    """What a framework keeps for a kind of layer; `UnknownNameError` for one that was not measured."""
    if framework not in FRAMEWORKS:
        raise unknown("framework", framework, [*FRAMEWORKS, "None for the minimum"])
    if kind not in FRAMEWORKS[framework]:
        raise unknown(f"layer measured in {framework}", kind, FRAMEWORKS[framework])
    return FRAMEWORKS[framework][kind]
