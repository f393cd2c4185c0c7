"""Optimizers are lines as well: what one step does to each of p parameters."""

from __future__ import annotations

from ..inplace import Verdict
from ..notation import Dim
from ..program import Program
from .base import Layer, Shape, catalogued, dim


@catalogued
class Optimizer(Layer):
    """One update of p parameters from their gradients; `state` counts the numbers kept between steps."""

    p: Dim = dim("p")

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        """The gradients."""
        return ((self.p,),)

    @property
    def output_shape(self) -> Shape:
        """The parameters."""
        return (self.p,)

    @property
    def traffic(self) -> Dim:
        """Gradients are read; parameters and state are read and written."""
        return self.p + 2 * (self.p + self.state)

    @property
    def in_place(self) -> Verdict:
        """An update always is."""
        return Verdict(True, "yes: an update overwrites the parameters, and nothing is differentiated")

    def update(self, *lines: str) -> Program:
        """The lines, with every tensor but parameters and gradients as state."""
        roles = {"param": "parameter", "grad": "input"}
        program = self.read(lines, roles, {}, i=self.p)
        state = {name: "state" for name in program.tensors if name not in roles}
        return self.read(lines, roles | state, {}, i=self.p)


@catalogued
class SGD(Optimizer):
    """Gradient descent: a step against the gradient, of length `lr`.

    >>> SGD().operations
    {'subtract': p, 'multiply': p}
    """

    def define(self) -> Program:
        return self.update("param[i] = param[i] - lr * grad[i]")


@catalogued
class Momentum(Optimizer):
    """Gradient descent along a running sum of gradients: one extra number for each parameter.

    >>> Momentum().state
    p
    """

    def define(self) -> Program:
        return self.update("velocity[i] = mu * velocity[i] + grad[i]", "param[i] = param[i] - lr * velocity[i]")


@catalogued
class Adam(Optimizer):
    """Steps scaled by running means of the gradient and of its square: two extra numbers for each parameter.

    The bias corrections `fix1 = 1 - beta1**t` and `fix2 = 1 - beta2**t` are two numbers a step, made outside.

    >>> Adam().state
    2*p
    """

    def define(self) -> Program:
        return self.update(
            "first[i] = beta1 * first[i] + (1 - beta1) * grad[i]",
            "second[i] = beta2 * second[i] + (1 - beta2) * grad[i]**2",
            "param[i] = param[i] - lr * (first[i] / fix1) / (sqrt(second[i] / fix2) + eps)",
        )
