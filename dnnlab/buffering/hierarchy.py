"""Tiles on their way through a device's memories: disk → RAM → VRAM → chip → arithmetic, one engine each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..errors import DnnlabError, ExtentError, ReadError, ShapeError, quote, unknown
from ..hardware import Device
from ..quantities import read_quantity, show
from .engine import pipeline_levels
from .schedule import Schedule


def device_pipeline(
    device: Device,
    sizes: Iterable[Any],
    ops: Iterable[Any],
    dtype: str = "fp16",
    source: str | None = None,
    buffers: int | Iterable[int] = 2,
) -> Schedule:
    """The schedule of tiles that come from a far memory, level by level, and are computed on.

    `sizes`: bytes of each tile, `ops`: its operations (numbers or texts such as "25 MB"). `source`: the memory they
    start in, by its name in `device.memories` (None: the farthest). Each step to the next memory is an engine, as
    fast as the bandwidth of the memory it reads; the last one is the arithmetic at the peak rate. `buffers` are
    counted in the memory a step writes to, where that many of the largest tile must fit.

    Raises `ExtentError` where they do not fit or a figure is not known, `UnknownNameError` for a source or dtype.

    >>> from dnnlab import device
    >>> t4 = device("t4").with_disk("2 TB", "3 GB/s")
    >>> schedule = device_pipeline(t4, sizes=["2 MB"] * 100, ops=["4 GFLOP"] * 100)
    >>> schedule.engines
    ('disk to host', 'host to vram', 'vram to chip', 'compute')
    >>> schedule.bottleneck, schedule.makespan > 100 * 2e6 / 3e9
    ('disk to host', True)
    """
    if not isinstance(device, Device):
        raise DnnlabError(f"expected a device, got {quote(device)}; use device('h100-sxm') or Device(...)")
    rate = device.rate(dtype)
    amounts, work = _amounts("sizes", sizes, "B"), _amounts("ops", ops, "op")
    if len(amounts) != len(work):
        raise ShapeError(f"each tile has a size and operations: sizes has {len(amounts)}, ops has {len(work)}")
    levels = device.memories  # from near to far
    names = [memory.name for memory in levels]
    if source is None:
        source = names[-1]
    if source not in names[1:]:
        raise unknown(f"memory of {device.name} to start from", source, names[1:])
    stages: dict[str, list[float]] = {}
    for i in range(names.index(source), 0, -1):
        bandwidth = device.require("bandwidth") if i == 1 else levels[i].bandwidth
        if bandwidth is None:
            raise ExtentError(f"the bandwidth of the {names[i]} of {device.name} is not known; give it one: "
                              f"device.with_disk('2 TB', '7 GB/s')")  # fmt: skip
        stages[f"{names[i]} to {names[i - 1].replace('on-', '')}"] = [size / bandwidth for size in amounts]
    stages["compute"] = [count / rate for count in work]
    schedule = pipeline_levels(stages, buffers)
    for memory, count in zip(reversed(levels[: names.index(source)]), schedule.buffers, strict=True):
        needed = count * max(amounts)
        if memory.capacity is not None and needed > memory.capacity:
            raise ExtentError(
                f"{count} buffers of {show(max(amounts), 'B')} take {show(needed, 'B')}, more than the "
                f"{show(memory.capacity, 'B')} of {memory.name} of {device.name}; use tiles of at most "
                f"{show(memory.capacity / count, 'B')} or fewer buffers"
            )
    return schedule


def _amounts(name: str, values: Any, unit: str) -> list[int | float]:
    """Bytes or operations of each tile: finite and not negative."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ShapeError(f"{name} = {quote(values)}: expected a sequence, one a tile")
    amounts = []
    for i, value in enumerate(values):
        try:
            amount = read_quantity(value, unit)
        except ReadError as error:
            raise ReadError(f"{name}[{i}]: {error}") from error
        if amount < 0:
            raise ExtentError(f"{name}[{i}] = {quote(value)}: cannot be negative")
        amounts.append(amount)
    if not amounts:
        raise ShapeError(f"{name} is empty: a pipeline needs at least one tile")
    return amounts
