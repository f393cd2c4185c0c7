"""A stage of a real training step: the layers between two checkpoints, run in NumPy from their own lines.

Forward, a stage hands on its output and, if it is told to, records every tensor that stands in its adjoint lines.
Backward, it turns that record and the gradient of its output into the gradients of its parameters and of its
input. Nothing about a layer is typed in here: `Layer.program` says what to run, `Layer.saved` what to keep, and
`Layer.backward` what to do with it. Imported on demand: `import dnnlab` does not need NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from ..errors import DnnlabError, ShapeError, quote, unknown
from ..layers import Dropout
from ..layers.base import Layer
from ..lifetimes import VIEWS
from ..networks import INPUT, Network, Node
from ..notation import product
from ..program import Program
from ..vectorised import Array, run
from .chains import Chain
from .cutting import stages_of
from .givens import Given, Tensors

Record = dict[tuple[str, str], Array]  # by layer and tensor


@dataclass(frozen=True)
class Stage:
    """Layers that are recomputed together or kept together; `source` is the edge that enters."""

    nodes: tuple[Node, ...]
    source: str

    @property
    def result(self) -> str:
        """The edge that leaves."""
        return self.nodes[-1].name

    @property
    def view(self) -> bool:
        """Does it only change the shape? Then it copies: what a stage hands on is a tensor of its own."""
        return all(node.kind in VIEWS for node in self.nodes)

    def forward(self, x: Array, given: Given, state: Tensors, record: Record | None = None) -> Array:
        """The output. What the backward pass will read is put into `record`, if there is one; running statistics
        after this batch into `state`."""
        edges = {self.source: x}
        for place, node in enumerate(self.nodes):
            edges[node.name] = _forward(node, [edges[edge] for edge in node.inputs], given, state, record)
            wanted = {self.result}.union(*(later.inputs for later in self.nodes[place + 1 :]))
            edges = {edge: array for edge, array in edges.items() if edge in wanted}
        return edges[self.result].copy() if self.view else edges[self.result]

    def backward(self, record: Record, y: Array, given: Given, gradients: Tensors) -> Array:
        """The gradient of the input, from the record and the gradient `y` of the output; the gradients of the
        parameters are added to `gradients`."""
        slopes = {self.result: y}
        for node in reversed(self.nodes):
            found = _backward(node, record, slopes.pop(node.name), given, gradients)
            for edge, slope in zip(node.inputs, found, strict=True):
                slopes[edge] = slopes[edge] + slope if edge in slopes else slope
        return slopes[self.source].copy() if self.view else slopes[self.source]

    # -- what the lines say about it, before anything runs ------------------------------------------------

    @property
    def ops(self) -> int:
        """Operations of its forward pass."""
        return int(sum(node.layer.ops for node in self.nodes))

    @property
    def backward_ops(self) -> int:
        """Operations of its backward pass."""
        return int(sum(adjoint(node.layer).ops for node in self.nodes))

    @property
    def input_elements(self) -> int:
        """Elements of its input."""
        node = next(node for node in self.nodes if self.source in node.inputs)
        return int(product(node.layer.input_shapes[node.inputs.index(self.source)]))

    @property
    def output_elements(self) -> int:
        """Elements of its output."""
        return int(product(self.nodes[-1].output_shape))

    @cached_property
    def record_elements(self) -> int:
        """Elements of its record: the output, and what the adjoint lines read, each tensor once. The input is
        not among them: whoever made it keeps it; nor are parameters, which stay anyway."""
        sizes: dict[tuple[str, ...], int] = {}
        for node in self.nodes:
            for name in _kept(node.layer):
                role = node.layer.program.role(name)
                home: tuple[str, ...] = (node.name, name, "private")
                if role == "input":
                    home = self._home(node.inputs[node.layer.input_names.index(name)])
                elif role == "output":
                    home = self._home(node.name)
                sizes[home] = int(node.layer.program.size(name))
        sizes.pop(self._home(self.source), None)
        return sum((sizes | {self._home(self.result): self.output_elements}).values())

    def _home(self, edge: str) -> tuple[str, ...]:
        """Whose memory an edge uses: a view hands on that of its input."""
        names = {node.name: node for node in self.nodes}
        while edge in names and names[edge].kind in VIEWS:
            edge = names[edge].inputs[0]
        return ("edge", edge)


def read_stages(network: Network, blocks: Sequence[Sequence[str]] | None = None) -> tuple[Stage, ...]:
    """The stages of a network: cut wherever a single tensor passes (as `Chain.of` cuts it), or at the given `blocks`
    of layer names, which must name every layer once and in order.

    Raises `DnnlabError` where a layer reads past the tensor that enters its stage, `UnknownNameError` for a name that
    the network does not have.

    >>> from dnnlab import zoo
    >>> [stage.result for stage in read_stages(zoo.lenet5())][-4:]
    ['flatten', 'fc1', 'tanh4', 'fc2']
    """
    if not isinstance(network, Network):
        raise DnnlabError(f"stages are made of a Network such as zoo.lenet5(), got {quote(network)}")
    if blocks is None:
        blocks = [[node.name for node in nodes] for nodes in stages_of(network)]
    if not isinstance(blocks, list | tuple) or not all(isinstance(block, list | tuple) and block for block in blocks):
        raise DnnlabError(
            f"stages must be lists of layer names, such as [['conv1', 'tanh1'], ['pool1']], not {quote(blocks)}"
        )
    known = [node.name for node in network.layers]
    named = [name for block in blocks for name in block]
    for name in named:
        if name not in known:
            raise unknown(f"layer of {network.name}", name, known)
    if named != known:
        raise DnnlabError(f"stages of {network.name}: name every layer once, in order: {', '.join(known)}")
    found: list[Stage] = []
    for block in blocks:
        source = found[-1].result if found else INPUT
        found.append(Stage(tuple(network[name] for name in block), source))
        _check(network, found[-1])
    return tuple(found)


def _check(network: Network, stage: Stage) -> None:
    """Refuse a stage that cannot be run from its input alone."""
    inside = {stage.source, *(node.name for node in stage.nodes)}
    read = {edge for node in stage.nodes for edge in node.inputs} | {stage.result}
    for node in stage.nodes:
        for edge in node.inputs:
            if edge not in inside:
                raise DnnlabError(
                    f"{network.name}: {node.name!r} reads {edge!r} past the stage that {stage.source!r} enters; put "
                    f"all layers from {edge!r} to {node.name!r} into one stage"
                )
        if node.kind not in VIEWS and len(node.layer.program.having("input")) != len(node.inputs):
            raise DnnlabError(
                f"{node.kind} {node.name!r} has an input without a gradient, so nothing before it can be trained; "
                f"start the network behind it"
            )
        if not all(isinstance(size, int) for size in (*node.output_shape, *(s for i in node.input_shapes for s in i))):
            raise ShapeError(f"{network.name} has open extents {network.input_shape}; give it numbers, such as batch=8")
        if node.name not in read:
            raise DnnlabError(f"{network.name}: nothing in its stage reads {node.name!r}; every output needs a reader")


def lines_chain(stages: Sequence[Stage], width: int | float, loss_ops: int) -> Chain:
    """The chain that stages are by their lines: times are operations, sizes elements times `width`, no workspace."""
    return Chain(
        forward=tuple(stage.ops for stage in stages),
        backward=(*(stage.backward_ops for stage in stages), loss_ops),
        outputs=tuple(
            width * elements for elements in (stages[0].input_elements, *(s.output_elements for s in stages))
        ),
        records=tuple(width * stage.record_elements for stage in stages),
        names=tuple(stage.result for stage in stages),
    )


# -- one layer -----------------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def adjoint(layer: Layer) -> Program:
    """The backward lines of a layer, derived once."""
    return layer.backward()


@lru_cache(maxsize=4096)
def _kept(layer: Layer) -> tuple[str, ...]:
    """What the record holds of a layer: what its adjoint lines read, save what is given and stays anyway."""
    drawn = ("constant",) if isinstance(layer, Dropout) else ()
    return tuple(name for name in layer.saved if layer.program.role(name) in ("input", "local", "output", *drawn))


def _forward(node: Node, inputs: list[Array], given: Given, state: Tensors, record: Record | None) -> Array:
    """The output of one layer. What its lines compute on the way, and is not recorded, ends with this call."""
    layer, program = node.layer, node.layer.program
    if node.kind in VIEWS:
        return inputs[0].reshape(layer.output_shape)
    own = given.forward(node)
    for name, array in zip(layer.input_names, inputs, strict=True):
        own[name] = array.reshape(program.shape(name))
    tensors = run(program, own, given.scalars, copied=0)
    for name in program.having("state"):
        state.setdefault(node.shares or node.name, {})[name] = tensors[name]
    if record is not None:
        record.update({(node.name, name): tensors[name] for name in _kept(layer)})
    (output,) = program.having("output")
    return tensors[output].reshape(layer.output_shape)


def _backward(node: Node, record: Record, y: Array, given: Given, gradients: Tensors) -> list[Array]:
    """Gradients of the inputs of one layer; those of its parameters are added up."""
    layer, program = node.layer, node.layer.program
    if node.kind in VIEWS:
        return [y.reshape(layer.input_shapes[0])]
    (output,) = program.having("output")
    own = given.stored(node) | {name: record[node.name, name] for name in _kept(layer)}
    own["d_" + output] = y.reshape(program.shape(output))
    tensors = run(adjoint(layer), own, given.scalars, copied=0)
    for name in program.having("parameter"):
        gradients[node.shares or node.name][name] += tensors["d_" + name]
    shapes = zip(layer.input_names, layer.input_shapes, strict=True)
    return [tensors["d_" + name].reshape(shape) for name, shape in shapes]
