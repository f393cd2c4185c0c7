"""The adjoint lines of a program: its backward pass, by SymPy's derivative of each right-hand side."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache

from .calculus import slopes, substitute, through_output
from .errors import DnnlabError
from .statements import Apply, Node, Number, Ref, Statement, is_mac, write


@dataclass(frozen=True)
class Outline:
    """The lines of a program, the roles of its tensors, and the locals through which no gradient flows."""

    statements: tuple[Statement, ...]
    roles: tuple[tuple[str, str], ...]
    detached: tuple[str, ...]

    @cached_property
    def active(self) -> frozenset[str]:
        """Tensors that depend on an input or a parameter, and so carry a gradient."""
        roles = dict(self.roles)
        found = {name for name, role in roles.items() if role in ("input", "parameter")}
        for statement in self.statements:
            if any(ref.name in found for ref in statement.reads):
                found.add(statement.target.name)
        still = {name for name, role in roles.items() if role in ("constant", "state")}
        return frozenset(found - still - set(self.detached))


@dataclass(frozen=True)
class AdjointLine:
    """An adjoint line, the place of the forward line it comes from, and whether that one is a MAC."""

    statement: Statement
    source: int
    mac: bool


def kept(lines: Iterable[Statement]) -> tuple[str, ...]:
    """Tensors of the forward pass that adjoint lines read."""
    names = (ref.name for line in lines for ref in (*line.refs, *line.target.subscripts) if isinstance(ref, Ref))
    return tuple(dict.fromkeys(name for name in names if not name.startswith("d_")))


@lru_cache(maxsize=4096)
def backward_lines(outline: Outline, wanted: frozenset[str]) -> tuple[AdjointLine, ...]:
    """The adjoint lines of a program that the gradients of the `wanted` tensors need."""
    return _adjoint(outline, _choices(outline), wanted)


@lru_cache(maxsize=4096)
def _choices(outline: Outline) -> tuple[bool, ...]:
    """For each line: is the backward pass written through its output rather than its input?

    It is where that leaves less to keep: the element it no longer needs is then needed by no line.
    """
    chosen = [False] * len(outline.statements)

    def needed(choices: list[bool]) -> tuple[str, ...]:
        return kept(line.statement for line in _adjoint(outline, tuple(choices), outline.active))

    for place, statement in enumerate(outline.statements):
        found = through_output(statement)
        if found is None or statement.target.name not in outline.active:
            continue
        before = needed(chosen)
        after = needed([flag or at == place for at, flag in enumerate(chosen)])
        alone = len(statement.reads) == 1
        if found.element.name not in after and (len(after) < len(before) or (alone and len(after) == len(before))):
            chosen[place] = True
    return tuple(chosen)


def _adjoint(outline: Outline, choices: tuple[bool, ...], wanted: frozenset[str]) -> tuple[AdjointLine, ...]:
    undone = {
        found.element: found.inverse
        for statement, chosen in zip(outline.statements, choices, strict=True)
        if chosen and (found := through_output(statement)) and found.inverse
    }
    lines: list[AdjointLine] = []
    for place in reversed(range(len(outline.statements))):
        forward = outline.statements[place]
        if forward.target.name not in outline.active:
            continue
        for line in adjoint_lines(forward, choices[place]):
            if line.target.name.removeprefix("d_") in outline.active:
                for element, inverse in undone.items():
                    line = substitute(line, element, inverse)
                lines.append(AdjointLine(line, place, is_mac(forward)))
    live = {"d_" + name for name in wanted}
    useful: list[AdjointLine] = []
    for found_line in reversed(lines):  # leave out what no wanted gradient depends on
        if found_line.statement.target.name in live:
            live |= {ref.name for ref in found_line.statement.refs if ref.name.startswith("d_")}
            useful.insert(0, found_line)
    return tuple(useful)


def adjoint_lines(statement: Statement, by_output: bool = False) -> tuple[Statement, ...]:
    """The adjoint lines of one statement.

    >>> from dnnlab.reader import read_statement
    >>> for line in adjoint_lines(read_statement("out[n,k] += weight[k,c] * inp[n,c]")):
    ...     print(write(line))
    d_weight[k,c] += d_out[n,k] * inp[n,c]
    d_inp[n,c] += d_out[n,k] * weight[k,c]
    """
    target = statement.target
    if any(ref.name == target.name for ref in statement.refs):
        raise DnnlabError(f"{write(statement)!r} updates {target.name!r} in place; an update has no backward pass")
    gradient: Node = Ref("d_" + target.name, target.subscripts)
    if statement.accumulate in ("max", "min"):
        winner = Apply("equal", (statement.value, target))
        gradient = Apply("multiply", (gradient, winner))
    lines = []
    found = through_output(statement) if by_output else None
    for ref, slope in found.slopes if found else slopes(statement):
        value = gradient if slope == Number(1) else _times(gradient, slope)
        lines.append(Statement(Ref("d_" + ref.name, ref.subscripts), "add", value))
    return tuple(lines)


def _times(gradient: Node, slope: Node) -> Node:
    """`gradient * slope`, flat: a * (b * c) is written a * b * c, and a * -b as -a * b."""
    if isinstance(slope, Apply) and slope.op == "multiply":
        return Apply("multiply", (_times(gradient, slope.args[0]), slope.args[1]))
    if isinstance(slope, Apply) and slope.op == "divide":
        return Apply("divide", (_times(gradient, slope.args[0]), slope.args[1]))
    if isinstance(slope, Apply) and slope.op == "negate":
        return Apply("negate", (_times(gradient, slope.args[0]),))
    if slope == Number(1):
        return gradient
    return Apply("multiply", (gradient, slope))


