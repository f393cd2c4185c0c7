"""One formula over a grid of designs: a million points in the time `subs` takes for a few hundred.

The formula becomes a short list of array operations, shared subexpressions once, and small arrays are
combined before large ones. Whole numbers and fractions stay exact for as long as they fit into int64 (see
`ratios`), so `ceil` and `floor` divide integers; the rest is computed in float64.
"""

from __future__ import annotations

import inspect
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache, partial
from typing import Any

import sympy
from sympy import Expr, Symbol

from . import ratios
from .errors import ExtentError, quote
from .notation import read_formula, symbol
from .ratios import Array, Value, exact

MAX_POINTS = 100_000_000


@dataclass(frozen=True, eq=False, repr=False)
class Sweep:
    """The values of a quantity, one array axis for each swept name; both arrays are read-only.

    `values` is int64 where every value is a whole number below 2**63, else float64. `numpy.asarray(sweep)`
    gives the same array.
    """

    values: Array
    axes: Mapping[str, Array]

    def __repr__(self) -> str:
        lengths = ", ".join(f"{name}: {len(axis)}" for name, axis in self.axes.items())
        return f"Sweep({lengths}; {self.values.dtype})"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        import numpy

        return numpy.array(self.values, dtype, copy=copy)

    def at(self, **where: float) -> Any:
        """The value at one point of the grid; a `Sweep` over the other axes if some are left out.

        Raises `ExtentError` for a name or a value that is not on the grid.

        >>> sweep("2*k*c", k=[1, 2], c=[3, 5]).at(k=2, c=5)
        20
        """
        places: list[Any] = [slice(None)] * len(self.axes)
        for name, value in where.items():
            if name not in self.axes:
                raise ExtentError(f"no axis {name!r}; the axes are {', '.join(self.axes)}")
            axis = self.axes[name]
            found = [] if isinstance(value, str) else (axis == value).nonzero()[0]
            if len(found) == 0:
                raise ExtentError(f"{name} = {quote(value)} is not on its axis {quote(axis.tolist())}")
            places[list(self.axes).index(name)] = int(found[0])
        values = self.values[tuple(places)]
        left = {name: axis for name, axis in self.axes.items() if name not in where}
        return Sweep(values, left) if left else values.item()


def sweep(quantity: Expr | str | Callable[..., Any], /, **axes: Iterable[float]) -> Sweep:
    """A quantity at every combination of the given values: one array axis a keyword, in the order given.

    `quantity` is an expression (`conv.ops`), a formula as text, or a function of the axes' names that is
    called once, with symbols. Values are positive numbers (`pad` and `offset` may be zero). Whole numbers
    are exact below 2**63; beyond, and for fractions, the result is float64, whose relative error is about
    1e-16 for each operation (more where a difference cancels). Raises `ExtentError` for a symbol without an
    axis, an axis without a symbol, values that are no positive finite numbers, and a division by zero.

    >>> sweep("k*c*ceil(h/2)", k=[64, 128], c=[3], h=[7, 8, 9]).values.tolist()
    [[[768, 768, 960]], [[1536, 1536, 1920]]]
    >>> sweep(lambda batch: 2 * batch, batch=[1, 8]).values.tolist()
    [2, 16]
    """
    import numpy

    if not axes:
        raise ExtentError("a sweep needs at least one axis, such as k=[64, 128]")
    arrays = {name: _axis(name, values) for name, values in axes.items()}
    shape = tuple(len(array) for array in arrays.values())
    if math.prod(shape) > MAX_POINTS or len(shape) > 32:
        raise ExtentError(f"{len(shape)} axes and {math.prod(shape):.1e} points are too many: at most 32 and 1e8")
    expr = _expression(quantity, arrays)
    mesh = dict(zip(arrays, numpy.ix_(*arrays.values()), strict=True))
    try:
        with numpy.errstate(divide="raise", over="raise", invalid="raise"):
            result = ratios.settled(_evaluate(_steps(expr), mesh))
    except ArithmeticError as error:  # a division by zero, a logarithm of zero, more than 1e308
        raise ExtentError(f"{quote(str(expr))} has no finite value on some of these axes: {error}") from None
    values = numpy.broadcast_to(result, shape)
    values.flags.writeable = False
    for array in arrays.values():
        array.flags.writeable = False
    return Sweep(values, arrays)


def _axis(name: str, values: Any) -> Array:
    """One axis as int64 (floats that are whole numbers included) or float64."""
    import numpy

    hint = f"give {name} a list of positive numbers, such as {name}=[1, 2, 4]"
    try:
        given = values if isinstance(values, numpy.ndarray) else list(values)
        array = numpy.asarray(given)
        if array.dtype == object:  # integers beyond 64 bits, fractions, SymPy's numbers
            array = numpy.asarray([operator.index(v) if hasattr(v, "__index__") else float(v) for v in given])
            array = array.astype(float) if array.dtype == object else array
    except (TypeError, ValueError, OverflowError):
        raise ExtentError(f"{name} = {quote(values)}: {hint}") from None
    truth = array is not given and any(isinstance(v, bool) for v in given)
    if array.ndim != 1 or len(array) == 0 or array.dtype.kind not in "iuf" or truth or isinstance(values, bytes):
        raise ExtentError(f"{name} = {quote(values)}: {hint}")
    least, most = array.min(), array.max()  # both are NaN if one value is
    if not (least > 0 or (least == 0 and not symbol(name).is_positive)) or not most < math.inf:
        raise ExtentError(f"{name} runs from {least} to {most}: {hint}")
    whole = most < ratios.LIMIT if array.dtype.kind != "f" else most < 2**53 and not (array % 1).any()
    return array.astype(numpy.int64 if whole else numpy.float64)


def _expression(quantity: Any, axes: Mapping[str, Array]) -> Expr:
    """The quantity as an expression whose symbols all have an axis."""
    constant = callable(quantity) and not isinstance(quantity, Expr)  # a function need not use all it is given
    if constant:
        whole = {name: array.dtype.kind == "i" for name, array in axes.items()}
        symbols = {name: symbol(name) if whole[name] else Symbol(name, positive=True) for name in axes}
        try:
            inspect.signature(quantity).bind(**symbols)
        except (TypeError, ValueError) as error:
            raise ExtentError(f"the quantity cannot be called with {', '.join(axes)}: {error}") from None
        quantity = quantity(**symbols)
    if isinstance(quantity, str):
        quantity = read_formula(quantity)
    if isinstance(quantity, bool) or not isinstance(quantity, Expr | int | float | Fraction):
        raise ExtentError(f"{quote(quantity)} is no quantity: give an expression such as conv.ops, or a formula")
    expr = sympy.Rational(quantity) if isinstance(quantity, int | Fraction) else sympy.sympify(quantity)
    names = {str(s) for s in expr.free_symbols}
    missing, extra = sorted(names - set(axes)), [name for name in axes if name not in names]
    if missing:
        give = ", ".join(f"{name}=[...]" for name in missing)
        raise ExtentError(f"the quantity also depends on {', '.join(missing)}: sweep {give} too, or bind them first")
    if extra and not constant:
        raise ExtentError(
            f"the quantity {quote(str(expr))} does not depend on {', '.join(extra)}; "
            f"it depends on {', '.join(sorted(names)) or 'nothing'}"
        )
    for s in expr.free_symbols:
        array = axes[str(s)]
        if s.is_integer and array.dtype.kind == "f" and (array % 1).any():
            raise ExtentError(f"{s} stands for a whole number; its axis holds {array[array % 1 != 0][0]}")
    return expr


# -- the list of operations ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Step:
    """`operation(*arguments)`, the arguments being earlier steps; `last` are those not needed after this one."""

    operation: Callable[..., Any] | None
    arguments: tuple[int, ...]
    leaf: Any = None
    last: tuple[int, ...] = ()


@lru_cache(maxsize=256)
def _steps(expr: Expr) -> tuple[_Step, ...]:
    """The expression as operations in order, each subexpression once, small arrays before large ones."""
    steps: list[_Step] = []
    known: dict[Any, int] = {}

    def emit(operation: Callable[..., Any] | None, arguments: tuple[int, ...], leaf: Any = None) -> int:
        key = (operation, arguments, leaf)
        if key not in known:
            known[key] = len(steps)
            steps.append(_Step(operation, arguments, leaf))
        return known[key]

    def place(node: Expr) -> int:
        if node in known:
            return known[node]
        if node.is_Symbol:
            at = emit(None, (), str(node))
        elif node.is_number and not node.has(sympy.floor, sympy.ceiling, sympy.Max, sympy.Min):
            at = emit(None, (), _number(node))
        elif chain := next((chain for kind, chain in CHAINS.items() if isinstance(node, kind)), None):
            first, *rest = sorted(node.args, key=lambda arg: len(arg.free_symbols))
            at = place(first)
            for arg in rest:
                at = emit(chain, (at, place(arg)))
        elif node.is_Pow and node.exp.is_Integer:
            at = emit(partial(ratios.power, exponent=int(node.exp)), (place(node.base),))
        elif isinstance(node, sympy.floor | sympy.ceiling):
            rounding = ratios.floor if isinstance(node, sympy.floor) else ratios.ceiling
            at = emit(rounding, (place(node.args[0]),))
        elif isinstance(node, sympy.Abs):
            at = place(sympy.Max(node.args[0], -node.args[0], evaluate=False))
        elif isinstance(node, sympy.Mod):
            at = place(node.args[0] - node.args[1] * sympy.floor(node.args[0] / node.args[1]))
        elif type(node) in INEXACT:
            at = emit(INEXACT[type(node)], tuple(map(place, node.args)))
        else:
            raise ExtentError(f"{quote(str(node))} cannot be swept: bind its symbols, or write it with + - * / and max")
        known[node] = at
        return at

    place(expr)
    last = {argument: at for at, step in enumerate(steps) for argument in step.arguments}
    return tuple(
        _Step(step.operation, step.arguments, step.leaf, tuple(a for a in set(step.arguments) if last[a] == at))
        for at, step in enumerate(steps)
    )


def _evaluate(steps: tuple[_Step, ...], mesh: Mapping[str, Array]) -> Value:
    values: list[Value] = []
    for step in steps:
        if step.operation is None:
            values.append(exact(mesh[step.leaf] if isinstance(step.leaf, str) else step.leaf))
        else:
            values.append(step.operation(*(values[at] for at in step.arguments)))
            for at in step.last:
                values[at] = None  # a large array is given back as soon as it has been used
    return values[-1]


def _number(node: Expr) -> Fraction | float:
    """A number of the expression, exact if it is rational."""
    try:
        if node.is_Rational:
            return Fraction(int(node.p), int(node.q))
        number = float(node)
        if math.isfinite(number):
            return Fraction(number) if node.is_Float else number
    except (TypeError, ValueError, OverflowError):
        pass
    raise ExtentError(f"{quote(str(node))} is not a finite real number")


def _inexact(name: str) -> Callable[..., Any]:
    def function(*arguments: Value) -> Array:
        import numpy

        return getattr(numpy, name)(*map(ratios.nearest, arguments))

    return function


#: SymPy's classes, and what computes them: two arguments at a time, or in float64 only.
CHAINS: dict[Any, Callable[..., Any]] = {
    sympy.Add: ratios.add,
    sympy.Mul: ratios.multiply,
    sympy.Max: ratios.maximum,
    sympy.Min: ratios.minimum,
}
INEXACT = {kind: _inexact(name) for kind, name in {sympy.Pow: "power", sympy.log: "log", sympy.exp: "exp"}.items()}
