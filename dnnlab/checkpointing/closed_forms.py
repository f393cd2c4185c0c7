"""Closed forms for a chain of n equal stages: each forward takes 1, each output, record and gradient takes 1.

Numbers give numbers, symbols give SymPy expressions. Every one is the simulator's answer for the family of the same
name in `families`, which the tests hold against each other.
"""

from __future__ import annotations

from math import comb
from typing import NamedTuple

import sympy

from ..notation import Dim, dimension, expression, floor_div, is_bound, settle, smallest
from .chains import count


class Cost(NamedTuple):
    """Forwards that are run in all, what is kept when the forward pass ends, and the peak (in outputs)."""

    forwards: Dim
    saved: Dim
    peak: Dim


def store_all(n: object = "n") -> Cost:
    """Every record kept: beside the input and n records, two gradients are held in the last stage's backward.

    >>> store_all()
    Cost(forwards=n, saved=n + 1, peak=n + 3)
    """
    stages = dimension("n", n)
    return Cost(stages, stages + 1, stages + 3)


def store_none(n: object = "n") -> Cost:
    """Only the input kept: the forward pass is run again for every stage.

    >>> store_none().forwards, store_none(12)
    (n*(n + 1)/2, Cost(forwards=78, saved=3, peak=5))
    """
    stages = dimension("n", n)
    return Cost(settle(expression(stages) * (stages + 1) / 2), smallest(stages + 1, 3), smallest(stages + 3, 5))


def sequential(n: object = "n", k: object = "k") -> Cost:
    """PyTorch's `checkpoint_sequential` in k segments: the last is recorded and takes the rest.

    >>> sequential(12, 5)
    Cost(forwards=20, saved=9, peak=11)
    >>> [sequential(12, k).saved for k in range(1, 7)]
    [13, 8, 7, 7, 9, 8]
    """
    stages, segments = dimension("n", n), dimension("k", k)
    last = stages - (segments - 1) * floor_div(stages, segments)
    return Cost(2 * stages - last, segments + last, segments + last + 2)


def sqrt(n: object = "n") -> tuple[Dim, Dim]:
    """The number of equal segments that needs the least memory, and its peak, k a number and not whole: where the
    derivative of k + n/k + 2 by k is zero.

    >>> sqrt()
    (sqrt(n), 2*sqrt(n) + 2)
    """
    k = sympy.Symbol("k", positive=True)
    peak = k + expression(dimension("n", n)) / k + 2
    (best,) = (root for root in sympy.solve(sympy.diff(peak, k), k) if not root.could_extract_minus_sign())
    return settle(best), settle(sympy.simplify(peak.subs(k, best)))


def binomial(n: object = "n", c: object = "c", r: object = "r") -> Cost:
    """At most c tensors kept at a time, the chain's input among them, beside the input of the stage that runs; r is how
    often a stage is run again at most (`repeats(n, c)`, taken from n and c where they are numbers).

    >>> binomial().forwards
    n*r + n - binomial(c + r, r - 1)
    >>> binomial(12, 3)
    Cost(forwards=33, saved=5, peak=7)
    """
    stages, slots = dimension("n", n), dimension("c", c)
    if is_bound(stages) and is_bound(slots):
        r = repeats(int(stages), int(slots))
    times = expression(dimension("r", r, 0))
    extra = times * stages - sympy.binomial(slots + times, times - 1)
    return Cost(settle(stages + extra), smallest(stages, slots + 1) + 1, smallest(stages, slots + 1) + 3)


def reach(slots: int, times: int) -> int:
    """The longest chain that goes back with so many slots and every stage run again at most so many times:
    C(slots + times, slots).

    >>> reach(3, 2)
    10
    """
    return comb(slots + times, slots) if times >= 0 else 0


def repeats(n: int, slots: int) -> int:
    """The smallest r with C(slots + r, slots) >= n: how often some stage of n is run again, at the least.

    >>> repeats(10, 3), repeats(11, 3)
    (2, 3)
    """
    n, slots = count(n, "n"), count(slots, "slots")
    low, high = 0, 1
    while reach(slots, high) < n:
        low, high = high, 2 * high
    while low < high:  # C(slots + r, slots) grows with r
        middle = (low + high) // 2
        low, high = (low, middle) if reach(slots, middle) >= n else (middle + 1, high)
    return low


def extra_forwards(n: int, slots: int) -> int:
    """Forwards beyond the first n that going back through n stages takes at the least, with `slots` tensors kept at a
    time, the chain's input among them, beside what the running stage needs: r n - C(slots + r, r - 1) with
    r = `repeats(n, slots)` (Griewank and Walther 2000).

    >>> extra_forwards(10, 3), extra_forwards(12, 1)
    (15, 66)
    """
    r = repeats(n, slots)
    return r * int(n) - (comb(int(slots) + r, r - 1) if r else 0)
