"""The memory explorer: does a network fit, and what does it take to work with a share of its weights outside?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from .. import zoo
from ..errors import unknown
from ..figures import Canvas
from ..figures.memory import GROUPS, HEIGHT, WIDTH, MemoryDrawing, Scene
from ..hardware import Device, devices, memories
from ..hardware import device as catalogued
from ..layers import Adam
from ..memory.batches import Footprints, Spills, footprints, outside, spills
from ..memory.fit import Fit, Level
from ..memory.footprint import Footprint
from ..memory.sizes import percent
from ..memory.spilling import WAYS, Spill
from ..networks import Network
from ..quantities import bytes_of, show
from ..tables import Column, Table
from .amounts import Number
from .controls import Choice
from .panel import Explorer, Panel


@dataclass(frozen=True)
class Subject:
    """A network of the zoo: what it is called, how it is made for a pass and, where that differs, for training, and
    how many tokens a pass finds in its cache."""

    label: str
    options: tuple[tuple[str, int], ...] = ()
    training: tuple[tuple[str, int], ...] = ()
    cache: int | None = None


#: Networks of the explorer. A pass of a decoder makes one token of each sample; it is trained on whole texts.
NETWORKS = {
    "alexnet": Subject("AlexNet"),
    "vgg16": Subject("VGG-16"),
    "resnet50": Subject("ResNet-50"),
    "bert_base": Subject("BERT-base, 128 tokens", (("length", 128),), (("length", 128),)),
    "gpt2_small": Subject("GPT-2 small, 1,024 tokens", (("length", 1),), (("length", 1024),), 1024),
    "llama": Subject("Llama-style 8B, 2,048 tokens", (("length", 1),), (("length", 2048),), 2048),
}
WORK = {"inference": "Inference", "training": "Training, Adam"}
#: Dtypes that weights are stored in; a training run has its weights in one of the first three.
DTYPES = ("fp32", "fp16", "bf16", "fp8", "int8", "fp4")
TRAINED = DTYPES[:3]
#: Technologies of the memories that the rest may lie in.
OUTSIDE = ("ddr5", "nvme-gen4")
LARGEST_BATCH = 1024
#: Which group of the picture a part of a footprint belongs to.
GROUPED = {
    "parameters": "weights", "KV cache": "KV cache", "master weights": "optimizer", "optimizer state": "optimizer",
    "step counts": "optimizer", "gradients": "gradients", "activations": "activations", "temporary": "activations",
}  # fmt: skip
#: How to read the picture.
NOTE = (
    "In training the bar is the fullest moment of a step, which may come before every gradient is there. "
    "What does not fit is taken from the weights: that share lies outside. <i>Read where stored</i>: another processor "
    r"works on them there; $W\,[(1-f)/BW_\mathrm{fast} + f/BW_\mathrm{slow}]$ is the reading alone, the least it can "
    "take, shown where a pass is little else. <i>Streamed</i>: they come in over the link (or as slowly as the memory "
    "outside gives them), layer by layer, during the work on the layer before, or with a wait for each. Seconds are of "
    "one forward pass, at best: every tensor crosses once, and reading the cache of a decoder is left out."
)
_STEPS = 25
_LITTLE_MORE = 1.5


@dataclass(frozen=True)
class State:
    """A network of `batch` samples, at work on a device in a dtype, and the memory that holds what does not fit."""

    network: str
    device: str
    dtype: str
    work: str
    batch: int
    outside: str


@dataclass(frozen=True)
class Reading:
    """What the explorer says of a state. `share` of the weights is outside, as far as there are weights."""

    state: State
    fit: Fit
    spill: Spill
    share: float
    scene: Scene
    sentence: str
    table: Table
    alt: str


def vram_vs_ram(
    network: str = "llama",
    device: str = "t4",
    dtype: str = "fp16",
    work: str = "inference",
    batch: int = 1,
    outside: str = "ryzen-7950x",
    strict: bool | None = None,
) -> Panel:
    """A panel that shows whether a network fits in a device's memory and what a share outside costs. Run it as the last
    line of a cell.

    Networks are those of `NETWORKS`, devices those of the catalogue with a link to a host, `work` is "inference" or
    "training"; `outside` names a machine whose RAM holds the rest, or a disk. Raises UnknownNameError for a name that
    is none of them, ExtentError for a batch out of range.

    >>> panel = vram_vs_ram("alexnet", batch=8)
    >>> print(panel.reading.sentence.partition(". ")[0])
    AlexNet fits on NVIDIA T4: it needs 131 MB of the 16 GB of vram, which leaves 15.9 GB
    >>> panel.close()
    """
    for name, value, known in (
        ("network", network, NETWORKS),
        ("device", device, _machines()),
        ("dtype", dtype, DTYPES),
        ("work", work, WORK),
        ("memory outside", outside, _outside()),
    ):
        if value not in known:
            raise unknown(name, value, known)
    explorer = Explorer(
        "vram_vs_ram",
        State(network, device, dtype, work, batch, outside),
        (
            Choice("network", "Network", lambda state: [(one.label, name) for name, one in NETWORKS.items()]),
            Choice("device", "Device", lambda state: [(one.name, id) for id, one in _machines().items()]),
            Choice("dtype", "Dtype", lambda state: [(dtype, dtype) for dtype in _dtypes(state)]),
            Choice("work", "Work", lambda state: [(label, work) for work, label in WORK.items()]),
            Number("batch", "Batch", 1, LARGEST_BATCH, doubling=True),
            Choice("outside", "Outside", lambda state: [(label, id) for id, (label, *_) in _outside().items()]),
        ),
        settle,
        model,
        Drawing,
        NOTE,
    )
    return Panel(explorer, strict)


def settle(state: State) -> State:
    """The state with a dtype that its device has and its work allows, the nearest in size."""
    dtypes = _dtypes(state)
    if state.dtype in dtypes:
        return state
    width = bytes_of(state.dtype)
    return replace(state, dtype=min(dtypes, key=lambda dtype: abs(bytes_of(dtype) - width)))


def model(state: State) -> Reading:
    """What a state means, in numbers and in words."""
    machine, (_, slow, disk) = catalogued(state.device), _outside()[state.outside]
    capacity = machine.require("capacity")
    held = _footprints(state.network, state.work, _twin(state.dtype)).at(state.batch)
    fit = Fit(machine, held, (Level(machine.external, capacity, held.total),), ())
    link = min(slow, machine.require("link"))
    spill = _spills(state.network, state.work).at(state.batch, machine, state.dtype, slow, link)
    share = float(outside(held, capacity))
    # Nothing is computed on a disk; and where a pass is more than its reading, that alone would tell too little.
    read = not disk and spill.time(0, "streamed") <= _LITTLE_MORE * spill.time(0, "stored")
    ways = [way for way in WAYS if read or way != "stored"]
    scene = _scene(held, capacity, spill, share, ways)
    where = f"{NETWORKS[state.network].label}, batch {state.batch}, {state.work}, {state.dtype}"
    return Reading(
        state, fit, spill, share, scene, f"{fit.sentence()} {_cost(fit, spill, share, ways, state.work)}",
        _table(held, scene, spill, f"{where}, on {machine.name}"), _alt(scene, f"{where} on {machine.name}"),
    )  # fmt: skip


def _cost(fit: Fit, spill: Spill, share: float, ways: list[str], work: str) -> str:
    """What the share outside costs, in words."""
    if share == 0:
        free = spill.crossing(1) or 0
        return f"Nothing has to lie outside; streaming up to {percent(free)} of its weights would cost no time."
    level = fit.levels[0]
    if share > 1:
        rest = level.needed - level.capacity - fit.footprint["parameters"]
        return f"Even with all its weights outside, {show(rest, 'B')} are missing."
    costs = {way: _times(float(spill.slowdown(share, way))) for way in ways}
    words = f"{costs['streamed']} if they are streamed in during the work, {costs['serial']} with a wait for each layer"
    if "stored" in costs:
        words += f"; reading the weights where they are stored takes {costs['stored']}"
    one = "A forward pass" if work == "training" else "A pass"
    return f"It fits with {percent(share)} of its weights outside. {one} then takes {words}."


def _times(slowdown: float) -> str:
    return "no longer" if f"{slowdown:.3g}" == "1" or slowdown < 1 else f"{slowdown:.3g}× as long"


def _scene(held: Footprint, capacity: float, spill: Spill, share: float, ways: list[str]) -> Scene:
    groups = dict.fromkeys(GROUPS, 0.0)
    for part in held.parts:
        groups[GROUPED.get(part.name, "other")] += float(part.bytes)
    fractions = tuple(place / _STEPS for place in range(_STEPS + 1))
    times = {way: tuple(float(spill.time(f, way)) for f in fractions) for way in ways}
    return Scene(
        groups, capacity, fractions, times, share, {way: float(spill.time(min(share, 1.0), way)) for way in ways}
    )


def _table(held: Footprint, scene: Scene, spill: Spill, title: str) -> Table:
    """The parts, what is there for them, and the times."""
    columns = (
        Column("what", ""),
        Column("size", "size", "B"),
        Column("share", "share", show=percent),
        Column("time", "time of a pass", "s"),
        Column("slowdown", "× all inside", show=lambda times: f"{times:.3g}"),
    )
    rows: list[dict[str, Any]] = [
        {"what": part.name, "size": part.bytes, "share": part.bytes / held.total} for part in held.parts
    ]
    rows += [{"what": "needed", "size": held.total, "share": 1}, {"what": "capacity", "size": scene.capacity}]
    share = min(scene.share, 1.0)
    rows.append({"what": "weights outside", "size": share * float(held["parameters"]), "share": share})
    rows += [
        {"what": WAYS[way], "time": time, "slowdown": float(spill.slowdown(share, way))}
        for way, time in scene.marks.items()
    ]
    return Table(columns, rows, title, "Shares are of what is needed; of the weights where these lie outside.")


def _alt(scene: Scene, where: str) -> str:
    """The picture in words."""
    parts = ", ".join(f"{name} {show(amount, 'B')}" for name, amount in scene.groups.items() if amount)
    times = ", ".join(f"{WAYS[way]} {show(time, 's')}" for way, time in scene.marks.items())
    return (
        f"Bar of what is needed ({parts}) beside a capacity of {show(scene.capacity, 'B')}, for {where}. Curves of the "
        f"time of a pass against the share of weights outside; at {min(scene.share, 1.0):.1%}: {times}."
    )


class Drawing:
    """The picture: built once, redrawn for each reading."""

    def __init__(self) -> None:
        self.canvas = Canvas(WIDTH, HEIGHT)
        self._drawing = MemoryDrawing(self.canvas.axes(0, 0, 1, 1))

    def png(self, reading: Reading) -> bytes:
        """The picture of a reading."""
        self._drawing.update(reading.scene)
        return self.canvas.png(*self._drawing.layers)


# -- what is worth keeping -------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _machines() -> dict[str, Device]:
    """Devices that have a host at the end of a link."""
    return {one.id: one for one in devices() if None not in (one.capacity, one.bandwidth, one.link)}


@lru_cache(maxsize=1)
def _outside() -> dict[str, tuple[str, float, bool]]:
    """What it is called, its bytes a second, and whether it is a disk, by machine (of RAM) or technology (of disks)."""
    found = {}
    for technology in memories():
        for id, rate in technology.bandwidths.items() if technology.id in OUTSIDE else ():
            disk = id == technology.id
            label = f"{technology.name}, {show(rate, 'B/s')}"
            found[id] = (label if disk else f"{label} ({catalogued(id).name})", rate, disk)
    return found


def _dtypes(state: State) -> list[str]:
    known = TRAINED if state.work == "training" else DTYPES
    return [dtype for dtype in known if dtype in catalogued(state.device).peak]


@lru_cache(maxsize=2 * len(NETWORKS))
def _network(network: str, training: bool) -> Network:
    one = NETWORKS[network]
    return zoo.network(network, **dict(one.training if training else one.options))


def _twin(dtype: str) -> str:
    """The first dtype of the same size, which takes the same room."""
    return next(other for other in DTYPES if bytes_of(other) == bytes_of(dtype))


# What a network needs at any batch takes up to seconds to derive, and then a millisecond to tell.
@lru_cache(maxsize=len(NETWORKS) * len(DTYPES))
def _footprints(network: str, work: str, dtype: str) -> Footprints:
    if work == "training":
        mixed = bytes_of(dtype) < bytes_of("fp32")
        options: dict[str, Any] = {"training": True, "optimizer": Adam(), "master": "fp32" if mixed else None}
    else:
        options = {"cache": NETWORKS[network].cache}
    return footprints(_network(network, work == "training"), dtype, **options)


@lru_cache(maxsize=2 * len(NETWORKS))
def _spills(network: str, work: str) -> Spills:
    return spills(_network(network, work == "training"))
