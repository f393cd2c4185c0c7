"""Layers in a graph: shapes are checked when it is built, totals and tables are sums over its layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Self

from .errors import DnnlabError, ShapeError, quote, unknown
from .layers.base import Layer, Shape
from .layers.moving import Given, Unknown, View
from .notation import Dim, dimension, symbol
from .tables import Column, Table

#: The name under which a network's input is wired to its first layers.
INPUT = "input"


@dataclass(frozen=True)
class Node:
    """A layer in its place: its name, the layer with every dimension bound, and where its inputs come from.

    `in_place` says that the program from which the network is taken overwrites the input (PyTorch's
    `inplace=True`, `out += identity`); `shares` names the layer whose parameters this one uses too.
    """

    name: str
    layer: Layer
    inputs: tuple[str, ...]
    in_place: bool = False
    shares: str | None = None

    @property
    def kind(self) -> str:
        """The layer's kind, such as `Conv2d`."""
        return self.layer.kind

    @property
    def parameters(self) -> Dim:
        """Learned parameters that are this layer's own (0 where it shares another's)."""
        return 0 if self.shares else self.layer.parameters

    @property
    def output_shape(self) -> Shape:
        """Shape of the output."""
        return self.layer.output_shape

    def __getattr__(self, name: str) -> Any:
        # ops, macs, input_shapes, backward ...: a node answers what its layer answers
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.layer, name)


@dataclass(frozen=True)
class Row:
    """One line of a network's table. Shapes are tuples, the rest are counts of elements, MACs or operations."""

    name: str
    kind: str
    input_shape: Shape
    output_shape: Shape
    parameters: Dim
    macs: Dim
    ops: Dim
    backward_macs: Dim
    backward_ops: Dim


@lru_cache(maxsize=8192)
def _costs(layer: Layer, input_gradient: bool) -> tuple[Dim, Dim, Dim, Dim]:
    """MACs and operations, forward and backward; identical layers are derived once."""
    backward = layer.backward(input_gradient)
    return layer.macs, layer.ops, backward.macs, backward.ops


@dataclass(frozen=True)
class Network:
    """A graph of layers in the order in which they run. Build one with `Builder` or `Network.sequential`."""

    name: str
    input_shape: Shape
    layers: tuple[Node, ...]

    @classmethod
    def sequential(cls, name: str, input_shape: Iterable[object], layers: Iterable[Layer | tuple[str, Layer]]) -> Self:
        """A chain of layers; each takes its open dimensions from the one before.

        >>> from dnnlab import Conv2d, Flatten, Linear
        >>> net = Network.sequential("small", (1, 3, 8, 8), [Conv2d(k=4, r=3, s=3), Flatten(), Linear(k=10)])
        >>> net.macs, [row.output_shape for row in net.rows()]
        (9472, [(1, 4, 8, 8), (1, 256), (1, 10)])
        """
        build = Builder(name, *input_shape)
        for place, item in enumerate(layers):
            label, layer = item if isinstance(item, tuple) else (f"{place}.{type(item).__name__.lower()}", item)
            build.add(label, layer)
        return cls(name, build.input_shape, build.network().layers)

    @classmethod
    def from_torch(cls, module: Any, example: Any) -> Network:
        """The network of a PyTorch module; see `dnnlab.importing.from_torch`."""
        from .importing import from_torch

        return from_torch(module, example)

    @classmethod
    def from_onnx(cls, path: Any, **sizes: int) -> Network:
        """The network of an ONNX file; see `dnnlab.importing.from_onnx`."""
        from .importing import from_onnx

        return from_onnx(path, **sizes)

    def at_batch(self, n: object) -> Self:
        """The same network for a batch of `n` samples, which is the first axis of its input.

        >>> from dnnlab import zoo
        >>> zoo.lenet5(batch=8).at_batch(3) == zoo.lenet5(batch=3)
        True
        """
        if self.input_shape[0] == dimension("batch", n):
            return self
        build = Builder(self.name, n, *self.input_shape[1:])
        for node in self.layers:
            batch = {axes[0]: symbol(axes[0]) for axes in node.layer.takes}  # forgotten, then fitted anew
            layer = node.layer.at(**batch)
            if isinstance(layer, View | Given):
                layer = layer.for_batch(self.input_shape[0], build.input_shape[0])
            build.add(node.name, layer, *node.inputs, in_place=node.in_place, shares=node.shares)
        return type(self)(self.name, build.input_shape, build.network().layers)

    # -- totals ------------------------------------------------------------------------------------------

    @property
    def ops(self) -> Dim:
        """Operations of a forward pass; a multiply-accumulate is two."""
        return sum(_costs(node.layer, True)[1] for node in self.layers)

    @property
    def macs(self) -> Dim:
        """Multiply-accumulates of convolutions, linear layers and matrix products."""
        return sum(_costs(node.layer, True)[0] for node in self.layers)

    @cached_property
    def parameters(self) -> Dim:
        """Learned parameters, shared ones counted once."""
        return sum(node.parameters for node in self.layers)

    @property
    def operations(self) -> dict[str, Dim]:
        """Operations of a forward pass by kind."""
        total: dict[str, Dim] = {}
        for node in self.layers:
            for kind, count in node.layer.operations.items():
                total[kind] = total.get(kind, 0) + count
        return total

    def rows(self, input_gradient: bool = False) -> tuple[Row, ...]:
        """A row for each layer. The backward pass leaves out gradients nobody needs: those that would flow
        past the first layers with parameters, unless `input_gradient` asks for them."""
        rows = []
        for node in self.layers:
            macs, ops, backward_macs, backward_ops = _costs(node.layer, input_gradient or node.name in self.deep)
            shapes = node.layer.input_shapes
            rows.append(
                Row(
                    node.name,
                    node.kind,
                    shapes[0] if shapes else (),
                    node.output_shape,
                    node.parameters,
                    macs,
                    ops,
                    backward_macs,
                    backward_ops,
                )
            )
        return tuple(rows)

    def table(self, input_gradient: bool = False) -> Table:
        """The rows as a table, with totals."""
        columns = (
            Column("name", "layer"),
            Column("kind", "kind"),
            Column("output_shape", "output", show=_shape),
            Column("parameters", "parameters"),
            Column("macs", "MACs"),
            Column("ops", "operations"),
            Column("backward_ops", "operations, backward"),
        )
        rows = self.rows(input_gradient)
        body = [tuple(getattr(row, column.key) for column in columns) for row in rows]
        total = tuple(sum(getattr(row, key) for row in rows) for key in ("macs", "ops", "backward_ops"))
        last = (f"total{self._without}", "", None, self.parameters, *total)
        return Table(columns, (*body, last), title=self.name)

    @property
    def left_out(self) -> tuple[Node, ...]:
        """The layers whose operation the catalogue does not know: their arithmetic is missing in every total."""
        return tuple(node for node in self.layers if isinstance(node.layer, Unknown))

    @cached_property
    def deep(self) -> frozenset[str]:
        """Layers whose input needs a gradient: something with parameters lies before them."""
        learned: set[str] = set()  # outputs that depend on a parameter
        found = set()
        for node in self.layers:
            if learned.intersection(node.inputs):
                found.add(node.name)
            if node.name in found or node.layer.parameters != 0:
                learned.add(node.name)
        return frozenset(found)

    # -- finding -----------------------------------------------------------------------------------------

    def __getitem__(self, name: str) -> Node:
        """The layer of that name; `UnknownNameError` suggests the nearest."""
        if name in self._named:
            return self._named[name]
        raise unknown("layer", name, self._named)

    @cached_property
    def _named(self) -> dict[str, Node]:
        return {node.name: node for node in self.layers}

    def last_of(self, block: str) -> Node:
        """The layer of that name, or the last layer of a block such as `layer1.0`."""
        inside = [node for node in self.layers if node.name == block or node.name.startswith(block + ".")]
        return inside[-1] if inside else self[block]

    def shape(self, edge: str) -> Shape:
        """Shape of the tensor that a layer (or the input) hands on."""
        return self.input_shape if edge == INPUT else self[edge].output_shape

    def __repr__(self) -> str:
        return f"<Network {self.name}: input {self.input_shape}, {len(self.layers)} layers{self._without}>"

    @property
    def _without(self) -> str:
        """What totals leave out, in words."""
        found = Counter(node.kind for node in self.left_out)
        names = ", ".join(kind if times == 1 else f"{kind} (× {times})" for kind, times in found.items())
        return names and f", without {names}"

    def _repr_html_(self) -> str:
        return self.table().html()

    # -- memory (rooms above answer; they are here so that a network can be asked) -----------------------

    def saved_bytes(self, dtype: str = "fp32", framework: str | None = "pytorch") -> Any:
        """Bytes kept for the backward pass; see `dnnlab.lifetimes.saved_bytes`."""
        from .lifetimes import saved_bytes

        return saved_bytes(self, dtype, framework)

    def peak_bytes(self, dtype: str = "fp32", framework: str | None = "pytorch") -> Any:
        """The most bytes of activations alive at once in inference; see `dnnlab.lifetimes.peak_bytes`."""
        from .lifetimes import peak_bytes

        return peak_bytes(self, dtype, framework)

    @property
    def peak_activations(self) -> Dim:
        """The least number of elements (input included) that must be held at once in inference; see
        `dnnlab.lifetimes.peak_activations`."""
        from .lifetimes import peak_activations

        return peak_activations(self)

    def receptive_field(self, name: str) -> Any:
        """How many input pixels one output pixel of a layer or block depends on; see
        `dnnlab.receptive.receptive_field`."""
        from .receptive import receptive_field

        return receptive_field(self, name)


def _shape(shape: Any) -> str:
    return " × ".join(map(str, shape))


class Builder:
    """Collects layers one by one; each is fitted to the shapes of its inputs at once.

    >>> from dnnlab import Add, Conv2d, ReLU
    >>> build = Builder("block", 1, 8, 4, 4)
    >>> x = build.add("conv", Conv2d(k=8, r=3, s=3))
    >>> x = build.add("add", Add(), x, "input")
    >>> build.network().layers[-1].output_shape
    (1, 8, 4, 4)
    """

    def __init__(self, name: str, *input_shape: object) -> None:
        self.name = name
        self.input_shape: Shape = tuple(dimension("input shape", size) for size in input_shape)
        self.shapes: dict[str, Shape] = {INPUT: self.input_shape}
        self.nodes: list[Node] = []

    def add(self, name: str, layer: Layer, *inputs: str, in_place: bool = False, shares: str | None = None) -> str:
        """Append a layer fed by the named layers (default: the last one), and return its name.

        Raises `ShapeError` naming both layers and both shapes where they do not fit.
        """
        if not isinstance(layer, Layer):
            raise DnnlabError(f"{self.name}: {quote(name)} should be a layer such as ReLU(), got {quote(layer)}")
        if name in self.shapes or not name:
            raise DnnlabError(f"{self.name}: the name {quote(name)} is taken or empty; give each layer its own")
        inputs = inputs or (() if isinstance(layer, Given) else (self.last,))
        for source in inputs:
            if source not in self.shapes:
                raise unknown(f"layer before {name!r}", source, self.shapes)
        if shares is not None and shares not in self.shapes:
            raise unknown("layer to share with", shares, self.shapes)
        shapes = [self.shapes[source] for source in inputs]
        try:
            fitted = layer.fit(*shapes)
        except DnnlabError as error:
            given = ", ".join(f"{source!r} gives {shape}" for source, shape in zip(inputs, shapes, strict=True))
            raise ShapeError(f"{self.name}: layer {name!r} does not fit: {given}. {error}") from None
        self.nodes.append(Node(name, fitted, tuple(inputs), in_place, shares))
        self.shapes[name] = fitted.output_shape
        return name

    @property
    def last(self) -> str:
        """The name of the layer added last, or of the input."""
        return self.nodes[-1].name if self.nodes else INPUT

    def network(self) -> Network:
        """The finished network; `DnnlabError` if it has no layer."""
        if not self.nodes:
            raise DnnlabError(f"{self.name} has no layers; add one first")
        return Network(self.name, self.input_shape, tuple(self.nodes))
