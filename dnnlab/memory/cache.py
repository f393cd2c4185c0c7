"""The key-value cache: what a decoder keeps of the tokens it has seen, so as not to compute it again."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import DnnlabError, quote
from ..layers import MultiHeadAttention, ScaledDotProductAttention
from ..networks import Network
from ..notation import Dim, dimension, is_bound, plain, ratio
from ..tables import Column, Table
from .sizes import bytes_for, size


@dataclass(frozen=True)
class Cached:
    """An attention layer of a decoder: its name, its key-value heads and their width."""

    name: str
    heads: Dim
    width: Dim

    @property
    def elements(self) -> Dim:
        """Numbers kept for a token: a key and a value for each head."""
        return 2 * self.heads * self.width


@dataclass(frozen=True)
class Cache:
    """The cache of a network with `weights` bytes of parameters, for a batch of samples of `length` tokens each."""

    name: str
    dtype: str
    layers: tuple[Cached, ...]
    batch: Dim
    length: Dim
    weights: Dim

    @property
    def per_token(self) -> Dim:
        """Bytes for a token, over all layers."""
        return bytes_for(sum(layer.elements for layer in self.layers), self.dtype)

    @property
    def total(self) -> Dim:
        """Bytes in all."""
        return self.per_token * self.batch * self.length

    @property
    def as_large_as_weights(self) -> Dim:
        """The number of tokens, over the whole batch, at which the cache is as large as the parameters."""
        return ratio(self.weights, self.per_token)

    def table(self) -> Table:
        """A row for each attention layer, and the total."""
        columns = (
            "layer",
            Column("heads", "key-value heads", show=plain),
            Column("width", "head size", show=plain),
            Column("bytes", "size", show=size),
        )
        tokens = self.batch * self.length
        rows = [(c.name, c.heads, c.width, bytes_for(c.elements, self.dtype) * tokens) for c in self.layers]
        return Table(columns, (*rows, ("total", None, None, self.total)), f"KV cache of {self.name}, {self.dtype}")

    def _repr_html_(self) -> str:
        return self.table().html()

    def sentence(self) -> str:
        """The cache in words.

        >>> from dnnlab import zoo
        >>> print(kv_cache(zoo.llama(batch=1, length=1), "fp16", length=8192).sentence())
        Llama-style decoder keeps 131 kB for each token: 1.07 GB for a batch of 1 with 8,192 tokens each. \
After 122,532 tokens the cache is as large as the parameters.
        """
        text = (
            f"{self.name} keeps {size(self.per_token)} for each token: {size(self.total)} for a batch of "
            f"{plain(self.batch)} with {plain(self.length)} tokens each."
        )
        tokens = self.as_large_as_weights
        if not is_bound(tokens):
            return text
        return f"{text} After {plain(round(tokens))} tokens the cache is as large as the parameters."


def kv_cache(net: Network, dtype: str = "fp16", length: object = None, batch: object = None) -> Cache:
    """What the attention layers of a network must keep of past tokens: 2 x key-value heads x head size x bytes for each
    layer and token. With grouped queries there are fewer key-value heads than heads.

    `length` and `batch` default to those of the network's first attention layer; they may be symbols. Raises
    `DnnlabError` for a network without attention, `UnknownNameError` for an unknown dtype.

    >>> from dnnlab import zoo
    >>> kv_cache(zoo.gpt2_small(batch=1, length=1024), "fp32").total == 12 * 2 * 768 * 1024 * 4
    True
    >>> kv_cache(zoo.llama(batch=1, length=1), length="t", batch="n").total
    131072*n*t
    """
    if not isinstance(net, Network):
        raise DnnlabError(f"expected a network, got {quote(net)}")
    found, sizes = [], []
    for node in net.layers:
        layer = node.layer
        if isinstance(layer, ScaledDotProductAttention):
            found.append(Cached(node.name, layer.kv_heads, layer.d))
            sizes.append((layer.n, layer.u))
        elif isinstance(layer, MultiHeadAttention):
            found.append(Cached(node.name, layer.a, ratio(layer.c, layer.a)))
            sizes.append((layer.n, layer.t))
    if not found:
        raise DnnlabError(f"{net.name} has no attention layer, so there are no keys and values to cache")
    return Cache(
        net.name,
        dtype,
        tuple(found),
        sizes[0][0] if batch is None else dimension("batch", batch),
        sizes[0][1] if length is None else dimension("length", length, least=0),
        bytes_for(net.parameters, dtype),
    )
