"""Exact arithmetic on arrays: whole numbers and fractions in int64, for as long as they provably fit.

A value is a `Ratio` of integers with bounds on their sizes, worked out in Python's own integers, so that no
operation can overflow unseen. What does not fit, and what is irrational, is a plain float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

Array = Any  # a NumPy array, or a plain number where nothing varies; NumPy is imported when it is first needed
LIMIT = 2**63  # int64 ends here


@dataclass(frozen=True, eq=False)
class Ratio:
    """`above / below` in integers; `below` is positive; no `|above|` exceeds `top`, no `below` `bottom`."""

    above: Array
    below: Array
    top: int
    bottom: int


Value = Any  # Ratio | Array of float64


def exact(value: Any) -> Value:
    """A fraction or an integer array as a `Ratio` if it fits; a float as it is."""
    if not isinstance(value, Fraction):
        whole = hasattr(value, "dtype") and value.dtype.kind == "i"
        return Ratio(value, 1, int(abs(value).max()), 1) if whole else value
    ratio = Ratio(value.numerator, value.denominator, abs(value.numerator), value.denominator)
    return ratio if max(ratio.top, ratio.bottom) < LIMIT else nearest(ratio)


def nearest(value: Value) -> Array:
    """The float64 nearest to each value."""
    return value.above / value.below if isinstance(value, Ratio) else value


def settled(value: Value) -> Array:
    """An int64 array where all values are whole, else float64."""
    import numpy

    if not isinstance(value, Ratio):
        return numpy.asarray(value, numpy.float64)
    if _is_one(value.below):
        return numpy.asarray(value.above, numpy.int64)
    whole, rest = numpy.divmod(value.above, value.below)
    return numpy.asarray(nearest(value) if numpy.any(rest) else whole)


def add(a: Value, b: Value) -> Value:
    pair = _common(a, b)
    if pair and pair[0].top + pair[1].top < LIMIT:
        a, b = pair
        return Ratio(a.above + b.above, a.below, a.top + b.top, a.bottom)
    return nearest(a) + nearest(b)


def multiply(a: Value, b: Value) -> Value:
    if isinstance(a, Ratio) and isinstance(b, Ratio):
        top, bottom = a.top * b.top, a.bottom * b.bottom
        if top < LIMIT and bottom < LIMIT:
            return Ratio(_times(a.above, b.above), _times(a.below, b.below), top, bottom)
    return nearest(a) * nearest(b)


def maximum(a: Value, b: Value) -> Value:
    return _pick("maximum", a, b)


def minimum(a: Value, b: Value) -> Value:
    return _pick("minimum", a, b)


def power(base: Value, exponent: int) -> Value:
    """A whole power; raises ZeroDivisionError for one over zero."""
    size = abs(exponent)
    if not isinstance(base, Ratio) or size > 4096:
        return nearest(base) ** float(exponent)
    if exponent < 0:
        base = _inverse(base)
    top, bottom = base.top**size, base.bottom**size
    if top >= LIMIT or bottom >= LIMIT:
        return nearest(base) ** float(size)
    return base if size == 1 else Ratio(base.above**size, base.below**size, top, bottom)


def floor(value: Value) -> Value:
    import numpy

    if not isinstance(value, Ratio):
        return numpy.floor(value)
    if _is_one(value.below):
        return value
    top = -(-value.top // value.below) if isinstance(value.below, int) else value.top
    return Ratio(value.above // value.below, 1, top, 1)


def ceiling(value: Value) -> Value:
    return _negative(floor(_negative(value)))


def _negative(value: Value) -> Value:
    return Ratio(-value.above, value.below, value.top, value.bottom) if isinstance(value, Ratio) else -value


def _pick(name: str, a: Value, b: Value) -> Value:
    import numpy

    pair = _common(a, b)
    if pair is None:
        return getattr(numpy, name)(nearest(a), nearest(b))
    a, b = pair
    return Ratio(getattr(numpy, name)(a.above, b.above), a.below, max(a.top, b.top), a.bottom)


def _common(a: Value, b: Value) -> tuple[Ratio, Ratio] | None:
    """Both over one denominator; None if one is a float or they would not fit."""
    if not (isinstance(a, Ratio) and isinstance(b, Ratio)):
        return None
    plain = isinstance(a.below, int) and isinstance(b.below, int)
    if a.below is b.below or (plain and a.below == b.below):
        return a, b
    shared = math.gcd(a.below, b.below) if plain else 1
    bottom = a.bottom * b.bottom // shared
    top_a, top_b = a.top * (b.bottom // shared), b.top * (a.bottom // shared)
    if max(bottom, top_a, top_b) >= LIMIT:
        return None
    up_a, up_b = (b.below // shared, a.below // shared) if plain else (b.below, a.below)
    below = _times(a.below, up_a)
    return (
        Ratio(_times(a.above, up_a), below, top_a, bottom),
        Ratio(_times(b.above, up_b), below, top_b, bottom),
    )


def _inverse(ratio: Ratio) -> Ratio:
    """One over it, the denominator positive again."""
    import numpy

    above, below = ratio.below, ratio.above
    if not numpy.all(below):
        raise ZeroDivisionError("division by zero")
    if numpy.any(numpy.less(below, 0)):
        above, below = above * numpy.sign(below), abs(below)
    return Ratio(above, below, ratio.bottom, ratio.top)


def _times(a: Array, b: Array) -> Array:
    """`a * b`, without touching an array for a factor of 1."""
    return b if _is_one(a) else a if _is_one(b) else a * b


def _is_one(a: Array) -> bool:
    return isinstance(a, int) and a == 1
