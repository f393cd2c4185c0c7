"""Text to a small checked tree: the only way in for statements and formulas that somebody typed.

`ast.parse` reads the text, and a whitelist turns what it found into the nodes of `statements`.
Nothing is evaluated, so a hostile text can do no more than be refused. Length, nesting, literals and
exponents are bounded first, so that refusing is cheap too.
"""

from __future__ import annotations

import ast
import re
import warnings
from functools import lru_cache

from .errors import ReadError, quote
from .statements import (
    FUNCTIONS,
    SETTINGS,
    Apply,
    Node,
    Number,
    Ref,
    Scalar,
    Statement,
    is_setting,
    ref_indices,
    walk,
)

MAX_LENGTH = 1000  # characters
MAX_NESTING = 40  # brackets, and levels of the tree
MAX_LITERAL = 10**18  # a petabyte is 10**15; nothing in a course is larger
MAX_EXPONENT = 16
MAX_DEGREE = 64  # of powers of powers; keeps (k**16)**16 from growing without end
NAME = r"[A-Za-z][A-Za-z0-9_]{0,31}"

BINARY = {ast.Add: "add", ast.Sub: "subtract", ast.Mult: "multiply", ast.Div: "divide", ast.Pow: "power"}


def read_tree(text: str, mode: str) -> ast.AST:
    """`ast.parse` with bounds on length and nesting; every failure is a `ReadError` that quotes the text."""
    if not isinstance(text, str):
        raise ReadError(f"expected text, got {quote(text)}; write it between quotes")
    if len(text) > MAX_LENGTH:
        raise ReadError(f"{quote(text)} has {len(text)} characters; at most {MAX_LENGTH} are read")
    depth = 0
    for char in text:
        depth += (char in "([{") - (char in ")]}")
        if depth < 0:
            raise ReadError(f"{quote(text)} closes a bracket that it never opened")
        if depth > MAX_NESTING:
            raise ReadError(f"{quote(text)} nests brackets deeper than {MAX_NESTING}")
    if depth:
        raise ReadError(f"{quote(text)} leaves {depth} bracket(s) open; close each '[' and '('")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python's own remarks on odd code mean nothing to a student
            return ast.parse(text.strip(), mode=mode)
    except SyntaxError as error:
        column = f" near column {error.offset}" if error.offset else ""
        raise ReadError(
            f"cannot read {quote(text)}{column}: write it as Python, with every product spelled out (2*k, not 2k)"
        ) from None
    except (ValueError, RecursionError, MemoryError):
        raise ReadError(f"cannot read {quote(text)}: it is nested too deeply or holds a character Python "
                        f"does not know") from None


def shown(text: str, node: ast.AST) -> str:
    """The part of the text a node was read from, for a message; `ast.unparse` would recurse without bound."""
    return quote(ast.get_source_segment(text.strip(), node) or text)


def read_statement(text: str) -> Statement:
    """Read one line such as `out[n,k] += weight[k,c] * inp[n,c]`.

    Raises `ReadError` for anything but an assignment to a tensor element from tensor elements, numbers,
    `+ - * /`, small integer powers and the `FUNCTIONS`.

    >>> read_statement("out[i] = max(inp[i], 0)").target.name
    'out'
    """
    if not isinstance(text, str):
        raise ReadError(f"expected a line of text, got {quote(text)}; write it between quotes")
    return _read_statement(text)


@lru_cache(maxsize=4096)
def _read_statement(text: str) -> Statement:
    module = read_tree(text, "exec")
    assert isinstance(module, ast.Module)
    reader = _Reader(text)
    if len(module.body) != 1:
        raise reader.error("one statement is read at a time, such as out[n,k] += weight[k,c] * inp[n,c]")
    line = module.body[0]
    if isinstance(line, ast.Assign) and len(line.targets) == 1:
        target, accumulate = reader.target(line.targets[0]), None
    elif isinstance(line, ast.AugAssign) and isinstance(line.op, ast.Add):
        target, accumulate = reader.target(line.target), "add"
    else:
        raise reader.error("a statement is 'tensor[...] = ...', 'tensor[...] += ...' or 't[...] = max(t[...], ...)'")
    value = reader.node(line.value, 0)
    if (
        accumulate is None
        and isinstance(value, Apply)
        and value.op in ("max", "min")
        and len(value.args) == 2
        and value.args[0] == target
    ):
        accumulate, value = value.op, value.args[1]
    statement = Statement(target, accumulate, value)
    reader.check(statement)
    return statement


class _Reader:
    """Turns Python's tree into ours, quoting the text in every refusal."""

    def __init__(self, text: str) -> None:
        self.text = text

    def error(self, reason: str) -> ReadError:
        return ReadError(f"in {quote(self.text, 200)}: {reason}")

    def target(self, node: ast.expr) -> Ref:
        if not isinstance(node, ast.Subscript):
            raise self.error("the left side must be a tensor element such as out[n,k]")
        return self.ref(node, level=1)

    def name(self, name: str) -> str:
        if not re.fullmatch(NAME, name):
            raise self.error(f"{quote(name)} is not a name: use letters, digits and _, at most 32")
        if name in FUNCTIONS:
            raise self.error(f"{name!r} is a function; choose another name, or call it as {name}(...)")
        return name

    def ref(self, node: ast.Subscript, level: int) -> Ref:
        if not isinstance(node.value, ast.Name):
            raise self.error(f"{shown(self.text, node.value)} cannot be indexed; write name[i,j]")
        if is_setting(self.name(node.value.id)):
            raise self.error(f"{node.value.id!r} is a setting of an index, not a tensor; choose another name")
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if not parts:
            raise self.error(f"{node.value.id}[] needs at least one index")
        return Ref(node.value.id, tuple(self.subscript(part, level + 1) for part in parts))

    def subscript(self, node: ast.expr, level: int) -> Node:
        if isinstance(node, ast.Subscript):
            if level > 2:
                raise self.error("an index that is looked up in a tensor cannot itself be looked up")
            return self.ref(node, level)
        tree = self.node(node, level, in_subscript=True)
        if self.degree(tree) > 1:
            raise self.error(
                f"index {shown(self.text, node)} is not affine: an index may be scaled by a number or a setting "
                f"({', '.join(SETTINGS)}) and added, as in y*stride+i-pad, but indices are not multiplied"
            )
        return tree

    def degree(self, node: Node) -> int:
        """How many loop indices are multiplied together in a subscript."""
        if isinstance(node, Apply):
            degrees = [self.degree(arg) for arg in node.args]
            return sum(degrees) if node.op == "multiply" else max(degrees)
        return int(isinstance(node, Scalar) and not is_setting(node.name))

    def node(self, node: ast.expr, level: int, in_subscript: bool = False) -> Node:
        if level > MAX_NESTING:
            raise self.error(f"the expression nests deeper than {MAX_NESTING}; split it into several lines")
        if isinstance(node, ast.Constant):
            return self.number(node.value, in_subscript)
        if isinstance(node, ast.Name):
            return Scalar(self.name(node.id))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            inner = self.node(node.operand, level + 1, in_subscript)
            return Number(-inner.value) if isinstance(inner, Number) else Apply("negate", (inner,))
        if isinstance(node, ast.BinOp) and type(node.op) in BINARY:
            return self.binary(node, BINARY[type(node.op)], level, in_subscript)
        if isinstance(node, ast.Subscript) and not in_subscript:
            return self.ref(node, level=1)
        if isinstance(node, ast.Call) and not in_subscript:
            return self.call(node, level)
        raise self.error(
            f"{shown(self.text, node)} is not allowed here; "
            + (
                "an index is made of names, integers, + - and *"
                if in_subscript
                else f"a value is made of tensor elements, numbers, + - * / ** and {', '.join(FUNCTIONS)}"
            )
        )

    def number(self, value: object, in_subscript: bool) -> Number:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(f"{quote(value)} is not a number")
        if not abs(value) <= MAX_LITERAL:
            raise self.error(f"the number {quote(str(value), 24)} is too large; at most {MAX_LITERAL:.0e} is read")
        if in_subscript and not isinstance(value, int):
            raise self.error(f"an index is a whole number, not {value}")
        return Number(value)

    def binary(self, node: ast.BinOp, op: str, level: int, in_subscript: bool) -> Node:
        if in_subscript and op in ("divide", "power"):
            raise self.error(f"index {shown(self.text, node)} is not affine: only + - * are allowed in an index")
        left = self.node(node.left, level + 1, in_subscript)
        right = self.node(node.right, level + 1, in_subscript)
        if op == "power":
            if not (isinstance(right, Number) and isinstance(right.value, int) and 2 <= right.value <= 8):
                raise self.error("a power has a whole exponent from 2 to 8, such as inp[i]**2; use sqrt, exp, log")
            if self.power(Apply(op, (left, right))) > MAX_DEGREE:
                raise self.error(f"powers of powers go up to {MAX_DEGREE}")
        return Apply(op, (left, right))

    def power(self, node: Node) -> int:
        """The degree of a value in its leaves: ((x**8)**8)**8 is refused before somebody computes it."""
        if not isinstance(node, Apply):
            return 1
        degrees = [self.power(arg) for arg in node.args]
        if node.op == "power":
            exponent = node.args[1]
            assert isinstance(exponent, Number)
            return degrees[0] * int(exponent.value)
        return sum(degrees) if node.op in ("multiply", "divide") else max(degrees)

    def call(self, node: ast.Call, level: int) -> Node:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name not in FUNCTIONS:
            given = shown(self.text, node.func)
            raise self.error(f"{given} cannot be called; allowed: {', '.join(FUNCTIONS)}")
        arity = FUNCTIONS[name]
        if node.keywords or any(isinstance(arg, ast.Starred) for arg in node.args):
            raise self.error(f"{name}() takes plain arguments only")
        if (arity is None and not 2 <= len(node.args) <= 8) or (arity is not None and len(node.args) != arity):
            raise self.error(f"{name}() takes {arity or '2 to 8'} argument(s), got {len(node.args)}")
        return Apply(name, tuple(self.node(arg, level + 1) for arg in node.args))

    def check(self, statement: Statement) -> None:
        """What a tree alone cannot tell: names used in two ways, indices that lead nowhere."""
        refs = [node for node in walk(statement.value) if isinstance(node, Ref)] + [statement.target]
        refs += [sub for sub in statement.target.subscripts if isinstance(sub, Ref)]
        ranks: dict[str, int] = {}
        for ref in refs:
            if ranks.setdefault(ref.name, len(ref.subscripts)) != len(ref.subscripts):
                raise self.error(f"{ref.name!r} is used with {ranks[ref.name]} and with {len(ref.subscripts)} indices")
        indices = set(statement.indices)
        for name in statement.scalars:
            if name in indices:
                raise self.error(f"loop index {name!r} is used as a number; it can only stand in square brackets")
            if is_setting(name):
                raise self.error(f"{name!r} is a setting of an index; it can only stand in square brackets")
        for name in ranks:
            if name in indices or name in statement.scalars:
                raise self.error(f"{name!r} is used both as a tensor and as a plain name; rename one")
        reducing = indices - set(ref_indices(statement.target))
        if statement.accumulate is None and reducing:
            raise self.error(
                f"index {', '.join(sorted(reducing))} stands only on the right of '=', so each value would be "
                f"overwritten; use += (or max) to reduce over it"
            )
