"""A layer as NumPy carries it out: a list of steps, each one call that passes over arrays made beforehand.

The same recipe is written down once and used twice. On real arrays its steps run. On `phantom` ones, which have a
shape and no memory, they are counted. So what is counted is what runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...layers.base import Layer
from ..work import Work

Array = NDArray[Any]
Fill = Callable[[np.random.Generator, Array], Any]
#: Makes an array of a shape and a type, full of a number.
Maker = Callable[[tuple[int, ...], Any, float], Array]

#: Dtypes in which NumPy has vectorised functions and matrix products.
TYPES: dict[str, np.dtype[Any]] = {"fp32": np.dtype(np.float32), "fp64": np.dtype(np.float64)}


def phantom(shape: tuple[int, ...], dtype: Any, value: float = 0.0) -> Array:
    """An array of a shape that takes the memory of one element: all its elements are that one.

    Parts, permutations and reshapes of it are views as of any array, so a recipe can be laid out on it. Nobody can
    write to it.

    >>> phantom((1000, 1000, 1000), np.float32)[:, ::2].reshape(500, -1).nbytes
    2000000000
    """
    return np.broadcast_to(np.array(value, dtype), shape)


def real(shape: tuple[int, ...], dtype: Any, value: float = 0.0) -> Array:
    """An array full of a number."""
    return np.full(shape, value, dtype)


def normal(rng: np.random.Generator, array: Array) -> None:
    """Fill with numbers of both signs, of about one in size."""
    rng.standard_normal(dtype=array.dtype, out=array)


def positive(rng: np.random.Generator, array: Array) -> None:
    """Fill with numbers from 0.5 to 2, as variances are."""
    array[...] = rng.uniform(0.5, 2, array.shape)


def below(size: int) -> Fill:
    """Fills with row numbers of a table of some size."""

    def fill(rng: np.random.Generator, array: Array) -> None:
        array[...] = rng.integers(0, size, array.shape)

    return fill


def dropped(p: float) -> Fill:
    """Fills with zeros, a share of p, and with 1 / (1 - p)."""

    def fill(rng: np.random.Generator, array: Array) -> None:
        array[...] = (rng.random(array.shape) >= p) / (1 - p)

    return fill


#: Multiply-accumulates up to which OpenBLAS, NumPy's usual BLAS, keeps a product to one thread (interface/gemm.c:
#: SMP_THRESHOLD_MIN times GEMM_MULTITHREAD_THRESHOLD).
THREADED = 65536 * 4


@dataclass(frozen=True, eq=False)
class Step:
    """One call: `function(*operands, out=out)`, and what it is counted as."""

    function: Callable[..., Any]
    operands: tuple[Any, ...]
    out: Array
    work: Work

    def __call__(self) -> None:
        self.function(*self.operands, out=self.out)


class Desk:
    """The arrays of one layer and the steps on them, in order."""

    def __init__(self, dtype: str, maker: Maker) -> None:
        self.dtype = TYPES[dtype]
        self.maker = maker
        self.steps: list[Step] = []
        self.given: dict[str, Array] = {}
        self.fills: dict[str, Fill] = {}
        self.held = 0  # bytes of all arrays
        self.working = 0  # bytes of what the steps touch

    def take(self, name: str, *shape: int, fill: Fill = normal, dtype: Any = None, touched: int | None = None) -> Array:
        """An array that the layer is given, of which the steps touch all elements or the number `touched`."""
        made = self.given[name] = self.buffer(*shape, dtype=dtype)
        self.fills[name] = fill
        if touched is not None:
            self.working += touched * made.itemsize - made.nbytes
        return made

    def buffer(self, *shape: int, dtype: Any = None, value: float = 0.0) -> Array:
        """An array that the layer makes: its output, or what it needs in between. It begins full of a number."""
        made = self.maker(shape, dtype or self.dtype, value)
        self.held += made.nbytes
        self.working += made.nbytes
        return made

    def inp(self, layer: Layer) -> Array:
        """The layer's first input."""
        return self.take("inp", *layer.input_shapes[0])

    def bias(self, layer: Any) -> Array | None:
        """One number for each of the layer's k outputs, where it has that."""
        return self.take("bias", layer.k) if layer.bias else None

    def output(self, layer: Layer) -> Array:
        """The layer's output."""
        return self.buffer(*layer.output_shape)

    # -- steps -------------------------------------------------------------------------------------------

    def do(
        self,
        function: Callable[..., Any],
        *operands: Any,
        out: Array,
        copied: bool = False,
        slow: str = "",
        run: int | None = None,
        calls: int = 1,
    ) -> Array:
        """A pass over the operands that are arrays and over `out`.

        `copied`: a copy that the layer's lines do not ask for. `slow`: the kind of function that it evaluates for each
        element. `run`: neighbours that it treats in one go, since NumPy starts its loop anew for each row of so many;
        without it, the axes count in which the operands stretch alike. `calls`: how many calls it takes to start.

        What is written crosses twice, in place or not: a line of the cache is fetched before it is written into.
        """
        arrays = {id(array): array for array in (*operands, out) if isinstance(array, np.ndarray)}
        moved = sum(array.nbytes for array in arrays.values()) + out.nbytes
        fetched = 0 if copied or any(operand is out for operand in operands) else out.nbytes
        count = max(array.size for array in arrays.values())
        starts = count // (run or _run([array.shape for array in arrays.values()]))
        functions = ({slow: count} if slow else {}) | ({"row": starts} if starts > 1 else {})
        found = Work(0, moved, moved if copied else 0, fetched=fetched, calls=calls, functions=functions)
        return self._step(function, operands, out, found)

    def copy(self, source: Any, out: Array, copied: bool = True, slow: str = "", run: int | None = None) -> Array:
        """Copy an array, or fill with a number."""
        return self.do(_copy, source, out=out, copied=copied, slow=slow, run=run)

    def total(self, rows: Array, out: Array) -> Array:
        """The sum of each row of (m, c), to (m, 1): times ones, which BLAS does several times as fast as NumPy adds."""
        ones = self.buffer(rows.shape[1], 1, value=1.0)
        return self._product(rows, ones, out, 0)

    def rows(self, table: Array, places: Array, out: Array) -> Array:
        """Rows of a table: only those looked up are read."""
        moved = places.nbytes + 3 * out.nbytes
        found = Work(0, moved, fetched=out.nbytes, functions={"row": places.size})
        return self._step(_rows, (table, places), out, found)

    def matmul(self, a: Array, b: Array, out: Array) -> Array:
        """A matrix product, or several; two operations for each multiply-accumulate."""
        return self._product(a, b, out, 2 * out.size * a.shape[-1])

    def linear(self, inp: Array, weight: Array, bias: Array | None, out: Array) -> Array:
        """A linear layer of the last axis; `weight` is (k, c)."""
        self.matmul(inp.reshape(-1, inp.shape[-1]), weight.T, out=out.reshape(-1, out.shape[-1]))
        return out if bias is None else self.do(np.add, out, bias, out=out)

    def _product(self, a: Array, b: Array, out: Array, operations: int) -> Array:
        moved = a.nbytes + b.nbytes + 2 * out.nbytes  # by all threads of BLAS; all other passes have one
        size, (rows, columns) = a.shape[-1], out.shape[-2:]
        products = out.size // (rows * columns)
        slow = {}
        if min(rows, columns) > 1:  # it packs both operands into the cache: there they are written, and read again
            slow["reread"] = 3 * (a.nbytes + b.nbytes)
            if rows * columns * size > THREADED:
                slow["product"] = products
        found = Work(operations, moved, shared=moved, fetched=out.nbytes, functions=slow)
        return self._step(np.matmul, (a, b), out, found)

    def _step(self, function: Callable[..., Any], operands: tuple[Any, ...], out: Array, work: Work) -> Array:
        self.steps.append(Step(function, operands, out, work))
        return out

    @property
    def work(self) -> Work:
        """All steps together."""
        total = Work(calls=0)
        for step in self.steps:
            total += step.work
        return total + Work(working=self.working, calls=0)


def _run(shapes: Sequence[tuple[int, ...]]) -> int:
    """Neighbours treated in one go: the elements of the last axes that all operands have, or that one stretches over.

    >>> _run([(8, 64, 7, 7), (64, 1, 1)]), _run([(100, 30), (30,)]), _run([(100, 30), (100, 30)])
    (49, 30, 3000)
    """
    most = max(len(shape) for shape in shapes)
    run, alike = 1, None
    for sizes in reversed(list(zip(*((1,) * (most - len(shape)) + shape for shape in shapes), strict=True))):
        if max(sizes) == 1:
            continue
        pattern = [size == 1 for size in sizes]
        if alike not in (None, pattern):
            break
        run, alike = run * max(sizes), pattern
    return run


def reduced(axis: int, function: np.ufunc) -> Callable[..., Any]:
    """The reduction of a function along an axis, which stays with length one."""

    def along(array: Array, out: Array) -> None:
        function.reduce(array, axis=axis, out=out, keepdims=True)

    return along


def squares(axes: str) -> Callable[..., Any]:
    """The sums of squares by einsum, in one pass: `squares("nc->n")`."""
    kept = axes.replace("->", f",{axes.partition('->')[0]}->")

    def summed(array: Array, out: Array) -> None:
        np.einsum(kept, array, array, out=out)

    return summed


def clip(low: float, high: float = math.inf) -> Callable[..., Any]:
    """The elements, not below `low` nor above `high`. It is vectorised, as `maximum` with one number is not."""

    def clipped(array: Array, out: Array) -> None:
        np.clip(array, low, high, out=out)

    return clipped


def _copy(source: Any, out: Array) -> None:
    np.copyto(out, source)


def _rows(table: Array, places: Array, out: Array) -> None:
    np.take(table, places, 0, out, "clip")  # with "raise", NumPy would write to an array of its own first
