"""The same counts as `axes`, as formulas: sizes and tiles may be symbols.

Exact where the windows of a tile leave no holes (the stride is at most the filter), no window lies wholly in the
border, each tile is at least as wide as the border beside it, and a filter index is split only where there is no
border. Where that is known to fail, or there is no closed form, an `ExtentError` says so. The size of the largest
tile is that of one clear of the border: the exact one is smaller by the border at most.
"""

from __future__ import annotations

from ..errors import ExtentError
from ..notation import Dim, ceil_div, largest, product, smallest
from .axes import Axis, Reach


def reach(axis: Axis, tiles: tuple[Dim, ...]) -> Reach:
    """Elements in the largest tile, summed over all tiles, and summed with overlaps kept, as formulas."""
    if not axis.names:
        return Reach(1, 1, ())
    high = axis.constant + sum(a * (e - 1) for a, e in zip(axis.steps, axis.extents, strict=True))
    left, right = -axis.constant, high - axis.size + 1  # width of the border that the windows reach into
    if len(axis.names) == 1:
        if _above(left) is not False or _above(right) is not False:
            raise ExtentError(f"{axis.names[0]!r} alone reaches over the border: bind all sizes")
        return Reach(tiles[0], axis.extents[0], (axis.extents[0],))
    whole = [tile == extent for tile, extent in zip(tiles, axis.extents, strict=True)]
    if len(axis.names) > 2 or not all(_above(step) for step in axis.steps):
        raise ExtentError(f"a subscript of {', '.join(axis.names)} has no closed form here: bind all sizes")
    length = 1 + sum(a * (tile - 1) for a, tile in zip(axis.steps, tiles, strict=True))
    counts = [ceil_div(extent, tile) for extent, tile in zip(axis.extents, tiles, strict=True)]
    union = smallest(axis.size, high + 1) - largest(0, axis.constant)
    if all(whole):
        return Reach(union, union, (union, union))
    if not any(whole):
        if _above(left) is not False or _above(right) is not False:
            raise ExtentError(f"{' and '.join(axis.names)} are both split, with a border: bind all sizes")
        spread = sum(
            a * (e - n) * product(m for other, m in enumerate(counts) if other != place)
            for place, (a, e, n) in enumerate(zip(axis.steps, axis.extents, counts, strict=True))
        )
        summed = spread + product(counts)
        return Reach(length, summed, (_slid(axis, counts, 0), _slid(axis, counts, 1)))
    place = whole.index(False)
    step, count = axis.steps[place], counts[place]
    window = axis.steps[1 - place] * (axis.extents[1 - place] - 1) + 1
    for border in (left, right):
        if isinstance(border, int) and isinstance(window, int) and border >= window:
            raise ExtentError(f"a border of {border} is wider than the window of {window}: bind all sizes")
    if isinstance(step, int) and isinstance(window, int) and step > window:
        raise ExtentError(f"a stride of {step} steps over the window of {window}: bind all sizes")
    # cut by cut the window is fetched again; only the outermost tiles meet a border
    summed = (axis.extents[place] - count) * step + count * window - largest(0, left) - largest(0, right)
    sliding = (union, summed) if place == 0 else (summed, union)
    return Reach(smallest(axis.size, length), summed, sliding)


def _slid(axis: Axis, counts: list[Dim], place: int) -> Dim:
    """Both indices split, no border: each sweep along one of them reaches every place of its window once."""
    other = 1 - place
    span = axis.steps[place] * (axis.extents[place] - 1) + 1
    return counts[other] * span + axis.steps[other] * (axis.extents[other] - counts[other])


def _above(value: Dim) -> bool | None:
    """Above zero? None where that is open."""
    if isinstance(value, int):
        return value > 0
    return True if value.is_positive else False if value.is_nonpositive else None
