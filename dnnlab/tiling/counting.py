"""What a tiled loop nest moves: tiles of each tensor, how often they are fetched, and elements read and written.

The model of the on-chip memory. The nest runs tile by tile; while a tile of iterations runs, the tile of every
tensor it uses is held. A tensor's tile stays as long as the next step needs the same one, so loops that a tensor
does not depend on are free for it if they are inside all those it does depend on. Where tiles of neighbouring steps
overlap (the halo of a convolution), what is held already is kept along the innermost loop that moves the tensor;
when a loop further out moves on, the tile is fetched anew. A tile of the result that leaves unfinished is written,
and read back when its turn comes again. No second buffer is counted: `buffering` trades one for time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

from ..errors import DnnlabError, ExtentError, quote, unknown
from ..loopnest import LoopNest
from ..notation import Dim, ceil_div, dimension, is_bound, product, ratio
from ..tables import Column, Table
from .axes import Axis, Reach
from .closed import reach as closed_reach

#: How the literature calls the tensor that stays longest, beside its name in the line.
USUAL = {"output": "out", "input": "inp"}


@dataclass(frozen=True)
class Operand:
    """A tensor of a nest as tiling sees it: its subscripts, and the loops that move it."""

    name: str
    axes: tuple[Axis, ...]
    target: bool

    @cached_property
    def loops(self) -> frozenset[str]:
        """Loops that the tensor depends on."""
        return frozenset(name for axis in self.axes for name in axis.names)


@dataclass(frozen=True)
class Tiling:
    """A choice: the tile's size along each index of a nest, and the order of the loops over tiles, outermost first."""

    tile: tuple[tuple[str, Dim], ...]
    order: tuple[str, ...]

    def __str__(self) -> str:
        sizes = dict(self.tile)
        return ", ".join(f"{name}: {sizes[name]}" for name in self.order)


@dataclass(frozen=True)
class TensorTraffic:
    """One tensor: elements of its largest tile, how many tiles are fetched, elements it holds that are used at
    all, and how many are read into the chip and written out of it."""

    name: str
    tile: Dim
    fetches: Dim
    touched: Dim
    reads: Dim
    writes: Dim

    @property
    def total(self) -> Dim:
        """Elements moved, both ways."""
        return self.reads + self.writes

    @property
    def times(self) -> Dim:
        """How many times each used element crosses, on average."""
        return ratio(self.total, self.touched)


@dataclass(frozen=True)
class Traffic:
    """What a nest moves under a tiling: see `traffic`. Counts of elements; formulas while symbols are open."""

    nest: LoopNest
    tiling: Tiling
    keep_halo: bool
    tensors: tuple[TensorTraffic, ...]

    def __getitem__(self, tensor: str) -> TensorTraffic:
        """The tensor of that name."""
        for one in self.tensors:
            if one.name == tensor:
                return one
        raise unknown("tensor", tensor, [one.name for one in self.tensors])

    @property
    def footprint(self) -> Dim:
        """Elements of on-chip memory: a buffer for the largest tile of each tensor."""
        return sum(one.tile for one in self.tensors)

    @property
    def reads(self) -> Dim:
        """Elements read, partial sums that come back included."""
        return sum(one.reads for one in self.tensors)

    @property
    def writes(self) -> Dim:
        """Elements written."""
        return sum(one.writes for one in self.tensors)

    @property
    def total(self) -> Dim:
        """Elements moved, both ways."""
        return sum(one.total for one in self.tensors)

    @property
    def compulsory(self) -> Dim:
        """Elements that must move in any case: each that is used, once."""
        return sum(one.touched for one in self.tensors)

    def table(self) -> Table:
        """A row for each tensor, and the totals."""
        columns = (
            Column("name", "tensor"),
            Column("tile", "tile, elements"),
            Column("fetches", "tiles fetched"),
            Column("reads", "elements read"),
            Column("writes", "elements written"),
            Column("times", "times each", show=_times),
        )
        rows = [tuple(getattr(one, column.key) for column in columns) for one in self.tensors]
        times = ratio(self.total, self.compulsory)
        total = ("total", self.footprint, None, self.reads, self.writes, times)
        return Table(columns, (*rows, total), title=self.nest.text, note=f"Tiles in loop order: {self.tiling}")

    def _repr_html_(self) -> str:
        return self.table().html()


def traffic(
    nest: LoopNest,
    tile: Mapping[str, object] | None = None,
    order: Iterable[str] | str | None = None,
    keep_halo: bool = True,
) -> Traffic:
    """What a nest moves for tiles of the given sizes and an order of the loops over them.

    `tile` gives the size along an index (whole extent where it is left out); the last tile may be smaller.
    `order` is the indices, outermost first, or a dataflow such as "weight-stationary"; None is the order of the
    line. With `keep_halo=False` overlaps of neighbouring tiles are fetched again.

    With numbers every count is exact, ragged tiles and borders included. With symbols the counts are formulas, equal
    to the exact ones where each index that is tiled has at least two tiles, the windows of a tile leave no holes
    (stride at most the filter), and tiles are at least as wide as the border. Raises `ExtentError` for sizes and
    orders that do not fit the nest, and where there is no closed form.

    >>> matmul = LoopNest("out[n,k] += weight[k,c] * inp[n,c]")
    >>> moved = traffic(matmul, {"n": "a", "k": "b", "c": 1}, ["n", "k", "c"])
    >>> moved["weight"].reads, moved.footprint
    (c*k*ceiling(n/a), a*b + a + b)
    """
    _check_nest(nest)
    if not isinstance(tile, Mapping | None):
        raise ExtentError(f"tile = {quote(tile)}: expected the size along each index, such as {{'k': 16}}")
    given = dict(tile or {})
    for name in given:
        if name not in nest.extent:
            raise unknown(f"index of {nest.text!r}", name, nest.extent)
    sizes = {name: dimension(f"tile of {name}", given.get(name, extent)) for name, extent in nest.extents}
    for name, size in sizes.items():
        if isinstance(size, int) and isinstance(nest.extent[name], int) and size > nest.extent[name]:
            raise ExtentError(f"tile of {name} = {size}: the loop has only {nest.extent[name]} iterations")
    return count(nest, tuple(sizes.items()), _ordered(nest, order), keep_halo)


def count(
    nest: LoopNest,
    tile: tuple[tuple[str, Dim], ...],
    order: tuple[str, ...],
    keep_halo: bool,
    resident: frozenset[str] = frozenset(),
) -> Traffic:
    """`traffic` for sizes and an order that have been checked; `resident` tensors are on the chip already."""
    sizes = dict(tile)
    tiles = {name: ceil_div(extent, sizes[name]) for name, extent in nest.extents}
    split = [name for name in order if tiles[name] != 1]
    found = []
    for operand in operands(nest, resident):
        reaches = [(axis, reach(axis, sizes)) for axis in operand.axes]
        touched = product(reach(axis, nest.extent).summed for axis in operand.axes)
        moving = [place for place, name in enumerate(split) if name in operand.loops]
        slides = split[moving[-1]] if moving else None
        outer = split[: moving[-1] + 1] if moving else []
        repeats = product(tiles[name] for name in outer if name not in operand.loops)
        moved = repeats * product(summed(axis, part, slides if keep_halo else None) for axis, part in reaches)
        fetches = product(tiles[name] for name in outer)
        size = product(part.tile for _, part in reaches)
        if operand.target:
            # what comes in unfinished is what went out before: every write but the last of each element
            back = moved - touched if nest.statement.accumulate else 0
            found.append(TensorTraffic(operand.name, size, fetches, touched, back, moved))
        else:
            found.append(TensorTraffic(operand.name, size, fetches, touched, moved, 0))
    return Traffic(nest, Tiling(tile, order), keep_halo, tuple(found))


def reach(axis: Axis, sizes: Mapping[str, Dim]) -> Reach:
    """What tiles of these sizes reach of an axis: counted where all is bound, else as formulas."""
    tiles = tuple(sizes[name] for name in axis.names)
    if axis.bound and all(isinstance(tile, int) for tile in tiles):
        return axis.reach(tiles)
    return closed_reach(axis, tiles)


def summed(axis: Axis, part: Reach, slides: str | None) -> Dim:
    """Elements of an axis over all its tiles, where tiles that slide along a loop keep what they share."""
    return part.sliding[axis.names.index(slides)] if slides in axis.names else part.summed


def stationary(nest: LoopNest, dataflow: str) -> tuple[str, ...]:
    """The loop order of a dataflow, outermost first: loops the tensor does not depend on are innermost, so that
    each of its tiles is fetched once ("weight-stationary"; "output-", "input-" or any tensor of the line).

    >>> stationary(LoopNest("out[n,k] += weight[k,c] * inp[n,c]"), "output-stationary")
    ('n', 'k', 'c')
    """
    tensor = stays(nest, dataflow)
    return tuple(sorted(nest.extent, key=lambda name: name not in tensor.loops))


def stays(nest: LoopNest, dataflow: str) -> Operand:
    """The tensor that a dataflow keeps."""
    names = {f"{operand.name}-stationary": operand for operand in operands(nest)}
    pairs = [(f"{word}-stationary", f"{name}-stationary") for word, name in USUAL.items()]
    known = names | {word: names[name] for word, name in pairs if name in names}
    if not isinstance(dataflow, str) or dataflow not in known:
        raise unknown("dataflow", dataflow, known)
    return known[dataflow]


def dataflow(nest: LoopNest, order: tuple[str, ...], tiles: Mapping[str, int]) -> str:
    """What the literature calls an order: the tensor stays that the innermost loop over tiles does not move."""
    split = [name for name in order if tiles[name] > 1]
    words = {name: word for word, name in USUAL.items()}
    stay = [words.get(one.name, one.name) for one in operands(nest) if split and split[-1] not in one.loops]
    return " and ".join(stay) + "-stationary" if stay else ""


@lru_cache(maxsize=4096)
def operands(nest: LoopNest, resident: frozenset[str] = frozenset()) -> tuple[Operand, ...]:
    """The tensors of a nest that move, the target first: all but the `resident` ones. Raises `ExtentError` for a
    line that tiling cannot follow: a lookup, a tensor in several places, one index on two axes of a tensor."""
    found = []
    for name, places in nest.references.items():
        if name in resident:
            continue
        forms = nest.subscripts(places[0])
        indices = [index for form in forms if form for index, _ in form.terms]
        if len(places) > 1 or None in forms or len(indices) != len(set(indices)):
            raise ExtentError(
                f"{name!r} in {quote(nest.text)} is looked up, stands in several places or has an index on two axes: "
                f"only lines without can be tiled"
            )
        sizes = nest.shape(name)
        axes = tuple(Axis.of(form, nest.extent, size) for form, size in zip(forms, sizes, strict=True) if form)
        found.append(Operand(name, axes, name == nest.statement.target.name))
    return tuple(found)


def _ordered(nest: LoopNest, order: Iterable[str] | str | None) -> tuple[str, ...]:
    if order is None:
        return tuple(nest.extent)
    if isinstance(order, str):
        return stationary(nest, order)
    names = tuple(map(str, order)) if isinstance(order, Iterable) else ()
    if sorted(names) != sorted(nest.extent):
        raise ExtentError(
            f"order = {quote(order)}: expected each index of {nest.text!r} once, outermost first: "
            f"{', '.join(nest.extent)}"
        )
    return names


def _times(value: Dim) -> str:
    return f"{float(value):.3g}×" if is_bound(value) else str(value)


def _check_nest(nest: object) -> None:
    if not isinstance(nest, LoopNest):
        raise DnnlabError(f"expected a loop nest, got {quote(nest)}; a layer has one in .program.nests")
