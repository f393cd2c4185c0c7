"""Between a right-hand side and SymPy: differentiate it, and write the derivative as a line again.

Each tensor element of the line becomes one symbol. `max`, `min` and `step` keep their own functions, since
SymPy's `Max` and `Heaviside` would rewrite what a student wrote.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sympy
from sympy import Expr, Function, Integer, Symbol

from .errors import DnnlabError, quote
from .statements import COMPUTE, Apply, Node, Number, Ref, Scalar, Statement, evaluate, fold, walk, write


class _Plain(Function):
    """A function that is left as the student wrote it, unless all its arguments are numbers."""

    @classmethod
    def eval(cls, *args: Expr) -> Expr | None:
        if not all(arg.is_comparable for arg in args):
            return None
        compute = COMPUTE[FROM_SYMPY[cls]]
        return Integer(int(compute(*map(float, args)))) if cls in (_Step, _Equal) else compute(*args)


class _Step(_Plain):
    """1 where the argument is positive, else 0; flat on either side."""

    def fdiff(self, argindex: int = 1) -> Expr:
        return sympy.S.Zero


class _Equal(_Plain):
    """1 where both arguments are equal; its slope is 0 wherever it has one."""

    def fdiff(self, argindex: int = 1) -> Expr:
        return sympy.S.Zero


class _Max(_Plain):
    """The larger of two: the slope goes to the winner."""

    def fdiff(self, argindex: int = 1) -> Expr:
        a, b = self.args
        return _Step(a - b) if argindex == 1 else 1 - _Step(a - b)


class _Min(_Plain):
    """The smaller of two."""

    def fdiff(self, argindex: int = 1) -> Expr:
        a, b = self.args
        return _Step(b - a) if argindex == 1 else 1 - _Step(b - a)


class _Abs(_Plain):
    """The size of a number."""

    def fdiff(self, argindex: int = 1) -> Expr:
        return _Step(self.args[0]) - _Step(-self.args[0])


TO_SYMPY: dict[str, Any] = {
    **{op: COMPUTE[op] for op in ("add", "subtract", "multiply", "divide", "power", "negate")},
    "max": lambda a, *rest: a if not rest else _Max(a, TO_SYMPY["max"](*rest)),
    "min": lambda a, *rest: a if not rest else _Min(a, TO_SYMPY["min"](*rest)),
    "exp": sympy.exp,
    "log": sympy.log,
    "sqrt": sympy.sqrt,
    "tanh": sympy.tanh,
    "erf": sympy.erf,
    "abs": _Abs,
    "step": _Step,
    "equal": _Equal,
}
FROM_SYMPY: dict[type[Any], str] = {
    _Max: "max",
    _Min: "min",
    _Abs: "abs",
    _Step: "step",
    _Equal: "equal",
    sympy.Abs: "abs",  # what SymPy makes of sqrt(x**2)
    sympy.exp: "exp",
    sympy.log: "log",
    sympy.tanh: "tanh",
    sympy.erf: "erf",
}
#: Undo the outermost function: f(x) = y becomes x = inverse(y).
INVERSES: dict[type[Any], Any] = {
    sympy.exp: sympy.log,
    sympy.log: sympy.exp,
    sympy.tanh: sympy.atanh,
}


_NO_NUMBER = (sympy.zoo, sympy.nan, sympy.oo, -sympy.oo, sympy.I)


class Alphabet:
    """One symbol for each leaf of a statement, named so that SymPy sorts them in order of appearance."""

    def __init__(self, statement: Statement, *others: Node) -> None:
        leaves: list[Node] = [
            node
            for tree in (statement.value, *others)
            for node in walk(tree, subscripts=False)
            if isinstance(node, Ref | Scalar)
        ]
        unique = dict.fromkeys([*leaves, statement.target])
        self.symbols: dict[Node, Symbol] = {
            leaf: Symbol(f"v{place:03d}", real=True) for place, leaf in enumerate(unique)
        }
        self.leaves: dict[Symbol, Node] = {symbol: leaf for leaf, symbol in self.symbols.items()}

    def expression(self, node: Node) -> Expr:
        """The SymPy expression of a tree."""

        def leaf(node: Number | Scalar | Ref) -> Expr:
            if isinstance(node, Number):
                exact = sympy.Rational(str(node.value))
                return exact if exact.q < 10**6 else sympy.Float(node.value)  # sqrt(2) stays a plain float
            return self.symbols[node]

        def apply(op: str, args: list[Expr]) -> Expr:
            expr = TO_SYMPY[op](*args)
            if expr.is_number:
                _constant(expr)  # exp(exp(exp(9))) is refused here, before one more exp takes for ever
            return expr

        expr = fold(node, leaf, apply)
        if expr.has(*_NO_NUMBER):
            raise DnnlabError(f"{quote(write(node))} has no real value: it divides by zero or leaves a domain")
        return expr

    def node(self, expr: Expr) -> Node:
        """The tree of a SymPy expression, with differences and quotients written as such."""
        if expr.is_Symbol:
            return self.leaves[expr]
        if expr.is_number:
            return _constant(expr)
        if expr.is_Add:
            return self._sum(expr)
        if expr.is_Mul or expr.is_Pow:
            return self._product(expr)
        if isinstance(expr, sympy.sign):
            return self._sum(_Step(expr.args[0]) - _Step(-expr.args[0]))
        return Apply(FROM_SYMPY[type(expr)], tuple(self.node(arg) for arg in expr.args))

    def _sum(self, expr: Expr) -> Node:
        # 1 - x reads better than -x + 1: start with a term that has no minus
        terms = sorted(expr.as_ordered_terms(), key=lambda term: bool(term.could_extract_minus_sign()))
        total = self.node(terms[0])
        for term in terms[1:]:
            negative = term.could_extract_minus_sign()
            total = Apply("subtract" if negative else "add", (total, self.node(-term if negative else term)))
        return total

    def _product(self, expr: Expr) -> Node:
        above: list[Node] = []
        below: list[Node] = []
        constant: Expr = sympy.S.One
        for factor in _positive(sympy.Mul.make_args(expr)):
            base, exponent = factor.as_base_exp() if not isinstance(factor, sympy.exp) else (factor, sympy.S.One)
            if factor.is_number:
                constant *= factor
            elif exponent.is_negative:
                below += self._power(base, -exponent)
            else:
                above += self._power(base, exponent)
        negative = bool(constant.is_negative)
        constant = abs(constant)
        if constant.is_Rational and constant.p == 1 and constant.q != 1 and above:
            below.insert(0, _constant(1 / constant))  # x / 6 rather than 0.1666 * x
        elif constant != 1 or not above:
            above.insert(0, _constant(constant))
        result = _chain(above)
        if below:
            result = Apply("divide", (result, _chain(below)))
        return Apply("negate", (result,)) if negative else result

    def _power(self, base: Expr, exponent: Expr) -> list[Node]:
        whole, half = divmod(exponent, 1)
        node = self.node(base)
        parts: list[Node] = []
        if whole == 1:
            parts.append(node)
        elif whole > 1:
            parts.append(Apply("power", (node, Number(int(whole)))))
        if half == sympy.Rational(1, 2):
            parts.append(Apply("sqrt", (node,)))
        elif half != 0:
            parts.append(Apply("exp", (Apply("multiply", (Number(float(half)), Apply("log", (node,)))),)))
        return parts


def _positive(factors: tuple[Expr, ...]) -> list[Expr]:
    """The same product with a leading minus moved into a difference: -a*(b - 1) becomes a*(1 - b)."""
    result = list(factors)
    if result[0].is_number and result[0].is_negative:
        for place, factor in enumerate(result):
            if factor.is_Add and any(term.could_extract_minus_sign() for term in factor.args):
                result[0], result[place] = -result[0], -factor
                break
    return result


def _constant(expr: Expr) -> Number:
    try:
        number = int(expr) if expr.is_Integer else float(expr)
        finite = math.isfinite(number)
    except (TypeError, OverflowError):
        finite = False
    if not finite:
        raise DnnlabError(f"the constant {quote(str(expr))} has no finite real value")
    return Number(number)


def _chain(factors: list[Node]) -> Node:
    result = factors[0]
    for factor in factors[1:]:
        result = Apply("multiply", (result, factor))
    return result


@lru_cache(maxsize=4096)
def slopes(statement: Statement) -> tuple[tuple[Ref, Node], ...]:
    """The derivative of the right-hand side by each tensor element it reads (zero ones left out).

    >>> from dnnlab.reader import read_statement
    >>> from dnnlab.statements import write
    >>> [write(slope) for _, slope in slopes(read_statement("out[i] = first[i] * second[i]"))]
    ['second[i]', 'first[i]']
    """
    alphabet = Alphabet(statement)
    value = alphabet.expression(statement.value)
    result = []
    for ref in statement.reads:
        slope = sympy.factor_terms(sympy.diff(value, alphabet.symbols[ref]))
        if slope != 0:
            result.append((ref, alphabet.node(slope)))
    return tuple(result)


@dataclass(frozen=True)
class ThroughOutput:
    """How a line's backward pass can do without `element`: its slopes written through the output, and where
    the line can be undone, the element itself as a function of the output."""

    element: Ref
    slopes: tuple[tuple[Ref, Node], ...]
    inverse: Node | None


@lru_cache(maxsize=4096)
def through_output(statement: Statement) -> ThroughOutput | None:
    """An input element that the slopes of a line can do without, if there is one.

    Two ways are tried: undo the line step by step (sigmoid, tanh, softmax), or read the output in place of
    the input (ReLU: `step(out)` is `step(inp)`). Each is checked on random numbers, since an inverse holds on
    one branch only. None where neither holds, as for GELU.

    >>> from dnnlab.reader import read_statement
    >>> from dnnlab.statements import write
    >>> found = through_output(read_statement("out[i] = 1 / (1 + exp(-inp[i]))"))
    >>> [write(slope) for _, slope in found.slopes]
    ['out[i] * (1 - out[i])']
    """
    if statement.accumulate or statement.target.name in (ref.name for ref in statement.refs):
        return None
    alphabet = Alphabet(statement)
    target = alphabet.symbols[statement.target]
    value = alphabet.expression(statement.value)
    for ref in statement.reads:
        if ref.subscripts != statement.target.subscripts:
            continue  # an element of another place is not what the output overwrites
        element = alphabet.symbols[ref]
        plain = {other: sympy.diff(value, alphabet.symbols[other]) for other in statement.reads}
        undone = _undo(value, element, target)
        for inverse in (undone, target):
            if inverse is None:
                continue
            rewritten = [
                (other, _tidy(slope.subs(element, inverse), force=True)) for other, slope in plain.items() if slope != 0
            ]
            if any(slope.has(element, *_NO_NUMBER) or not _writable(slope) for _, slope in rewritten):
                continue
            lines = tuple((other, alphabet.node(slope)) for other, slope in rewritten)
            if _agree(statement, lines):
                known = inverse is undone and _writable(inverse)
                return ThroughOutput(ref, lines, alphabet.node(inverse) if known else None)
    return None


@lru_cache(maxsize=4096)
def substitute(statement: Statement, element: Ref, by: Node) -> Statement:
    """The same line with one tensor element replaced by an expression, made short again."""
    if element not in statement.reads:
        return statement
    alphabet = Alphabet(statement, by)
    value = alphabet.expression(statement.value)
    value = _tidy(value.subs(alphabet.symbols[element], alphabet.expression(by)))
    return Statement(statement.target, statement.accumulate, alphabet.node(value))


def _undo(value: Expr, element: Symbol, target: Symbol) -> Expr | None:
    """Solve `value = target` for an element that stands in it once, from the outside inwards."""
    if value.count(element) != 1:
        return None
    result: Expr = target
    while value != element:
        inside = next(arg for arg in value.args if arg.has(element))
        if value.is_Add:
            result -= value - inside
        elif value.is_Mul:
            result /= value / inside
        elif value.is_Pow and inside is value.args[0]:
            result **= 1 / value.args[1]
        elif type(value) in INVERSES:
            result = INVERSES[type(value)](result)
        else:
            return None
        value = inside
    return result


def _writable(expr: Expr) -> bool:
    return all(type(f) in FROM_SYMPY or isinstance(f, sympy.sign) for f in expr.atoms(Function))


def _tidy(expr: Expr, force: bool = False) -> Expr:
    """Short and exact: cancel what cancels; the functions of this module stay as they are.

    `force` joins powers as if every base were positive; its result must be checked on numbers.
    """
    dense = sympy.powdenest(expr, force=force)
    return sympy.factor(sympy.cancel(dense)) if dense.is_rational_function() and _terms(dense) <= 100 else dense


def _terms(expr: Expr) -> int:
    """At most how many terms it has when multiplied out, which takes SymPy minutes for a long polynomial."""
    if expr.is_Pow and expr.exp.is_Integer:
        return _terms(expr.base) ** min(abs(int(expr.exp)), 99)
    counts = [_terms(arg) for arg in expr.args]
    return sum(counts) if expr.is_Add else math.prod(counts)


def _agree(statement: Statement, lines: tuple[tuple[Ref, Node], ...], tries: int = 60) -> bool:
    """Do slopes written through the output equal the direct ones on random numbers?

    Scalars (eps, count, slope of a leaky ReLU) are positive; tensor elements take both signs where the line
    allows it (a variance or a sum of exponentials does not). Some elements are zero: dividing the output by a
    dropout mask does not bring the input back.
    """
    rng = random.Random(0)  # the same numbers each time: a verdict must not change between runs
    direct = dict(slopes(statement))
    elements: list[Node] = list(statement.reads)
    plain: list[Node] = [Scalar(name) for name in statement.scalars]
    good = 0
    for attempt in range(4 * tries):
        signs = (-1, 1) if attempt % 2 else (1,)
        values: dict[Node, float] = {leaf: rng.choice(signs) * rng.uniform(0.05, 4) for leaf in elements}
        if attempt % 3 == 0:
            values[rng.choice(elements)] = 0.0
        values |= {leaf: rng.uniform(0.05, 4) for leaf in plain}
        try:
            values[statement.target] = evaluate(statement.value, values)
            wanted = [evaluate(direct[ref], values) for ref, _ in lines]
        except (ValueError, OverflowError, ZeroDivisionError):
            continue  # outside the line's own domain
        try:
            given = [evaluate(slope, values) for _, slope in lines]
        except (ValueError, OverflowError, ZeroDivisionError):
            return False
        if any(abs(a - b) > 1e-7 * (1 + abs(a)) for a, b in zip(wanted, given, strict=True)):
            return False
        good += 1
    return good >= tries
