"""The usual ways to get a formula wrong: a sum where the maximum belongs, one symbol for another, a floor forgotten.

A slip is a formula's program with one step changed, or run at other points; SymPy is not asked. Made from the expected
formula it gives what a student may have written; made from the student's, it takes out what was put in too much.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from itertools import combinations, permutations
from typing import Any

from ..comparing.evaluating import Point, Program, Value, comparable, times, total

#: The id of the note, and the values of the changed formula.
Slip = tuple[str, Callable[[Point], Value]]

EXTREMES, ROUNDED = ("max", "min"), ("floor", "ceil")
ENGINES = ("L", "C", "S")  # as the lecture on double buffering calls them: load, compute, store
OTHER = {"max": "min", "min": "max", "floor": "ceil", "ceil": "floor"}


def _forks(program: Program, kinds: tuple[str, ...]) -> list[int]:
    return [fork for fork in program.forks if program.steps[fork][0] in kinds][:8]


def _each(program: Program, kinds: tuple[str, ...], make: Callable[[Any], Any]) -> Iterator[Callable[[Point], Value]]:
    """Each step of these kinds changed alone, and all of them where there are several."""
    forks = _forks(program, kinds)
    changes = {fork: make(program.steps[fork]) for fork in forks}
    for fork in forks:
        yield program.changed({fork: changes[fork]}).value
    if len(forks) > 1:
        yield program.changed(changes).value


def _moved(program: Program, **change: Callable[[Value], Value]) -> Callable[[Point], Value]:
    """The formula with other values for some symbols."""
    return lambda point: program.value({**point, **{name: make(point[name]) for name, make in change.items()}})


def _renamed(program: Program, names: dict[str, str]) -> Callable[[Point], Value]:
    return lambda point: program.value({**point, **{name: point[other] for name, other in names.items()}})


def summed(program: Program) -> Iterator[Slip]:
    """The sum where a maximum stands; or of some of its arguments."""
    maxima = _forks(program, ("max",))
    if all(program.steps[arg][0] != "number" for fork in maxima for arg in program.steps[fork][2]):
        for changed in _each(program, ("max",), lambda step: ("sum", None, step[2])):
            yield "serial", changed
    for fork in maxima:
        args = program.steps[fork][2]
        for size in range(1, len(args)) if 3 <= len(args) <= 5 else ():
            for some in combinations(range(len(args)), size):
                yield "serial", program.changed({fork: ("by", partial(_beside, some), args)}).value
                yield "serial", program.changed({fork: ("by", partial(_within, some), args)}).value


def _beside(some: tuple[int, ...], numbers: list[Value]) -> Value:
    """The maximum of some, and all others added."""
    others = [number for i, number in enumerate(numbers) if i not in some]
    return total([max(comparable([numbers[i] for i in some])), *others])


def _within(some: tuple[int, ...], numbers: list[Value]) -> Value:
    """The maximum of the sum of some and of each other."""
    others = [number for i, number in enumerate(numbers) if i not in some]
    return max(comparable([total([numbers[i] for i in some]), *others]))


def of_extremes(program: Program) -> Iterator[Slip]:
    """Maximum and minimum confused, or one argument forgotten, or taken for all."""
    for changed in _each(program, EXTREMES, lambda step: (OTHER[step[0]], *step[1:])):
        yield "minmax", changed
    for fork in _forks(program, EXTREMES):
        kind, _, args = program.steps[fork]
        for size in range(1, len(args) if len(args) <= 6 else 2):
            for some in combinations(args, size):
                yield "regime", program.changed({fork: (kind, None, some)}).value


def of_rounding(program: Program) -> Iterator[Slip]:
    """Floor and ceiling forgotten or confused."""
    for changed in _each(program, ROUNDED, lambda step: ("sum", None, step[2])):
        yield "rounding", changed
    for changed in _each(program, ROUNDED, lambda step: (OTHER[step[0]], *step[1:])):
        yield "rounding", changed


def of_padding(program: Program) -> Iterator[Slip]:
    """Padding on no side, or on one instead of two."""
    for name in program.names:
        if name.split("_")[0] in ("pad", "padding"):
            yield "padding", _moved(program, **{name: lambda pad: 0})
            yield "padding", _moved(program, **{name: lambda pad: Fraction(pad, 2)})
            yield "padding", _moved(program, **{name: lambda pad: 2 * pad})
            yield "padding", _moved(program, **{name: lambda pad: -pad})


def of_pipelines(program: Program) -> Iterator[Slip]:
    """A tile too many or too few; the first load or the end forgotten, or all that does not overlap."""
    if not is_pipeline(program):
        return
    if "n" in program.names:
        yield "tile:+1", _moved(program, n=lambda value: value + 1)
        yield "tile:-1", _moved(program, n=lambda value: value - 1)
    periods = _forks(program, ("max",))
    engines = [name for name in ENGINES if name in program.names]
    for size in range(1, len(engines) if periods else 0):
        for some in combinations(engines, size):
            yield "fill" if "L" in some else "drain", partial(_without, program, some, ())
    for period in periods:
        yield "fill", partial(_without, program, tuple(engines), (period,))
        yield "tile:+1", partial(_without, program, (), (period,))


def _without(program: Program, some: tuple[str, ...], more: tuple[int, ...], point: Point) -> Value:
    """The formula, less these symbols, plus these steps of its own."""
    values = program.run(point)
    return total([values[program.roots[-1]], *(-point[name] for name in some), *(values[place] for place in more)])


def of_one(program: Program) -> Iterator[Slip]:
    """Off by one in the result."""
    yield "off-by-one", lambda point: _plus(program.value(point), 1)
    yield "off-by-one", lambda point: _plus(program.value(point), -1)


def of_steps(program: Program) -> Iterator[Slip]:
    """Off by one in a symbol."""
    for name in program.names:
        yield "off-by-one", _moved(program, **{name: lambda value: value + 1})
        yield "off-by-one", _moved(program, **{name: lambda value: value - 1})


def of_symbols(program: Program) -> Iterator[Slip]:
    """Two symbols exchanged, one written for another, one forgotten, one squared."""
    names = program.names[:10]
    for a, b in combinations(names, 2):
        yield f"swapped:{a},{b}", _renamed(program, {a: b, b: a})
    for a, b in permutations(names, 2):
        yield f"swapped:{min(a, b)},{max(a, b)}", _renamed(program, {a: b})
    divisors = _divisors(program)
    if len(divisors) > 1:
        yield "inverse", _moved(program, **dict.fromkeys(divisors, _inverse))
    for a in names:
        yield "inverse", _moved(program, **{a: _inverse})
        yield f"missing:{a}", _moved(program, **{a: lambda value: 1})
        yield f"squared:{a}", _moved(program, **{a: lambda value: value * value})


def _divisors(program: Program) -> list[str]:
    """The symbols that something is divided by."""
    below = [args[0] for kind, data, args in program.steps if kind == "power" and data[0] < 0]
    return [program.steps[place][1] for place in below if program.steps[place][0] == "symbol"]


def _inverse(value: Value) -> Value:
    return Fraction(1) / value if value else 0


def of_products(program: Program) -> Iterator[Slip]:
    """A sum of two where their product belongs, or the other way round."""
    for place, (kind, _, args) in enumerate(program.steps):
        if kind == "product" and 2 <= len(args) <= 9:
            for pair in combinations(args, 2):
                rest = [arg for arg in args if arg not in pair]
                yield "sum-for-product", program.changed({place: ("by", _sum_times, (*pair, *rest))}).value
        if kind == "sum" and len(args) == 2 and all(program.steps[arg][0] != "number" for arg in args):
            yield "product-for-sum", program.changed({place: ("product", None, args)}).value


def _sum_times(numbers: list[Value]) -> Value:
    """The sum of the first two times all others."""
    return times([total(numbers[:2]), *numbers[2:]])


def is_pipeline(program: Program) -> bool:
    """True for a time in terms of load and compute, as the lecture on double buffering writes it."""
    return {"L", "C"} <= set(program.names)


def _plus(value: Value, step: int) -> Value:
    return None if value is None else value + step
