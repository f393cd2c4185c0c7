"""Does it fit, and what if it does not? Footprints by part, lives of activations, and where weights may lie.

    >>> from dnnlab import device, zoo
    >>> from dnnlab.memory import fits
    >>> print(fits(zoo.resnet50(batch=8), device("t4")).sentence())
    ResNet-50 fits on NVIDIA T4: it needs 191 MB of the 16 GB of vram, which leaves 15.8 GB. Most of it is parameters \
(102 MB).
"""

from .cache import Cache, kv_cache
from .fit import Fit, fits, largest_batch
from .footprint import Footprint, Part, footprint
from .lives import Life, Lives, lives
from .placement import Placement, place
from .sharding import Sharding, zero
from .spilling import Spill, spill
from .step import Moment, training_step
from .technologies import Budget, Price, afford, compare, price
from .transformer import TransformerLayer, transformer_layer, transformer_layer_saved

__all__ = [
    "Budget", "Cache", "Fit", "Footprint", "Life", "Lives", "Moment", "Part", "Placement", "Price", "Sharding", "Spill",
    "TransformerLayer", "afford", "compare", "fits", "footprint", "kv_cache", "largest_batch", "lives", "place",
    "price", "spill", "training_step", "transformer_layer", "transformer_layer_saved", "zero",
]  # fmt: skip
