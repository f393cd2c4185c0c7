"""The product of two activations: no operand is learned."""

from __future__ import annotations

from typing import ClassVar

from ..notation import Dim
from ..program import Program
from .base import Layer, catalogued, dim


@catalogued
class MatrixProduct(Layer):
    """Each of b pairs of matrices is multiplied: t rows of d numbers with d rows of u numbers.

    >>> MatrixProduct().macs, MatrixProduct().parameters
    (b*d*t*u, 0)
    """

    b: Dim = dim("b")
    t: Dim = dim("t")
    d: Dim = dim("d")
    u: Dim = dim("u")

    takes: ClassVar[tuple[tuple[str, ...], ...]] = (("b", "t", "d"), ("b", "d", "u"))
    gives: ClassVar[tuple[str, ...]] = ("b", "t", "u")

    def define(self) -> Program:
        roles = {"first": "input", "second": "input", "out": "output"}
        return self.read("out[b,t,u] += first[b,t,d] * second[b,d,u]", roles, {})
