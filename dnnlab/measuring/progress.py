"""How far a long measurement is: a bar in Jupyter, one line on a terminal, nothing where nobody looks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import Any

#: Takes the part that is done, from 0 to 1, and what is being done.
Progress = Callable[[float, str], None]

_BLOCKS = 24  # of the bar on a terminal


@contextmanager
def shown(progress: Progress | None = None) -> Iterator[Progress]:
    """A progress that never runs backwards, stays within 0 and 1, and stands at 1 when the work inside is done.

    It is told to `progress`; without one it is shown to whoever waits, and taken away in the end, so that a stored
    notebook keeps no bar. Work that fails is not reported as done.

    >>> with shown(lambda part, doing: print(f"{part:.0%} {doing}")) as step:
    ...     step(0.5, "multiplying")
    ...     step(0.2, "adding")
    50% multiplying
    50% adding
    100% done
    """
    tell, end = (progress, _nothing) if progress is not None else _display()
    reached = 0.0

    def step(part: float, doing: str) -> None:
        nonlocal reached
        reached = min(1.0, max(reached, part))
        tell(reached, doing)

    try:
        yield step
        step(1.0, "done")
    finally:
        end()


def _nothing(*_: object) -> None:
    """No display, or nothing to take away."""


def _display() -> tuple[Progress, Callable[[], None]]:
    """Where somebody looks: how to show a step, and how to take the display away."""
    shell = _kernel()
    if shell is not None:
        return _bar()
    if sys.stderr is not None and sys.stderr.isatty():
        return _line, lambda: _write("\r\033[K")
    return _nothing, _nothing


def _kernel() -> Any:
    """The shell of a Jupyter kernel, None elsewhere. IPython is not imported for it: a kernel has done so."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell if shell is not None and hasattr(shell, "kernel") else None


def _bar() -> tuple[Progress, Callable[[], None]]:
    """The browser's own progress bar, in an output that is emptied in the end.

    It needs no widget, so it also shows where widgets do not, and no dead widget stays in the stored notebook.
    """
    from IPython.display import display

    def bundle(html: str, text: str) -> dict[str, str]:
        return {"text/html": html, "text/plain": text}

    handle = display(bundle(bar(0.0, ""), ""), raw=True, display_id=True)
    return (
        lambda part, doing: handle.update(bundle(bar(part, doing), f"{part:.0%} {doing}"), raw=True),
        lambda: handle.update(bundle("", ""), raw=True),
    )


def bar(part: float, doing: str) -> str:
    """The bar as HTML.

    >>> bar(0.25, "matrix products")
    '<progress max="1" value="0.250" aria-label="progress"></progress> 25% · matrix products'
    """
    return f'<progress max="1" value="{part:.3f}" aria-label="progress"></progress> {part:.0%} · {escape(doing)}'


def _line(part: float, doing: str) -> None:
    full = round(part * _BLOCKS)
    _write(f"\r\033[K[{'#' * full}{'.' * (_BLOCKS - full)}] {part:4.0%}  {doing[:48]}")


def _write(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
