"""Formulas as a student or a table writes them, read as data: nothing is evaluated."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Iterable
from functools import partial
from typing import Any

import sympy
from sympy import Expr

from ..errors import ExtentError, ReadError, quote
from ..extremes import Max, Min
from ..reader import BINARY, MAX_DEGREE, MAX_EXPONENT, MAX_LITERAL, MAX_NESTING, NAME, read_tree, shown
from ..rounding import ceiling, floor
from .dims import Dim, settle, symbol


def _extreme(kind: Any, *args: Expr) -> Expr:
    """A maximum or minimum of numbers as a number; any other as it is typed: SymPy would compare the arguments pair by
    pair, which takes a tenth of a second for eight of them."""
    return kind(*args, evaluate=all(arg.is_number for arg in args))


def _root(x: Expr) -> Expr:
    """The square root. That of an even power is the larger of the base and its negative: SymPy's own `Abs` takes
    1/(k*c) - 1 for positive."""
    outside, inside = sympy.Integer(1), sympy.Integer(1)
    for factor in sympy.Mul.make_args(x):
        base, exponent = factor.as_base_exp()
        if exponent.is_Integer and exponent > 0 and exponent % 2 == 0 and not base.is_Symbol and not base.is_number:
            outside *= _extreme(Max, base, -base) ** (exponent / 2)
        else:
            inside *= factor
    return outside * sympy.sqrt(inside)


#: Functions of a formula (not of a statement): name -> SymPy class or function.
FORMULA_FUNCTIONS: dict[str, Any] = {
    "max": partial(_extreme, Max),
    "min": partial(_extreme, Min),
    "ceil": ceiling,
    "floor": floor,
    "sqrt": _root,
    "log2": lambda x: sympy.log(x, 2),
}
#: The lecture's signs, and what a keyboard has for them.
SPELLINGS = dict.fromkeys("·×⋅∙", "*") | {"^": "**", "−": "-"}
SPELLINGS |= {"⌈": "ceil(", "⌉": ")", "⌊": "floor(", "⌋": ")"}
SPELLINGS |= {"²": "**2", "³": "**3", "÷": "/", "–": "-", "—": "-", "•": "*", "∗": "*"}
SPELLINGS |= dict.fromkeys("\u00a0\u2009\u202f", " ")  # the spaces of printed pages
MAX_ARGUMENTS = 24  # of all functions of a formula together: SymPy compares those of a max pair by pair


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
                cure = "; write sqrt(...) for a root" if right == sympy.Rational(1, 2) else ""
                raise refuse(f"an exponent is a whole number from 0 to {MAX_EXPONENT}, powers of powers up to 64{cure}")
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
        # SymPy takes 1/(k*c) - 1 for positive: of fractions its word on signs does not count.
        fraction = any(power.exp.is_negative and power.free_symbols for power in args[0][0].atoms(sympy.Pow))
        if node.func.id == "log2" and not fraction and args[0][0].is_nonpositive:
            raise refuse("log2 needs a positive argument")
        if node.func.id == "sqrt" and not fraction and args[0][0].is_negative:
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
        f"{', '.join(FORMULA_FUNCTIONS)}{_cure(node)}"
    )


def _cure(node: ast.expr) -> str:
    """How to write what people often mean."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.FloorDiv):
        return "; for a division rounded down write floor(... / ...)"
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Constant | ast.BinOp):
        return "; a product is written with its sign: k*(c + 1), not k(c + 1)"
    return ""


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

    near = [name for name in names if name.casefold() == node.id.casefold()] or get_close_matches(node.id, names, 1)
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
