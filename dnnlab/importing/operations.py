"""One record of what a program computes, whichever framework it was written in: values, and operations on them.

A reader (`pytorch`, `onnxfile`) writes it, `patterns` finds the catalogue's layers in it, `assembling` turns it into a
network. Shapes are tuples of integers throughout.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

Shape = tuple[int, ...]
Call = tuple[tuple[str, str], ...]

#: Operations whose MACs count even where their result does not depend on the network's input.
PRODUCTS = ("convolution", "linear", "product", "attention")
#: Operations that hand numbers on without arithmetic.
MOVES = ("view", "copy")


@dataclass(frozen=True)
class Value:
    """A tensor: `role` is "input", "parameter", "constant" or "made" (by an operation). `real` is false for integers
    and truth values, which are bookkeeping: token numbers, positions, masks. `label` is its name in its program."""

    name: str
    shape: Shape
    role: str
    real: bool = True
    label: str = ""

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)


@dataclass(frozen=True)
class Operation:
    """One step: its `kind` says how `assembling` reads it, `label` what its program calls it, `call` which modules it
    was called in (a path each, outermost first, with what tells repeated calls apart)."""

    kind: str
    label: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    call: Call = ()
    in_place: bool = False

    @property
    def output(self) -> str:
        """The first result."""
        return self.outputs[0]

    @property
    def scope(self) -> str:
        """Path of the innermost module."""
        return self.call[-1][1] if self.call else ""


@dataclass(frozen=True)
class Recording:
    """Values by name and operations in the order in which they run; `inputs` and `results` name values."""

    name: str
    values: Mapping[str, Value]
    operations: tuple[Operation, ...]
    inputs: tuple[str, ...]
    results: tuple[str, ...]


class Recorder:
    """Collects values and operations; what depends on neither an input nor a parameter becomes a constant."""

    def __init__(self) -> None:
        self.values: dict[str, Value] = {}
        self.operations: list[Operation] = []

    def value(self, name: str, shape: Iterable[int], role: str, real: bool = True, label: str = "") -> str:
        """Register a value and return its name."""
        self.values[name] = Value(name, tuple(int(size) for size in shape), role, real, label or name)
        return name

    def add(
        self,
        kind: str,
        label: str,
        inputs: Iterable[str],
        outputs: Iterable[tuple[str, Iterable[int], bool]],
        call: Call = (),
        in_place: bool = False,
        **settings: Any,
    ) -> tuple[str, ...]:
        """Append an operation with its results (name, shape, real), and return the names under which they are known.

        Integers and truth values are not computed by layers: a view of an input is that input, the rest is constant.
        """
        inputs, outputs = tuple(inputs), tuple(outputs)
        sources = [self.values[name] for name in inputs]
        if not any(real for _, _, real in outputs):
            if kind == "view" and sources[0].role == "input":
                return (inputs[0],) * len(outputs)
            return tuple(self.value(name, shape, "constant", False) for name, shape, _ in outputs)
        depends = kind == "embedding" or any(
            source.role == "parameter" or (source.real and source.role != "constant") for source in sources
        )
        depends = depends and kind != "constant"
        role = "made" if depends else "constant"
        names = tuple(self.value(name, shape, role, real) for name, shape, real in outputs)
        if depends or kind in PRODUCTS:
            self.operations.append(Operation(kind, label, inputs, names, settings, call, in_place))
        return names
