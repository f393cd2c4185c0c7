"""The base of every explorer: it joins controls, a pure model function and a picture into a widget panel.

An explorer is a frozen state, controls that each set one field of it, a function that makes any state a
valid one, and a function from a state to a `Reading`: words, a table and whatever the picture shows. None of
these know of widgets; a `Panel` does the rest, alike for all of them.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import partial
from html import escape
from typing import Any, Protocol
from weakref import WeakValueDictionary

import ipywidgets as widgets
from traitlets import Unicode

from ..errors import DnnlabError, unknown
from ..figures import Canvas
from ..tables import Table
from .amounts import Handle
from .controls import Choice, Control, align, row

# An exception that Jupyter's callbacks swallow would let a test pass: with this set, errors are raised.
STRICT = "DNNLAB_STRICT"
_PROSE = "line-height:1.4;margin:0.2em 0"


class Reading(Protocol):
    """What the model says of a state: the verdict, the same as a table, and the picture in words.

    It may have a `formula` too, HTML with LaTeX between dollars, which stands below the sentence.
    """

    @property
    def sentence(self) -> str: ...
    @property
    def table(self) -> Table: ...
    @property
    def alt(self) -> str: ...


class Picture(Protocol):
    """A figure that is built once and follows the readings."""

    canvas: Canvas

    def png(self, reading: Any) -> bytes: ...


@dataclass(frozen=True)
class Explorer:
    """All that makes an explorer, without a widget.

    `settle` turns any combination of control values into a valid state; `model` is pure; `picture` is called
    once for each panel. `note` says how to read the picture, in HTML with LaTeX between dollars.
    """

    name: str
    state: Any
    controls: tuple[Control, ...]
    settle: Callable[[Any], Any]
    model: Callable[[Any], Reading]
    picture: Callable[[], Picture]
    note: str = ""


class _Image(widgets.Image):
    """The Image of ipywidgets, which has no alternative text: its view turns `tooltip` into a title, which
    screen readers read out, but only where there is an empty `description`, which the Image lacks too."""

    description = Unicode("").tag(sync=True)


# A panel lives as long as its widgets; a second one of the same name, so a second run of the cell, closes it.
_open: WeakValueDictionary[str, Panel] = WeakValueDictionary()


class Panel:
    """The widgets of an explorer, shown as the last value of a cell.

    `state` and `reading` are what the panel shows; `widgets` are its controls by field (a number has two,
    slider and box). With `strict`, errors are raised as well as shown; the default is the environment's
    DNNLAB_STRICT. Raises whatever the model raises for the first state.

    >>> from dnnlab.explorers import roofline
    >>> panel = roofline("alexnet", "t4", "fp16", batch=1)
    >>> panel.set(batch=64)
    >>> panel.state.batch, panel.widgets["batch"][1].value
    (64, 64)
    >>> panel.close()
    """

    def __init__(self, explorer: Explorer, strict: bool | None = None) -> None:
        self.explorer = explorer
        self.strict = os.environ.get(STRICT, "0") != "0" if strict is None else strict
        # a choice may be left open, for the explorer to settle
        self._check(explorer.state, [one.field for one in explorer.controls if not isinstance(one, Choice)])
        self.state = explorer.settle(explorer.state)
        self.reading = explorer.model(self.state)
        self._picture = explorer.picture()
        if explorer.name in _open:
            _open[explorer.name].close()
        _open[explorer.name] = self
        self._handles = {control.field: control.handles(self.state) for control in explorer.controls}
        align(explorer.controls, list(self._handles.values()))
        self.widgets = {field: tuple(h.widget for h in handles) for field, handles in self._handles.items()}
        canvas = self._picture.canvas
        # As attributes, width and height tell the browser the shape before the picture has loaded: no jumps.
        box = widgets.Layout(max_width="100%", height="auto", margin="0")
        self.image = _Image(format="png", width=str(canvas.width), height=str(canvas.height), layout=box)
        self.sentence, self.table, self.error = (widgets.HTML() for _ in range(3))
        self.formula = widgets.HTMLMath() if hasattr(self.reading, "formula") else None
        self.table.add_class("jp-RenderedHTMLCommon")  # JupyterLab's own look of a table
        self.widget = self._arranged()
        self._following = False
        self._follow()
        self._show()
        self._say("")
        for field, handles in self._handles.items():
            for handle in handles:
                # Only `value`: the browser holds back what the kernel cannot keep up with, so the last wins.
                handle.widget.observe(partial(self._moved, field, handle), names="value")

    def set(self, **fields: Any) -> None:
        """Set fields of the state, as the controls do.

        Raises UnknownNameError for a field without a control or a value that its control does not offer in
        this state, ExtentError for a number out of range, and what the model raises; then nothing changes.
        """
        for field in fields:
            if field not in self.widgets:
                raise unknown("control", field, self.widgets)
        wanted = replace(self.state, **fields)
        self._check(wanted, fields)
        self._go(lambda: wanted, strict=True)

    def _check(self, state: Any, fields: Collection[str]) -> None:
        """Refuse values that no control could give; what a choice offers depends on the settled state."""
        for control in self.explorer.controls:
            value = getattr(state, control.field)
            if control.field not in fields:
                continue
            if not isinstance(control, Choice):
                control.check(value, state)
            elif value != getattr(settled := self.explorer.settle(state), control.field):
                raise unknown(control.label.lower(), value, control.offers(settled))

    # -- what happens when a control moves -----------------------------------------------------------------

    def _moved(self, field: str, handle: Handle, change: dict[str, Any]) -> None:
        if not self._following:
            self._go(lambda: replace(self.state, **{field: handle.read(self.state, change["new"])}), self.strict)

    def _go(self, wanted: Callable[[], Any], strict: bool) -> None:
        try:
            state = self.explorer.settle(wanted())
            if state != self.state:
                self.reading = self.explorer.model(state)
                self.state = state
                self._show()
            self._say("")
        except DnnlabError as error:
            self._say(str(error))
            if strict:
                raise
        except Exception as error:
            # Jupyter would hide it in a log: whatever it is, the student must see that something broke.
            self._say(f"a fault in this explorer, not in your setting: {type(error).__name__}: {error}")
            if strict:
                raise
        finally:
            self._follow()

    def _show(self) -> None:
        self.image.value = self._picture.png(self.reading)
        self.image.tooltip = self.reading.alt
        # A status is read out when it changes.
        self.sentence.value = f'<p role="status" style="{_PROSE}">{escape(self.reading.sentence)}</p>'
        self.table.value = self.reading.table.html()
        if self.formula is not None:
            self.formula.value = (
                f'<p style="{_PROSE};overflow-wrap:anywhere">{getattr(self.reading, "formula", "")}</p>'
            )

    def _say(self, problem: str) -> None:
        text = f"{problem}. The panel still shows the setting before." if problem else ""
        self.error.value = f'<p role="alert" style="{_PROSE}"><b>⚠ {escape(text)}</b></p>' if text else ""
        self.error.layout.display = "" if text else "none"

    def _follow(self) -> None:
        """Let every control show the state: options that depend on it, slider and box of one number alike."""
        self._following = True
        try:
            for handles in self._handles.values():
                for handle in handles:
                    handle.show(self.state)
        finally:
            self._following = False

    # -- on the page ---------------------------------------------------------------------------------------

    def _arranged(self) -> widgets.Widget:
        """Controls beside the picture where the page is wide, in two columns above it where it is not, and in
        one on a telephone: the browser wraps the boxes by itself."""
        layout = widgets.Layout
        rows = [row(control, self._handles[control.field]) for control in self.explorer.controls]
        controls = widgets.Box(rows, layout=layout(flex_flow="row wrap", width="100%"))
        words = [self.error, self.sentence] if self.formula is None else [self.error, self.sentence, self.formula]
        left = widgets.VBox([controls, *words], layout=layout(flex="1 1 290px", min_width="0"))
        right = widgets.Box([self.image], layout=layout(flex="0 1 auto", min_width="0"))
        top = widgets.Box([left, right], layout=layout(flex_flow="row wrap", align_items="flex-start"))
        note = widgets.HTMLMath(f'<p style="{_PROSE}">{self.explorer.note}</p>')
        below = widgets.Accordion([widgets.VBox([note, self.table])], titles=("The numbers as a table",))
        return widgets.VBox([top, below], layout=layout(width="100%"))

    def close(self) -> None:
        """Take the panel off the page and free its widgets."""
        waiting: list[widgets.Widget] = [self.widget]
        while waiting:
            widget = waiting.pop()
            waiting += getattr(widget, "children", ())
            # A layout and a style are widgets too, without either of their own.
            parts = getattr(widget, "layout", None), getattr(widget, "style", None)
            waiting += [part for part in parts if part is not None]
            widget.unobserve_all()
            widget.close()

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        """The live widgets, and for a page without a kernel the picture as it is now, with its words."""
        png = base64.b64encode(bytes(self.image.value)).decode("ascii")
        canvas = self._picture.canvas
        bundle: dict[str, Any] = {
            "text/plain": f"{self.explorer.name} explorer: run this cell in Jupyter to move its controls",
            "image/png": png,
            # Exported pages prefer this one, the only one in which they keep an alternative text.
            "text/html": (
                f'<figure style="margin:0"><img src="data:image/png;base64,{png}" alt="{escape(self.reading.alt)}" '
                f'width="{canvas.width}" height="{canvas.height}" style="max-width:100%;height:auto">'
                f"<figcaption>{escape(self.reading.sentence)}</figcaption></figure>"
            ),
        }
        if self.widget.comm is not None:
            view = {"version_major": 2, "version_minor": 0, "model_id": self.widget.model_id}
            bundle["application/vnd.jupyter.widget-view+json"] = view
        return bundle
