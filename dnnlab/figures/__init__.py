"""Pictures of results, drawn on given axes: matplotlib without pyplot, so nothing global is touched."""

from .canvas import Canvas, Layer
from .costs import Bar, CostDrawing
from .dependencies import DependencyDrawing, FeatureMap
from .lanes import Block, Lane, Lanes, LanesDrawing, Mark, Wait
from .memory import MemoryDrawing, Scene
from .memory_trace import MemoryTrace, Stretch, TraceDrawing
from .phases import PhasesDrawing
from .roofline import RooflineDrawing
from .schedules import Still, picture

__all__ = [
    "Bar",
    "Block",
    "CostDrawing",
    "Canvas",
    "DependencyDrawing",
    "FeatureMap",
    "Lane",
    "Lanes",
    "LanesDrawing",
    "Layer",
    "Mark",
    "MemoryDrawing",
    "MemoryTrace",
    "PhasesDrawing",
    "RooflineDrawing",
    "Scene",
    "Still",
    "Stretch",
    "TraceDrawing",
    "Wait",
    "picture",
]
