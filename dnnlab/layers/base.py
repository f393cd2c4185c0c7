"""What every layer of the catalogue shares: it is a frozen record of its dimensions and options, and a
program of lines; every cost is asked of the program.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache, wraps
from html import escape
from typing import Any, ClassVar, Self, dataclass_transform

import sympy

from ..errors import ExtentError, ShapeError, unknown
from ..inplace import Verdict, in_place
from ..loopnest import LoopNest
from ..notation import Dim, dimension, is_number, lecture, plain, product, ratio, symbol, typical
from ..program import Program

Shape = tuple[Dim, ...]


@dataclass_transform(frozen_default=True, kw_only_default=True)
def catalogued(cls: type[Any]) -> Any:
    """A layer class is a frozen dataclass with keyword-only fields; `Layer` writes its repr.

    Its constructor refuses names it does not know with a `DnnlabError` that lists the ones it does.
    """
    made = dataclass(frozen=True, kw_only=True, repr=False)(cls)
    build = made.__init__
    known = {field.name: field for field in dataclasses.fields(made)}
    made.dimensions = tuple(name for name, field in known.items() if field.metadata.get("dimension"))

    @wraps(build)
    def checked(self: Any, *values: object, **named: object) -> None:
        if values:
            raise ExtentError(f"{cls.__name__} takes its dimensions by name, such as {[*known][-1]}=...; got {values}")
        for name in named:
            if name not in known:
                raise unknown(f"dimension or option of {cls.__name__}", name, known)
        build(self, **named)

    made.__init__ = checked
    return made


def dim(name: str) -> Any:
    """A dimension that is the symbol of that name until it is bound."""
    return dataclasses.field(default=symbol(name), metadata={"dimension": True})


@catalogued
class Layer:
    """A layer: dimensions (symbols until bound), options, and the lines that define it.

    Subclasses give `define()`, and name the dimensions of their inputs in `takes` and of their output in
    `gives`. All counts are SymPy expressions, and Python integers once every dimension is bound.
    """

    #: Field names of the shape of each input, as a network sees it.
    takes: ClassVar[tuple[tuple[str, ...], ...]] = ()
    #: Field or property names of the output's shape.
    gives: ClassVar[tuple[str, ...]] = ()
    #: Field names of the dimensions; `catalogued` fills it in.
    dimensions: ClassVar[tuple[str, ...]] = ()
    #: Dimensions that are the product of a shape, and the field that holds that shape.
    products: ClassVar[dict[str, str]] = {}

    def __post_init__(self) -> None:
        for name in self.dimensions:
            object.__setattr__(self, name, dimension(name, getattr(self, name)))
        self.check()

    def check(self) -> None:
        """Refuse options that make no sense; subclasses override."""

    def define(self) -> Program:
        """The lines of the layer with their extents; subclasses override."""
        raise NotImplementedError

    # -- binding -----------------------------------------------------------------------------------------

    def at(self, **values: object) -> Self:
        """The same layer with some dimensions or options bound.

        >>> from dnnlab import Conv2d
        >>> Conv2d().at(n=1, k=64, c=3, h=224, w=224, r=7, s=7, stride=2).macs
        118013952
        """
        for name, shape in self.products.items():
            if name in values:
                values.setdefault(shape, None)  # a product that is bound anew forgets the shape it came from
        return dataclasses.replace(self, **values)

    def fit(self, *shapes: Shape) -> Self:
        """The same layer with its dimensions taken from the shapes of its inputs.

        Raises `ShapeError` where a dimension that is already bound differs, or the number of axes does.
        """
        if len(shapes) != len(self.takes):
            raise ShapeError(f"{self.kind} takes {len(self.takes)} input(s), got {len(shapes)}")
        bound: dict[str, Dim] = {}
        for names, shape in zip(self.takes, shapes, strict=True):
            expected = "(" + ", ".join(names) + ")"
            if len(names) != len(shape):
                raise ShapeError(f"{self.kind} takes an input {expected}, got {shape}")
            for name, size in zip(names, shape, strict=True):
                wanted = bound.get(name, getattr(self, name))
                if wanted is symbol(name) and name not in bound:
                    bound[name] = size
                elif wanted != size:
                    raise ShapeError(f"{self.kind} takes an input {expected} with {name} = {wanted}, got {shape}")
        return self.at(**bound)

    # -- the lines ---------------------------------------------------------------------------------------

    @cached_property
    def program(self) -> Program:
        """The lines with their extents; equal layers share one."""
        return _program(self)

    @property
    def statements(self) -> tuple[str, ...]:
        """The lines of Python that define the layer."""
        return self.program.statements

    @property
    def kind(self) -> str:
        """The name of the layer's class."""
        return type(self).__name__

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        """Shape of each input."""
        return tuple(tuple(getattr(self, name) for name in names) for names in self.takes)

    @property
    def input_names(self) -> tuple[str, ...]:
        """The tensors of the lines that stand for the inputs, in order."""
        return self.program.having("input")

    @property
    def output_shape(self) -> Shape:
        """Shape of the output."""
        return tuple(getattr(self, name) for name in self.gives)

    # -- costs -------------------------------------------------------------------------------------------

    @property
    def operations(self) -> dict[str, Dim]:
        """Operations by kind; a multiply-accumulate is one multiply and one add."""
        return self.program.operations

    @property
    def ops(self) -> Dim:
        """All operations of the forward pass."""
        return self.program.ops

    @property
    def macs(self) -> Dim:
        """Multiply-accumulates of convolutions, linear layers and matrix products."""
        return self.program.macs

    @cached_property
    def parameters(self) -> Dim:
        """Number of learned parameters."""
        return self._total("parameter")

    @property
    def inputs(self) -> Dim:
        """Number of input elements."""
        return sum(product(shape) for shape in self.input_shapes)

    @cached_property
    def activations(self) -> Dim:
        """Number of output elements."""
        return product(self.output_shape)

    @property
    def state(self) -> Dim:
        """Numbers kept between steps that are not learned: running statistics, an optimizer's moments."""
        return self._total("state")

    @property
    def traffic(self) -> Dim:
        """Elements that must cross the memory interface at least once: inputs, parameters and output."""
        return self.inputs + self.parameters + self.activations

    def intensity(self, element_bytes: Dim = 4) -> Dim:
        """Operations per byte of compulsory traffic (default: 4 bytes an element, fp32)."""
        value = ratio(self.ops, self.traffic * element_bytes)
        return value if is_number(value) else sympy.cancel(value)

    @property
    def parallelism(self) -> Dim:
        """How many iterations of the busiest line can run at the same time (0 for a view)."""
        return self.busiest.parallelism if self.program.nests else 0

    @property
    def busiest(self) -> LoopNest:
        """The line with most passes, of several the most parallel; open symbols compare at a typical size."""
        return max(self.program.nests, key=lambda nest: (typical(nest.iterations), typical(nest.parallelism)))

    def reuse(self, tensor: str) -> Dim:
        """How many times the layer touches each element of a tensor, on average."""
        return sum(nest.reuse(tensor) for nest in self.program.nests if tensor in nest.references)

    def needs(self, *region: tuple[Dim, Dim] | None) -> dict[str, Any]:
        """Which part of each input and parameter must be ready before a region of the output: `(start, stop)`
        for each axis, None for a whole axis.

        >>> from dnnlab import Conv2d
        >>> conv = Conv2d(n=1, k=8, c=3, h=32, w=32, r=3, s=3)
        >>> conv.needs(None, None, (8, 16), None)["inp"]
        ((0, 1), (0, 3), (7, 17), (0, 32))
        """
        return self.program.needs(region)

    # -- backward ----------------------------------------------------------------------------------------

    def backward(self, input_gradient: bool = True) -> Program:
        """The adjoint lines; `input_gradient=False` as for a network's first layer."""
        return self.program.backward(input_gradient)

    @property
    def saved(self) -> dict[str, Dim]:
        """Tensors the backward pass reads, with their number of elements."""
        return self.program.saved

    @property
    def in_place(self) -> Verdict:
        """Can the output overwrite the input, and why (not)?"""
        return in_place(self.program)

    # -- showing -----------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        shown = [
            f"{field.name}={getattr(self, field.name)!r}"
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        ]
        return f"{self.kind}({', '.join(shown)})"

    def _repr_html_(self) -> str:
        lines = "\n".join(self.statements)
        costs = {"operations": self.ops, "MACs": self.macs, "parameters": self.parameters}
        said = (f"{plain(n) if is_number(n) else lecture(n, 'html')} {name}" for name, n in costs.items())
        return f"<pre>{escape(lines)}</pre><p>{escape(self.kind)}: {', '.join(said)}</p>"

    def _repr_latex_(self) -> str:
        return f"${lecture(self.ops, 'latex')}$"

    def _total(self, role: str) -> Dim:
        return sum(self.program.size(name) for name in self.program.having(role))

    def read(self, lines: Any, roles: Mapping[str, str], shapes: Mapping[str, Shape], **extents: object) -> Program:
        """`Program.read` with every dimension of the layer at hand; `extents` adds to them or overrides."""
        known = {name: getattr(self, name) for name in self.dimensions}
        detached = extents.pop("detached", ())
        return Program.read(lines, roles, shapes, detached, **{**known, **extents})  # type: ignore[arg-type]


@lru_cache(maxsize=4096)
def _program(layer: Layer) -> Program:
    return layer.define()
