"""Symbols, formulas and their printing in the lecture's order: k · 2 · rs · wh · c.

A dimension is a Python int or a SymPy expression; the arithmetic helpers here accept both, so that a
bound layer costs plain integers and an unbound one costs formulas.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Iterable
from fractions import Fraction
from functools import cache, reduce
from html import escape
from typing import Any

import sympy
from sympy import Expr, Integer, Symbol

from .errors import ExtentError, ReadError, quote
from .reader import BINARY, MAX_DEGREE, MAX_EXPONENT, MAX_LITERAL, MAX_NESTING, NAME, read_tree, shown
from .rounding import ceiling, floor

Dim = Any  # int | sympy.Expr: SymPy's own operators are untyped
#: Functions of a formula (not of a statement): name -> SymPy class or function.
FORMULA_FUNCTIONS: dict[str, Any] = {
    "max": sympy.Max,
    "min": sympy.Min,
    "ceil": ceiling,
    "floor": floor,
    "sqrt": sympy.sqrt,
    "log2": lambda x: sympy.log(x, 2),
}
#: The lecture's signs, and what a keyboard has for them.
SPELLINGS = dict.fromkeys("·×⋅∙", "*") | {"^": "**", "−": "-"}
SPELLINGS |= {"⌈": "ceil(", "⌉": ")", "⌊": "floor(", "⌋": ")"}
MAX_ARGUMENTS = 24  # of all functions of a formula together: SymPy compares those of a max pair by pair
#: The lecture's order of factors; the number stands after k, and r s and w h stand close together.
ORDER = ["n", "k", "#", "r", "s", "w", "h", "c"]
PAIRS = (("r", "s"), ("w", "h"))


@cache
def symbol(name: str) -> Symbol:
    """The symbol of a dimension: a whole number, positive (`pad` and `offset` may be zero)."""
    if name.split("_")[0] in ("pad", "offset"):
        return Symbol(name, integer=True, nonnegative=True)
    return Symbol(name, integer=True, positive=True)


def is_number(value: Dim) -> bool:
    """True for a plain int (or Fraction): everything is bound."""
    return isinstance(value, int | Fraction)


def is_bound(value: Dim) -> bool:
    """True where no symbol is open: a number of any kind, or an expression without symbols."""
    return not getattr(value, "free_symbols", ())


def typical(value: Dim) -> Dim:
    """A count at a typical size, each open symbol being 97: for ranking formulas, never for a result."""
    return value if is_bound(value) else value.subs(dict.fromkeys(value.free_symbols, 97))


def settle(value: Dim) -> Dim:
    """An expression without symbols as a Python int (or Fraction); anything else unchanged.

    >>> settle(sympy.Integer(6)), settle(symbol("k"))
    (6, k)
    """
    if isinstance(value, Expr) and value.is_Rational:
        return int(value) if value.is_Integer else Fraction(int(value.p), int(value.q))
    return value


def expression(value: Dim) -> Expr:
    """A number or an expression as a SymPy expression (never a text)."""
    if isinstance(value, Expr):
        return value
    return sympy.Rational(value) if isinstance(value, int | Fraction) else sympy.Float(value)


def product(values: Iterable[Dim]) -> Dim:
    """The product of ints and expressions; 1 for none."""
    return reduce(lambda a, b: a * b, values, 1)


def floor_div(a: Dim, b: Dim) -> Dim:
    """`floor(a / b)`, exact for ints and for expressions."""
    return a // b if isinstance(a, int) and isinstance(b, int) else settle(floor(expression(a) / b))


def ceil_div(a: Dim, b: Dim) -> Dim:
    """`ceil(a / b)`, exact for ints and for expressions."""
    return -(-a // b) if isinstance(a, int) and isinstance(b, int) else settle(ceiling(expression(a) / b))


def ratio(a: Dim, b: Dim) -> Dim:
    """`a / b` without rounding: an int or a Fraction, or an expression."""
    if isinstance(a, int | Fraction) and isinstance(b, int | Fraction):
        value = Fraction(a) / b
        return int(value) if value.denominator == 1 else value
    return settle(expression(a) / b)


def largest(*values: Dim) -> Dim:
    """The maximum of ints and expressions."""
    return max(values) if all(isinstance(v, int) for v in values) else settle(sympy.Max(*values))


def smallest(*values: Dim) -> Dim:
    """The minimum of ints and expressions."""
    return min(values) if all(isinstance(v, int) for v in values) else settle(sympy.Min(*values))


def dimension(name: str, value: object, least: int = 1) -> Dim:
    """A checked extent or setting: an int of at least `least`, an expression, or a formula as text.

    Raises `ExtentError` for zero, negative, fractional or boolean values.

    >>> dimension("k", 64), dimension("k", "2*c")
    (64, 2*c)
    >>> dimension("k", 0)
    Traceback (most recent call last):
        ...
    dnnlab.errors.ExtentError: k = 0: expected a whole number of at least 1
    """
    if type(value) is int and least <= value <= MAX_LITERAL:
        return value  # almost always; a network has thousands of dimensions
    if isinstance(value, str):
        value = read_formula(value)
    if isinstance(value, Expr) and value.free_symbols:
        if value.is_integer is False or (value.is_negative if least == 0 else value.is_nonpositive):
            raise ExtentError(f"{name} = {quote(value)}: expected a whole number of at least {least}")
        return value
    whole: object = settle(value) if isinstance(value, Expr) else value
    if not isinstance(whole, bool):
        try:
            whole = operator.index(whole)  # type: ignore[arg-type]  # NumPy integers are welcome
        except TypeError:
            whole = None
    if isinstance(whole, bool) or not isinstance(whole, int) or whole < least:
        raise ExtentError(f"{name} = {quote(value)}: expected a whole number of at least {least}")
    if whole > MAX_LITERAL:
        raise ExtentError(f"{name} = {quote(whole, 24)}: at most {MAX_LITERAL:.0e} is accepted")
    return whole


def read_formula(text: str, names: Iterable[str] | None = None) -> Expr:
    """Read a formula such as `k·2·rs·wh·c` as data; nothing is evaluated.

    `names` declares the symbols that may stand in it (None: any); a run of declared one-letter names such
    as `rs` is their product. What `lecture` writes as text is read back. Raises `ReadError`, which
    quotes the text and says what is allowed.

    >>> read_formula("k·2·rs·wh·c", "krswhc")
    2*c*h*k*r*s*w
    >>> read_formula("ceil(h/2) ^ 2")
    ceiling(h/2)**2
    """
    declared = None if names is None else list(names)
    tree = read_tree(_spelled(text) if isinstance(text, str) else text, "eval")
    assert isinstance(tree, ast.Expression)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    if sum(len(call.args) for call in calls) > MAX_ARGUMENTS:
        raise ReadError(f"in {quote(text, 200)}: its functions take more than {MAX_ARGUMENTS} arguments in all")
    return _formula(tree.body, text, declared, 0)[0]


def _spelled(text: str) -> str:
    """The lecture's signs as Python's."""
    return "".join(SPELLINGS.get(char, char) for char in text)


def _formula(node: ast.expr, text: str, names: list[str] | None, level: int) -> tuple[Expr, int]:
    """The expression of a tree and its degree (a number counts as 1, so that powers of powers are bounded)."""

    def refuse(reason: str) -> ReadError:
        return ReadError(f"in {quote(text, 200)}: {reason}")

    if level > MAX_NESTING:
        raise refuse(f"the formula nests deeper than {MAX_NESTING}")
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        if not abs(node.value) <= MAX_LITERAL:
            raise refuse(f"a number is too large; at most {MAX_LITERAL:.0e} is read")
        if 0 < abs(node.value) < 1 / MAX_LITERAL:
            raise refuse(f"a number is too small; at least {1 / MAX_LITERAL:.0e} is read")
        return sympy.Rational(str(node.value)), 1
    if isinstance(node, ast.Name):
        value = _named(node, text, names, refuse)
        if not value.is_Symbol and len(node.id) > MAX_DEGREE:
            raise refuse(f"more than {MAX_DEGREE} factors")
        return value, 1 if value.is_Symbol else len(node.id)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        inner, degree = _formula(node.operand, text, names, level + 1)
        return (-inner if isinstance(node.op, ast.USub) else inner), degree
    if isinstance(node, ast.BinOp) and type(node.op) in BINARY:
        left, p = _formula(node.left, text, names, level + 1)
        right, q = _formula(node.right, text, names, level + 1)
        op = BINARY[type(node.op)]
        if op == "power":
            if not (right.is_Integer and 0 <= int(right) <= MAX_EXPONENT) or p * int(right) > MAX_DEGREE:
                raise refuse(f"an exponent is a whole number from 0 to {MAX_EXPONENT}, powers of powers up to 64")
            return left ** int(right), max(1, p * int(right))
        if op in ("multiply", "divide") and p + q > MAX_DEGREE:
            raise refuse(f"more than {MAX_DEGREE} factors")
        if op == "divide":
            if right == 0:
                raise refuse("division by zero")
            return left / right, p + q
        if op == "multiply":
            return left * right, p + q
        return (left + right if op == "add" else left - right), max(p, q)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FORMULA_FUNCTIONS:
        many = node.func.id in ("max", "min")
        if node.keywords or not (2 <= len(node.args) <= 8 if many else len(node.args) == 1):
            raise refuse(f"{node.func.id}() takes {'2 to 8 arguments' if many else 'one argument'}")
        if any(isinstance(arg, ast.Starred) for arg in node.args):
            raise refuse(f"{node.func.id}() takes plain arguments only")
        args = [_formula(arg, text, names, level + 1) for arg in node.args]
        if node.func.id == "log2" and args[0][0].is_nonpositive:
            raise refuse("log2 needs a positive argument")
        if node.func.id == "sqrt" and args[0][0].is_negative:
            raise refuse("sqrt needs an argument that is not negative")
        try:
            value = FORMULA_FUNCTIONS[node.func.id](*(arg for arg, _ in args))
            known = not (value.is_number and value.has(sympy.floor, sympy.ceiling))
            real = known and value.is_extended_real is not False and (not value.is_number or value.is_finite)
        except (ValueError, ArithmeticError):  # two irrational numbers that SymPy cannot tell apart
            known = False
        if not known:
            raise refuse(f"{node.func.id}() of these numbers cannot be worked out")
        if not real:
            raise refuse("the value is not a real number")
        return value, max(degree for _, degree in args)
    raise refuse(
        f"{shown(_spelled(text), node)} is not allowed; a formula is made of names, numbers, + - * / ** and "
        f"{', '.join(FORMULA_FUNCTIONS)}"
    )


def _named(node: ast.Name, text: str, names: list[str] | None, refuse: Any) -> Expr:
    """A declared symbol, or the product of declared one-letter symbols."""
    if names is None:
        if not re.fullmatch(NAME, node.id):
            raise refuse(f"{quote(node.id)} is not a name: use letters, digits and _, at most 32")
        if node.id in FORMULA_FUNCTIONS:
            raise refuse(f"{node.id!r} is a function; call it as {node.id}(...)")
        return symbol(node.id)
    if node.id in names:
        return symbol(node.id)
    if all(letter in names for letter in node.id):
        return sympy.Mul(*(symbol(letter) for letter in node.id))
    from difflib import get_close_matches

    near = get_close_matches(node.id, names, 1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    place = f"at column {_column(text, node)}{hint}; allowed: {', '.join(names)}"
    raise refuse(f"unknown name {quote(node.id)} {place}")


def _column(text: str, node: ast.Name) -> int:
    """Where a name stands in the text as it was typed: `^` was read as two signs, and Python counts bytes."""
    place = len(text) - len(text.lstrip())
    line = text.strip().splitlines()[node.lineno - 1] if node.lineno > 1 else text.strip()
    width = 0
    for char in line:
        if width >= node.col_offset:
            break
        width += len(SPELLINGS.get(char, char).encode())
        place += 1
    return place + 1


def lecture(value: Dim, style: str = "text") -> str:
    """A count in the lecture's order and spelling; `style` is "text", "latex" or "html".

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

    >>> plain(118013952), plain(Fraction(1, 3)), plain(2 * symbol("c") * symbol("k"))
    ('118,013,952', '0.3333', 'k · 2 · c')
    """
    if isinstance(value, int):
        return f"{value:,}"
    return f"{float(value):,.4g}" if is_bound(value) else lecture(value)


def latex_display(value: Dim) -> str:
    """`$...$` for a notebook."""
    return f"${lecture(value, 'latex')}$"


ONE = Integer(1)
