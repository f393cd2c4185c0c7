"""A training step, moment by moment: what is in memory while it runs.

The forward pass keeps what the backward pass will need; the backward pass gives it back layer by layer while the
gradients of the parameters pile up; the update needs workspace. The peak is the fullest of these moments.

The order of events is PyTorch's: a layer's backward pass makes all its gradients at once and only then lets go of the
incoming gradient and of what the layer kept; where two branches meet, their gradients are added into a new tensor
(PyTorch adds into one of them where it may, which takes less; under its own memory tracker it never may).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from ..errors import DnnlabError, quote
from ..layers import ScaledDotProductAttention
from ..layers.base import Layer
from ..layers.optimizers import Adam, Optimizer
from ..lifetimes import VIEWS, held, kept, learned, storage
from ..networks import INPUT, Network, Node
from ..notation import Dim, largest, product
from ..quantities import bytes_of

#: Layers whose backward pass hands on its gradient, or views of it, and makes no tensor.
PASSED_ON = (*VIEWS, "Add", "Concatenate")
Storage = tuple[str, ...]
Work = Network | Node | Layer


@dataclass(frozen=True)
class Moment:
    """One moment of a training step, in bytes.

    `layer` runs in the `phase` "forward", "backward" or "update". `activations` are kept for the backward pass or on
    their way to the next layer, `gradients` those of the parameters so far, `temporary` all else: gradients of
    activations, an optimizer's workspace. Parameters, the network's input and the optimizer's state come on top.
    """

    phase: str
    layer: str
    activations: Dim
    gradients: Dim = 0
    temporary: Dim = 0

    @property
    def total(self) -> Dim:
        """Bytes of all three."""
        return self.activations + self.gradients + self.temporary


def training_step(
    work: Work,
    dtype: str = "fp32",
    optimizer: Optimizer | None = None,
    framework: str | None = "pytorch",
    master: str | None = None,
) -> tuple[Moment, ...]:
    """The moments of one training step after the first, in order; the loss is the sum of the outputs.

    `framework` says what is kept, as in `Network.saved_bytes`; `master` is the dtype of the optimizer's work where
    that is not `dtype` (mixed precision). Raises `UnknownNameError` for a dtype or framework that is not known,
    `DnnlabError` for what is no network or layer.

    >>> from dnnlab import Adam, zoo
    >>> steps = training_step(zoo.alexnet(batch=1), optimizer=Adam())
    >>> fullest = max(steps, key=lambda moment: moment.total)
    >>> fullest.phase, fullest.layer, fullest.total
    ('update', 'classifier.1', 546398276)
    """
    book = _Book(as_network(work), bytes_of(dtype), framework)
    update = () if optimizer is None else (_update(book, optimizer, bytes_of(master or dtype)),)
    return (*_forward(book), *_backward(book), *update)


class _Book:
    """The stored tensors: how large each is, who is the first to keep it (and so the last to need it)."""

    def __init__(self, net: Network, width: float, framework: str | None) -> None:
        self.net, self.width, self.framework = net, width, framework
        self.size: dict[Storage, Dim] = {}
        self.keeper: dict[Storage, str] = {}
        for where, keeper, elements, element_bytes in _stored(net, framework):
            self.size[where] = elements * (width if element_bytes is None else element_bytes)
            self.keeper[where] = keeper
        #: Held by whoever called the network: its result and the loss.
        self.held = net.layers[-1].activations * width + width

    def opens(self, node: Node) -> bool:
        """Is a layer fuller inside than at its end? Of attention it is known how PyTorch goes through it."""
        return self.framework is not None and isinstance(node.layer, ScaledDotProductAttention)


# Which tensors there are depends on no dtype, and a network is asked for many.
@lru_cache(maxsize=32)
def _stored(net: Network, framework: str | None) -> tuple[tuple[Storage, str, Dim, int | None], ...]:
    """Each stored tensor once, with the first layer that keeps it, its number of elements, and the bytes of one where
    those are not the dtype's."""
    found: dict[Storage, tuple[Storage, str, Dim, int | None]] = {}
    for node, keep, elements, role in kept(net, framework):
        where = storage(net, node, keep, role)
        # Parameters, running statistics and the input are there anyway.
        if role not in ("parameter", "state") and where != ("", INPUT) and where[0] != "given":
            found.setdefault(where, (where, node.name, elements, keep.element_bytes))
    return tuple(found.values())


def _forward(book: _Book) -> Iterator[Moment]:
    net, order = book.net, {node.name: place for place, node in enumerate(book.net.layers)}
    home, until = _homes(net)
    # Each storage with the places at which its bytes change, and what they are from there on.
    bytes_from: dict[Storage, list[tuple[int, Dim]]] = {}
    for name, end in until.items():
        if name != INPUT:
            bytes_from["", name] = [(order[name], net[name].activations * book.width), (end + 1, 0)]
    for where, amount in book.size.items():  # in the order of their keepers
        changes = bytes_from.setdefault(("", home[where[1]]) if where[0] == "" else where, [])
        start = order[book.keeper[where]]
        while changes and changes[-1][0] >= start:
            changes.pop()
        changes.append((start, amount))
    moves: dict[int, list[tuple[Storage, Dim]]] = {}
    for where, changes in bytes_from.items():
        for place, amount in changes:
            moves.setdefault(place, []).append((where, amount))
    alive: dict[Storage, Dim] = {}
    total = book.held  # the result and the loss of the step before are still there
    for place, node in enumerate(net.layers):
        for where, amount in moves.get(place, ()):
            total += amount - alive.get(where, 0)
            alive[where] = amount
        if book.opens(node):
            yield Moment("forward", node.name, total + _softmax(book, node, alive))
        yield Moment("forward", node.name, total)


def _softmax(book: _Book, node: Node, alive: dict[Storage, Dim]) -> Dim:
    """How much more an attention layer holds at its softmax than at its end: scores and weights, but no result yet and
    no values in one piece (with grouped queries they are repeated at the start)."""
    assert isinstance(node.layer, ScaledDotProductAttention)
    later = [("", node.name), *((node.name, name, "private") for name in ("prob", "drop", "dropped"))]
    if node.layer.kv_heads == node.layer.a:
        later.append((node.name, "value", "private"))
    return 2 * node.program.size("score") * book.width - sum(alive.get(where, 0) for where in later)


@lru_cache(maxsize=32)
def _homes(net: Network) -> tuple[dict[str, str], dict[str, int]]:
    """Whose storage each edge uses, and the place of the last layer of the forward pass that needs it."""
    home, until = {INPUT: INPUT}, {INPUT: len(net.layers)}
    for place, node in enumerate(net.layers):
        same = node.inputs and (node.in_place or node.kind in VIEWS)  # a tensor from outside is a view of nothing
        home[node.name] = home[node.inputs[0]] if same else node.name
        for edge in (node.name, *node.inputs):
            until[home[edge]] = max(until.get(home[edge], 0), place)
    for edge, place in held(net).items():
        until[home[edge]] = max(until[home[edge]], place)
    return home, until


def _backward(book: _Book) -> Iterator[Moment]:
    net, width = book.net, book.width
    learning = learned(net)
    kept_by: dict[str, Dim] = {}  # bytes, by the layer that kept them first and so needs them last
    for where, amount in book.size.items():
        if where != ("", net.layers[-1].name):
            kept_by[book.keeper[where]] = kept_by.get(book.keeper[where], 0) + amount
    remaining: Dim = sum(kept_by.values())
    size: list[Dim] = [width]  # of each gradient of an activation; the first is the loss's, held to the end
    waiting = {net.layers[-1].name: 0}  # which of them has arrived for the output of a layer
    gradients: Dim = 0
    graded: set[str] = set()  # layers whose parameters have their gradient

    def moment(node: Node, alive: Iterable[int], extra: Dim = 0, released: Dim = 0) -> Moment:
        temporary = sum(size[number] for number in {0, *waiting.values(), *alive}) + extra
        return Moment("backward", node.name, remaining + book.held - released, gradients, temporary)

    for node in reversed(net.layers):
        if node.name not in waiting:
            continue  # nothing to learn here or before
        incoming = waiting.pop(node.name)
        if book.opens(node):
            for inside, released in _attention(book, node, size[incoming]):
                yield moment(node, (), inside, released)
        owner, own = node.shares or node.name, node.layer.parameters * width
        again = own if owner in graded else 0  # of shared parameters, to be added to what is there
        gradients += own - again
        graded.add(owner)
        made: list[tuple[str, int]] = []
        for edge, shape in zip(node.inputs, node.layer.input_shapes, strict=True):
            if edge in learning:
                made.append((edge, incoming if node.kind in PASSED_ON else len(size)))
                if node.kind not in PASSED_ON:
                    size.append(product(shape) * width)
        yield moment(node, (incoming, *(number for _, number in made)), again)
        remaining -= kept_by.get(node.name, 0)
        if again != 0:
            yield moment(node, (number for _, number in made), 2 * again)
        for place, (edge, number) in enumerate(made):
            if edge not in waiting:
                waiting[edge] = number
                continue
            size.append(size[number])
            yield moment(node, (len(size) - 1, *(number for _, number in made[place:])))
            waiting[edge] = len(size) - 1


def _attention(book: _Book, node: Node, incoming: Dim) -> Iterator[tuple[Dim, Dim]]:
    """Temporary bytes at the fullest moments inside the backward pass of attention, and what it has let go of by then.

    First the product with the values makes the gradients of weights and values from the incoming one; then, at the
    softmax, there are two gradients as large as the scores, while the values (and the dropped weights) are gone.
    """
    scores = node.program.size("score") * book.width
    values = node.program.size("query") * book.width  # a value for each head, also where heads share one
    gone = sum(book.size.get((node.name, name, "private"), 0) for name in ("value", "dropped"))
    yield incoming + scores + values, 0
    yield 2 * scores + values, gone


def _update(book: _Book, optimizer: Optimizer, width: float) -> Moment:
    """PyTorch updates one tensor of parameters after the other. For Adam it makes a square root and a quotient as large
    as the tensor, while the quotient of the tensor before is still there; descent and momentum need no workspace."""
    tensors = parameter_tensors(book.net)
    layer, workspace = (tensors[0][0] if tensors else ""), 0
    if isinstance(optimizer, Adam):
        before: Dim = 0
        for name, size in tensors:
            if largest(workspace, 2 * size + before) != workspace:
                layer, workspace = name, largest(workspace, 2 * size + before)
            before = size
    gradients = sum(size for _, size in tensors)
    return Moment("update", layer, book.held, gradients * book.width, workspace * width)


def as_network(work: Work) -> Network:
    """A network as it is; a layer as a network of one. `DnnlabError` for anything else."""
    if isinstance(work, Network):
        return work
    if isinstance(work, Node):
        work = work.layer
    if not isinstance(work, Layer):
        raise DnnlabError(f"expected a network or a layer, got {quote(work)}")
    # All its inputs are one tensor here: only their size counts.
    return Network(work.kind, (work.inputs,), (Node(work.kind, work, (INPUT,) * len(work.input_shapes)),))


@lru_cache(maxsize=32)
def parameter_tensors(net: Network) -> tuple[tuple[str, Dim], ...]:
    """The tensors of parameters with their numbers of elements, in the order of the layers; shared ones once."""
    return tuple(
        (node.name, node.program.size(name))
        for node in net.layers
        if not node.shares
        for name in node.program.having("parameter")
    )
