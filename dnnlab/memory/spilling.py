"""A part of the weights outside the fast memory: computed where they are stored, or streamed in over the link."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import sympy

from ..bounds import NetworkTime, on
from ..errors import DnnlabError, ExtentError, quote, unknown
from ..extremes import Max
from ..hardware import Device
from ..notation import Dim, expression, is_bound
from ..quantities import positive
from ..tables import Column, Table
from .placement import weights_read
from .sizes import bytes_for, percent
from .step import Work, as_network

#: What can be done with weights that lie outside.
WAYS = {
    "stored": "computed where stored",
    "streamed": "streamed, the next layer's weights during this one's work",
    "serial": "streamed, each layer waiting for its weights",
}


@dataclass(frozen=True)
class Spill:
    """A network of which a fraction f of each layer's weights lies outside.

    `weights`: bytes that a pass reads of each layer; `work`: seconds of each layer with all weights inside; `fast`,
    `slow` and `link`: bytes a second of the memory inside, the memory outside, and the way between. Numbers or symbols.
    """

    name: str
    weights: tuple[Dim, ...]
    work: tuple[Dim, ...]
    fast: Dim
    slow: Dim
    link: Dim

    def time(self, fraction: Dim, way: str = "streamed") -> Dim:
        """Seconds of one pass with this fraction outside (a number from 0 to 1, or a symbol: then it is a formula).

        "stored": reading the weights where they are, `W ((1 - f) / fast + f / slow)`. "streamed": for each layer
        the longer of its work and the arrival of its weights (double buffering; whole layers that take turns in two
        buffers are a `buffering.pipeline`). "serial": their sum.

        >>> spill().time(sympy.Symbol("f", positive=True), "stored")
        W*(f/slow + (1 - f)/fast)
        >>> spill().time(sympy.Symbol("f", positive=True), "streamed")
        Max(C, W*f/link)
        """
        f = _fraction(fraction)
        if way not in WAYS:
            raise unknown("way", way, WAYS)
        if way == "stored":
            return sum(self.weights) * ((1 - f) / self.fast + f / self.slow)
        arrivals = [weight * f / self.link for weight in self.weights]
        if way == "serial":
            return sum(self.work) + sum(arrivals)
        return sum(_longer(work, arrival) for work, arrival in zip(self.work, arrivals, strict=True))

    def slowdown(self, fraction: Dim, way: str = "streamed") -> Dim:
        """How many times longer a pass takes than with nothing outside."""
        return self.time(fraction, way) / self.time(0, way)

    def crossing(self, times: float, way: str = "streamed") -> float | None:
        """The fraction outside at which a pass takes so many `times` as long as with nothing outside; None where it
        does not even with all weights outside. It is the largest such fraction: `crossing(1)` can be outside for free.

        Raises `ExtentError` for symbols, and for `times` below 1.
        """
        self._numbers()
        goal = Fraction(positive(times, "", "times"))
        if goal < 1:
            raise ExtentError(f"times = {quote(times)}: with weights outside a pass never takes less than once as long")
        goal *= self._exact(Fraction(0), way)
        if self._exact(Fraction(1), way) <= goal:
            return 1.0 if self._exact(Fraction(1), way) == goal else None
        # The time is a convex polygon in f, with a corner where a layer's weights begin to be late.
        corners = {Fraction(0), Fraction(1)}
        if way == "streamed":
            pairs = [(Fraction(w), Fraction(c)) for w, c in zip(self.weights, self.work, strict=True) if w]
            corners |= {c * Fraction(self.link) / w for w, c in pairs if c * Fraction(self.link) < w}
        before = Fraction(0)
        for corner in sorted(corners):
            high = self._exact(corner, way)
            if high > goal:
                low = self._exact(before, way)
                return float(before + (corner - before) * (goal - low) / (high - low))
            before = corner
        return float(before)

    def table(self, fractions: Sequence[float] = (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)) -> Table:
        """Seconds of a pass against the fraction outside, each way."""
        self._numbers()
        columns = (Column("fraction", "outside", show=percent), *(Column(way, text, "s") for way, text in WAYS.items()))
        if not isinstance(fractions, Sequence) or isinstance(fractions, str):
            raise ExtentError(f"fractions = {quote(fractions)}: expected numbers from 0 to 1")
        rows = [(float(f), *(float(self.time(f, way)) for way in WAYS)) for f in fractions]
        return Table(columns, rows, f"{self.name} with weights outside", self.sentence())

    def _repr_html_(self) -> str:
        return self.table().html()

    def sentence(self) -> str:
        """Where it begins to hurt, in words.

        >>> from dnnlab import device, zoo
        >>> print(spill(zoo.llama(batch=1, length=1), device("rtx-3060"), slow="60 GB/s").sentence())
        A pass of Llama-style decoder takes twice as long with 20.0% of its weights outside, computed where they are \
stored; with 17.8% of its weights outside, streamed with double buffering. Streaming costs nothing up to 8.9%.
        """
        self._numbers()
        parts = []
        for way, text in (("stored", "computed where they are stored"), ("streamed", "streamed with double buffering")):
            twice = self.crossing(2, way)
            parts.append(f"never, {text}" if twice is None else f"with {percent(twice)} of its weights outside, {text}")
        free = self.crossing(1, "streamed") or 0
        return (
            f"A pass of {self.name} takes twice as long {'; '.join(parts)}. "
            f"Streaming costs nothing up to {percent(free)}."
        )

    def _exact(self, fraction: Fraction, way: str) -> Fraction:
        figures = [tuple(map(Fraction, row)) for row in (self.weights, self.work)]
        rates = map(Fraction, (self.fast, self.slow, self.link))
        return Spill(self.name, *figures, *rates).time(fraction, way)

    def _numbers(self) -> None:
        open_ = [v for v in (*self.weights, *self.work, self.fast, self.slow, self.link) if not is_bound(v)]
        if open_:
            raise ExtentError(f"{self.name}: bind {quote(str(open_[0]))} first; only `time` answers with a formula")


def spill(
    work: Work | None = None,
    device: Device | None = None,
    dtype: str = "fp16",
    slow: float | str | None = None,
    link: float | str | None = None,
) -> Spill:
    """A network on a device with a part of its weights outside; without arguments the formula of one layer, with
    weights of W bytes and C seconds of work.

    `slow`: bandwidth of the memory outside, for weights that are computed where they are stored (by default the
    link's). `link`: of the way in (by default the device's). The work is that of `bounds.on`. Of an
    embedding a pass reads only some rows. Raises the errors of `on`, and `ExtentError` where the device has no link.
    """
    if work is None:
        names = sympy.symbols("W C fast slow link", positive=True)
        return Spill("a layer", names[:1], names[1:2], *names[2:])
    net = as_network(work)
    if not isinstance(device, Device):
        raise DnnlabError(f"expected a device, got {quote(device)}; use device('h100-sxm') or Device(...)")
    time = on(net, device, dtype)
    assert isinstance(time, NetworkTime)
    way = positive(link, "B/s", "link") if link is not None else device.require("link")
    return Spill(
        net.name,
        tuple(bytes_for(weights_read(node.layer), dtype) for node in net.layers),
        tuple(layer.total for layer in time.layers),
        device.require("bandwidth"),
        positive(slow, "B/s", "slow") if slow is not None else way,
        way,
    )


def _fraction(value: Any) -> Dim:
    if not is_bound(value):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | Fraction | sympy.Expr) or not 0 <= value <= 1:
        raise ExtentError(f"fraction = {quote(value)}: expected a number from 0 to 1, or a symbol")
    return value


def _longer(a: Dim, b: Dim) -> Dim:
    return max(a, b) if is_bound(a) and is_bound(b) else Max(expression(a), expression(b))
