"""The catalogue: each layer is its lines, a sentence and its default symbols."""

from .attention import (
    FeedForward,
    MultiHeadAttention,
    ScaledDotProductAttention,
    Softmax,
)
from .base import Layer
from .convolution import Conv1d, Conv2d, ConvTranspose2d, DepthwiseConv2d, PointwiseConv2d
from .elementwise import (
    GELU,
    Concatenate,
    Dropout,
    Flatten,
    HardSwish,
    LeakyReLU,
    Pointwise,
    PReLU,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Tanh,
)
from .embeddings import AddEmbedding, Embedding, RotaryEmbedding
from .linear import BatchedLinear, Linear
from .moving import Copy, Given, Unknown, View, Viewed
from .normalization import BatchNorm2d, GroupNorm, LayerNorm, RMSNorm
from .optimizers import SGD, Adam, Momentum
from .pairwise import Add, Divide, Multiply, Subtract
from .pooling import AdaptiveAvgPool2d, AvgPool2d, GlobalAvgPool2d, MaxPool2d
from .products import MatrixProduct
from .reductions import Mean, Sum

#: Every layer of the catalogue by name.
CATALOGUE: dict[str, type[Layer]] = {
    cls.__name__: cls
    for cls in (
        *(Conv2d, DepthwiseConv2d, PointwiseConv2d, Conv1d, ConvTranspose2d, Linear, BatchedLinear),
        *(MaxPool2d, AvgPool2d, AdaptiveAvgPool2d, GlobalAvgPool2d, BatchNorm2d, LayerNorm, RMSNorm),
        *(ReLU, ReLU6, LeakyReLU, PReLU, Sigmoid, Tanh, HardSwish, GELU, SiLU, Softmax, Dropout),
        *(Embedding, AddEmbedding, RotaryEmbedding, Add, Multiply, Concatenate, Flatten),
        *(ScaledDotProductAttention, MultiHeadAttention, FeedForward, SGD, Momentum, Adam),
    )
}

__all__ = [
    "CATALOGUE",
    "Layer",
    "Conv2d",
    "DepthwiseConv2d",
    "PointwiseConv2d",
    "Conv1d",
    "ConvTranspose2d",
    "Linear",
    "BatchedLinear",
    "MaxPool2d",
    "AvgPool2d",
    "AdaptiveAvgPool2d",
    "GlobalAvgPool2d",
    "BatchNorm2d",
    "LayerNorm",
    "RMSNorm",
    "ReLU",
    "ReLU6",
    "LeakyReLU",
    "PReLU",
    "Sigmoid",
    "Tanh",
    "HardSwish",
    "GELU",
    "SiLU",
    "Softmax",
    "Dropout",
    "Embedding",
    "AddEmbedding",
    "RotaryEmbedding",
    "Add",
    "Multiply",
    "Concatenate",
    "Flatten",
    "ScaledDotProductAttention",
    "MultiHeadAttention",
    "FeedForward",
    "SGD",
    "Momentum",
    "Adam",
    "MatrixProduct",
    "GroupNorm",
    "Mean",
    "Sum",
    "Subtract",
    "Divide",
    "Pointwise",
    "View",
    "Viewed",
    "Copy",
    "Given",
    "Unknown",
]
