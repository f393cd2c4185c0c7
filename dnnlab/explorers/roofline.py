"""The roofline explorer: the layers of a network under the two roofs of a device, and what each waits for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from ..balance import Roofline
from ..bounds import LayerTime, NetworkTime, on
from ..figures import Canvas, RooflineDrawing
from ..hardware import device as catalogued
from ..quantities import show
from ..tables import Column, Table
from .menus import BATCH, DEVICE, DTYPE, LAYER, NETWORK, NETWORKS, batched, kinds, nearest_dtype, refuse
from .panel import Explorer, Panel

#: How to read the picture.
NOTE = (
    r"The roof: $\text{rate} = \min(P,\ I \times B)$, the peak of the arithmetic or the intensity times the memory's "
    "bandwidth, whichever is less. A layer on the slope waits for memory, one on the flat part for arithmetic; "
    "the larger its mark, the longer it takes. Every tensor crosses once, as if the chip had room for all that is "
    "used again. Layers without arithmetic have no place on it."
)
_ROWS = 8


@dataclass(frozen=True)
class State:
    """A network of `batch` samples on a device in a dtype, and the layer that is looked at."""

    network: str
    device: str
    dtype: str
    batch: int
    layer: str


@dataclass(frozen=True)
class Reading:
    """What the explorer says of a state."""

    state: State
    data: Roofline
    layer: LayerTime
    sentence: str
    table: Table
    alt: str


def roofline(
    network: str = "resnet50",
    device: str = "h100-sxm",
    dtype: str = "fp16",
    batch: int = 8,
    layer: str = "",
    strict: bool | None = None,
) -> Panel:
    """A panel that shows which roof each layer of a network is under. Run it as the last line of a cell.

    Networks are those of `NETWORKS`, devices those of the catalogue whose bandwidth is published; the layer
    is the slowest one if none is named. Raises UnknownNameError for a name that is none of them.

    >>> panel = roofline("lenet5", "t4", "fp32", batch=1)
    >>> print(panel.reading.sentence.partition(". ")[0])
    conv3 does 0.494 operations for each byte it moves; NVIDIA T4 needs 25.3 in fp32 to keep its arithmetic busy
    >>> panel.close()
    """
    explorer = Explorer(
        "roofline",
        State(network, device, dtype, batch, layer),
        (NETWORK, DEVICE, DTYPE, BATCH, LAYER),
        settle,
        model,
        Drawing,
        NOTE,
    )
    refuse(network, device, dtype, layer)
    return Panel(explorer, strict)


def settle(state: State) -> State:
    """The state with a dtype that its device has, the nearest in size, and a layer that its network has, the
    slowest."""
    state = replace(state, dtype=nearest_dtype(state.device, state.dtype))
    if state.layer not in kinds(state.network):
        state = replace(state, layer=_of(state).slowest[0].name)
    return state


def model(state: State) -> Reading:
    """What a state means, in numbers and in words."""
    setting = _of(state)
    layer = setting.layers[state.layer]
    return Reading(
        state,
        setting.data,
        layer,
        f"{verdict(layer)} {setting.sentence}",
        table(state),
        f"Roofline of {NETWORKS[state.network]} at batch {state.batch} on {layer.device.name} in {state.dtype}.",
    )


def verdict(layer: LayerTime) -> str:
    """Who waits for whom in a layer, and why."""
    if layer.bound == "nothing":
        return f"{layer.name} computes nothing and moves nothing: it only gives its input another shape."
    if layer.ops == 0:
        return f"{layer.name} does no arithmetic: it only moves {show(layer.bytes, 'B')}, memory-bound."
    ridge = show(layer.device.balance(layer.dtype), "")
    times = f"{layer.margin:,.0f}" if layer.margin >= 100 else f"{layer.margin:.3g}"
    outcome = {
        "memory": f"Moving the bytes takes {times} times as long as computing: the arithmetic waits, memory-bound.",
        "compute": f"Computing takes {times} times as long as moving the bytes: the memory waits, compute-bound.",
        "balanced": "Computing and moving the bytes take equally long, within 10 %: balanced.",
    }[layer.bound]
    does = f"{layer.name} does {show(layer.intensity, '')} operations for each byte it moves"
    return f"{does}; {layer.device.name} needs {ridge} in {layer.dtype} to keep its arithmetic busy. {outcome}"


def table(state: State) -> Table:
    """The slowest layers and the one that is looked at."""
    setting = _of(state)
    layer = setting.layers[state.layer]
    shown = setting.slowest if layer in setting.slowest else (*setting.slowest, layer)
    columns = (
        Column("name", "layer"),
        Column("kind", "kind"),
        Column("ops", "operations", "OP"),
        Column("bytes", "traffic", "B"),
        Column("intensity", "intensity", "OP/B"),
        Column("compute", "arithmetic", "s"),
        Column("memory", "memory", "s"),
        Column("bound", "bound by"),
        Column("share", "of the time", show=lambda share: f"{share:.1%}"),
    )
    rows = [
        {"share": one.total / setting.total} | {c.key: getattr(one, c.key) for c in columns if c.key != "share"}
        for one in shown
    ]
    title = f"{NETWORKS[state.network]}, batch {state.batch}, {layer.device.name}, {state.dtype}"
    others = len(setting.layers) - len(rows)
    return Table(columns, rows, title, f"The slowest layers; {others} more are not listed." if others else "")


class Drawing:
    """The picture: built once, redrawn for each reading."""

    def __init__(self) -> None:
        self.canvas = Canvas(480, 262)
        self._drawing = RooflineDrawing(self.canvas.axes(0.13, 0.175, 0.82, 0.73))

    def png(self, reading: Reading) -> bytes:
        """The picture of a reading."""
        self._drawing.update(reading.data, reading.layer)
        return self.canvas.png(*self._drawing.layers)


@dataclass(frozen=True)
class _Setting:
    """All that does not depend on the layer that is looked at."""

    data: Roofline
    layers: dict[str, LayerTime]
    slowest: tuple[LayerTime, ...]
    total: float
    sentence: str


# A slider goes back and forth, so the same is asked again; one of ResNet-50 takes 60 kB.
@lru_cache(maxsize=24)
def _setting(network: str, device: str, dtype: str, batch: int) -> _Setting:
    machine = catalogued(device)
    time = on(batched(network, batch), machine, dtype, tiled=False)  # a search would make the panel stutter
    assert isinstance(time, NetworkTime)
    label = f"{NETWORKS[network]} at batch {batch}"
    return _Setting(
        Roofline(machine.rate(dtype), machine.require("bandwidth"), tuple(t for t in time.layers if t.ops != 0)),
        {one.name: one for one in time.layers},
        tuple(sorted(time.layers, key=lambda one: -one.total)[:_ROWS]),
        float(time.total),
        replace(time, name=label).sentence(),
    )


def _of(state: State) -> _Setting:
    return _setting(state.network, state.device, state.dtype, state.batch)
