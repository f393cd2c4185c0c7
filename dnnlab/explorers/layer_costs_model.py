"""What the layer-costs explorer says of lines: every cost that follows from them, as bars, words and a table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..bounds import LayerTime, timed
from ..costs import backward_of, cost_facts
from ..errors import ShapeError
from ..figures import Bar, CostDrawing
from ..hardware import device as catalogued
from ..notation import Dim, plain, ratio
from ..program import Program
from ..quantities import show
from ..tables import Column, Table
from .lines import OWN, Costs, costs_of, text_of
from .menus import machines

#: Lines to start from: scores of attention, a dilated convolution, a weighted mean in two lines.
EXAMPLES = (
    "score[n,q,t] += query[n,q,d] * key[n,t,d]",
    "out[n,k,y,x] += weight[k,c,i,j] * inp[n,c,y+i*dilation-pad,x+j*dilation-pad]",
    "total[n] += weight[c] * inp[n,c]; out[n,c] = inp[n,c] / total[n]",
)
LARGEST = 2**16
_SIZES = {"n": 1, "h": 56, "w": 56, "r": 3, "s": 3, "t": 128, "stride": 2, "dilation": 2, "pad": 1}
_USUAL = 64


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
        name: min(max(known.get(name, _SIZES.get(name.split("_")[0], _USUAL)), least(name)), LARGEST)
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
            wide = {name: size // 2 for name, size in sizes.items() if size and not least(name)}
            if not wide:
                raise
            sizes = sizes | wide


def least(name: str) -> int:
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
