"""One subscript, tiled: how many elements its tiles reach, counted exactly.

An axis such as `y*stride + i - pad` is walked tile by tile. Three counts follow: the most that one tile reaches,
the sum over all tiles, and the sum where a tile that slides along one index keeps what the tile before it held.
What a tile reaches is a set of places, holes and border included, kept as the bits of a whole number.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product as every
from typing import NamedTuple

from ..affine import Affine
from ..errors import ExtentError
from ..notation import Dim, ceil_div

#: Longest axis with several indices: its places are the bits of a number.
MAX_PLACES = 1_000_000
Piece = tuple[int, int]  # first place, and a bit for each place from there on


class Reach(NamedTuple):
    """Elements of one axis: in the largest tile, summed over all tiles, and summed where the overlap of two
    neighbours along an index is kept (one number for each index of the axis)."""

    tile: Dim
    summed: Dim
    sliding: tuple[Dim, ...]


@dataclass(frozen=True)
class Axis:
    """A subscript of a tensor: the affine form, the extent of each of its indices, and the size of the axis."""

    names: tuple[str, ...]
    steps: tuple[Dim, ...]
    extents: tuple[Dim, ...]
    constant: Dim
    size: Dim

    @classmethod
    def of(cls, form: Affine, extent: dict[str, Dim], size: Dim) -> Axis:
        """The axis of an affine subscript."""
        names = tuple(name for name, _ in form.terms)
        return cls(names, tuple(a for _, a in form.terms), tuple(extent[n] for n in names), form.constant, size)

    @property
    def bound(self) -> bool:
        """Is every number of it known?"""
        return all(isinstance(value, int) for value in (*self.steps, *self.extents, self.constant, self.size))

    def reach(self, tiles: tuple[int, ...]) -> Reach:
        """The exact counts for tiles of these sizes; axes alike in all but names are counted once."""
        return _reach(self.steps, self.extents, self.constant, self.size, tiles)


@lru_cache(maxsize=65536)
def _reach(steps: tuple[int, ...], extents: tuple[int, ...], constant: int, size: int, tiles: tuple[int, ...]) -> Reach:
    if not steps:
        return Reach(1, 1, ())
    if len(steps) == 1:
        return _single(steps[0], extents[0], constant, size, tiles[0])
    if size > MAX_PLACES:
        raise ExtentError(f"an axis of {size} places and several indices is too long to tile; at most {MAX_PLACES:,}")
    return _several(steps, extents, constant, size, tiles)


def _single(step: int, extent: int, constant: int, size: int, tile: int) -> Reach:
    """One index: tiles are disjoint, and the border only cuts the first and the last values off."""
    if step > 0:
        first, last = ceil_div(-constant, step), (size - 1 - constant) // step
    else:
        first, last = ceil_div(constant - size + 1, -step), constant // -step
    first, last = max(0, first), min(extent - 1, last)
    most = 0
    for place in {first // tile, first // tile + 1, last // tile}:
        most = max(most, min((place + 1) * tile, last + 1) - max(place * tile, first))
    touched = max(0, last - first + 1)
    return Reach(most, touched, (touched,))


def _several(
    steps: tuple[int, ...], extents: tuple[int, ...], constant: int, size: int, tiles: tuple[int, ...]
) -> Reach:
    """Several indices: tiles overlap. They are walked in rows along one index; clear of the border all tiles of a row
    count alike, so that only those near its ends are looked at one by one."""
    counts = tuple(ceil_div(extent, tile) for extent, tile in zip(extents, tiles, strict=True))
    along = max(range(len(steps)), key=lambda axis: (steps[axis] > 0, counts[axis]))
    grid = _Grid(steps, extents, constant, size, tiles, counts, along, {})
    most, total, shared = 0, 0, [0] * len(steps)
    for row in every(*(range(1) if axis == along else range(count) for axis, count in enumerate(counts))):
        first, end = grid.alike(row)
        for j, times in _places(counts[along], first, end):
            held = grid.piece(row, j)[1].bit_count()
            most, total = max(most, held), total + times * held
        for j, times in _places(counts[along] - 1, first, end - 1):
            shared[along] += times * _shared(grid.piece(row, j), grid.piece(row, j + 1))
        for axis in range(len(steps)):
            if axis != along and row[axis] + 1 < counts[axis]:
                beside = (*row[:axis], row[axis] + 1, *row[axis + 1 :])
                other, stop = grid.alike(beside)
                for j, times in _places(counts[along], max(first, other), min(end, stop)):
                    shared[axis] += times * _shared(grid.piece(row, j), grid.piece(beside, j))
    return Reach(most, total, tuple(total - overlap for overlap in shared))


class _Grid(NamedTuple):
    """The tiles of an axis; a tile is its row and its number `j` in the row."""

    steps: tuple[int, ...]
    extents: tuple[int, ...]
    constant: int
    size: int
    tiles: tuple[int, ...]
    counts: tuple[int, ...]
    along: int
    seen: dict[tuple[tuple[int, ...], int], Piece]  # each tile is asked for several times

    def _open(self, row: tuple[int, ...], j: int) -> Piece:
        """The places of a tile, those beyond the border included."""
        low, lengths = self.constant, []
        for axis, (step, extent, tile) in enumerate(zip(self.steps, self.extents, self.tiles, strict=True)):
            start = (j if axis == self.along else row[axis]) * tile
            lengths.append(min(tile, extent - start))
            low += step * (start if step > 0 else start + lengths[-1] - 1)
        return low, _pattern(self.steps, tuple(lengths))

    def piece(self, row: tuple[int, ...], j: int) -> Piece:
        """The places of a tile inside the border."""
        if (row, j) not in self.seen:
            low, bits = self._open(row, j)
            if low < 0:
                low, bits = 0, bits >> -low
            self.seen[row, j] = low, bits & ((1 << max(0, self.size - low)) - 1)
        return self.seen[row, j]

    def alike(self, row: tuple[int, ...]) -> tuple[int, int]:
        """First and end of the tiles of a row that are whole and clear of the border."""
        stride = self.steps[self.along] * self.tiles[self.along]
        if stride <= 0:
            return 0, 0
        low, bits = self._open(row, 0)
        last = (self.size - bits.bit_length() - low) // stride
        return max(0, ceil_div(-low, stride)), min(self.counts[self.along] - 1, last + 1)


def _places(count: int, first: int, end: int) -> list[tuple[int, int]]:
    """Each of `count` tiles and how many it stands for: those with first <= j < end are alike, and one of them does."""
    end = min(end, count)
    if end <= first:
        return [(j, 1) for j in range(count)]
    return [*((j, 1) for j in range(first)), (first, end - first), *((j, 1) for j in range(end, count))]


def _shared(one: Piece, other: Piece) -> int:
    """How many places two tiles share."""
    (a, bits), (b, more) = sorted((one, other))
    return ((bits >> (b - a)) & more).bit_count()


@lru_cache(maxsize=16384)
def _pattern(steps: tuple[int, ...], lengths: tuple[int, ...]) -> int:
    """The places of a tile, counted from its lowest: all sums of one step from each index."""
    bits = 1
    for step, length in zip(steps, lengths, strict=True):
        done = 1
        while done < length:  # doubling: a row of m steps from two rows of m/2
            more = min(done, length - done)
            bits |= bits << abs(step) * more
            done += more
    return bits
