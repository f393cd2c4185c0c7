"""The balance of a machine: the roofline, where a layer crosses its bend, and what an upgrade buys."""

from __future__ import annotations

from dataclasses import dataclass, fields

import sympy

from .bounds import LayerTime, NetworkTime, Work, on
from .errors import DnnlabError, ExtentError, quote
from .hardware import Device
from .layers.base import Layer
from .networks import Network, Node
from .notation import Dim, is_bound, symbol


def upgrades(work: Work | Network, device: Device, dtype: str = "fp16", overlap: bool = True) -> dict[str, float]:
    """How many times faster the work gets when one resource of the device is doubled, and when both are.

    >>> from dnnlab import Linear, device
    >>> upgrades(Linear(n=1, c=4096, k=4096), device("h100-sxm"))
    {'compute': 1.0, 'bandwidth': 2.0, 'both': 2.0}

    Raises `ExtentError` while symbols are open.
    """
    before = on(work, device, dtype, overlap).total
    if not is_bound(before):
        names = ", ".join(sorted(map(str, before.free_symbols)))
        raise ExtentError(f"what an upgrade buys depends on {names}; bind them with .at(...) first")
    changed = {
        "compute": device.scaled(compute=2),
        "bandwidth": device.scaled(bandwidth=2),
        "both": device.scaled(compute=2, bandwidth=2),
    }
    if not before:  # a view takes no time on any device
        return dict.fromkeys(changed, 1.0)
    return {name: float(before / on(work, other, dtype, overlap).total) for name, other in changed.items()}


def crossing(layer: Layer | Node, device: Device, dtype: str, name: str) -> Dim | None:
    """The value of a dimension at which arithmetic and memory take equally long, solved by SymPy.

    For a linear layer and `name="n"`: the batch at which it stops being memory-bound. None where no positive
    value balances the two (the layer is bound by one side whatever the dimension); the least of several.
    With other symbols open it is a formula. Raises `ExtentError` for what is no dimension of the layer,
    `DnnlabError` where SymPy finds no solution, as behind a stride's rounding.

    >>> from dnnlab import Linear, device
    >>> round(crossing(Linear(c=4096, k=4096), device("h100-sxm"), "fp16", "n"))
    345
    """
    layer = layer.layer if isinstance(layer, Node) else layer
    if not isinstance(layer, Layer):
        raise DnnlabError(f"expected a layer, got {quote(layer)}; a network crosses layer by layer")
    names = [field.name for field in fields(layer) if field.metadata.get("dimension")]
    if name not in names:
        raise ExtentError(f"{layer.kind} has no dimension {quote(name)}; it has {', '.join(names)}")
    unknown_ = symbol(name)
    time = on(layer.at(**{name: unknown_}), device, dtype)
    assert isinstance(time, LayerTime)
    # the exact ratio of the two figures: floats would leave SymPy with rounded coefficients
    balance = sympy.Rational(device.rate(dtype)) / sympy.Rational(device.require("bandwidth"))
    value = sympy.Dummy(positive=True)  # the crossing need not be a whole number
    equation = (time.ops - time.bytes * balance).subs(unknown_, value)
    try:
        solutions = sympy.solve(equation, value)
    except NotImplementedError:
        raise DnnlabError(f"SymPy cannot solve {layer!r} for {name}: a stride rounds its sizes") from None
    if all(is_bound(solution) for solution in solutions):
        return min(map(float, solutions), default=None)
    return solutions[0]


@dataclass(frozen=True)
class Roofline:
    """The two roofs of a device and the layers under them.

    `rate` is the flat roof in operations a second, `bandwidth` the slope in bytes a second, `ridge` where they
    meet, in operations a byte.
    """

    rate: float
    bandwidth: float
    points: tuple[LayerTime, ...]

    @property
    def ridge(self) -> float:
        """Operations per byte at which the roofs meet."""
        return self.rate / self.bandwidth

    def roof(self, intensity: float) -> float:
        """The most operations a second at a given intensity."""
        return min(self.rate, intensity * self.bandwidth)


def roofline(work: Work | Network, device: Device, dtype: str = "fp16") -> Roofline:
    """Roofline data of a layer or of each layer of a network that does arithmetic (Williams et al. 2009).

    >>> from dnnlab import device, zoo
    >>> data = roofline(zoo.lenet5(), device("t4"), "fp32")
    >>> round(data.ridge, 1), all(point.rate <= data.roof(point.intensity) * 1.0001 for point in data.points)
    (25.3, True)
    """
    time = on(work, device, dtype)
    layers = time.layers if isinstance(time, NetworkTime) else (time,)
    return Roofline(device.rate(dtype), device.require("bandwidth"), tuple(t for t in layers if t.ops != 0))


