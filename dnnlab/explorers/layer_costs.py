"""The layer-costs explorer: write a line of your own, or take a layer's, and see every cost that follows from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ..errors import ExtentError, quote, unknown
from ..figures import Canvas, CostDrawing
from .amounts import Handle, Number
from .controls import Choice, Line
from .layer_costs_model import EXAMPLES, LARGEST, Reading, State, least, model, settle
from .lines import LAYERS, OWN, costs_of
from .menus import DEVICE, machines
from .panel import Explorer, Panel

#: How to read the picture.
NOTE = (
    "Both parts of a bar are on one logarithmic scale, so they add up: numbers times uses of each gives how often a "
    "tensor is touched. A short solid part before a long hatched one means much work for each number that is "
    "fetched. A mark on a part says that it grows with the index looked at. In a line of your own, a tensor that is "
    "read without the index $n$ of the samples counts as a parameter; several lines are parted by a semicolon. "
    "Borders are counted as input, and every tensor crosses to memory once."
)


@dataclass(frozen=True)
class Extent(Number):
    """A `Number` that sets the size of the index looked at: one entry of `sizes`. A border may be 0."""

    def check(self, value: object, state: Any) -> None:
        """Raise ExtentError unless the value is pairs of a name and a whole number in the range."""
        if not isinstance(value, tuple) or not all(isinstance(pair, tuple) and len(pair) == 2 for pair in value):
            raise ExtentError(f"sizes must be pairs such as (('k', 64), ('c', 3)), not {quote(value)}")
        for name, size in value:
            replace(self, label=str(name), low=least(str(name)))._check(size)

    def handles(self, state: Any) -> tuple[Handle, ...]:
        """A slider of doublings, with a place for 0 below that of 1 where the size may be 0, and a box."""
        slider, box = (one.widget for one in Number("size", self.label, 1, self.high, doubling=True).handles(state))

        def read(now: State, size: int) -> tuple[tuple[str, int], ...]:
            return now.resized(**{now.index: size})

        def slide(now: State) -> None:
            _put(slider, now.size.bit_length() - 1, least(now.index) - 1)

        def type_in(now: State) -> None:
            low = least(now.index)
            _put(box, now.size, low)
            box.description = f"{self.label}, {low} to {self.high}"

        return Handle(slider, lambda now, n: read(now, 2**n if n >= 0 else 0), slide), Handle(box, read, type_in)

    def _check(self, size: object) -> None:
        super().check(size, None)


def _put(widget: Any, value: int, low: int) -> None:
    """Set the value of a widget and the least that it takes, in an order in which neither cuts the other."""
    with widget.hold_sync():
        widget.min = min(widget.min, low)
        widget.value = value
        widget.min = low


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


class Drawing:
    """The picture: built once, redrawn for each reading."""

    def __init__(self) -> None:
        self.canvas = Canvas(480, 240)
        self._drawing = CostDrawing(self.canvas.axes(0.02, 0.11, 0.95, 0.79))

    def png(self, reading: Reading) -> bytes:
        """The picture of a reading."""
        self._drawing.update(reading.bars, reading.state.index)
        return self.canvas.png(*self._drawing.layers)


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
