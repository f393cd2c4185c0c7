"""What a statement is once it has been read: a small tree, its loop indices and its operations.

    out[n,k] += weight[k,c] * inp[n,c]

is a `Statement` with target `out[n,k]`, accumulation by addition and the value `weight[k,c] * inp[n,c]`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TypeVar

#: What a statement may call, and how many arguments each takes (None: two or more).
FUNCTIONS: dict[str, int | None] = {
    "max": None,
    "min": None,
    "exp": 1,
    "log": 1,
    "sqrt": 1,
    "tanh": 1,
    "erf": 1,
    "abs": 1,
    "step": 1,  # 1 where the argument is positive, else 0: the slope of max(x, 0)
    "equal": 2,  # 1 where both are equal, else 0: who won a maximum
}
#: Names in a subscript that are numbers chosen by the layer, not loop indices.
SETTINGS = ("stride", "pad", "dilation", "offset")


@dataclass(frozen=True)
class Number:
    """A literal, or a constant folded from literals."""

    value: int | float


@dataclass(frozen=True)
class Scalar:
    """A name without subscripts: one number for the whole nest (`eps`, `lr`, `count`), or in a subscript
    a loop index or a setting."""

    name: str


@dataclass(frozen=True)
class Ref:
    """One element of a tensor: `inp[n,c,y*stride+i-pad]`. A subscript is an affine tree, or another `Ref`
    (a gather, as in `table[ids[n],d]`)."""

    name: str
    subscripts: tuple[Node, ...]


@dataclass(frozen=True)
class Apply:
    """An operation on other nodes: add, subtract, multiply, divide, power, negate or one of `FUNCTIONS`."""

    op: str
    args: tuple[Node, ...]


Node = Number | Scalar | Ref | Apply
T = TypeVar("T")


@dataclass(frozen=True)
class Statement:
    """`target = value`, `target += value` or `target = max(target, value)`.

    `accumulate` is None, "add", "max" or "min".
    """

    target: Ref
    accumulate: str | None
    value: Node

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:  # caches ask for it again and again, and a tree is slow to hash
        return hash((self.target, self.accumulate, self.value))

    @cached_property
    def refs(self) -> tuple[Ref, ...]:
        """Every tensor element the right-hand side reads, once each, in order of appearance."""
        return tuple(dict.fromkeys(node for node in walk(self.value) if isinstance(node, Ref)))

    @cached_property
    def reads(self) -> tuple[Ref, ...]:
        """The tensor elements whose values are computed with: `refs` without those that only look up an index."""
        values = walk(self.value, subscripts=False)
        return tuple(dict.fromkeys(node for node in values if isinstance(node, Ref)))

    @cached_property
    def indices(self) -> tuple[str, ...]:
        """The loop indices: those of the target first, then the reducing ones.

        >>> from dnnlab.reader import read_statement
        >>> read_statement("out[n,k] += weight[k,c] * inp[n,c]").indices
        ('n', 'k', 'c')
        """
        return tuple(dict.fromkeys(name for ref in (self.target, *self.refs) for name in ref_indices(ref)))

    @cached_property
    def settings(self) -> tuple[str, ...]:
        """Settings such as `stride` in the subscripts."""
        refs = (self.target, *self.refs)
        return tuple(dict.fromkeys(name for ref in refs for name in subscript_settings(ref)))

    @cached_property
    def names(self) -> frozenset[str]:
        """Every name that can be bound to a number: indices, settings and plain numbers."""
        return frozenset((*self.indices, *self.settings, *self.scalars))

    @cached_property
    def scalars(self) -> tuple[str, ...]:
        """Names of plain numbers the right-hand side uses."""
        return tuple(
            dict.fromkeys(node.name for node in walk(self.value, subscripts=False) if isinstance(node, Scalar))
        )


def is_setting(name: str) -> bool:
    """True for `stride`, `pad`, `dilation`, `offset` and forms such as `stride_y`."""
    return name.split("_")[0] in SETTINGS


def walk(node: Node, subscripts: bool = True) -> Iterator[Node]:
    """Every node of a tree, parents first; `subscripts=False` stays out of square brackets."""
    yield node
    children = node.args if isinstance(node, Apply) else ()
    if subscripts and isinstance(node, Ref):
        children = node.subscripts
    for child in children:
        yield from walk(child, subscripts)


def fold(node: Node, leaf: Callable[[Number | Scalar | Ref], T], apply: Callable[[str, list[T]], T]) -> T:
    """Rebuild a tree from its leaves: what each evaluator of a right-hand side shares."""
    if isinstance(node, Apply):
        return apply(node.op, [fold(arg, leaf, apply) for arg in node.args])
    return leaf(node)


def ref_indices(ref: Ref) -> tuple[str, ...]:
    """Loop indices in a reference's subscripts, in order."""
    names = (node.name for sub in ref.subscripts for node in walk(sub) if isinstance(node, Scalar))
    return tuple(dict.fromkeys(name for name in names if not is_setting(name)))


def subscript_settings(ref: Ref) -> tuple[str, ...]:
    """Settings such as `stride` in a reference's subscripts."""
    names = (node.name for sub in ref.subscripts for node in walk(sub) if isinstance(node, Scalar))
    return tuple(dict.fromkeys(name for name in names if is_setting(name)))


#: Operation kinds of nodes whose kind is not their own name.
KINDS = {"max": "compare", "min": "compare", "step": "compare", "equal": "compare", "negate": "subtract"}


@cache
def operations(statement: Statement) -> tuple[tuple[str, int], ...]:
    """Operations of one pass through the line, by kind, the accumulation included.

    >>> from dnnlab.reader import read_statement
    >>> operations(read_statement("out[n,k] += weight[k,c] * inp[n,c]"))
    (('multiply', 1), ('add', 1))
    """
    count: Counter[str] = Counter()
    for node in walk(statement.value, subscripts=False):
        if isinstance(node, Apply):
            if node.op == "power":  # inp**3 is two multiplications
                exponent = node.args[1]
                assert isinstance(exponent, Number)
                count["multiply"] += int(exponent.value) - 1
            else:
                count[KINDS.get(node.op, node.op)] += max(1, len(node.args) - 1)
    if statement.accumulate:
        count["add" if statement.accumulate == "add" else "compare"] += 1
    return tuple(count.items())


def is_mac(statement: Statement) -> bool:
    """True where one pass is a multiply-accumulate: a product of two tensors summed over an index."""
    value = statement.value
    return (
        statement.accumulate == "add"
        and isinstance(value, Apply)
        and value.op == "multiply"
        and all(isinstance(arg, Ref) for arg in value.args)
        and len({arg.name for arg in value.args if isinstance(arg, Ref)}) == 2
        and bool(set(statement.indices) - set(ref_indices(statement.target)))
    )


PRECEDENCE = {"add": 1, "subtract": 1, "multiply": 2, "divide": 2, "negate": 3, "power": 4}
SIGNS = {"add": " + ", "subtract": " - ", "multiply": " * ", "divide": " / ", "power": "**"}


def write(node: Node | Statement) -> str:
    """The node or statement as a line of Python; reading it again gives an equal tree.

    >>> from dnnlab.reader import read_statement
    >>> write(read_statement("out[i]=max(out[i],inp[i*stride-pad])"))
    'out[i] = max(out[i], inp[i*stride-pad])'
    """
    if isinstance(node, Statement):
        target = write(node.target)
        if node.accumulate in ("max", "min"):
            return f"{target} = {node.accumulate}({target}, {write(node.value)})"
        return f"{target} {'+=' if node.accumulate else '='} {write(node.value)}"
    return _write(node, tight=False)[0]


def _write(node: Node, tight: bool) -> tuple[str, int]:
    """Text and precedence; `tight` leaves out spaces, as in subscripts."""
    if isinstance(node, Number):
        text = str(node.value)
        return (f"({text})" if text.startswith("-") else text), 5  # -0.0 is not below zero, yet has a sign
    if isinstance(node, Scalar):
        return node.name, 5
    if isinstance(node, Ref):
        return f"{node.name}[{','.join(_write(sub, True)[0] for sub in node.subscripts)}]", 5
    if node.op not in PRECEDENCE:
        return f"{node.op}({', '.join(_write(arg, tight)[0] for arg in node.args)})", 5
    rank = PRECEDENCE[node.op]
    parts = []
    for place, arg in enumerate(node.args):
        text, inner = _write(arg, tight)
        # a - (b - c), a / (b * c), (a + b) * c, (x**2)**2 and (-x)**2 keep their brackets; a + b + c does not
        tighter = rank + (place > 0 or node.op == "power")
        parts.append(f"({text})" if inner < tighter else text)
    if node.op == "negate":
        return "-" + parts[0], rank
    sign = SIGNS[node.op].strip() if tight else SIGNS[node.op]
    return sign.join(parts), rank


#: What each operation computes, on plain numbers.
COMPUTE: dict[str, Callable[..., float]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b,
    "power": lambda a, b: a**b,
    "negate": lambda a: -a,
    "max": max,
    "min": min,
    "exp": math.exp,
    "log": math.log,
    "sqrt": math.sqrt,
    "tanh": math.tanh,
    "erf": math.erf,
    "abs": abs,
    "step": lambda a: float(a > 0),
    "equal": lambda a, b: float(a == b),
}


def evaluate(node: Node, values: Mapping[Node, float]) -> float:
    """The value of a right-hand side, given the value of each reference and scalar.

    >>> from dnnlab.reader import read_statement
    >>> relu = read_statement("out[i] = max(inp[i], 0)")
    >>> evaluate(relu.value, {relu.refs[0]: -3.0})
    0
    """
    return fold(
        node,
        lambda leaf: leaf.value if isinstance(leaf, Number) else values[leaf],
        lambda op, args: COMPUTE[op](*args),
    )
