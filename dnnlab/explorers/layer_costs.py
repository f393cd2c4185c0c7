"""The layer-costs explorer: write a line of your own, or take a layer's, and see every cost that follows from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from ..bounds import LayerTime, timed
from ..costs import backward_of, cost_facts
from ..errors import ExtentError, ShapeError, quote, unknown
from ..figures import Bar, Canvas, CostDrawing
from ..hardware import device as catalogued
from ..notation import Dim, plain, ratio
from ..program import Program
from ..quantities import show
from ..tables import Column, Table
from .controls import Choice, Handle, Line, Number
from .lines import LAYERS, OWN, Costs, costs_of, text_of
from .menus import DEVICE, machines
from .panel import Explorer, Panel

#: Lines to start from: scores of attention, a dilated convolution, a weighted mean in two lines.
EXAMPLES = (
    "score[n,q,t] += query[n,q,d] * key[n,t,d]",
    "out[n,k,y,x] += weight[k,c,i,j] * inp[n,c,y+i*dilation-pad,x+j*dilation-pad]",
    "total[n] += weight[c] * inp[n,c]; out[n,c] = inp[n,c] / total[n]",
)
LARGEST = 2**16
_SIZES = {"n": 1, "h": 56, "w": 56, "r": 3, "s": 3, "t": 128, "stride": 2, "dilation": 2, "pad": 1}
_USUAL = 64
#: How to read the picture.
NOTE = (
    "Both parts of a bar are on one logarithmic scale, so they add up: numbers times uses of each gives how often a "
    "tensor is touched. A short solid part before a long hatched one means much work for each number that is "
    "fetched. A mark on a part says that it grows with the index looked at. In a line of your own, a tensor that is "
    "read without the index $n$ of the samples counts as a parameter; several lines are parted by a semicolon. "
    "Borders are counted as input, and every tensor crosses to memory once."
)


@dataclass(frozen=True)
class State:
    """Lines, the sizes of their indices, the index that is looked at, and a device.

    `line` is the text of `layer` (`OWN`: of the student); `shown` is the layer that it was settled for.
    """

    layer: str
    line: str
    index: str
    sizes: tuple[tuple[str, int], ...]
    device: str
    shown: str = ""

    @property
    def size(self) -> int:
        """The size of the index that is looked at."""
        return dict(self.sizes)[self.index]

    def resized(self, **sizes: int) -> tuple[tuple[str, int], ...]:
        """Its sizes with some of them changed."""
        return tuple((dict(self.sizes) | sizes).items())


@dataclass(frozen=True)
class Reading:
    """What the explorer says of a state."""

    state: State
    bars: tuple[Bar, ...]
    sentence: str
    formula: str
    table: Table
    alt: str


@dataclass(frozen=True)
class Extent(Number):
    """A `Number` that sets the size of the index looked at: one entry of `sizes`. A border may be 0."""

    def check(self, value: object, state: Any) -> None:
        """Raise ExtentError unless the value is pairs of a name and a whole number in the range."""
        if not isinstance(value, tuple) or not all(isinstance(pair, tuple) and len(pair) == 2 for pair in value):
            raise ExtentError(f"sizes must be pairs such as (('k', 64), ('c', 3)), not {quote(value)}")
        for name, size in value:
            replace(self, label=str(name), low=_least(str(name)))._check(size)

    def handles(self, state: Any) -> tuple[Handle, ...]:
        """A slider of doublings, with a place for 0 below that of 1, and a box."""
        slider, box = (one.widget for one in Number("size", self.label, 1, self.high, doubling=True).handles(state))
        slider.min, box.min = -1, 0

        def read(now: State, size: int) -> tuple[tuple[str, int], ...]:
            return now.resized(**{now.index: size})

        def slide(now: State) -> None:
            slider.value = now.size.bit_length() - 1

        def type_in(now: State) -> None:
            box.value = now.size

        return Handle(slider, lambda now, n: read(now, 2**n if n >= 0 else 0), slide), Handle(box, read, type_in)

    def _check(self, size: object) -> None:
        super().check(size, None)


def layer_costs(
    layer: str = "Conv2d",
    line: str = "",
    index: str = "k",
    device: str = "h100-sxm",
    strict: bool | None = None,
    **sizes: int,
) -> Panel:
    """A panel that shows all that a layer's line costs, or a line of your own. Run it as the last line of a cell.

    Layers are those of `LAYERS`; a `line` takes their place, and several are parted by `;`. `sizes` are those of the
    line's indices. Raises ReadError for a line that cannot be read, UnknownNameError for another layer, index, size
    or device, ExtentError for a size out of range.

    >>> panel = layer_costs("Linear", n=1, c=4096, k=4096)
    >>> print(panel.reading.sentence.partition(". ")[0])
    Linear does 33.6 M operations with 16.8 M numbers, and uses each one of weight once and inp 4,096 times
    >>> panel.close()
    """
    if line:
        layer = OWN
    elif layer not in LAYERS:
        raise unknown("layer", layer, LAYERS)
    state = settle(State(layer, line, "", (), device))
    if state.device != device:
        raise unknown("device", device, machines())
    names = dict(state.sizes)
    for name in sizes:
        if name not in names:
            raise unknown("index or setting", name, names)
    if index not in names and index != "k":
        raise unknown("index", index, names)
    state = replace(state, index=index, sizes=state.resized(**sizes))
    explorer = Explorer(
        "layer_costs",
        state,
        (
            Choice("layer", "Layer", lambda state: [*_labels().items()]),
            DEVICE,
            Line("line", "Line", EXAMPLES),
            Choice("index", "Index", _indices, stepped=True),
            Extent("sizes", "Size", 1, LARGEST, doubling=True),
        ),
        settle,
        model,
        Drawing,
        NOTE,
    )
    return Panel(explorer, strict)


def settle(state: State) -> State:
    """The state with the line of a layer that was chosen, or the layer whose line was typed; with a size for every
    index of the line, and for no other; and with borders that leave something of each tensor."""
    line, layer = state.line, state.layer
    if layer != OWN and layer != state.shown:
        line = text_of(layer)
    elif layer == OWN and (not line or (state.shown not in ("", OWN) and line == text_of(state.shown))):
        line = EXAMPLES[0]
    costs = costs_of(line)
    known = dict(state.sizes)
    sizes = {
        name: min(max(known.get(name, _SIZES.get(name.split("_")[0], _USUAL)), _least(name)), LARGEST)
        for name in costs.names
    }
    sizes = _with_room(costs, sizes)
    index = state.index if state.index in sizes else [*sizes][min(1, len(sizes) - 1)]
    device = state.device if state.device in machines() else next(iter(machines()))
    return State(costs.layer, costs.line, index, tuple(sizes.items()), device, costs.layer)


def _with_room(costs: Costs, sizes: dict[str, int]) -> dict[str, int]:
    """The sizes, with borders narrowed until no tensor is empty. Raises ShapeError where one is all the same."""
    while True:
        try:
            costs.at(tuple(sizes.items()))
            return sizes
        except ShapeError:
            wide = {name: size // 2 for name, size in sizes.items() if size and not _least(name)}
            if not wide:
                raise
            sizes = sizes | wide


def _least(name: str) -> int:
    return 0 if name.split("_")[0] in ("pad", "offset") else 1


# -- what a state means ----------------------------------------------------------------------------------


def model(state: State) -> Reading:
    """What a state means, in numbers and in words."""
    costs = costs_of(state.line)
    now = costs.at(state.sizes)
    twice = _doubled(costs, state)
    bars = bars_of(costs, now, twice)
    shown = "; ".join(f"{bar.name} {bar.words}" for bar in bars)
    machine = catalogued(state.device)
    return Reading(
        state,
        bars,
        " ".join(_sentences(costs, state, now)),
        costs.formula,
        _table(costs, state, now, twice),
        f"Bars on a logarithmic scale for {costs.label} on {machine.name}: {shown}.",
    )


def _doubled(costs: Costs, state: State) -> Program | None:
    """The lines with twice the size of the index looked at; None where that leaves a tensor empty."""
    try:
        return costs.at(state.resized(**{state.index: 2 * state.size}))
    except ShapeError:
        return None


def uses(program: Program, tensor: str) -> Dim:
    """How many times the lines touch each element of a tensor, on average."""
    return sum(nest.reuse(tensor) for nest in program.nests if tensor in nest.references)


def bars_of(costs: Costs, now: Program, twice: Program | None) -> tuple[Bar, ...]:
    """The operations, and as many of the largest tensors as there is room for."""
    tensors = sorted(now.tensors, key=now.size, reverse=True)[: CostDrawing.MOST - 1]
    then = twice or now
    bars = [Bar("operations", float(now.ops), None, (then.ops > now.ops, False))]
    for tensor in (name for name in now.tensors if name in tensors):
        size, each = now.size(tensor), uses(now, tensor)
        name = tensor if len(tensor) <= 14 else f"{tensor[:13]}…"
        learned = " (learned)" if tensor in costs.parameters else ""
        grows = then.size(tensor) > size, uses(then, tensor) > each
        bars.append(Bar(name + learned, float(size), float(each), grows))
    return tuple(bars)


def _times(now: Dim, then: Dim | None) -> str:
    if then is None or not now or then == now:
        return ""
    return f"× {plain(ratio(then, now))}"


def _count(value: Dim) -> str:
    return show(value, "") if value >= 10000 else plain(value) if isinstance(value, int) else f"{float(value):,.3g}"


def time_of(now: Program, device: str) -> LayerTime:
    """What the lines take on a device, in half precision where it has one: each tensor that is given or is the
    result crosses to memory once."""
    machine = catalogued(device)
    dtype = "fp16" if "fp16" in machine.peak else next(iter(machine.peak))
    moved = sum(now.size(tensor) for tensor in now.tensors if now.role(tensor) != "local")
    widest = max(nest.parallelism for nest in now.nests)
    return timed(f"On {machine.name} in {dtype} it", "", machine, dtype, True, now.macs, now.ops, moved, widest)


def _sentences(costs: Costs, state: State, now: Program) -> Iterable[str]:
    read = [tensor for tensor in now.tensors if now.role(tensor) not in ("local", "output")]
    held = sum(now.size(tensor) for tensor in now.tensors)
    yield f"{costs.label} does {show(now.ops, '')} operations with {show(held, '')} numbers" + (
        f", and uses each one of {_list(_uses_of(now, read))}." if read else "."
    )
    yield time_of(now, state.device).sentence()
    backward = backward_of(now)
    if isinstance(backward, str):
        yield f"It has no backward pass: {backward}."
    else:
        times = f"{plain(ratio(backward.ops, now.ops))} times as many" if now.ops else show(backward.ops, "")
        yield f"Backward: {times} operations; kept for it: {_list(now.saved) or 'nothing'}."
    if costs.in_place:
        yield f"In place: {costs.in_place.partition(':')[0]}."


def _uses_of(now: Program, tensors: Iterable[str]) -> list[str]:
    return [f"{t} {'once' if uses(now, t) == 1 else _count(uses(now, t)) + ' times'}" for t in tensors]


def _list(words: Iterable[str]) -> str:
    *first, last = [*words] or [""]
    return f"{', '.join(first)} and {last}" if first else last


def _table(costs: Costs, state: State, now: Program, twice: Program | None) -> Table:
    """Every fact that `cost_facts` derives: its formula, its value now, and what doubling the index does to it."""
    facts = cost_facts(now)
    grown = cost_facts(twice) if twice else facts
    rows = [
        (line, quantity, of, formula, value, (_times(value, then) or "same") if twice else None)
        for (line, quantity, of, value, _), formula, (*_, then, _) in zip(
            facts.rows, costs.facts, grown.rows, strict=True
        )
        if quantity != "loops"
    ]
    sizes = ", ".join(f"{name} = {size:,}" for name, size in state.sizes)
    title = f"{costs.label}: {sizes}"
    note = f"In place: {costs.in_place}." if costs.in_place else ""
    columns = [
        Column("line"),
        Column("quantity"),
        Column("of"),
        Column("formula"),
        Column("value", "now", show=plain, align="right"),
        Column("doubled", f"if {state.index} doubles"),
    ]
    if len(now.nests) == 1:
        return Table(columns[1:], [row[1:] for row in rows], title, note)
    return Table(columns, rows, title, note)


class Drawing:
    """The picture: built once, redrawn for each reading."""

    def __init__(self) -> None:
        self.canvas = Canvas(480, 240)
        self._drawing = CostDrawing(self.canvas.axes(0.02, 0.11, 0.95, 0.79))

    def png(self, reading: Reading) -> bytes:
        """The picture of a reading."""
        self._drawing.update(reading.bars, reading.state.index)
        return self.canvas.png(*self._drawing.layers, frame=self._drawing.frame)


# -- what the controls offer -----------------------------------------------------------------------------


def _labels() -> dict[str, str]:
    return {label: kind for kind, (label, _) in LAYERS.items()} | {"your own line": OWN}


def _indices(state: State) -> list[tuple[str, str]]:
    """Each size by its name, with the index of the line that runs over it where that has another."""
    indices: dict[str, str] = {}
    for nest in costs_of(state.line).program.nests:
        for name, size in nest.extents:
            for one in getattr(size, "free_symbols", ()):
                if str(one) != name:
                    indices.setdefault(str(one), f" (index {name})")
    return [(f"{name} = {size:,}{indices.get(name, '')}", name) for name, size in state.sizes]
