"""Linear layers: a matrix product with learned weights."""

from __future__ import annotations

from typing import ClassVar

from ..notation import Dim
from ..program import Program
from .base import Layer, catalogued, dim


@catalogued
class Linear(Layer):
    """Every one of k outputs is a weighted sum of all c inputs, for n samples.

    With n = 1 each weight is used once, which makes the layer wait for memory; with a batch it is used n times.

    >>> Linear(n=1).ops, Linear().parameters, Linear().reuse("weight")
    (2*c*k, c*k, n)
    """

    n: Dim = dim("n")
    k: Dim = dim("k")
    c: Dim = dim("c")
    bias: bool = False

    takes: ClassVar[tuple[tuple[str, ...], ...]] = (("n", "c"),)
    gives: ClassVar[tuple[str, ...]] = ("n", "k")

    def define(self) -> Program:
        lines = ["out[n,k] += weight[k,c] * inp[n,c]"]
        roles = {"inp": "input", "weight": "parameter", "out": "output"}
        if self.bias:
            lines.append("out[n,k] += bias[k]")
            roles["bias"] = "parameter"
        return self.read(lines, roles, {})


@catalogued
class BatchedLinear(Layer):
    """A linear layer applied to each of t positions (tokens) of n samples: n·t rows share one fetch of the weight.

    >>> BatchedLinear().ops, BatchedLinear().reuse("weight")
    (2*c*k*n*t, n*t)
    """

    n: Dim = dim("n")
    t: Dim = dim("t")
    k: Dim = dim("k")
    c: Dim = dim("c")
    bias: bool = False

    takes: ClassVar[tuple[tuple[str, ...], ...]] = (("n", "t", "c"),)
    gives: ClassVar[tuple[str, ...]] = ("n", "t", "k")

    def define(self) -> Program:
        lines = ["out[n,t,k] += weight[k,c] * inp[n,t,c]"]
        roles = {"inp": "input", "weight": "parameter", "out": "output"}
        if self.bias:
            lines.append("out[n,t,k] += bias[k]")
            roles["bias"] = "parameter"
        return self.read(lines, roles, {})
