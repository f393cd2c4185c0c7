"""dnnlab: what deep networks cost, derived from one line of Python per layer."""

from .layers import *
from .loopnest import LoopNest

__version__ = "0.1.0"
