"""ATen operations by name: what each of them is in a record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

from .functions import ACTIVATIONS, FORMULAS, numeric, power, products, words
from .operations import Shape, Value

Arguments = Mapping[str, Any]  # by the names of the operation's schema; tensors are names of values
Values = Mapping[str, Value]
Read = tuple[str, tuple[Any, ...], dict[str, Any]]  # kind, operands, settings
Reader = Callable[[Arguments, Values, Shape], Read | None]  # None: the operation is not known after all

VIEWS = words(
    "view reshape permute transpose t flatten unflatten unsqueeze squeeze select slice narrow split split_with_sizes "
    "chunk tensor_split unbind expand expand_as view_as movedim moveaxis swapaxes numpy_T mT diagonal unfold_copy "
    "_reshape_alias _unsafe_view reshape_as unsafe_chunk unsafe_split"
)
COPIES = words(
    "pad constant_pad_nd roll repeat repeat_interleave index_select index gather flip pixel_shuffle pixel_unshuffle "
    "channel_shuffle upsample_nearest2d masked_fill where tril triu reflection_pad2d replication_pad2d tile "
    "index_put slice_scatter select_scatter copy fill zero im2col unfold"
)
SAME = words(
    "contiguous clone detach alias to type_as float double half _to_copy lift_fresh_copy lift_fresh lift identity "
    "feature_dropout_eval alias_copy requires_grad"
)
FRESH = words(  # made from a shape, whatever tensor lends it
    "new_zeros new_ones new_full new_empty zeros_like ones_like full_like empty_like rand_like randn_like bernoulli "
    "normal uniform"
)


def _number(values: Values, entry: Any) -> bool:
    """Is it a plain number, or a constant tensor of one element?"""
    return not isinstance(entry, str) or (values[entry].role == "constant" and values[entry].size == 1)


def _convolution(given: Arguments, values: Values, shape: Shape) -> Read:
    settings = {
        "stride": given["stride"], "padding": given["padding"], "dilation": given["dilation"],
        "groups": given["groups"], "transposed": bool(given.get("transposed", "output_padding" in given)),
        "output_padding": given.get("output_padding", 0),
    }  # fmt: skip
    return "convolution", (given["input"], given["weight"], given["bias"]), settings


def _linear(given: Arguments, values: Values, shape: Shape) -> Read:
    return "linear", (given["input"], given["weight"], given["bias"]), {}


def _matmul(given: Arguments, values: Values, shape: Shape) -> Read:
    first, second = given["self"], given.get("other", given.get("mat2"))
    if values[second].role == "parameter" and len(values[second].shape) == 2:
        return "linear", (first, second, None), {}
    return "product", (first, second), {}


def _addmm(given: Arguments, values: Values, shape: Shape) -> Read | None:
    if values[given["mat2"]].role != "parameter" or values[given["self"]].role != "parameter":
        return None
    return "linear", (given["mat1"], given["mat2"], given["self"]), {}


def _einsum(given: Arguments, values: Values, shape: Shape) -> Read | None:
    tensors = given["tensors"]
    sizes = products(given["equation"], [values[name].shape for name in tensors]) if len(tensors) == 2 else None
    return None if sizes is None else ("product", tensors, sizes)


def _norm(kind: str, weight: str = "weight") -> Reader:
    def read(given: Arguments, values: Values, shape: Shape) -> Read:
        scale, shift = given[weight], given.get("bias")
        settings: dict[str, Any] = {"scale": scale is not None, "shift": shift is not None}
        if kind == "batch_norm":
            settings["training"] = bool(given["training"])
        elif kind == "group_norm":
            settings["groups"] = given.get("num_groups", shape[1])
        else:
            settings["features"] = prod(given["normalized_shape"])
        return kind, (given["input"], scale, shift), settings

    return read


def _binary(kind: str, name: str, formula: str, swapped: str = "") -> Reader:
    """Two tensors, or a tensor and a number; `swapped` is the formula where the number stands first."""

    def read(given: Arguments, values: Values, shape: Shape) -> Read | None:
        first, second = given["self"], given["other"]
        if given.get("rounding_mode"):
            return None
        if _number(values, second):
            return "pointwise", (first,), {"name": name, "expression": formula}
        if _number(values, first):
            return "pointwise", (second,), {"name": name, "expression": swapped or formula}
        return kind, (first, second), {}

    return read


def _pool(kind: str) -> Reader:
    def read(given: Arguments, values: Values, shape: Shape) -> Read:
        return kind, (given["self"],), {
            "window": given["kernel_size"], "stride": given["stride"] or given["kernel_size"],
            "padding": given["padding"], "dilation": given.get("dilation", 1), "ceil": bool(given["ceil_mode"]),
        }  # fmt: skip

    return read


def _reduce(kind: str) -> Reader:
    def read(given: Arguments, values: Values, shape: Shape) -> Read:
        axes = given.get("dim")
        rank = len(values[given["self"]].shape)
        axes = range(rank) if axes is None or axes == () else (axes if isinstance(axes, tuple) else (axes,))
        return kind, (given["self"],), {"axes": tuple(sorted(axis % rank for axis in axes))}

    return read


def _softmax(given: Arguments, values: Values, shape: Shape) -> Read:
    return "softmax", (given["self"],), {"axis": given["dim"] % len(shape)}


def _dropout(given: Arguments, values: Values, shape: Shape) -> Read:
    source = next(iter(given.values()))
    if not given["train"] or given["p"] == 0:
        return "same", (source,), {}
    return "dropout", (source,), {"p": given["p"]}


def _attention(given: Arguments, values: Values, shape: Shape) -> Read:
    masked = bool(given["is_causal"]) or given["attn_mask"] is not None
    settings = {"causal": masked, "dropout": given["dropout_p"] > 0}
    return "attention", (given["query"], given["key"], given["value"]), settings


def _concatenate(given: Arguments, values: Values, shape: Shape) -> Read:
    # an empty tensor, with which a loop begins, adds nothing
    tensors = tuple(name for name in given["tensors"] if values[name].size)
    if len(tensors) == 1 and values[tensors[0]].shape == shape:
        return "same", tensors, {}
    return "concatenate", tensors, {"axis": given["dim"] % len(shape)}


def _embedding(given: Arguments, values: Values, shape: Shape) -> Read:
    return "embedding", (given["indices"], given["weight"]), {}


def _hardtanh(given: Arguments, values: Values, shape: Shape) -> Read:
    if (given["min_val"], given["max_val"]) == (0, 6):
        return "activation", (given["self"],), {"layer": "ReLU6"}
    return "pointwise", (given["self"],), {"name": "HardTanh", "expression": "min(max({x}, low), high)"}


def _gelu(given: Arguments, values: Values, shape: Shape) -> Read:
    if given.get("approximate") == "tanh":
        return "pointwise", (given["self"],), {"name": "GELU (tanh)", "expression": FORMULAS["gelu_tanh"][1]}
    return "activation", (given["self"],), {"layer": "GELU"}


def _clamp(given: Arguments, values: Values, shape: Shape) -> Read:
    text = "{x}"
    if given.get("min") is not None:
        text = f"max({text}, low)"
    if given.get("max") is not None:
        text = f"min({text}, high)"
    return "pointwise", (given["self"],), {"name": "Clamp", "expression": text}


def _power(given: Arguments, values: Values, shape: Shape) -> Read | None:
    exponent = numeric(given["exponent"])
    return None if exponent is None else power(given["self"], exponent)


def _activation(layer: str) -> Reader:
    return lambda given, values, shape: ("activation", (next(iter(given.values())),), {"layer": layer})


def _formula(name: str, expression: str) -> Reader:
    settings = {"name": name, "expression": expression}
    return lambda given, values, shape: ("pointwise", (next(iter(given.values())),), settings)


def _prelu(given: Arguments, values: Values, shape: Shape) -> Read:
    return "prelu", (given["self"], given["weight"]), {}


def _adaptive(given: Arguments, values: Values, shape: Shape) -> Read:
    return "adaptive", (given["self"],), {}


READERS: dict[str, Reader] = {
    **{name: _activation(layer) for name, layer in ACTIVATIONS.items()},
    **{name: _formula(*entry) for name, entry in FORMULAS.items()},
    **dict.fromkeys(("conv1d", "conv2d", "convolution", "conv_transpose1d", "conv_transpose2d"), _convolution),
    "linear": _linear,
    **dict.fromkeys(("matmul", "mm", "bmm"), _matmul),
    "addmm": _addmm,
    "einsum": _einsum,
    "batch_norm": _norm("batch_norm"),
    "layer_norm": _norm("layer_norm"),
    "rms_norm": _norm("rms_norm"),
    "group_norm": _norm("group_norm"),
    "instance_norm": _norm("group_norm"),
    "add": _binary("add", "Shift", "{x} + term"),
    "sub": _binary("subtract", "Shift", "{x} - term", "term - {x}"),
    "rsub": _formula("Shift", "term - {x}"),
    "mul": _binary("multiply", "Scale", "{x} * factor"),
    "div": _binary("divide", "Scale", "{x} / factor", "factor / {x}"),
    "max_pool1d": _pool("max_pool"),
    "max_pool2d": _pool("max_pool"),
    "max_pool2d_with_indices": _pool("max_pool"),
    "avg_pool1d": _pool("avg_pool"),
    "avg_pool2d": _pool("avg_pool"),
    "adaptive_avg_pool1d": _adaptive,
    "adaptive_avg_pool2d": _adaptive,
    "mean": _reduce("mean"),
    "sum": _reduce("sum"),
    "softmax": _softmax,
    "_softmax": _softmax,
    "dropout": _dropout,
    "feature_dropout": _dropout,
    "scaled_dot_product_attention": _attention,
    "cat": _concatenate,
    "concat": _concatenate,
    "stack": _concatenate,
    "embedding": _embedding,
    "hardtanh": _hardtanh,
    "gelu": _gelu,
    "clamp": _clamp,
    "clamp_min": _clamp,
    "clamp_max": _clamp,
    "pow": _power,
    "prelu": _prelu,
}
