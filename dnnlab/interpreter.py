"""The plain interpreter: it runs the lines on small arrays, one point at a time, and counts every operation
it executes and every element it touches. It shares no formula with `loopnest`, so it can bear witness.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product as every
from typing import Any

from .errors import ExtentError, ShapeError
from .loopnest import LoopNest
from .program import Program
from .statements import COMPUTE, KINDS, Node, Number, Ref, Scalar, is_setting

MAX_POINTS = 20_000_000
#: What a read outside the tensor gives: nothing to a sum, and never the winner of a maximum.
BORDER = {"max": -math.inf, "min": math.inf}
Point = dict[str, int]


@dataclass(frozen=True)
class Run:
    """What a run computed and counted: tensors as nested lists, operations by kind, touched elements."""

    tensors: dict[str, Any]
    operations: dict[str, int]
    touched: dict[str, int]


def interpret(
    program: Program | LoopNest, tensors: Mapping[str, Any], scalars: Mapping[str, float] | None = None
) -> Run:
    """Run the lines on nested lists (or arrays); tensors that are not given start at zero.

    Raises `ExtentError` where an extent is still a symbol or the loops are too long for plain Python,
    `ShapeError` where an array does not have its tensor's shape.

    >>> from dnnlab.loopnest import LoopNest
    >>> run = interpret(LoopNest("out[k] += w[k,c] * x[c]", k=1, c=2), {"w": [[2, 3]], "x": [10, 1]})
    >>> run.tensors["out"], run.operations, run.touched["w"]
    ([23.0], {'multiply': 2, 'add': 2}, 2)
    """
    nests = program.nests if isinstance(program, Program) else (program,)
    machine = _Machine(dict(scalars or {}))
    for nest in nests:
        for name in nest.references:
            if name not in machine.store:
                machine.add(name, nest.shape(name), tensors.get(name))
    started: set[str] = set(tensors)
    for nest in nests:
        machine.run(nest, fresh=nest.statement.target.name not in started)
        started.add(nest.statement.target.name)
    return Run(
        {name: _nested(flat, machine.shapes[name]) for name, flat in machine.store.items()},
        dict(machine.count),
        {name: len(places) for name, places in machine.seen.items()},
    )


class _Machine:
    """Memory, and counters that tick as the lines run."""

    def __init__(self, scalars: dict[str, float]) -> None:
        self.scalars = scalars
        self.store: dict[str, list[float]] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.seen: dict[str, set[int]] = {}
        self.count: Counter[str] = Counter()

    def add(self, name: str, shape: tuple[Any, ...], given: Any) -> None:
        if not all(isinstance(size, int) for size in shape):
            raise ExtentError(f"shape of {name!r} is {shape}: bind every extent to a number before running")
        self.shapes[name] = shape
        self.seen[name] = set()
        self.store[name] = [0.0] * math.prod(shape) if given is None else _flat(name, given, shape)

    def run(self, nest: LoopNest, fresh: bool) -> None:
        extents = list(nest.extent.values())
        if not all(isinstance(extent, int) for extent in extents):
            raise ExtentError(f"{nest!r} has open extents; bind each to a number before running it")
        if math.prod(extents) > MAX_POINTS:
            raise ExtentError(f"{math.prod(extents):.2e} passes are too many for the interpreter; use smaller extents")
        statement = nest.statement
        numbers = {**self.scalars, **{k: v for k, v in nest.settings}}
        missing = [name for name in statement.scalars if name not in numbers]
        if missing:
            raise ExtentError(f"{nest.text!r} needs a number for {', '.join(missing)}")
        outside = BORDER.get(statement.accumulate or "", 0.0)
        value = self.compile(statement.value, numbers, outside)
        locate = self.locator(statement.target, numbers)
        name = statement.target.name
        cells = self.store[name]
        if fresh and statement.accumulate in BORDER:
            cells[:] = [outside] * len(cells)
        kind = {"add": "add", "max": "compare", "min": "compare"}.get(statement.accumulate or "")
        combine = COMPUTE[statement.accumulate] if statement.accumulate else None
        for values in every(*map(range, extents)):
            point = dict(zip(nest.extent, values, strict=True))
            result = value(point)
            if kind:
                self.count[kind] += 1
            place = locate(point)
            if place is not None:
                self.seen[name].add(place)
                cells[place] = combine(cells[place], result) if combine else result

    def compile(self, node: Node, numbers: Mapping[str, float], outside: float) -> Callable[[Point], float]:
        """A closure that computes a tree at a point and counts each operation as it happens."""
        if isinstance(node, Number):
            constant = float(node.value)
            return lambda point: constant
        if isinstance(node, Scalar):
            scalar = float(numbers[node.name])
            return lambda point: scalar
        if isinstance(node, Ref):
            locate, cells, seen = self.locator(node, numbers), self.store[node.name], self.seen[node.name]

            def read(point: Point) -> float:
                place = locate(point)
                if place is None:
                    return outside
                seen.add(place)
                return cells[place]

            return read
        args = [self.compile(arg, numbers, outside) for arg in node.args]
        count = self.count
        if node.op == "power":
            exponent = int(args[1]({}))

            def power(point: Point) -> float:
                base = result = args[0](point)
                for _ in range(exponent - 1):
                    count["multiply"] += 1
                    result *= base
                return result

            return power
        kind, compute = KINDS.get(node.op, node.op), COMPUTE[node.op]
        if len(args) == 1:
            only = args[0]

            def single(point: Point) -> float:
                count[kind] += 1
                return compute(only(point))

            return single

        def several(point: Point) -> float:
            result = args[0](point)
            for arg in args[1:]:
                count[kind] += 1
                result = compute(result, arg(point))
            return result

        return several

    def locator(self, ref: Ref, numbers: Mapping[str, float]) -> Callable[[Point], int | None]:
        """A closure from a point to the place in the flat tensor; None outside its border."""
        shape = self.shapes[ref.name]
        if len(shape) != len(ref.subscripts):
            raise ShapeError(f"{ref.name!r} has shape {shape} but is used with {len(ref.subscripts)} indices")
        subs = [self.position(sub, numbers) for sub in ref.subscripts]

        def locate(point: Point) -> int | None:
            place = 0
            for sub, size in zip(subs, shape, strict=True):
                at = sub(point)
                if not 0 <= at < size:
                    return None
                place = place * size + at
            return place

        return locate

    def position(self, node: Node, numbers: Mapping[str, float]) -> Callable[[Point], int]:
        """Index arithmetic; it is not counted as the layer's operations."""
        if isinstance(node, Number):
            constant = int(node.value)
            return lambda point: constant
        if isinstance(node, Scalar):
            name = node.name
            if is_setting(name):
                setting = int(numbers[name])
                return lambda point: setting
            return lambda point: point[name]
        if isinstance(node, Ref):
            lookup = self.compile(node, numbers, 0.0)
            return lambda point: int(lookup(point))
        args = [self.position(arg, numbers) for arg in node.args]
        compute = COMPUTE[node.op]
        return lambda point: int(compute(*(arg(point) for arg in args)))


def _flat(name: str, given: Any, shape: tuple[int, ...]) -> list[float]:
    """A nested list or array as one flat list, its shape checked."""
    if not shape:
        return [float(given)]
    rows = given.tolist() if hasattr(given, "tolist") else given
    if not isinstance(rows, list | tuple) or len(rows) != shape[0]:
        size = len(rows) if isinstance(rows, list | tuple) else "no"
        raise ShapeError(f"{name!r} should have shape {shape}: an axis has {size} elements, not {shape[0]}")
    return [value for row in rows for value in _flat(name, row, shape[1:])]


def _nested(flat: list[float], shape: tuple[int, ...]) -> Any:
    if len(shape) <= 1:
        return list(flat)
    step = math.prod(shape[1:])
    return [_nested(flat[i * step : (i + 1) * step], shape[1:]) for i in range(shape[0])]
