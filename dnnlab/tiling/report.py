"""What a best tiling is: the choice, what it moves, and how far that is from what must move."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..notation import ratio
from ..quantities import bytes_of, show
from ..tables import Column, Table
from .counting import Traffic


@dataclass(frozen=True)
class LineTiling:
    """A line under its best tiling: the traffic of one round, its dataflow, how many rounds there are, and the
    least that any schedule of it moves (0 where no bound is known)."""

    traffic: Traffic
    dataflow: str
    rounds: int
    io_bound: int

    @property
    def total(self) -> int:
        """Elements moved in all rounds."""
        return self.traffic.total * self.rounds

    def __str__(self) -> str:
        extent = self.traffic.nest.extent
        tile = dict(self.traffic.tiling.tile)
        cut = [
            f"{name} {tile[name]} of {extent[name]}" for name in self.traffic.tiling.order if tile[name] < extent[name]
        ]
        return f"{self.dataflow}, tiles of {', '.join(cut)}" if cut else "in one piece"


@dataclass(frozen=True)
class LayerTiling:
    """The best tiling of a layer. Counts of elements; `capacity` is what the on-chip memory holds.

    `lines` are the tiled lines; `streamed` elements cross beside them (biases, and what element-wise lines take and
    give); `kept` tensors inside the layer never leave the chip. `compulsory`: each input, parameter and output
    once. `lower_bound`: what no schedule can go below.
    """

    name: str
    kind: str
    dtype: str
    capacity: int
    macs: int
    lines: tuple[LineTiling, ...]
    streamed: int
    kept: tuple[str, ...]
    compulsory: int
    lower_bound: int

    @property
    def total(self) -> int:
        """Elements moved, both ways."""
        return sum(line.total for line in self.lines) + self.streamed

    @property
    def bytes(self) -> int | float:
        """Bytes moved, both ways."""
        return self.total * bytes_of(self.dtype)

    @property
    def footprint(self) -> int:
        """Elements of on-chip memory that the tiles of the largest line take."""
        return max((line.traffic.footprint for line in self.lines), default=0)

    @property
    def per_mac(self) -> float | None:
        """Elements moved for each multiply-accumulate; None for a layer without."""
        return self.total / self.macs if self.macs else None

    @property
    def excess(self) -> float:
        """How many times the compulsory traffic is moved (1.0: every tensor crosses once)."""
        return self.total / self.compulsory if self.compulsory else 1.0

    def table(self) -> Table:
        """A row for each tensor of each tiled line, and the totals."""
        columns = (
            Column("line", "line"),
            Column("tensor", "tensor"),
            Column("tile", "tile, elements"),
            Column("reads", "elements read"),
            Column("writes", "elements written"),
            Column("times", "times each", show=_times),
            Column("bytes", "moved", "B"),
        )
        width = bytes_of(self.dtype)
        rows: list[tuple[object, ...]] = [
            (
                line.traffic.nest.text, one.name, one.tile, one.reads * line.rounds, one.writes * line.rounds,
                float(one.times), one.total * line.rounds * width,
            )
            for line in self.lines
            for one in line.traffic.tensors
        ]  # fmt: skip
        rows += [("all else, once", "", None, None, None, None, self.streamed * width)] if self.streamed else []
        total = ("total", "", self.footprint, None, None, self.excess, self.bytes)
        return Table(columns, (*rows, total), title=f"{self.name}, {_room(self)} on the chip", note=self.sentence())

    def sentence(self) -> str:
        """The verdict in words."""
        moved, must = show(self.bytes, "B"), show(self.compulsory * bytes_of(self.dtype), "B")
        if self.kept and not self.lines:
            return f"With {_room(self)} on the chip all tensors of {self.name} fit: {moved} cross once."
        if not self.lines:
            return f"{self.name} streams: {moved} cross once, whatever the chip holds."
        how = "; ".join(map(str, self.lines)) + (f"; {', '.join(self.kept)} stay on it" if self.kept else "")
        if self.total == self.compulsory:
            return f"With {_room(self)} on the chip {self.name} moves {moved}, each tensor once ({how})."
        over = f", {self.total / self.lower_bound:.2f}× what any schedule must" if self.lower_bound else ""
        per = f", {self.per_mac:.2g} elements a MAC" if self.per_mac else ""
        return (
            f"With {_room(self)} on the chip {self.name} moves {moved}{per}: {self.excess:.2f}× the compulsory "
            f"{must}{over} ({how})."
        )

    def _repr_html_(self) -> str:
        return self.table().html()


@dataclass(frozen=True)
class NetworkTiling:
    """The best tiling of each layer of a network; totals over them. Layers hand nothing over on the chip."""

    name: str
    dtype: str
    capacity: int
    layers: tuple[LayerTiling, ...]

    @property
    def total(self) -> int:
        """Elements moved, both ways."""
        return sum(layer.total for layer in self.layers)

    @property
    def bytes(self) -> int | float:
        """Bytes moved, both ways."""
        return self.total * bytes_of(self.dtype)

    @property
    def compulsory(self) -> int:
        """Elements of each layer's inputs, parameters and output, once."""
        return sum(layer.compulsory for layer in self.layers)

    @property
    def lower_bound(self) -> int:
        """Elements that no schedule, layer by layer, goes below."""
        return sum(layer.lower_bound for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return sum(layer.macs for layer in self.layers)

    @property
    def per_mac(self) -> float | None:
        """Elements moved for each multiply-accumulate; None without any."""
        return self.total / self.macs if self.macs else None

    def table(self) -> Table:
        """A row for each layer, and the totals."""
        columns = (
            Column("name", "layer"),
            Column("kind", "kind"),
            Column("bytes", "moved", "B"),
            Column("compulsory", "compulsory", "B"),
            Column("excess", "times compulsory", show=_times),
            Column("below", "times the lower bound", show=_times),
            Column("per_mac", "elements a MAC", show=lambda x: f"{x:.2g}"),
            Column("how", "how"),
        )
        width = bytes_of(self.dtype)

        def row(one: LayerTiling | NetworkTiling, kind: str, how: Iterable[object]) -> tuple[object, ...]:
            must, below = one.compulsory, one.lower_bound
            return (
                one.name if isinstance(one, LayerTiling) else "total", kind, one.bytes, must * width,
                one.total / must if must else None, one.total / below if below else None, one.per_mac,
                "; ".join(map(str, how)),
            )  # fmt: skip

        rows = [row(layer, layer.kind, layer.lines) for layer in self.layers]
        title = f"{self.name}, {_room(self)} on the chip"
        return Table(columns, (*rows, row(self, "", ())), title=title, note=self.sentence())

    def sentence(self) -> str:
        """The verdict in words."""
        again = sum(layer.total > layer.compulsory for layer in self.layers)
        return (
            f"With {_room(self)} on the chip {self.name} moves {show(self.bytes, 'B')}, "
            f"{self.total / self.compulsory:.2f}× what is compulsory: {again} of {len(self.layers)} layers fetch "
            f"something twice."
        )

    def _repr_html_(self) -> str:
        return self.table().html()


def _room(one: LayerTiling | NetworkTiling) -> str:
    return show(one.capacity * bytes_of(one.dtype), "B")


def _times(value: object) -> str:
    return f"{float(ratio(value, 1)):.3g}×"
