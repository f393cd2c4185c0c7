"""Layers ready to run in PyTorch, on the processor or on a GPU: each as the eager call that a user would write.

PyTorch is an extra (`pip install "dnnlab[torch]"`) and imported when a function is called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ...errors import DnnlabError
from ...layers.base import Layer, Shape
from ...layers.elementwise import Dropout
from ..calls import NUMBERS, Call, bound
from ..timing import SMALL, TICK, give_back
from .card import card
from .peers import PEERS
from .support import TYPES, bare, supports
from .work import work

__all__ = ["call", "clock", "exact", "free", "lost", "scalars", "shapes", "supports", "tick", "work"]

# Tensors that may not hold just any number, by name: numbers of rows, and what is a variance or a divisor.
_ROWS = ("ids", "kinds")
_POSITIVE = ("running_var", "second")


def call(layer: Layer, dtype: str, seed: int = 0, place: str = "cpu") -> Call:
    """A layer on tensors of random numbers, the same for the same seed, on a place ("cpu" or "cuda").

    Nothing asks for a gradient, so none is prepared. The result is a new tensor, as a network's is; an optimizer and
    a batch norm in training change theirs. Raises `ExtentError` while symbols are open, `DnnlabError` where PyTorch or
    the GPU is missing and for a layer or a dtype without a call.

    >>> from dnnlab import Linear
    >>> ready = call(Linear(n=2, k=5, c=3), "fp32")  # doctest: +SKIP
    >>> tuple(ready.run().shape), sorted(ready.tensors), ready.held  # doctest: +SKIP
    ((2, 5), ['inp', 'weight'], 84)
    """
    layer = bare(bound(layer))
    if reason := supports(layer, dtype, place):
        raise DnnlabError(reason)
    torch = card(place).torch
    random = torch.Generator(place).manual_seed(seed)
    tensors = {name: _filled(torch, layer, name, shape, dtype, random) for name, shape in shapes(layer).items()}
    peer, numbers = PEERS[type(layer).__name__], scalars(layer)
    held = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    return Call(lambda: peer(layer, tensors, numbers), tensors, held)


def lost(ready: Call) -> Callable[[], None]:
    """The call with its result given back to the system, so that the next one goes to fresh memory. A small result
    stays, and one that stands where a tensor was given."""
    own = {tensor.data_ptr() for tensor in ready.tensors.values()}

    def run() -> None:
        out = ready.run()
        if out.nbytes > SMALL and out.data_ptr() not in own and not out.is_cuda:
            give_back(out.data_ptr(), out.nbytes)

    return run


def clock(place: str = "cpu") -> Callable[[], float]:
    """Tells seconds, and waits for whatever still runs on the place: on a GPU, calls return before they are done."""
    return card(place).clock()


def tick(place: str = "cpu") -> float:
    """Seconds within which a call is repeated before the clock is read. A GPU is waited for, which takes tens of
    microseconds; in a queue it starts one call after the other, as in a network."""
    return 2e-3 if place == "cuda" else TICK


@contextmanager
def exact(place: str = "cpu") -> Iterator[None]:
    """While inside, fp32 is fp32: on a GPU, PyTorch's convolutions round their factors to TF32 unless told otherwise.

    Raises `DnnlabError` where PyTorch or the GPU is missing.
    """
    cudnn = card(place).torch.backends.cudnn
    before = cudnn.allow_tf32
    cudnn.allow_tf32 = False
    try:
        yield
    finally:
        cudnn.allow_tf32 = before


def free(place: str = "cpu") -> int | None:
    """Bytes of memory that are free there; None where the system does not tell."""
    return card(place).free()


def scalars(layer: Layer) -> dict[str, float]:
    """The plain numbers of the layer's lines; attention's `scale` is one over the root of a head's width."""
    width = layer.c // layer.a if layer.kind == "MultiHeadAttention" else getattr(layer, "d", 1)  # type: ignore[attr-defined]
    return {**NUMBERS, "scale": float(width) ** -0.5}


def shapes(layer: Layer) -> dict[str, Shape]:
    """The shapes of what a layer is given, by the names of its lines, as PyTorch wants them.

    The lines split some of them: channels into groups, a width into heads.

    >>> from dnnlab import Conv2d
    >>> shapes(Conv2d(n=1, k=8, c=6, h=5, w=5, r=3, s=3, groups=2))
    {'inp': (1, 6, 5, 5), 'weight': (8, 3, 3, 3)}
    """
    program, split = layer.program, _split(layer)
    given = dict(zip(layer.input_names or ("inp",), layer.input_shapes, strict=False))
    for name in program.having("parameter", "constant", "state"):
        shape = layer.output_shape if isinstance(layer, Dropout) else program.shape(name)
        if name in split:
            at = split[name]
            shape = (*shape[:at], shape[at] * shape[at + 1], *shape[at + 2 :])
        given.setdefault(name, shape)
    return given


def _split(layer: Any) -> dict[str, int]:
    """Where the lines have two axes for one of a tensor's, by its name: which they are."""
    kind = type(layer).__name__
    if kind == "MultiHeadAttention":
        parts = ("query", "key", "value")
        return dict.fromkeys([f"{what}_{part}" for what in ("weight", "bias") for part in parts], 0) | {"weight_out": 1}
    if kind == "ScaledDotProductAttention":
        return {"drop": 1} if layer.kv_heads != layer.a else {}
    grouped = kind == "GroupNorm" or getattr(layer, "groups", 1) != 1
    return {"weight": 0, "bias": 0} if grouped else {}


def _filled(torch: Any, layer: Layer, name: str, shape: Shape, dtype: str, random: Any) -> Any:
    """A tensor of numbers that fit its name: both signs and far from zero's smallest neighbours; rows of a table;
    positive for what is a variance or a divisor; a mask of what comes later."""
    place, kind = random.device, getattr(torch, TYPES[dtype])
    if name in _ROWS:
        return torch.randint(0, int(layer.v), shape, generator=random, device=place)  # type: ignore[attr-defined]
    if name == "mask" and getattr(layer, "causal", False):
        t, u = shape
        seen = torch.ones(shape, dtype=torch.bool, device=place).tril(max(0, u - t))
        return torch.zeros(shape, dtype=kind, device=place).masked_fill(~seen, -float("inf"))
    made = torch.empty(shape, dtype=torch.float32, device=place).uniform_(-1, 1, generator=random)
    if name in _POSITIVE or type(layer).__name__ == "Pointwise":
        made = made.mul_(0.5).add_(1)  # logarithms and roots want positive numbers
    elif name in ("mask", "drop"):
        kept = 1 - float(getattr(layer, "p", 0.5))
        made = ((made + 1) / 2 < kept).to(kind) / kept
    return made.to(kind)
