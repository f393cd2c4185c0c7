"""How long tensors live: what the backward pass keeps, and the peak of activations in inference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from .adjoint import backward_lines
from .adjoint import kept as read_forward
from .frameworks import GIVEN, Keep, keeps, measured, moments
from .inplace import overwrites
from .layers.base import Layer
from .networks import INPUT, Network, Node
from .notation import Dim, largest, product
from .quantities import bytes_of

#: Tensors that no layer made, and what they count as.
ORIGINS = {"Input": "input", "Constant": "state", "Parameter": "parameter"}
VIEWS = ("Flatten", "View", *ORIGINS)


class SavedBytes(int):
    """Bytes of activations kept for the backward pass, as an integer, with the other parts beside it.

    `activations` (the number itself), `input` (the network's input), `parameters`, `buffers`, `total`, and
    `by_layer`, the activations that each layer was the first to ask for.
    """

    input: int
    parameters: int
    buffers: int
    by_layer: dict[str, int]

    @classmethod
    def of(cls, activations: int, input: int, parameters: int, buffers: int, by_layer: dict[str, int]) -> SavedBytes:
        """Put the parts together."""
        self = cls(activations)
        self.input, self.parameters, self.buffers, self.by_layer = input, parameters, buffers, by_layer
        return self

    @property
    def activations(self) -> int:
        """Bytes of activations, masks, indices and statistics."""
        return int(self)

    @property
    def total(self) -> int:
        """Everything kept, parameters and input included."""
        return int(self) + self.input + self.parameters + self.buffers

    def __repr__(self) -> str:
        return (
            f"SavedBytes(activations={int(self)}, input={self.input}, parameters={self.parameters}, "
            f"buffers={self.buffers})"
        )


@dataclass(frozen=True)
class Lifetime:
    """A tensor in inference: who makes it (`born`, a place in the order of layers; -1 for the input), after
    which layer it may go (`dies`), and its number of elements."""

    name: str
    born: int
    dies: int
    elements: Dim


@lru_cache(maxsize=8192)
def _wanted(
    layer: Layer, framework: str | None, in_place: bool, needs: tuple[bool, ...]
) -> tuple[tuple[Keep, Dim, str], ...]:
    """Kept tensors of a layer with size and role: a framework's choice, or what the adjoint lines read.
    `needs` says for each input whether its gradient is wanted."""
    program = layer.program
    if framework is not None:
        found = keeps(framework, layer, in_place, needs)
    else:
        gradients = program.having("parameter", *(["input"] if any(needs) else []))
        lines = backward_lines(program.outline, frozenset(gradients))
        names = read_forward(line.statement for line in lines)
        found = tuple(Keep(name, 1 if name in ("mask", "drop") else None) for name in names)
    return tuple((keep, keep.size(layer), program.role(keep.name)) for keep in found)


def kept(net: Network, framework: str | None = "pytorch") -> Iterator[tuple[Node, Keep, Dim, str]]:
    """What each layer keeps for the backward pass, in the order of the forward pass: the layer, the tensor, its number
    of elements and its role. Two layers that keep one tensor both name it; `storage` tells that it is the same.

    >>> from dnnlab import zoo
    >>> [keep.name for node, keep, elements, role in kept(zoo.lenet5()) if node.name == "conv1"]
    ['inp', 'weight']
    """
    if framework is not None:
        measured(framework)  # complains about an unknown one
    learning = learned(net)
    for node in net.layers:
        needs = tuple(edge in learning for edge in node.inputs)
        for keep, size, role in _wanted(node.layer, framework, node.in_place, needs):
            owner, *edge = storage(net, node, keep, role)
            if owner == "" and edge[0] not in (node.name, *node.inputs):
                size = product(net.shape(edge[0]))  # a view keeps all of what it looks at
            yield node, keep, size, role


def learned(net: Network) -> frozenset[str]:
    """The layers whose output depends on a parameter, so that a gradient flows to it."""
    return frozenset(node.name for node in net.layers if node.name in net.deep or node.layer.parameters != 0)


def saved_bytes(net: Network, dtype: str = "fp32", framework: str | None = "pytorch") -> SavedBytes:
    """Bytes kept from the forward pass for the backward pass, each stored tensor counted once.

    `framework` "pytorch" (CPU), "pytorch-cuda", or None for the minimum: the tensors that stand in the
    adjoint lines. Parameters, running statistics and the network's input are counted apart; they exist anyway.
    Raises `UnknownNameError` for a dtype or framework that is not known.

    >>> from dnnlab import zoo
    >>> zoo.alexnet(batch=1).saved_bytes()
    SavedBytes(activations=3139072, input=602112, parameters=244361984, buffers=0)
    """
    width = bytes_of(dtype)
    parts = {"activation": 0, "input": 0, "parameter": 0, "state": 0}
    by_layer: dict[str, int] = {}
    seen: set[tuple[str, ...]] = set()
    for node, keep, size, role in kept(net, framework):
        where = storage(net, node, keep, role)
        if where in seen:
            continue
        seen.add(where)
        amount = size * (width if keep.element_bytes is None else keep.element_bytes)
        own = role if role in ("parameter", "state") else "activation"
        part = "input" if where == ("", INPUT) else GIVEN.get(keep.name, own)
        if where[0] == "" and where[1] != INPUT:
            part = ORIGINS.get(net[where[1]].kind, part)
        parts[part] += amount
        if part == "activation":
            by_layer[node.name] = by_layer.get(node.name, 0) + amount
    return SavedBytes.of(parts["activation"], parts["input"], parts["parameter"], parts["state"], by_layer)


def storage(net: Network, node: Node, keep: Keep, role: str) -> tuple[str, ...]:
    """What tells two stored tensors apart: `("", edge)` for one that an edge hands on, else its layer and name."""
    if keep.name in GIVEN:
        return ("given", keep.name)
    if role in ("parameter", "state"):
        return (node.shares or node.name, keep.name)
    if not keep.copy and keep.name in node.layer.input_names:
        return ("", source(net, node.inputs[node.layer.input_names.index(keep.name)]))
    if not keep.copy and role == "output":
        return ("", node.name)
    return (node.name, keep.name, "private")


def source(net: Network, edge: str) -> str:
    """The edge whose storage a tensor uses: views hand on their input's."""
    while edge != INPUT and net[edge].kind in VIEWS and net[edge].inputs:
        edge = net[edge].inputs[0]
    return edge


def lifetimes(net: Network) -> tuple[Lifetime, ...]:
    """When each activation is made and when it was last needed, in inference (views own nothing)."""
    last: dict[str, int] = {}
    for place, node in enumerate(net.layers):
        for edge in node.inputs:
            last[source(net, edge)] = place
    end = len(net.layers) - 1
    tensors = [Lifetime(INPUT, -1, last.get(INPUT, end), product(net.input_shape))]
    for place, node in enumerate(net.layers):
        if node.kind not in VIEWS:
            tensors.append(Lifetime(node.name, place, last.get(node.name, end), node.activations))
    return tuple(tensors)


def peak_activations(net: Network) -> Dim:
    """The least number of elements that must be held at once in inference, the network's input included.

    A tensor is dropped after its last use; an element-wise layer overwrites its input where nobody else
    needs it; nothing but inputs and outputs of layers is stored.
    """
    lives = {life.name: life for life in lifetimes(net)}
    peak: Dim = 0
    alive: dict[str, Dim] = {INPUT: lives[INPUT].elements}
    for place, node in enumerate(net.layers):
        if node.kind in VIEWS:
            continue
        edge = source(net, node.inputs[0])
        if overwrites(node.layer.program) and edge in lives and lives[edge].dies == place:
            alive[node.name] = alive.pop(edge)
        else:
            alive[node.name] = node.activations
        peak = largest(peak, sum(alive.values()))
        for name in [name for name in alive if lives[name].dies <= place]:
            del alive[name]
    return peak


def peak_bytes(net: Network, dtype: str = "fp32", framework: str | None = "pytorch") -> Dim:
    """The most bytes of activations alive at once in inference, the network's input apart.

    "pytorch": eager semantics, as its memory tracker sees them. Batch norm makes a new tensor, ReLU and
    additions overwrite where the network says so, max pooling allocates int64 indices beside its output even
    when nobody asked, attention holds two copies of its scores (`frameworks.MOMENTS`), and the input of a block
    (`layer1`, `layer1.0`) is held by the caller until the block is done. None: `peak_activations` in bytes, input
    included.
    """
    width = bytes_of(dtype)
    if framework is None:
        return peak_activations(net) * width
    measured(framework)  # complains about an unknown one
    home = {INPUT: INPUT}  # whose storage an edge uses
    until = {INPUT: len(net.layers)}
    size: dict[str, Dim] = {}
    for place, node in enumerate(net.layers):
        same = node.in_place or node.kind in (*VIEWS, "Dropout")
        home[node.name] = home[node.inputs[0]] if same and node.inputs else node.name
        if not same:
            size[node.name] = node.activations * width
        for edge in (node.name, *node.inputs):
            until[home[edge]] = max(until.get(home[edge], 0), place)
    for edge, place in held(net).items():
        until[home[edge]] = max(until[home[edge]], place)
    last: dict[int, list[Dim]] = {}  # sizes by the place of the layer that needs them last
    peak: Dim = 0
    alive: Dim = 0
    for place, node in enumerate(net.layers):
        if node.name in size:
            for moment in moments(node.layer):
                own = sum(keep.size(node.layer) * (keep.element_bytes or width) for keep in moment)
                peak = largest(peak, alive + own)
            last.setdefault(until[node.name], []).append(size[node.name])
            alive += size[node.name]
        alive -= sum(last.get(place, ()))
    return peak


def held(net: Network) -> dict[str, int]:
    """Tensors that enter a block from outside, and the place of the block's last layer.

    A block is what PyTorch calls with its input, such as `nn.Sequential`; a loop over an `nn.ModuleList` would
    let the first input go.
    """
    ends: dict[str, int] = {}
    for place, node in enumerate(net.layers):
        for block in _blocks(node.name):
            ends[block] = place
    until: dict[str, int] = {}
    for node in net.layers:
        for block in _blocks(node.name):
            for edge in node.inputs:
                if not edge.startswith(block + "."):
                    until[edge] = max(until.get(edge, 0), ends[block])
    return until


def _blocks(name: str) -> list[str]:
    """`layer1.0.conv1` lies in `layer1` and in `layer1.0`."""
    parts = name.split(".")
    return [".".join(parts[:depth]) for depth in range(1, len(parts))]
