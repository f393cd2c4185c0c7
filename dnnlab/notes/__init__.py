"""The tables of the lecture notes, every cell derived anew, with the note beside it and a verdict.

The notes' cells are data (data/notes.toml). What stands beside them comes from the layers' lines, and a
derivation is never adjusted to agree: where a note is short or loose, the cell says when it holds.
"""

from ..hardware import Device
from .cells import VERDICTS, Cell, bounded, compare, notes
from .common import DEVICE, layer_cells, layer_table
from .epoch import epoch_cells, epoch_table, symbol_cells, symbol_table


def cells(device: Device | None = None, dtype: str = "fp16", batch: int = 1) -> tuple[Cell, ...]:
    """Every cell of the notes' tables of layers, of an epoch and of symbols; see `layer_cells`.

    >>> [cell.verdict for cell in cells() if cell.row == "Convolution"]
    ['agrees', 'agrees', 'agrees']
    """
    return (*layer_cells(device, dtype, batch), *epoch_cells(), *symbol_cells())


__all__ = [
    "Cell",
    "VERDICTS",
    "DEVICE",
    "cells",
    "layer_cells",
    "layer_table",
    "epoch_cells",
    "epoch_table",
    "symbol_cells",
    "symbol_table",
    "compare",
    "bounded",
    "notes",
]
