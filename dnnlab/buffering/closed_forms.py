"""Pipelines of equal tiles as formulas: makespan, speedup and its limit, and what one more buffer buys.

**Theorem.** `n` equal tiles pass engines of `T_1 .. T_k` seconds a tile, with `b_j` buffers between engines j and j+1:

    makespan = (T_1 + .. + T_k) + (n - 1)·period,   period = max(T_j, (T_j + T_{j+1})/b_j)

*Proof.* By the recurrence the makespan is the heaviest path from (1, 1) to (k, n) in a graph of nodes (j, i), engine j
on tile i, each weighing `T_j` (the max-plus algebra of Baccelli, Cohen, Olsder and Quadrat, Synchronization and
Linearity, 1992). A step leads to the next engine with the same tile, to the next tile in the same engine, or back to
the engine before, whose buffer is freed for the tile `b_j` later. A path that stays `s_j` times at engine j and goes
back `r_j` times from j+1 to j must go forth between them `r_j + 1` times. So it weighs

    sum of T_j + sum of s_j·T_j + sum of r_j·(T_j + T_{j+1}),   where   sum of s_j + sum of r_j·b_j = n - 1

because all steps together lead from tile 1 to tile n. For each tile, then, it gains at most the period. One path
gains it: n - 1 stays at the slowest engine, or n - 1 ways back and forth over the pair with `b_j = 1` that weighs
more; a pair with `b_j >= 2` never does, as `(T_j + T_{j+1})/2` is no more than the larger of the two. ∎

So with two buffers the period is the slowest engine, a third one gains nothing, and with one buffer the two
neighbours take turns: `n(L + C)`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import sympy

from ..errors import ExtentError, quote
from ..extremes import Max
from ..notation import Dim, dimension, expression, is_bound, lecture, ratio, settle, symbol
from ..quantities import show
from .times import behind, between, read_stages, read_times, too_long

#: Seconds that a tile takes in each engine. Not `symbol("L")`, which is whole: max(L, 1/2) would then be L.
LOAD, COMPUTE, STORE = (sympy.Symbol(name, positive=True) for name in "LCS")
TILES = symbol("n")


@dataclass(frozen=True, repr=False)
class EqualTiles:
    """`n` equal tiles through a chain of engines; `times`: seconds of a tile in each, `buffers`: between neighbours.

    Each may be a number or a SymPy expression, also the number of buffers. Made by `equal_tiles`.
    """

    times: tuple[Dim, ...]
    buffers: tuple[Dim, ...]
    n: Dim

    @property
    def period(self) -> Dim:
        """Seconds from one finished tile to the next, once the pipeline is full."""
        pairs = zip(self.times, self.times[1:], self.buffers, strict=False)
        # Two neighbours with two buffers or more are never slower than the slower of them: those terms say nothing.
        shared = [_ratio(a + b, count) for a, b, count in pairs if not is_bound(count) or count == 1]
        return _largest(*self.times, *shared)

    @property
    def fill(self) -> Dim:
        """Seconds until the first tile is through: every engine once."""
        return settle(sum(self.times))

    @property
    def makespan(self) -> Dim:
        """Seconds in all.

        >>> equal_tiles(buffers=2).makespan
        C + L + (n - 1)*Max(C, L)
        >>> equal_tiles(store=STORE, buffers=1, out_buffers=2).makespan
        C + L + S + (n - 1)*Max(S, C + L)
        """
        if self.period == self.fill:
            return self.serial  # nothing overlaps: n(L + C), which SymPy would leave in pieces
        return settle(self.fill + (self.n - 1) * self.period)

    @property
    def serial(self) -> Dim:
        """Seconds of one step after the other.

        >>> equal_tiles(buffers=1).makespan == equal_tiles(buffers=1).serial
        True
        """
        return settle(self.n * self.fill)

    @property
    def speedup(self) -> Dim:
        """How many times faster than `serial`."""
        return _ratio(self.serial, self.makespan)

    @property
    def limit(self) -> Dim:
        """The speedup of infinitely many tiles: at most the number of engines, where all are equally fast.

        >>> equal_tiles(2, 3).limit, equal_tiles().limit
        (Fraction(5, 3), (C + L)/Max(C, L))
        """
        return _ratio(self.fill, self.period)

    def gain(self, buffers: Any) -> Dim:
        """Seconds saved by other numbers of buffers (one, or one a pair); negative where that costs time.

        The second buffer of load and compute saves the shorter of the two for each tile but one, so it pays as soon as
        there are two tiles; the third saves nothing.

        >>> equal_tiles(buffers=1).gain(2)
        (n - 1)*(C + L - Max(C, L))
        >>> equal_tiles(2, 3, n=10, buffers=1).gain(2), equal_tiles(2, 3, n=10, buffers=2).gain(3)
        (18, 0)
        """
        other = EqualTiles(self.times, between(len(self.times), buffers, dimension), self.n)
        return settle((self.n - 1) * (self.period - other.period))

    def sentence(self) -> str:
        """The verdict in words.

        >>> print(equal_tiles(2, 3, n=10).sentence())
        The first tile takes 5 s, each of the others 3 s more: 32 s in all, 1.56 times as fast as one step after the \
other, and never more than 1.67 times with more tiles.
        >>> print(equal_tiles().sentence())
        The first tile takes C + L, each of the others max(C, L) more.
        """
        first, more = (show(t, "s") if is_bound(t) else lecture(t) for t in (self.fill, self.period))
        text = f"The first tile takes {first}, each of the others {more} more"
        if not is_bound(self.makespan):
            return f"{text}."
        return (
            f"{text}: {show(self.makespan, 's')} in all, {float(self.speedup):.3g} times as fast as one step after "
            f"the other, and never more than {float(self.limit):.3g} times with more tiles."
        )

    def __repr__(self) -> str:
        return f"EqualTiles(times={self.times}, buffers={self.buffers}, n={self.n})"

    def _repr_latex_(self) -> str:
        return f"${lecture(self.makespan, 'latex')}$"


def equal_tiles(
    load: Any = LOAD,
    compute: Any = COMPUTE,
    store: Any = None,
    n: Any = TILES,
    buffers: Any = 2,
    out_buffers: Any = None,
) -> EqualTiles:
    """The closed form of `pipeline` for `n` equal tiles of `load`, `compute` and perhaps `store` seconds.

    Times and numbers of buffers are numbers or SymPy expressions; `out_buffers` None means as many as `buffers`.
    Raises `ExtentError` or `ReadError` for what is neither, or negative.

    >>> equal_tiles(2, 3, n=4).makespan, equal_tiles(2, 3, 4, n=4, buffers=1, out_buffers=2).makespan
    (14, 24)
    >>> equal_tiles(buffers=symbol("B")).period
    Max(C, L, (C + L)/B)
    """
    given = {"load": load, "compute": compute} | ({} if store is None else {"store": store})
    times = tuple(_time(name, value) for name, value in given.items())
    return _checked(times, behind(store is not None, buffers, out_buffers, dimension), n)


def equal_levels(times: Any, n: Any = TILES, buffers: Any = 2) -> EqualTiles:
    """The closed form of `pipeline_levels` for `n` equal tiles: seconds of a tile by engine, buffers between each pair.

    `times`: by the engine's name, in the order a tile passes them; `buffers`: one number, or one for each pair.

    >>> equal_levels({"disk": 4, "link": 2, "compute": 3}, n=5).makespan
    25
    """
    columns = read_stages(times)
    counts = between(len(columns), buffers, dimension)
    return _checked(tuple(_time(name, value) for name, value in columns.items()), counts, n)


def _checked(times: tuple[Dim, ...], buffers: tuple[Dim, ...], n: Any) -> EqualTiles:
    made = EqualTiles(times, buffers, dimension("n", n))
    if made.serial == math.inf:
        raise too_long(f"{n} tiles")
    return made


def _time(name: str, value: Any) -> Dim:
    """A number of seconds, or an expression that SymPy does not know to be negative."""
    if isinstance(value, sympy.Expr) and value.free_symbols:
        if value.is_negative or value.is_real is False:
            raise ExtentError(f"{name} = {quote(value)}: a time cannot be negative")
        return value
    return read_times(name, [value])[0]


def _largest(*values: Dim) -> Dim:
    if all(is_bound(value) for value in values):
        return max(values)
    return Max(*map(expression, values))


def _ratio(a: Dim, b: Dim) -> Dim:
    if b == 0:
        return 1  # of speedups, where nothing takes any time
    return a / b if isinstance(a, float) or isinstance(b, float) else ratio(a, b)
