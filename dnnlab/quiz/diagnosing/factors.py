"""What a ratio of answer to expected answer tells: a constant (2, 8, 1000 ...), symbols too many or too few."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction

from ..comparing.evaluating import Point

Ratio = tuple[Fraction, dict[str, int]]  # a constant, and the exponent of each symbol


def fitted(ratios: list[tuple[Point, Fraction]], names: list[str]) -> Ratio | None:
    """The constant and the exponents with which all these ratios are one product of powers; None if they are not."""
    if not ratios:
        return None
    if len({quotient for _, quotient in ratios}) == 1:
        return ratios[0][1], {}
    # The first points are different primes, so that the factors of the ratio show the exponents; the constant may
    # have one of these primes itself.
    for point, quotient in ratios[:2]:
        exponents = {name: _count(quotient, point[name]) for name in names}
        for name, shift in ((name, shift) for name in ("", *names) for shift in (-1, 1)):
            powers = exponents | ({name: exponents[name] + shift} if name else {})
            powers = {name: n for name, n in powers.items() if n}
            constant = quotient / power(point, powers)
            if powers and all(q == constant * power(p, powers) for p, q in ratios if all(p[n] for n in powers)):
                return constant, powers
    return None


def _count(quotient: Fraction, prime: int | Fraction) -> int:
    """How often a prime divides a fraction."""
    count, above, below = 0, quotient.numerator, quotient.denominator
    while prime > 1 and above % prime == 0 and count < 8:
        above, count = above // prime, count + 1
    while prime > 1 and below % prime == 0 and count > -8:
        below, count = below // prime, count - 1
    return count


def power(point: Point, powers: Mapping[str, int]) -> Fraction:
    value = Fraction(1)
    for name, exponent in powers.items():
        value *= Fraction(point[name]) ** exponent
    return value


def ratio_ids(constant: Fraction, powers: Mapping[str, int]) -> Iterator[str]:
    """The ids of the notes that a ratio speaks for."""
    missing = _listed({name: -n for name, n in powers.items() if n < 0})
    extra = _listed({name: n for name, n in powers.items() if n > 0})
    if len(powers) == 2 and sorted(powers.values()) == [-1, 1]:
        yield "swapped:" + ",".join(sorted(powers))
    elif missing:
        yield f"missing:{missing}"
    elif extra:
        yield f"extra:{extra}"
    elif constant != 1:
        yield constant_id(constant)


def _listed(powers: Mapping[str, int]) -> str:
    return ",".join(name if n == 1 else f"{name}^{n}" for name, n in sorted(powers.items()))


def constant_id(constant: Fraction) -> str:
    """The id of the note for a constant ratio.

    >>> [constant_id(Fraction(n)) for n in (2, 8, 1000, 3, -1)]
    ['factor:2', 'bits', 'prefix:1000', 'factor:3', 'sign']
    """
    if constant == -1:
        return "sign"
    if constant in (8, Fraction(1, 8)):
        return "bits"
    if constant in (4, Fraction(1, 4)):
        return f"element-size:{constant}"
    for size in (constant, 1 / constant) if constant else ():
        if any(size == 1000**power for power in range(1, 6)):
            return "prefix:1000"
        if any(size in (1024**power, Fraction(1024, 1000) ** power) for power in range(1, 6)):
            return "binary:1024"
    return f"factor:{constant}" if max(abs(constant.numerator), constant.denominator) <= 16 else "factor"
