"""How long each activation must stay: in inference until its last reader, in training until a backward pass."""

from __future__ import annotations

from dataclasses import dataclass

from ..bounds import NetworkTime, on
from ..frameworks import GIVEN
from ..hardware import Device
from ..lifetimes import kept, lifetimes, storage
from ..networks import INPUT
from ..notation import Dim
from ..phases import Phase, backward
from ..quantities import show
from ..tables import Column, Table
from .sizes import bytes_for, size
from .step import Work, as_network


@dataclass(frozen=True)
class Life:
    """A stored tensor: the layer that makes it and its name in that layer's lines, its bytes, the layer and phase that
    need it last, through how many layer passes it must stay until then, and how many seconds that takes."""

    layer: str
    tensor: str
    bytes: Dim
    until: str
    phase: str
    passes: int
    seconds: float | None = None


@dataclass(frozen=True)
class Lives:
    """The lives of all activations of a network, in the order in which they are made."""

    name: str
    training: bool
    tensors: tuple[Life, ...]

    def table(self) -> Table:
        """A row for each tensor."""
        columns = [
            Column("layer", "made by"),
            Column("tensor"),
            Column("bytes", "size", show=size),
            Column("until", "needed until"),
            Column("phase"),
            Column("passes", "layer passes"),
            Column("seconds", "for", "s"),
        ]
        rows = [[getattr(life, c.key) for c in columns] for life in self.tensors]
        if all(life.seconds is None for life in self.tensors):
            columns, rows = columns[:-1], [row[:-1] for row in rows]
        what = "a training step" if self.training else "inference"
        return Table(columns, rows, f"How long activations of {self.name} stay in {what}", self.sentence())

    def _repr_html_(self) -> str:
        return self.table().html()

    def sentence(self) -> str:
        """Which one waits longest.

        >>> from dnnlab import zoo
        >>> print(lives(zoo.alexnet(batch=1), training=True).sentence())
        Of AlexNet's activations the input waits longest: needed last by the backward pass of features.0, 44 layer \
passes later.
        """
        if not self.tensors:
            return f"{self.name} has no activation that must stay."
        longest = max(self.tensors, key=lambda life: life.passes)
        what = "the input" if longest.layer == INPUT else f"{longest.tensor} of {longest.layer}"
        again = f"the backward pass of {longest.until}" if longest.phase == "backward" else longest.until
        time = "" if longest.seconds is None else f" and {show(longest.seconds, 's')}"
        return (
            f"Of {self.name}'s activations {what} waits longest: needed last by {again}, "
            f"{longest.passes} layer passes{time} later."
        )


def lives(
    work: Work,
    dtype: str = "fp32",
    training: bool = False,
    framework: str | None = "pytorch",
    device: Device | None = None,
) -> Lives:
    """When each activation is made and when it is last needed; on a `device` also for how many seconds, at best.

    In inference a tensor stays until the last layer that reads it. In training a tensor that is kept (see
    `Network.saved_bytes` for `framework`) stays until the backward pass of the first layer that kept it: what is made
    first stays longest. `passes` counts the layers that run after the one that made it, the last reader included.
    The network's input counts as made before the first layer.

    >>> from dnnlab import zoo
    >>> first = lives(zoo.lenet5(), training=True).tensors[0]
    >>> first.layer, first.until, first.phase, first.passes
    ('input', 'conv1', 'backward', 24)
    """
    net = as_network(work)
    names = [node.name for node in net.layers]
    last = len(names) - 1
    forward = [0.0] * len(names)
    back = [0.0] * len(names)
    if device is not None:
        time = on(net, device, dtype)
        assert isinstance(time, NetworkTime)
        forward = [float(layer.total) for layer in time.layers]
        tasks = tuple(backward(node.name, node.layer, node.name in net.deep) for node in net.layers)
        back = [float(layer.total) for layer in Phase("backward", tasks, 0).on(device, dtype).layers]

    def life(layer: str, tensor: str, amount: Dim, born: int, until: int, phase: str) -> Life:
        turned = phase == "backward"
        passes = last - born + (last - until + 1 if turned else until - last)
        seconds = sum(forward[born + 1 :]) + sum(back[until:]) if turned else sum(forward[born + 1 : until + 1])
        return Life(layer, tensor, amount, names[until], phase, passes, seconds if device is not None else None)

    if not training:
        return Lives(
            net.name,
            False,
            tuple(
                life(t.name, INPUT if t.born < 0 else "out", bytes_for(t.elements, dtype), t.born, t.dies, "forward")
                for t in lifetimes(net)
            ),
        )
    place = {name: number for number, name in enumerate(names)} | {INPUT: -1}
    found: dict[tuple[str, ...], Life] = {}
    for node, keep, elements, role in kept(net, framework):
        where = storage(net, node, keep, role)
        if role in ("parameter", "state") or keep.name in GIVEN or where in found:
            continue  # there anyway; or kept by an earlier layer, which needs it last
        maker, tensor = (where[1], "out") if where[0] == "" else (node.name, keep.name)
        amount = bytes_for(elements, dtype) if keep.element_bytes is None else elements * keep.element_bytes
        tensor = INPUT if maker == INPUT else tensor
        found[where] = life(maker, tensor, amount, place[maker], place[node.name], "backward")
    return Lives(net.name, True, tuple(sorted(found.values(), key=lambda item: place[item.layer])))
