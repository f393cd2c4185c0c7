"""Pictures of results, drawn on given axes: matplotlib without pyplot, so nothing global is touched."""

from .canvas import Canvas, Layer
from .roofline import RooflineDrawing

__all__ = ["Canvas", "Layer", "RooflineDrawing"]
