"""A network in memory at every batch at once: no part of it is more than a straight line in the batch.

Parameters and what belongs to them are the same for every batch, and what belongs to samples grows with each of them.
So two batches tell all others, and deriving hundreds of layers anew for every batch that somebody tries is spared;
equal layers are timed once and counted. The tests hold both against `footprint` and `spill`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import Any

from ..bounds import timed
from ..errors import DnnlabError, quote
from ..hardware import Device
from ..layers.base import Layer
from ..networks import Network
from ..notation import Dim
from .footprint import Footprint, Part, with_moments
from .placement import weights_read
from .sizes import bytes_for
from .spilling import Spill
from .step import Moment

#: The parts of a footprint that belong to its fullest moment, in their order.
MOVING = ("gradients", "activations", "temporary")


@dataclass(frozen=True)
class Footprints:
    """The footprints of a network with one sample and with two, and every moment of training that is the fullest at
    some batch, at these two; see `footprints`."""

    one: Footprint
    two: Footprint
    moments: tuple[tuple[Moment, Moment], ...] = ()

    def at(self, batch: int) -> Footprint:
        """The footprint at a batch, as `footprint` finds it for the network at that batch."""
        more = batch - 1
        sizes = {part.name: part.bytes for part in self.two.parts}
        still = [part for part in self.one.parts if not (self.moments and part.name in MOVING)]
        parts = [replace(part, bytes=_line(part.bytes, sizes[part.name], more)) for part in still]
        if not self.moments:
            return replace(self.one, parts=tuple(parts))
        fullest = max((_moment(one, two, more) for one, two in self.moments), key=lambda moment: moment.total)
        notes = {part.name: part.note for part in (*self.two.parts, *self.one.parts)}
        parts += [Part(name, getattr(fullest, name), notes.get(name, "")) for name in MOVING]
        return replace(self.one, parts=tuple(part for part in parts if part.bytes != 0), moment=fullest)


def footprints(net: Network, dtype: str = "fp32", **options: Any) -> Footprints:
    """What a network holds in memory at every batch; `options` are those of `footprint`, and so are the errors.

    >>> from dnnlab import Adam, zoo
    >>> from dnnlab.memory import footprint
    >>> every = footprints(zoo.lenet5(), training=True, optimizer=Adam())
    >>> every.at(64) == footprint(zoo.lenet5(batch=64), training=True, optimizer=Adam())
    True
    """
    if not isinstance(net, Network):
        raise DnnlabError(f"expected a network, got {quote(net)}")
    (one, steps), (two, others) = (with_moments(each, dtype, **options) for each in _pair(net))
    return Footprints(one, two, _skyline(list(zip(steps, others, strict=True))))


@lru_cache(maxsize=16)
def _pair(net: Network) -> tuple[Network, Network]:
    """A network with one sample and with two."""
    return net.at_batch(1), net.at_batch(2)


def _skyline(moments: list[tuple[Moment, Moment]]) -> tuple[tuple[Moment, Moment], ...]:
    """Those that no other beats both in size and in growth."""
    kept: list[tuple[Moment, Moment]] = []
    for one, two in sorted(moments, key=lambda pair: (-pair[0].total, -pair[1].total)):
        if not kept or two.total - one.total > kept[-1][1].total - kept[-1][0].total:
            kept.append((one, two))
    return tuple(kept)


def _moment(one: Moment, two: Moment, more: int) -> Moment:
    return replace(one, **{name: _line(getattr(one, name), getattr(two, name), more) for name in MOVING})


def _line(one: Dim, two: Dim, more: int) -> Dim:
    return one + (two - one) * more


@dataclass(frozen=True)
class Kind:
    """A layer with one sample and with two, and how many layers of the network are like it."""

    one: Layer
    two: Layer
    count: int

    def line(self, figure: str, more: int) -> Dim:
        """A figure of all these layers together, such as "ops", with so many samples more than one."""
        return self.count * _line(_figure(self.one, figure), _figure(self.two, figure), more)

    def weights(self, more: int) -> Dim:
        """Parameters that they read in one pass; an embedding no more than all its rows."""
        reads = _line(_figure(self.one, "weights"), _figure(self.two, "weights"), more)
        return self.count * min(_figure(self.one, "parameters"), reads)


@dataclass(frozen=True)
class Spills:
    """The layers of a network, equal ones counted; see `spills`."""

    name: str
    kinds: tuple[Kind, ...]

    def at(self, batch: int, device: Device, dtype: str, slow: float, link: float) -> Spill:
        """`spill` at a batch, with equal layers as one of their sum. Every tensor crosses the memory interface once,
        as if all working sets fitted on the chip. Raises the errors of `spill`."""
        more = batch - 1
        work = []
        for kind in self.kinds:
            macs, ops, traffic = (kind.line(figure, more) for figure in ("macs", "ops", "traffic"))
            work.append(timed("", kind.one.kind, device, dtype, True, macs, ops, traffic, 1).total)
        weights = tuple(bytes_for(kind.weights(more), dtype) for kind in self.kinds)
        return Spill(self.name, weights, tuple(work), device.require("bandwidth"), slow, link)


def spills(net: Network) -> Spills:
    """A network with a part of its weights outside, at every batch.

    >>> from dnnlab import device, zoo
    >>> every, card = spills(zoo.lenet5()), device("t4")
    >>> one, many = (every.at(batch, card, "fp16", 60e9, 16e9) for batch in (1, 1000))
    >>> round(one.slowdown(1), 1), many.slowdown(1) < 1.1
    (13.7, True)
    """
    if not isinstance(net, Network):
        raise DnnlabError(f"expected a network, got {quote(net)}")
    one, two = _pair(net)
    counted = Counter((a.layer, b.layer) for a, b in zip(one.layers, two.layers, strict=True))
    return Spills(net.name, tuple(Kind(*pair, count) for pair, count in counted.items()))


@lru_cache(maxsize=1024)
def _figure(layer: Layer, name: str) -> int:
    return int(weights_read(layer) if name == "weights" else getattr(layer, name))


def outside(held: Footprint, capacity: float) -> Fraction:
    """The share of the parameters that must lie outside for the rest to fit in so many bytes: 0 where all fits, above 1
    where it does not even fit without any parameters.

    >>> from dnnlab import zoo
    >>> need = footprints(zoo.lenet5()).at(1)
    >>> outside(need, need.total), outside(need, need.total - need["parameters"] // 4)
    (Fraction(0, 1), Fraction(1, 4))
    """
    missing = Fraction(float(held.total)) - Fraction(capacity)  # of half bytes a footprint makes floats
    return Fraction(0) if missing <= 0 else missing / Fraction(held["parameters"])
