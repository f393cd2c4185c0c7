"""Are two formulas the same? Exact values decide, at points chosen so that every regime of both is seen.

SymPy's `equals` and `simplify` fail on the idioms of this course (`ceil(a/b)` and `floor((a+b-1)/b)`), and two random
points in a thousand would miss a third argument of a maximum that wins only where all else is small. So the points
are looked for: each argument of a max or min wins somewhere (and so does, on the way to the result, whatever stands
around it), two of them are equal somewhere, each floor and ceiling divides exactly, with a remainder of 1, with one
less than the divisor, and in between. Symbols are small, large, equal, ordered and prime.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import islice, product
from math import gcd, lcm
from typing import Any

from sympy import Expr

from .evaluating import Program, Value, agree, comparable, evaluate, real

__all__ = ["evaluate", "points", "same"]

PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97)
GRID = 100  # points of the dense grid of small numbers
WALK = 100  # points that change one or two symbols of a point that showed something new
CLIMB = 60  # points on the way to one regime that has not been seen
UNSEEN = 8  # regimes that are looked for in this way
SECRET = 16  # points that only the key knows
STEPS = 25_000  # steps of a program, over all points: what makes the work bounded for any formula
LEAST = 48  # points, however long the formulas are
FACTORS = (2, 64, 4096)

Found = tuple[Mapping[str, int], list[Value]]


def same(given: Expr, expected: Expr, key: str = "") -> bool:
    """True where both formulas have the same value for all sizes: positive whole numbers, `pad` and `offset` also 0.

    A formula that has no value where the other has one (it divides by zero) is another formula. `key` adds points
    of its own. For any key, an answer that is right is right.

    >>> from dnnlab.notation import read_formula as read
    >>> same(read("ceil(h/r)"), read("floor((h + r - 1)/r)")), same(read("max(k, c)"), read("k + max(0, c - k)"))
    (True, True)
    >>> same(read("max(k, c)"), read("max(k, c, n)")), same(read("floor(h/2) + 1"), read("ceil(h/2)"))
    (False, False)
    """
    if given == expected:
        return True
    program = Program([given, expected])
    a, b = program.roots
    decided = False
    for _, values in found(program, key):
        if not agree(values[a], values[b]):
            return False
        decided = decided or values[b] is not None
    return decided


def points(exprs: Sequence[Expr], key: str = "") -> tuple[Mapping[str, int], ...]:
    """The points at which formulas are compared: numbers by the symbols' names."""
    return tuple(point for point, _ in found(Program(exprs), key))


def found(program: Program, key: str = "") -> Iterator[Found]:
    """Points and the values there: first the fixed families, then what explores, then the key's own."""
    search = _Search(program, random.Random(" ".join(program.names)))
    yield from search.visit(search.families())
    yield from search.visit(search.grid())
    for goal in islice(search.unseen(), UNSEEN):
        yield from search.climb(goal)
    yield from search.visit(search.remainders())
    yield from search.visit(search.walk())
    secret = _Search(program, random.Random(f"{key} {' '.join(program.names)}"))
    secret.constants = search.constants
    yield from secret.visit(secret.anywhere() for _ in range(SECRET if program.names else 0))


class _Search:
    """Looks for points at which a program takes another way than at all points before."""

    def __init__(self, program: Program, rng: random.Random) -> None:
        self.program = program
        self.rng = rng
        self.names = program.names
        self.least = program.least
        self.ways: dict[tuple[Any, ...], Mapping[str, int]] = {}  # the first point of each way through the forks
        self.met: set[tuple[int, Any]] = set()  # (fork, which regime), where it is not masked by a fork further out
        self.done: set[tuple[int, ...]] = set()
        self.left = max(STEPS, LEAST * program.cost)
        self.around = _paths(program)
        numbers = {abs(part) for kind, data, _ in program.steps if kind == "number" and data is not None
                   for part in (Fraction(data).numerator, Fraction(data).denominator)}  # fmt: skip
        self.constants = sorted(number for number in numbers if number > 1)[:8]

    # -- where to look -------------------------------------------------------------------------------------

    def families(self) -> Iterator[dict[str, int]]:
        """Prime, equal, ordered, small and large numbers, squares, powers of two, the formula's own constants."""
        names, count = self.names, len(self.names)
        for shift in (3, 0):
            yield dict(zip(names, islice(PRIMES * (count // 9 + 1), shift, None), strict=False))
        yield dict(zip(reversed(names), (1009 + 2 * i for i in range(count)), strict=True))
        for value in (1, 2, 3, 4, 7, 12, 97):
            yield dict.fromkeys(names, value)
        for low, high in ((1, 1000), (2, 7), (0, 5)):
            for name in names[:12]:
                yield dict.fromkeys(names, high) | {name: low}
                yield dict.fromkeys(names, low) | {name: high}
        for base in (2, 4):
            yield {name: base ** (i + 1) for i, name in enumerate(names)}
            yield {name: base ** (count - i) for i, name in enumerate(names)}
        for _ in range(8 if self.program.irrational else 1):
            yield {name: 4 ** self.pick(range(6)) for name in names}
            yield {name: self.pick(range(1, 12)) ** 2 for name in names}
        for constant in self.constants:
            for value in (constant - 1, constant, constant + 1, 2 * constant):
                yield dict.fromkeys(names, value)
                yield {name: self.pick((value, self.pick(PRIMES))) for name in names}

    def grid(self) -> Iterator[dict[str, int]]:
        """All small numbers where there are few symbols, and some of them where there are many."""
        if not self.names:
            return
        side = 1
        while (side + 1) ** len(self.names) <= GRID:
            side += 1
        if side >= 3:
            for values in product(range(side), repeat=len(self.names)):
                yield {name: v + self.least[name] for name, v in zip(self.names, values, strict=True)}
        else:
            for _ in range(GRID // 2):
                yield {name: self.pick(range(4)) + self.least[name] for name in self.names}

    def anywhere(self) -> dict[str, int]:
        """Each symbol small, middling or large, and now and then as large as another."""
        point = {name: 1 + int(self.rng.random() * self.pick((3, 12, 100, 5000))) for name in self.names}
        if self.rng.random() < 0.3:
            point[self.pick(self.names)] = self._near(point)
        return point

    def remainders(self) -> Iterator[dict[str, int]]:
        """Points at which what is rounded leaves no remainder, one, or one less than the divisor: solved for a symbol
        in which it is linear."""
        rounded = [fork for fork in self.program.forks if self.program.steps[fork][0] in ("floor", "ceil")]
        for fork in rounded[:UNSEEN]:
            arg = self.program.steps[fork][2][0]
            starts = sorted(islice(self.ways.values(), 24), key=lambda point: -self._height(point, self.around[fork]))
            for start, name in product(starts[:3], self.names[:6]):
                here = self.program.run(start, arg)[arg]
                there = self.program.run({**start, name: start[name] + 1}, arg)[arg]
                self.left -= self.program.cost
                if self.left > 0 and isinstance(here, int | Fraction) and isinstance(there, int | Fraction):
                    divisor = lcm(here.denominator, there.denominator)
                    yield from ({**start, name: start[name] + more} for more in _turns(here, there - here, divisor))

    def walk(self) -> Iterator[dict[str, int]]:
        """Points that showed a new way, with one or two symbols changed."""
        if not self.names:
            return
        for turn in range(WALK if self.program.forks else WALK // 4):
            point = dict(self.pick(list(self.ways.values())))
            for _ in range(1 + turn % 2):
                name = self.pick(self.names)
                value = point[name]
                steps = (value + 1, value - 1, 2 * value, value // 2)
                point[name] = self._near(point) if turn % 3 else self.pick(steps)
            yield point

    def _near(self, point: Mapping[str, int]) -> int:
        """A number beside others at this point: one of them, the product of two, a multiple of a constant."""
        number = point[self.pick(self.names)]
        number *= self.pick((1, 1, 1, 2, 3, point[self.pick(self.names)]))
        if self.constants:
            number *= self.pick((1, self.pick(self.constants)))
        return number + self.pick((0, 0, 1, -1))

    def pick(self, things: Sequence[Any]) -> Any:
        """One of them; `random.choice` takes three times as long."""
        return things[int(self.rng.random() * len(things))]

    # -- looking -------------------------------------------------------------------------------------------

    def visit(self, proposals: Iterator[dict[str, int]]) -> Iterator[Found]:
        for proposal in proposals:
            if self.left < 0:
                return
            point = {name: max(self.least[name], value) for name, value in proposal.items()}
            spot = tuple(point[name] for name in self.names)
            if spot in self.done:
                continue
            self.done.add(spot)
            self.left -= self.program.cost
            values = self.program.run(point)
            way = tuple(self._regime(fork, values) for fork in self.program.forks)
            if way not in self.ways:
                self.ways[way] = point
                regimes = dict(zip(self.program.forks, way, strict=True))
                seen = (f for f in regimes if all(regimes[outer] == arg for outer, arg in self.around[f]))
                self.met.update((fork, regimes[fork]) for fork in seen)
            yield point, values

    def _regime(self, fork: int, values: list[Value]) -> Any:
        """Which argument wins (or that two are equal); how far a rounded number is from a whole one."""
        kind, _, args = self.program.steps[fork]
        if values[fork] is None:
            return None
        if kind in ("max", "min"):
            winners = [i for i in args if agree(values[i], values[fork])]
            return winners[0] if len(winners) == 1 else "tie"
        value = values[args[0]]
        if not isinstance(value, int | Fraction) or value.denominator == 1:
            return "whole"
        rest = value.numerator % value.denominator
        return "first" if rest == 1 else "last" if rest == value.denominator - 1 else "between"

    def unseen(self) -> Iterator[tuple[int, int]]:
        """Arguments of a max or min that have never won alone."""
        for fork in self.program.forks if self.names else ():
            kind, _, args = self.program.steps[fork]
            if kind in ("max", "min"):
                yield from ((fork, arg) for arg in args if (fork, arg) not in self.met)

    def climb(self, goal: tuple[int, int]) -> Iterator[Found]:
        """From the best point known, uphill towards a point where this argument wins, and its max is not lost in
        another one further out."""
        conditions = [goal, *self.around[goal[0]]]
        best, height = None, float("-inf")
        for start in islice(self.ways.values(), 24):
            now = self._height(start, conditions)
            if now > height:
                best, height = dict(start), now
        for _ in range(CLIMB // 2):
            if best is None or height >= 0:
                return
            name = self.pick(self.names)
            value = best[name]
            factor = self.pick(FACTORS)
            for moved in (value * factor, value // factor, value + 1, value - 1):
                for point, values in self.visit(iter([best | {name: moved}])):
                    yield point, values
                    now = self._lead(values, conditions)
                    if now >= height:  # also sideways, off a plateau where two are equal
                        best, height = dict(point), now

    def _height(self, point: Mapping[str, int], conditions: Sequence[tuple[int, int]]) -> float:
        return self._lead(self.program.run(point), conditions)

    def _lead(self, values: list[Value], conditions: Sequence[tuple[int, int]]) -> float:
        """How far the conditions are from being met: 0 where all are, strictly."""
        height = 0.0
        for fork, arg in conditions:
            kind, _, args = self.program.steps[fork]
            others = [values[i] for i in args if i != arg]
            if values[arg] is None or None in others:
                return float("-inf")
            mine, *others = comparable([values[arg], *others])
            rival = max(others) if kind == "max" else min(others)
            lead = real(mine - rival if kind == "max" else rival - mine) / (1 + abs(real(mine)) + abs(real(rival)))
            if lead <= 0:
                height += float(lead) - 1e-9
        return height


def _turns(start: int | Fraction, slope: int | Fraction, divisor: int) -> Iterator[int]:
    """How many slopes must be added to leave a remainder of 0, 1 and -1 in units of 1/divisor, where that can be."""
    number, step = int(start * divisor), int(slope * divisor)
    common = gcd(step, divisor)
    for rest in (0, 1, -1) if divisor > 1 else ():
        if step and (rest - number) % common == 0:
            turns = divisor // common
            yield (rest - number) // common * pow(step // common, -1, turns) % turns


def _paths(program: Program) -> dict[int, tuple[tuple[int, int], ...]]:
    """For each fork, the arguments of the forks around it that must win for it to matter."""
    paths: dict[int, tuple[tuple[int, int], ...]] = dict.fromkeys(program.roots, ())
    for place in reversed(range(len(program.steps))):
        kind, _, args = program.steps[place]
        for arg in args:
            here = ((place, arg),) if kind in ("max", "min") else ()
            paths.setdefault(arg, here + paths.get(place, ()))
    return paths
