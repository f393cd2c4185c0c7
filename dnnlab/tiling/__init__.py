"""Tiling: what moves between memory and chip when the operands of a loop nest do not fit on the chip.

`traffic` counts for a tile and a loop order, `best_tiling` searches for the best of them, `moved` is its answer in
one number. The rooms: `axes` (one subscript, counted) and `closed` (the same as formulas) under `counting`, `bound`
(what no schedule can go below), `search` (one nest), `best` (layers and networks) and `report` (what it found).
"""

from .best import best_tiling, moved
from .bound import io_bound
from .counting import TensorTraffic, Tiling, Traffic, stationary, traffic
from .report import LayerTiling, LineTiling, NetworkTiling

__all__ = [
    "LayerTiling", "LineTiling", "NetworkTiling", "TensorTraffic", "Tiling", "Traffic",
    "best_tiling", "io_bound", "moved", "stationary", "traffic",
]  # fmt: skip
