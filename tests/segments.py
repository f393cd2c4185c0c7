"""Random plans as nested segments, for tests that run them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st


@st.composite
def segments(draw: st.DrawFn, first: int, stop: int, depth: int = 3) -> tuple[Any, ...]:
    """Stages `first` to `stop` - 1 in order, any runs of them wrapped, and wrapped again."""
    items: list[Any] = []
    while first < stop:
        end = draw(st.integers(first + 1, stop))
        if depth and draw(st.booleans()):
            items.append(draw(segments(first, end, depth - 1)))
        else:
            items += range(first, end)
        first = end
    return tuple(items)
