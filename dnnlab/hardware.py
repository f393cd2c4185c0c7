"""Machines: a `Device` is its peak rates, its parallel lanes and a hierarchy of memories.

`device("h100-sxm")` comes from the catalogue in data/devices.toml, where every figure has a source and
a confidence; `Device("my card", peak={"fp32": "10 TFLOP/s"}, bandwidth="400 GB/s")` is your own. Rates
are operations a second (a multiply-accumulate is two), sizes bytes, bandwidths bytes a second. A figure
that nobody published is None, and `require` turns that into an error when a computation needs it.
"""

# ruff: noqa: RUF009 - a Quantity is a descriptor, so one for the whole class is what is meant.

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any, cast

from dnnlab.errors import ExtentError, quote, unknown
from dnnlab.quantities import DTYPES, Quantity, bytes_of, positive, read_quantity, show
from dnnlab.tables import Column, Table

#: From sure to unsure; data/devices.toml says what each means.
CONFIDENCE = ("measured", "verified", "derived", "secondary", "recalled", "estimate", "low-trust")

# The unit of a fact, by the first part of its name; what is not listed is a bare number.
_UNITS = {
    "peak": "OP/s", "bandwidth": "B/s", "link": "B/s", "card_link": "B/s", "nvlink": "B/s", "ici": "B/s",
    "capacity": "B", "capacity_smallest": "B", "on_chip": "B", "parts": "B", "tdp": "W", "power": "W",
    "bandwidth_one": "B/s", "cache_bandwidth": "B/s", "cache_bandwidth_one": "B/s", "allocation": "B/s",
    "disk": "B/s", "disk_capacity": "B", "matrix": "FLOP/s", "convolution": "FLOP/s", "functions": "OP/s",
    "overhead": "s",
    "price": "$", "price_high": "$", "price_per_gb": "$/GB", "price_per_gb_high": "$/GB", "energy": "J",
}  # fmt: skip


@dataclass(frozen=True)
class Fact:
    """One published figure: what it is of, its value in `unit`, and how far to trust it."""

    name: str
    value: int | float
    unit: str
    confidence: str
    source: tuple[str, ...]
    date: str = ""
    note: str = ""

    def __str__(self) -> str:
        return _shown(self.name, self.value, self.unit)


@dataclass(frozen=True)
class Memory:
    """One level of a hierarchy: `capacity` bytes behind `bandwidth` bytes a second, None where unknown.

    >>> Memory("disk", "2 TB", "7 GB/s")
    Memory(name='disk', capacity=2000000000000, bandwidth=7000000000)
    """

    name: str
    capacity: Quantity = Quantity("B", "2 TB")
    bandwidth: Quantity = Quantity("B/s", "7 GB/s")


class Rates(Mapping[str, float]):
    """Peak operations a second by dtype: a mapping that cannot change, in the order of `DTYPES`."""

    __slots__ = ("_rates",)

    def __init__(self, rates: Mapping[str, float | str], owner: str) -> None:
        for dtype in rates:
            bytes_of(dtype)  # complains about an unknown one
        order = list(DTYPES)
        known = sorted(rates, key=lambda dtype: (order.index(dtype.partition("-")[0]), dtype))
        self._rates = {d: positive(rates[d], "OP/s", f"{d} rate of {owner}") for d in known}

    def __getitem__(self, dtype: str) -> float:
        return self._rates[dtype]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rates)

    def __len__(self) -> int:
        return len(self._rates)

    def __hash__(self) -> int:
        return hash(tuple(self._rates.items()))

    def __repr__(self) -> str:
        return repr(self._rates)


@dataclass(frozen=True, repr=False)
class Device:
    """A machine. Quantities may be numbers or texts with a unit; all but name and peak may be left out.

    `peak`: operations a second by dtype. `bandwidth` and `capacity`: of the external memory, which is
    named `external` ('vram', 'ram', ...). `on_chip`: bytes of the last memory level on the chip. `lanes`:
    multiply-accumulate units that work at once. `link`: bandwidth of the way to the host's memory. `disk`:
    a Memory. Raises ReadError for a quantity that cannot be read, ExtentError for one that is not
    positive, UnknownNameError for an unknown dtype.

    >>> card = Device("my card", {"fp32": "10 TFLOP/s"}, bandwidth="400 GB/s", on_chip="4 MiB", lanes=1024)
    >>> card.rate("fp32"), card.bandwidth, card.balance("fp32")
    (10000000000000, 400000000000, 25.0)
    >>> card
    Device(name='my card', peak={'fp32': 10000000000000}, bandwidth=400000000000, on_chip=4194304, lanes=1024)
    """

    name: str
    peak: Mapping[str, float | str]
    bandwidth: Quantity = Quantity("B/s", "400 GB/s")
    capacity: Quantity = Quantity("B", "8 GB")
    on_chip: Quantity = Quantity("B", "4 MiB")
    lanes: Quantity = Quantity("", 1024, whole=True)
    link: Quantity = Quantity("B/s", "32 GB/s")
    disk: Memory | None = None
    external: str = "vram"
    technology: str = ""
    id: str = ""
    # What is known about the figures does not make two machines different.
    facts: tuple[Fact, ...] = field(default=(), repr=False, compare=False)
    notes: tuple[str, ...] = field(default=(), repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise ExtentError(f"a device needs a name, not {quote(self.name)}")
        if not isinstance(self.peak, Mapping) or not self.peak:
            example = "{'fp32': '10 TFLOP/s'}"
            raise ExtentError(f"{self.name} needs peak rates such as {example}, not {quote(self.peak)}")
        if self.disk is not None and not isinstance(self.disk, Memory):
            raise ExtentError(f"disk of {self.name} must be a Memory, not {quote(self.disk)}: use with_disk")
        object.__setattr__(self, "peak", Rates(self.peak, self.name))

    def __repr__(self) -> str:
        shown = [f for f in fields(self) if f.repr and getattr(self, f.name) != f.default]
        return f"Device({', '.join(f'{f.name}={getattr(self, f.name)!r}' for f in shown)})"

    def _repr_html_(self) -> str:
        return self.table().html()

    def rate(self, dtype: str) -> float:
        """Peak operations a second in a dtype. Raises UnknownNameError, naming the dtypes it has.

        >>> device("t4").rate("fp16")
        65000000000000
        """
        if not isinstance(dtype, str) or dtype not in self.peak:
            raise unknown(f"dtype of {self.name}", dtype, self.peak)
        return cast(Rates, self.peak)[dtype]

    def balance(self, dtype: str) -> float:
        """The ridge point: operations the device can do in the time it takes to move one byte.

        >>> round(device("h100-sxm").balance("fp16"), 1)
        295.3
        """
        return self.rate(dtype) / self.require("bandwidth")

    def require(self, figure: str) -> float:
        """'bandwidth', 'capacity', 'on_chip', 'lanes' or 'link', or an ExtentError that says it is missing.

        >>> device("eyeriss").require("bandwidth")
        Traceback (most recent call last):
        ...
        dnnlab.errors.ExtentError: Eyeriss (65 nm, 2016) has no known bandwidth; give it one: \
dataclasses.replace(device, bandwidth='400 GB/s')
        """
        if figure not in FIGURES:
            raise unknown("figure", figure, FIGURES)
        value: float | None = getattr(self, figure)
        if value is None:
            hint = f"dataclasses.replace(device, {figure}={FIGURES[figure].example!r})"
            raise ExtentError(f"{self.name} has no known {figure}; give it one: {hint}")
        return value

    @property
    def memories(self) -> tuple[Memory, ...]:
        """The hierarchy from near to far: on-chip, external, the host's memory over the link, disk."""
        levels = [Memory("on-chip", self.on_chip), Memory(self.external, self.capacity, self.bandwidth)]
        if self.link is not None:
            levels.append(Memory("host", None, self.link))
        return (*levels, *([self.disk] if self.disk else []))

    def with_disk(self, capacity: float | str, bandwidth: float | str) -> Device:
        """The same device with a disk behind it.

        >>> device("t4").with_disk("2 TB", "7 GB/s").memories[-1].bandwidth
        7000000000
        """
        return replace(self, disk=Memory("disk", capacity, bandwidth))

    def scaled(self, compute: float = 1, **factors: float) -> Device:
        """A device with some figures multiplied: what would twice the bandwidth buy?

        `compute` multiplies the peak rates and leaves the lanes alone, as a faster clock does; more lanes
        are `compute=2, lanes=2`. The other factors are for bandwidth, capacity, on_chip, lanes and link.
        The facts stay behind: they are not of this device.

        >>> twice = device("t4").scaled(bandwidth=2)
        >>> twice.name, twice.bandwidth
        ('NVIDIA T4 (bandwidth ×2)', 640000000000)
        """
        given = {"compute": positive(compute, "", "factor for compute")}
        for name, factor in factors.items():
            if name not in FIGURES:
                raise unknown("figure", name, ["compute", *FIGURES])
            given[name] = positive(factor, "", f"factor for {name}")
        changed = {name: factor for name, factor in given.items() if factor != 1}
        if not changed:
            return self
        title = ", ".join(f"{name} ×{factor:g}" for name, factor in changed.items())
        more = changed.pop("compute", 1)
        figures: dict[str, Any] = {name: self.require(name) * factor for name, factor in changed.items()}
        figures["peak"] = {dtype: self.rate(dtype) * more for dtype in self.peak}
        return replace(self, name=f"{self.name} ({title})", id="", facts=(), notes=(), **figures)

    def fact(self, name: str) -> Fact:
        """One of the facts by name, such as 'peak.fp16' or 'tdp'. Raises UnknownNameError.

        >>> device("a100-sxm").fact("on_chip").confidence
        'verified'
        """
        found = {fact.name: fact for fact in self.facts}
        if name not in found:
            raise unknown(f"fact about {self.name}", name, found)
        return found[name]

    def table(self) -> Table:
        """Every figure of the device, with where it comes from."""
        known = {fact.name: fact for fact in self.facts}
        rows = {
            name: [name, str(f), f.confidence, f.date or None, f.note or None, "; ".join(f.source)]
            for name, f in known.items()
        }
        own = {f"peak.{dtype}": self.rate(dtype) for dtype in self.peak}
        own |= {name: getattr(self, name) for name in FIGURES if getattr(self, name) is not None}
        for name, value in own.items():
            if name not in known or known[name].value != value:
                # Set by hand, maybe over a published figure.
                rows[name] = [name, _shown(name, value, _unit(name)), "your own", None, None, None]
        columns = ("figure", Column("value", align="right"), "confidence", "date", "note", "source")
        return Table(columns, tuple(rows.values()), self.name, " ".join(self.notes))


#: The figures that `Device.require` and `Device.scaled` know.
FIGURES = {name: value for name, value in vars(Device).items() if isinstance(value, Quantity)}


@dataclass(frozen=True)
class Technology:
    """A memory technology: where it sits, the devices of the catalogue that use it, and its facts."""

    id: str
    name: str
    place: str
    devices: tuple[str, ...]
    facts: tuple[Fact, ...]

    @property
    def bandwidths(self) -> Mapping[str, float]:
        """Bytes a second of the devices that use it, by device; by its own name where a fact states one.

        >>> next(m for m in memories() if m.id == "gddr6").bandwidths["t4"]
        320000000000
        """
        own = [(self.id, fact.value) for fact in self.facts if fact.name == "bandwidth"]
        return dict(own) | {name: device(name).require("bandwidth") for name in self.devices}


def device(name: str) -> Device:
    """The device of the catalogue with this id. Raises UnknownNameError, with the nearest id and all ids.

    >>> device("h100-sxm").name
    'NVIDIA H100 80GB SXM5'
    """
    catalogue = _catalogue()
    if not isinstance(name, str) or name not in catalogue:
        raise unknown("device", name, catalogue)
    return catalogue[name]


def devices() -> tuple[Device, ...]:
    """All devices of the catalogue; `.id` is the name that `device` knows.

    >>> len(devices()), devices()[0].id
    (19, 'a100-sxm')
    """
    return tuple(_catalogue().values())


def memories() -> tuple[Technology, ...]:
    """Memory technologies from the chip outwards, with prices and energies where somebody published them.

    >>> [m.name for m in memories()][:2]
    ['SRAM', 'HBM3e']
    """
    return _memory_data()[0]


def energy() -> Mapping[str, Fact]:
    """Joules of one operation or one 32-bit access at 45 nm, by name (Horowitz, ISSCC 2014).

    >>> str(energy()["fp32_mul"]), energy()["dram_32b"].value / energy()["fp32_add"].value > 700
    ('3.7 pJ', True)
    """
    return _memory_data()[1]


@lru_cache(maxsize=1)
def _catalogue() -> Mapping[str, Device]:
    data = _load("devices.toml")
    sources = data.pop("sources")
    return MappingProxyType({id: _device(id, entry, sources) for id, entry in data.items()})


@lru_cache(maxsize=1)
def _memory_data() -> tuple[tuple[Technology, ...], Mapping[str, Fact]]:
    data = _load("memories.toml")
    sources = data["sources"]
    technologies = []
    for id, entry in data["memories"].items():
        name, place, used_by = entry.pop("name"), entry.pop("place"), tuple(entry.pop("devices"))
        technologies.append(Technology(id, name, place, used_by, _facts(entry, sources, ())))
    costs = _facts({"energy": data["energy"]}, sources, ())
    return tuple(technologies), MappingProxyType({f.name.removeprefix("energy."): f for f in costs})


def _load(name: str) -> dict[str, Any]:
    return tomllib.loads((files("dnnlab") / "data" / name).read_text(encoding="utf-8"))


def _device(id: str, entry: dict[str, Any], sources: Mapping[str, str]) -> Device:
    facts = _facts(entry["figures"], sources, tuple(entry["sources"]))
    figures: dict[str, Any] = {fact.name: fact.value for fact in facts if fact.name in FIGURES}
    peak = {fact.name.partition(".")[2]: fact.value for fact in facts if fact.name.startswith("peak.")}
    return Device(
        entry["name"],
        peak,
        **figures,
        external=entry.get("external", "vram"),
        technology=entry["technology"],
        id=id,
        facts=facts,
        notes=tuple(entry.get("notes", ())),
    )


def _facts(tree: dict[str, Any], sources: Mapping[str, str], default: tuple[str, ...]) -> tuple[Fact, ...]:
    """The figures of a TOML table; peak.fp16 is nested in it, a figure is where 'value' is."""
    facts: list[Fact] = []
    for name, entry in tree.items():
        if "value" not in entry:
            facts += _facts({f"{name}.{key}": inner for key, inner in entry.items()}, sources, default)
            continue
        unit = _unit(name)
        value, count, note = read_quantity(entry["value"], unit), entry.get("count", 1), entry.get("note", "")
        if count != 1:
            note = f"{count} × {_shown(name, value, unit)}; {note}".removesuffix("; ")
        if entry["confidence"] not in CONFIDENCE:
            raise unknown("confidence", entry["confidence"], CONFIDENCE)
        cited = tuple(sources[key] for key in entry.get("source", default))
        facts.append(Fact(name, value * count, unit, entry["confidence"], cited, entry.get("date", ""), note))
    return tuple(facts)


def _unit(name: str) -> str:
    return _UNITS.get(name.partition(".")[0], "")


def _shown(name: str, value: float, unit: str) -> str:
    if unit.startswith("$") or not unit:
        return f"{value:,g} {unit}".rstrip() if unit else f"{value:,}"
    if name.startswith("peak."):
        unit = "OP/s" if "int" in name else "FLOP/s"
    # What is on the chip is sized in powers of two, what is bought by the gigabyte is not.
    return show(value, unit, binary=name == "on_chip" or name.startswith("parts."), digits=4)
