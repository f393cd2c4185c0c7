"""Buffers against tile size: B buffers share the on-chip memory, so that each holds a smaller tile.

The matrix product of a linear layer, `out[n,k] += weight[k,c] * inp[n,c]`, is computed in blocks: a tile is a t × t
block of both operands, fetched together, `2·t²` elements of w bytes. B buffers in M bytes leave room for

    t = floor(sqrt(M / (2·B·w)))

The block of running sums stays in accumulators of its own and leaves once. Each element of an operand is fetched
anew for every block of the other side, so that `2·n·k·c/t + n·k` elements cross (Hong and Kung 1981: every order of
the operations needs a constant times `n·k·c/sqrt(M)`). The first term grows with the square root of B. Two buffers
thus cost 1.41 times the traffic of one and hide the shorter of the two engines: with L seconds of loading and C of
computing in all in the single-buffered tiling, they win as long as `max(1.41·L, C) < L + C`, which is `L < 2.41·C`.
Where memory is slower than that, the larger tile is worth more than the overlap. A third buffer gains nothing with
equal tiles, but for a shorter fill; it pays where load times vary.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import isqrt
from typing import Any

import sympy

from ..errors import DnnlabError, ExtentError, quote
from ..hardware import Device
from ..notation import Dim, ceil_div, symbol
from ..quantities import bytes_of, read_quantity, show
from ..tables import Column, Table
from .closed_forms import EqualTiles
from .engine import pipeline
from .times import Time, read_count, read_times

WORTH = 1.01
_LONGEST = 2_000_000  # tiles of unequal load times, each of which is scheduled


def blocked_traffic(n: Dim, k: Dim, c: Dim, t: Dim) -> Dim:
    """Elements that cross for `out[n,k] += weight[k,c] * inp[n,c]` in blocks of t × t, border blocks included.

    Inputs are fetched once for each block of k, weights once for each block of n, outputs written once.

    >>> blocked_traffic(256, 256, 256, 64), 2 * 256**3 // 64 + 256**2
    (589824, 589824)
    >>> n, k, c, t = map(symbol, "nkct")
    >>> blocked_traffic(n, k, c, t)
    c*k*ceiling(n/t) + c*n*ceiling(k/t) + k*n
    """
    return n * c * ceil_div(k, t) + k * c * ceil_div(n, t) + n * k


def buffered_traffic() -> sympy.Expr:
    """The traffic as a formula of the number of buffers B, the memory M and the element's w bytes, where t divides.

    >>> buffered_traffic()
    2*sqrt(2)*sqrt(B)*c*k*n*sqrt(w)/sqrt(M) + k*n
    """
    n, k, c = map(symbol, "nkc")
    buffers, memory, width = map(symbol, "BMw")
    side = sympy.sqrt(memory / (2 * buffers * width))
    return 2 * n * k * c / side + n * k


@dataclass(frozen=True)
class Buffered:
    """The product with one number of buffers: the side of a tile, how many tiles, traffic in bytes, seconds a tile to
    load and to compute, and seconds in all."""

    buffers: int
    tile: int
    tiles: int
    traffic: int | float
    load: Time
    compute: Time
    makespan: Time

    @property
    def bound(self) -> str:
        """The engine that works longer: "memory" or "compute"."""
        return "memory" if self.load > self.compute else "compute"


@dataclass(frozen=True, repr=False)
class Tradeoff:
    """A matrix product on a device with several numbers of buffers in the same on-chip memory."""

    n: int
    k: int
    c: int
    device: Device = field(repr=False)
    dtype: str
    rows: tuple[Buffered, ...]

    @property
    def best(self) -> Buffered:
        """The fewest buffers that take at most a hundredth longer than the fastest: less is not worth a buffer."""
        fastest = min(row.makespan for row in self.rows)
        return min((row for row in self.rows if row.makespan <= WORTH * fastest), key=lambda row: row.buffers)

    def sentence(self) -> str:
        """The verdict in words."""
        best = self.best
        text = (
            f"{_buffers(best.buffers)} {'is' if best.buffers == 1 else 'are'} best: tiles of {best.tile} × "
            f"{best.tile}, {show(best.traffic, 'B')} of traffic, {show(best.makespan, 's')}."
        )
        for row in self.rows:
            if row is not best:
                slower, more = float(row.makespan / best.makespan), row.traffic / best.traffic
                text += f" {_buffers(row.buffers)}: {slower:.3g} times as long with {more:.3g} times the traffic."
        return text

    def table(self) -> Table:
        """A row for each number of buffers."""
        columns = (
            Column("buffers"),
            Column("tile", "tile", show=lambda side: f"{side} × {side}", align="right"),
            Column("tiles"),
            Column("traffic", "traffic", "B"),
            Column("load", "load a tile", "s"),
            Column("compute", "compute a tile", "s"),
            Column("bound", "bound by"),
            Column("makespan", "time", "s"),
        )
        rows = [tuple(getattr(row, column.key) for column in columns) for row in self.rows]
        title = f"n = {self.n}, k = {self.k}, c = {self.c} in {self.dtype} on {self.device.name}"
        return Table(columns, rows, title=title, note=self.sentence())

    def __repr__(self) -> str:
        return f"Tradeoff({self.table().title}; best: {_buffers(self.best.buffers)})"

    def _repr_html_(self) -> str:
        return self.table().html()


def tradeoff(
    device: Device,
    n: int,
    k: int,
    c: int,
    dtype: str = "fp16",
    buffers: Iterable[int] = (1, 2, 3, 4),
    setup: float | str = 0,
    pattern: Sequence[Any] = (1,),
) -> Tradeoff:
    """What each number of buffers makes of `out[n,k] += weight[k,c] * inp[n,c]` in the device's on-chip memory.

    Every tile is the largest that fits, at most the product's own size; the way of the outputs is spread evenly over
    the tiles. `setup`: seconds that each load takes before its first byte. `pattern`: relative load times of
    successive tiles, repeated, whose mean is the load time; equal ones use the closed form. Raises `ExtentError`
    where the memory does not hold one element of each operand a buffer, `UnknownNameError` for a dtype.

    >>> from dnnlab import Device
    >>> chip = Device("chip", {"fp16": "10 TFLOP/s"}, bandwidth="200 GB/s", on_chip="128 KiB")
    >>> both = tradeoff(chip, n=4096, k=4096, c=4096, buffers=(1, 2, 3))
    >>> both.best.buffers, [row.tile for row in both.rows]
    (2, [181, 128, 104])
    """
    if not isinstance(device, Device):
        raise DnnlabError(f"expected a device, got {quote(device)}; use device('h100-sxm') or Device(...)")
    sizes = {name: read_count(name, size) for name, size in (("n", n), ("k", k), ("c", c))}
    width, memory = Fraction(bytes_of(dtype)), device.require("on_chip")
    rate, bandwidth = Fraction(device.rate(dtype)), Fraction(device.require("bandwidth"))
    wait = Fraction(read_times("setup", [setup])[0])
    weights = read_times("pattern", pattern)
    if not any(weights):
        raise ExtentError(f"pattern = {quote(pattern)}: one load at least must take time")
    if not isinstance(buffers, Iterable) or not (counts := [read_count("buffers", count) for count in buffers]):
        raise ExtentError(f"buffers = {quote(buffers)}: expected numbers of buffers to compare, such as (1, 2, 3)")
    rows = []
    for count in counts:
        side = min(isqrt(int(memory / (2 * count * width))), max(sizes.values()))
        if not side:
            least = show(2 * count * width, "B")
            raise ExtentError(f"{_buffers(count)} of one element of each operand in {dtype} take {least}, more than "
                              f"the {show(memory, 'B', binary=True)} on the chip of {device.name}")  # fmt: skip
        tiles = ceil_div(sizes["n"], side) * ceil_div(sizes["k"], side) * ceil_div(sizes["c"], side)
        traffic = blocked_traffic(t=side, **sizes) * width
        load = traffic / bandwidth / tiles + wait
        compute = 2 * sizes["n"] * sizes["k"] * sizes["c"] / rate / tiles
        makespan = _makespan(load, compute, tiles, count, weights)
        rows.append(Buffered(count, side, tiles, read_quantity(traffic, "B"), *map(float, (load, compute, makespan))))
    return Tradeoff(**sizes, device=device, dtype=dtype, rows=tuple(rows))


def _makespan(load: Fraction, compute: Fraction, tiles: int, buffers: int, weights: Sequence[Time]) -> Time:
    """Seconds in all, exactly where the tiles are equal."""
    if len(set(weights)) == 1:
        return EqualTiles((load, compute), (buffers,), tiles).makespan
    if tiles > _LONGEST:
        raise ExtentError(f"{tiles:,} tiles of unequal load times are too many to schedule one by one (at most "
                          f"{_LONGEST:,}); use a smaller product or more on-chip memory")  # fmt: skip
    mean = sum(weights) / len(weights)
    loads = [float(load * Fraction(weight) / Fraction(mean)) for weight in weights]
    return pipeline([loads[i % len(loads)] for i in range(tiles)], [float(compute)] * tiles, buffers=buffers).makespan


def _buffers(count: int) -> str:
    return f"{count} buffer{'' if count == 1 else 's'}"
