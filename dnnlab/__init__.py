"""dnnlab: what deep networks cost, derived from one line of Python per layer."""

__version__ = "0.1.0"
