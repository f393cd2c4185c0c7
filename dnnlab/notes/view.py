"""The notes' first table, the computational view: every question of it, answered for one layer of a network on a
device. How large, does it fit, how long, how often, how many at once, and what must be ready.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from ..bounds import LayerTime, on
from ..hardware import Device
from ..layers.base import Layer
from ..lifetimes import Lifetime, lifetimes
from ..networks import INPUT, Network
from ..notation import Dim
from ..program import Region
from ..quantities import bytes_of, show
from ..receptive import dependencies, line_buffer, volume
from ..tables import Column, Table

#: The axes along which a part of one sample is told, and what their places are called, by the number of axes.
AXES: dict[int, tuple[tuple[int, str], ...]] = {
    4: ((2, "row"), (3, "column")),
    3: ((1, "token"),),
    2: ((1, "number"),),
}
Row = tuple[str, str, str]  # what it is about, question, answer
#: The questions: key, and where they stand in the table.
QUESTIONS: dict[str, tuple[str, str]] = {
    "parameters": ("Memory: parameters", "How large are they?"),
    "parameters_fit": ("Memory: parameters", "Do they fit on the chip?"),
    "load": ("Memory: parameters", "How long does loading them take?"),
    "hidden": ("Memory: parameters", "Can loading overlap with computing?"),
    "reuse": ("Memory: parameters", "Is a loaded parameter re-used?"),
    "activations": ("Memory: activations", "How large are they?"),
    "activations_fit": ("Memory: activations", "Do they fit on the chip?"),
    "life": ("Memory: activations", "How long must the output stay?"),
    "parallelism": ("Compute: MACs", "How much can run at once?"),
    "lanes": ("Compute: MACs", "Does it fit the hardware?"),
    "overlap": ("Compute: MACs", "Can computing overlap with memory?"),
    "ready": ("Compute: data dependencies", "What must be ready before it starts?"),
    "input": ("Compute: data dependencies", "And of the network's input?"),
    "held": ("Compute: data dependencies", "What to hold to go row by row?"),
}


@dataclass(frozen=True)
class View:
    """The numbers behind the table, for `layer` of a network on a device.

    `load`: seconds to load the parameters. `reuse`: how often each element of the largest parameter tensor is used
    (None without any). `until`, `passes`, `stay`: the layer that reads the output last, how many layers run until
    then, for how many seconds (passes 0: a result of the network; None: a view, which stores nothing). `first`: what
    the first row of the output needs of every tensor before it. `held`: what must be held to make the output row by row
    (None where there are no rows).
    """

    layer: str
    work: Layer = field(repr=False)
    time: LayerTime
    inputs: tuple[str, ...]
    load: Dim
    reuse: Dim | None
    until: str
    passes: int | None
    stay: Dim
    first: Mapping[str, Region] = field(repr=False)
    held: Region | None

    @property
    def parameter_bytes(self) -> Dim:
        """Bytes of the layer's parameters."""
        return self.work.parameters * bytes_of(self.time.dtype)

    @property
    def input_bytes(self) -> Dim:
        """Bytes of the layer's inputs."""
        return self.work.inputs * bytes_of(self.time.dtype)

    @property
    def output_bytes(self) -> Dim:
        """Bytes of the layer's output."""
        return self.work.activations * bytes_of(self.time.dtype)

    @property
    def hidden(self) -> float:
        """The share of the loading that fits behind the layer's own arithmetic."""
        return min(1.0, float(self.time.compute / self.load)) if self.load else 1.0

    def fits(self, size: Dim) -> bool | None:
        """Do this many bytes fit on the chip? None where its memory is not known."""
        room = self.time.device.on_chip
        return None if room is None else bool(size <= room)

    def answers(self) -> dict[str, str | None]:
        """The answer to each of `QUESTIONS` in words, None where the layer has nothing to ask about."""
        return {
            **dict.fromkeys(QUESTIONS),
            **self._parameters(),
            **self._activations(),
            **self._macs(),
            **self._ready(),
        }

    def table(self, *more: Row) -> Table:
        """A row for each question, and rows that somebody adds."""
        columns = (Column("about"), Column("question"), Column("answer"))
        answers = self.answers()
        rows = [(*where, answers[key]) for key, where in QUESTIONS.items()]
        title = f"{self.layer} ({self.time.kind}) on {self.time.device.name} in {self.time.dtype}"
        return Table(columns, [*rows, *more], title, _NOTE)

    def _repr_html_(self) -> str:
        return self.table().html()

    # -- the four parts of the table -----------------------------------------------------------------------

    def _parameters(self) -> dict[str, str]:
        if self.reuse is None:
            return {"parameters": "there are none"}
        share, compute = "all" if self.hidden == 1 else f"{self.hidden:.1%}", show(self.time.compute, "s")
        return {
            "parameters": f"{self.work.parameters:,} numbers, {show(self.parameter_bytes, 'B')}",
            "parameters_fit": self._fits(self.parameter_bytes),
            "load": f"{show(self.load, 's')} from off-chip memory",
            "hidden": f"yes, they wait for no result; {compute} of arithmetic can hide {share} of it",
            "reuse": f"{'yes' if self.reuse > 1 else 'no'}, each is used {times(self.reuse)}",
        }

    def _activations(self) -> dict[str, str]:
        life = "it is a view of its input and stores nothing"
        if self.passes == 0:
            life = "until somebody fetches it: it is the result"
        elif self.passes is not None:
            life = f"until {self.until} has read it, {_many(self.passes, 'layer')} later ({show(self.stay, 's')})"
        return {
            "activations": f"in {show(self.input_bytes, 'B')}, out {show(self.output_bytes, 'B')}",
            "activations_fit": self._fits(self.input_bytes + self.output_bytes),
            "life": life,
        }

    def _macs(self) -> dict[str, str]:
        time = self.time
        if not time.ops:
            return {"parallelism": "there is no arithmetic"}
        together = [nest for nest in self.work.program.nests if nest.macs]
        terms = f", each a sum of {self.work.macs // self.work.activations:,} products" if len(together) == 1 else ""
        stalled = {"compute": "; the arithmetic waits", "memory": "; memory waits"}.get(time.stalled or "", "")
        lanes = "the number of lanes is not known"
        if time.rounds is not None and time.utilisation is not None:
            count = int(time.device.require("lanes"))
            fills = "yes" if time.parallelism >= count else "no, too little for all lanes"
            rounds, use = _many(int(time.rounds), "round"), f"{time.utilisation:.1%} of them busy"
            lanes = f"{fills}: {rounds} of {_many(count, 'lane')}, {use}"
        serial = show(time.compute + time.memory, "s")
        return {
            "parallelism": f"{time.parallelism:,} independent results{terms}",
            "lanes": lanes,
            "overlap": f"yes, tile by tile: {show(time.total, 's')} instead of {serial}{stalled}",
        }

    def _ready(self) -> dict[str, str]:
        whose = [f"{place(self.first[edge])} of {edge}" for edge in self.inputs if edge in self.first]
        what = {4: "row", 3: "token"}.get(len(self.work.output_shape), "number")
        found = {"ready": f"for its first {what}: {' and '.join(whose)}", "input": place(self.first[INPUT])}
        if self.held is not None:
            size = show(volume(self.held) * bytes_of(self.time.dtype), "B")
            found["held"] = f"{_many(self.held[-2][1], 'row')} of {self.inputs[0]}, {size}"
        return found

    def _fits(self, size: Dim) -> str:
        """Does this many bytes fit on the chip, and by how much?"""
        room = self.time.device.on_chip
        if room is None:
            return "the size of the on-chip memory is not known"
        share, limit = float(size / room), show(room, "B", binary=True)
        return f"yes, in {share:.2%} of {limit}" if self.fits(size) else f"no, they are {share:.3g} times its {limit}"


_NOTE = (
    "Times are best cases: peak rates, every tensor crosses the memory interface once. How long the output stays is "
    "told for inference."
)


def view(net: Network, name: str, device: Device, dtype: str = "fp16", sample: Network | None = None) -> View:
    """Every question of the notes' first table for a layer of a network on a device.

    What must be ready is told of one sample; who has the same network for a batch of one may give it as `sample`, and
    spare its derivation for each batch. Raises the errors of `bounds.on`, and UnknownNameError for a layer that the
    network does not have.

    >>> from dnnlab import device, zoo
    >>> seen = view(zoo.vgg16(), "features.2", device("t4"))
    >>> seen.reuse, seen.until, place(seen.first["input"])
    (50176, 'features.3', 'rows 0–2')
    >>> seen.answers()["held"]
    '3 rows of features.1, 86 kB'
    """
    node = net[name]
    layer, rank = node.layer, len(node.output_shape)
    time = _time(net, name, device, dtype)
    life = _lifetimes(net).get(name)
    waits = () if life is None else net.layers[life.born + 1 : life.dies + 1]
    single = net if sample is None else sample
    first: list[tuple[int, int] | None] = [None] * rank
    first[0] = first[AXES[rank][0][0]] = (0, 1)
    return View(
        name,
        layer,
        time,
        tuple(dict.fromkeys(node.inputs)),
        layer.parameters * bytes_of(dtype) / device.require("bandwidth"),
        _reuse(layer),
        "" if life is None else net.layers[life.dies].name,
        None if life is None else len(waits),
        sum(_time(net, one.name, device, dtype).total for one in waits),
        dependencies(single, name, *first),
        line_buffer(single[name].layer) if rank == 4 else None,
    )


def place(region: Region, axes: int = 1) -> str:
    """In words where a part of one sample lies along its first `axes` of `AXES`, counted from 0.

    >>> place(((0, 1), (0, 64), (3, 4), (2, 8))), place(((0, 1), (0, 64), (3, 4), (2, 8)), axes=2)
    ('row 3', 'row 3 and columns 2–7')
    >>> place(((0, 1), (0, 64), (2, 8), (2, 8)), axes=2)
    'rows and columns 2–7'
    """
    parts: dict[tuple[Dim, Dim], list[str]] = {}
    for axis, word in AXES[len(region)][:axes]:
        parts.setdefault(region[axis], []).append(word)
    return " and ".join(_range(words, *part) for part, words in parts.items())


def _range(words: list[str], start: Dim, stop: Dim) -> str:
    if stop - start == 1:
        return f"{' and '.join(words)} {start:,}"
    return f"{' and '.join(f'{word}s' for word in words)} {start:,}–{stop - 1:,}"


def _time(net: Network, name: str, device: Device, dtype: str) -> LayerTime:
    time = on(net[name], device, dtype)
    assert isinstance(time, LayerTime)
    return time


@lru_cache(maxsize=8)
def _lifetimes(net: Network) -> dict[str, Lifetime]:
    return {life.name: life for life in lifetimes(net)}


@lru_cache(maxsize=512)
def _reuse(layer: Layer) -> Dim | None:
    names = layer.program.having("parameter")
    return layer.reuse(max(names, key=layer.program.size)) if names else None


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def times(count: Dim) -> str:
    """How often, in words: whole numbers exactly.

    >>> times(1), times(6272), times(0.1632)
    ('once', '6,272 times', '0.163 times')
    """
    if count == 1:
        return "once"
    return f"{int(count):,} times" if count == int(count) else f"{float(count):.3g} times"
