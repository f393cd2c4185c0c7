"""Controls of numbers, a slider and a box to type in: `Number` is a whole one, `Amount` a quantity with a unit.

Beside them what all controls share: the `Handle` of a widget, and how wide things are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ipywidgets as widgets

from ..errors import ExtentError, quote
from ..quantities import read_quantity, show

STYLE = {"description_width": "4.6em"}  # room for seven letters
# The label of a box beside a slider has no width: a screen reader says it, but not a box's tooltip.
_UNSEEN = {"description_width": "0"}
# A control is as wide as half of a narrow page, and grows: the browser makes two columns of them, or one.
HALF = {"width": "auto", "flex": "1 1 250px", "min_width": "0"}


@dataclass(frozen=True)
class Handle:
    """One widget of a control. `read` turns its value, in a state, into one of the field; `show` is the other
    way round."""

    widget: widgets.ValueWidget
    read: Callable[[Any, Any], Any]
    show: Callable[[Any], None]


@dataclass(frozen=True)
class Number:
    """A whole number from `low` to `high`: a slider, and a box to type it.

    With `doubling` the slider goes from one power of two to the next, and both ends are powers of two; the box takes
    every number between. Where `applies` says no for a state, the number plays no part in it and cannot be moved.

    >>> Number("batch", "Batch", 1, 256, doubling=True).check(300, None)
    Traceback (most recent call last):
    ...
    dnnlab.errors.ExtentError: batch must be a whole number from 1 to 256, not 300
    """

    field: str
    label: str
    low: int
    high: int
    doubling: bool = False
    applies: Callable[[Any], bool] = lambda state: True

    def check(self, value: object, state: Any) -> None:
        """Raise ExtentError unless the value is a whole number in the range."""
        if not isinstance(value, int) or isinstance(value, bool) or not self.low <= value <= self.high:
            wanted = f"a whole number from {self.low} to {self.high}"
            name = self.label.partition(",")[0].lower()  # without its unit
            raise ExtentError(f"{name} must be {wanted}, not {quote(value)}")

    def handles(self, state: Any) -> tuple[Handle, ...]:
        """Its widgets, made for a state."""
        # A doubling slider counts doublings. A logarithmic one that holds the number itself would, in the browser,
        # jump from a typed 37 to 32, a place it can stand at, and send that back as if it had been moved.
        step = (lambda n: round(math.log2(n))) if self.doubling else int
        place = (lambda n: 2**n) if self.doubling else int
        slider = _slider(self.label, step(self.low), step(self.high))
        box = widgets.BoundedIntText(
            min=self.low, max=self.high, value=self.low, description=f"{self.label}, {self.low} to {self.high}",
            style=_UNSEEN, layout=widgets.Layout(width="5em", flex="0 0 auto"),
        )  # fmt: skip

        def slide(now: Any) -> None:
            slider.disabled = not self.applies(now)
            slider.value = step(getattr(now, self.field))

        def type_in(now: Any) -> None:
            box.disabled = not self.applies(now)
            box.value = getattr(now, self.field)

        return Handle(slider, lambda now, n: place(n), slide), Handle(box, lambda now, value: value, type_in)


#: Where the slider of an amount can stand in each decade.
_STOPS = (1, 1.25, 1.6, 2, 2.5, 3.2, 4, 5, 6.4, 8)


@dataclass(frozen=True)
class Amount:
    """A quantity from `low` to `high` in a unit: a slider in ten steps a decade, and a box that reads `400 GB/s`.

    `low` is where a step of the slider is, such as 1e9 or 2e9. With `binary`, bytes are shown in GiB.

    >>> Amount("bandwidth", "Memory", "B/s", 1e9, 1e13).check(5, None)
    Traceback (most recent call last):
    ...
    dnnlab.errors.ExtentError: memory must be from 1 GB/s to 10 TB/s, not 5
    """

    field: str
    label: str
    unit: str
    low: float
    high: float
    binary: bool = False

    def check(self, value: object, state: Any) -> None:
        """Raise ExtentError unless the value is a number in the range."""
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not self.low <= value <= self.high:  # type: ignore[operator]
            ends = f"from {self._shown(self.low)} to {self._shown(self.high)}"
            raise ExtentError(f"{self.label.lower()} must be {ends}, not {quote(value)}")

    def handles(self, state: Any) -> tuple[Handle, ...]:
        """Its widgets, made for a state."""
        slider = _slider(self.label, 0, self._place(self.high))
        box = widgets.Text(
            continuous_update=False, description=f"{self.label}, such as {self._shown(self.low)}",
            style=_UNSEEN, layout=widgets.Layout(width="7em", flex="0 0 auto"),
        )  # fmt: skip

        def slide(now: Any) -> None:
            slider.value = self._place(getattr(now, self.field))

        def type_in(now: Any) -> None:
            box.value = self._shown(getattr(now, self.field))

        def read(now: Any, text: str) -> float:
            if text == self._shown(getattr(now, self.field)):
                return float(getattr(now, self.field))  # what is shown is rounded
            value = float(read_quantity(text, self.unit))
            self.check(value, now)
            return value

        return Handle(slider, lambda now, place: self._stop(place), slide), Handle(box, read, type_in)

    def _stop(self, place: int) -> float:
        """The amount at a place of the slider."""
        first = self._index(self.low)
        decade, step = divmod(first + place, len(_STOPS))
        return min(self.high, float(f"{_STOPS[step]}e{decade}"))

    def _place(self, value: float) -> int:
        """The place of the slider that is nearest to an amount."""
        return self._index(value) - self._index(self.low)

    def _index(self, value: float) -> int:
        return round(len(_STOPS) * math.log10(value)) if value > 0 else 0

    def _shown(self, value: float) -> str:
        return show(value, self.unit, binary=self.binary)


def _slider(label: str, low: int, high: int) -> widgets.IntSlider:
    return widgets.IntSlider(
        description=label, tooltip=label, min=low, max=high, readout=False, style=STYLE,
        layout=widgets.Layout(width="auto", flex="1 1 150px", min_width="0"),
    )  # fmt: skip
