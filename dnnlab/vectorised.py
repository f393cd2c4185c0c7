"""The same lines at real sizes: each reference becomes a strided view of its array, with one axis for each
loop index, and NumPy does the loops.

The index of a window (`inp[y*stride+i]`) is looped over in Python where windows overlap, unless a matrix
product may copy them. Imported on demand: `import dnnlab` does not need NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache, lru_cache, reduce
from itertools import product as every
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import statements as st
from .affine import Affine
from .errors import ExtentError, ShapeError
from .interpreter import BORDER, interpret
from .loopnest import LoopNest
from .program import Program
from .statements import Node, Number, Ref, Scalar

Array = NDArray[Any]
#: A matrix product may copy overlapping windows of at most this many elements, unless `run` is told another
#: number; larger ones are looped over.
MAX_COPIED = 2**24
COMPUTE: dict[str, Callable[..., Any]] = {
    **{"add": np.add, "subtract": np.subtract, "multiply": np.multiply, "divide": np.divide},
    **{"negate": np.negative, "abs": np.abs, "max": np.maximum, "min": np.minimum},
    **{"exp": np.exp, "log": np.log, "sqrt": np.sqrt, "tanh": np.tanh},
}
ACCUMULATE: dict[str, np.ufunc] = {"add": np.add, "max": np.maximum, "min": np.minimum}


def run(
    program: Program | LoopNest,
    tensors: Mapping[str, Any],
    scalars: Mapping[str, float] | None = None,
    copied: int = MAX_COPIED,
) -> dict[str, Array]:
    """Run the lines on arrays and return every tensor, as `interpreter.interpret` would, only fast.

    Tensors that are not given start at zero. Arrays of floating-point numbers keep their type, all others
    become float64; what is given is not changed. `scalars` are the plain numbers of the lines (`eps`, `lr`).
    A matrix product may copy overlapping windows of up to `copied` elements: with 0 a convolution loops over
    its filter instead, which takes longer and much less memory.
    Raises `ExtentError` where an extent or a number is missing, `ShapeError` where an array does not fit.

    >>> run(LoopNest("out[k] += w[k,c] * x[c]", k=1, c=2), {"w": [[2, 3]], "x": [10, 1]})["out"]
    array([23.])
    """
    nests = program.nests if isinstance(program, Program) else (program,)
    store: dict[str, Array] = {}
    for nest in nests:
        for name in nest.references:
            if name in tensors and name not in store:
                store[name] = _given(name, tensors[name], _layout(nest)[0][name])
    dtype = np.result_type(*(array.dtype for array in store.values())) if store else np.dtype(np.float64)
    for target in {nest.statement.target.name for nest in nests} & set(store):
        store[target] = store[target].copy()
    for nest in nests:
        _check(nest, scalars or {})
        started = nest.statement.target.name in store
        for name in nest.references:
            if name not in store:
                store[name] = np.zeros(_layout(nest)[0][name], dtype)
        if not started and nest.statement.accumulate in BORDER:
            store[nest.statement.target.name][...] = BORDER[nest.statement.accumulate]
        _Line(nest, store, {**(scalars or {}), **dict(nest.settings)}, copied).run()
    return store


def _given(name: str, given: Any, shape: tuple[Any, ...]) -> Array:
    array = np.asarray(given)
    if array.shape != shape:
        raise ShapeError(f"{name!r} should have shape {shape}, got an array of shape {array.shape}")
    return np.ascontiguousarray(array, array.dtype if np.issubdtype(array.dtype, np.floating) else np.float64)


def _check(nest: LoopNest, scalars: Mapping[str, float]) -> None:
    sizes = [*nest.extent.values(), *(value for _, value in nest.settings)]
    if not all(isinstance(size, int) for shape in (sizes, *_layout(nest)[0].values()) for size in shape):
        raise ExtentError(f"{nest!r} has open extents; bind each to a number before running it")
    known = {**scalars, **dict(nest.settings)}
    missing = [name for name in nest.statement.scalars if name not in known]
    if missing:
        raise ExtentError(f"{nest.text!r} needs a number for {', '.join(missing)}")


@lru_cache(maxsize=4096)
def _layout(nest: LoopNest) -> tuple[dict[str, tuple[Any, ...]], dict[Ref, tuple[Affine | None, ...]]]:
    """Shapes of a line's tensors and the forms of its subscripts: the same in every run."""
    places = nest.references
    forms = {ref: nest.subscripts(ref) for name in places for ref in places[name]}
    return {name: nest.shape(name) for name in places}, forms


class _Line:
    """One statement over the arrays of `store`.

    Inside, an array has one axis for each of `names`, the indices that are not looped over, in loop order; an
    axis has length 1 where its index does not matter.
    """

    def __init__(self, nest: LoopNest, store: dict[str, Array], numbers: Mapping[str, float], copied: int) -> None:
        self.nest, self.store, self.numbers = nest, store, numbers
        self.statement, self.target = nest.statement, nest.statement.target
        self.outside = BORDER.get(self.statement.accumulate or "", 0.0)
        _, self.forms = _layout(nest)
        adding = self.statement.accumulate == "add"
        self.factors = (_factors(self.statement.value, numbers) if adding else None) or (1.0, [])
        looped: list[str] = []
        for ref in (self.target, *self.statement.refs):
            reached = math.prod(nest.extent[name] for name in st.ref_indices(ref))
            if ref not in self.factors[1] or len(self.factors[1]) < 2 or reached > copied:
                looped += self._overlapping(ref)
        self.looped = list(dict.fromkeys(looped))
        self.names = [name for name in nest.extent if name not in self.looped]
        places = [self.target, *(sub for sub in self.target.subscripts if isinstance(sub, Ref))]
        forms = [form for ref in places for form in self.forms[ref] if form]
        self.kept = {name for form in forms for name, _ in form.terms}
        self.reduced = tuple(place for place, name in enumerate(self.names) if name not in self.kept)
        self.windows: dict[tuple[Ref, float], tuple[Array, list[int]]] = {}

    def run(self) -> None:
        if self._ordered():
            numbers = {name: float(value) for name, value in self.numbers.items()}
            result = interpret(self.nest, self.store, numbers)
            self.store[self.target.name][...] = result.tensors[self.target.name]
            return
        for values in every(*(range(self.nest.extent[name]) for name in self.looped)):
            point = dict(zip(self.looped, values, strict=True))
            self._write(self._value(point), point)
        if (self.target, self.outside) in self.windows:  # written beside the array, because it has a border
            buffer, lows = self.windows[self.target, self.outside]
            if buffer is not self.store[self.target.name]:
                _overlap(self.store[self.target.name], buffer, lows, back=True)

    def _ordered(self) -> bool:
        """Does the order of the passes matter, because one reads or overwrites what another wrote?"""
        forms = self.forms[self.target]
        own = [ref for ref in self.statement.refs if ref.name == self.target.name]
        if self.statement.accumulate:
            return bool(own)
        lookup = None in forms and bool(own or self.looped)
        elsewhere = any(ref != self.target for ref in own)
        return lookup or elsewhere or self.kept != set(self.nest.extent) or bool(self._overlapping(self.target))

    def _overlapping(self, ref: Ref) -> list[str]:
        """Indices to loop over so that each position of each axis is reached by one value of the others."""
        found: list[str] = []
        for form in self.forms[ref]:
            terms = [(name, abs(a), self.nest.extent[name]) for name, a in (form.terms if form else ())]
            reach = 0
            for _, step, extent in sorted(terms, key=lambda term: term[1]):
                if step <= reach:
                    found += sorted((name for name, _, _ in terms), key=self.nest.extent.__getitem__)[:-1]
                    break
                reach += step * (extent - 1)
        return found

    # -- reading and writing -----------------------------------------------------------------------------

    def _value(self, point: dict[str, int]) -> Array:
        """The right-hand side while the looped indices stay at `point`, reduced where it is accumulated."""
        full = tuple(self.nest.extent[name] for name in self.names)
        constant, refs = self.factors
        arrays = [self._read(ref, self.outside, point) for ref in refs]
        known = all(full[place] in (array.shape[place] for array in arrays) for place in self.reduced)
        if len(arrays) > 1 and known:
            operands: list[Any] = []
            for array in arrays:
                axes = [place for place in range(array.ndim) if array.shape[place] > 1]
                operands += [array.reshape([array.shape[place] for place in axes]), axes]
            kept = sorted({place for axes in operands[1::2] for place in axes} - set(self.reduced))
            result = np.einsum(*operands, kept, optimize=True)
            result = result.reshape([full[place] if place in kept else 1 for place in range(len(full))])
            return result if constant == 1 else result * constant

        def leaf(node: Node) -> Any:
            if isinstance(node, Ref):
                return self._read(node, self.outside, point)
            assert isinstance(node, Number | Scalar)
            return float(node.value if isinstance(node, Number) else self.numbers[node.name])

        result = np.asarray(st.fold(self.statement.value, leaf, _compute))
        if not self.reduced:
            return result
        result = np.broadcast_to(result, full)
        return ACCUMULATE[self.statement.accumulate or "add"].reduce(result, axis=self.reduced, keepdims=True)

    def _read(self, ref: Ref, outside: float, point: dict[str, int]) -> Array:
        if None in self.forms[ref]:
            places, inside = self._places(ref, point)
            array = self.store[ref.name]
            return np.where(inside, array.reshape(-1)[places], array.dtype.type(outside))
        return self._view(ref, outside, point)

    def _write(self, value: Array, point: dict[str, int]) -> None:
        combine = ACCUMULATE.get(self.statement.accumulate or "")
        if None in self.forms[self.target]:
            places, inside = self._places(self.target, point)
            places, inside, value = np.broadcast_arrays(places, inside, value)
            cells, places, value = self.store[self.target.name].reshape(-1), places[inside], value[inside]
            if combine:
                combine.at(cells, places, value)
            else:
                cells[places] = value  # of equal places the last stays, as in a loop
            return
        view = self._view(self.target, self.outside, point)
        if combine:
            combine(view, value, out=view)
        else:
            view[...] = value

    def _view(self, ref: Ref, outside: float, point: dict[str, int]) -> Array:
        """The elements of an affine reference as a view: an index steps along every axis it stands on."""
        if (ref, outside) not in self.windows:
            self.windows[ref, outside] = self._window(ref, outside)
        buffer, lows = self.windows[ref, outside]
        shape, strides, start = [1] * len(self.names), [0] * len(self.names), 0
        for form, low, stride in zip(self.forms[ref], lows, buffer.strides, strict=True):
            assert form is not None
            start += stride * (form.constant - low)
            for name, step in form.terms:
                if name in point:
                    start += stride * step * point[name]
                else:
                    place = self.names.index(name)
                    shape[place] = self.nest.extent[name]
                    strides[place] += stride * step
        return np.ndarray(shape, buffer.dtype, buffer, start, strides)

    def _window(self, ref: Ref, outside: float) -> tuple[Array, list[int]]:
        """An array that holds all a reference reaches, and where it begins on each axis: the tensor itself,
        or a copy with its border."""
        array = self.store[ref.name]
        ranges = {name: (0, extent) for name, extent in self.nest.extents}
        spans = [form.span(ranges) for form in self.forms[ref] if form is not None]
        if all(low >= 0 and high < size for (low, high), size in zip(spans, array.shape, strict=True)):
            return array, [0] * array.ndim
        buffer = np.full([high - low + 1 for low, high in spans], outside, array.dtype)
        lows = [low for low, _ in spans]
        _overlap(array, buffer, lows)
        return buffer, lows

    def _places(self, ref: Ref, point: dict[str, int]) -> tuple[Array, Array]:
        """For a reference that looks an index up: where in the flat tensor each element is, and if it is."""
        flat, inside = np.zeros((), np.int64), np.ones((), bool)
        forms = self.forms[ref]
        for sub, form, size in zip(ref.subscripts, forms, self.store[ref.name].shape, strict=True):
            if form is None:
                assert isinstance(sub, Ref)
                at = self._read(sub, 0.0, point).astype(np.int64)
            else:
                at = self._steps(form, point)
            inside = inside & (at >= 0) & (at < size)
            flat = flat * size + at
        return np.where(inside, flat, 0), inside

    def _steps(self, form: Affine, point: dict[str, int]) -> Array:
        """The values of an affine subscript along the axes."""
        total = np.full([1] * len(self.names), form.constant, np.int64)
        for name, step in form.terms:
            if name in point:
                total = total + step * point[name]
            else:
                behind = len(self.names) - 1 - self.names.index(name)
                total = total + step * np.arange(self.nest.extent[name]).reshape(-1, *[1] * behind)
        return total


def _overlap(array: Array, buffer: Array, lows: list[int], back: bool = False) -> None:
    """Copy the part that an array and a buffer starting at `lows` share, into the buffer or back."""
    starts = [max(low, 0) for low in lows]
    stops = [
        max(start, min(low + extent, size))
        for start, low, extent, size in zip(starts, lows, buffer.shape, array.shape, strict=True)
    ]
    inner = tuple(slice(start, stop) for start, stop in zip(starts, stops, strict=True))
    outer = tuple(slice(at.start - low, at.stop - low) for at, low in zip(inner, lows, strict=True))
    if back:
        array[inner] = buffer[outer]
    else:
        buffer[outer] = array[inner]


def _factors(node: Node, numbers: Mapping[str, float]) -> tuple[float, list[Ref]] | None:
    """A product of tensor elements as a constant and its factors; None for anything else."""
    if isinstance(node, Ref):
        return 1.0, [node]
    if isinstance(node, Number | Scalar):
        return float(node.value if isinstance(node, Number) else numbers[node.name]), []
    parts = [_factors(arg, numbers) for arg in node.args]
    if node.op == "negate" and parts[0]:
        return -parts[0][0], parts[0][1]
    if node.op == "multiply" and parts[0] and parts[1]:
        return parts[0][0] * parts[1][0], parts[0][1] + parts[1][1]
    if node.op == "divide" and parts[0] and parts[1] and not parts[1][1]:
        return parts[0][0] / parts[1][0], parts[0][1]
    return None


def _compute(op: str, args: list[Any]) -> Any:
    """What each operation computes, on arrays and plain numbers."""
    if op == "power":  # as a product: NumPy's own power is slow
        return reduce(lambda a, b: a * b, [args[0]] * int(args[1]))
    if op in ("step", "equal"):
        found = args[0] > 0 if op == "step" else args[0] == args[1]
        return np.asarray(found, np.result_type(*args))
    if op == "erf":
        return _erf(np.asarray(args[0]))
    return reduce(COMPUTE[op], args) if len(args) > 1 else COMPUTE[op](args[0])


@cache
def _erf_rows(step: float) -> list[Array]:
    """Taylor coefficients of erf around the multiples of a step, from 0 to 6, where it is 1."""
    x = np.arange(0, 6 + step, step)
    rows = [np.array([math.erf(value) for value in x]), 2 / math.sqrt(math.pi) * np.exp(-(x**2))]
    for k in range(2, 6):  # erf'' = -2 x erf' gives each coefficient from the two before
        rows.append(-2 * ((k - 1) * x * rows[k - 1] + (k - 2) * rows[k - 2]) / (k * (k - 1)))
    return rows


def _erf(x: Array) -> Array:
    """The error function, which NumPy lacks, to the last digit but one."""
    step = 1 / 512
    size = np.minimum(np.abs(x, dtype=np.float64), 6)
    place = np.rint(np.fmin(size, 6) / step).astype(np.int64)  # fmin: a NaN has no place
    away = size - place * step
    result = np.zeros_like(away)
    for row in reversed(_erf_rows(step)):
        result = result * away + row[place]
    return np.copysign(result, x).astype(x.dtype)
