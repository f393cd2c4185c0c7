"""Transformers as plain PyTorch modules, written by hand; names and nesting as in `torch_models`.

Attention is written as matrix products, since PyTorch's counter does not see fused attention on a CPU. Blocks are
called through `nn.Sequential`, which holds a block's input until it is done.
"""

from __future__ import annotations

import math
from collections import OrderedDict

try:
    import torch
except ImportError:  # collected by pytest on a machine without it
    import pytest

    pytest.skip("PyTorch is not installed: python -m tasks test --with torch", allow_module_level=True)

from torch import Tensor, nn
from torch.nn import functional as F


class Core(nn.Module):
    """Attention as plain matrix products, from (n, t, width) to (n, t, width); key-value heads are repeated
    for the queries they serve, and a causal mask, a constant, is added to the scores."""

    def __init__(self, heads: int, kv_heads: int | None = None, causal: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.causal = heads, kv_heads or heads, causal
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("mask", torch.full((512, 512), float("-inf")).triu(1) if causal else None)

    def split(self, x: Tensor, heads: int) -> Tensor:
        n, t, width = x.shape
        return x.view(n, t, heads, width // heads).transpose(1, 2)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        q = self.split(query, self.heads)
        k, v = (self.split(x, self.kv_heads) for x in (key, value))
        if self.kv_heads != self.heads:
            k, v = (x.repeat_interleave(self.heads // self.kv_heads, 1) for x in (k, v))
        weights = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        if self.mask is not None:
            weights = weights + self.mask[: q.shape[-2], : k.shape[-2]]
        weights = weights.softmax(-1)
        weights = self.dropout(weights)
        out = weights @ v
        return out.transpose(1, 2).reshape(query.shape)


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, last: str, causal: bool) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.core = Core(heads, causal=causal, dropout=0.1)
        self.add_module(last, nn.Linear(width, width))
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        return getattr(self, self.last)(self.core(self.query(x), self.key(x), self.value(x)))


class AddRows(nn.Module):
    """Adds to each token a row of a table: that of its kind, or that of its position."""

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, width).normal_())

    def forward(self, x: Tensor, kinds: Tensor | None = None) -> Tensor:
        return x + (self.weight[: x.shape[1]] if kinds is None else F.embedding(kinds, self.weight))


class BertEmbeddings(nn.Module):
    """The kinds of the tokens are an input beside the tokens."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.word, self.token_type = nn.Embedding(vocabulary, width), AddRows(2, width)
        self.position = AddRows(512, width)
        self.norm, self.dropout = nn.LayerNorm(width), nn.Dropout(0.1)

    def forward(self, ids: Tensor, kinds: Tensor) -> Tensor:
        x = self.position(self.token_type(self.word(ids), kinds))
        return self.dropout(self.norm(x))


class BertLayer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads, last="output", causal=False)
        self.attention.dropout, self.attention.norm = nn.Dropout(0.1), nn.LayerNorm(width)
        self.intermediate, self.gelu = nn.Linear(width, 4 * width), nn.GELU()
        self.output, self.dropout, self.norm = nn.Linear(4 * width, width), nn.Dropout(0.1), nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.attention.norm(self.attention.dropout(self.attention(x)) + x)
        out = self.output(self.gelu(self.intermediate(x)))
        return self.norm(self.dropout(out) + x)


class Bert(nn.Module):
    """The encoder, without pooler and head."""

    def __init__(self, vocabulary: int = 30522, width: int = 768, heads: int = 12, layers: int = 12) -> None:
        super().__init__()
        self.embeddings = BertEmbeddings(vocabulary, width)
        self.encoder = nn.Sequential(*(BertLayer(width, heads) for _ in range(layers)))

    def forward(self, ids: Tensor, kinds: Tensor) -> Tensor:
        return self.encoder(self.embeddings(ids, kinds))


class GPT2Layer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1, self.attn = nn.LayerNorm(width), Attention(width, heads, last="proj", causal=True)
        self.attn.drop = nn.Dropout(0.1)
        self.ln_2 = nn.LayerNorm(width)
        parts = OrderedDict(
            fc=nn.Linear(width, 4 * width), gelu=nn.GELU(), proj=nn.Linear(4 * width, width), drop=nn.Dropout(0.1)
        )
        self.mlp = nn.Sequential(parts)

    def forward(self, x: Tensor) -> Tensor:
        x = self.attn.drop(self.attn(self.ln_1(x))) + x
        return self.mlp(self.ln_2(x)) + x


class GPT2(nn.Module):
    """The head's weight is the token table."""

    def __init__(self, vocabulary: int = 50257, width: int = 768, heads: int = 12, layers: int = 12) -> None:
        super().__init__()
        self.wte, self.wpe, self.drop = nn.Embedding(vocabulary, width), AddRows(1024, width), nn.Dropout(0.1)
        self.h = nn.Sequential(*(GPT2Layer(width, heads) for _ in range(layers)))
        self.ln_f, self.lm_head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)
        self.lm_head.weight = self.wte.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.drop(self.wpe(self.wte(ids)))
        x = self.h(x)
        x = self.ln_f(x)
        return self.lm_head(x)


class RMSNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        inv = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5)
        return self.weight * (x * inv)


class Rotary(nn.Module):
    """Turns neighbouring features of a head in pairs, by angles from tables that all layers share."""

    def __init__(self, heads: int, cos: Tensor, sin: Tensor) -> None:
        super().__init__()
        self.heads = heads
        self.register_buffer("cos", cos)
        self.register_buffer("sin", sin)

    def forward(self, x: Tensor) -> Tensor:
        first, second = x.unflatten(-1, (self.heads, -1, 2)).unbind(-1)
        cos, sin = (table[: x.shape[1], None] for table in (self.cos, self.sin))
        return torch.stack((first * cos - second * sin, first * sin + second * cos), -1).view(x.shape)


class LlamaAttention(nn.Module):
    def __init__(self, width: int, heads: int, kv_heads: int, tables: tuple[Tensor, Tensor]) -> None:
        super().__init__()
        narrow = width // heads * kv_heads
        self.query, self.rotary_query = nn.Linear(width, width, bias=False), Rotary(heads, *tables)
        self.key, self.rotary_key = nn.Linear(width, narrow, bias=False), Rotary(kv_heads, *tables)
        self.value, self.core = nn.Linear(width, narrow, bias=False), Core(heads, kv_heads, causal=True)
        self.output = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        query = self.rotary_query(self.query(x))
        key = self.rotary_key(self.key(x))
        return self.output(self.core(query, key, self.value(x)))


class SwiGLU(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.up, self.gate = (nn.Linear(width, hidden, bias=False) for _ in range(2))
        self.silu, self.down = nn.SiLU(), nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.silu(self.gate(x)) * self.up(x))


class LlamaLayer(nn.Module):
    def __init__(self, width: int, heads: int, kv_heads: int, hidden: int, tables: tuple[Tensor, Tensor]) -> None:
        super().__init__()
        self.input_norm, self.attention = RMSNorm(width), LlamaAttention(width, heads, kv_heads, tables)
        self.post_norm, self.mlp = RMSNorm(width), SwiGLU(width, hidden)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.input_norm(x))
        return x + self.mlp(self.post_norm(x))


class Llama(nn.Module):
    """The tables of angles are constants of the model, `length` rows each."""

    def __init__(
        self, length: int, layers: int, width: int, heads: int, kv_heads: int, hidden: int, vocabulary: int
    ) -> None:
        super().__init__()
        half = width // heads // 2
        angles = torch.arange(length)[:, None] * 10000.0 ** -(torch.arange(half) / half)
        tables = angles.cos(), angles.sin()
        self.embed_tokens = nn.Embedding(vocabulary, width)
        self.layers = nn.Sequential(*(LlamaLayer(width, heads, kv_heads, hidden, tables) for _ in range(layers)))
        self.norm, self.lm_head = RMSNorm(width), nn.Linear(width, vocabulary, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.layers(self.embed_tokens(ids))
        x = self.norm(x)
        return self.lm_head(x)
