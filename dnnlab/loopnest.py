"""One line of Python as a loop nest, and everything the lecture asks of it: counts, sizes, re-use,
parallelism and data dependencies. Nothing here is typed in per layer; all of it follows from the line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product as every

import sympy

from . import statements as st
from .affine import MAX_ENUMERATED, Affine, affine
from .errors import ExtentError, ReadError, ShapeError
from .notation import Dim, dimension, largest, product, ratio, smallest, symbol
from .reader import read_statement
from .statements import Ref, Statement


@dataclass(frozen=True, init=False)
class LoopNest:
    """One statement with the extents of its loop indices.

    `LoopNest(text, **extents)` reads the line. An extent is a positive whole number, a SymPy expression or
    a formula as text; one that is not given is the symbol of that name. Settings (`stride`, `pad`, ...) are
    given the same way, and so are plain numbers of the right-hand side that stand for a count. `shapes` may
    give the shape of a tensor; one that is not given follows from the reach of its subscripts, less the
    border that `pad` adds on both sides.

    The nest counts the full rectangle of its indices, border included, as the lecture's formulas and every
    published table do.

    >>> conv = LoopNest("out[n,k,y,x] += weight[k,c,i,j] * inp[n,c,y+i,x+j]", y="h", x="w", i="r", j="s")
    >>> conv.ops, conv.size("weight")
    (2*c*h*k*n*r*s*w, c*k*r*s)
    >>> LoopNest("out[n,k] += w[k,c] * x[n,c]", n=1, k=1000, c=512).ops
    1024000
    """

    statement: Statement
    extents: tuple[tuple[str, Dim], ...]
    settings: tuple[tuple[str, Dim], ...]
    given_shapes: tuple[tuple[str, tuple[Dim, ...]], ...]

    def __init__(
        self, text: str | Statement, *, shapes: Mapping[str, tuple[Dim, ...]] | None = None, **extents: object
    ) -> None:
        statement = text if isinstance(text, Statement) else read_statement(text)
        refs = (statement.target, *statement.refs)
        names = statement.settings
        for name in extents:
            if name not in statement.names:
                raise ExtentError(
                    f"{name!r} is no index of {st.write(statement)!r}; its indices are "
                    f"{', '.join(statement.indices)}" + (f", its settings {', '.join(names)}" if names else "")
                )
        bound = {name: dimension(name, extents.get(name, symbol(name))) for name in statement.indices}
        setting = {
            name: dimension(name, extents.get(name, symbol(name)), 0 if name.split("_")[0] in ("pad", "offset") else 1)
            for name in names
        }
        numbers = {name: dimension(name, extents[name]) for name in statement.scalars if name in extents}
        object.__setattr__(self, "statement", statement)
        object.__setattr__(self, "extents", tuple(bound.items()))
        object.__setattr__(self, "settings", tuple((setting | numbers).items()))
        read = {ref.name for ref in refs} | {r.name for ref in refs for r in _gathers(ref)}
        object.__setattr__(
            self, "given_shapes", tuple((name, tuple(dims)) for name, dims in (shapes or {}).items() if name in read)
        )
        for name, dims in self.given_shapes:
            rank = len(self.references[name][0].subscripts)
            if len(dims) != rank or any(isinstance(size, int) and size < 1 for size in dims):
                raise ShapeError(f"shape {dims} of {name!r}: {self.text!r} needs {rank} extents of at least 1")

    def like(
        self, statement: Statement, shapes: Mapping[str, tuple[Dim, ...]], bound: Mapping[str, Dim]
    ) -> LoopNest:
        """A nest of another statement over extents and shapes that have been checked already."""
        nest = object.__new__(LoopNest)
        names = (*statement.settings, *(name for name in statement.scalars if name in bound))
        object.__setattr__(nest, "statement", statement)
        object.__setattr__(nest, "extents", tuple((name, bound[name]) for name in statement.indices))
        object.__setattr__(nest, "settings", tuple((name, bound[name]) for name in names))
        read = nest.references
        object.__setattr__(nest, "given_shapes", tuple((n, dims) for n, dims in shapes.items() if n in read))
        return nest

    def __repr__(self) -> str:
        bound = "".join(f", {name}={value}" for name, value in (*self.extents, *self.settings) if str(value) != name)
        return f"LoopNest({self.text!r}{bound})"

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(self.loops())}</pre>"

    @property
    def text(self) -> str:
        """The line itself."""
        return st.write(self.statement)

    @cached_property
    def extent(self) -> dict[str, Dim]:
        """Extent of each loop index, in loop order."""
        return dict(self.extents)

    # -- counting ----------------------------------------------------------------------------------------

    @property
    def iterations(self) -> Dim:
        """How often the line runs: the product of its extents."""
        return product(self.extent.values())

    @property
    def operations(self) -> dict[str, Dim]:
        """Operations by kind (multiply, add, subtract, divide, compare, exp ...)."""
        return {kind: count * self.iterations for kind, count in st.operations(self.statement)}

    @property
    def ops(self) -> Dim:
        """All operations of the nest; a multiply-accumulate is two."""
        return sum(self.operations.values())

    @property
    def macs(self) -> Dim:
        """Multiply-accumulates: the iterations of a line that sums products of two tensors, else 0."""
        return self.iterations if st.is_mac(self.statement) else 0

    @property
    def independent(self) -> dict[str, Dim]:
        """Extents that index the output: their iterations may run at the same time."""
        names = st.ref_indices(self.statement.target)
        return {name: extent for name, extent in self.extent.items() if name in names}

    @property
    def reducing(self) -> dict[str, Dim]:
        """Extents that only the right-hand side has: their iterations meet in one sum or maximum."""
        return {name: extent for name, extent in self.extent.items() if name not in self.independent}

    @property
    def parallelism(self) -> Dim:
        """How many iterations can run at once without meeting in one output element."""
        forms = self.subscripts(self.statement.target)
        alone = {form.terms[0][0] for form in forms if form and len(form.terms) == 1}
        if None in forms:  # what is looked up may be the same element twice
            return product(extent for name, extent in self.independent.items() if name in alone)
        if alone >= set(self.independent):
            return product(self.independent.values())
        return self.size(self.statement.target.name)  # a transposed convolution: windows overlap in the output

    # -- tensors -----------------------------------------------------------------------------------------

    @cached_property
    def references(self) -> dict[str, tuple[Ref, ...]]:
        """Every tensor of the line with the places where it stands, the target first."""
        refs: dict[str, list[Ref]] = {}
        for ref in (self.statement.target, *self.statement.refs):
            for one in (ref, *_gathers(ref)):
                refs.setdefault(one.name, [])
                if one not in refs[one.name]:
                    refs[one.name].append(one)
        return {name: tuple(places) for name, places in refs.items()}

    def subscripts(self, ref: Ref) -> tuple[Affine | None, ...]:
        """The affine form of each subscript; None for one that is looked up in another tensor."""
        settings = dict(self.settings)
        return tuple(None if isinstance(sub, Ref) else affine(sub, settings) for sub in ref.subscripts)

    def shape(self, tensor: str) -> tuple[Dim, ...]:
        """Shape of a tensor, as given or as far as its subscripts reach inside the border."""
        places = self._places(tensor)
        given = dict(self.given_shapes).get(tensor)
        if given is not None:
            return given
        dims = []
        for axis in range(len(places[0].subscripts)):
            forms = [self.subscripts(ref)[axis] for ref in places]
            if None in forms:
                dims.append(symbol(f"rows_{tensor}"))  # a looked-up index can reach any row
                continue
            spans = [form.span(self._full()) for form in forms if form is not None]
            # a subscript that starts at -pad is taken to end pad past the last element too
            dims.append(largest(*(high + smallest(low, 0) + 1 for low, high in spans)))
        for axis, size in enumerate(dims):
            if isinstance(size, int) and size < 1:
                raise ShapeError(f"axis {axis} of {tensor!r} in {self.text!r} is empty: the border is wider than it")
        return tuple(dims)

    def size(self, tensor: str) -> Dim:
        """Number of elements a tensor holds."""
        return product(self.shape(tensor))

    def accesses(self, tensor: str) -> Dim:
        """How often the nest reads (or writes) elements of a tensor, border included."""
        return self.iterations * len(self._places(tensor))

    def reuse(self, tensor: str) -> Dim:
        """How many times the nest touches each element of a tensor, on average: accesses / elements.

        >>> LoopNest("out[n,k] += weight[k,c] * inp[n,c]").reuse("weight")
        n
        """
        return ratio(self.accesses(tensor), self.size(tensor))

    def touched(self, tensor: str) -> Dim:
        """Number of different elements the nest touches: strides may skip some, and the border is not there.

        Raises `ExtentError` where only numbers can tell (a symbolic stride wider than the filter, a lookup).
        """
        places = self._places(tensor)
        forms = [self.subscripts(ref) for ref in places]
        if any(None in form for form in forms):
            raise ExtentError(f"which elements of {tensor!r} are touched depends on the indices looked up")
        shape = self.shape(tensor)
        if len(forms) == 1:
            used = [name for form in forms[0] if form for name, _ in form.terms]
            if len(used) == len(set(used)):  # no index on two axes: the footprint is a product of axes
                ranges = self._full()
                return product(
                    form.count(ranges, size) for form, size in zip(forms[0], shape, strict=True) if form
                )
        return self._enumerated(tensor, forms, shape)

    def _enumerated(self, tensor: str, forms: list[tuple[Affine | None, ...]], shape: tuple[Dim, ...]) -> int:
        names = dict.fromkeys(name for form in forms for axis in form if axis for name, _ in axis.terms)
        extents = [self.extent[name] for name in names]
        if not all(isinstance(n, int) for n in (*extents, *shape, *(v for _, v in self.settings))):
            raise ExtentError(f"{tensor!r} is reached in several ways: bind all extents to count its elements")
        if product(extents) * len(forms) > MAX_ENUMERATED:
            raise ExtentError(f"{tensor!r} is reached in several ways, too many elements to count one by one")
        found = set()
        for values in every(*map(range, extents)):
            point = dict(zip(names, values, strict=True))
            for form in forms:
                at = tuple(axis.at(point) for axis in form if axis)
                if all(0 <= i < size for i, size in zip(at, shape, strict=True)):
                    found.add(at)
        return len(found)

    # -- dependencies ------------------------------------------------------------------------------------

    def needs(self, tile: Mapping[str, tuple[Dim, Dim]]) -> dict[str, tuple[tuple[Dim, Dim], ...]]:
        """Which part of each tensor must be ready before a tile of the output can be computed.

        `tile` maps indices of the output to `(start, stop)`; an index left out runs over its whole extent.
        Returns, for each tensor on the right, `(start, stop)` per axis, cut at the border. Rows that two
        neighbouring tiles both need are the halo.

        >>> conv = LoopNest("out[y] += weight[i] * inp[y+i-pad]", y=32, i=3, pad=1)
        >>> conv.needs({"y": (8, 16)})["inp"]
        ((7, 17),)
        """
        for name in tile:
            if name not in self.extent:
                raise ExtentError(f"{name!r} is no index of {self.text!r}; its indices are {', '.join(self.extent)}")
        ranges = self._full() | {name: (start, stop) for name, (start, stop) in tile.items()}
        for name, (start, stop) in ranges.items():
            known = all(isinstance(v, int) for v in (start, stop, self.extent[name]))
            if known and not 0 <= start < stop <= self.extent[name]:
                raise ExtentError(f"tile {name} = {(start, stop)}: expected 0 <= start < stop <= {self.extent[name]}")
        needed = {}
        target = self.statement.target
        for name, places in self.references.items():
            places = tuple(ref for ref in places if ref != target or ref in self.statement.refs)
            if not places:
                continue
            axes = []
            for axis, size in enumerate(self.shape(name)):
                forms = [self.subscripts(ref)[axis] for ref in places]
                if None in forms:
                    axes.append((0, size))
                    continue
                parts = [form.reach(ranges, size) for form in forms if form is not None]
                inside = [part for part in parts if part[0] != part[1]] or parts[:1]
                axes.append((smallest(*(start for start, _ in inside)), largest(*(stop for _, stop in inside))))
            needed[name] = tuple(axes)
        return needed

    # -- the loops ---------------------------------------------------------------------------------------

    def loops(self) -> str:
        """The nest as readable Python; extents that are still symbols are written in capitals.

        >>> print(LoopNest("out[n,k] += weight[k,c] * inp[n,c]", n=8).loops())
        for n in range(8):
            for k in range(K):
                for c in range(C):
                    out[n,k] += weight[k,c] * inp[n,c]
        """

        def capital(value: Dim) -> str:
            if isinstance(value, int):
                return str(value)
            upper = value.xreplace({s: symbol(str(s).upper()) for s in value.free_symbols})
            if not isinstance(upper, sympy.floor | sympy.ceiling):
                return str(upper)
            top, bottom = sympy.together(upper.args[0]).as_numer_denom()
            return f"({top}) // {bottom}" if isinstance(upper, sympy.floor) else f"-(-({top}) // {bottom})"

        lines = [f"{name} = {capital(value)}" for name, value in self.settings]
        for depth, (name, extent) in enumerate(self.extents):
            lines.append("    " * depth + f"for {name} in range({capital(extent)}):")
        return "\n".join([*lines, "    " * len(self.extents) + self.text])

    # -- helpers -----------------------------------------------------------------------------------------

    def _full(self) -> dict[str, tuple[Dim, Dim]]:
        return {name: (0, extent) for name, extent in self.extents}

    def _places(self, tensor: str) -> tuple[Ref, ...]:
        if tensor not in self.references:
            raise ReadError(f"no tensor {tensor!r} in {self.text!r}; it has {', '.join(self.references)}")
        return self.references[tensor]


def _gathers(ref: Ref) -> tuple[Ref, ...]:
    """References that stand inside the subscripts of another."""
    return tuple(sub for sub in ref.subscripts if isinstance(sub, Ref))


