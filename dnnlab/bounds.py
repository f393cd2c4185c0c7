"""Time on a device, and who waits for whom: memory-, compute- or I/O-bound, layer by layer.

Two engines work on a layer: arithmetic needs `operations / peak rate`, memory needs `traffic / bandwidth`.
With overlap the slower one sets the time and stalls the other; without it they take turns. Traffic is compulsory
(inputs, parameters and output cross the memory interface once each) where some tiling of the layer reaches that with
the memory on the chip, else what the best tiling moves; it is compulsory too while sizes are open or the memory on
the chip is not known. Times are best cases: peak rates, no overhead, element-wise work as fast as matrix products.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

from .errors import DnnlabError, ExtentError, quote
from .extremes import Max
from .hardware import Device
from .layers.base import Layer
from .loopnest import LoopNest
from .networks import Network, Node
from .notation import Dim, ceil_div, expression, is_bound, is_number
from .quantities import bytes_of, show
from .tables import Column, Table

#: Two engines within ten per cent of each other are called balanced.
BALANCED = 1.1
Work = Layer | Node | LoopNest


@dataclass(frozen=True)
class LayerTime:
    """What one layer asks of a device, and what that takes. Times in seconds; formulas while symbols are open.

    `io` is the time its parameters take to arrive from the disk or host they are kept in (0: they are in the
    external memory).
    """

    name: str
    kind: str
    device: Device = field(repr=False)
    dtype: str
    overlap: bool
    macs: Dim
    ops: Dim
    bytes: Dim
    parallelism: Dim
    compute: Dim
    memory: Dim
    io: Dim = 0

    @property
    def engines(self) -> dict[str, Dim]:
        """Seconds that each engine is busy."""
        return {"compute": self.compute, "memory": self.memory} | ({"I/O": self.io} if self.io != 0 else {})

    @cached_property
    def total(self) -> Dim:
        """Seconds in all: the slowest engine with overlap, the sum without."""
        times = list(self.engines.values())
        if not self.overlap:
            return sum(times)
        return max(times) if all(is_bound(t) for t in times) else Max(*map(expression, times))

    @cached_property
    def bound(self) -> str:
        """The engine that sets the time: "compute", "memory", "I/O", "balanced" (within 10 %), or "nothing"
        for a layer that neither computes nor moves anything. Raises `ExtentError` while symbols are open."""
        slow, first, second = self._ranking
        if first == 0:
            return "nothing"
        return "balanced" if first <= BALANCED * second else slow

    @property
    def margin(self) -> float:
        """How many times longer the slowest engine is busy than the next (at least 1)."""
        _, first, second = self._ranking
        return 1.0 if first == 0 else math.inf if second == 0 else first / second

    @property
    def stalled(self) -> str | None:
        """Who waits: in a memory-bound layer the arithmetic ("compute"), in a compute-bound one "memory"."""
        return {"memory": "compute", "compute": "memory", "I/O": "compute"}.get(self.bound)

    @property
    def intensity(self) -> float:
        """Operations per byte of traffic."""
        self._settled()
        return float(self.ops / self.bytes) if self.bytes else 0.0

    @property
    def rate(self) -> float:
        """Operations a second that the layer reaches at best."""
        self._settled()
        return float(self.ops / self.total) if self.total else 0.0

    @property
    def rounds(self) -> Dim | None:
        """How many rounds the device's lanes need for one independent iteration each; None if unknown."""
        return None if self.device.lanes is None else ceil_div(self.parallelism, int(self.device.lanes))

    @property
    def utilisation(self) -> float | None:
        """Share of the lanes that have work, the last round included: a layer with 100 independent outputs
        fills 100 of 128 lanes. None where the number of lanes is not known."""
        rounds = self.rounds
        if rounds is None or not is_number(rounds) or not rounds:
            return None
        return float(self.parallelism / (rounds * self.device.require("lanes")))

    @property
    def fits_on_chip(self) -> bool | None:
        """Do all tensors of the layer fit on the chip at once? (None: their size or the chip's is not known.)"""
        return bool(self.bytes <= self.device.on_chip) if self.device.on_chip and is_bound(self.bytes) else None

    def sentence(self) -> str:
        """The verdict in words.

        >>> from dnnlab import Linear, device
        >>> print(on(Linear(n=1, c=4096, k=4096), device("h100-sxm")).sentence())
        Linear is memory-bound: moving 33.6 MB takes 10 µs, the arithmetic only 33.9 ns, so it waits.
        """
        bound = self.bound  # raises where symbols are open
        compute, memory = show(self.compute, "s"), show(self.memory, "s")
        moved = show(self.bytes, "B")
        names = {"compute": "arithmetic", "memory": "memory", "I/O": "the way of its parameters"}
        level = [f"{names[name]} ({show(time, 's')})" for name, time in self._sorted()[:2]]
        return self.name + {
            "memory": f" is memory-bound: moving {moved} takes {memory}, the arithmetic only {compute}, so it waits.",
            "compute": f" is compute-bound: the arithmetic takes {compute}, moving {moved} only {memory}, "
            f"so memory waits.",
            "I/O": f" is I/O-bound: its parameters take {show(self.io, 's')} to arrive, longer than the {memory} for "
            f"memory and the {compute} of arithmetic.",
            "balanced": f" is balanced: {' and '.join(level)} take about as long.",
            "nothing": " computes nothing and moves nothing.",
        }[bound]

    def _sorted(self) -> list[tuple[str, Dim]]:
        """The engines, slowest first."""
        return sorted(self.engines.items(), key=lambda item: -item[1])

    def _settled(self) -> None:
        if not all(is_bound(time) for time in self.engines.values()):
            names = sorted({str(s) for t in self.engines.values() for s in getattr(t, "free_symbols", ())})
            raise ExtentError(f"{self.name}: who waits depends on {', '.join(names)}; bind them with .at(...) first")

    @cached_property
    def _ranking(self) -> tuple[str, float, float]:
        self._settled()
        (slow, first), (_, second), *_ = self._sorted()
        return slow, float(first), float(second)


@dataclass(frozen=True)
class NetworkTime:
    """A network on a device: one `LayerTime` a layer. A bound is told for each layer, never one for all."""

    name: str
    device: Device = field(repr=False)
    dtype: str
    overlap: bool
    layers: tuple[LayerTime, ...]

    @cached_property
    def compute(self) -> Dim:
        """Seconds of arithmetic, all layers."""
        return sum(layer.compute for layer in self.layers)

    @cached_property
    def memory(self) -> Dim:
        """Seconds of memory traffic, all layers."""
        return sum(layer.memory for layer in self.layers)

    @cached_property
    def total(self) -> Dim:
        """Seconds in all: the layers run one after the other."""
        return sum(layer.total for layer in self.layers)

    @property
    def bound(self) -> dict[str, str]:
        """What each layer is bound by."""
        return {layer.name: layer.bound for layer in self.layers}

    @property
    def stalled(self) -> dict[str, str | None]:
        """Who waits in each layer."""
        return {layer.name: layer.stalled for layer in self.layers}

    @cached_property
    def shares(self) -> dict[str, float]:
        """Share of the time spent in layers of each bound, largest first."""
        times: Counter[str] = Counter()
        for layer in self.layers:
            times[layer.bound] += layer.total
        return {bound: time / self.total for bound, time in times.most_common() if time}

    def sentence(self) -> str:
        """The verdict in words: how the time divides between kinds of layers."""
        counts = Counter(layer.bound for layer in self.layers)
        if not self.shares:
            return f"{self.name} computes nothing and moves nothing."
        parts = [
            f"{counts[bound]} {bound}{'' if bound == 'balanced' else '-bound'} "
            f"layer{'s' if counts[bound] > 1 else ''} take{'' if counts[bound] > 1 else 's'} {share:.0%}"
            for bound, share in self.shares.items()
        ]
        return f"{self.name} takes {show(self.total, 's')} at best: {', '.join(parts)} of it."

    def table(self) -> Table:
        """A row for each layer, and the totals."""
        columns = (
            Column("name", "layer"),
            Column("kind", "kind"),
            Column("macs", "MACs"),
            Column("ops", "operations"),
            Column("bytes", "traffic", "B"),
            Column("intensity", "operations/byte", show=lambda x: f"{x:.1f}"),
            Column("compute", "compute", "s"),
            Column("memory", "memory", "s"),
            Column("total", "time", "s"),
            Column("bound", "bound by"),
            Column("margin", "margin", show=lambda x: "∞" if x == math.inf else f"{x:.1f}×"),
            Column("utilisation", "lanes in use", show=lambda x: f"{x:.0%}"),
        )
        rows = [tuple(getattr(layer, column.key) for column in columns) for layer in self.layers]
        sums = tuple(sum(getattr(layer, key) for layer in self.layers) for key in ("macs", "ops", "bytes"))
        total = ("total", "", *sums, None, self.compute, self.memory, self.total, None, None, None)
        title = f"{self.name} on {self.device.name}, {self.dtype}"
        return Table(columns, (*rows, total), title=title, note=self.sentence())

    def _repr_html_(self) -> str:
        return self.table().html()


def on(
    work: Work | Network,
    device: Device,
    dtype: str = "fp16",
    overlap: bool = True,
    parameters_from: str | None = None,
    tiled: bool = True,
) -> LayerTime | NetworkTime:
    """What a layer, a loop nest or a network takes on a device.

    `dtype` sets both the peak rate and the bytes of an element. `parameters_from` ("link" or "disk") says that
    parameters come from the host's memory or the disk, which adds an I/O engine. `tiled=False` counts every tensor
    once, whatever fits on the chip: a best case that needs no search. Raises `UnknownNameError` for
    a dtype the device has no rate for, `ExtentError` where a figure it needs is not known.

    >>> from dnnlab import Conv2d, device
    >>> time = on(Conv2d(n=8, k=64, c=64, h=56, w=56, r=3, s=3), device("h100-sxm"))
    >>> time.bound, time.stalled, round(time.margin, 2)
    ('balanced', None, 1.04)
    """
    if not isinstance(device, Device):
        raise DnnlabError(f"expected a device, got {quote(device)}; use device('h100-sxm') or Device(...)")
    if isinstance(work, Network):
        layers = tuple(_layer(node, device, dtype, overlap, parameters_from, tiled) for node in work.layers)
        return NetworkTime(work.name, device, dtype, overlap, layers)
    if not isinstance(work, Layer | Node | LoopNest):
        raise DnnlabError(f"expected a layer, a loop nest or a network, got {quote(work)}")
    return _layer(work, device, dtype, overlap, parameters_from, tiled)


def _layer(
    work: Work, device: Device, dtype: str, overlap: bool, parameters_from: str | None, tiled: bool
) -> LayerTime:
    from .tiling import best_tiling, moved  # here, since `import dnnlab` shall be quick

    if isinstance(work, LoopNest):
        name = kind = work.text
        macs, ops, parallelism, parameters = work.macs, work.ops, work.parallelism, 0
        elements: Dim = sum(work.size(tensor) for tensor in work.references)
        if tiled and device.on_chip and all(is_bound(size) for _, size in (*work.extents, *work.settings)):
            best = best_tiling(work, device.on_chip, dtype)
            elements += best.total - best.compulsory
    else:
        name, kind, parameters = getattr(work, "name", work.kind), work.kind, work.parameters
        layer = work.layer if isinstance(work, Node) else work
        macs, ops, parallelism, elements = _asked(layer)
        if tiled and device.on_chip and is_bound(elements):
            elements = moved(layer, device.on_chip, dtype)
    io: Dim = 0
    if parameters_from is not None:
        io = parameters * bytes_of(dtype) / _way(device, parameters_from)
    return timed(name, kind, device, dtype, overlap, macs, ops, elements, parallelism, io)


def timed(
    name: str, kind: str, device: Device, dtype: str, overlap: bool,
    macs: Dim, ops: Dim, elements: Dim, parallelism: Dim, io: Dim = 0,
) -> LayerTime:  # fmt: skip
    """The time of any piece of work from its counts: operations at the peak rate of `dtype`, elements moved at the
    bandwidth of the external memory. Raises the errors of `on`."""
    width, rate, bandwidth = bytes_of(dtype), device.rate(dtype), device.require("bandwidth")
    try:
        compute, memory = ops / rate, elements * width / bandwidth
    except OverflowError:
        raise ExtentError(f"{quote(name)} takes longer than any number can say; use smaller extents") from None
    return LayerTime(name, kind, device, dtype, overlap, macs, ops, elements * width, parallelism, compute, memory, io)


@lru_cache(maxsize=8192)
def _asked(layer: Layer) -> tuple[Dim, Dim, Dim, Dim]:
    """MACs, operations, parallelism and elements moved: what a layer asks of any device."""
    return layer.macs, layer.ops, layer.parallelism, layer.traffic


def _way(device: Device, place: str) -> float:
    """Bandwidth of the way from where the parameters are kept."""
    if place == "link":
        return device.require("link")
    if place == "disk":
        if device.disk is None or device.disk.bandwidth is None:
            raise ExtentError(f"{device.name} has no disk; give it one: device.with_disk('2 TB', '7 GB/s')")
        return device.disk.bandwidth
    raise ExtentError(f"parameters_from = {quote(place)}: expected 'link' (the host's memory), 'disk' or None")
