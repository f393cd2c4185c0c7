"""dnnlab: what deep networks cost, derived from one line of Python per layer."""

from . import zoo
from .bounds import LayerTime, NetworkTime, Roofline, crossing, on, roofline, upgrades
from .hardware import Device, Memory, device, devices, energy, memories
from .layers import *
from .loopnest import LoopNest
from .networks import Builder, Network
from .program import Program

__version__ = "0.1.0"
