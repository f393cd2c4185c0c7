"""What a network holds in memory, part by part: in inference, and at the fullest moment of a training step."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from ..errors import DnnlabError, ExtentError, quote, unknown
from ..frameworks import GIVEN, INDEX
from ..layers.optimizers import Adam, Optimizer
from ..lifetimes import peak_bytes
from ..networks import INPUT, Network
from ..notation import Dim, is_bound, plain, product, ratio
from ..quantities import bytes_of, show
from ..tables import Column, Table
from .cache import kv_cache
from .sizes import bytes_for, percent, size
from .step import Moment, Work, as_network, parameter_tensors, training_step


@dataclass(frozen=True)
class Part:
    """A part of a footprint: its name, its bytes, and what is in it."""

    name: str
    bytes: Dim
    note: str = ""


@dataclass(frozen=True, repr=False)
class Footprint:
    """The parts that are in memory at the fullest moment, and `states`: what a training run holds at all times,
    once every gradient is there (parameters, master copy, gradients, optimizer state). Bytes throughout."""

    name: str
    dtype: str
    parameters: Dim
    parts: tuple[Part, ...]
    states: Dim
    moment: Moment | None = None

    @property
    def total(self) -> Dim:
        """Bytes of all parts."""
        return sum(part.bytes for part in self.parts)

    @property
    def state_per_parameter(self) -> Dim:
        """Bytes of `states` for each parameter: 16 for Adam in mixed precision."""
        return ratio(self.states, self.parameters) if self.parameters != 0 else 0

    def __getitem__(self, name: str) -> Dim:
        """Bytes of a part; `UnknownNameError` lists the names."""
        for part in self.parts:
            if part.name == name:
                return part.bytes
        raise unknown("part", name, [part.name for part in self.parts])

    def __repr__(self) -> str:
        return f"Footprint(name={self.name!r}, dtype={self.dtype!r}, total={self.total})"

    def table(self) -> Table:
        """A row for each part, with its share."""
        total = self.total
        known = is_bound(total) and total != 0
        rows = [(p.name, p.bytes, p.bytes / total if known else None, p.note or None) for p in self.parts]
        columns = ("part", Column("bytes", "size", show=size), Column("share", show=percent), Column("note", "what"))
        what = "training" if self.moment else "inference"
        return Table(
            columns, (*rows, ("total", total, 1 if known else None, None)), f"{self.name}, {what} in {self.dtype}"
        )

    def _repr_html_(self) -> str:
        return self.table().html()

    def sentence(self) -> str:
        """The footprint in words.

        >>> from dnnlab import Adam, zoo
        >>> print(footprint(zoo.alexnet(batch=1), training=True, optimizer=Adam()).sentence())
        AlexNet needs 1.28 GB at the fullest moment of a training step (update, classifier.1): most of it optimizer \
state (489 MB, 38%). It holds 16 bytes of parameters, gradients and optimizer state for each parameter.
        """
        if not is_bound(self.total):
            return f"{self.name} needs {plain(self.total)} bytes."
        most = max(self.parts, key=lambda part: part.bytes)
        share = f" ({show(most.bytes, 'B')}, {most.bytes / self.total:.0%})" if self.total else ""
        if self.moment is None:
            return f"{self.name} needs {show(self.total, 'B')} in inference: most of it {most.name}{share}."
        return (
            f"{self.name} needs {show(self.total, 'B')} at the fullest moment of a training step ({self.moment.phase}, "
            f"{self.moment.layer}): most of it {most.name}{share}. It holds {plain(self.state_per_parameter)} bytes of "
            f"parameters, gradients and optimizer state for each parameter."
        )


def footprint(
    work: Work,
    dtype: str = "fp32",
    training: bool = False,
    optimizer: Optimizer | None = None,
    master: str | None = None,
    cache: Dim | None = None,
    framework: str | None = "pytorch",
) -> Footprint:
    """What a network or layer holds in memory, in bytes.

    Inference: parameters, buffers, input, activations at their peak and, with `cache` tokens for each sample, the
    keys and values of a decoder. `training`: the fullest moment of a step after the first (`training_step`), with
    the optimizer's state; without an `optimizer` there is no update. Mixed precision: `dtype="fp16", master="fp32"`
    keeps weights and gradients in fp16 and a copy of the weights and the optimizer's state in fp32.

    `framework` as in `Network.saved_bytes`; None is the minimum. Raises `UnknownNameError` for an unknown dtype or
    framework, `ExtentError` for settings that contradict each other, `DnnlabError` for what is no network or layer.

    >>> from dnnlab import Adam, zoo
    >>> footprint(zoo.resnet50(batch=1))
    Footprint(name='ResNet-50', dtype='fp32', total=113479752)
    >>> mixed = footprint(zoo.lenet5(), "fp16", training=True, optimizer=Adam(), master="fp32")
    >>> mixed.state_per_parameter
    16
    """
    return with_moments(work, dtype, training, optimizer, master, cache, framework)[0]


def with_moments(
    work: Work, dtype: str, training: bool = False, optimizer: Optimizer | None = None, master: str | None = None,
    cache: Dim | None = None, framework: str | None = "pytorch",
) -> tuple[Footprint, tuple[Moment, ...]]:  # fmt: skip
    """`footprint`, and every moment of the training step of which it shows the fullest (none in inference)."""
    net = as_network(work)
    width = bytes_of(dtype)
    if optimizer is not None and not isinstance(optimizer, Optimizer):
        raise DnnlabError(f"optimizer = {quote(optimizer)}: expected an optimizer such as Adam()")
    if not training and (optimizer is not None or master is not None):
        raise ExtentError("an optimizer or a master copy is of use in training only: add training=True")
    if training and cache is not None:
        raise ExtentError("keys and values are cached in inference, not in training: leave out cache or training")
    parts = [
        Part("parameters", bytes_for(net.parameters, dtype), f"{plain(net.parameters)} of them"),
        Part("buffers", _buffers(net, width, framework), "running statistics, tables of angles"),
        Part("input", _input(net, width, framework)),
    ]
    if not training:
        peak = peak_bytes(net, dtype, framework)
        if framework is None:
            peak = peak - product(net.input_shape) * width  # that minimum has the input in it
        parts.append(Part("activations", peak, "at their peak"))
        if cache is not None:
            parts.append(Part("KV cache", kv_cache(net, dtype, length=cache).total, f"of {plain(cache)} tokens each"))
        return Footprint(net.name, dtype, net.parameters, _present(parts), parts[0].bytes), ()
    wide = bytes_of(master or dtype)
    copy = net.parameters * wide if master else 0
    state = optimizer.at(p=1).state * net.parameters * wide if optimizer is not None else 0
    # PyTorch's Adam counts its steps in a number of 4 bytes beside each tensor of parameters.
    counts = 4 * len(parameter_tensors(net)) if isinstance(optimizer, Adam) and framework is not None else 0
    moments = training_step(net, dtype, optimizer, framework, master)
    fullest = max(moments, key=lambda moment: _comparable(moment.total))
    parts += [
        Part("master weights", copy, f"the copy in {master} that is updated"),
        Part("optimizer state", state, f"of {optimizer.kind}" if optimizer else ""),
        Part("step counts", counts, "of the optimizer, one a tensor"),
        Part("gradients", fullest.gradients, "of the parameters, those there at this moment"),
        Part("activations", fullest.activations, "kept for the backward pass, result and loss"),
        Part("temporary", fullest.temporary, "gradients of activations, or the optimizer's workspace"),
    ]
    states = 2 * net.parameters * width + copy + state
    return Footprint(net.name, dtype, net.parameters, _present(parts), states, fullest), moments


def _present(parts: list[Part]) -> tuple[Part, ...]:
    return tuple(part for part in parts if part.bytes != 0)


def _comparable(value: Dim) -> Dim:
    if not is_bound(value):
        names = ", ".join(sorted(map(str, value.free_symbols)))
        raise ExtentError(f"which moment of training is the fullest depends on {names}: bind them first")
    return value


def _buffers(net: Network, width: float, framework: str | None) -> Dim:
    """Running statistics, a counter of batches (int64) beside each batch norm in PyTorch, and tables that a whole
    network has once."""
    statistics = sum(node.layer.state for node in net.layers) * width
    counters = sum(INDEX for node in net.layers if node.kind == "BatchNorm2d" and framework is not None)
    return statistics + counters + _given(net, "state") * width


def _input(net: Network, width: float, framework: str | None) -> Dim:
    """Numbers of tokens are int64."""
    tokens = any(node.kind == "Embedding" and INPUT in node.inputs for node in net.layers)
    return product(net.input_shape) * (INDEX if tokens else width) + _given(net, "input") * INDEX


@lru_cache(maxsize=64)
def _given(net: Network, role: str) -> Dim:
    """Elements of the constants of that role which a network has once, however many layers read them."""
    found = {
        name: node.program.size(name)
        for node in net.layers
        for name in node.program.having("constant")
        if GIVEN.get(name) == role
    }
    return sum(found.values())
