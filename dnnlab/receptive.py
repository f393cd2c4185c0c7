"""The receptive field: how many input pixels one output pixel depends on, from the indices of the lines."""

from __future__ import annotations

from .errors import DnnlabError
from .layers.base import Layer
from .networks import INPUT, Network
from .notation import Dim, largest, product


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
