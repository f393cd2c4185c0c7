"""What a user of PyTorch would write for each layer: one table, which is timed and which the tests hold the lines to.

A peer takes a layer, its tensors by the names of its lines in the shapes PyTorch wants, and the plain numbers of the
lines (`eps`, `lr`), and returns the output. Where "same" needs a border that PyTorch's own call refuses, the border is
laid around the input first, as a user would.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from ...errors import DnnlabError
from ...importing.functions import FORMULAS
from ...layers.windows import both

Tensors = Mapping[str, Any]
Numbers = Mapping[str, float]
Peer = Callable[[Any, Tensors, Numbers], Any]

# Formulas of one element that PyTorch has a function for, by that function's name.
_CALLED = {formula: name for name, (_, formula) in FORMULAS.items() if name != "gelu_tanh"}
_GELU_TANH = FORMULAS["gelu_tanh"][1]
_POWER = re.compile(r"\{x\}\*\*(\d+)")


@cache
def load() -> Any:
    """The package torch, an extra; `DnnlabError` says how to get it."""
    try:
        import torch
    except ImportError as error:
        raise DnnlabError('running layers in PyTorch needs PyTorch: pip install "dnnlab[torch]"') from error
    return torch


@cache
def _F() -> Any:
    return load().nn.functional


# -- windows ---------------------------------------------------------------------------------------------


def border(layer: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    """(before, after) of the zeros around each axis of the input, as the layer's `padding` means it.

    >>> from dnnlab import Conv2d
    >>> border(Conv2d(h=8, w=8, r=2, s=3))
    ((0, 1), (1, 1))
    """
    sides = []
    for axis, filter_, place in (("y", layer.r, 0), ("x", layer.s, 1)):
        before = layer.border(axis)
        reach = both("dilation", layer.dilation)[place] * (filter_ - 1)
        sides.append((before, reach - before if layer.padding == "same" else before))
    return sides[0], sides[1]


def _bordered(layer: Any, x: Any, fill: float, widest: tuple[int, int] | None = None) -> tuple[Any, tuple[int, int]]:
    """The input and the border that PyTorch's call is to add; laid around the input where it differs from side to
    side or is wider than the call allows."""
    (top, bottom), (left, right) = border(layer)
    allowed = widest is None or (top <= widest[0] and left <= widest[1])
    if (top, left) == (bottom, right) and allowed:
        return x, (top, left)
    return _F().pad(x, (left, right, top, bottom), value=fill), (0, 0)


def conv2d(layer: Any, t: Tensors, _: Numbers) -> Any:
    return _convolved(layer, t["inp"], t["weight"], t.get("bias"), layer.groups)


def depthwise(layer: Any, t: Tensors, _: Numbers) -> Any:
    return _convolved(layer, t["inp"], t["weight"][:, None], t.get("bias"), layer.k)


def _convolved(layer: Any, x: Any, weight: Any, bias: Any, groups: int) -> Any:
    x, padding = _bordered(layer, x, 0.0)
    return _F().conv2d(x, weight, bias, layer.stride, padding, layer.dilation, groups)


def conv1d(layer: Any, t: Tensors, _: Numbers) -> Any:
    x, (before, after) = t["inp"], border(layer.flat)[1]
    if before != after:
        x, before = _F().pad(x, (before, after)), 0
    return _F().conv1d(x, t["weight"], t.get("bias"), layer.stride, before, layer.dilation, layer.groups)


def transposed(layer: Any, t: Tensors, _: Numbers) -> Any:
    return _F().conv_transpose2d(
        t["inp"], t["weight"], t.get("bias"), layer.stride, layer.padding, layer.output_padding, layer.groups,
        layer.dilation,
    )  # fmt: skip


def max_pool(layer: Any, t: Tensors, _: Numbers) -> Any:
    x, padding = _bordered(layer, t["inp"], -float("inf"), (layer.r // 2, layer.s // 2))
    return _F().max_pool2d(x, (layer.r, layer.s), layer.strides, padding, layer.dilation, rounded_up(layer))


def avg_pool(layer: Any, t: Tensors, _: Numbers) -> Any:
    x, padding = _bordered(layer, t["inp"], 0.0, (layer.r // 2, layer.s // 2))
    size = (layer.r, layer.s)
    return _F().avg_pool2d(x, size, layer.strides, padding, rounded_up(layer), divisor_override=layer.r * layer.s)


def rounded_up(layer: Any) -> bool:
    """Is a last window kept that is only partly inside? "same" already says how many windows there are."""
    return bool(layer.ceil) and layer.padding != "same"


# -- normalisation ---------------------------------------------------------------------------------------


def batch_norm(layer: Any, t: Tensors, number: Numbers) -> Any:
    means, variances = t.get("running_mean"), t.get("running_var")
    options = (layer.training, number["momentum"], number["eps"])
    return _F().batch_norm(t["inp"], means, variances, t.get("weight"), t.get("bias"), *options)


def layer_norm(layer: Any, t: Tensors, number: Numbers) -> Any:
    return _F().layer_norm(t["inp"], (layer.c,), t.get("weight"), t.get("bias"), number["eps"])


# -- attention -------------------------------------------------------------------------------------------


def attention(layer: Any, t: Tensors, number: Numbers) -> Any:
    """Heads apart, PyTorch's fused attention, heads together."""
    query, key, value = (t[name].unflatten(2, (-1, layer.d)).transpose(1, 2) for name in ("query", "key", "value"))
    grouped = layer.kv_heads != layer.a
    if "drop" in t:  # the fused call would draw a mask of its own
        key, value = (x.repeat_interleave(layer.a // layer.kv_heads, 1) if grouped else x for x in (key, value))
        score = query @ key.transpose(2, 3) * number["scale"]
        out = (_F().softmax(score + t["mask"] if layer.causal else score, -1) * t["drop"]) @ value
    else:
        square = layer.causal and layer.t == layer.u
        mask = None if square else t.get("mask")
        out = _F().scaled_dot_product_attention(
            query, key, value, mask, is_causal=square, scale=number["scale"], enable_gqa=grouped
        )
    return out.transpose(1, 2).flatten(2)


def multi_head(layer: Any, t: Tensors, number: Numbers) -> Any:
    """Three linear layers, attention, a fourth."""
    from ...layers.attention import ScaledDotProductAttention

    def linear(name: str, x: Any) -> Any:
        return _F().linear(x, t[f"weight_{name}"], t.get(f"bias_{name}"))

    core = ScaledDotProductAttention(
        n=layer.n, t=layer.t, u=layer.t, a=layer.a, d=layer.c // layer.a, causal=layer.causal, dropout=layer.dropout
    )
    masks = {name: t[name] for name in ("mask", "drop") if name in t}
    heads = {name: linear(name, t["inp"]) for name in ("query", "key", "value")}
    return linear("out", attention(core, heads | masks, number))


def feed_forward(layer: Any, t: Tensors, number: Numbers) -> Any:
    def linear(name: str, x: Any) -> Any:
        return _F().linear(x, t[f"weight_{name}"], t.get(f"bias_{name}"))

    function = getattr(_F(), layer.activation)
    hidden = linear("hidden", t["inp"])
    inner = function(linear("gate", t["inp"])) * hidden if layer.gated else function(hidden)
    return linear("out", inner)


# -- element by element ----------------------------------------------------------------------------------


def named(expression: str) -> bool:
    """Does PyTorch have a function for this right-hand side?

    >>> named("log(1 + {x})"), named("{x}**3"), named("{x} * {x}")
    (True, True, False)
    """
    return expression in _CALLED or expression == _GELU_TANH or _POWER.fullmatch(expression) is not None


def pointwise(layer: Any, t: Tensors, _: Numbers) -> Any:
    x = t["inp"]
    if layer.expression == _GELU_TANH:
        return _F().gelu(x, approximate="tanh")
    if power := _POWER.fullmatch(layer.expression):
        return x ** int(power[1])
    name = _CALLED[layer.expression]
    home = load() if hasattr(load(), name) else _F()
    return getattr(home, name)(x)


def add_embedding(layer: Any, t: Tensors, _: Numbers) -> Any:
    rows = _F().embedding(t["kinds"], t["table"]) if layer.lookup else t["table"][: layer.t]
    return t["inp"] + rows


def rotary(layer: Any, t: Tensors, _: Numbers) -> Any:
    x = t["inp"].unflatten(2, (layer.a, layer.d // 2, 2))
    even, odd, cos, sin = x[..., 0], x[..., 1], t["cos"][:, None], t["sin"][:, None]
    return load().stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(2)


def copied(layer: Any, t: Tensors, _: Numbers) -> Any:
    """As many numbers as both have, from the one place to the other."""
    x = t["inp"]
    out = x.new_empty(layer.target)
    count = min(out.numel(), x.numel())
    out.view(-1)[:count] = x.view(-1)[:count]
    return out


# -- optimizers: in place, a tensor at a time ------------------------------------------------------------


def sgd(layer: Any, t: Tensors, number: Numbers) -> Any:
    return t["param"].add_(t["grad"], alpha=-number["lr"])


def momentum(layer: Any, t: Tensors, number: Numbers) -> Any:
    t["velocity"].mul_(number["mu"]).add_(t["grad"])
    return t["param"].add_(t["velocity"], alpha=-number["lr"])


def adam(layer: Any, t: Tensors, number: Numbers) -> Any:
    grad, first, second = t["grad"], t["first"], t["second"]
    first.lerp_(grad, 1 - number["beta1"])
    second.mul_(number["beta2"]).addcmul_(grad, grad, value=1 - number["beta2"])
    spread = (second.sqrt() / number["fix2"] ** 0.5).add_(number["eps"])
    return t["param"].addcdiv_(first, spread, value=-number["lr"] / number["fix1"])


#: What PyTorch calls each layer, by the name of the layer's class.
PEERS: dict[str, Peer] = {
    "Conv2d": conv2d,
    "DepthwiseConv2d": depthwise,
    "PointwiseConv2d": lambda layer, t, _: _F().conv2d(t["inp"], t["weight"][:, :, None, None], t.get("bias")),
    "Conv1d": conv1d,
    "ConvTranspose2d": transposed,
    "Linear": lambda layer, t, _: _F().linear(t["inp"], t["weight"], t.get("bias")),
    "BatchedLinear": lambda layer, t, _: _F().linear(t["inp"], t["weight"], t.get("bias")),
    "MatrixProduct": lambda layer, t, _: load().bmm(t["first"], t["second"]),
    "MaxPool2d": max_pool,
    "AvgPool2d": avg_pool,
    "AdaptiveAvgPool2d": lambda layer, t, _: _F().adaptive_avg_pool2d(t["inp"], (layer.y, layer.x)),
    "GlobalAvgPool2d": lambda layer, t, _: _F().adaptive_avg_pool2d(t["inp"], 1),
    "BatchNorm2d": batch_norm,
    "LayerNorm": layer_norm,
    "RMSNorm": lambda layer, t, number: _F().rms_norm(t["inp"], (layer.c,), t["weight"], number["eps"]),
    "GroupNorm": lambda layer, t, number: _F().group_norm(
        t["inp"], layer.groups, t.get("weight"), t.get("bias"), number["eps"]
    ),
    "ReLU": lambda layer, t, _: _F().relu(t["inp"]),
    "ReLU6": lambda layer, t, _: _F().relu6(t["inp"]),
    "LeakyReLU": lambda layer, t, number: _F().leaky_relu(t["inp"], number["slope"]),
    "PReLU": lambda layer, t, _: _F().prelu(t["inp"], t["slope"]),
    "Sigmoid": lambda layer, t, _: load().sigmoid(t["inp"]),
    "Tanh": lambda layer, t, _: load().tanh(t["inp"]),
    "HardSwish": lambda layer, t, _: _F().hardswish(t["inp"]),
    "GELU": lambda layer, t, _: _F().gelu(t["inp"]),
    "SiLU": lambda layer, t, _: _F().silu(t["inp"]),
    "Pointwise": pointwise,
    "Softmax": lambda layer, t, _: _F().softmax(t["inp"], -1),
    "Dropout": lambda layer, t, _: t["inp"] * t["mask"],
    "Add": lambda layer, t, _: t["first"] + t["second"],
    "Subtract": lambda layer, t, _: t["first"] - t["second"],
    "Multiply": lambda layer, t, _: t["first"] * t["second"],
    "Divide": lambda layer, t, _: t["first"] / t["second"],
    "Sum": lambda layer, t, _: t["inp"].sum(1),
    "Mean": lambda layer, t, _: t["inp"].mean(1),
    "Concatenate": lambda layer, t, _: load().cat([t[f"inp{part}"] for part in range(len(layer.parts))], 1),
    "Copy": copied,
    "Flatten": lambda layer, t, _: t["inp"].flatten(1),
    "Embedding": lambda layer, t, _: _F().embedding(t["ids"], t["table"]),
    "AddEmbedding": add_embedding,
    "RotaryEmbedding": rotary,
    "ScaledDotProductAttention": attention,
    "MultiHeadAttention": multi_head,
    "FeedForward": feed_forward,
    "SGD": sgd,
    "Momentum": momentum,
    "Adam": adam,
}
