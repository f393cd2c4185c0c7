"""Controls: each sets one field of an explorer's state, and shows it, by one widget or by several that agree.

`Choice` is one of some options, `Number` a whole number, `Amount` a quantity with a unit, `Switch` yes or no, `Line` a
line of text, and `Marks` a row of places that are marked or not.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import ipywidgets as widgets

from ..errors import ExtentError, quote
from .amounts import HALF, STYLE, Amount, Handle, Number


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
        layout = widgets.Layout(**HALF)
        dropdown = widgets.Dropdown(description=self.label, options=options, style=STYLE, layout=layout)

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
class Switch:
    """Yes or no: a checkbox."""

    field: str
    label: str

    def check(self, value: object, state: Any) -> None:
        """Raise ExtentError unless the value is True or False."""
        if not isinstance(value, bool):
            raise ExtentError(f"{self.label.lower()} must be True or False, not {quote(value)}")

    def handles(self, state: Any) -> tuple[Handle, ...]:
        """Its widget, made for a state."""
        box = widgets.Checkbox(description=self.label, indent=False, layout=widgets.Layout(**HALF))

        def tick(now: Any) -> None:
            box.value = getattr(now, self.field)

        return (Handle(box, lambda now, value: value, tick),)


@dataclass(frozen=True)
class Line:
    """A line of text, which takes effect when Enter is pressed or the box is left.

    `examples` are texts that it takes; an empty box shows the first.
    """

    field: str
    label: str
    examples: tuple[str, ...] = ()

    def check(self, value: object, state: Any) -> None:
        """Raise ExtentError unless the value is a text."""
        if not isinstance(value, str):
            raise ExtentError(f"{self.label.lower()} must be a text, not {quote(value)}")

    def handles(self, state: Any) -> tuple[Handle, ...]:
        """Its widget, made for a state."""
        box = widgets.Text(
            description=self.label, placeholder=next(iter(self.examples), ""), continuous_update=False, style=STYLE,
            layout=widgets.Layout(width="auto", flex="1 1 100%", min_width="0"),
        )  # fmt: skip

        def write(now: Any) -> None:
            box.value = getattr(now, self.field)

        return (Handle(box, lambda now, value: value, write),)


@dataclass(frozen=True)
class Marks:
    """A row of up to `most` buttons, each marked or not: a tuple of bools as long as `names(state)`.

    Every button is made at once, and those that a state has no name for are hidden, so that no widget is made while
    the panel lives.
    """

    field: str
    label: str
    names: Callable[[Any], Sequence[str]]
    most: int

    def check(self, value: object, state: Any) -> None:
        """Raise ExtentError unless the value is one bool for each name."""
        count = len(self.names(state))
        if not isinstance(value, tuple) or len(value) != count or not all(isinstance(mark, bool) for mark in value):
            raise ExtentError(f"{self.label.lower()} must be {count} times True or False, not {quote(value)}")

    def handles(self, state: Any) -> tuple[Handle, ...]:
        """Its widgets, made for a state."""
        return tuple(self._button(place) for place in range(self.most))

    def _button(self, place: int) -> Handle:
        button = widgets.ToggleButton(
            tooltip=f"{self.label} {place + 1}", layout=widgets.Layout(width="auto", min_width="2.4em", padding="0 4px")
        )

        def press(now: Any) -> None:
            names, marks = self.names(now), getattr(now, self.field)
            there = place < len(names)
            button.layout.display = "" if there else "none"
            if there:
                button.description = names[place]
                button.value = marks[place]
                button.icon = "check" if marks[place] else ""  # never colour alone

        def read(now: Any, value: bool) -> tuple[bool, ...]:
            marks = getattr(now, self.field)
            return (*marks[:place], value, *marks[place + 1 :])

        return Handle(button, read, press)


Control = Choice | Number | Amount | Switch | Line | Marks


def align(controls: Sequence[Control], handles: Sequence[Sequence[Handle]]) -> None:
    """Give the labels of all controls the room that the longest one takes."""
    longest = max(len(control.label) for control in controls)
    for first, *_ in handles:
        if getattr(first.widget.style, "description_width", "") == STYLE["description_width"] and longest > 7:
            first.widget.style.description_width = f"{0.64 * longest:.1f}em"


def row(control: Control, handles: Sequence[Handle]) -> widgets.Widget:
    """The widgets of a control in one line; many of them under their label, as many lines as they take."""
    members = [handle.widget for handle in handles]
    if isinstance(control, Marks):
        label = widgets.Label(control.label, layout=widgets.Layout(flex="0 0 auto"))
        return widgets.Box(
            [label, *members], layout=widgets.Layout(flex_flow="row wrap", flex="1 1 100%", min_width="0")
        )
    return widgets.HBox(members, layout=widgets.Layout(**HALF)) if len(members) > 1 else members[0]
