"""What a cell of a notebook says when it is read and not run: the values of names, and the calls that matter.

Only what is written out counts: text, numbers and arithmetic on them, lists, and names that stand for such. As soon
as code could have changed a name, nothing is claimed of it any more.
"""

from __future__ import annotations

import ast
import operator
import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from ..quiz.answers import LONGEST, MOST

MAX_SOURCE = 50_000  # characters of a cell
DEEPEST = 150  # levels of its tree
_MAGIC = re.compile(r"^([ \t]*+)(?:[%!?].*|.*\?)$", re.MULTILINE)
_OPERATORS: Mapping[type[ast.operator], Any] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_MUTABLE = (list, dict, set)
_LATER = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
#: Nodes whose own name is bound by them, beside names that are stored.
_NAMING = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.ExceptHandler, ast.MatchAs, ast.MatchStar)

Names = dict[str, Any]


class NotWritten(Exception):
    """A value that is not written out."""


def parse(source: str) -> list[ast.stmt] | None:
    """The statements of a cell, as far as the first one that always stops it; None where it is not Python, or so long
    or so deep that nobody has written it.

    Lines for IPython alone (`%time`, `!ls`, `check?`) are left out.
    """
    if len(source) > MAX_SOURCE:
        return None
    for text in (source, _MAGIC.sub(r"\1pass", source)):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                body = ast.parse(text).body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        stops = (place for place, statement in enumerate(body) if isinstance(statement, ast.Raise))
        return body[: next(stops, len(body))] if _shallow(body) else None
    return None


def _shallow(body: list[ast.stmt]) -> bool:
    level: list[ast.AST] = list(body)
    for _ in range(DEEPEST):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    return not level


def calls(statements: list[ast.stmt], wanted: tuple[str, ...], names: Names) -> Iterator[tuple[str, ast.Call, Names]]:
    """The calls of the functions `wanted`, in their order, each with the names as they are there.

    `names` is brought up to date, statement by statement.
    """
    for statement in statements:
        direct = isinstance(statement, ast.Expr | ast.Assign) and _is_call(statement.value, wanted)
        if not direct:
            _bind(statement, names)  # a loop, a list: it may change names before it calls
        for call in _calls(statement):
            function = call.func
            name = function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
            if name in wanted:
                yield name, call, names
        if direct:
            _bind(statement, names, ())


def value(node: ast.AST, names: Names, inside: bool = False) -> Any:
    """The value of an expression that is written out; `...` is the Ellipsis. Raises NotWritten for any other.

    `inside` a list a name may stand for text or a number alone, so that a few lines cannot grow into many elements.

    >>> value(ast.parse("[-2*3, 'k' + n]", mode="eval").body, {"n": "·c"})
    [-6, 'k·c']
    """
    match node:
        case ast.Constant(value=(str() | int() | float() | None) as constant):
            return _bounded(constant)
        case ast.Constant(value=constant) if constant is ...:
            return ...
        case ast.Name(id=name) if name in names and not (inside and isinstance(names[name], (*_MUTABLE, tuple))):
            return names[name]
        case ast.List(elts=parts):
            return [value(part, names, True) for part in parts]
        case ast.Tuple(elts=parts):
            return tuple(value(part, names, True) for part in parts)
        case ast.Set(elts=parts):
            return {_scalar(value(part, names, True)) for part in parts}
        case ast.Dict(keys=keys, values=parts):
            written = zip(keys, parts, strict=True)
            return {_scalar(value(key or ast.Name(""), names, True)): value(part, names, True) for key, part in written}
        case ast.JoinedStr(values=parts):
            return _bounded("".join(_text(value(part, names)) for part in parts))
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=part):
            number = _number(value(part, names))
            return -number if isinstance(sign, ast.USub) else number
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _OPERATORS:
            return _worked_out(value(left, names), sign, value(right, names))
    raise NotWritten


def _worked_out(a: Any, sign: ast.operator, b: Any) -> Any:
    if isinstance(sign, ast.Add) and type(a) is type(b) is str:
        return _bounded(a + b)
    a, b = _number(a), _number(b)
    if isinstance(sign, ast.Pow) and isinstance(a, int) and (abs(b) > LONGEST or a.bit_length() * abs(b) > LONGEST):
        raise NotWritten
    try:
        return _number(_bounded(_OPERATORS[type(sign)](a, b)))
    except ArithmeticError:
        raise NotWritten from None


def _bounded(given: Any) -> Any:
    if (isinstance(given, str) and len(given) > MOST) or (isinstance(given, int) and given.bit_length() > LONGEST):
        raise NotWritten
    return given


def _number(given: Any) -> Any:
    if type(given) in (int, float):
        return given
    raise NotWritten


def _text(given: Any) -> str:
    if type(given) is str:
        return given
    raise NotWritten


def _scalar(given: Any) -> Any:
    if isinstance(given, (*_MUTABLE, tuple)):
        raise NotWritten
    return given


def _is_call(node: ast.AST, wanted: tuple[str, ...]) -> bool:
    return isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in wanted


def _calls(node: ast.AST) -> Iterator[ast.Call]:
    """The calls in a statement in the order of the text, without those in a function that may never be called."""
    if isinstance(node, _LATER):
        return
    if isinstance(node, ast.Call):
        yield node
    for child in ast.iter_child_nodes(node):
        yield from _calls(child)


def _bind(statement: ast.stmt, names: Names, open_to_change: tuple[type, ...] = _MUTABLE) -> None:
    """What a statement makes of the names: one that it sets to a written value has it, all others it may have changed
    are forgotten, those too that it reads if they are `open_to_change`."""
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    new: Names = {}
    if targets and all(isinstance(target, ast.Name) for target in targets):
        try:
            written = value(getattr(statement, "value", None) or ast.Name(""), names)
            new = {target.id: written for target in targets if isinstance(target, ast.Name)}
        except NotWritten:
            pass
    for node in ast.walk(statement):
        if isinstance(node, ast.Name):
            if not isinstance(node.ctx, ast.Load) or isinstance(names.get(node.id), open_to_change):
                names.pop(node.id, None)
        elif isinstance(node, _NAMING):
            names.pop(node.name or "", None)
        elif isinstance(node, ast.MatchMapping):
            names.pop(node.rest or "", None)
        elif isinstance(node, ast.alias):
            if node.name == "*":
                names.clear()
            names.pop(node.asname or node.name.partition(".")[0], None)
    names |= new
