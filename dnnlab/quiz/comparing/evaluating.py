"""The exact value of formulas at points: whole numbers and fractions, and 60 digits where a root is irrational.

Symbols count by name: the same letter may come from the reader (whole) and from a pipeline's closed form (a time).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy
from fractions import Fraction
from math import isqrt
from typing import Any

import sympy
from mpmath import MPContext  # SymPy's own arithmetic of long decimals
from sympy import Expr

Value = Any  # int | Fraction | mpf, or None where the formula has no value
Point = Mapping[str, int | Fraction]

LARGEST = 4096  # bits of a number on the way; a formula that needs more is no answer to anything
SAME = 40  # digits in which two irrational values must agree

REAL = MPContext()
REAL.dps = 60
mpf: Any = REAL.mpf
LOG2 = REAL.ln(2)


class Program:
    """Formulas as one list of steps, each a sum, product ... of steps before it; what they share is worked out once."""

    def __init__(self, exprs: Iterable[Expr]) -> None:
        self.steps: list[tuple[str, Any, tuple[int, ...]]] = []
        self._known: dict[Any, int] = {}
        self._seen: dict[Expr, int] = {}
        self.roots = [self._place(sympy.sympify(expr)) for expr in exprs]
        self.least: dict[str, int] = {}
        for expr in self._seen:
            if expr.is_Symbol:
                least = 1 if expr.is_positive or not expr.is_nonnegative else 0
                self.least[expr.name] = max(least, self.least.get(expr.name, 0))
        self.names = sorted(self.least)
        #: Steps with more than one regime: the arguments of a max or min, the one argument of a floor or ceiling.
        self.forks = [i for i, (kind, _, _) in enumerate(self.steps) if kind in ("max", "min", "floor", "ceil")]
        self.irrational = any(kind in ("root", "log2") for kind, _, _ in self.steps)
        #: Steps of one run; those with 60 digits take their time.
        self.cost = len(self.steps) * (8 if self.irrational else 1)

    def _place(self, expr: Expr) -> int:
        if expr not in self._seen:
            kind, data, args = _step(expr)
            key = (kind, data, tuple(self._place(arg) for arg in args))
            if key not in self._known:
                self._known[key] = len(self.steps)
                self.steps.append(key)
            self._seen[expr] = self._known[key]
        return self._seen[expr]

    def run(self, point: Point, until: int | None = None) -> list[Value]:
        """The values of all steps (of the first `until + 1`)."""
        values: list[Value] = []
        undefined, value = False, None
        for kind, data, args in self.steps if until is None else self.steps[: until + 1]:
            if kind == "symbol":
                value = point[data]
            elif kind == "number":
                value = data
            else:
                numbers = [values[i] for i in args]
                lost = undefined and any(number is None for number in numbers)
                value = None if lost else OPERATIONS[kind](numbers, data)
            undefined = undefined or value is None
            values.append(value)
        return values

    def value(self, point: Point) -> Value:
        """The value of the last formula."""
        return self.run(point)[self.roots[-1]]

    def changed(self, steps: Mapping[int, tuple[str, Any, tuple[int, ...]]]) -> Program:
        """The same program with some steps replaced."""
        other = copy(self)
        other.steps = [steps.get(place, step) for place, step in enumerate(self.steps)]
        return other


def _step(expr: Expr) -> tuple[str, Any, tuple[Expr, ...]]:
    """What kind of step an expression is, its own number or name, and its arguments."""
    if expr.is_Symbol:
        return "symbol", expr.name, ()
    if expr.is_Rational:
        return "number", (int(expr.p) if expr.q == 1 else Fraction(int(expr.p), int(expr.q))), ()
    if expr.is_Float:
        return "number", Fraction(str(expr)), ()
    if expr.is_Add or expr.is_Mul:
        return ("sum" if expr.is_Add else "product"), None, expr.args
    if expr.is_Pow and expr.exp.is_Rational and expr.exp.q in (1, 2, 4, 8, 16):
        data = (int(expr.exp.p), int(expr.exp.q).bit_length() - 1)
        return ("root" if data[1] else "power"), data, (expr.base,)
    for kind, made in FUNCTIONS.items():
        if isinstance(expr, made):
            return kind, None, expr.args
    return "number", None, ()  # infinite, imaginary, or nothing that a formula is made of: it has no value


#: What SymPy makes of a formula that was read: Abs is its sqrt of a square, and log2(x) its log(x)/log(2), so that the
#: base of the logarithm does not matter as long as it is always the same.
FUNCTIONS: dict[str, Any] = {
    "max": sympy.Max,
    "min": sympy.Min,
    "floor": sympy.floor,
    "ceil": sympy.ceiling,
    "log2": sympy.log,
    "abs": sympy.Abs,
}


def _exact(above: int, below: int = 1) -> Value:
    if below == 1:
        return above if above.bit_length() <= LARGEST else None
    if above.bit_length() > LARGEST or below.bit_length() > LARGEST:
        return None
    if not above % below:
        return above // below
    return Fraction(above, below)


def real(value: Value) -> Any:
    return mpf(value.numerator) / value.denominator if isinstance(value, int | Fraction) else value


def total(numbers: list[Value], _: Any = None) -> Value:
    above, below, rest = 0, 1, None
    for number in numbers:
        if type(number) is int:
            above += number * below
        elif type(number) is Fraction:
            a, b = number.numerator, number.denominator
            above, below = (above + a, below) if b == below else (above * b + a * below, below * b)
        else:
            rest = number if rest is None else rest + number
    exact = _exact(above, below)
    return exact if rest is None or exact is None else rest + real(exact)


def times(numbers: list[Value], _: Any = None) -> Value:
    above, below, rest = 1, 1, None
    for number in numbers:
        if type(number) is int:
            above *= number
        elif type(number) is Fraction:
            above *= number.numerator
            below *= number.denominator
        else:
            rest = number if rest is None else rest * number
    exact = _exact(above, below)
    return exact if rest is None or not exact else rest * real(exact)


def _power(numbers: list[Value], data: tuple[int, int]) -> Value:
    base, exponent = numbers[0], data[0]
    if not isinstance(base, int | Fraction):
        base = _settled(base) if exponent < 0 else base
        return base**exponent if base or exponent > 0 else None
    if exponent < 0:
        if not base:
            return None
        above, below = (base.denominator, base.numerator) if base > 0 else (-base.denominator, -base.numerator)
    else:
        above, below = base.numerator, base.denominator
    if max(above.bit_length(), below.bit_length()) * abs(exponent) > 2 * LARGEST:
        return None
    return _exact(above ** abs(exponent), below ** abs(exponent))


def _root(numbers: list[Value], data: tuple[int, int]) -> Value:
    base = numbers[0] if isinstance(numbers[0], int | Fraction) else _settled(numbers[0])
    for _ in range(data[1]):
        if base < 0:
            return None
        if isinstance(base, int | Fraction):
            above, below = isqrt(base.numerator), isqrt(base.denominator)
            whole = above * above == base.numerator and below * below == base.denominator
            base = _exact(above, below) if whole else REAL.sqrt(real(base))
        else:
            base = REAL.sqrt(base)
    return _power([base], (data[0], 0))


def _log2(numbers: list[Value], _: Any) -> Value:
    (x,) = numbers
    if x <= 0:
        return None
    if isinstance(x, int | Fraction) and x.numerator & (x.numerator - 1) == 0 == x.denominator & (x.denominator - 1):
        return x.numerator.bit_length() - x.denominator.bit_length()
    return REAL.ln(real(x)) / LOG2


def _settled(value: Value) -> Value:
    """A long decimal that is a whole number in all its digits but the last: sqrt(2)*sqrt(2)."""
    near = int(REAL.nint(value))
    return near if agree(value, near) else value


def _abs(numbers: list[Value], _: Any) -> Value:
    return abs(numbers[0])


def _floor(numbers: list[Value], _: Any) -> Value:
    (x,) = numbers
    if isinstance(x, int | Fraction):
        return x.numerator // x.denominator
    x = _settled(x)
    return x if isinstance(x, int) else int(REAL.floor(x))


def _ceil(numbers: list[Value], _: Any) -> Value:
    below = _floor([-numbers[0]], None)
    return -below


def _most(numbers: list[Value], _: Any) -> Value:
    return max(comparable(numbers))


def _least(numbers: list[Value], _: Any) -> Value:
    return min(comparable(numbers))


def comparable(numbers: list[Value]) -> list[Value]:
    """Exact numbers as they are, or all as long decimals where one is."""
    exact = all(isinstance(number, int | Fraction) for number in numbers)
    return numbers if exact else [real(number) for number in numbers]


OPERATIONS: dict[str, Any] = {
    "sum": total,
    "product": times,
    "by": lambda numbers, make: make(numbers),
    "power": _power,
    "root": _root,
    "log2": _log2,
    "floor": _floor,
    "ceil": _ceil,
    "max": _most,
    "min": _least,
    "abs": _abs,
}


def agree(a: Value, b: Value) -> bool:
    """True where two values are the same number: exactly, or in 40 digits where one is irrational."""
    if type(a) is int and type(b) is int:
        return a == b
    if a is None or b is None:
        return a is b
    if isinstance(a, int | Fraction) and isinstance(b, int | Fraction):
        return a == b
    a, b = real(a), real(b)
    return bool(abs(a - b) <= TOLERANCE * max(1, abs(a), abs(b)))


TOLERANCE = mpf(10) ** -SAME


def minus(a: Value, b: Value) -> Value:
    """`a - b`, or None where one has no value."""
    if a is None or b is None:
        return None
    a, b = comparable([a, b])
    return a - b


def evaluate(expr: Expr, point: Point) -> Value:
    """The value of a formula at a point of numbers by name; None where it has none, as where it divides by zero.

    >>> from dnnlab.notation import read_formula
    >>> evaluate(read_formula("ceil(h/r)/c"), {"h": 7, "r": 2, "c": 3})
    Fraction(4, 3)
    """
    return Program([expr]).value(point)
