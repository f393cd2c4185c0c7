"""What stands between the layers of a network that somebody wrote: other views of a tensor, copies, tensors that come
from outside, and operations that the catalogue does not know.
"""

from __future__ import annotations

from typing import Self

from ..errors import ShapeError
from ..notation import Dim, product, ratio, symbol
from ..program import Program
from .base import Layer, Shape, catalogued


def rescaled(layer: str, old: Shape, new: Shape, shape: Shape) -> Shape:
    """`shape` once its source has changed from `old` to `new`, which may differ in the first axis only: the batch.

    Raises `ShapeError` where the first axis of `shape` is not made of the batch.
    """
    if old == new:
        return shape
    if old and shape and old[1:] == new[1:] and len(old) == len(new):
        if shape[0] == old[0]:
            return (new[0], *shape[1:])
        times = ratio(shape[0], old[0])
        if old[0] != 1 and times == int(times):  # of a single sample, every number is a multiple
            return (new[0] * int(times), *shape[1:])
    raise ShapeError(f"{layer} takes an input {old}, got {new}; import the network again with an example of that size")


@catalogued
class View(Layer):
    """The same numbers seen in another shape, order or part: a reshape, a permutation, a slice, an expansion. It moves
    nothing and costs nothing.

    >>> View(source=(2, 8, 12), target=(2, 3, 8, 4)).traffic
    0
    """

    source: Shape
    target: Shape

    def fit(self, *shapes: Shape) -> Self:
        if len(shapes) != 1:
            raise ShapeError(f"View takes one input, got {len(shapes)}")
        return self.at(source=shapes[0], target=rescaled(self.kind, self.source, shapes[0], self.target))

    def for_batch(self, old: Dim, new: Dim) -> Self:
        """The same view once the batch has changed, where it repeats something for each sample."""
        grows = product(self.target) != product(self.source) and self.source[0] == 1 != old
        return self.at(target=(new, *self.target[1:])) if grows and self.target[0] == old else self

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        return (self.source,)

    @property
    def output_shape(self) -> Shape:
        return self.target

    @property
    def traffic(self) -> Dim:
        """Nothing moves."""
        return 0

    def define(self) -> Program:
        return Program(())


@catalogued
class Copy(View):
    """Numbers go to other places without arithmetic: padding, a roll, a repetition, the nearest neighbour.

    >>> Copy(source=(4, 6), target=(4, 8)).ops, Copy(source=(4, 6), target=(4, 8)).traffic
    (0, 56)
    """

    @property
    def traffic(self) -> Dim:
        """What is read and what is written."""
        return self.inputs + self.activations

    def define(self) -> Program:
        read, written = product(self.source), product(self.target)
        lines, roles = "out[i] = inp[i]", {"inp": "input", "out": "output"}
        return self.read(lines, roles, {"inp": (read,), "out": (written,)}, i=min(read, written))


@catalogued
class Given(Layer):
    """A tensor that no layer made: a second `input` of the network, a `constant`, or a `parameter` that is used as a
    tensor of its own (the token for the class, the scale of a branch).

    >>> Given(role="parameter", shape=(1, 1, 768)).parameters
    768
    """

    role: str
    shape: Shape

    @property
    def kind(self) -> str:
        return self.role.capitalize()

    @property
    def output_shape(self) -> Shape:
        return self.shape

    @property
    def traffic(self) -> Dim:
        """Whoever uses it counts the reading."""
        return 0

    def for_batch(self, old: Dim, new: Dim) -> Self:
        """The same tensor once the batch has changed, which a second input has too."""
        return self.at(shape=(new, *self.shape[1:])) if (self.role, self.shape[0]) == ("input", old) else self

    def define(self) -> Program:
        if self.role != "parameter":
            return Program(())
        return self.read("out[i] = weight[i]", {"weight": "parameter", "out": "output"}, {}, i=product(self.shape))


@catalogued
class _Shaped(Layer):
    """What layers share whose shapes are given, not made of dimensions."""

    sources: tuple[Shape, ...]
    target: Shape

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        return self.sources

    @property
    def output_shape(self) -> Shape:
        return self.target

    def grown(self, shapes: tuple[Shape, ...]) -> Shape:
        """The target for inputs of these shapes, which may differ from the sources in their batch only."""
        if len(shapes) != len(self.sources):
            raise ShapeError(f"{self.kind} takes {len(self.sources)} input(s), got {len(shapes)}")
        return rescaled(self.kind, self.sources[0], shapes[0], self.target) if shapes else self.target


@catalogued
class Unknown(_Shaped):
    """An operation that the catalogue does not have: its shapes and its parameters are known, its arithmetic is not,
    and counts as nothing. The kind is the operation's name.

    >>> Unknown(operation="lstm", sources=((5, 2, 8),), target=(5, 2, 16), learned=1600).ops
    0
    """

    operation: str
    learned: Dim = 0

    def fit(self, *shapes: Shape) -> Self:
        return self.at(sources=shapes, target=self.grown(shapes))

    @property
    def kind(self) -> str:
        return self.operation

    @property
    def parameters(self) -> Dim:
        """The sizes of its parameters are known even though its lines are not."""
        return self.learned

    def define(self) -> Program:
        return Program(())


@catalogued
class Viewed(_Shaped):
    """A layer on tensors that have other axes than its lines: the same elements in the same number.

    A linear layer on (n, h, w, c) is a linear layer of n·h·w rows.

    >>> from dnnlab import Linear
    >>> layer = Viewed(layer=Linear(n=32, k=10, c=3), sources=((2, 4, 4, 3),), target=(2, 4, 4, 10))
    >>> layer.kind, layer.macs, layer.output_shape
    ('Linear', 960, (2, 4, 4, 10))
    """

    layer: Layer

    def check(self) -> None:
        inner = (*self.layer.input_shapes, self.layer.output_shape)
        outer = (*self.sources, self.target)
        if [product(shape) for shape in inner] != [product(shape) for shape in outer]:
            raise ShapeError(f"{self.kind} has {inner}, which does not hold as many elements as {outer}")

    def fit(self, *shapes: Shape) -> Self:
        if shapes == self.sources:
            return self
        target = self.grown(shapes)
        opened = self.layer.at(**{axes[0]: symbol(axes[0]) for axes in self.layer.takes})
        sizes = zip(self.sources, shapes, self.layer.input_shapes, strict=True)
        inner = opened.fit(*(self._inner(old, new, shape) for old, new, shape in sizes))
        return self.at(layer=inner, sources=shapes, target=target)

    def _inner(self, old: Shape, new: Shape, shape: Shape) -> Shape:
        """The inner shape: its first axis counts rows, so that it grows with the elements."""
        rows = ratio(shape[0] * product(new), product(old))
        if rescaled(self.kind, old, new, old) != new or rows != int(rows):
            raise ShapeError(
                f"{self.kind} mixes the samples of a batch of {old[0]}; import the network again for {new[0]}"
            )
        return (int(rows), *shape[1:])

    @property
    def kind(self) -> str:
        return self.layer.kind

    @property
    def input_names(self) -> tuple[str, ...]:
        return self.layer.input_names

    @property
    def traffic(self) -> Dim:
        return self.layer.traffic

    def define(self) -> Program:
        return self.layer.program
