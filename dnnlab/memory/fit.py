"""Does it fit? At each level of a device's memory: what is needed, what is there, and by how much it misses.

A network "fits on a processor" where its parameters and activations fit in the processor's external memory.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import DnnlabError, ExtentError, quote, unknown
from ..hardware import Device
from ..networks import Network
from ..notation import Dim, is_bound, plain
from ..quantities import positive, show
from ..tables import Column, Table
from .footprint import Footprint, footprint
from .sizes import bytes_for, percent
from .step import Work, as_network

#: What `fits` hands on to `footprint`.
OPTIONS = ("training", "optimizer", "master", "cache", "framework")


@dataclass(frozen=True)
class Level:
    """A level of memory: its name, its bytes (None: unknown), and the bytes that are needed."""

    name: str
    capacity: float | None
    needed: Dim

    @property
    def fits(self) -> bool | None:
        """Is there room? None where the capacity is unknown."""
        return None if self.capacity is None else bool(self.needed <= self.capacity)

    @property
    def spare(self) -> Dim | None:
        """Bytes to spare; negative where so many are missing."""
        return None if self.capacity is None else self.capacity - self.needed


@dataclass(frozen=True)
class Fit:
    """The verdict: true where the footprint fits in the external memory. `levels` from near to far; `on_chip` names
    the layers whose tensors all fit on the chip at once."""

    device: Device
    footprint: Footprint
    levels: tuple[Level, ...]
    on_chip: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self[self.device.external].fits)

    def __getitem__(self, name: str) -> Level:
        """A level by its name, such as "vram"."""
        for level in self.levels:
            if level.name == name:
                return level
        raise ExtentError(f"{self.device.name} has no level {quote(name)}; it has {[v.name for v in self.levels]}")

    def table(self) -> Table:
        """A row for each level."""
        columns = (
            "level",
            Column("capacity", "capacity", "B"),
            Column("needed", "needed", "B"),
            Column("filled", "filled", show=percent),
            "fits",
            Column("spare", "to spare", "B"),
        )
        rows = [
            (v.name, v.capacity, v.needed, v.needed / v.capacity if v.capacity else None, v.fits, v.spare)
            for v in self.levels
        ]
        return Table(columns, rows, f"{self.footprint.name} on {self.device.name}", self.sentence())

    def _repr_html_(self) -> str:
        return self.table().html()

    def sentence(self) -> str:
        """The verdict in words.

        >>> from dnnlab import device, zoo
        >>> print(fits(zoo.llama(batch=1, length=128), device("t4"), "fp32").sentence())
        Llama-style decoder does not fit on NVIDIA T4: it needs 32.2 GB, 16.2 GB more than the 16 GB of vram. Most of \
it is parameters (32.1 GB).
        """
        level = self[self.device.external]
        most = max(self.footprint.parts, key=lambda part: part.bytes)
        end = f"Most of it is {most.name} ({show(most.bytes, 'B')})."
        start = f"{self.footprint.name} %s on {self.device.name}: it needs {show(level.needed, 'B')}"
        if level.spare is None:
            return f"{start % 'may fit'}, but the capacity of its {level.name} is not known. {end}"
        held = f"{show(level.capacity, 'B')} of {level.name}"
        if level.fits:
            return f"{start % 'fits'} of the {held}, which leaves {show(level.spare, 'B')}. {end}"
        return f"{start % 'does not fit'}, {show(-level.spare, 'B')} more than the {held}. {end}"


def fits(work: Work, device: Device, dtype: str = "fp32", host: float | str | None = None, **options: object) -> Fit:
    """Does a network or layer fit on a device, at each level of its memory?

    `options` are those of `footprint`: training, optimizer, master, cache, framework. `host`: bytes of the host's RAM,
    which a device does not know. Raises the errors of `footprint`, and `ExtentError` while symbols are open.

    >>> from dnnlab import Adam, device, zoo
    >>> bool(fits(zoo.bert_base(8, 128), device("t4"), training=True, optimizer=Adam()))
    True
    """
    if not isinstance(device, Device):
        raise DnnlabError(f"expected a device, got {quote(device)}; use device('h100-sxm') or Device(...)")
    for name in options:
        if name not in OPTIONS:
            raise unknown("option of footprint", name, OPTIONS)
    held = footprint(work, dtype, **options)  # type: ignore[arg-type]
    if not is_bound(held.total):
        raise ExtentError(f"whether {held.name} fits depends on {plain(held.total)} bytes: bind its symbols first")
    ram = None if host is None else positive(host, "B", "RAM of the host")
    levels = tuple(
        Level(memory.name, ram if memory.name == "host" and host is not None else memory.capacity, held.total)
        for memory in device.memories
    )
    chip = device.on_chip or 0
    small = [node.name for node in as_network(work).layers if bytes_for(node.layer.traffic, dtype) <= chip]
    return Fit(device, held, levels, tuple(small))


def largest_batch(net: Network, device: Device, dtype: str = "fp32", **options: object) -> int:
    """The largest batch with which a network fits in a device's external memory; 0 if not even one sample does.

    >>> from dnnlab import Adam, device, zoo
    >>> largest_batch(zoo.resnet50(), device("t4"), training=True, optimizer=Adam())
    180
    """

    def fitting(batch: int) -> bool:
        return bool(fits(net.at_batch(batch), device, dtype, **options))  # type: ignore[arg-type]

    if not isinstance(net, Network) or not isinstance(device, Device):
        raise DnnlabError(f"expected a network and a device, got {quote(net)} and {quote(device)}")
    device.require("capacity")
    if not fitting(1):
        return 0
    low, high = 1, 2
    while fitting(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fitting(middle) else (low, middle)
    return low
