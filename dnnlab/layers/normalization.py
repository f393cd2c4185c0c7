"""Normalisation: subtract a mean, divide by a spread, scale and shift."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from ..errors import ExtentError
from ..notation import Dim, ratio
from ..program import Program
from .base import Layer, catalogued, dim

IMAGE: tuple[tuple[str, ...], ...] = (("n", "c", "h", "w"),)
TOKENS: tuple[tuple[str, ...], ...] = (("n", "t", "c"),)


def affine(layer: Any, line: str) -> str:
    """The last line without the scale or the shift, where the layer has none."""
    line = line if layer.scale else re.sub(r"weight\[[a-z,]+\] \* ", "", line)
    return line if layer.shift else re.sub(r" \+ bias\[[a-z,]+\]$", "", line)


def learned(layer: Any) -> dict[str, str]:
    """The roles of scale and shift."""
    return {name: "parameter" for name, there in (("weight", layer.scale), ("bias", layer.shift)) if there}


@catalogued
class BatchNorm2d(Layer):
    """Each channel gets mean 0 and spread 1 over the batch, then a learned scale and shift.

    While training the statistics come from the batch, and running averages of them are kept; with
    `training=False` the running averages are used, and the layer is a scale and a shift (see `folding`).
    The running variance is the biased one. `scale=False` and `shift=False` leave out what is learned.

    >>> BatchNorm2d().parameters, BatchNorm2d().state
    (2*c, 2*c)
    """

    n: Dim = dim("n")
    c: Dim = dim("c")
    h: Dim = dim("h")
    w: Dim = dim("w")
    training: bool = True
    scale: bool = True
    shift: bool = True

    takes: ClassVar[tuple[tuple[str, ...], ...]] = IMAGE
    gives: ClassVar[tuple[str, ...]] = IMAGE[0]

    def define(self) -> Program:
        lines = [
            "total[c] += inp[n,c,y,x]",
            "mean[c] = total[c] / count",
            "square[c] += (inp[n,c,y,x] - mean[c])**2",
            "inv[c] = 1 / sqrt(square[c] / count + eps)",
            affine(self, "out[n,c,y,x] = weight[c] * (inp[n,c,y,x] - mean[c]) * inv[c] + bias[c]"),
            "running_mean[c] = (1 - momentum) * running_mean[c] + momentum * mean[c]",
            "running_var[c] = (1 - momentum) * running_var[c] + momentum * square[c] / count",
        ]
        if not self.training:
            line = "out[n,c,y,x] = weight[c] * (inp[n,c,y,x] - running_mean[c]) / sqrt(running_var[c] + eps) + bias[c]"
            lines = [affine(self, line)]
        roles = {"inp": "input", **learned(self), "out": "output"}
        roles |= {"running_mean": "state", "running_var": "state"}
        return self.read(lines, roles, {}, y=self.h, x=self.w, count=self.n * self.h * self.w)


@catalogued
class LayerNorm(Layer):
    """Each of n·t rows gets mean 0 and spread 1 over its c features, then a learned scale and shift.

    >>> LayerNorm().parameters
    2*c
    """

    n: Dim = dim("n")
    t: Dim = dim("t")
    c: Dim = dim("c")
    scale: bool = True
    shift: bool = True

    takes: ClassVar[tuple[tuple[str, ...], ...]] = TOKENS
    gives: ClassVar[tuple[str, ...]] = TOKENS[0]

    def define(self) -> Program:
        lines = [
            "total[n,t] += inp[n,t,c]",
            "mean[n,t] = total[n,t] / count",
            "square[n,t] += (inp[n,t,c] - mean[n,t])**2",
            "inv[n,t] = 1 / sqrt(square[n,t] / count + eps)",
            affine(self, "out[n,t,c] = weight[c] * (inp[n,t,c] - mean[n,t]) * inv[n,t] + bias[c]"),
        ]
        roles = {"inp": "input", **learned(self), "out": "output"}
        return self.read(lines, roles, {}, count=self.c)


@catalogued
class RMSNorm(Layer):
    """Layer normalisation without the mean: each row is divided by its root mean square, then scaled.

    >>> RMSNorm().parameters
    c
    """

    n: Dim = dim("n")
    t: Dim = dim("t")
    c: Dim = dim("c")

    takes: ClassVar[tuple[tuple[str, ...], ...]] = TOKENS
    gives: ClassVar[tuple[str, ...]] = TOKENS[0]

    def define(self) -> Program:
        lines = [
            "square[n,t] += inp[n,t,c]**2",
            "inv[n,t] = 1 / sqrt(square[n,t] / count + eps)",
            "out[n,t,c] = weight[c] * inp[n,t,c] * inv[n,t]",
        ]
        return self.read(lines, {"inp": "input", "weight": "parameter", "out": "output"}, {}, count=self.c)


@catalogued
class GroupNorm(Layer):
    """The c channels are split into groups; each group of each sample gets mean 0 and spread 1, then each channel a
    learned scale and shift. One group for each channel is instance normalisation.

    >>> GroupNorm(groups=4).parameters
    2*c
    """

    n: Dim = dim("n")
    c: Dim = dim("c")
    h: Dim = dim("h")
    w: Dim = dim("w")
    groups: Dim = 1
    scale: bool = True
    shift: bool = True

    takes: ClassVar[tuple[tuple[str, ...], ...]] = IMAGE
    gives: ClassVar[tuple[str, ...]] = IMAGE[0]

    def check(self) -> None:
        if isinstance(self.c, int) and isinstance(self.groups, int) and self.c % self.groups:
            raise ExtentError(f"groups = {self.groups} does not divide c = {self.c}")

    def define(self) -> Program:
        within = ratio(self.c, self.groups)
        lines = [
            "total[n,g] += inp[n,g,c,y,x]",
            "mean[n,g] = total[n,g] / count",
            "square[n,g] += (inp[n,g,c,y,x] - mean[n,g])**2",
            "inv[n,g] = 1 / sqrt(square[n,g] / count + eps)",
            affine(self, "out[n,g,c,y,x] = weight[g,c] * (inp[n,g,c,y,x] - mean[n,g]) * inv[n,g] + bias[g,c]"),
        ]
        roles = {"inp": "input", **learned(self), "out": "output"}
        return self.read(lines, roles, {}, g=self.groups, c=within, y=self.h, x=self.w, count=within * self.h * self.w)
