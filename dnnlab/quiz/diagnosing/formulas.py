"""What is likely wrong with a wrong formula: general rules that know no question, the most telling first.

A rule compares the values of both formulas at the points where they were told apart: their ratio is a constant, or a
product of symbols; their difference is a term; one of them agrees with a slip of the other (`slips`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from itertools import combinations, islice

import sympy
from sympy import Expr

from ...notation import symbol
from ..comparing.evaluating import Point, Program, Value, agree, comparable, minus, times, total
from ..comparing.sampling import Found, found
from ..verdicts import Note
from . import slips
from .factors import fitted, ratio_ids
from .remarks import note

POINTS = 80  # at which a slip must agree with the answer
STEPS = 20_000  # of slips of one kind, at one point: what makes the work bounded
ENOUGH = 6  # points that show a regime
DEEP = 3  # levels at which a single part that differs is looked into

#: What a slip of the answer that leads to the expected formula means.
REVERSED = {"serial": "overlapped", "tile:+1": "tile:-1", "tile:-1": "tile:+1", "missing": "extra",
            "fill": "term:extra", "drain": "term:extra",
            "sum-for-product": "product-for-sum", "product-for-sum": "sum-for-product"}  # fmt: skip


def diagnose(given: Expr, expected: Expr) -> Note | None:
    """What is likely wrong with a formula that is not the expected one; None where no rule fits.

    >>> from dnnlab.notation import read_formula as read
    >>> diagnose(read("k*c*r*s"), read("2*k*c*r*s")).id, diagnose(read("2*k*r*s"), read("2*k*c*r*s")).id
    ('factor:1/2', 'missing:c')
    >>> diagnose(read("n*(L + C)"), read("L + (n - 1)*max(L, C) + C")).id
    'serial'
    """
    case = _Case(_spelled(given), _spelled(expected))
    for rules, part in ((case.whole, False), (case.parts, True), (case.by_regime, False), (case.by_name, False)):
        for id in rules():
            return note(id, part)
    return None


def _spelled(expr: Expr) -> Expr:
    """The formula in the symbols of the reader, so that its parts can be compared: a time may be another `L`."""
    return expr.xreplace({one: symbol(one.name) for one in expr.free_symbols if one != symbol(one.name)})


class _Case:
    """A wrong formula, the expected one, and their values where they were told apart."""

    def __init__(self, given: Expr, expected: Expr, depth: int = 0) -> None:
        self.given, self.expected, self.depth = given, expected, depth
        self.program = Program([given, expected])
        self.own, self.known = Program([given]), Program([expected])
        self.most = STEPS // len(self.program.steps)
        a, b = self.program.roots
        seen = islice(found(self.program), POINTS)
        self.found: list[Found] = [one for one in seen if one[1][a] is not None and one[1][b] is not None]
        self.points = [point for point, _ in self.found]
        self.mine = [values[a] for _, values in self.found]
        self.theirs = [values[b] for _, values in self.found]
        self.difference = list(map(minus, self.mine, self.theirs))

    def whole(self) -> Iterator[str]:
        """The ids of all rules that fit the formula as a whole, the most telling first."""
        if len(self.found) < ENOUGH:
            return
        yield from self.by_ratio()
        yield from self.by_slip(slips.summed)
        yield from self.by_slip(slips.of_pipelines)
        yield from self.by_slip(slips.of_extremes)
        yield from self.by_slip(slips.of_padding)
        yield from self.by_slip(slips.of_rounding)
        yield from self.by_slip(slips.of_one)
        yield from self.by_term()
        yield from self.by_division()
        yield from self.by_slip(slips.of_steps)
        yield from self.by_slip(slips.of_symbols)
        yield from self.by_slip(slips.of_products)

    def parts(self) -> Iterator[str]:
        """What is wrong with the one part that is."""
        yield from self.by_factor()
        yield from self.by_part()

    # -- one value against the other ---------------------------------------------------------------------------

    def by_ratio(self) -> Iterator[str]:
        """The answer is the expected formula times a constant and powers of symbols; or upside down."""
        pairs = [comparable([a, b]) for a, b in zip(self.mine, self.theirs, strict=True)]
        if self.known.names and all(agree(a * b, 1) for a, b in pairs):
            yield "inverse"
        fit = self.monomial(self.mine, self.theirs)
        if fit is None:
            return
        upside_down = [name for name, n in fit[1].items() if abs(n) == 2 and self._divides(name)]
        if len(fit[1]) == 1 and upside_down:
            yield "inverse"
        yield from ratio_ids(*fit)

    def _divides(self, name: str) -> bool:
        powers = (self.given * self.expected).atoms(sympy.Pow)
        powers |= self.given.atoms(sympy.Pow) | self.expected.atoms(sympy.Pow)
        return any(power.exp == -1 and str(power.base) == name for power in powers)

    def monomial(self, above: Iterable[Value], below: Iterable[Value]) -> tuple[Fraction, dict[str, int]] | None:
        """Constant and exponents with which `above` is `below` times a product of powers; None for anything else."""
        ratios: list[tuple[Point, Fraction]] = []
        for point, a, b in zip(self.points, above, below, strict=True):
            if a is None or b is None or bool(a) != bool(b):
                return None
            if b:
                quotient = _quotient(a, b)
                if quotient is None:
                    return None
                ratios.append((point, quotient))
                if len(ratios) == ENOUGH and fitted(ratios, self.program.names) is None:
                    return None
        return fitted(ratios, self.program.names)

    # -- slips -------------------------------------------------------------------------------------------------

    def by_slip(self, rule: Callable[[Program], Iterator[slips.Slip]]) -> Iterator[str]:
        for id, changed in islice(rule(self.known), self.most):
            if self.matches(changed, self.mine):
                yield id
        for id, changed in islice(rule(self.own), self.most):
            if self.matches(changed, self.theirs):
                kind, colon, about = id.partition(":")
                yield REVERSED.get(id) or REVERSED.get(kind, kind) + colon + about

    def matches(self, changed: Callable[[Point], Value], values: list[Value]) -> bool:
        """True where a changed formula has these values at all points."""
        return all(agree(changed(point), value) for point, value in zip(self.points, values, strict=True))

    # -- terms and parts ---------------------------------------------------------------------------------------

    def by_term(self) -> Iterator[str]:
        """A term too few, or too many, or with the wrong sign."""
        theirs, mine = self.terms(self.expected), self.terms(self.given)
        for id, terms, factor in (("term:missing", theirs, -1), ("term:extra", mine, 1), ("sign", theirs, -2)):
            for size in (1, 2, 3):
                for some in combinations(terms, size) if size < len(terms) else ():
                    if self.differs([times([factor, total(list(values))]) for values in zip(*some, strict=True)]):
                        yield id

    def by_factor(self) -> Iterator[str]:
        """A term that is itself wrong by a factor."""
        for expr, sign in ((self.expected, 1), (self.given, -1)):
            terms = self.terms(expr)
            for term in terms if len(terms) > 1 else ():
                rest = (total([value, sign * more]) for value, more in zip(term, self.difference, strict=True))
                fit = self.monomial(*((rest, term) if sign > 0 else (term, rest)))
                if fit is not None:
                    yield from ratio_ids(*fit) if fit[1] else ("term:factor",)

    def differs(self, by: list[Value]) -> bool:
        """True where the answer is the expected value and so much more, everywhere."""
        return all(map(agree, self.difference, by))

    def terms(self, expr: Expr) -> list[list[Value]]:
        """The values of the terms of a sum, as it is written and multiplied out."""
        terms = list(sympy.Add.make_args(expr))
        if len(terms) <= 8 and sympy.count_ops(expr) <= 60:
            terms += sympy.Add.make_args(sympy.expand_mul(expr))
        terms = list(dict.fromkeys(terms))[:12]
        program = Program(terms)
        runs = [program.run(point) for point in self.points]
        return [[run[root] for run in runs] for root in program.roots]

    def by_part(self) -> Iterator[str]:
        """Formulas that differ in one place only: what is wrong there."""
        mine = [arg for arg in self.given.args if arg not in self.expected.args]
        theirs = [arg for arg in self.expected.args if arg not in self.given.args]
        if (
            self.given.func.__name__ == self.expected.func.__name__
            and len(mine) == len(theirs) == 1
            and self.depth < DEEP
        ):
            case = _Case(mine[0], theirs[0], self.depth + 1)
            yield from case.whole()
            yield from case.parts()
            yield from case.by_regime()

    # -- regimes -----------------------------------------------------------------------------------------------

    def by_division(self) -> Iterator[str]:
        """Right wherever everything divides, or wherever nothing does."""
        program = self.known if self.known.forks else self.own
        rounded = [program.steps[fork][2][0] for fork in program.forks if program.steps[fork][0] in slips.ROUNDED]
        if rounded:
            runs = [program.run(point) for point in self.points]
            whole = [[_is_whole(run[place]) for place in rounded] for run in runs]
            if self.holds(list(map(all, whole))) or self.holds([not any(one) for one in whole]):
                yield "rounding"

    def by_regime(self) -> Iterator[str]:
        """Right wherever the same arguments of the maxima win."""
        program = self.known if self.known.forks else self.own
        extremes = [fork for fork in program.forks if program.steps[fork][0] in slips.EXTREMES]
        runs = [program.run(point) for point in self.points] if extremes else []
        ways = [tuple(_winner(program.steps[fork][2], run, fork) for fork in extremes) for run in runs]
        for way in dict.fromkeys(ways):
            if None not in way and self.holds([one == way for one in ways]):
                yield "regime"

    def holds(self, regime: list[bool]) -> bool:
        """True where the answer is right throughout a regime that was seen often enough, and not everywhere."""
        there = [agree(a, b) for a, b, here in zip(self.mine, self.theirs, regime, strict=True) if here]
        return ENOUGH <= len(there) < len(regime) and all(there)

    def by_name(self) -> Iterator[str]:
        """Where no rule fits: a symbol that stands only in one of both."""
        mine, theirs = set(self.own.names), set(self.known.names)
        if theirs - mine and len(theirs - mine) <= 3:
            yield "missing:" + ",".join(sorted(theirs - mine))
        elif mine - theirs:
            yield "extra:" + ",".join(sorted(mine - theirs))


def _winner(args: tuple[int, ...], run: list[Value], fork: int) -> int | None:
    """The argument that is the maximum or minimum; None where two are equal."""
    winners = [arg for arg in args if agree(run[arg], run[fork])]
    return winners[0] if len(winners) == 1 else None


def _is_whole(value: Value) -> bool:
    return isinstance(value, int | Fraction) and value.denominator == 1


def _quotient(a: Value, b: Value) -> Fraction | None:
    """`a / b` where that is rational."""
    if isinstance(a, int | Fraction) and isinstance(b, int | Fraction):
        return Fraction(a) / b
    a, b = comparable([a, b])
    near = Fraction(str(a / b)).limit_denominator(10**6)
    return near if agree(near, a / b) else None
