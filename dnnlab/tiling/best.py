"""The best tiling of a layer or a network on a given on-chip memory, and what it moves beyond what it must.

The model of a layer of several lines. Its multiply-accumulate lines (convolution, linear layer, matrix product)
are tiled one after the other, each with the whole on-chip memory. What an element-wise line makes of their result
happens on the way out; other lines (softmax, the statistics of a norm, pooling) run between them as one pass, which
streams what it needs once and what it gives once. Tensors that live inside the layer (the scores of an attention)
either stay on the chip for as long as they are needed, if they fit beside the tiles, or are written and read like
all others, whichever moves less. Loops that all those tensors share (samples, heads) run outermost, so that only one
round of such tensors has to fit. Tiles of one line are not handed to the next: what FlashAttention saves by that
is not in the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from math import inf, prod

from ..errors import DnnlabError, ExtentError, quote
from ..layers.base import Layer
from ..loopnest import LoopNest
from ..networks import Network, Node
from ..notation import Dim, ceil_div
from ..quantities import bytes_of, positive, show
from ..statements import ref_indices
from .bound import io_bound
from .counting import count
from .counting import dataflow as named
from .report import LayerTiling, LineTiling, NetworkTiling
from .search import least_capacity, search

Work = Layer | Node | LoopNest


def best_tiling(
    work: Work | Network,
    on_chip: float | str,
    dtype: str = "fp16",
    dataflow: str | None = None,
    keep_halo: bool = True,
) -> LayerTiling | NetworkTiling:
    """The tiling that moves least between memory and chip, of a layer or loop nest, or of each layer of a network.

    `on_chip` is the memory for tiles, in bytes or as text ("108 kB"); `dtype` the type of all elements, partial
    sums too. `dataflow` ("weight-stationary", "output-stationary", ...) keeps to orders in which that tensor
    stays; `keep_halo=False` fetches overlaps of neighbouring tiles again. Raises `ExtentError` while sizes
    are open and where not even the smallest tiles fit, with the least memory that would do.

    >>> from dnnlab import Linear
    >>> best = best_tiling(Linear(n=512, k=512, c=512), "32 KiB")
    >>> best.lines[0].dataflow, best.total, best.lower_bound
    ('output-stationary', 2621440, 2064384)
    """
    capacity = _elements(on_chip, dtype)
    if isinstance(work, Network):
        layers = tuple(_tiled(node, capacity, dtype, dataflow, keep_halo) for node in work.layers)
        return NetworkTiling(work.name, dtype, capacity, layers)
    if not isinstance(work, Layer | Node | LoopNest):
        raise DnnlabError(f"expected a layer, a loop nest or a network, got {quote(work)}")
    return _tiled(work, capacity, dtype, dataflow, keep_halo)


def moved(layer: Layer, on_chip: float | str, dtype: str = "fp16") -> int:
    """Elements a layer moves with a given on-chip memory: its compulsory `layer.traffic` where some tiling
    reaches that, else what the best tiling moves. Equal layers are searched once.

    >>> from dnnlab import Conv2d
    >>> conv = Conv2d(n=1, k=64, c=64, h=56, w=56, r=3, s=3)
    >>> conv.traffic, moved(conv, "1 MB"), moved(conv, "16 kB")
    (438272, 438272, 1221632)
    """
    if not isinstance(layer, Layer):
        raise DnnlabError(f"expected a layer, got {quote(layer)}")
    capacity = _elements(on_chip, dtype)
    _check_bound(layer, layer.kind)
    must, inside = _sizes(layer)
    if must + inside <= capacity or _streaming(layer) <= capacity:
        return must
    found = _layer(layer, capacity, None, True)
    if found is None:
        raise _too_small(layer.kind, _lines(layer), capacity, dtype)
    return sum(line.total for line in found[0]) + found[1]


@lru_cache(maxsize=8192)
def _streaming(layer: Layer) -> float:
    """The least elements on the chip with which one loop, run step by step around all others at once, moves nothing
    twice; infinite where none does. Most layers pass by this, and a search is spared."""
    lines = _lines(layer)
    if len(lines) != 1:
        return inf
    (nest,), room = lines, inf
    for name in nest.extent:
        tile = tuple((nest.extent | {name: 1}).items())
        found = count(nest, tile, (name, *(other for other in nest.extent if other != name)), keep_halo=True)
        if found.total == found.compulsory:
            room = min(room, found.footprint)
    return room


def _elements(on_chip: float | str, dtype: str) -> int:
    """How many elements an on-chip memory holds."""
    return int(Fraction(positive(on_chip, "B", "on_chip")) / Fraction(bytes_of(dtype)))


def _tiled(work: Work, capacity: int, dtype: str, dataflow: str | None, keep_halo: bool) -> LayerTiling:
    if isinstance(work, LoopNest):
        name, kind, macs = work.text, "LoopNest", work.macs
        _check_bound(work, name)
        lines: tuple[LoopNest, ...] = (work,)
        found = _nest(work, capacity, dataflow, keep_halo)
        compulsory = found[0][0].traffic.compulsory if found else 0
    else:
        layer = work.layer if isinstance(work, Node) else work
        name, kind = getattr(work, "name", work.kind), work.kind
        _check_bound(layer, name)
        lines, macs, compulsory = _lines(layer), layer.macs, layer.traffic
        found = _layer(layer, capacity, dataflow, keep_halo)
    if found is None:
        raise _too_small(name, lines, capacity, dtype)
    tiled, streamed, kept = found
    below = compulsory
    if len(tiled) == 1:
        below = max(below, tiled[0].io_bound + compulsory - tiled[0].traffic.compulsory)
    return LayerTiling(name, kind, dtype, capacity, macs, tiled, streamed, kept, compulsory, below)


Found = tuple[tuple[LineTiling, ...], int, tuple[str, ...]]  # lines, streamed elements, tensors kept on the chip


def _nest(nest: LoopNest, capacity: int, dataflow: str | None, keep_halo: bool) -> Found | None:
    line = _line(nest, capacity, dataflow, keep_halo)
    return None if line is None else ((line,), 0, ())


@lru_cache(maxsize=8192)
def _layer(layer: Layer, capacity: int, dataflow: str | None, keep_halo: bool) -> Found | None:
    """The lines of a layer tiled, what streams beside them, and what stays on the chip."""
    lines = _lines(layer)
    if not lines:
        return (), layer.traffic, ()
    if len(lines) > 1 and sum(_sizes(layer)) <= capacity:  # all of it at once: nothing needs to move twice
        return (), layer.traffic, layer.program.locals
    if len(lines) == 1:
        line = _line(lines[0], capacity, dataflow, keep_halo)
        return None if line is None else ((line,), layer.traffic - line.traffic.compulsory, ())
    ways = [_moving(layer, capacity, dataflow, keep_halo), _keeping(layer, capacity, dataflow, keep_halo)]
    possible = [way for way in ways if way is not None]
    if not possible:
        return None
    tiled, streamed, kept = min(possible, key=lambda way: sum(line.total for line in way[0]) + way[1])
    total = sum(line.total for line in tiled) + streamed
    return tiled, streamed + max(0, layer.traffic - total), kept


def _line(
    nest: LoopNest,
    capacity: int,
    dataflow: str | None,
    keep_halo: bool,
    resident: frozenset[str] = frozenset(),
    rounds: int = 1,
) -> LineTiling | None:
    found = search(nest, capacity, dataflow, keep_halo, resident)
    if found is None:
        return None
    tiles = {name: ceil_div(nest.extent[name], size) for name, size in found.tiling.tile}
    flow = named(nest, found.tiling.order, tiles)
    return LineTiling(found, flow, rounds, 0 if resident else io_bound(nest, capacity))


def _moving(layer: Layer, capacity: int, dataflow: str | None, keep_halo: bool) -> Found | None:
    """Tensors inside the layer are written and read like all others."""
    tiled = [_line(nest, capacity, dataflow, keep_halo) for nest in _lines(layer)]
    if None in tiled:
        return None
    return tuple(line for line in tiled if line is not None), _streams(layer, frozenset()), ()


def _keeping(layer: Layer, capacity: int, dataflow: str | None, keep_halo: bool) -> Found | None:
    """Tensors inside the layer stay on the chip, one round of the loops that all share at a time."""
    program = layer.program
    shared = _shared(layer)
    rounds = prod(_lines(layer)[0].extent[name] for name in shared)
    inside = frozenset(program.locals)
    tiled = []
    for place, nest in enumerate(program.nests):
        held = ceil_div(sum(program.size(name) for name in _alive(layer, place)), rounds)
        if held > capacity:
            return None
        if nest.macs:
            bound = {**nest.extent, **dict(nest.settings), **dict.fromkeys(shared, 1)}
            once = nest.like(nest.statement, dict(nest.given_shapes), bound)
            line = _line(once, capacity - held, dataflow, keep_halo, inside.intersection(nest.references), rounds)
            if line is None:
                return None
            tiled.append(line)
    return tuple(tiled), _streams(layer, inside), program.locals


def _lines(layer: Layer) -> tuple[LoopNest, ...]:
    """The multiply-accumulate lines of a layer."""
    return tuple(nest for nest in layer.program.nests if nest.macs)


def _alive(layer: Layer, place: int) -> Iterator[str]:
    """Tensors inside the layer that a line writes, or that were written before and are still read."""
    nests = layer.program.nests
    for name in layer.program.locals:
        uses = [number for number, nest in enumerate(nests) if name in nest.references]
        if uses[0] <= place <= uses[-1]:
            yield name


def _shared(layer: Layer) -> tuple[str, ...]:
    """Loops that every tensor of every tiled line and every tensor inside the layer depends on."""
    program = layer.program
    refs = [ref for nest in program.nests if nest.macs for places in nest.references.values() for ref in places]
    refs += [nest.statement.target for nest in program.nests if nest.statement.target.name in program.locals]
    names = dict.fromkeys(ref_indices(refs[0]))
    return tuple(name for name in names if all(name in ref_indices(ref) for ref in refs))


def _streams(layer: Layer, kept: frozenset[str]) -> int:
    """Elements that the lines between the tiled ones take and give, those of `kept` tensors left out. Masks and
    other constants count as made on the chip, as they do in `layer.traffic`."""
    program, total, first = layer.program, 0, 0
    nests, kept = program.nests, kept.union(program.having("constant"))
    while first < len(nests):
        if nests[first].macs:
            result = nests[first].statement.target.name
            first += 1
            while first < len(nests) and _on_the_way_out(nests[first], result):
                others = set(nests[first].references) - {result, nests[first].statement.target.name}
                total += sum(program.size(name) for name in others - kept)
                result = nests[first].statement.target.name
                first += 1
            continue
        end = first
        while end < len(nests) and not nests[end].macs:
            end += 1
        block, rest = nests[first:end], nests[end:]
        made = {nest.statement.target.name for nest in block}
        read = {name for nest in block for name in nest.references} - made
        used = {name for nest in rest for name in nest.references} | set(program.having("output", "state"))
        total += sum(program.size(name) for name in (read | made & used) - kept)
        first = end
    return total


def _on_the_way_out(nest: LoopNest, result: str) -> bool:
    """Does an element-wise line change the result of the line before it, element by element?"""
    return not nest.macs and not nest.reducing and result in nest.references


@lru_cache(maxsize=8192)
def _sizes(layer: Layer) -> tuple[int, int]:
    """Elements that cross at least once, and elements of the tensors inside the layer."""
    return layer.traffic, sum(layer.program.size(name) for name in layer.program.locals)


def _check_bound(work: Layer | LoopNest, name: str) -> None:
    """`ExtentError` while a size is open."""
    if names := _open(work):
        raise ExtentError(f"{name}: the best tiling depends on {', '.join(names)}; bind them first, as in .at(...)")


@lru_cache(maxsize=8192)
def _open(work: Layer | LoopNest) -> tuple[str, ...]:
    """Names of the sizes that are not known."""
    nests = (work,) if isinstance(work, LoopNest) else work.program.nests
    values: list[Dim] = [value for nest in nests for _, value in (*nest.extents, *nest.settings)]
    values += [] if isinstance(work, LoopNest) else [work.traffic]
    return tuple(sorted({str(free) for value in values for free in getattr(value, "free_symbols", ())}))


def _too_small(name: str, lines: tuple[LoopNest, ...], capacity: int, dtype: str) -> ExtentError:
    least = max(map(least_capacity, lines))
    return ExtentError(
        f"{quote(name)} needs at least {least} elements of {dtype} on the chip for tiles of one element each, "
        f"{show(least * bytes_of(dtype), 'B')}; there is room for {capacity}"
    )
