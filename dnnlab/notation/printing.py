"""Counts printed in the lecture's order and spelling: k · 2 · rs · wh · c."""

from __future__ import annotations

from html import escape
from typing import Any

import sympy
from sympy import Expr, Integer

from ..errors import ReadError
from .dims import Dim, expression, is_bound, symbol

#: The lecture's order of factors; the number stands after k, and r s and w h stand close together.
ORDER = ["n", "k", "#", "r", "s", "w", "h", "c"]
PAIRS = (("r", "s"), ("w", "h"))


def lecture(value: Dim, style: str = "text") -> str:
    """A count in the lecture's order and spelling; `style` is "text", "latex" or "html".

    >>> from dnnlab.notation import read_formula
    >>> lecture(read_formula("2*c*h*k*r*s*w"))
    'k · 2 · rs · wh · c'
    >>> lecture(read_formula("2*c*h*k*r*s*w"), "latex")
    'k \\\\cdot 2 \\\\cdot rs \\\\cdot wh \\\\cdot c'
    >>> lecture(read_formula("k*c + k")), lecture(6)
    ('k · c + k', '6')
    """
    if style not in ("text", "latex", "html"):
        raise ReadError(f"style {style!r}: expected 'text', 'latex' or 'html'")
    expr = expression(value)
    if expr.has(sympy.log):
        expr = expr.replace(sympy.log, lambda x: sympy.log(x) if x == 2 else _Log2(x) * sympy.log(2))
    return _Printer(style).show(expr)


class _Log2(sympy.Function):
    """`log2`, which SymPy knows as a quotient of natural logarithms; it lives while a formula is printed."""

    is_extended_real = True

    def _eval_evalf(self, precision: int) -> Expr:
        return (sympy.log(self.args[0]) / sympy.log(2))._eval_evalf(precision)


FENCES = {
    "text": {"ceiling": ("⌈", "⌉"), "floor": ("⌊", "⌋")},
    "latex": {"ceiling": (r"\lceil ", r" \rceil"), "floor": (r"\lfloor ", r" \rfloor")},
}
LOG2 = {"text": "log2", "latex": r"\log_2", "html": "log<sub>2</sub>"}


class _Printer:
    """Prints sums of products; every other function keeps its usual sign."""

    def __init__(self, style: str) -> None:
        self.style = style
        self.dot = r" \cdot " if style == "latex" else " · "
        self.minus = "-" if style == "latex" else "−"

    def show(self, expr: Expr) -> str:
        if expr.is_Add:
            terms = sorted(expr.args, key=lambda t: (t.is_number, -len(t.free_symbols), self._rank(t)))
            text = self.show(terms[0])
            for term in terms[1:]:
                shown = self.show(term)
                text += f" {self.minus} {shown[1:]}" if shown.startswith(self.minus) else f" + {shown}"
            return text
        if expr.is_Mul or expr.is_Pow or expr.is_Rational:
            top, bottom = expr.as_numer_denom()
            if bottom == 1:
                return self._product(expr)
            if self.style == "latex":
                sign, top = ("-", -top) if top.could_extract_minus_sign() else ("", top)
                return rf"{sign}\frac{{{self.show(top)}}}{{{self.show(bottom)}}}"
            over = f"({self.show(bottom)})" if bottom.is_Add or bottom.is_Mul else self.show(bottom)
            return f"({self.show(top)}) / {over}" if top.is_Add else f"{self.show(top)} / {over}"
        return self._atom(expr)

    def _product(self, expr: Expr) -> str:
        number, rest = expr.as_coeff_Mul()
        powers = {base: exponent for base, exponent in rest.as_powers_dict().items() if base != 1}
        factors = []
        for a, b in PAIRS:
            if powers.get(symbol(a)) == powers.get(symbol(b)) == 1:
                del powers[symbol(a)], powers[symbol(b)]
                factors.append(((ORDER.index(a), a), f"<i>{a}{b}</i>" if self.style == "html" else a + b))
        factors += [(self._rank(base), self._power(base, exponent)) for base, exponent in powers.items()]
        if abs(number) != 1 or not factors:
            factors.append(((ORDER.index("#"), ""), str(abs(number))))
        return self.minus * bool(number < 0) + self.dot.join(text for _, text in sorted(factors))

    def _rank(self, base: Expr) -> tuple[int, str]:
        name = str(base)
        return (ORDER.index(name) if name in ORDER else len(ORDER), name)

    def _power(self, base: Expr, exponent: Expr) -> str:
        if exponent.is_Rational and exponent.q == 2:
            inner = self.show(base)
            shown = rf"\sqrt{{{inner}}}" if self.style == "latex" else f"sqrt({inner})"
            exponent = Integer(exponent.p)
        else:
            plain = base.is_Symbol or base.is_Function or (base.is_Integer and base >= 0)
            shown = self._atom(base) if plain else f"({self.show(base)})"
        if exponent == 1:
            return shown
        power = self.show(exponent)
        if self.style == "text":
            return f"{shown}^{power}" if exponent.is_Integer else f"{shown}^({power})"
        return f"{shown}^{{{power}}}" if self.style == "latex" else f"{shown}<sup>{power}</sup>"

    def _atom(self, expr: Expr) -> str:
        if expr.is_Symbol:
            name = str(expr)
            if self.style == "html":
                return f"<i>{escape(name)}</i>"
            if self.style == "latex" and len(name) > 1:
                return r"\mathrm{" + name.replace("_", r"\_") + "}"
            return name
        if not expr.args:
            return str(expr)
        name = type(expr).__name__
        inner = ", ".join(self.show(arg) for arg in sorted(expr.args, key=str))
        fences = FENCES["latex" if self.style == "latex" else "text"].get(name)
        if fences:
            return fences[0] + inner + fences[1]
        if isinstance(expr, _Log2):
            return f"{LOG2[self.style]}({inner})"
        return ("\\" if self.style == "latex" else "") + f"{name.lower()}({inner})"


def plain(value: Any) -> str:
    """A count with its thousands apart, a ratio in four digits, or a formula in the lecture's order.

    >>> from fractions import Fraction
    >>> plain(118013952), plain(Fraction(1, 3)), plain(2 * symbol("c") * symbol("k"))
    ('118,013,952', '0.3333', 'k · 2 · c')
    """
    if isinstance(value, int):
        return f"{value:,}"
    return f"{float(value):,.4g}" if is_bound(value) else lecture(value)
