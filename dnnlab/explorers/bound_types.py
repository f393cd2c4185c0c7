"""The bound explorer: arithmetic and memory as two lanes in time, who stalls whom, and the five factors that decide."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from ..balance import upgrades
from ..bounds import LayerTime, on
from ..buffering import pipeline
from ..errors import unknown
from ..figures import Block, Canvas, Lane, Lanes, LanesDrawing, Mark, Wait
from ..hardware import Device
from ..hardware import device as catalogued
from ..layers import (
    BatchedLinear,
    BatchNorm2d,
    Conv2d,
    DepthwiseConv2d,
    Layer,
    Linear,
    MaxPool2d,
    PointwiseConv2d,
    ScaledDotProductAttention,
)
from ..notation import plain
from ..quantities import bytes_of, show
from ..tables import Column, Table
from ..tiling import LayerTiling, best_tiling
from .amounts import Amount, Number
from .controls import Choice
from .panel import Explorer, Panel

#: Layers of the explorer: one sample of layers in networks of the zoo, without biases and dropout.
LAYERS: dict[str, tuple[str, Layer]] = {
    "conv": ("3×3 convolution (ResNet-50)", Conv2d(n=1, k=64, c=64, h=56, w=56, r=3, s=3)),
    "pointwise": ("1×1 convolution (MobileNetV1)", PointwiseConv2d(n=1, k=512, c=512, h=14, w=14)),
    "depthwise": ("Depth-wise convolution (MobileNetV1)", DepthwiseConv2d(n=1, k=512, h=14, w=14, r=3, s=3)),
    "linear": ("Linear layer (VGG-16)", Linear(n=1, k=4096, c=4096)),
    "batched_linear": ("Batched linear layer (BERT)", BatchedLinear(n=1, t=128, k=3072, c=768)),
    "attention": ("Attention (BERT)", ScaledDotProductAttention(n=1, t=128, u=128, a=12, d=64)),
    "pooling": ("Max pooling (ResNet-50)", MaxPool2d(n=1, c=64, h=112, w=112, r=3, s=3, stride=2, padding=1)),
    "norm": ("Batch norm (ResNet-50)", BatchNorm2d(n=1, c=256, h=56, w=56)),
}
OPERANDS = ("fp32", "fp16", "fp8")
LARGEST_BATCH = 512
BANDWIDTHS, RATES, ON_CHIPS = (1e9, 1e13), (1e10, 1e16), (2e5, 1e9)
#: Equal parts that the picture cuts a layer into.
PARTS = 8
WIDTH, HEIGHT = 480, 172
_NOTED = 1.005  # a factor that shows in three digits
_MARGIN = 6  # for the last word of the axis
#: How to read the picture.
NOTE = (
    "One layer in the middle of a long row of work, cut into eight equal parts: while part 3 is computed, part 4 is on "
    "its way. Part 9 is the first of what comes next. Hatched, an engine stands still, because there is nothing to "
    "work on (it waits for memory) or no room to load more into (it waits for arithmetic). The dashed line: where the "
    "layer would end if the slower engine were twice as fast. The operand sets the bytes of a number here, nothing "
    "else; real machines often compute faster on small ones too."
)


@dataclass(frozen=True)
class State:
    """A layer of `batch` samples, in a dtype, on a machine of three figures: bytes and operations a second, bytes on
    the chip."""

    layer: str
    batch: int
    dtype: str
    bandwidth: float
    rate: float
    on_chip: float


@dataclass(frozen=True)
class Reading:
    """What the explorer says of a state. `faster`: how many times, with two of each resource."""

    state: State
    time: LayerTime
    tiling: LayerTiling
    faster: dict[str, float]
    lanes: Lanes
    sentence: str
    table: Table
    alt: str


def bound_types(
    layer: str = "linear",
    device: str = "h100-sxm",
    dtype: str = "fp16",
    batch: int = 32,
    bandwidth: float | None = None,
    rate: float | None = None,
    on_chip: float | None = None,
    strict: bool | None = None,
) -> Panel:
    """A panel that shows who stalls whom while a layer runs. Run it as the last line of a cell.

    Layers are those of `LAYERS`, and the ends of `BANDWIDTHS`, `RATES` and `ON_CHIPS` bound what the machine can be
    (B/s, OP/s, B). Figures that are not given are those of the device in that dtype, or the nearest end. Raises
    UnknownNameError for a name that is not known, ExtentError for numbers out of range and for a device without one
    of the figures.

    >>> panel = bound_types("linear", batch=1)
    >>> panel.reading.time.bound, panel.reading.faster["compute"]
    ('memory', 1.0)
    >>> panel.close()
    """
    if layer not in LAYERS:
        raise unknown("layer", layer, LAYERS)
    if dtype not in OPERANDS:
        raise unknown("dtype", dtype, OPERANDS)
    machine = catalogued(device)
    figures = (
        _inside(machine.require("bandwidth"), BANDWIDTHS) if bandwidth is None else bandwidth,
        _inside(machine.rate(dtype), RATES) if rate is None else rate,
        _inside(machine.require("on_chip"), ON_CHIPS) if on_chip is None else on_chip,
    )
    explorer = Explorer(
        "bound_types",
        State(layer, batch, dtype, *figures),
        (
            Choice("layer", "Layer", lambda state: [(label, name) for name, (label, _) in LAYERS.items()]),
            Amount("bandwidth", "Memory", "B/s", *BANDWIDTHS),
            Amount("rate", "Compute", "OP/s", *RATES),
            Choice("dtype", "Operand", lambda state: [(f"{name}: {bytes_of(name)} B", name) for name in OPERANDS]),
            Number("batch", "Batch", 1, LARGEST_BATCH, doubling=True),
            Amount("on_chip", "On chip", "B", *ON_CHIPS),
        ),
        lambda state: state,
        model,
        Drawing,
        NOTE,
    )
    return Panel(explorer, strict)


def machine(state: State) -> Device:
    """The machine of a state."""
    return Device("this machine", {state.dtype: state.rate}, bandwidth=state.bandwidth, on_chip=state.on_chip)


def model(state: State) -> Reading:
    """What a state means, in numbers and in words."""
    work, own = _layer(state.layer, state.batch), machine(state)
    time = on(work, own, state.dtype)
    tiling = best_tiling(work, state.on_chip, state.dtype)
    assert isinstance(time, LayerTime) and isinstance(tiling, LayerTiling)
    time = replace(time, name=f"{LAYERS[state.layer][0]} at batch {state.batch}")
    roomier = on(work, own.scaled(on_chip=2), state.dtype)
    faster = upgrades(work, own, state.dtype) | {"on_chip": float(time.total / roomier.total)}
    shown = stretch(time, faster)
    return Reading(state, time, tiling, faster, shown, sentence(time, tiling, faster),
                   table(work, time, tiling, faster), alt(time))  # fmt: skip


def stretch(time: LayerTime, faster: dict[str, float]) -> Lanes:
    """A layer in the middle of a pipeline that is running: as long as the layer takes, and what either engine does."""
    parts = range(1, PARTS + 1)
    schedule = pipeline([time.memory / PARTS] * (PARTS + 2), [time.compute / PARTS] * (PARTS + 2), buffers=2)
    loads, computes = schedule.intervals["load"], schedule.intervals["compute"]
    begin = loads[2][0]  # two buffers are full by then, if they ever are
    blocks = {
        "memory": [Block(loads[i + 1][0] - begin, loads[i + 1][1] - begin, str(i + 1)) for i in parts],
        "arithmetic": [Block(computes[i][0] - begin, computes[i][1] - begin, str(i)) for i in parts],
    }
    slower = "arithmetic" if time.compute > time.memory else "memory"
    lanes = []
    for name, own in blocks.items():
        ends = [*(block.start for block in own[1:]), time.total]
        waits = [Wait(block.end, end, slower) for block, end in zip(own, ends, strict=True)] if name != slower else []
        lanes.append(Lane(name, tuple(own), tuple(waits)))
    best = "compute" if slower == "arithmetic" else "bandwidth"
    sooner = time.total / faster[best]
    words = f"2× {'bandwidth' if best == 'bandwidth' else 'arithmetic'}: {show(sooner, 's')}"
    return Lanes(tuple(lanes), Mark(time.total, f"done: {show(time.total, 's')}"), Mark(sooner, words))


def sentence(time: LayerTime, tiling: LayerTiling, faster: dict[str, float]) -> str:
    """What sets the time, who waits, and what would help."""
    idle = {"memory": "The arithmetic", "compute": "Memory"}.get(time.bound)
    waits = "Neither waits for long." if idle is None else f"{idle} stands still {_part(1 - 1 / time.margin)}."
    buys = f"Twice the bandwidth {_buys(faster['bandwidth'])}, twice the arithmetic {_buys(faster['compute'])}"
    both = f", both together {faster['both']:.3g}× as fast." if time.bound == "balanced" else "."
    again = ""
    if tiling.excess > _NOTED:
        room = show(time.device.require("on_chip"), "B")
        again = f" With {room} on the chip, {tiling.excess:.3g}× the compulsory bytes move."
    return f"{time.sentence()} {waits} {buys}{both}{again}"


def table(work: Layer, time: LayerTime, tiling: LayerTiling, faster: dict[str, float]) -> Table:
    """The five factors: what each is here, what follows from it, and what twice of it would buy."""
    width, own = bytes_of(time.dtype), time.device
    how = "; ".join(map(str, tiling.lines)) or "in one piece"
    columns = (
        Column("factor", "factor"),
        Column("here", "here"),
        Column("follows", "what follows"),
        Column("doubled", "twice of it: times as fast", show=lambda value: f"{value:.3g}×"),
    )
    rows = [
        ("Memory bandwidth", show(own.require("bandwidth"), "B/s"), f"memory works {show(time.memory, 's')}",
         faster["bandwidth"]),
        ("Compute speed, parallelism", show(own.rate(time.dtype), "OP/s"),
         f"arithmetic works {show(time.compute, 's')}; {plain(time.parallelism)} results are independent",
         faster["compute"]),
        ("Size of operands", f"{time.dtype}: {width} B",
         f"{show(work.parameters * width, 'B')} of parameters, {show(work.inputs * width, 'B')} of inputs", None),
        ("Size of result", f"{plain(work.activations)} numbers", f"{show(work.activations * width, 'B')}", None),
        ("On-chip buffering", show(own.require("on_chip"), "B"),
         f"{show(time.bytes, 'B')} moved, {show(tiling.compulsory * width, 'B')} compulsory ({how})",
         faster["on_chip"]),
    ]  # fmt: skip
    bound = time.bound if time.bound == "balanced" else f"{time.bound}-bound"
    margin = f"{time.margin:,.0f}" if time.margin >= 100 else f"{time.margin:.3g}"
    title = f"{time.name}: {bound}, margin {margin}×, {show(time.intensity, 'OP/B')}"
    return Table(columns, rows, title)


def alt(time: LayerTime) -> str:
    """The picture in words."""
    return (
        f"Two lanes in time, {show(time.total, 's')} long: memory works {show(time.memory, 's')} of it, arithmetic "
        f"{show(time.compute, 's')}; the one that is done sooner with each of {PARTS} parts waits, hatched."
    )


class Drawing:
    """The picture: built once, redrawn for each reading."""

    def __init__(self) -> None:
        self.canvas = Canvas(WIDTH, HEIGHT)
        wide = WIDTH - _MARGIN
        axes = self.canvas.axes(0, 0, wide / WIDTH, 1)
        self.lanes = LanesDrawing(axes, wide, HEIGHT, waits=("memory", "arithmetic"), most=2)
        # in the middle of a row of work nothing fills or drains: off with the last entry of the legend
        for artist in (axes.patches[-1], axes.texts[-1]):
            artist.set_visible(False)

    def png(self, reading: Reading) -> bytes:
        """The picture of a reading."""
        self.lanes.update(reading.lanes)
        return self.canvas.png(*self.lanes.layers)


@lru_cache(maxsize=1024)
def _layer(name: str, batch: int) -> Layer:
    return LAYERS[name][1].at(n=batch)


def _inside(value: float, ends: tuple[float, float]) -> float:
    return min(max(value, ends[0]), ends[1])


def _part(share: float) -> str:
    """A share of the time in words, all of it only where nothing is left."""
    if share > 0.9995:
        return "nearly all the time"
    return f"{share:.0%} of the time" if share < 0.985 else f"{share:.1%} of the time"


def _buys(times: float) -> str:
    return f"makes it {times:.3g}× as fast" if times > _NOTED else "buys nothing"
