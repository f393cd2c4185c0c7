"""Sums and means of a whole axis."""

from __future__ import annotations

from typing import ClassVar

from ..notation import Dim
from ..program import Program
from .base import Layer, catalogued, dim


@catalogued
class Sum(Layer):
    """The m numbers of each of n rows are added.

    >>> Sum().operations
    {'add': m*n}
    """

    n: Dim = dim("n")
    m: Dim = dim("m")

    takes: ClassVar[tuple[tuple[str, ...], ...]] = (("n", "m"),)
    gives: ClassVar[tuple[str, ...]] = ("n",)

    def define(self) -> Program:
        return self.read("out[n] += inp[n,m]", {"inp": "input", "out": "output"}, {})


@catalogued
class Mean(Sum):
    """The mean of the m numbers of each of n rows.

    >>> Mean().operations
    {'add': m*n, 'divide': n}
    """

    def define(self) -> Program:
        lines = ["total[n] += inp[n,m]", "out[n] = total[n] / count"]
        return self.read(lines, {"inp": "input", "out": "output"}, {}, count=self.m)
