"""What a formula says, worked out a second time: Python's own `ast` and exact numbers on a dense grid of small whole
numbers. It shares nothing with the code that it examines: no SymPy, no reader of ours."""

from __future__ import annotations

import ast
import itertools
import math
import operator
import random
from collections.abc import Callable, Mapping
from decimal import Context, Decimal
from fractions import Fraction
from functools import cache, lru_cache

Number = int | Fraction | Decimal  # a Decimal only where a root or a logarithm is irrational
Point = Mapping[str, int]
Value = Callable[[Point], Number]

DIGITS = Context(prec=50)
LN2 = DIGITS.ln(Decimal(2))
TOLERANCE = Decimal(10) ** -40
GRID = 2000  # points of the dense grid, at the most
WIDE = 450  # more points, of all sizes up to some thousands: ties and regimes that small numbers never reach

SIGNS = {"·": "*", "×": "*", "^": "**", "−": "-", "⌈": "ceil(", "⌉": ")", "⌊": "floor(", "⌋": ")"}
ARITHMETIC = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}


class Undefined(ArithmeticError):
    """A division by zero, or the root of a negative number."""


def differ(answer: str, expected: str, names: tuple[str, ...]) -> dict[str, int] | None:
    """A point at which the two texts have different values, or None where there is none on the whole grid."""
    mine = compiled(answer, names)
    met = 0
    for point, b in zip(points(names), values(expected, names), strict=True):
        a = at(mine, point)
        if (a is None) != (b is None):
            return dict(point)
        if a is not None and b is not None:
            met += 1
            if not equal(a, b):
                return dict(point)
    assert met > GRID // 40, f"{answer!r} and {expected!r} have values at {met} points only"
    return None


@lru_cache(maxsize=4)
def values(text: str, names: tuple[str, ...]) -> tuple[Number | None, ...]:
    """What a text is worth at all points."""
    formula = compiled(text, names)
    return tuple(at(formula, point) for point in points(names))


def at(formula: Value, point: Point) -> Number | None:
    """The value at a point; None where it has none."""
    try:
        return formula(point)
    except Undefined:
        return None


def equal(a: Number, b: Number) -> bool:
    if isinstance(a, Decimal) or isinstance(b, Decimal):
        x, y = decimal(a), decimal(b)
        return abs(DIGITS.subtract(x, y)) <= TOLERANCE * max(1, abs(x), abs(y))
    return a == b


@cache
def points(names: tuple[str, ...]) -> tuple[dict[str, int], ...]:
    """Every point of a cube of small numbers, then some of all sizes, and those where numbers are equal or zero."""
    side = max(3, int(GRID ** (1 / len(names)) + 1e-9))
    least = [0 if name.split("_")[0] in ("pad", "offset") else 1 for name in names]
    cube = itertools.product(*(range(low, low + side) for low in least))
    draw = random.Random(" ".join(names))
    wide = [
        tuple(max(low, int(2 ** draw.uniform(0, top))) for low in least) for top in (4, 7, 12) for _ in range(WIDE // 3)
    ]
    same = [(size,) * len(names) for size in (1, 2, 3, 4, 7, 16, 30, 64, 1000)]
    return tuple(dict(zip(names, values, strict=True)) for values in (*cube, *wide, *same))


def compiled(text: str, names: tuple[str, ...]) -> Value:
    """The text as a function of a point. ValueError for what is not a formula in these names."""
    for sign, plain in SIGNS.items():
        text = text.replace(sign, plain)
    return _compiled(ast.parse(text.strip(), mode="eval").body, names)


def _compiled(node: ast.expr, names: tuple[str, ...]) -> Value:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        number = node.value if isinstance(node.value, int) else Fraction(str(node.value))
        return lambda point: number
    if isinstance(node, ast.Name):
        return _named(node.id, names)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = _compiled(node.operand, names)
        return lambda point: -inner(point)
    if isinstance(node, ast.BinOp):
        left, right = _compiled(node.left, names), _compiled(node.right, names)
        if isinstance(node.op, ast.Div):
            return lambda point: divided(left(point), right(point))
        if isinstance(node.op, ast.Pow):
            return lambda point: power(left(point), right(point))
        sign = ARITHMETIC[type(node.op)]
        return lambda point: calculated(sign, left(point), right(point))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        args = [_compiled(arg, names) for arg in node.args]
        return _called(node.func.id, args)
    raise ValueError(f"not a formula: {ast.dump(node)}")


def _named(name: str, names: tuple[str, ...]) -> Value:
    if name in names:
        return lambda point: point[name]
    if set(name) <= set(names):  # rs, wh: letters that stand together are multiplied
        return lambda point: math.prod(point[letter] for letter in name)
    raise ValueError(f"{name} is not among {names}")


def _called(name: str, args: list[Value]) -> Value:
    if name in ("max", "min"):
        better = operator.gt if name == "max" else operator.lt

        def extreme(point: Point) -> Number:
            first, *others = (arg(point) for arg in args)
            for other in others:
                if calculated(better, other, first):
                    first = other
            return first

        return extreme
    (arg,) = args
    one = {"ceil": math.ceil, "floor": math.floor, "sqrt": root, "log2": log2}[name]
    return lambda point: one(arg(point))


def decimal(value: Number) -> Decimal:
    """Fifty digits of it."""
    if isinstance(value, Fraction):
        return DIGITS.divide(Decimal(value.numerator), Decimal(value.denominator))
    return DIGITS.create_decimal(value)


def calculated(sign: Callable[[Number, Number], Number], a: Number, b: Number) -> Number:
    if isinstance(a, Decimal) or isinstance(b, Decimal):
        a, b = decimal(a), decimal(b)
        exact = {operator.add: DIGITS.add, operator.sub: DIGITS.subtract, operator.mul: DIGITS.multiply}
        return exact.get(sign, sign)(a, b)
    return sign(a, b)


def divided(a: Number, b: Number) -> Number:
    if b == 0:
        raise Undefined
    if isinstance(a, Decimal) or isinstance(b, Decimal):
        return DIGITS.divide(decimal(a), decimal(b))
    value = Fraction(a, b)
    return value.numerator if value.denominator == 1 else value


def power(base: Number, exponent: Number) -> Number:
    if not isinstance(exponent, int) or exponent < 0:
        raise ValueError(f"exponent {exponent}")
    return math.prod([base] * exponent) if not isinstance(base, Decimal) else DIGITS.power(base, exponent)


def root(value: Number) -> Number:
    """Exact where both parts of the fraction are squares."""
    if value < 0:
        raise Undefined
    if not isinstance(value, Decimal):
        top, bottom = math.isqrt(Fraction(value).numerator), math.isqrt(Fraction(value).denominator)
        if Fraction(top, bottom) ** 2 == value:
            return divided(top, bottom)
    return DIGITS.sqrt(decimal(value))


@lru_cache(maxsize=100_000)
def log2(value: Number) -> Number:
    """Exact for powers of two."""
    if value <= 0:
        raise Undefined
    if not isinstance(value, Decimal):
        top, bottom = Fraction(value).numerator, Fraction(value).denominator
        if top & (top - 1) == 0 and bottom & (bottom - 1) == 0:
            return top.bit_length() - bottom.bit_length()
    return DIGITS.divide(DIGITS.ln(decimal(value)), LN2)
