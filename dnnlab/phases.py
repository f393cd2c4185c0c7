"""The phases of training: what the forward pass, the backward pass and the update of one batch do, layer by layer.

Every phase is counted from lines: a layer's own, their adjoint lines, and the optimizer's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from .bounds import BALANCED, NetworkTime, timed
from .errors import ExtentError, quote
from .hardware import Device, energy
from .layers.base import Layer
from .layers.optimizers import Optimizer
from .notation import Dim, typical
from .program import Program
from .quantities import bytes_of

#: Kinds of operation with a published energy, and its name in the table of Horowitz (ISSCC 2014).
PRICED = {"multiply": "mul", "add": "add", "subtract": "add"}


@dataclass(frozen=True)
class Task:
    """What one layer does in one phase: operations by kind, multiply-accumulates, elements that cross the memory
    interface, and how many of its iterations may run at once."""

    name: str
    kind: str
    operations: tuple[tuple[str, Dim], ...]
    macs: Dim
    traffic: Dim
    parallelism: Dim

    @property
    def ops(self) -> Dim:
        """All operations; a multiply-accumulate is two."""
        return sum(count for _, count in self.operations)


@dataclass(frozen=True)
class Phase:
    """The forward pass, the backward pass or the update of one batch.

    `stored` is in numbers (elements): parameters and inputs of layers (forward), their gradients (backward), or what
    the optimizer keeps between steps (update).
    """

    name: str
    tasks: tuple[Task, ...]
    stored: Dim

    @cached_property
    def operations(self) -> dict[str, Dim]:
        """Operations by kind, all layers."""
        total: dict[str, Dim] = {}
        for task in self.tasks:
            for kind, count in task.operations:
                total[kind] = total.get(kind, 0) + count
        return total

    @cached_property
    def ops(self) -> Dim:
        """All operations."""
        return sum(task.ops for task in self.tasks)

    @property
    def macs(self) -> Dim:
        """Multiply-accumulates of convolutions, linear layers and matrix products."""
        return sum(task.macs for task in self.tasks)

    @cached_property
    def traffic(self) -> Dim:
        """Elements that cross the memory interface at least."""
        return sum(task.traffic for task in self.tasks)

    def bottleneck(self, dtype: str | None = None) -> tuple[str, ...]:
        """The kinds of operation there are most of, or, with a dtype, those that take most energy.

        More than one where they are level (within ten per cent), as multiplications and additions are in a
        convolution. While symbols are open, kinds compare at a typical size (`notation.typical`).

        >>> from dnnlab import Conv2d
        >>> phase = Phase("Forward pass", (forward("conv", Conv2d()),), 0)
        >>> phase.bottleneck(), phase.bottleneck("fp32")
        (('multiply', 'add'), ('multiply',))
        """
        weights: dict[str, Any] = self.operations
        if dtype is not None:
            cost = joules(dtype)
            weights = {kind: count * cost[kind] for kind, count in weights.items() if kind in cost}
        sizes = {kind: float(typical(weight)) for kind, weight in weights.items()}
        most = max(sizes.values(), default=0.0)
        return tuple(kind for kind, size in sizes.items() if 0 < most <= BALANCED * size)

    def energy(self, dtype: str = "fp32") -> Dim:
        """Joules of its multiplications, additions and subtractions at 45 nm; other kinds, for which no figure is
        published, are left out (`unpriced` names them). Raises `UnknownNameError` as `joules` does."""
        cost = joules(dtype)
        return sum(count * cost[kind] for kind, count in self.operations.items() if kind in cost)

    @property
    def unpriced(self) -> tuple[str, ...]:
        """Kinds of operation that `energy` leaves out."""
        return tuple(kind for kind in self.operations if kind not in PRICED)

    def on(self, device: Device, dtype: str = "fp16", overlap: bool = True) -> NetworkTime:
        """What the phase takes on a device, layer by layer. Raises the errors of `bounds.on`."""
        layers = tuple(
            timed(task.name, task.kind, device, dtype, overlap, task.macs, task.ops, task.traffic, task.parallelism)
            for task in self.tasks
        )
        return NetworkTime(self.name, device, dtype, overlap, layers)


Counts = tuple[tuple[tuple[str, Dim], ...], Dim, Dim, Dim]  # operations, multiply-accumulates, traffic, parallelism


def forward(name: str, layer: Layer, input_gradient: bool = True) -> Task:
    """The forward pass of a layer in training: beside the layer's own traffic it writes what only the backward pass
    will read, such as the weights of an attention."""
    return Task(name, layer.kind, *_both(layer, input_gradient)[0])


def backward(name: str, layer: Layer, input_gradient: bool = True) -> Task:
    """The backward pass of a layer: it moves what it reads of the forward pass, the gradient it is given and those it
    makes."""
    return Task(name, layer.kind, *_both(layer, input_gradient)[1])


def update(rule: Optimizer) -> Task:
    """One step of an optimizer over its p parameters."""
    return Task(rule.kind, rule.kind, tuple(rule.operations.items()), rule.macs, rule.traffic, rule.parallelism)


def kept(layer: Layer, input_gradient: bool = True) -> dict[str, Dim]:
    """What the forward pass keeps for the backward pass beside the parameters, with its number of elements."""
    return _kept(layer.backward(input_gradient))


def _kept(program: Program) -> dict[str, Dim]:
    return {name: program.size(name) for name in program.having("constant")}


# Forward and backward pass together, since both ask for the adjoint lines, which take most of the time.
@lru_cache(maxsize=4096)
def _both(layer: Layer, input_gradient: bool) -> tuple[Counts, Counts]:
    own, program = layer.program, layer.backward(input_gradient)
    aside = sum(size for name, size in _kept(program).items() if name in own.locals)
    traffic = sum(program.size(name) for name, _ in program.roles)  # gradients of locals have no role: they stay
    parallelism = max((nest.parallelism for nest in program.nests), key=typical, default=0)
    return (
        (tuple(own.operations.items()), layer.macs, layer.traffic + aside, layer.parallelism),
        (tuple(program.operations.items()), program.macs, traffic, parallelism),
    )


def joules(dtype: str) -> dict[str, float]:
    """Joules of one operation by kind, at 45 nm (Horowitz, ISSCC 2014); a subtraction is an addition.

    Raises `UnknownNameError` for a dtype that does not exist, `ExtentError` for one without a published figure.

    >>> cost = joules("fp32")
    >>> round(cost["multiply"] / cost["add"], 2)
    4.11
    """
    bytes_of(dtype)
    facts = energy()
    known = sorted({name.partition("_")[0] for name in facts if name.endswith("_mul")})
    if dtype not in known:
        raise ExtentError(f"no energy of an operation is published here for {quote(dtype)}; take {', '.join(known)}")
    return {kind: facts[f"{dtype}_{name}"].value for kind, name in PRICED.items()}
