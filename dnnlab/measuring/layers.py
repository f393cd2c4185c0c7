"""Layers timed for real: every layer of a network in the steady state, with its spread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import date
from importlib import import_module
from importlib.util import find_spec
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ..errors import DnnlabError, quote, unknown
from ..hardware import Device
from ..layers.base import Layer
from ..layers.moving import Given, Unknown
from ..networks import Network, Node
from ..quantities import bytes_of, positive, show
from ..tables import Column, Table
from .calibrating.caches import system
from .calls import Call, bound
from .progress import Progress, shown
from .timing import TICK, Spread, kept_memory, settled, steady
from .work import LIBRARIES, Work

if TYPE_CHECKING:
    from .comparing import Comparison

#: The module in which a library's layers are made ready, and what its functions want to know besides.
MODULES: dict[str, tuple[str, tuple[str, ...]]] = {
    "numpy": ("in_numpy.calls", ()),
    "torch": ("in_torch.calls", ("cpu",)),
    "cuda": ("in_torch.calls", ("cuda",)),
}
#: What `measure` takes: a layer, a network, or several of them by name.
Measurable = Layer | Node | Network | Sequence[Layer | Node | tuple[str, Layer]]


@dataclass(frozen=True)
class MeasuredLayer:
    """A layer, the seconds of one execution, and what the library did in them."""

    name: str
    layer: Layer
    times: Spread
    work: Work

    @property
    def kind(self) -> str:
        """The layer's kind, such as `Conv2d`."""
        return self.layer.kind


@dataclass(frozen=True, repr=False)
class Measured:
    """Layers as a library ran them on this machine; `left_out` names those it did not, and why. `kept`: whether freed
    memory was kept for the next result, as `measure` tells."""

    library: str
    dtype: str
    date: str
    layers: tuple[MeasuredLayer, ...]
    left_out: tuple[tuple[str, str], ...] = field(default=())
    kept: bool = True

    @property
    def total(self) -> float:
        """Seconds of all layers, the sum of their medians."""
        return sum(layer.times.median for layer in self.layers)

    def sentence(self) -> str:
        """The measurement in words."""
        left = f" Left out: {_listed(self.left_out)}." if self.left_out else ""
        if not self.layers:
            return f"No layer was measured.{left}"
        most = max(self.layers, key=lambda layer: layer.times.median)
        if len(self.layers) == 1:
            return f"{most.name} takes {most.times.text('s')} in {self.library}, {self.dtype}.{left}"
        share = most.times.median / self.total
        return (
            f"{len(self.layers)} layers take {show(self.total, 's')} in {self.library}, {self.dtype}; "
            f"{most.name} takes most, {show(most.times.median, 's')} ({share:.0%}).{left}"
        )

    def table(self) -> Table:
        """A row for each layer, those left out last, and the total. Rates count what the library did: operations of
        matrix products and convolutions, bytes of all its passes."""
        columns = (
            Column("name", "layer"),
            Column("kind", "kind"),
            Column("time", "time", "s"),
            Column("quartiles", "quartiles", align="right"),
            Column("share", "share", show=lambda share: f"{share:.0%}"),
            Column("rate", "arithmetic", "FLOP/s"),
            Column("bandwidth", "bytes moved", "B/s"),
        )
        rows: list[Sequence[object]] = []
        for layer in self.layers:
            time, work = layer.times.median, layer.work
            rows.append(
                (layer.name, layer.kind, time, _quartiles(layer.times), time / self.total,
                 work.matrix / time or None, work.moved / time or None)
            )  # fmt: skip
        rows += [(name, f"left out: {reason}", *[None] * 5) for name, reason in self.left_out]
        total = ("total", f"{len(self.layers)} layers", self.total, *[None] * 4)
        title = f"Measured in {self.library}, {self.dtype}, {self.date}"
        return Table(columns, (*rows, total), title, self.sentence())

    def against(self, device: Device | None = None) -> Comparison:
        """What a device should take for these layers, beside what was measured; without one, this machine, which is
        measured for it the first time. See `Comparison`."""
        from .calibrating.machine import this_machine
        from .comparing import compare

        return compare(self, this_machine() if device is None else device)

    def __repr__(self) -> str:
        return self.sentence()

    def _repr_html_(self) -> str:
        return self.table().html()


def measure(
    work: Measurable,
    using: str | None = None,
    dtype: str = "fp32",
    seconds: float | str = 0.2,
    progress: Progress | None = None,
    fresh: bool = False,
) -> Measured:
    """Run layers for real, each for about `seconds` in the steady state, and tell how long one execution takes.

    `work` is a layer, a network, or a sequence of layers (or of `(name, layer)`), with every dimension bound; equal
    layers are timed once. `using` is "numpy", "torch" or "cuda" (PyTorch on a GPU); None takes PyTorch where it is
    installed, else NumPy. Arrays hold random numbers, and memory and caches are warm. Layers without a recipe, views,
    and layers that need more than half of the memory that is free are left out by name. `progress` takes the part
    that is done and what is being done; without one, a bar is shown to whoever waits. With `fresh`, results go to
    fresh memory each time, which the system clears first; without, to memory kept from the time before, as far as the
    system lets us (Linux does). NumPy writes into arrays made beforehand, and a GPU has memory of its own, so there it
    makes no difference.

    Raises `ExtentError` while symbols are open, `UnknownNameError` for another library or dtype, `DnnlabError` where
    PyTorch or its GPU is missing.

    >>> from dnnlab import Flatten, Linear
    >>> found = measure([("first", Linear(n=8, k=16, c=16)), ("view", Flatten(n=8, rest=(16,)))], "numpy", seconds=0.01)
    >>> found.layers[0].work.matrix, found.layers[0].times.median > 0
    (4096, True)
    >>> found.left_out
    (('view', 'a view: it moves nothing and takes no time'),)
    """
    named = _named(work)
    for _, layer in named:
        bound(layer)
    bytes_of(dtype)
    each = float(positive(seconds, "s", "time to measure a layer"))
    library, calls, place = _library(using)
    free = _hook(calls, "free", place, lambda: system().free)()
    clock = _hook(calls, "clock", place, lambda: perf_counter)()
    left_out: list[tuple[str, str]] = []
    wanted: list[tuple[str, Layer]] = []
    for name, layer in named:
        if reason := _reason(layer, dtype, calls, place, free):
            left_out.append((name, reason))
        else:
            wanted.append((name, layer))
    times = dict.fromkeys(layer for _, layer in wanted)
    labels = {layer: name for name, layer in reversed(wanted)}
    found: dict[Layer, Spread] = {}
    tick = _hook(calls, "tick", place, lambda: TICK)()
    exact = _hook(calls, "exact", place, nullcontext)()
    lost: Callable[[Call], Callable[[], Any]] = getattr(calls, "lost", lambda call: call.run)
    with shown(progress) as step, kept_memory() as kept, exact:
        settled()  # what ran before in NumPy shall not slow PyTorch down
        for count, layer in enumerate(times):
            step(count / len(times), f"{labels[layer]} ({count + 1} of {len(times)})")
            call = calls.call(layer, dtype, 0, *place)
            run = lost(call) if fresh else call.run
            found[layer] = steady(run, each, clock=clock, tick=tick)
    return Measured(
        library,
        dtype,
        date.today().isoformat(),
        tuple(MeasuredLayer(name, layer, found[layer], calls.work(layer, dtype, *place)) for name, layer in wanted),
        tuple(left_out),
        kept and not fresh,
    )


def _named(work: Measurable) -> list[tuple[str, Layer]]:
    """Layers by name. In a sequence they are called by their place and kind, as in `Network.sequential`."""
    if isinstance(work, Network):
        return [(node.name, node.layer) for node in work.layers]
    if isinstance(work, Layer | Node):
        return [_one(work, None)]
    if isinstance(work, str) or not isinstance(work, Iterable):
        raise DnnlabError(f"measure takes a layer, a network or a sequence of layers, got {quote(work)}")
    return [_one(item, place) for place, item in enumerate(work)]


def _one(item: object, place: int | None) -> tuple[str, Layer]:
    if isinstance(item, Node):
        return item.name, item.layer
    if isinstance(item, Layer):
        return (item.kind if place is None else f"{place}.{item.kind.lower()}"), item
    if isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str) and isinstance(item[1], Layer):
        return item
    raise DnnlabError(f"measure takes layers such as ReLU(m=1000), or (name, layer), got {quote(item)}")


def _library(using: str | None) -> tuple[str, Any, tuple[str, ...]]:
    """The name of the library, its module, and its place."""
    if using is None:
        using = "torch" if find_spec("torch") else "numpy"
    if using not in LIBRARIES:
        raise unknown("library", using, LIBRARIES)
    module, place = MODULES[using]
    if place and not find_spec("torch"):
        raise DnnlabError('measuring in PyTorch needs PyTorch: pip install "dnnlab[torch]"; or use "numpy"')
    return using, import_module(f"{__package__}.{module}"), place


def _hook(calls: Any, name: str, place: tuple[str, ...], usual: Callable[[], Any]) -> Callable[[], Any]:
    """What a library's module offers under a name; the usual, where it offers none."""
    own = getattr(calls, name, None)
    return usual if own is None else lambda: own(*place)


def _reason(layer: Layer, dtype: str, calls: Any, place: tuple[str, ...], free: int | None) -> str:
    """Why a layer is left out; empty where it is measured."""
    if isinstance(layer, Given):
        return "a tensor that is given: nothing runs"
    if isinstance(layer, Unknown):
        return "the catalogue does not know what it computes"
    if not layer.program.nests:
        return "a view: it moves nothing and takes no time"
    if reason := calls.supports(layer, dtype, *place):
        return str(reason)
    elements = int(layer.inputs + layer.parameters + layer.state + layer.activations)
    needs = max(calls.work(layer, dtype, *place).working, int(elements * bytes_of(dtype)))
    if free is not None and needs > free / 2:
        return f"it needs {show(needs, 'B')}, more than half of the {show(free, 'B')} of memory that are free"
    return ""


def _quartiles(times: Spread) -> str:
    return f"{show(times.lower, 's')} … {show(times.upper, 's')}"


def _listed(left_out: Sequence[tuple[str, str]]) -> str:
    """Reasons with the layers they hold for, the most frequent first."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in left_out:
        by_reason.setdefault(reason, []).append(name)
    order = Counter({reason: len(names) for reason, names in by_reason.items()}).most_common()
    return "; ".join(f"{', '.join(by_reason[reason])} ({reason})" for reason, _ in order)
