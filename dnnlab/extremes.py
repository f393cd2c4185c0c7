"""Maximum and minimum that keep what cannot be proven needless.

SymPy's own drop an argument when they believe that another is never smaller, and up to version 1.14 (at least) they
believe that of 1 - 1/(k*c) and 0: `sympy.Max(0, 1 - 1/(k*c))` is 0.
"""

from __future__ import annotations

from typing import Any, ClassVar

import sympy
from sympy import Expr


class _Extreme:
    _sign: ClassVar[int]
    args: tuple[Any, ...]

    def __new__(cls, *args: Any, evaluate: bool = True) -> Any:
        given = [sympy.sympify(arg, strict=True) for arg in args]
        flat = dict.fromkeys(part for arg in given for part in (arg.args if isinstance(arg, cls) else (arg,)))
        kept: list[Expr] = []
        for arg in flat:
            if evaluate and any(_never_less(cls._sign * (other - arg)) for other in kept):
                continue
            kept = [other for other in kept if not (evaluate and _never_less(cls._sign * (arg - other)))]
            kept.append(arg)
        if len(kept) == 1:
            return kept[0]
        made = Expr.__new__(cls, *sympy.ordered(kept))
        made._argset = frozenset(kept)  # SymPy's own methods ask for it
        return made


class Max(_Extreme, sympy.Max):
    """The largest of its arguments.

    >>> k, c = sympy.symbols("k c", integer=True, positive=True)
    >>> Max(0, 1 - 1 / (k * c)), Max(k, k + 1), Max(k, Max(c, 2), 3)
    (Max(0, 1 - 1/(c*k)), k + 1, Max(3, c, k))
    """

    _sign = 1


class Min(_Extreme, sympy.Min):
    """The smallest of its arguments.

    >>> k, c = sympy.symbols("k c", integer=True, positive=True)
    >>> Min(k, k / c), Min(k, k * c)
    (Min(k, k/c), k)
    """

    _sign = -1


def _never_less(difference: Expr) -> bool:
    """True where it is surely not negative. SymPy's word counts only where no symbol stands below a fraction bar."""
    if difference.is_number:
        return bool(difference >= 0)
    difference = sympy.factor_terms(difference)
    below = any(power.exp.is_negative is not False for power in difference.atoms(sympy.Pow) if power.base.free_symbols)
    return not below and difference.is_nonnegative is True
