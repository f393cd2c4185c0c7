"""A layer as a short program of lines: totals over its nests, and its backward pass, derived.

The roles of tensors: `input` and `parameter` carry gradients; `constant` does not (a dropout mask, token
numbers, running statistics); `output` is the result; anything else that is written is `local`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from html import escape

from .calculus import slopes, substitute, through_output
from .errors import DnnlabError, ReadError, ShapeError
from .loopnest import LoopNest
from .notation import Dim, largest, product, smallest
from .reader import read_statement
from .statements import Apply, Node, Number, Ref, Statement, is_mac, write

Region = tuple[tuple[Dim, Dim], ...]  # (start, stop) for each axis


@dataclass(frozen=True)
class Program:
    """Lines that run one after the other over shared tensors.

    `nests` are the lines with their extents; `roles` and `shapes` tell what each tensor is and its size.
    `mac_lines` marks the adjoint lines that come from a multiply-accumulate.
    """

    nests: tuple[LoopNest, ...]
    roles: tuple[tuple[str, str], ...] = ()
    shapes: tuple[tuple[str, tuple[Dim, ...]], ...] = ()
    detached: tuple[str, ...] = ()  # locals through which no gradient needs to flow
    mac_lines: tuple[bool, ...] = field(default=(), repr=False)

    @classmethod
    def read(
        cls,
        lines: str | Iterable[str | Statement],
        roles: Mapping[str, str],
        shapes: Mapping[str, tuple[Dim, ...]] | None = None,
        detached: Iterable[str] = (),
        **extents: object,
    ) -> Program:
        """Read lines; `extents` serves all of them, each taking the indices and settings it has.

        >>> Program.read("out[i] = max(inp[i], 0)", {"inp": "input", "out": "output"}, i=6).ops
        6
        """
        texts = [line for line in lines.splitlines() if line.strip()] if isinstance(lines, str) else list(lines)
        read = [read_statement(text) if isinstance(text, str) else text for text in texts]
        nests = []
        for statement in read:
            bound = {name: value for name, value in extents.items() if name in statement.names}
            nests.append(LoopNest(statement, shapes=shapes, **bound))
        program = cls(tuple(nests), tuple(roles.items()), tuple((shapes or {}).items()), tuple(detached))
        for name in roles:
            if name not in program.tensors:
                raise ReadError(f"no line has the tensor {name!r}; the lines have {', '.join(program.tensors)}")
        return program

    @property
    def statements(self) -> tuple[str, ...]:
        """The lines."""
        return tuple(nest.text for nest in self.nests)

    def __str__(self) -> str:
        return "\n".join(self.statements)

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"

    # -- totals ------------------------------------------------------------------------------------------

    @property
    def operations(self) -> dict[str, Dim]:
        """Operations by kind, over all lines."""
        total: dict[str, Dim] = {}
        for nest in self.nests:
            for kind, count in nest.operations.items():
                total[kind] = total.get(kind, 0) + count
        return total

    @property
    def ops(self) -> Dim:
        """All operations; a multiply-accumulate is two."""
        return sum(self.operations.values())

    @property
    def macs(self) -> Dim:
        """Multiply-accumulates of convolutions, linear layers and matrix products.

        In a backward program: of the lines that are adjoint to one of those.
        """
        marks = self.mac_lines or tuple(is_mac(nest.statement) for nest in self.nests)
        return sum(nest.iterations for nest, mac in zip(self.nests, marks, strict=True) if mac)

    # -- tensors -----------------------------------------------------------------------------------------

    @cached_property
    def tensors(self) -> tuple[str, ...]:
        """Names of all tensors, in order of appearance."""
        return tuple(dict.fromkeys(name for nest in self.nests for name in nest.references))

    def role(self, tensor: str) -> str:
        """`input`, `parameter`, `constant`, `output`, `state` or `local`."""
        return dict(self.roles).get(tensor, "local")

    def having(self, *roles: str) -> tuple[str, ...]:
        """Tensors of the given roles, in the order the roles were declared in."""
        return tuple(name for name, role in self.roles if role in roles)

    @property
    def locals(self) -> tuple[str, ...]:
        """Tensors that are neither given nor the result."""
        return tuple(name for name in self.tensors if self.role(name) == "local")

    def shape(self, tensor: str) -> tuple[Dim, ...]:
        """Shape of a tensor: as declared, or as far as any line reaches."""
        declared = dict(self.shapes).get(tensor)
        if declared is not None:
            return declared
        for nest in self.nests:
            if tensor in nest.references:
                return nest.shape(tensor)
        raise ReadError(f"no tensor {tensor!r}; there are {', '.join(self.tensors)}")

    def size(self, tensor: str) -> Dim:
        """Number of elements of a tensor."""
        return product(self.shape(tensor))

    # -- dependencies ------------------------------------------------------------------------------------

    def needs(self, region: Sequence[tuple[Dim, Dim] | None]) -> dict[str, Region]:
        """Which part of each given tensor must be ready before a region of the output can be computed.

        `region` holds `(start, stop)` for each axis of the output, or None for the whole axis. The lines are
        followed backwards, so what a local tensor needs is included: one number of a softmax needs its row.

        >>> softmax = Program.read(
        ...     ["total[n] += exp(inp[n,c])", "out[n,c] = exp(inp[n,c]) / total[n]"],
        ...     {"inp": "input", "out": "output"}, n=4, c=10)
        >>> softmax.needs([(2, 3), (0, 1)])
        {'inp': ((2, 3), (0, 10))}
        """
        output = self.having("output")[0]
        shape = self.shape(output)
        if len(region) != len(shape):
            raise ShapeError(f"{output!r} has {len(shape)} axes {shape}, but the region names {len(region)}")
        wanted: dict[str, Region] = {
            output: tuple((0, size) if part is None else part for part, size in zip(region, shape, strict=True))
        }
        for nest in reversed(self.nests):
            target = nest.statement.target
            if target.name not in wanted:
                continue
            tile = {}
            for form, part in zip(nest.subscripts(target), wanted[target.name], strict=True):
                # an axis that mixes indices (a scattered output) may take any of their values
                if form is not None and len(form.terms) == 1 and form.terms[0][1] == 1:
                    name, extent = form.terms[0][0], nest.extent[form.terms[0][0]]
                    start, stop = part[0] - form.constant, part[1] - form.constant
                    tile[name] = (largest(0, start), smallest(extent, stop))
            if any(isinstance(stop - start, int) and stop <= start for start, stop in tile.values()):
                continue  # this line writes another part of the tensor
            for name, part in nest.needs(tile).items():
                before = wanted.get(name, part)
                wanted[name] = tuple(
                    (smallest(a, c), largest(b, d)) for (a, b), (c, d) in zip(before, part, strict=True)
                )
        return {name: part for name, part in wanted.items() if self.role(name) not in ("local", "output")}

    # -- the backward pass -------------------------------------------------------------------------------

    @cached_property
    def outline(self) -> Outline:
        """The lines and roles without their extents: all that differentiation needs."""
        return Outline(tuple(nest.statement for nest in self.nests), self.roles, self.detached)

    def backward(self, input_gradient: bool = True) -> Program:
        """The adjoint lines, last line first: for each `T += f(a, b)` one `d_a += d_T * df/da` for each
        tensor read, by SymPy's derivative of the right-hand side.

        `input_gradient=False` leaves out what only the gradient of the input needs, as a network's first
        layer does. Raises `DnnlabError` for an update in place (an optimizer), which has no backward pass.
        """
        wanted = self.having("parameter", *(["input"] if input_gradient else []))
        lines = backward_lines(self.outline, frozenset(wanted))
        shapes = {name: self.shape(name) for name in self.tensors}
        shapes |= {"d_" + name: shape for name, shape in shapes.items()}
        bound: dict[str, Dim] = {}
        for nest in self.nests:
            bound |= nest.extents
            bound |= nest.settings
        nests = []
        for line in lines:
            own = self.nests[line.source]
            nests.append(own.like(line.statement, shapes, {**bound, **dict(own.extents), **dict(own.settings)}))
        used = {name for nest in nests for name in nest.references}
        roles = {name: ("constant" if self.role(name) != "parameter" else "parameter") for name in self.tensors}
        roles |= {"d_" + name: "input" for name in self.having("output")}
        roles |= {"d_" + name: "output" for name in wanted}
        return Program(
            tuple(nests),
            tuple((name, role) for name, role in roles.items() if name in used),
            tuple((name, shape) for name, shape in shapes.items() if name in used),
            mac_lines=tuple(line.mac for line in lines),
        )

    @property
    def saved(self) -> dict[str, Dim]:
        """What the backward pass needs kept: every tensor its lines read that is not a gradient, with its
        number of elements. Parameters are among them."""
        lines = backward_lines(self.outline, frozenset(self.having("parameter", "input")))
        return {name: self.size(name) for name in kept(line.statement for line in lines)}


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


@cache
def backward_lines(outline: Outline, wanted: frozenset[str]) -> tuple[AdjointLine, ...]:
    """The adjoint lines of a program that the gradients of the `wanted` tensors need."""
    return _adjoint(outline, _choices(outline), wanted)


@cache
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


