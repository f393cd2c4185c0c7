"""Double buffering: pipelines of load, compute and store, exactly, in formulas, and measured on this machine."""

from .closed_forms import EqualTiles, equal_levels, equal_tiles
from .engine import pipeline, pipeline_levels
from .hierarchy import device_pipeline
from .overlap import Overlap, measured_overlap
from .runner import Run, run_pipeline
from .schedule import Schedule, Stall
from .tradeoff import Tradeoff, tradeoff

__all__ = [
    "EqualTiles", "Overlap", "Run", "Schedule", "Stall", "Tradeoff", "device_pipeline", "equal_levels",
    "equal_tiles", "measured_overlap", "pipeline", "pipeline_levels", "run_pipeline", "tradeoff",
]  # fmt: skip
