"""Controls: each sets one field of an explorer's state, and shows it, by one widget or by two that agree."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import ipywidgets as widgets

from ..errors import ExtentError, quote

_STYLE = {"description_width": "4.6em"}  # room for the longest label
# A control is as wide as half of a narrow page, and grows: the browser makes two columns of them, or one.
_HALF = {"width": "auto", "flex": "1 1 250px", "min_width": "0"}


@dataclass(frozen=True)
class Handle:
    """One widget of a control. `read` turns its value, in a state, into one of the field; `show` is the other
    way round."""

    widget: widgets.ValueWidget
    read: Callable[[Any, Any], Any]
    show: Callable[[Any], None]


@dataclass(frozen=True)
class Choice:
    """A dropdown that sets `field`; its options, pairs of label and value, depend on the state.

    With `stepped` a slider beside it goes through the options in their order: arrow keys belong to JupyterLab
    while a dropdown is closed, but a slider has them.

    >>> Choice("dtype", "Dtype", lambda state: [("half", "fp16"), ("single", "fp32")]).offers(None)
    ['fp16', 'fp32']
    """

    field: str
    label: str
    options: Callable[[Any], Sequence[tuple[str, Hashable]]]
    stepped: bool = False

    def handles(self, state: Any) -> tuple[Handle, ...]:
        """Its widgets, made for a state."""
        options = self.options(state)
        layout = widgets.Layout(**_HALF)
        dropdown = widgets.Dropdown(description=self.label, options=options, style=_STYLE, layout=layout)

        def choose(now: Any) -> None:
            options = tuple(self.options(now))
            with dropdown.hold_sync():
                if options != dropdown.options:
                    dropdown.options = options
                dropdown.value = getattr(now, self.field)

        handle = Handle(dropdown, lambda now, value: value, choose)
        if not self.stepped:
            return (handle,)
        slider = widgets.IntSlider(
            min=0, max=len(options) - 1, readout=False, tooltip=f"{self.label}, one after the other",
            layout=widgets.Layout(width="auto", flex="1 1 90px", min_width="0"),
        )  # fmt: skip

        def step(now: Any) -> None:
            values = [value for _, value in self.options(now)]
            with slider.hold_sync():
                slider.max = len(values) - 1
                slider.value = values.index(getattr(now, self.field))

        return handle, Handle(slider, lambda now, index: self.options(now)[index][1], step)

    def offers(self, state: Any) -> list[str]:
        """The values it offers in a state, as text."""
        return [str(value) for _, value in self.options(state)]


@dataclass(frozen=True)
class Number:
    """A whole number from `low` to `high`, both powers of two: a slider that doubles it, and a box to type it.

    >>> Number("batch", "Batch", 1, 256).check(300)
    Traceback (most recent call last):
    ...
    dnnlab.errors.ExtentError: batch must be a whole number from 1 to 256, not 300
    """

    field: str
    label: str
    low: int
    high: int

    def check(self, value: object) -> None:
        """Raise ExtentError unless the value is a whole number in the range."""
        if not isinstance(value, int) or isinstance(value, bool) or not self.low <= value <= self.high:
            wanted = f"a whole number from {self.low} to {self.high}"
            raise ExtentError(f"{self.label.lower()} must be {wanted}, not {quote(value)}")

    def handles(self, state: Any) -> tuple[Handle, ...]:
        """Its widgets, made for a state."""
        # The slider counts doublings. A logarithmic one that holds the number itself would, in the browser, jump
        # from a typed 37 to 32, a place it can stand at, and send that back as if it had been moved.
        slider = widgets.IntSlider(
            description=self.label, min=math.log2(self.low), max=math.log2(self.high), readout=False, style=_STYLE,
            layout=widgets.Layout(width="auto", flex="1 1 150px", min_width="0"),
        )  # fmt: skip
        box = widgets.BoundedIntText(
            min=self.low, max=self.high, value=self.low, tooltip=f"{self.label}, {self.low} to {self.high}",
            layout=widgets.Layout(width="5em", flex="0 0 auto"),
        )  # fmt: skip

        def double(now: Any) -> None:
            slider.value = round(math.log2(getattr(now, self.field)))

        def type_in(now: Any) -> None:
            box.value = getattr(now, self.field)

        return (
            Handle(slider, lambda now, doublings: 2**doublings, double),
            Handle(box, lambda now, value: value, type_in),
        )


Control = Choice | Number


def row(handles: Sequence[Handle]) -> widgets.Widget:
    """The widgets of a control in one line."""
    first, *others = [handle.widget for handle in handles]
    return widgets.HBox([first, *others], layout=widgets.Layout(**_HALF)) if others else first
