"""What PyTorch keeps for the backward pass and allocates in inference, kind by kind.

These are facts about a program, measured (PyTorch 2.13, saved-tensor hooks and memory tracker on the CPU), not
derivations: the derivations are in `Layer.saved`, and the difference is a lesson. Names are the tensors of the
layer's lines; `Keep` says when a stored element is not of the network's dtype, or is a copy that shares no
storage.

Where PyTorch leaves the choice to whoever writes the module, the usual way is taken: attention as two matrix
products with `scores / sqrt(d)` and an added mask (a mask for `where` would be kept), each step bound to the same
variable; RMS norm and rotary embedding as element-wise operations; positions as a slice of their table (looked up
by number, 8 bytes each would be kept). Numbers such as `sqrt(d)` are no tensors and are not kept. On a GPU,
`nn.RMSNorm` and fused attention are kernels of their own and keep less.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .errors import unknown
from .layers import (
    AdaptiveAvgPool2d,
    FeedForward,
    LeakyReLU,
    MultiHeadAttention,
    Multiply,
    Pointwise,
    ScaledDotProductAttention,
    Unknown,
    Viewed,
)
from .layers.base import Layer
from .layers.elementwise import activation
from .notation import Dim


@dataclass(frozen=True)
class Keep:
    """A stored tensor: as large as tensor `name`, or that many times larger as the index `each` has values;
    `element_bytes` if not the dtype's, `copy` if it is its own storage even though the tensor itself lives on."""

    name: str
    element_bytes: int | None = None
    copy: bool = False
    each: str | None = None

    def size(self, layer: Layer) -> Dim:
        """Its number of elements in a layer."""
        size = layer.program.size(self.name)
        if self.each is None:
            return size
        return size * {n: extent for nest in layer.program.nests for n, extent in nest.extents}.get(self.each, 1)


Keeps = tuple[Keep, ...]

INDEX = 8  # PyTorch's indices are int64


def _plain(*names: str) -> Keeps:
    return tuple(Keep(name) for name in names)


def _copies(*names: str, each: str | None = None) -> Keeps:
    return tuple(Keep(name, copy=True, each=each) for name in names)


_INPUT, _OUTPUT = _plain("inp"), _plain("out")
# Operands of a matrix product are copied into one piece; each of the b queries of a group gets its own copy of
# its key and value. Softmax keeps its result, dropout its mask, the second product what dropout made.
_ATTENTION = (*_copies("query"), *_copies("key", "value", each="b"), *_plain("prob", "drop", "dropped"))

PYTORCH: dict[str, Keeps] = {
    **dict.fromkeys(
        ("Conv2d", "DepthwiseConv2d", "PointwiseConv2d", "Conv1d", "ConvTranspose2d", "Linear", "BatchedLinear"),
        _plain("inp", "weight"),
    ),
    "BatchNorm2d": _plain("inp", "mean", "inv", "weight", "running_mean", "running_var"),
    "LayerNorm": _plain("inp", "mean", "inv", "weight", "bias"),
    "RMSNorm": (*_plain("inp", "inv", "weight"), *_copies("out")),  # the copy: what the weight multiplies
    **dict.fromkeys(("ReLU", "Sigmoid", "Tanh", "Softmax"), _OUTPUT),
    **dict.fromkeys(("ReLU6", "LeakyReLU", "HardSwish", "GELU", "SiLU", "AvgPool2d", "AdaptiveAvgPool2d"), _INPUT),
    "PReLU": _plain("inp", "slope"),
    "MaxPool2d": (Keep("inp"), Keep("out", INDEX, copy=True)),
    "GlobalAvgPool2d": (),  # a mean needs only its count
    "Dropout": _plain("mask"),  # a float mask on the CPU
    "Embedding": (Keep("ids", INDEX),),
    "AddEmbedding": (Keep("kinds", INDEX),),
    "RotaryEmbedding": _plain("cos", "sin"),
    "Add": (),
    "Multiply": _plain("first", "second"),
    "Concatenate": (),
    "Flatten": (),
    "ScaledDotProductAttention": _ATTENTION,
    "MultiHeadAttention": (
        *_plain("inp", "weight_query", "weight_key", "weight_value", "weight_out", "context"),
        *_ATTENTION,
    ),
    "FeedForward": _plain("inp", "weight_hidden", "weight_gate", "weight_out", "hidden", "gate", "active", "mixed"),
}
#: Kinds that only imported networks have, on any device.
IMPORTED: dict[str, Keeps] = {
    **dict.fromkeys(("Divide", "MatrixProduct"), _plain("first", "second")),
    "GroupNorm": _plain("inp", "mean", "inv", "weight"),
    **dict.fromkeys(("Subtract", "Mean", "Sum", "Copy", "View", "Input", "Constant", "Parameter"), ()),
}
#: On a GPU, a dropout mask has one byte an element.
PYTORCH_CUDA = {
    kind: tuple(replace(keep, element_bytes=1) if keep.name in ("mask", "drop") else keep for keep in kept)
    for kind, kept in PYTORCH.items()
}
FRAMEWORKS = {"pytorch": PYTORCH, "pytorch-cuda": PYTORCH_CUDA}

#: Parameters that are not kept where no gradient flows on to the input, as in a first layer: a matrix product
#: keeps a factor for the gradient of the other (a convolution keeps both all the same).
UNREAD = {
    **dict.fromkeys(("Linear", "BatchedLinear"), ("weight",)),
    "RMSNorm": ("inp", "inv", "weight"),
    "MultiHeadAttention": ("weight_query", "weight_key", "weight_value"),
    "FeedForward": ("weight_hidden", "weight_gate"),
}

#: Constants that a whole network has once, and what they count as.
GIVEN = {"kinds": "input", "cos": "state", "sin": "state"}

#: What a layer holds at its fullest moments in inference, its inputs apart; else it is the output alone.
MOMENTS: dict[str, tuple[Keeps, ...]] = {
    "MaxPool2d": ((Keep("out"), Keep("out", INDEX)),),  # the indices come even when nobody asked
    "LayerNorm": (_plain("out", "mean", "inv"),),
    "RMSNorm": (_plain("inp", "inv", "out"),),
    "RotaryEmbedding": (_plain("inp", "out"),),
    "AddEmbedding": ((Keep("kinds", each="c"), Keep("out")),),  # the rows looked up
    "FeedForward": (_plain("gate", "active"), _plain("active", "hidden", "mixed"), _plain("mixed", "out")),
}


def measured(framework: str) -> dict[str, Keeps]:
    """What a framework keeps, by kind of layer; `UnknownNameError` for one that was not measured."""
    if not isinstance(framework, str) or framework not in FRAMEWORKS:
        raise unknown("framework", framework, [*FRAMEWORKS, "None for the minimum"])
    return FRAMEWORKS[framework]


def keeps(framework: str, layer: Layer, in_place: bool, needs: tuple[bool, ...]) -> Keeps:
    """What a framework keeps for a layer; `needs` says for each input whether its gradient is wanted.

    A function without a kind of its own keeps what its adjoint line reads, an unknown operation nothing that is known.
    Raises `UnknownNameError` for a kind that was not measured.
    """
    table = measured(framework) | IMPORTED
    layer = layer.layer if isinstance(layer, Viewed) else layer
    if isinstance(layer, Unknown):
        return ()
    if isinstance(layer, Pointwise):
        return _plain(*layer.saved) if any(needs) else ()
    if layer.kind not in table:
        raise unknown(f"layer measured in {framework}", layer.kind, table)
    found, drop = table[layer.kind], set[str]()
    if not any(needs):
        if layer.parameters == 0:
            return ()
        drop.update(UNREAD.get(layer.kind, ()))
    elif isinstance(layer, AdaptiveAvgPool2d) and layer.output_shape[2:] == (1, 1):
        return ()  # it becomes a mean
    elif isinstance(layer, LeakyReLU) and in_place:
        return _OUTPUT  # the sign survives
    elif isinstance(layer, Multiply):  # a factor is kept for the gradient of the other
        drop.update(name for name, other in zip(layer.input_names, reversed(needs), strict=True) if not other)
    if isinstance(layer, FeedForward) and table[activation(layer.activation).__name__] == _OUTPUT:
        drop.add("gate" if layer.gated else "hidden")
    if in_place:  # an input that is about to be overwritten is copied first
        found = tuple(replace(k, copy=True) if k.name == layer.input_names[0] else k for k in found)
    return tuple(keep for keep in found if keep.name in layer.program.tensors and keep.name not in drop)


def moments(layer: Layer) -> tuple[Keeps, ...]:
    """What PyTorch holds at a layer's fullest moments in inference beside the layer's inputs."""
    layer = layer.layer if isinstance(layer, Viewed) else layer
    if not isinstance(layer, ScaledDotProductAttention | MultiHeadAttention):
        found = MOMENTS.get(layer.kind, (_OUTPUT,))
        return tuple(tuple(keep for keep in moment if keep.name in layer.program.tensors) for moment in found)
    alone = isinstance(layer, ScaledDotProductAttention)
    grouped = isinstance(layer, ScaledDotProductAttention) and layer.kv_heads != layer.a
    own, out = ((), "out") if alone else (_plain("query", "key", "value"), "context")
    own += (Keep("key", each="b"), Keep("value", each="b")) if grouped else ()
    copied = [] if layer.n == 1 else ["query"] if grouped else ["query", "key", "value"]  # one sample is one piece
    return (
        _plain(*copied[:2], "score") + own,
        _plain("score", "scaled") + own,  # and likewise with the mask, and the softmax
        _plain("prob", *copied[2:], out) + own,
        _plain("prob", out, out) + own,  # heads moved to their places
        _plain(out, "out"),
    )[: 4 if alone else 5]
