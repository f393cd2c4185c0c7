"""The computational view: every question of the notes about one layer, and what a tile of its output needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil
from typing import Any

from ..figures import Canvas, DependencyDrawing, FeatureMap
from ..figures.dependencies import SLOTS
from ..hardware import device as catalogued
from ..layers.base import Layer
from ..networks import INPUT, Network
from ..notes.view import AXES, Row, View, place, times, view
from ..program import Region
from ..quantities import bytes_of, show
from ..receptive import dependencies, keeps_apart, reach, required, volume
from ..tables import Table
from .amounts import Handle, Number
from .menus import BATCH, DEVICE, LAYER, NETWORK, NETWORKS, batched, kinds, nearest_dtype, refuse, sample
from .panel import Explorer, Panel

#: How to read the picture.
NOTE = (
    "Each box is the output of a layer, all of them drawn equally large; above a gap stand the window and the step of "
    "the layer between. Layers that treat every element alone (batch norm in inference, activations, additions) hand "
    "the same part on and are left out, and so are those behind “…”. Rows and columns are counted from 0, in one "
    r"sample. Needed are $\text{window} + (\text{rows} - 1) \times \text{step}$ rows of an input, cut at the border."
)
LARGEST_TILE = 128


@dataclass(frozen=True)
class State:
    """A layer of a network of `batch` samples on a device, and a square tile of its output: `tile` rows and columns, at
    `place` per cent of the way from the first corner to the last. The dtype has no control; it is the nearest to
    the one asked for that the device has."""

    network: str
    device: str
    batch: int
    layer: str
    tile: int
    place: int
    dtype: str


@dataclass(frozen=True)
class Reading:
    """What the explorer says of a state. `needed` is by the layer that makes the tensor; `maps` are the ones shown."""

    state: State
    view: View
    needed: dict[str, Region]
    maps: tuple[FeatureMap, ...]
    links: tuple[str, ...]
    sentence: str
    table: Table
    alt: str


@dataclass(frozen=True)
class Place(Number):
    """A `Number` of per cent. Its slider goes from row to row, and the arrows of its box by as many per cent as move
    the tile; where the tile is all of the output there is nothing to move."""

    def handles(self, state: Any) -> tuple[Handle, ...]:
        """Its widgets, made for a state."""
        slider, box = (one.widget for one in super().handles(state))

        def slide(now: State) -> None:
            stops = _stops(now)
            with slider.hold_sync():
                slider.disabled, slider.max = not stops, max(stops, 1)
                slider.value = round(stops * now.place / 100)

        def type_in(now: State) -> None:
            stops = _stops(now)
            with box.hold_sync():
                box.disabled, box.step = not stops, ceil(100 / max(stops, 1))
                box.value = now.place

        def read(now: State, stop: int) -> int:
            return round(100 * stop / max(_stops(now), 1)) if _stops(now) else now.place

        return Handle(slider, read, slide), Handle(box, lambda now, value: value, type_in)


def _stops(state: State) -> int:
    """Into how many steps the way of the tile is cut: by rows, or by per cent where there are more rows."""
    shape = sample(state.network)[state.layer].output_shape
    return min(100, max(shape[axis] - state.tile for axis, _ in AXES[len(shape)]))


def computational_view(
    network: str = "resnet18",
    device: str = "h100-sxm",
    dtype: str = "fp16",
    batch: int = 8,
    layer: str = "",
    tile: int = 8,
    place: int = 50,
    strict: bool | None = None,
) -> Panel:
    """A panel that answers the notes' first table for a layer, and shows what a tile of its output needs. Run it as the
    last line of a cell.

    Networks are those of the roofline explorer; the layer is one that multiplies if none is named. Raises
    UnknownNameError for a name that is none of them.

    >>> panel = computational_view("lenet5", "t4", layer="conv2", tile=2, place=0)
    >>> print(panel.reading.sentence.partition(". ")[0])
    Before rows and columns 0–1 of conv2 can start, rows and columns 0–5 of pool1 must be ready, and for that rows and \
columns 0–15 of the network's input
    >>> panel.close()
    """
    explorer = Explorer(
        "computational_view",
        State(network, device, batch, layer, tile, place, dtype),
        (
            NETWORK,
            DEVICE,
            BATCH,
            LAYER,
            Number("tile", "Tile", 1, LARGEST_TILE, doubling=True),
            Place("place", "Place, %", 0, 100),
        ),
        settle,
        model,
        Drawing,
        NOTE,
    )
    refuse(network, device, dtype, layer)
    return Panel(explorer, strict)


def settle(state: State) -> State:
    """The state with a dtype that its device has, the nearest in size, a layer that its network has, one of those that
    multiply, and a tile that is no larger than the layer's output."""
    state = replace(state, dtype=nearest_dtype(state.device, state.dtype))
    net = sample(state.network)
    if state.layer not in kinds(state.network):
        multiplying = [node.name for node in net.layers if node.macs]
        state = replace(state, layer=multiplying[(len(multiplying) - 1) // 3])
    shape = net[state.layer].output_shape
    return replace(state, tile=min(state.tile, *(shape[axis] for axis, _ in AXES[len(shape)])))


def model(state: State) -> Reading:
    """What a state means, in numbers and in words."""
    net = sample(state.network)
    seen = _view(state.network, state.device, state.dtype, state.batch, state.layer)
    region = tile(state)
    needed = dependencies(net, state.layer, *region)
    chain, links = _chain(state.network, state.layer)
    maps = tuple(_map(net, name, needed[name]) for name in chain)
    boxes = [f"{one.needed} of {one.extent} of {one.name}" for one in maps]
    return Reading(
        state,
        seen,
        needed,
        maps,
        links,
        f"{_readiness(net, state, seen, needed)} {_loading(seen)}",
        seen.table(*_rows(net, state, needed, maps)),
        f"{NETWORKS[state.network]}, from left to right what a tile needs: {'; '.join(boxes[:-1])}; "
        f"the tile, {boxes[-1]}.",
    )


def tile(state: State) -> Region:
    """The tile of a settled state as a part of its layer's output: one sample, every channel or feature."""
    shape = sample(state.network)[state.layer].output_shape
    region = [(0, 1), *((0, size) for size in shape[1:])]
    for axis, _ in AXES[len(shape)]:
        start = round((shape[axis] - state.tile) * state.place / 100)
        region[axis] = (start, start + state.tile)
    return tuple(region)


def again(layer: Layer, region: Region) -> int | None:
    """How many rows of a layer's first input both a tile and its neighbour below (above, at the end) need: the halo.
    None where no neighbour is as large, and where one of them needs nothing."""
    axis = AXES[len(region)][0][0]
    start, stop = region[axis]
    step = stop - start
    move = step if stop + step <= layer.output_shape[axis] else -step
    if start + move < 0:
        return None
    other = (*region[:axis], (start + move, stop + move), *region[axis + 1 :])
    one, two = required(layer, region)[0], required(layer, other)[0]
    if one is None or two is None:
        return None
    axis = AXES[len(one)][0][0]
    return max(0, min(one[axis][1], two[axis][1]) - max(one[axis][0], two[axis][0]))


class Drawing:
    """The picture: built once, redrawn for each reading."""

    def __init__(self) -> None:
        self.canvas = Canvas(480, 204)
        self._drawing = DependencyDrawing(self.canvas.axes(0, 0, 1, 1))

    def png(self, reading: Reading) -> bytes:
        """The picture of a reading."""
        self._drawing.update(reading.maps, reading.links)
        return self.canvas.png(*self._drawing.layers)


# -- words -----------------------------------------------------------------------------------------------


def _readiness(net: Network, state: State, seen: View, needed: dict[str, Region]) -> str:
    """What must be ready before the tile can start."""
    parts = [f"{_part(net, edge, needed[edge])} of {edge}" for edge in seen.inputs if edge in needed]
    source = "" if INPUT in seen.inputs else f", and for that {_part(net, INPUT, needed[INPUT])} of the network's input"
    whose = f"{_part(net, state.layer, needed[state.layer])} of {state.layer}"
    return f"Before {whose} can start, {' and '.join(parts)} must be ready{source}."


def _part(net: Network, edge: str, region: Region) -> str:
    """In words which part of a tensor it is."""
    shown = _map(net, edge, region)
    return f"all {shown.extent}" if shown.whole else place(region, axes=2)


def _loading(seen: View) -> str:
    """What the layer's parameters cost."""
    if seen.reuse is None:
        return f"{seen.layer} has no parameters to load."
    room = {True: "which fit on the chip, ", False: "too many for the chip, ", None: ""}[
        seen.fits(seen.parameter_bytes)
    ]
    loading = f"{room}take {show(seen.load, 's')} to load; each is used {times(seen.reuse)}."
    return f"Its {show(seen.parameter_bytes, 'B')} of parameters, {loading}"


def _rows(net: Network, state: State, needed: dict[str, Region], maps: tuple[FeatureMap, ...]) -> Iterator[Row]:
    """What the tile needs, tensor by tensor, as rows of the table."""
    about = "Compute: this tile"
    for one in reversed(maps[:-1]):
        region = needed[one.name]
        size = show(volume(region) * bytes_of(state.dtype), "B")
        yield about, f"What does it need of {one.name}?", f"{_part(net, one.name, region)}: {size}"
    layer = net[state.layer]
    halo, source = again(layer.layer, needed[state.layer]), layer.inputs[0]
    words = "there is no second tile of this size"
    if halo is not None:
        words = f"{halo:,} {AXES[len(net.shape(source))][0][1]}s of {source}: the halo" if halo else "nothing"
    yield about, "What does its neighbour need again?", words


def _map(net: Network, name: str, region: Region) -> FeatureMap:
    shape = net.shape(name)
    axes = [axis for axis, _ in AXES[len(shape)]]
    return FeatureMap(name, tuple(shape[axis] for axis in axes), tuple(region[axis] for axis in axes))


# -- what does not change --------------------------------------------------------------------------------


@lru_cache(maxsize=24)
def _view(network: str, device: str, dtype: str, batch: int, layer: str) -> View:
    return view(batched(network, batch), layer, catalogued(device), dtype, sample(network))


@lru_cache(maxsize=len(NETWORKS))
def _deepest(network: str) -> dict[str, str]:
    """For each layer, which of its inputs comes through the most layers."""
    depth, found = {INPUT: 0}, {}
    for node in sample(network).layers:
        found[node.name] = max(reversed(node.inputs), key=lambda edge: depth[edge])  # attention's values, not queries
        depth[node.name] = depth[found[node.name]] + 1
    return found


@lru_cache(maxsize=64)
def _chain(network: str, layer: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The tensors to show, first to last along the longest way to a layer, and what the layers between them do."""
    net, before = sample(network), _deepest(network)
    names, links = [layer], []
    edge = layer
    while edge != INPUT:
        if not keeps_apart(net[edge].layer):
            names.append(before[edge])
            links.append(_does(net[edge].layer))
        edge = before[edge]
    if len(names) > SLOTS:
        names, links = [*names[: SLOTS - 1], INPUT], [*links[: SLOTS - 2], "…"]
    return tuple(reversed(names)), tuple(reversed(links))


def _does(layer: Layer) -> str:
    """The window of a layer, and its step where it is not one."""
    seen = reach(layer)
    if seen is None:
        return "all" if layer.program.nests and len(layer.output_shape) != 3 else ""
    (rows, down), (columns, across) = seen
    step = "" if down == across == 1 else f" /{down}" if down == across else f" /{down}×{across}"
    return f"{rows}×{columns}{step}"
