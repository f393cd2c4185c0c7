"""Data dependencies across layers: which part of every earlier tensor a part of the output needs, and the
receptive field, how many input pixels that is for one output pixel. All from the indices of the lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from .affine import Affine
from .errors import DnnlabError, ExtentError, ShapeError
from .layers.base import Layer, Shape
from .layers.elementwise import Concatenate, Elementwise, PReLU
from .layers.normalization import BatchNorm2d
from .networks import INPUT, Network
from .notation import Dim, largest, product, smallest
from .program import Region


class ReceptiveField(int):
    """Height of the receptive field in input pixels, as an integer; `width`, and `stride` (how many input
    pixels apart two neighbouring outputs look), beside it."""

    width: int
    stride: int

    @classmethod
    def of(cls, height: int, width: int, stride: int) -> ReceptiveField:
        """Put the parts together."""
        self = cls(height)
        self.width, self.stride = width, stride
        return self

    @property
    def height(self) -> int:
        """Rows of the input that one output depends on."""
        return int(self)

    def __repr__(self) -> str:
        return f"ReceptiveField(height={int(self)}, width={self.width}, stride={self.stride})"


def reach(layer: Layer) -> tuple[tuple[Dim, Dim], tuple[Dim, Dim]] | None:
    """(window, step) down and across: an output pixel sees `window` input pixels, its neighbour those `step` on.

    Read off the subscripts of the input in the layer's own line: in `y*stride+i-pad` the output index y has
    the step as its factor, and i adds the window. (1, 1) for a layer that keeps its pixels apart; None where
    an output sees the whole input.
    """
    shapes = layer.input_shapes
    if len(shapes[0]) != 4 or len(layer.output_shape) != 4:
        return None
    steps: list[tuple[Dim, Dim]] = []
    for nest in layer.program.nests:
        for ref in nest.references.get("inp", ()):
            axes = nest.subscripts(ref)[-2:]
            target = [form for form in nest.subscripts(nest.statement.target) if form]
            outputs = {name for form in target for name, _ in form.terms}
            if len(nest.subscripts(ref)) < 4 or not all(axes):
                continue
            if any(len(form.terms) > 1 for form in target[-2:]):
                raise DnnlabError(f"{layer.kind} scatters its input: its receptive field differs from pixel to pixel")
            found = []
            for form in axes:
                assert form is not None
                step = [a for name, a in form.terms if name in outputs]
                inner = sum(a * (nest.extent[name] - 1) for name, a in form.terms if name not in outputs)
                found.append((1 + inner, step[0] if step else 0))
            if all(step for _, step in found):
                steps.append((found[0], found[1]))
    if steps:
        return steps[-1]
    return ((1, 1), (1, 1)) if layer.output_shape[-2:] == shapes[0][-2:] else None


def receptive_field(net: Network, name: str) -> ReceptiveField:
    """How many input pixels one output pixel of a layer (or of a block's last layer) depends on.

    The border is not there to be seen, so the field is what an output far from it depends on; it can be wider
    than the input. Where branches join, the larger one counts. Raises `DnnlabError` behind a layer that looks
    at the whole input, such as a linear one.

    >>> from dnnlab import zoo
    >>> zoo.resnet50().receptive_field("layer1.0")
    ReceptiveField(height=19, width=19, stride=4)
    """
    target = net.last_of(name).name
    if len(net.input_shape) != 4:
        raise DnnlabError(f"{net.name} has input {net.input_shape}; a receptive field is told for images (n, c, h, w)")
    fields: dict[str, tuple[Dim, Dim, Dim, Dim]] = {INPUT: (1, 1, 1, 1)}  # height, width, steps down and across
    for node in net.layers:
        sources = [fields[edge] for edge in node.inputs]
        height, width, down, across = (largest(*parts) for parts in zip(*sources, strict=True))
        seen = reach(node.layer)
        if seen is None:
            raise DnnlabError(
                f"{net.name}: {name!r} comes after {node.name!r} ({node.kind}), which looks at all "
                f"{product(net.input_shape[2:])} pixels; ask for a layer before it"
            )
        (rows, step_down), (columns, step_across) = seen
        fields[node.name] = (
            height + (rows - 1) * down, width + (columns - 1) * across, down * step_down, across * step_across,
        )  # fmt: skip
        if node.name == target:
            break
    height, width, down, _ = fields[target]
    return ReceptiveField.of(height, width, down)


# -- across layers ---------------------------------------------------------------------------------------


def dependencies(net: Network, name: str, *region: tuple[int, int] | None, training: bool = False) -> dict[str, Region]:
    """Which part of every tensor must be ready before a region of a layer's (or block's) output can be computed.

    `region` is `(start, stop)` for each axis of the output, None for a whole axis; left out, it is all of it. The
    answer names tensors by the layer that makes them, "input" first and the region itself last, each with a box
    around the elements that are needed: the smallest for each layer, and where branches meet around those of both.
    (Windows with gaps, such as dilated ones, leave elements inside a box unused; a layer before may then be asked for
    a little more than it must give.) Batch norm is taken as in inference, where it treats every pixel alone; with
    `training` its statistics need the whole batch. Raises `ExtentError` for a region outside the output, `ShapeError`
    for one with another number of axes.

    >>> from dnnlab import zoo
    >>> needed = dependencies(zoo.lenet5(), "conv2", (0, 1), None, (0, 1), (0, 1))
    >>> needed["pool1"], needed["input"]
    (((0, 1), (0, 6), (0, 5), (0, 5)), ((0, 1), (0, 1), (0, 14), (0, 14)))
    """
    target = net.last_of(name)
    wanted = {target.name: _checked(region, target.output_shape, target.name)}
    for node in reversed(net.layers):
        if node.name not in wanted:
            continue
        parts = required(node.layer, wanted[node.name], training)
        for edge, part in zip(node.inputs, parts, strict=True):
            if part is not None:
                wanted[edge] = part if edge not in wanted else _around(wanted[edge], part)
    return {edge: wanted[edge] for edge in (INPUT, *(node.name for node in net.layers)) if edge in wanted}


@lru_cache(maxsize=2048)
def required(layer: Layer, region: Region, training: bool = False) -> tuple[Region | None, ...]:
    """For each input of a layer, the smallest box that a region of its output needs; None where it needs nothing
    but border. Unlike `Layer.needs` it speaks of inputs in the shapes that a network sees.

    >>> from dnnlab import ReLU
    >>> required(ReLU(shape=(1, 8, 4, 4)), ((0, 1), (0, 8), (1, 2), (0, 4)))
    (((0, 1), (0, 8), (1, 2), (0, 4)),)
    """
    if keeps_apart(layer, training):
        return (region,) * len(layer.input_shapes)
    if isinstance(layer, Concatenate):
        return _pieces(layer, region)
    views = _views(layer)
    if views is not None:
        found: list[Region | None] = []
        for inner, names, axes in views:
            ranges = inner | dict(zip(names, region, strict=True))
            part = tuple(form.reach(ranges, size) for form, size in axes)
            found.append(None if any(start == stop for start, stop in part) else part)
        return tuple(found)
    program = layer.program
    if not program.nests:  # a view
        return tuple(_viewed(region, layer.output_shape, shape) for shape in layer.input_shapes)
    output = program.having("output")[0]
    needs = program.needs(_viewed(region, layer.output_shape, program.shape(output)))
    names = layer.input_names or program.having("constant")  # token numbers carry no gradient
    return tuple(
        _viewed(needs[name], program.shape(name), shape) if name in needs else None
        for name, shape in zip(names, layer.input_shapes, strict=False)
    )


def keeps_apart(layer: Layer, training: bool = False) -> bool:
    """Does each output element depend on one element of each input alone, the one at its own place? Batch norm does
    so in inference.

    >>> from dnnlab import BatchNorm2d, ReLU
    >>> keeps_apart(ReLU()), keeps_apart(BatchNorm2d()), keeps_apart(BatchNorm2d(), training=True)
    (True, True, False)
    """
    if isinstance(layer, BatchNorm2d):
        return not (training and layer.training)
    return isinstance(layer, Elementwise | PReLU)


@lru_cache(maxsize=512)
def line_buffer(layer: Layer) -> Region:
    """The part of a layer's first input that must be held to make its output row by row: the largest that any one
    row of one sample needs. A row is the last axis but one of an output of three axes or more; of any other output it
    is all of it.

    >>> from dnnlab import Conv2d
    >>> line_buffer(Conv2d(n=8, k=64, c=3, h=32, w=32, r=3, s=3))
    ((0, 1), (0, 3), (0, 3), (0, 32))
    """
    shape = layer.output_shape
    sample = tuple((0, size) for size in shape[1:])
    rows = range(shape[-2]) if len(shape) > 2 else range(1)
    largest_part: Region | None = None
    for row in rows:
        part = (*sample[:-2], (row, row + 1), sample[-1]) if len(shape) > 2 else sample
        needed = required(layer, ((0, 1), *part))[0]
        if needed is not None and (largest_part is None or volume(needed) > volume(largest_part)):
            # where it lies does not matter, only how much it is
            largest_part = (*needed[:-2], (0, needed[-2][1] - needed[-2][0]), needed[-1])
    if largest_part is None:
        raise DnnlabError(f"{layer.kind} needs nothing of its input")
    return largest_part


def volume(region: Region) -> Dim:
    """Number of elements of a region.

    >>> volume(((0, 1), (0, 3), (2, 4)))
    6
    """
    return product(stop - start for start, stop in region)


def _checked(region: Sequence[tuple[int, int] | None], shape: Shape, name: str) -> Region:
    """The region with whole axes written out; it must lie inside the output."""
    parts = region or (None,) * len(shape)
    if len(parts) != len(shape):
        raise ShapeError(f"{name!r} has {len(shape)} axes {shape}, but the region names {len(parts)}")
    whole = tuple((0, size) if part is None else part for part, size in zip(parts, shape, strict=True))
    for axis, ((start, stop), size) in enumerate(zip(whole, shape, strict=True)):
        if not all(isinstance(one, int) for one in (start, stop, size)) or not 0 <= start < stop <= size:
            raise ExtentError(f"axis {axis} of {name!r}: {(start, stop)}, expected 0 <= start < stop <= {size}")
    return whole


def _around(one: Region, other: Region) -> Region:
    return tuple((smallest(a, c), largest(b, d)) for (a, b), (c, d) in zip(one, other, strict=True))


def _pieces(layer: Concatenate, region: Region) -> tuple[Region | None, ...]:
    """What a region of tensors that lie side by side along axis 1 needs of each."""
    found: list[Region | None] = []
    offset = 0
    for size in layer.parts:
        start, stop = max(region[1][0] - offset, 0), min(region[1][1] - offset, size)
        found.append((region[0], (start, stop), *region[2:]) if start < stop else None)
        offset += size
    return tuple(found)


_View = tuple[dict[str, tuple[Dim, Dim]], tuple[str, ...], tuple[tuple[Affine, Dim], ...]]


@lru_cache(maxsize=512)
def _views(layer: Layer) -> tuple[_View, ...] | None:
    """For each input of a layer whose lines go straight from inputs to output: the indices inside with their ranges,
    those of the output by axis, and the subscripts with the sizes of their axes. None for other layers, whose lines
    must be followed backwards one by one."""
    program = layer.program
    names = layer.input_names
    if program.locals or tuple(map(program.shape, names)) != layer.input_shapes or not names:
        return None
    views: list[_View] = []
    for name in names:
        readers = [(nest, ref) for nest in program.nests for ref in nest.references.get(name, ())]
        if len(readers) != 1:
            return None
        ((nest, ref),) = readers
        forms = nest.subscripts(ref)
        target = nest.subscripts(nest.statement.target)
        plain = [f.terms[0][0] for f in target if f and len(f.terms) == 1 and f.terms[0][1] == 1 and f.constant == 0]
        if len(plain) != len(layer.output_shape) or len(target) != len(plain) or None in forms:
            return None
        inner = {index: (0, extent) for index, extent in nest.extent.items() if index not in plain}
        axes = tuple((form, size) for form, size in zip(forms, program.shape(name), strict=True) if form is not None)
        views.append((inner, tuple(plain), axes))
    return tuple(views)


def _viewed(region: Region, old: Shape, new: Shape) -> Region:
    """The smallest box around the same elements where a tensor is seen in another shape."""
    found: list[tuple[Dim, Dim]] = []
    i = j = 0
    while i < len(old) or j < len(new):
        a, b = i + 1, j + 1
        while (before := product(old[i:a])) != (after := product(new[j:b])):  # axes that hold the same elements
            a, b = (a + 1, b) if before < after else (a, b + 1)
        first = last = 0
        for (start, stop), size in zip(region[i:a], old[i:a], strict=True):
            first, last = first * size + start, last * size + stop - 1
        found += _box(first, last, new[j:b])
        i, j = a, b
    return tuple(found)


def _box(first: int, last: int, dims: Shape) -> Region:
    """The smallest box around the elements from `first` to `last`, counted row by row."""
    if not dims:
        return ()
    inner = product(dims[1:])
    (a, rest), (b, other) = divmod(first, inner), divmod(last, inner)
    if a == b:
        return ((a, a + 1), *_box(rest, other, dims[1:]))
    return ((a, b + 1), *((0, size) for size in dims[1:]))
