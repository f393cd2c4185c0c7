"""An epoch of training: what the forward pass, the backward pass and the update each compute, move and store.

Every phase is counted from lines: a layer's own, their adjoint lines, and the optimizer's. "Memory" has two
readings, and they differ. *Stored* is how many numbers a phase gives rise to: one gradient for each parameter and
each input, so the backward pass stores what the forward pass stored. *Traffic* is how many numbers cross the memory
interface, each tensor once: the backward pass reads the tensors of the forward pass again, beside the gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from .bounds import NetworkTime
from .errors import DnnlabError, ExtentError, quote
from .hardware import Device
from .layers.base import Layer
from .layers.optimizers import SGD, Optimizer
from .lifetimes import source
from .networks import INPUT, Network, Node
from .notation import Dim, ceil_div, dimension, plain, product, ratio
from .phases import Phase, Task, backward, forward, kept, update
from .quantities import show
from .tables import Column, Table


@dataclass(frozen=True)
class Epoch:
    """One batch in three phases, and how many batches an epoch has.

    `kept` are the numbers that the forward pass must keep for the backward pass at the least. Where the samples do
    not divide by the batch, `tail` is the smaller last batch (None otherwise).
    """

    name: str
    forward: Phase
    backward: Phase
    update: Phase
    kept: Dim
    batches: Dim = 1
    tail: Epoch | None = None

    @property
    def phases(self) -> tuple[Phase, Phase, Phase]:
        """Forward pass, backward pass, gradient update."""
        return (self.forward, self.backward, self.update)

    @property
    def operations(self) -> dict[str, Dim]:
        """Operations of the whole epoch by kind."""
        total: dict[str, Dim] = dict(self.tail.operations) if self.tail else {}
        for phase in self.phases:
            for kind, count in phase.operations.items():
                total[kind] = total.get(kind, 0) + self.batches * count
        return total

    @property
    def ops(self) -> Dim:
        """Operations of the whole epoch."""
        return sum(self.operations.values())

    @property
    def traffic(self) -> Dim:
        """Elements that cross the memory interface in the whole epoch."""
        own = self.batches * sum(phase.traffic for phase in self.phases)
        return own + (self.tail.traffic if self.tail else 0)

    def energy(self, dtype: str = "fp32") -> Dim:
        """Joules of the arithmetic of the whole epoch; see `Phase.energy`."""
        own = self.batches * sum(phase.energy(dtype) for phase in self.phases)
        return own + (self.tail.energy(dtype) if self.tail else 0)

    def ratios(self, phase: Phase) -> dict[str, Dim]:
        """A phase as multiples of the forward pass: "compute", "stored" and "traffic".

        >>> from dnnlab import Conv2d
        >>> step = epoch(Conv2d())
        >>> step.ratios(step.backward)["compute"], step.ratios(step.backward)["stored"]
        (2, 1)
        """
        pairs = {
            "compute": (phase.ops, self.forward.ops),
            "stored": (phase.stored, self.forward.stored),
            "traffic": (phase.traffic, self.forward.traffic),
        }
        return {name: ratio(part, whole) if whole != 0 else 0 for name, (part, whole) in pairs.items()}

    def on(self, device: Device, dtype: str = "fp16", overlap: bool = True) -> EpochTime:
        """What the epoch takes on a device. Raises the errors of `bounds.on`.

        >>> from dnnlab import Adam, device, zoo
        >>> time = epoch(zoo.lenet5(batch=64), optimizer=Adam()).on(device("t4"), "fp32")
        >>> time.update.bound
        {'Adam': 'memory'}
        """
        ahead, back, step = (phase.on(device, dtype, overlap) for phase in self.phases)
        tail = self.tail.on(device, dtype, overlap) if self.tail else None
        return EpochTime(self.name, ahead, back, step, self.batches, tail)

    def table(self, dtype: str = "fp32") -> Table:
        """The notes' table of an epoch, for one batch: bottleneck operation, compute and memory ratios."""
        columns = (
            Column("phase", ""),
            Column("count", "bottleneck by count"),
            Column("energy", f"by energy, {dtype}"),
            Column("ops", "operations", show=plain, align="right"),
            Column("compute", "of forward", show=_times, align="right"),
            Column("stored", "stored numbers", show=plain, align="right"),
            Column("memory", "of forward", show=_times, align="right"),
            Column("traffic", "traffic, numbers", show=plain, align="right"),
            Column("moved", "of forward", show=_times, align="right"),
        )
        rows = []
        for phase in self.phases:
            leaders = (" and ".join(phase.bottleneck(by)) or None for by in (None, dtype))
            compute, stored, traffic = self.ratios(phase).values()
            rows.append((phase.name, *leaders, phase.ops, compute, phase.stored, stored, phase.traffic, traffic))
        return Table(columns, rows, title=f"One batch of {self.name}", note=self.sentence())

    def sentence(self) -> str:
        """The verdict in words.

        >>> from dnnlab import zoo
        >>> print(epoch(zoo.lenet5(batch=64), samples=60000).sentence())
        A batch takes 54,652,544 operations forward, 1.732 times that backward and 0.002258 times to update; an epoch \
has 937 batches and one smaller.
        """
        back, step = self.ratios(self.backward)["compute"], self.ratios(self.update)["compute"]
        smaller = " and one smaller" if self.tail else ""
        many = "" if self.batches == 1 and not self.tail else f"; an epoch has {plain(self.batches)} batches{smaller}"
        return (
            f"A batch takes {plain(self.forward.ops)} operations forward, {plain(back)} times that backward and "
            f"{plain(step)} times to update{many}."
        )

    def _repr_html_(self) -> str:
        return self.table().html()


@dataclass(frozen=True)
class EpochTime:
    """An epoch on a device: seconds of each phase of one batch, layer by layer, and of the whole."""

    name: str
    forward: NetworkTime
    backward: NetworkTime
    update: NetworkTime
    batches: Dim
    tail: EpochTime | None = None

    @property
    def phases(self) -> tuple[NetworkTime, NetworkTime, NetworkTime]:
        """Forward pass, backward pass, gradient update."""
        return (self.forward, self.backward, self.update)

    @property
    def step(self) -> Dim:
        """Seconds for one batch."""
        return sum(phase.total for phase in self.phases)

    @property
    def total(self) -> Dim:
        """Seconds for the whole epoch."""
        return self.batches * self.step + (self.tail.total if self.tail else 0)

    def table(self) -> Table:
        """A row for each phase of one batch: its time, its share, and what it waits for."""
        columns = (
            Column("phase", ""),
            Column("compute", "compute", "s"),
            Column("memory", "memory", "s"),
            Column("total", "time", "s"),
            Column("share", "share", show=lambda x: f"{x:.0%}"),
            Column("bound", "time spent in layers that are"),
        )
        rows = []
        for phase in self.phases:
            bound = ", ".join(f"{name} {share:.0%}" for name, share in phase.shares.items())
            share = phase.total / self.step if self.step else 0
            rows.append((phase.name, phase.compute, phase.memory, phase.total, share, bound or None))
        device = self.forward.device.name
        return Table(columns, rows, title=f"{self.name} on {device}, {self.forward.dtype}", note=self.sentence())

    def sentence(self) -> str:
        """The verdict in words."""
        whole = "" if self.total == self.step else f", the epoch {show(self.total, 's')}"
        slow = max(self.phases, key=lambda phase: phase.total)
        share = f"; the longest is the {slow.name.lower()}, {slow.total / self.step:.0%} of it" if self.step else ""
        return f"A batch takes {show(self.step, 's')} at best{whole}{share}."

    def _repr_html_(self) -> str:
        return self.table().html()


def epoch(
    work: Layer | Node | Network,
    samples: object | None = None,
    optimizer: Optimizer | None = None,
    input_gradient: bool | None = None,
    drop_last: bool = False,
) -> Epoch:
    """Forward pass, backward pass and update of a layer or network, and an epoch of `samples` in its batches.

    `optimizer` (default plain `SGD()`) updates each parameter once a batch. `input_gradient` asks for the gradient
    of the work's own input: by default a layer computes it, since other layers lie before it, and a network does not,
    since nobody needs it. The last batch is smaller where `samples` do not divide; `drop_last` leaves it out. While
    symbols are open, every batch counts as full. Raises `DnnlabError` for other work, `ExtentError` for samples that
    are no positive number or a layer that has no batch `n`.

    >>> from dnnlab import Conv2d, Linear
    >>> conv = Conv2d()
    >>> epoch(conv).backward.ops / epoch(conv).forward.ops
    2
    >>> epoch(conv, input_gradient=False).backward.ops / conv.ops
    1
    >>> digits = epoch(Linear(n=32, c=784, k=10), samples=1000)
    >>> digits.batches, digits.tail.forward.ops / digits.forward.ops
    (31, 0.25)
    """
    rule = SGD() if optimizer is None else optimizer
    if not isinstance(rule, Optimizer):
        raise DnnlabError(f"optimizer = {quote(rule)}: expected SGD(), Momentum() or Adam()")
    work = work.layer if isinstance(work, Node) else work
    if isinstance(work, Network):
        one = _network(work, rule, bool(input_gradient))
    elif isinstance(work, Layer) and not isinstance(work, Optimizer):
        one = _layer(work, rule, input_gradient is not False)
    else:
        raise DnnlabError(f"expected a layer or a network, got {quote(work)}")
    if samples is None:
        return one
    count, batch = dimension("samples", samples), _batch(work)
    if not (isinstance(count, int) and isinstance(batch, int)):
        return replace(one, batches=ceil_div(count, batch))

    def step(n: int) -> Epoch:
        if n == batch:
            return one
        smaller = work.at_batch(n) if isinstance(work, Network) else work.at(n=n)
        return epoch(smaller, None, rule, input_gradient)

    return in_batches(step, count, batch, drop_last)


def in_batches(step: Callable[[int], Epoch], samples: int, batch: int, drop_last: bool = False) -> Epoch:
    """An epoch of `samples` in full batches and a smaller last one, from what a step is at a batch. Raises
    `ExtentError` where `drop_last` leaves nothing."""
    full, rest = divmod(samples, batch)
    if drop_last and not full:
        raise ExtentError(f"samples = {samples} do not fill one batch of {batch}, and drop_last leaves it out")
    if drop_last or not rest:
        return replace(step(batch), batches=full)
    return replace(step(batch), batches=full, tail=step(rest)) if full else step(rest)


# -- the parts -------------------------------------------------------------------------------------------


def _layer(layer: Layer, rule: Optimizer, input_gradient: bool) -> Epoch:
    program = layer.program
    given, gradients = (
        sum(program.size(name) for name in program.having("parameter", *extra))
        for extra in (["input"], ["input"] if input_gradient else [])
    )
    ahead, back = forward(layer.kind, layer, input_gradient), backward(layer.kind, layer, input_gradient)
    stored = sum(kept(layer, input_gradient).values())
    return _epoch(layer.kind, (ahead,), (back,), layer.parameters, given, gradients, stored, rule)


def _network(net: Network, rule: Optimizer, input_gradient: bool) -> Epoch:
    wanted = [(node.name, node.layer, input_gradient or node.name in net.deep) for node in net.layers]
    ahead, back = tuple(forward(*want) for want in wanted), tuple(backward(*want) for want in wanted)
    deep = net.layers if input_gradient else [node for node in net.layers if node.name in net.deep]
    inputs, slopes = _distinct(net, net.layers), _distinct(net, deep)
    if not input_gradient:
        slopes.discard(INPUT)
    parameters = net.parameters
    given, gradients = (parameters + sum(product(net.shape(edge)) for edge in edges) for edges in (inputs, slopes))
    stored = int(net.saved_bytes("int8", framework=None))  # a byte each, so a count
    return _epoch(net.name, ahead, back, parameters, given, gradients, stored, rule)


def _epoch(
    name: str, ahead: tuple[Task, ...], back: tuple[Task, ...],
    parameters: Dim, given: Dim, gradients: Dim, stored: Dim, rule: Optimizer,
) -> Epoch:  # fmt: skip
    return Epoch(
        name,
        Phase("Forward pass", ahead, given),
        Phase("Backward pass", back, gradients),
        updating(parameters, rule),
        stored,
    )


def updating(parameters: Dim, rule: Optimizer) -> Phase:
    """The gradient update of so many parameters; without any there is nothing to do."""
    step = rule.at(p=parameters) if parameters != 0 else None
    return Phase("Gradient update", (update(step),) if step else (), step.state if step else 0)


def _distinct(net: Network, nodes: Iterable[Node]) -> set[str]:
    """The tensors that feed some layers; a view is the tensor it looks at."""
    return {source(net, edge) for node in nodes for edge in node.inputs}


def _batch(work: Layer | Network) -> Dim:
    if isinstance(work, Network):
        return work.input_shape[0]
    if "n" not in work.dimensions:
        raise ExtentError(f"{work.kind} has no batch n to split samples into; put it into a network")
    batch: Dim = work.n  # type: ignore[attr-defined]
    return batch


def _times(value: Dim) -> str:
    return f"{plain(value)}×"
