"""The epoch explorer: what the forward pass, the backward pass and the update of a batch take, and wait for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from .. import zoo
from ..batches import Steps, steps
from ..bounds import NetworkTime
from ..epoch import Epoch, EpochTime
from ..errors import unknown
from ..figures import Canvas
from ..figures.phases import HEIGHT, WIDTH, PhasesDrawing
from ..hardware import device as catalogued
from ..layers import CATALOGUE, SGD, Adam, Momentum
from ..layers.optimizers import Optimizer
from ..networks import Network
from ..notation import plain
from ..notes import notes
from ..quantities import show
from ..tables import Column, Table
from .amounts import Amount, Number
from .controls import Choice
from .menus import DEVICE, DTYPE, NETWORKS, nearest_dtype
from .panel import Explorer, Panel

#: Optimizers of the explorer by the name that its argument takes.
OPTIMIZERS: dict[str, Optimizer] = {"sgd": SGD(), "momentum": Momentum(), "adam": Adam()}
LARGEST_BATCH = 1024
#: The smallest and the largest epoch.
SAMPLES = (1e4, 1e7)
#: How to read the picture.
NOTE = (
    "Each bar ends where its phase ends. Filled is the time its engine works, dashed the time it waits for the other "
    "engine, both added up over all layers. Numbers on the right: time, and how many times that of the forward pass. "
    "Every number is kept in the chosen dtype, and the machine runs at its peak rates, so these are best cases. "
    "A single layer is taken to stand inside a network, where its input needs a gradient too, unless it says 'first'."
)
#: The one layer that is also offered as the first of a network, whose input needs no gradient.
_FIRST = "Conv2d-first"


@dataclass(frozen=True)
class State:
    """What is trained, by which rule, on how many samples in which batches, and on which machine."""

    work: str
    optimizer: str
    batch: int
    samples: int
    device: str
    dtype: str


@dataclass(frozen=True)
class Reading:
    """What the explorer says of a state."""

    state: State
    step: Epoch
    time: EpochTime
    sentence: str
    table: Table
    alt: str


def one_epoch(
    work: str = "resnet50",
    optimizer: str = "sgd",
    batch: int = 32,
    samples: int = 1_000_000,
    device: str = "h100-sxm",
    dtype: str = "fp16",
    strict: bool | None = None,
) -> Panel:
    """A panel that shows what each phase of training takes on a device. Run it as the last line of a cell.

    `work` is a network of `NETWORKS`, or a layer of the notes' table at a real size, such as "Linear" ("Conv2d-first":
    as the first of a network). Optimizers are those of `OPTIMIZERS`, devices those whose bandwidth is published, and
    the ends of `SAMPLES` bound how many an epoch has. Raises UnknownNameError for a name that is none of
    them, ExtentError for other numbers.

    >>> panel = one_epoch("alexnet", "adam", batch=8, device="t4")
    >>> panel.reading.time.update.bound
    {'Adam': 'memory'}
    >>> panel.close()
    """
    if work not in _works():
        raise unknown("work", work, _works())
    if optimizer not in OPTIMIZERS:
        raise unknown("optimizer", optimizer, OPTIMIZERS)
    catalogued(device).rate(dtype)  # says which dtypes there are
    explorer = Explorer(
        "one_epoch",
        State(work, optimizer, batch, samples, device, dtype),
        (
            Choice("work", "Work", lambda state: [(label, name) for name, label in _works().items()]),
            Choice("optimizer", "Update", lambda state: [(rule.kind, name) for name, rule in OPTIMIZERS.items()]),
            Number("batch", "Batch", 1, LARGEST_BATCH, doubling=True),
            Amount("samples", "Samples", "", *SAMPLES),
            DEVICE,
            DTYPE,
        ),
        settle,
        model,
        Drawing,
        NOTE,
    )
    return Panel(explorer, strict)


def settle(state: State) -> State:
    """The state with a whole number of samples and a dtype that its device has, the nearest in size."""
    return replace(state, samples=round(state.samples), dtype=nearest_dtype(state.device, state.dtype))


def model(state: State) -> Reading:
    """What a state means, in numbers and in words."""
    step = _epoch(state.work, state.optimizer, state.batch, state.samples)
    time = step.on(catalogued(state.device), state.dtype)
    where = f"{_works()[state.work]}, batch {state.batch}, {OPTIMIZERS[state.optimizer].kind}, "
    where += f"{time.forward.device.name}, {state.dtype}"
    return Reading(state, step, time, sentence(step, time, state), table(step, time, where), alt(time, where))


def sentence(step: Epoch, time: EpochTime, state: State) -> str:
    """How the phases compare, what each waits for, and what the epoch takes."""
    compute, _, traffic = step.ratios(step.backward).values()
    batches = f"{plain(step.batches)} batch{'es' if step.batches > 1 else ''}"
    if step.tail:
        batches += f" and a last one of {state.samples % state.batch}"
    update = f"the update {_bound(time.update)}" if step.update.tasks else "there is nothing to update"
    return (
        f"The backward pass does {plain(compute)}× the operations of the forward pass and moves {plain(traffic)}× the "
        f"bytes. Here the forward pass is {_bound(time.forward)}, the backward pass {_bound(time.backward)}, {update}. "
        f"An epoch of {plain(state.samples)} samples is {batches}: {show(time.total, 's')} at best, "
        f"{show(time.step, 's')} a batch."
    )


def _bound(phase: NetworkTime) -> str:
    """What a phase is bound by, and for how much of its time where that differs between its layers."""
    bound, share = next(iter(phase.shares.items()))
    word = bound if bound == "balanced" else f"{bound}-bound"
    return word if share > 0.995 else f"{word} ({share:.0%} of its time)"


def table(step: Epoch, time: EpochTime, where: str) -> Table:
    """A row for each phase of one batch: what it does, stores and moves, beside the forward pass, and how long."""
    columns = (
        Column("phase", ""),
        Column("most", "most of its operations"),
        Column("ops", "operations", "OP"),
        Column("compute", "× forward", show=plain, align="right"),
        Column("stored", "stored numbers", show=plain, align="right"),
        Column("memory", "× forward", show=plain, align="right"),
        Column("bytes", "traffic", "B"),
        Column("traffic", "× forward", show=plain, align="right"),
        Column("arithmetic", "arithmetic", "s"),
        Column("moving", "memory", "s"),
        Column("time", "time", "s"),
        Column("share", "of the batch", show=lambda share: f"{share:.0%}"),
    )
    rows = []
    for phase, took in zip(step.phases, time.phases, strict=True):
        compute, stored, traffic = step.ratios(phase).values()
        most = " and ".join(phase.bottleneck()) or None
        moved = sum(layer.bytes for layer in took.layers)
        rows.append((
            phase.name, most, phase.ops, compute, phase.stored, stored, moved, traffic,
            took.compute, took.memory, took.total, took.total / time.step,
        ))  # fmt: skip
    return Table(columns, rows, title=f"One batch: {where}")


def alt(time: EpochTime, where: str) -> str:
    """The picture in words."""
    parts = [
        f"{phase.name}: arithmetic works {show(phase.compute, 's')}, memory {show(phase.memory, 's')}, "
        f"of {show(phase.total, 's')}"
        for phase in time.phases
    ]
    return f"Bars for the phases of one batch of {where}. {'. '.join(parts)}."


class Drawing:
    """The picture: built once, redrawn for each reading."""

    def __init__(self) -> None:
        self.canvas = Canvas(WIDTH, HEIGHT)
        self._drawing = PhasesDrawing(self.canvas.axes(0, 0, 1, 1))

    def png(self, reading: Reading) -> bytes:
        """The picture of a reading."""
        self._drawing.update(reading.time)
        return self.canvas.png(*self._drawing.layers)


# -- what is worth keeping -------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _works() -> dict[str, str]:
    """Networks, and the notes' layers at the sizes of real ones, by name."""
    layers = {row["layer"]: f"{row['name']} ({row['from']})" for row in notes()["layers"]}
    return NETWORKS | layers | {_FIRST: "Convolution as the first layer"}


def _network(work: str) -> Network:
    if work in NETWORKS:
        return zoo.network(work)
    row = next(row for row in notes()["layers"] if row["layer"] == work)
    own = {name: size for name, size in row["size"].items() if name not in row["input"]}
    shape = [row["size"].get(axis, 1) for axis in row["input"]]
    return Network.sequential(row["name"], shape, [CATALOGUE[row["layer"]](**own)])


# Deriving a network takes some hundred milliseconds, its step at any batch a few.
@lru_cache(maxsize=24)
def _steps(work: str) -> Steps:
    return steps(_network(work.partition("-")[0]), input_gradient=work not in (*NETWORKS, _FIRST))


@lru_cache(maxsize=8)
def _epoch(work: str, optimizer: str, batch: int, samples: int) -> Epoch:
    return _steps(work).using(OPTIMIZERS[optimizer]).epoch(samples, batch)
