"""A layer as a short program of lines: totals over its nests, and its backward pass, derived.

The roles of tensors: `input` and `parameter` carry gradients; `constant` does not (a dropout mask, token
numbers, running statistics); `output` is the result; anything else that is written is `local`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from html import escape

from .adjoint import Outline, backward_lines, kept
from .errors import ReadError, ShapeError
from .loopnest import LoopNest
from .notation import Dim, largest, product, smallest
from .reader import read_statement
from .statements import Statement, is_mac

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
        if tensor not in self._shapes:
            nest = next((nest for nest in self.nests if tensor in nest.references), None)
            if nest is None:
                raise ReadError(f"no tensor {tensor!r}; there are {', '.join(self.tensors)}")
            self._shapes[tensor] = nest.shape(tensor)
        return self._shapes[tensor]

    @cached_property
    def _shapes(self) -> dict[str, tuple[Dim, ...]]:
        """Shapes by tensor: those declared, and those derived so far; sums over networks ask again and again."""
        return dict(self.shapes)

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
            for name, need in nest.needs(tile).items():
                before = wanted.get(name, need)
                wanted[name] = tuple(
                    (smallest(a, c), largest(b, d)) for (a, b), (c, d) in zip(before, need, strict=True)
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
