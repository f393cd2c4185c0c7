"""Where the weights lie: layer by layer in the nearest memory that has room, and what it takes to read them there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from ..errors import DnnlabError, ExtentError, quote
from ..hardware import Device, Memory
from ..layers.base import Layer
from ..notation import Dim, is_bound, smallest
from ..quantities import positive, read_quantity, show
from ..tables import Column, Table
from .footprint import footprint
from .sizes import bytes_for, percent
from .step import Work, as_network


@dataclass(frozen=True)
class Placed:
    """The weights of a layer: their bytes, the name of the memory they lie in, and how many bytes of them a pass reads
    (only some rows of an embedding; shared weights have no bytes of their own, but are read again)."""

    layer: str
    bytes: int | Fraction
    level: str
    read: int | Fraction


@dataclass(frozen=True)
class Placement:
    """The weights of a network over levels of memory, the nearest first."""

    name: str
    levels: tuple[Memory, ...]
    layers: tuple[Placed, ...]

    @property
    def bytes(self) -> dict[str, int | Fraction]:
        """Bytes of weights in each level."""
        return {v.name: sum(p.bytes for p in self.layers if p.level == v.name) for v in self.levels}

    @property
    def fractions(self) -> dict[str, float]:
        """Share of the weights in each level."""
        held = self.bytes
        total = sum(held.values())
        return {name: float(amount / total) if total else 0.0 for name, amount in held.items()}

    @property
    def times(self) -> dict[str, float]:
        """Seconds in which one pass reads the weights of each level where they are stored, at best."""
        return {
            v.name: float(sum(p.read for p in self.layers if p.level == v.name)) / bandwidth(v) for v in self.levels
        }

    @property
    def time(self) -> float:
        """Seconds in which one pass (for a decoder: one token of each sample) reads all weights, at best."""
        return sum(self.times.values())

    @property
    def slowdown(self) -> float:
        """How many times longer that takes than with all weights in the first level."""
        total = float(sum(p.read for p in self.layers))
        return self.time * bandwidth(self.levels[0]) / total if total else 1.0

    def table(self) -> Table:
        """A row for each level."""
        held, shares, times = self.bytes, self.fractions, self.times
        columns = (
            "level",
            Column("layers", "layers"),
            Column("bytes", "weights", "B"),
            Column("share", show=percent),
            Column("bandwidth", "bandwidth", "B/s"),
            Column("time", "read in", "s"),
        )
        rows = [
            (
                v.name,
                sum(p.level == v.name and p.bytes > 0 for p in self.layers),
                held[v.name],
                shares[v.name],
                v.bandwidth,
                times[v.name],
            )
            for v in self.levels
        ]
        return Table(columns, rows, f"Weights of {self.name}", self.sentence())

    def _repr_html_(self) -> str:
        return self.table().html()

    def sentence(self) -> str:
        """The placement in words.

        >>> from dnnlab import Memory, zoo
        >>> card = [Memory("vram", "12 GB", "360 GB/s"), Memory("ram", "64 GB", "60 GB/s")]
        >>> print(place(zoo.llama(1, 1), card, "fp16").sentence())
        The weights of Llama-style decoder lie 74.7% in vram, 25.3% in ram. Read where they are stored they take \
98.1 ms, 2.35 times as long as in vram alone.
        """
        shares = ", ".join(f"{percent(share)} in {name}" for name, share in self.fractions.items() if share)
        return (
            f"The weights of {self.name} lie {shares or 'nowhere: there are none'}. Read where they are stored they "
            f"take {show(self.time, 's')}, {self.slowdown:.3g} times as long as in {self.levels[0].name} alone."
        )


def place(
    work: Work,
    levels: Device | Sequence[Memory],
    dtype: str = "fp16",
    ram: Memory | None = None,
    reserve: float | str | None = None,
) -> Placement:
    """Put the weights of each layer, in order, into the nearest memory that still has room; once a layer goes further
    out, all later ones do.

    `levels` are memories from near to far, or a device: its external memory, then `ram` (what its host has; left out
    without), then its disk. `reserve`: bytes of the first level that are not for weights; by default what the
    footprint in inference needs beside the parameters. Raises `ExtentError` where the weights do not fit at all (the
    message says what is missing), a capacity or bandwidth is not known, or a farther level is faster.
    """
    net = as_network(work)
    if isinstance(levels, Device):
        if ram is not None and not isinstance(ram, Memory):
            raise DnnlabError(f"ram = {quote(ram)}: expected a memory such as Memory('ram', '64 GB', '60 GB/s')")
        near = Memory(levels.external, levels.require("capacity"), levels.require("bandwidth"))
        levels = [level for level in (near, ram, levels.disk) if level is not None]
    if isinstance(levels, str) or not isinstance(levels, Sequence) or not levels:
        raise DnnlabError(f"levels = {quote(levels)}: expected a device or memories: Memory('ram', '64 GB', ...)")
    for level in levels:
        if not isinstance(level, Memory):
            raise DnnlabError(f"{quote(level)} is no memory; write Memory('ram', '64 GB', '60 GB/s')")
    for near, far in pairwise(levels):
        if bandwidth(far) > bandwidth(near):
            raise ExtentError(f"{far.name} is farther than {near.name} and faster: give the fastest level first")
    if reserve is None:
        held = footprint(net, dtype)
        kept_free = held.total - bytes_for(net.parameters, dtype)
    else:
        kept_free = read_quantity(reserve, "B")
        if kept_free < 0:
            raise ExtentError(f"reserve must not be negative, not {quote(reserve)}")
    nodes = [node for node in net.layers if node.layer.parameters != 0]
    sizes = [bytes_for(node.parameters, dtype) for node in nodes]
    reads = [bytes_for(weights_read(node.layer), dtype) for node in nodes]
    if not all(map(is_bound, (kept_free, *sizes, *reads))):
        raise ExtentError(f"where the weights of {net.name} go depends on its symbols: bind them first")
    number, room = 0, max(0, _capacity(levels[0]) - kept_free)
    placed: dict[str, Placed] = {}
    for done, (node, amount, read) in enumerate(zip(nodes, sizes, reads, strict=True)):
        while amount > room:
            number += 1
            if number == len(levels):
                raise ExtentError(
                    f"the weights of {net.name} do not fit: {show(sum(sizes[done:]), 'B')} of {show(sum(sizes), 'B')} "
                    f"find no room in {', '.join(level.name for level in levels)}; add a level such as a disk"
                )
            room = _capacity(levels[number])
        room -= amount
        home = placed[node.shares].level if node.shares else levels[number].name
        placed[node.name] = Placed(node.name, amount, home, read)
    return Placement(net.name, tuple(levels), tuple(placed.values()))


def weights_read(layer: Layer) -> Dim:
    """How many of its parameters a layer reads in one pass: all, or the rows that an embedding looks up."""
    if layer.parameters == 0:
        return 0
    return smallest(layer.parameters, layer.traffic - layer.inputs - layer.activations)


def _capacity(level: Memory) -> float:
    return positive(_known(level, "capacity"), "B", f"capacity of {level.name}")


def bandwidth(level: Memory) -> float:
    """Bytes a second of a level; `ExtentError` where it is not known."""
    return positive(_known(level, "bandwidth"), "B/s", f"bandwidth of {level.name}")


def _known(level: Memory, figure: str) -> object:
    value = getattr(level, figure)
    if value is None:
        raise ExtentError(f"{level.name} has no known {figure}; give it one: Memory('ram', '64 GB', '60 GB/s')")
    return value
