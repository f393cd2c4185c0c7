"""What a layer should take in a library on a machine: the best case, and on top of it what the library really does.

The best case (`on`) is a roof: peak rate, full bandwidth, both at once, nothing in between. Here the time is a sum of
named effects instead, each counted (`Work`) and divided by a rate that was measured on its own (the facts of
`this_machine`). They add up because a library does them one after the other: it lays its operands out anew, multiplies,
and starts the next call. What a device has no figure for drops out: on a device of the catalogue, arithmetic and
memory at the roofs are left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType

from ..bounds import LayerTime, on
from ..errors import DnnlabError, quote, unknown
from ..hardware import Device
from ..layers.base import Layer
from ..networks import Node
from ..quantities import bytes_of, show
from ..tables import Column, Table
from .layers import MODULES
from .timing import SMALL
from .work import Work

_SLOWER = "are slower than moving the numbers"
#: What `Work.functions` counts: why it takes time, in words that continue with "38% of the time", and the elements
#: that cross with each, which they do while it is evaluated.
FUNCTIONS = {
    "exp": (f"exponentials {_SLOWER}", 3),
    "tanh": (f"hyperbolic tangents {_SLOWER}", 3),
    "erf": (f"error functions {_SLOWER}", 3),
    "clip": (f"comparisons with a limit {_SLOWER}", 3),
    "moments": (f"means and variances of rows {_SLOWER}", 3),
    "sum": (f"sums without vector instructions {_SLOWER}", 1),
    "window": ("elements of windows are taken one by one", 1),
    "largest": ("pooling goes output by output, without vector instructions", 4),
    "average": ("pooling goes output by output, without vector instructions", 4),
    "row": ("loops start anew for each row of neighbours", 0),
    "relaid": ("laying operands out anew takes longer than moving them", 3),
    "reread": ("operands are read again from the cache", 0),
    "product": ("threads start and wait for each other in each product", 0),
    "lone": ("a single thread reads the matrix", 1),
}
#: What makes a layer slower (or faster) than its best case, in words that continue with "38% of the time".
REASONS = {
    "turns": "arithmetic and memory take turns instead of working at once",
    "rate": "the library's arithmetic stays below the peak rate",
    "passes": "the library goes over its arrays more often than needed",
    "fetched": "the place of a result is read before it is written",
    "thread": "a single thread moves the data",
    "copies": "the library copies its operands into another layout",
    "allocation": "fresh memory for the result is cleared page by page",
    "overhead": "starting the library's calls takes longer than the work",
    "cache": "its arrays stay in the cache, which is faster than the memory",
} | {kind: words for kind, (words, _) in FUNCTIONS.items()}


@dataclass(frozen=True, repr=False)
class Expectation:
    """What a layer should take, in seconds: `effects` add up to the `total`.

    `best`: the best case on the same device. `over`: the difference between the two, divided among the `REASONS`; what
    makes the layer faster than the best case, such as arrays that stay in the cache, is negative.
    """

    best: LayerTime
    library: str
    work: Work
    effects: Mapping[str, float]
    over: Mapping[str, float]

    def __post_init__(self) -> None:
        for name in ("effects", "over"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    @property
    def total(self) -> float:
        """Seconds in all."""
        return sum(self.effects.values())

    @property
    def reason(self) -> str | None:
        """The key in `REASONS` of what adds most over the best case; "cache" where the cache saves more than all else
        adds; None where nothing makes a difference of 5%."""
        name, most = max(self.over.items(), key=lambda item: item[1])
        saved = self.over["cache"]
        if -saved > sum(self.over.values()) - saved:
            name, most = "cache", -saved
        return name if most > 0.05 * self.total else None

    def explanation(self) -> str:
        """What adds most over the best case, and how much of the time.

        >>> from dnnlab import Conv2d, Device
        >>> card = Device("card", {"fp32": "100 GFLOP/s"}, bandwidth="20 GB/s")
        >>> conv = Conv2d(n=1, k=512, c=512, h=7, w=7, r=3, s=3, padding=1)
        >>> moved = 3 * conv.traffic * 4
        >>> found = expectation(conv, card, "torch", "fp32", Work(conv.ops, moved, moved * 2 // 3, moved // 3))
        >>> found.explanation()
        'the library copies its operands into another layout: 26% of the time'
        """
        reason = self.reason
        if reason is None:
            return "close to the best case"
        seconds = self.over[reason]
        if seconds < 0:
            return f"{REASONS[reason]}: {-seconds / (self.total - seconds):.0%} less time"
        return f"{REASONS[reason]}: {seconds / self.total:.0%} of the time"

    def sentence(self) -> str:
        """The expectation in words."""
        parts = [f"{name} {show(time, 's')}" for name, time in self.effects.items() if time]
        return (
            f"{self.best.name} should take {show(self.total, 's')} in {self.library} ({', '.join(parts)}), "
            f"at best {show(self.best.total, 's')}: {self.explanation()}."
        )

    def table(self) -> Table:
        """A row for each effect: what is counted, the seconds, and its share."""
        counted = {
            "arithmetic": show(self.work.matrix, "OP"),
            "memory": show(self.work.moved - self.work.copied, "B"),
            "copies": show(self.work.copied, "B"),
            "functions": show(sum(self.work.functions.values()), ""),
            "allocation": show(_made(self.work), "B"),
            "overhead": f"{self.work.calls} call{'s' if self.work.calls != 1 else ''}",
        }
        columns = (
            Column("effect"),
            Column("counted", align="right"),
            Column("seconds", "time", "s"),
            Column("share", show=lambda share: f"{share:.0%}"),
        )
        rows = [(name, counted[name], time, time / self.total) for name, time in self.effects.items() if time]
        title = f"{self.best.name} in {self.library}, {self.best.dtype}, on {self.best.device.name}"
        return Table(columns, (*rows, ("total", None, self.total, 1.0)), title, self.sentence())

    def __repr__(self) -> str:
        return self.sentence()

    def _repr_html_(self) -> str:
        return self.table().html()


def expected(layer: Layer | Node, device: Device, library: str = "torch", dtype: str = "fp32") -> Expectation:
    """What a layer should take in a library ("numpy", "torch" or "cuda") on a device.

    Raises `UnknownNameError` for another library or a dtype without a rate, `ExtentError` while symbols are open,
    `DnnlabError` for a layer that the library has no recipe for.

    >>> from dnnlab import ReLU, device
    >>> relu = expected(ReLU(shape=(8, 64, 56, 56)), device("t4"), "numpy")
    >>> print(relu.sentence())
    ReLU should take 60.2 µs in numpy (memory 60.2 µs), at best 40.1 µs: the place of a result is read before it is \
written: 33% of the time.
    """
    if not isinstance(layer, Layer | Node):
        raise DnnlabError(f"expected a layer such as ReLU(m=1000), got {quote(layer)}")
    return expectation(layer, device, library, dtype, work_of(layer, library, dtype))


def work_of(layer: Layer | Node, library: str, dtype: str) -> Work:
    """What a library does for a layer, counted by the library's own room."""
    if library not in MODULES:
        raise unknown("library", library, MODULES)
    module, place = MODULES[library]
    found: Work = import_module(f"{__package__}.{module}").work(
        layer.layer if isinstance(layer, Node) else layer, dtype, *place
    )
    return found


def expectation(
    layer: Layer | Node, device: Device, library: str, dtype: str, work: Work, kept: bool = True
) -> Expectation:
    """The expectation of a layer whose work has been counted: counts over rates, see `expected`. Without `kept`, its
    results go to fresh memory, see `measure`."""
    best = on(layer, device, dtype, tiled=False)
    assert isinstance(best, LayerTime)
    best.bound  # noqa: B018 - raises the usual error where symbols are open
    facts = {fact.name: fact.value for fact in device.facts}
    peak, external = device.rate(dtype), device.require("bandwidth")
    rate = facts.get(f"matrix.{library}.{dtype}", peak)
    kernel = facts.get(f"convolution.{library}.{dtype}", rate)
    # NumPy goes over arrays with one thread; its matrix product alone has several.
    together = facts.get("bandwidth", external)
    alone = facts.get("bandwidth_one", together) if library == "numpy" else together
    fits = device.on_chip is not None and work.working <= device.on_chip
    cached = facts.get("cache_bandwidth", together) if fits else together
    one = (facts.get("cache_bandwidth_one", alone) if fits else alone) if library == "numpy" else cached
    # What such elements cost is no figure of its own: filters that are read again come from the cache.
    level = "cache_bandwidth" if fits else "bandwidth"
    for kind, known, size in (("reread", "cache_bandwidth", 1.0), ("lone", f"{level}_one", bytes_of(dtype))):
        if known in facts:
            facts[f"functions.{library}.{kind}"] = facts[known] / size
    own = work.moved - work.copied
    single = own - work.shared
    memory = single / one + work.shared / cached
    slow = {
        kind: _beyond(kind, count, facts[name], bytes_of(dtype) / one)
        for kind, count in work.functions.items()
        if kind in FUNCTIONS and (name := f"functions.{library}.{kind}") in facts
    }
    effects = {
        "arithmetic": (work.matrix - work.convolved) / rate + work.convolved / kernel,
        "memory": memory,
        "copies": work.copied / one,
        "functions": sum(slow.values()),
        "allocation": 0.0 if kept else _cleared(library, work, facts),
        "overhead": work.calls * facts.get(f"overhead.{library}", 0.0),
    }  # fmt: skip
    # The way from the best case to the expectation, step by step; the steps add up to the difference. Arithmetic that
    # is no matrix product hides behind the movement of its numbers in both.
    compulsory = float(best.memory)
    arithmetic = work.matrix / peak
    uncached = single / alone + work.shared / together
    over = {
        "turns": arithmetic + compulsory - float(best.total),
        "rate": effects["arithmetic"] - arithmetic,
        "passes": (own - work.fetched) / external - compulsory,
        "fetched": work.fetched / external,
        "thread": uncached - own / external,
        "cache": memory - uncached,
        "copies": effects["copies"],
        "allocation": effects["allocation"],
        "overhead": effects["overhead"],
        **slow,
    }
    return Expectation(best, library, work, effects, over)


def _made(work: Work) -> int:
    """Bytes of new arrays: a result that is written without being read. Small ones come from what was freed before."""
    return work.fetched if work.fetched > SMALL else 0


def _cleared(library: str, work: Work, facts: Mapping[str, float]) -> float:
    """Seconds that fresh pages take beyond being fetched and written. NumPy's recipes make their arrays beforehand, and
    PyTorch keeps what it frees on a GPU."""
    if library != "torch" or not {"allocation.torch", "bandwidth"} <= facts.keys():
        return 0.0
    return _made(work) * max(0.0, 1 / facts["allocation.torch"] - 2 / facts["bandwidth"])


def _beyond(kind: str, count: int, rate: float, moving: float) -> float:
    """Seconds that functions take beyond moving their operands, which the processor does meanwhile; `moving`: seconds
    an element."""
    return count * max(0.0, 1 / rate - FUNCTIONS[kind][1] * moving)
