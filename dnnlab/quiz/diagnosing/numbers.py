"""What is likely wrong with a wrong number: its ratio to the expected one, and the course's forms with a usual slip."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from functools import cache
from itertools import combinations, permutations, product

from sympy import Expr

from ...buffering.closed_forms import equal_tiles
from ...notation import ceil_div, largest, symbol
from ..comparing.evaluating import Program, Value
from ..verdicts import Note
from . import slips
from .factors import constant_id, power, ratio_ids
from .remarks import note

#: Constants that speak for themselves, and those that a number of the question may explain better.
CLEAR = [Fraction(2), *(Fraction(base) ** n for n in range(1, 6) for base in (1000, 1024))]
BINARY = [Fraction(1024, 1000) ** n for n in range(1, 5)]
LIKELY = [Fraction(n) for n in (8, 4, 3, 16, 12, 6, 100)]


def diagnose_number(
    given: Fraction, expected: Fraction, numbers: Mapping[str, Fraction], tolerance: Fraction
) -> Note | None:
    """What is likely wrong with a number; `numbers` are those of the question, by name, `tolerance` is relative.

    >>> diagnose_number(Fraction(50), Fraction(25), {}, Fraction(1, 100)).id
    'factor:2'
    >>> diagnose_number(Fraction(25), Fraction(800), {"batch": Fraction(32)}, Fraction(1, 100)).id
    'missing:batch'
    >>> diagnose_number(Fraction(80), Fraction(50), {"C": Fraction(30), "M": Fraction(50)}, Fraction(1, 100)).id
    'serial'
    """
    id = next(_ids(given, expected, numbers, tolerance), None)
    return None if id is None else note(id)


def _ids(given: Fraction, expected: Fraction, numbers: Mapping[str, Fraction], tolerance: Fraction) -> Iterator[str]:
    """The ids of all notes that fit, the surest first."""
    if not expected or not given:
        return
    ratio = given / expected
    close = min(tolerance, Fraction(1, 200))  # 1024 and 1000 are told apart
    useful = {name: Fraction(n) for name, n in sorted(numbers.items()) if n > 0}

    def is_near(value: Value, wanted: Fraction, within: Fraction = close) -> bool:
        return isinstance(value, int | Fraction) and abs(value - wanted) <= abs(wanted) * within

    def constants(sizes: list[Fraction], within: Fraction = close) -> Iterator[str]:
        yield from (constant_id(size) for one in sizes for size in (one, 1 / one) if is_near(ratio, size, within))

    if is_near(ratio, Fraction(-1)):
        yield "sign"
    yield from constants(CLEAR)
    for form in _forms(tuple(useful)):
        if is_near(form.value(useful), expected):
            for rule in (slips.summed, slips.of_extremes, slips.of_rounding, slips.of_pipelines):
                yield from (id for id, changed in rule(form) if is_near(changed(useful), given))
        if is_near(form.value(useful), given):
            yield from ("overlapped" for _, changed in slips.summed(form) if is_near(changed(useful), expected))
    if expected.denominator == 1 and given.denominator != 1 and abs(given - expected) < 1:
        yield "rounding"
    if expected.denominator == given.denominator == 1 and abs(given - expected) == 1:
        yield "off-by-one"
    for count in (1, 2, 3):
        for names in combinations(useful, count):
            for signs in product((-1, 1), repeat=count):
                powers = dict(zip(names, signs, strict=True))
                if power(useful, powers) != 1 and is_near(ratio, power(useful, powers)):
                    yield from ratio_ids(Fraction(1), powers)
        if count == 1:
            yield from constants(LIKELY)
    if is_near(given * expected, Fraction(1)):
        yield "inverse"
    yield from constants(BINARY, Fraction(1, 500))
    difference = abs(given - expected)
    for count in (1, 2):
        for names in combinations(useful, count):
            if difference and is_near(power(useful, dict.fromkeys(names, 1)), difference, Fraction(1, 1000)):
                yield "term:missing" if given < expected else "term:extra"
    yield from constants([Fraction(n) for n in range(5, 65)])
    yield from constants([Fraction(a, b) for a in range(2, 9) for b in range(2, a)], Fraction(1, 1000))


@cache
def _forms(names: tuple[str, ...]) -> tuple[Program, ...]:
    """What the course makes of a few numbers: the larger, parts rounded up, the time of a pipeline."""
    symbols = [symbol(name) for name in names[:8]]
    forms: list[Expr] = [largest(*some) for size in (2, 3) for some in combinations(symbols, size)]
    forms += [ceil_div(a, b) for a, b in permutations(symbols, 2)]
    if {"n", "L", "C"} <= set(names):
        forms += [equal_tiles().makespan, equal_tiles(buffers=1).makespan]
    return tuple(Program([form]) for form in forms)
