"""Driving an explorer without a browser, along the path that the browser uses: `set_state` on its widgets."""

from __future__ import annotations

import gc
import io
import random
from collections.abc import Iterator
from html import escape
from typing import Any

import ipywidgets as widgets
import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from dnnlab.explorers import Amount, Line, Panel
from dnnlab.quantities import show

Message = dict[str, Any]


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def open_widgets() -> int:
    return len(widgets.Widget.get_manager_state()["state"])


def figures() -> int:
    return sum(isinstance(thing, Figure) for thing in gc.get_objects())


def messages(control: Any, widget: widgets.Widget) -> list[Message]:
    """What a browser can say about a widget: every option, the ends and places between, what may be typed."""
    if isinstance(widget, widgets.Dropdown):
        return [{"index": place} for place in range(len(widget.options))]
    if isinstance(widget, widgets.IntSlider | widgets.BoundedIntText):
        ends, spread = (widget.min, widget.max), random.Random(widget.max)
        return [{"value": n} for n in (*ends, *(spread.randint(*ends) for _ in range(6)), *ends)]
    if isinstance(widget, widgets.Checkbox | widgets.ToggleButton):
        return [{"value": True}, {"value": False}, {"value": True}]
    if isinstance(control, Amount):
        middle = (control.low * control.high) ** 0.5
        return [{"value": show(x, control.unit, binary=control.binary)} for x in (control.low, control.high, middle)]
    assert isinstance(control, Line) and control.examples, f"no way to move {control}"
    return [{"value": text} for text in control.examples]


def hidden(widget: widgets.Widget) -> bool:
    return widget.layout.display == "none"


def moves(panel: Panel, field: str) -> Iterator[tuple[widgets.Widget, Message]]:
    """Every message about a control, as long as its widget is shown."""
    control = next(one for one in panel.explorer.controls if one.field == field)
    for widget in panel.widgets[field]:
        for message in messages(control, widget):
            if not hidden(widget):
                yield widget, message


def agrees(panel: Panel) -> None:
    """The panel shows what the model says of its state, and its controls show that state."""
    expected = panel.explorer.model(panel.state)
    assert panel.error.layout.display == "none", panel.error.value
    assert panel.explorer.settle(panel.state) == panel.state
    assert panel.sentence.value.endswith(f">{escape(expected.sentence)}</p>")
    assert panel.table.value == expected.table.html()
    assert panel.image.tooltip == expected.alt and expected.alt
    for field, handles in panel._handles.items():
        for handle in handles:
            if not hidden(handle.widget):
                before = handle.widget.get_state()
                handle.show(panel.state)
                assert handle.widget.get_state() == before, f"{field} does not show the state"


def texts(panel: Panel) -> list[Any]:
    """Every visible text of the picture with its box in pixels."""
    figure = panel._picture.canvas.figure
    found = figure.findobj(lambda artist: isinstance(artist, Text) and artist.get_visible())
    words = [text for text in found if isinstance(text, Text) and text.get_text().strip()]
    return [(text.get_text(), text.get_window_extent()) for text in words]
