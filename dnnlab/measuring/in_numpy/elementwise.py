"""A line that treats every element alike, as NumPy passes: one for each operation, written into arrays at hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...statements import Apply, Node, Number, Ref, Scalar
from ...vectorised import COMPUTE
from .steps import Array, Desk, clip

#: Functions that take longer than moving their operands, and the kind of function they are counted as.
SLOW = {"exp": "exp", "log": "exp", "tanh": "tanh"}
# Abramowitz and Stegun, Handbook of Mathematical Functions (1964), 7.1.26: off by at most 1.5e-7.
_ERF_STEP = 0.3275911
_ERF = (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)


class Lines:
    """Lays out right-hand sides of lines as passes over arrays that broadcast to one shape.

    What is in between goes to the array that is written anyway, or to scratch arrays where that is taken.
    """

    def __init__(self, desk: Desk, known: Mapping[str, Any]) -> None:
        self.desk, self.known = desk, known
        self.pool: list[Array] = []  # scratch arrays that are free

    def write(self, node: Node, out: Array) -> Array:
        """Lay out the passes that write the value of a tree to `out`, which it may read as well."""
        read = any(self.known[name] is out for name in _names(node))
        found = self._emit(node, out, self._scratch(out) if read else out)
        return out if found is out else self.desk.copy(found, out, copied=False)

    def _emit(self, node: Node, out: Array, free: Array) -> Any:
        """The value of a tree: a number, a given array, or `out`. What is in between may use `free`."""
        if isinstance(node, Number):
            return float(node.value)
        if isinstance(node, Scalar | Ref):
            return self.known[node.name]
        limits = _limits(node)
        if limits is not None:
            source, low, high = limits
            found = self._emit(source, free, free)
            # np.clip is a function of Python around the loop: it starts as two calls do.
            return self.desk.do(clip(low, high), found, out=out, slow="clip", calls=2)
        if len(node.args) > 2:  # from left to right, two at a time
            node = Apply(node.op, (Apply(node.op, node.args[:-1]), node.args[-1]))
        operands: list[Any] = []
        borrowed: list[Array] = []
        for arg in node.args:
            if any(operand is free for operand in operands) and isinstance(arg, Apply):
                borrowed.append(self._scratch(out))
                operands.append(self._emit(arg, borrowed[-1], borrowed[-1]))
            else:
                operands.append(self._emit(arg, free, free))
        result = self._apply(node.op, operands, out)
        self.pool += borrowed
        return result

    def _apply(self, op: str, operands: list[Any], out: Array) -> Any:
        numbers = [operand for operand in operands if not isinstance(operand, np.ndarray)]
        if len(numbers) == len(operands):
            return float(numbers[0] ** numbers[1] if op == "power" else COMPUTE[op](*numbers))
        if op == "erf":
            return self._erf(operands[0], out)
        if op == "power":
            return self._power(operands[0], int(operands[1]), out)
        if op == "divide" and not isinstance(operands[1], np.ndarray):
            op, operands = "multiply", [operands[0], 1 / operands[1]]
        return self.desk.do(COMPUTE[op], *operands, out=out, slow=SLOW.get(op, ""))

    def _power(self, x: Array, exponent: int, out: Array) -> Array:
        """A whole power as products; NumPy's own takes longer."""
        do = self.desk.do
        if exponent < 2:
            return x if exponent else self.desk.copy(1.0, out, copied=False)
        if exponent == 2:
            return do(np.square, x, out=out)
        found = do(np.square, x, out=self._scratch(out))
        for _ in range(exponent - 3):
            do(np.multiply, found, x, out=found)
        self.pool.append(found)
        return do(np.multiply, found, x, out=out)

    def _erf(self, x: Array, out: Array) -> Array:
        """The error function, which NumPy lacks: `1 - p(t) exp(-x²)` with `t = 1 / (1 + 0.33 |x|)`, then the sign."""
        do = self.desk.do
        size, t, series = (self._scratch(out) for _ in range(3))
        do(np.abs, x, out=size)
        do(np.multiply, size, _ERF_STEP, out=t)
        do(np.add, t, 1, out=t)
        do(np.divide, 1, t, out=t)
        do(np.multiply, t, _ERF[0], out=series)
        for factor in _ERF[1:]:
            do(np.add, series, factor, out=series)
            do(np.multiply, series, t, out=series)
        do(np.square, size, out=size)
        do(np.negative, size, out=size)
        do(np.exp, size, out=size, slow="exp")
        do(np.multiply, series, size, out=series)
        do(np.subtract, 1, series, out=series)
        do(np.copysign, series, x, out=out)
        self.pool += [size, t, series]
        return out

    def _scratch(self, like: Array) -> Array:
        return self.pool.pop() if self.pool else self.desk.buffer(*like.shape)


def _names(node: Node) -> set[str]:
    """The tensors and numbers that a tree reads."""
    if isinstance(node, Apply):
        return {name for arg in node.args for name in _names(arg)}
    return set() if isinstance(node, Number) else {node.name}


def _limits(node: Apply) -> tuple[Node, float, float] | None:
    """The source and the limits of `max(x, low)` and of `min(max(x, low), high)`."""
    if node.op not in ("max", "min") or len(node.args) != 2 or not isinstance(node.args[1], Number):
        return None
    source, limit = node.args[0], float(node.args[1].value)
    if node.op == "max":
        return source, limit, np.inf
    inner = _limits(source) if isinstance(source, Apply) and source.op == "max" else None
    return (source, -np.inf, limit) if inner is None else (inner[0], inner[1], limit)
