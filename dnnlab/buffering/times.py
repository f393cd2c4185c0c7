"""Reading what a pipeline is given: sequences of times, and numbers of buffers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from fractions import Fraction
from numbers import Integral, Rational
from typing import Any

from ..errors import ExtentError, ReadError, ShapeError, quote
from ..notation import dimension, settle
from ..quantities import read_quantity

Time = int | float | Fraction  # seconds; integers and fractions stay exact
Times = tuple[Time, ...]
Reader = Callable[[str, Any], Any]  # of a number of buffers, by its name
_PLAIN = {int, float, Fraction}
_MOST = 1e300  # seconds in one engine: any number of engines together stay below the largest float


def read_times(name: str, values: Any) -> Times:
    """The seconds that an engine takes for each tile, at least one; `name` says in errors whose they are.

    Integers and fractions stay as they are, a text is a quantity. Raises `ShapeError` for what is no sequence or
    an empty one, `ReadError` for a value that is no number, `ExtentError` for a negative or too large one.

    >>> read_times("load", [3, Fraction(1, 3), "45 ms"])
    (3, Fraction(1, 3), 0.045)
    >>> read_times("load", [3, -1])
    Traceback (most recent call last):
    ...
    dnnlab.errors.ExtentError: load[1] = -1: a time cannot be negative
    """
    if hasattr(values, "tolist"):  # a NumPy array's own way to Python numbers
        values = values.tolist()
    if isinstance(values, str | bytes | Mapping | Set) or not isinstance(values, Iterable):
        raise ShapeError(f"{name} = {quote(values)}: expected a sequence of times, one a tile, such as [3, 2, 4]")
    times = tuple(values)
    if not times:
        raise ShapeError(f"{name} is empty: a pipeline needs at least one tile")
    # A million plain numbers are looked at together; one by one only where something is wrong or to be read.
    if not set(map(type, times)) <= _PLAIN or not _sound(times):
        times = tuple(_time(f"{name}[{i}]", value) for i, value in enumerate(times))
        if not _sound(times):
            raise too_long(name)
    return times


def same_length(columns: Mapping[str, Times]) -> int:
    """The number of tiles that all engines agree on; `ShapeError` with the lengths where they do not."""
    lengths = {name: len(times) for name, times in columns.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise ShapeError(f"each tile passes every engine, so all need as many times: {told}")
    return next(iter(lengths.values()))


def read_count(name: str, value: object) -> int:
    """A number of buffers (or tiles): a whole number of at least 1, `ExtentError` for anything else."""
    count = dimension(name, value)
    if not isinstance(count, int):
        raise ExtentError(f"{name} = {quote(value)}: expected a whole number of at least 1, not a formula")
    return count


def behind(stores: bool, buffers: Any, out_buffers: Any, read: Reader = read_count) -> tuple[Any, ...]:
    """Buffers behind the loader and, with a store stage, behind the arithmetic; None there: as many as in front."""
    count = read("buffers", buffers)
    if stores:
        return count, count if out_buffers is None else read("out_buffers", out_buffers)
    if out_buffers is not None:
        raise ExtentError(f"out_buffers = {quote(out_buffers)}, but there is no store stage to empty them")
    return (count,)


def between(engines: int, buffers: Any, read: Reader = read_count) -> tuple[Any, ...]:
    """Buffers between each neighbouring pair of engines: one number for all, or one a pair."""
    places = engines - 1
    if isinstance(buffers, Iterable) and not isinstance(buffers, str):
        counts = tuple(read("buffers", count) for count in buffers)
    else:
        counts = (read("buffers", buffers),) * places
    if len(counts) != places:
        raise ShapeError(f"{engines} engines have {places} places for buffers between them, but {len(counts)} numbers "
                         f"of buffers were given")  # fmt: skip
    return counts


def read_stages(stages: object) -> dict[str, Any]:
    """What a chain of engines is given, by their names; `ShapeError` for fewer than two."""
    if not isinstance(stages, Mapping) or len(stages) < 2 or not all(isinstance(name, str) for name in stages):
        raise ShapeError(f"stages = {quote(stages)}: expected the times of two engines or more by their names, such as "
                         f"{{'load': [...], 'compute': [...]}}")  # fmt: skip
    return dict(stages)


def too_long(name: str) -> ExtentError:
    """The error for times whose sum leaves the range of floats."""
    return ExtentError(f"the times of {name} add up to more than {_MOST:g} s; use smaller ones")


def _sound(times: Times) -> bool:
    """Nothing negative, undefined or infinite, and a sum that a float can hold."""
    total: Time
    try:
        total = sum(times)
        return total <= _MOST and min(times) >= 0  # false for a NaN, which spreads through the sum
    except OverflowError:
        return False


def _time(name: str, value: Any) -> Time:
    """One time, exactly if it is exact."""
    time: Time
    given, value = value, settle(value)  # a SymPy number is an int or a Fraction
    if isinstance(value, Rational) and not isinstance(value, bool):
        time = int(value) if isinstance(value, Integral) else Fraction(int(value.numerator), int(value.denominator))
        if time > _MOST:
            raise ExtentError(f"{name} = {quote(given, 24)}: a time of at most {_MOST:g} s is accepted")
    else:
        try:
            time = read_quantity(value, "s")
        except ReadError as error:
            raise ReadError(f"{name}: {error}") from error
    if time < 0:
        raise ExtentError(f"{name} = {quote(given)}: a time cannot be negative")
    return time
