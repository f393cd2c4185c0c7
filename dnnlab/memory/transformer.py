"""What a transformer layer keeps for its backward pass: `34 s b h + 5 a s**2 b` bytes, derived.

Korthikanti et al. (2022), "Reducing Activation Recomputation in Large Transformer Models", count by hand. Here the
layer is built from the catalogue and the tensors are those that its own adjoint lines read, so that each term has the
line it comes from; what the published formula leaves out is listed beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from ..errors import ExtentError, quote
from ..layers import GELU, Add, BatchedLinear, Dropout, LayerNorm, ScaledDotProductAttention
from ..lifetimes import kept, storage
from ..networks import INPUT, Builder, Network
from ..notation import Dim, dimension, expression, is_bound, plain, ratio, settle, symbol
from ..quantities import bytes_of
from ..tables import Column, Table
from .sizes import bytes_for, size

#: What each kept tensor is called in the paper, by layer and tensor of the lines.
NAMES = {
    ("norm1", "inp"): ("layer norms", "input of the first layer norm"),
    ("query", "inp"): ("attention", "input of query, key and value"),
    ("core", "query"): ("attention", "query"),
    ("core", "key"): ("attention", "key"),
    ("core", "value"): ("attention", "value"),
    ("core", "prob"): ("attention", "softmax"),
    ("core", "drop"): ("attention", "mask of the softmax's dropout"),
    ("core", "dropped"): ("attention", "softmax after dropout"),
    ("core", "total"): ("attention", "log-sum-exp of each row"),
    ("project", "inp"): ("attention", "input of the projection"),
    ("drop1", "mask"): ("attention", "mask of the dropout"),
    ("norm2", "inp"): ("layer norms", "input of the second layer norm"),
    ("widen", "inp"): ("feed-forward", "input of the first linear layer"),
    ("gelu", "inp"): ("feed-forward", "input of GELU"),
    ("narrow", "inp"): ("feed-forward", "input of the second linear layer"),
    ("drop2", "mask"): ("feed-forward", "mask of the dropout"),
} | {
    (norm, name): ("statistics", f"{what} of the {place} layer norm")
    for norm, place in (("norm1", "first"), ("norm2", "second"))
    for name, what in (("mean", "mean"), ("inv", "inverse spread"))
}
#: What fused attention makes again from query, key and log-sum-exp; selective recomputation remakes the same.
REMADE = (("core", "prob"), ("core", "drop"), ("core", "dropped"))
#: With tensor parallelism every device has these whole; all else is split between the devices.
WHOLE = {(layer, name) for layer, name in NAMES if layer.startswith(("norm", "drop"))} | {
    ("query", "inp"),
    ("widen", "inp"),
}
RECOMPUTE = (None, "selective", "full")


@dataclass(frozen=True)
class Kept:
    """A tensor that is kept: the block it belongs to, its name, the layer and tensor of the lines, and its bytes on one
    device. `published` is False for what the formula of the paper leaves out."""

    block: str
    name: str
    layer: str
    tensor: str
    bytes: Dim
    published: bool


@dataclass(frozen=True)
class TransformerLayer:
    """What one transformer layer keeps on one device; `total` is all of it, `published` what the paper counts."""

    dtype: str
    parts: tuple[Kept, ...]

    @property
    def total(self) -> Dim:
        """Bytes in all."""
        return _tidy(sum(part.bytes for part in self.parts))

    @property
    def published(self) -> Dim:
        """Bytes that the formula of the paper counts."""
        return _tidy(sum(part.bytes for part in self.parts if part.published))

    @property
    def blocks(self) -> dict[str, Dim]:
        """Bytes by block: attention, feed-forward, layer norms, statistics."""
        names = dict.fromkeys(part.block for part in self.parts)
        return {name: _tidy(sum(part.bytes for part in self.parts if part.block == name)) for name in names}

    def table(self) -> Table:
        """A row for each tensor, in the order in which it is made."""
        columns = ("block", Column("name", "tensor"), "line", Column("bytes", "size", show=size), "published")
        rows = [(p.block, p.name, f"{p.layer}: {p.tensor}", p.bytes, p.published) for p in self.parts]
        total = ("total", "", "", self.total, None)
        return Table(columns, (*rows, total), f"Kept by a transformer layer, {self.dtype}", self.sentence())

    def _repr_html_(self) -> str:
        return self.table().html()

    def sentence(self) -> str:
        """The count in words.

        >>> print(transformer_layer_saved().sentence())
        A transformer layer keeps 34 · s · h · b + 5 · s^2 · a · b + 8 · s · b bytes; the published formula counts \
34 · s · h · b + 5 · s^2 · a · b.
        """
        return (
            f"A transformer layer keeps {plain(self.total)} bytes; the published formula counts "
            f"{plain(self.published)}."
        )


def transformer_layer(s: Dim = "s", b: Dim = "b", h: Dim = "h", a: Dim = "a", dropout: bool = True) -> Network:
    """The layer of the paper: s tokens, b samples, width h, a heads, a feed-forward part of width 4h.

    >>> transformer_layer().parameters
    12*h**2 + 13*h
    """
    s, b, h, a = (dimension(name, value) for name, value in zip("sbha", (s, b, h, a), strict=True))
    build = Builder("transformer layer", b, s, h)
    norm = build.add("norm1", LayerNorm())
    parts = [build.add(name, BatchedLinear(k=h, bias=True), norm) for name in ("query", "key", "value")]
    build.add("core", ScaledDotProductAttention(a=a, dropout=dropout), *parts)
    out = build.add("project", BatchedLinear(k=h, bias=True))
    x = build.add("add1", Add(), build.add("drop1", Dropout()) if dropout else out, INPUT)
    build.add("norm2", LayerNorm())
    build.add("widen", BatchedLinear(k=4 * h, bias=True))
    build.add("gelu", GELU())
    out = build.add("narrow", BatchedLinear(k=h, bias=True))
    build.add("add2", Add(), build.add("drop2", Dropout()) if dropout else out, x)
    return build.network()


def transformer_layer_saved(
    s: object = "s",
    b: object = "b",
    h: object = "h",
    a: object = "a",
    dtype: str = "fp16",
    *,
    mask_bytes: int | None = 1,
    statistics: str | None = None,
    fused: bool = False,
    dropout: bool = True,
    recompute: str | None = None,
    tensor_parallel: object = 1,
    sequence_parallel: bool = False,
) -> TransformerLayer:
    """What a transformer layer keeps for the backward pass, tensor by tensor: symbols by default, or numbers.

    `mask_bytes`: of an element of a dropout mask (None: as many as of `dtype`, which is what `F.dropout` keeps on a
    CPU). `statistics`: dtype of the layer norms' mean and spread (None: `dtype`, as measured on a CPU; PyTorch's
    code for GPUs says fp32).
    `fused` attention keeps query, key, value, its result, and the log-sum-exp of each row instead of the weights;
    it does no dropout of its own here. `dropout=False` leaves all dropout out. `recompute`: "selective" makes the
    attention weights again, "full" keeps the input alone. `tensor_parallel` devices share the layer, and with
    `sequence_parallel` its remaining parts too; the counts are those of one device.

    Raises `ExtentError` for sizes that are not positive, heads that do not divide the width, or devices that do not
    divide the heads.

    >>> transformer_layer_saved().published
    5*a*b*s**2 + 34*b*h*s
    >>> transformer_layer_saved(recompute="selective", tensor_parallel="t").published
    10*b*h*s + 24*b*h*s/t
    >>> transformer_layer_saved(128, 2, 256, 4, "bf16").total
    2885632
    """
    if recompute not in RECOMPUTE:
        raise ExtentError(f"recompute = {quote(recompute)}: expected 'selective', 'full' or None")
    devices = dimension("tensor_parallel", tensor_parallel)
    sizes = {name: dimension(name, value) for name, value in zip("sbha", (s, b, h, a), strict=True)}
    heads, width = sizes["a"], sizes["h"]
    if isinstance(heads, int) and isinstance(width, int) and width % heads:
        raise ExtentError(f"a = {heads} heads do not divide the width h = {width}")
    if isinstance(heads, int) and isinstance(devices, int) and heads % devices:
        raise ExtentError(f"tensor_parallel = {devices} devices do not divide a = {heads} heads")
    if mask_bytes is not None and (type(mask_bytes) is not int or mask_bytes < 1):
        raise ExtentError(f"mask_bytes = {quote(mask_bytes)}: expected a whole number of at least 1, or None")
    row = _row_bytes(dtype)
    parts = []
    for layer, name, elements in _derived(dropout):
        place, block = (layer, name), NAMES[layer, name][0]
        if name == "total" and not fused:
            continue  # the gradient of a softmax can be had from its result alone
        if place in REMADE and (fused or recompute == "selective"):
            continue
        if recompute == "full" and place != ("norm1", "inp"):
            continue
        if name in ("mask", "drop") and mask_bytes is not None:
            amount = elements * mask_bytes
        elif name == "total":
            amount = elements * row
        else:
            amount = bytes_for(elements, (statistics or dtype) if block == "statistics" else dtype)
        if place not in WHOLE or sequence_parallel:
            amount = ratio(amount, devices)
        bound = amount.xreplace({symbol(key): expression(value) for key, value in sizes.items()})
        parts.append(Kept(*NAMES[place], layer, name, settle(bound), block != "statistics" and name != "total"))
    return TransformerLayer(dtype, tuple(parts))


@lru_cache(maxsize=2)
def _derived(dropout: bool) -> tuple[tuple[str, str, Dim], ...]:
    """Layer, tensor and elements of all that the adjoint lines read, each stored tensor once; symbols s, b, h, a."""
    net = transformer_layer(dropout=dropout)
    found: dict[tuple[str, ...], tuple[str, str, Dim]] = {}
    for node, keep, elements, role in kept(net, framework=None):
        if role != "parameter":
            found.setdefault(storage(net, node, keep, role), (node.name, keep.name, elements))
    order = list(NAMES)
    return tuple(sorted(found.values(), key=lambda item: order.index(item[:2])))


def _row_bytes(dtype: str) -> float:
    """Fused attention sums in fp32 at least."""
    return max(4, bytes_of(dtype))


def _tidy(value: Dim) -> Dim:
    return value if is_bound(value) else expression(value).expand()
