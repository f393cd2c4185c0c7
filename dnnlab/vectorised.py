"""The same lines at real sizes: each reference becomes a strided view of its array, with one axis for each loop
index, and NumPy does the loops.

An index of a window (`inp[y*stride+i]`) is looped over in Python where its windows overlap, so that no more than
one shifted copy of a tensor is ever made. Imported on demand: `import dnnlab` does not need NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache, reduce
from itertools import product as every
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ExtentError, ShapeError
from .interpreter import BORDER, interpret
from .loopnest import Affine, LoopNest
from .program import Program
from .statements import Node, Number, Ref, Scalar, fold

Array = NDArray[Any]
ACCUMULATE: dict[str, np.ufunc] = {"add": np.add, "max": np.maximum, "min": np.minimum}


def run(
    program: Program | LoopNest, tensors: Mapping[str, Any], scalars: Mapping[str, float] | None = None
) -> dict[str, Array]:
    """Run the lines on arrays and return every tensor, as `interpreter.interpret` would, only fast.

    Tensors that are not given start at zero. Arrays of floating-point numbers keep their type, all others
    become float64; what is given is not changed. `scalars` are the plain numbers of the lines (`eps`, `lr`).
    Raises `ExtentError` where an extent or a number is missing, `ShapeError` where an array does not fit.

    >>> run(LoopNest("out[k] += w[k,c] * x[c]", k=1, c=2), {"w": [[2, 3]], "x": [10, 1]})["out"]
    array([23.])
    """
    nests = program.nests if isinstance(program, Program) else (program,)
    store: dict[str, Array] = {}
    for nest in nests:
        for name in nest.references:
            if name in tensors and name not in store:
                store[name] = _given(name, tensors[name], nest.shape(name))
    dtype = np.result_type(*(array.dtype for array in store.values())) if store else np.dtype(np.float64)
    for target in {nest.statement.target.name for nest in nests} & set(store):
        store[target] = store[target].copy()
    for nest in nests:
        _check(nest, scalars or {})
        started = nest.statement.target.name in store
        for name in nest.references:
            if name not in store:
                store[name] = np.zeros(nest.shape(name), dtype)
        if not started and nest.statement.accumulate in BORDER:
            store[nest.statement.target.name][...] = BORDER[nest.statement.accumulate]
        _Line(nest, store, {**(scalars or {}), **dict(nest.settings)}).run()
    return store


def _given(name: str, given: Any, shape: tuple[Any, ...]) -> Array:
    array = np.asarray(given)
    if array.shape != shape:
        raise ShapeError(f"{name!r} should have shape {shape}, got an array of shape {array.shape}")
    return np.ascontiguousarray(array, array.dtype if np.issubdtype(array.dtype, np.floating) else np.float64)


def _check(nest: LoopNest, scalars: Mapping[str, float]) -> None:
    sizes = [*nest.extent.values(), *(value for _, value in nest.settings)]
    if not all(isinstance(size, int) for name in nest.references for size in (*sizes, *nest.shape(name))):
        raise ExtentError(f"{nest!r} has open extents; bind each to a number before running it")
    missing = [name for name in nest.statement.scalars if name not in scalars and name not in dict(nest.settings)]
    if missing:
        raise ExtentError(f"{nest.text!r} needs a number for {', '.join(missing)}")


class _Line:
    """One statement over the arrays of `store`. Arrays in here have one axis for each of `names`, the indices
    that are not looped over, in loop order; of length 1 where the index does not matter."""

    def __init__(self, nest: LoopNest, store: dict[str, Array], numbers: Mapping[str, float]) -> None:
        self.nest, self.store, self.numbers = nest, store, numbers
        self.statement = nest.statement
        self.target = nest.statement.target
        self.outside = BORDER.get(self.statement.accumulate or "", 0.0)
        self.looped = [name for name in nest.extent if name in self._overlapping()]
        self.names = [name for name in nest.extent if name not in self.looped]
        self.windows: dict[Ref, tuple[Array, list[int]]] = {}

    def run(self) -> None:
        forms = self.nest.subscripts(self.target)
        written = {name for form in forms if form for name, _ in form.terms}
        written |= {name for sub in self.target.subscripts if isinstance(sub, Ref) for name in self._used(sub)}
        own = [ref for ref in self.statement.refs if ref.name == self.target.name]
        again = self.statement.accumulate or None in forms or any(ref != self.target for ref in own)
        rewritten = not self.statement.accumulate and (self.looped or written != set(self.nest.extent))
        if (own and again) or rewritten:  # the order of the passes matters, so take them one by one
            result = interpret(self.nest, self.store, {k: float(v) for k, v in self.numbers.items()})
            self.store[self.target.name][...] = result.tensors[self.target.name]
            return
        self.kept = [place for place, name in enumerate(self.names) if name in written]
        self.reduced = tuple(place for place, name in enumerate(self.names) if name not in written)
        for values in every(*(range(self.nest.extent[name]) for name in self.looped)):
            point = dict(zip(self.looped, values, strict=True))
            self.put(self.value(point), point)
        if None not in forms:
            self._restore(self.target)

    # -- the right-hand side -----------------------------------------------------------------------------

    def value(self, point: dict[str, int]) -> Array:
        """The right-hand side reduced to the axes `kept`."""
        factors = _factors(self.statement.value, self.numbers) if self.statement.accumulate == "add" else None
        if factors and self.reduced and len(factors[1]) == 2:
            left, right = (self.read(ref, point) for ref in factors[1])
            return factors[0] * self._contract(left, right)
        full = tuple(self.nest.extent[name] for name in self.names)
        result = np.asarray(fold(self.statement.value, lambda leaf: self._leaf(leaf, point), _compute))
        result = np.broadcast_to(result, full)
        if not self.statement.accumulate:
            return result
        return ACCUMULATE[self.statement.accumulate].reduce(result, axis=self.reduced)

    def read(self, ref: Ref, point: dict[str, int]) -> Array:
        """The elements a reference stands for, while the looped indices stay at `point`."""
        if any(isinstance(sub, Ref) for sub in ref.subscripts):
            places, inside = self._places(ref, point)
            return np.where(inside, self.store[ref.name][places], self.outside)
        return self._view(ref, point)

    def _leaf(self, leaf: Node, point: dict[str, int]) -> Any:
        if isinstance(leaf, Ref):
            return self.read(leaf, point)
        assert isinstance(leaf, Number | Scalar)
        return float(leaf.value if isinstance(leaf, Number) else self.numbers[leaf.name])

    def _contract(self, left: Array, right: Array) -> Array:
        """The sum of products over the axes `reduced`, as one matrix product for each place both share."""
        full = [self.nest.extent[name] for name in self.names]
        has = [[size > 1 for size in array.shape] for array in (left, right)]
        alone = [tuple(p for p in self.reduced if mine[p] and not other[p]) for mine, other in (has, has[::-1])]
        left, right = (array.sum(p, keepdims=True) for array, p in zip((left, right), alone, strict=True))
        repeats = math.prod(full[p] for p in self.reduced if not has[0][p] and not has[1][p])
        batch = [p for p in self.kept if has[0][p] == has[1][p]]
        rows = [p for p in self.kept if has[0][p] and not has[1][p]]
        columns = [p for p in self.kept if has[1][p] and not has[0][p]]
        common = [p for p in self.reduced if has[0][p] and has[1][p]]
        size = [math.prod(full[p] for p in group) for group in (rows, common, columns)]
        shared = [left.shape[p] for p in batch]
        a = left.transpose(*batch, *rows, *common, *alone[0], *self._rest(left, batch, rows, common, alone[0]))
        b = right.transpose(*batch, *common, *columns, *alone[1], *self._rest(right, batch, common, columns, alone[1]))
        c = a.reshape(*shared, size[0], size[1]) @ b.reshape(*shared, size[1], size[2])
        order = [*batch, *rows, *columns]
        c = c.reshape(*shared, *(full[p] for p in (*rows, *columns)))
        return c.transpose([order.index(p) for p in self.kept]) * repeats

    @staticmethod
    def _rest(array: Array, *groups: Any) -> list[int]:
        return [place for place in range(array.ndim) if place not in {p for group in groups for p in group}]
