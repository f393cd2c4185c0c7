"""Transformers: BERT-base, GPT-2 small and a Llama-style decoder, each with its own idea of a block.

Attention counts the full length x length rectangle, also where a causal mask hides half of it, as every
published count does.
"""

from __future__ import annotations

from typing import Self

from ..errors import ShapeError
from ..layers import (
    GELU,
    Add,
    AddEmbedding,
    BatchedLinear,
    Dropout,
    Embedding,
    Flatten,
    LayerNorm,
    Linear,
    Multiply,
    RMSNorm,
    RotaryEmbedding,
    ScaledDotProductAttention,
    SiLU,
    Tanh,
)
from ..layers.base import Shape, catalogued
from ..networks import Builder, Network
from ..notation import Dim


@catalogued
class FirstToken(Flatten):
    """The first of t tokens of each sample: a view, as `Flatten` is, and to frameworks and tables the same kind."""

    @property
    def kind(self) -> str:
        return Flatten.__name__

    def fit(self, *shapes: Shape) -> Self:
        if len(shapes) != 1 or len(shapes[0]) != 3:
            raise ShapeError(f"FirstToken takes one input (n, t, c), got {', '.join(map(str, shapes)) or 'none'}")
        return self.at(n=shapes[0][0], rest=tuple(shapes[0][1:]))

    @property
    def output_shape(self) -> Shape:
        return (self.n, self.rest[-1])


def bert_base(batch: Dim = 1, length: Dim = 128, vocabulary: int = 30522, pooler: bool = False) -> Network:
    """BERT-base (Devlin et al. 2018): embeddings and 12 encoder layers of width 768, without a head; `pooler` adds
    the linear layer and the tanh on the first token that most heads start from.

    Its 102 to 109 million parameters depend on the vocabulary (30522 uncased, 28996 cased); the MACs of the
    encoder do not.

    >>> bert_base().parameters, bert_base().macs
    (108891648, 11173625856)
    >>> bert_base(vocabulary=28996, pooler=True).parameters
    108310272
    """
    build = Builder("BERT-base", batch, length)
    build.add("embeddings.word", Embedding(v=vocabulary, c=768))
    build.add("embeddings.token_type", AddEmbedding(v=2, lookup=True))
    build.add("embeddings.position", AddEmbedding(v=512))
    build.add("embeddings.norm", LayerNorm())
    x = build.add("embeddings.dropout", Dropout(p=0.1))
    for place in range(12):
        name = f"encoder.{place}"
        parts = [
            build.add(f"{name}.attention.{part}", BatchedLinear(k=768, bias=True), x)
            for part in ("query", "key", "value")
        ]
        build.add(f"{name}.attention.core", ScaledDotProductAttention(a=12, dropout=True), *parts)
        build.add(f"{name}.attention.output", BatchedLinear(k=768, bias=True))
        out = build.add(f"{name}.attention.dropout", Dropout(p=0.1))
        build.add(f"{name}.attention.add", Add(), out, x)
        x = build.add(f"{name}.attention.norm", LayerNorm())
        build.add(f"{name}.intermediate", BatchedLinear(k=3072, bias=True))
        build.add(f"{name}.gelu", GELU())
        build.add(f"{name}.output", BatchedLinear(k=768, bias=True))
        out = build.add(f"{name}.dropout", Dropout(p=0.1))
        build.add(f"{name}.add", Add(), out, x)
        x = build.add(f"{name}.norm", LayerNorm())
    if pooler:
        build.add("pooler.first", FirstToken())
        build.add("pooler.dense", Linear(k=768, bias=True))
        build.add("pooler.tanh", Tanh())
    return build.network()


def gpt2_small(batch: Dim = 1, length: Dim = 1024) -> Network:
    """GPT-2 small (Radford et al. 2019): 12 decoder layers of width 768; the head shares the token table.

    >>> gpt2_small().parameters, gpt2_small().macs
    (124439808, 145824153600)
    """
    build = Builder("GPT-2 small", batch, length)
    build.add("wte", Embedding(v=50257, c=768))
    build.add("wpe", AddEmbedding(v=1024))
    x = build.add("drop", Dropout(p=0.1))
    for place in range(12):
        name = f"h.{place}"
        norm = build.add(f"{name}.ln_1", LayerNorm(), x)
        parts = [
            build.add(f"{name}.attn.{part}", BatchedLinear(k=768, bias=True), norm)
            for part in ("query", "key", "value")
        ]
        build.add(f"{name}.attn.core", ScaledDotProductAttention(a=12, causal=True, dropout=True), *parts)
        build.add(f"{name}.attn.proj", BatchedLinear(k=768, bias=True))
        out = build.add(f"{name}.attn.drop", Dropout(p=0.1))
        x = build.add(f"{name}.add_1", Add(), out, x)
        build.add(f"{name}.ln_2", LayerNorm())
        build.add(f"{name}.mlp.fc", BatchedLinear(k=3072, bias=True))
        build.add(f"{name}.mlp.gelu", GELU())
        build.add(f"{name}.mlp.proj", BatchedLinear(k=768, bias=True))
        out = build.add(f"{name}.mlp.drop", Dropout(p=0.1))
        x = build.add(f"{name}.add_2", Add(), out, x)
    build.add("ln_f", LayerNorm())
    build.add("lm_head", BatchedLinear(k=50257), shares="wte")
    return build.network()


def llama(
    batch: Dim = 1,
    length: Dim = 2048,
    layers: int = 32,
    width: int = 4096,
    heads: int = 32,
    kv_heads: int = 8,
    hidden: int = 14336,
    vocabulary: int = 128256,
) -> Network:
    """A Llama-style decoder: RMS norm, rotary positions, grouped-query attention, SwiGLU, no biases.

    The defaults are the sizes of Llama 3 8B (Grattafiori et al. 2024).

    >>> llama().parameters
    8030261248
    """
    build = Builder("Llama-style decoder", batch, length)
    x = build.add("embed_tokens", Embedding(v=vocabulary, c=width))
    narrow = width // heads * kv_heads
    for place in range(layers):
        name = f"layers.{place}"
        norm = build.add(f"{name}.input_norm", RMSNorm(), x)
        query = build.add(f"{name}.attention.query", BatchedLinear(k=width), norm)
        query = build.add(f"{name}.attention.rotary_query", RotaryEmbedding(a=heads), query)
        key = build.add(f"{name}.attention.key", BatchedLinear(k=narrow), norm)
        key = build.add(f"{name}.attention.rotary_key", RotaryEmbedding(a=kv_heads), key)
        value = build.add(f"{name}.attention.value", BatchedLinear(k=narrow), norm)
        core = ScaledDotProductAttention(a=heads, g=kv_heads, causal=True)
        build.add(f"{name}.attention.core", core, query, key, value)
        out = build.add(f"{name}.attention.output", BatchedLinear(k=width))
        x = build.add(f"{name}.add_1", Add(), x, out)
        norm = build.add(f"{name}.post_norm", RMSNorm())
        build.add(f"{name}.mlp.gate", BatchedLinear(k=hidden), norm)
        gate = build.add(f"{name}.mlp.silu", SiLU())
        up = build.add(f"{name}.mlp.up", BatchedLinear(k=hidden), norm)
        build.add(f"{name}.mlp.multiply", Multiply(), gate, up)
        out = build.add(f"{name}.mlp.down", BatchedLinear(k=width))
        x = build.add(f"{name}.add_2", Add(), x, out)
    build.add("norm", RMSNorm())
    build.add("lm_head", BatchedLinear(k=vocabulary))
    return build.network()
