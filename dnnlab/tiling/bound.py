"""What no schedule can go below: the I/O bound of a multiply-accumulate nest on a memory of S elements.

A matrix product moves at least `2·M·N·K / sqrt(S) - 2·S` elements (red-blue pebble game: Hong and Kung 1981; the
constant: Smith, Lowery, Langou and van de Geijn 2019, arXiv:1702.02017). The argument cuts a run into parts that
read 2·S elements; in each at most 3·S elements are within reach, and by Loomis and Whitney no more than
`sqrt(|A|·|B|·|C|) <= S**1.5` products of them. (A result that starts from nothing instead of being read is charged
one read here, and pays for it with the write that the argument does not count.)

A convolution is that product of its unfolded input, of whose elements up to R are one element of the input, R being
the windows that share it. So a part does up to `sqrt(R) * S**1.5` products and the whole moves at least
`2·MACs / sqrt(R·S) - 2·S` (Chen et al., HPCA 2020; without constants and for more cases Demmel and Dinh 2018,
arXiv:1802.06905). Products with the border of zeros need no input and are left out.
"""

from __future__ import annotations

import math
from collections import Counter
from functools import lru_cache

from ..loopnest import LoopNest
from .axes import Axis
from .counting import operands


def io_bound(nest: LoopNest, capacity: int) -> int:
    """Elements that any schedule of the nest moves with `capacity` elements of on-chip memory, at least.

    0 for a nest the argument does not hold for: it needs three tensors, each loop moving at least two of them.

    >>> io_bound(LoopNest("out[n,k] += weight[k,c] * inp[n,c]", n=1024, k=1024, c=1024), 16384)
    16744448
    """
    tensors = operands(nest)
    if len(tensors) != 3 or any(sum(name in one.loops for one in tensors) < 2 for name in nest.extent):
        return 0
    products, shared = nest.iterations, 1
    for one in tensors:
        inside, most = zip(*(_windows(axis) for axis in one.axes), strict=True) if one.axes else ((), ())
        loops = math.prod(math.prod(axis.extents) for axis in one.axes)
        products -= nest.iterations // loops * (loops - math.prod(inside))
        shared *= math.prod(most)
    return max(0, math.isqrt(max(0, 4 * products * abs(products) // (shared * capacity))) - 2 * capacity)


@lru_cache(maxsize=4096)
def _windows(axis: Axis) -> tuple[int, int]:
    """How many combinations of an axis' indices lie inside the border, and at most how many in one place."""
    if len(axis.names) < 2:
        return axis.reach(axis.extents).summed, 1
    places = {axis.constant: 1}
    for step, extent in zip(axis.steps, axis.extents, strict=True):
        spread: Counter[int] = Counter()
        for at, count in places.items():
            for j in range(extent):
                spread[at + step * j] += count
        places = spread
    inside = [count for at, count in places.items() if 0 <= at < axis.size]
    return sum(inside), max(inside, default=1)
