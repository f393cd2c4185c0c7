"""A record to a network: each operation becomes a layer of the catalogue with every dimension bound."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import DnnlabError
from ..layers import Add, Flatten, Given, Layer, Unknown, View, Viewed
from ..networks import INPUT, Network, Node
from .kinds import KINDS, Sizes
from .operations import MOVES, Call, Operation, Recording, Shape, Value


class Assembler:
    """Collects the nodes of a network; `edges` says which node hands on a value."""

    def __init__(self, recording: Recording) -> None:
        self.values: Mapping[str, Value] = recording.values
        self.nodes: list[Node] = []
        self.edges: dict[str, str] = {recording.inputs[0]: INPUT}
        self.owner: dict[str, str] = {}  # parameter: the layer that counts it
        self.taken = {INPUT}
        within: dict[Call, set[tuple[Call, str]]] = {}
        for operation in recording.operations:
            if operation.kind not in MOVES:
                for depth in range(len(operation.call)):
                    within.setdefault(operation.call[: depth + 1], set()).add((operation.call, operation.label))
        self.alone = {call for call, found in within.items() if len(found) == 1}

    # -- names -------------------------------------------------------------------------------------------

    def named(self, operation: Operation, layer: Layer) -> str:
        """The module's path where the operation is all that the module does, else the path and the operation."""
        scope = operation.scope
        alone = operation.call in self.alone and operation.kind not in MOVES
        label = LABELS.get(operation.kind, operation.label)
        if isinstance(layer, Flatten):
            label = "flatten"
        return self.free(scope if scope and alone else f"{scope}.{label}".lstrip("."))

    def free(self, name: str) -> str:
        """The name, with a number if it is taken."""
        number, found = 0, name
        while found in self.taken:
            number += 1
            found = f"{name}_{number}"
        self.taken.add(found)
        return found

    # -- nodes -------------------------------------------------------------------------------------------

    def edge(self, value: str) -> str:
        """The node that hands on a value; a tensor from outside gets a node of its own."""
        if value not in self.edges:
            about = self.values[value]
            role = "constant" if about.role == "made" else about.role
            name = self.free(about.label)
            shares = self.owner.get(value) if role == "parameter" else None
            if role == "parameter":
                self.owner.setdefault(value, name)
            self.nodes.append(Node(name, Given(role=role, shape=about.shape or (1,)), (), shares=shares))
            self.edges[value] = name
        return self.edges[value]

    def shape(self, value: str) -> Shape:
        """The shape of a value; a single number has one axis."""
        return self.values[value].shape or (1,)

    def add(self, operation: Operation) -> None:
        """Append the layer of an operation."""
        learned = [name for name in operation.inputs[1:] if self.learned(operation, name)]
        plain = [name for name in operation.inputs if name not in learned]
        target = self.shape(operation.output)
        layer, bias = None, None
        if operation.kind in KINDS:
            kinds, late = KINDS[operation.kind], None
            if operation.kind in ("linear", "convolution") and len(learned) == 2:
                weight, late = learned
                if (weight in self.owner) != (late in self.owner):  # one of them is another layer's: they part
                    learned, bias = [weight], late
            sizes = [self.shape(name) for name in (*plain, *learned)]
            try:
                layer = viewed(kinds(operation, sizes, target), [self.shape(name) for name in plain], target)
            except DnnlabError:
                layer, bias = None, None  # the catalogue's layer cannot have these sizes
        if layer is None:
            operands = [name for name in operation.inputs if self.values[name].role != "parameter"]
            learned, plain = [name for name in operation.inputs if name not in operands], operands
            fresh = sum(self.values[name].size for name in learned if name not in self.owner)
            layer = Unknown(
                operation=operation.label,
                sources=tuple(self.shape(name) for name in plain),
                target=target,
                learned=fresh,
            )
        inputs = tuple(self.edge(name) for name in plain)
        shares = self.sharing(learned)
        name = self.named(operation, layer)
        for parameter in learned:
            self.owner.setdefault(parameter, name)
        self.nodes.append(Node(name, layer, inputs, operation.in_place, None if isinstance(layer, Unknown) else shares))
        self.edges[operation.output] = name
        if bias is not None:
            self.bias(name, bias, operation, target)
        for place, output in enumerate(operation.outputs[1:], 1):  # of an operation that is not known
            part = View(source=target, target=self.shape(output))
            self.nodes.append(Node(self.free(f"{name}.{place}"), part, (name,)))
            self.edges[output] = self.nodes[-1].name

    def bias(self, name: str, bias: str, operation: Operation, target: Shape) -> None:
        """A bias that is added by a layer of its own, since its weight is shared and it is not (or the reverse)."""
        size = self.shape(bias)
        shape = (size[0], *(1,) * (len(target) - 2)) if operation.kind == "convolution" else size
        given = self.edge(bias)
        if shape != size:
            self.nodes.append(Node(self.free(f"{given}.view"), View(source=size, target=shape), (given,)))
            given = self.nodes[-1].name
        self.nodes.append(Node(self.free(f"{name}.bias"), Add().fit(target, shape), (name, given)))
        self.edges[operation.output] = self.nodes[-1].name

    def learned(self, operation: Operation, value: str) -> bool:
        """Is it a weight in the lines of the operation's layer?"""
        return operation.kind in WEIGHTED and (self.values[value].role == "parameter" or operation.kind != "embedding")

    def sharing(self, learned: list[str]) -> str | None:
        """The layer that counts the parameters of this one: where another had them first, or where an operation (or
        the outside) made the weight."""
        for name in learned:
            if self.values[name].role != "parameter":
                return self.edge(name)
        owners = [self.owner.get(name) for name in learned]
        return owners[0] if owners and all(owners) else None


#: What an operation is called where its module does more: the same in every framework.
LABELS = {kind: kind for kind in ("add", "subtract", "multiply", "divide", "softmax", "linear")} | {
    "concatenate": "cat", "product": "matmul",
}  # fmt: skip
#: Kinds whose inputs behind the first are weights.
WEIGHTED = ("convolution", "linear", "batch_norm", "layer_norm", "rms_norm", "group_norm", "prelu", "embedding",
            "add_embedding")  # fmt: skip


def viewed(layer: Layer, sources: Sizes, target: Shape) -> Layer:
    """The layer itself where its axes are those of the tensors, else wrapped; `ShapeError` where sizes differ."""
    if list(layer.input_shapes) == sources and layer.output_shape == target:
        return layer
    return Viewed(layer=layer, sources=tuple(sources), target=target)


def assembled(recording: Recording) -> Network:
    """The network of a record. Raises `DnnlabError` where it has no input or computes nothing."""
    build = Assembler(recording)
    for operation in recording.operations:
        build.add(operation)
    if not build.nodes:
        raise DnnlabError(f"{recording.name} computes nothing from its input; import a module that has a layer")
    return Network(recording.name, recording.values[recording.inputs[0]].shape or (1,), tuple(build.nodes))
