"""Bytes, exactly, and how the tables of this package show them."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from ..notation import Dim, is_bound, plain, ratio
from ..quantities import bytes_of, show


def bytes_for(elements: Dim, dtype: str) -> Dim:
    """Bytes of so many elements, without a float: three of int4 are 3/2.

    >>> bytes_for(6, "fp32"), bytes_for(3, "int4")
    (24, Fraction(3, 2))
    """
    return ratio(elements * Fraction(bytes_of(dtype)).numerator, Fraction(bytes_of(dtype)).denominator)


def size(value: Any) -> str:
    """Bytes with a prefix, or as a formula while symbols are open."""
    return show(value, "B") if is_bound(value) else f"{plain(value)} B"


def percent(value: Any) -> str:
    """A share as a percentage; from ten times the whole on, how many times that is."""
    share = float(value)
    return f"{share:.1%}" if share < 10 else f"{share:,.0f}×"
