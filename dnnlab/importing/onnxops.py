"""ONNX operations by name: what each of them is in a record."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import prod
from typing import Any

from .functions import FORMULAS, power, products, words
from .operations import Call, Recorder, Shape

VIEWS = words("Reshape Transpose Flatten Squeeze Unsqueeze Slice Split Expand")
COPIES = words("Pad Tile DepthToSpace SpaceToDepth Where Gather GatherElements Trilu ScatterND")
SAME = words("Identity Cast CastLike")
WEIGHTED = words(
    "Conv ConvTranspose Gemm BatchNormalization LayerNormalization InstanceNormalization GroupNormalization "
    "RMSNormalization PRelu"
)
FRESH = words("Constant ConstantOfShape Shape Range RandomNormalLike RandomUniformLike Size")


class Facts:
    """What is known of a file while it is read: the record so far, `named` where ONNX's name of a value is not the
    record's, and the numbers of small constants."""

    def __init__(self) -> None:
        self.recorder = Recorder()
        self.named: dict[str, str] = {}
        self.numbers: dict[str, Any] = {}

    def number(self, name: str) -> float | None:
        """The number that a constant of one element is, or None."""
        found = self.numbers.get(name)
        return float(found.reshape(-1)[0]) if found is not None and found.size == 1 else None

    def integers(self, name: str) -> tuple[int, ...] | None:
        """The integers of a small constant, or None."""
        found = self.numbers.get(name)
        return None if found is None else tuple(int(entry) for entry in found.reshape(-1))


Read = tuple[str, tuple[str, ...], dict[str, Any]]  # kind, operands, settings
Reading = Callable[[Facts, list[str], Mapping[str, Any], Shape, Call], Read | None]  # None: not known after all


def _at(given: list[str], place: int) -> str:
    return given[place] if place < len(given) else ""


def _padded(reader: Facts, source: str, s: Mapping[str, Any], axes: int, call: Call) -> tuple[str, Any]:
    """The source and its border: where the two sides differ, a copy with a wider border comes first."""
    auto = s.get("auto_pad", b"NOTSET")
    if auto in (b"SAME_UPPER", b"SAME_LOWER"):
        return source, "same"
    pads = list(s.get("pads", [0] * 2 * axes))
    before, after = pads[:axes], pads[axes:]
    if auto == b"VALID" or before == after:
        return source, tuple(before)
    old = reader.recorder.values[source].shape
    shape = (*old[:2], *(size + a + b for size, a, b in zip(old[2:], before, after, strict=True)))
    (wider,) = reader.recorder.add(
        "copy", "pad", (source,), [(f"{source} padded {len(reader.named)}", shape, True)], call
    )
    reader.named[wider] = wider
    return wider, (0,) * axes


def _convolution(transposed: bool) -> Reading:
    def read(reader: Facts, given: list[str], s: Mapping[str, Any], shape: Shape, call: Call) -> Read:
        axes = len(shape) - 2
        source, padding = _padded(reader, given[0], s, axes, call)
        settings = {
            "stride": tuple(s.get("strides", [1] * axes)), "padding": padding,
            "dilation": tuple(s.get("dilations", [1] * axes)), "groups": s.get("group", 1), "transposed": transposed,
            "output_padding": tuple(s.get("output_padding", [0] * axes)),
        }  # fmt: skip
        return "convolution", (source, given[1], _at(given, 2)), settings

    return read


def _pool(kind: str) -> Reading:
    def read(reader: Facts, given: list[str], s: Mapping[str, Any], shape: Shape, call: Call) -> Read:
        axes = len(shape) - 2
        source, padding = _padded(reader, given[0], s, axes, call)
        return kind, (source,), {
            "window": tuple(s["kernel_shape"]), "stride": tuple(s.get("strides", [1] * axes)), "padding": padding,
            "dilation": tuple(s.get("dilations", [1] * axes)), "ceil": bool(s.get("ceil_mode", 0)),
        }  # fmt: skip

    return read


def _gemm(reader: Facts, given: list[str], s: Mapping[str, Any], shape: Shape, call: Call) -> Read | None:
    if reader.recorder.values[given[1]].role == "made" and not _weight(reader, given[1]):
        return ("product", (given[0], given[1]), {"b": 1, "t": shape[0], "u": shape[1],
                "d": reader.recorder.values[given[0]].size // shape[0]}) if not _at(given, 2) else None  # fmt: skip
    return "linear", (given[0], given[1], _at(given, 2)), {}


def _weight(reader: Facts, name: str) -> bool:
    """Is it a view of a parameter?"""
    makers = {operation.output: operation for operation in reader.recorder.operations}
    while name in makers and makers[name].kind == "view":
        name = makers[name].inputs[0]
    return reader.recorder.values[name].role == "parameter"


def _matmul(reader: Facts, given: list[str], s: Mapping[str, Any], shape: Shape, call: Call) -> Read:
    about = reader.recorder.values[given[1]]
    if about.role == "parameter" and len(about.shape) == 2:
        return "linear", (given[0], given[1]), {}
    return "product", (given[0], given[1]), {}


def _einsum(reader: Facts, given: list[str], s: Mapping[str, Any], shape: Shape, call: Call) -> Read | None:
    shapes = [reader.recorder.values[name].shape for name in given]
    sizes = products(s["equation"].decode(), shapes) if len(given) == 2 else None
    return None if sizes is None else ("product", tuple(given), sizes)


def _norm(kind: str) -> Reading:
    def read(reader: Facts, given: list[str], s: Mapping[str, Any], shape: Shape, call: Call) -> Read:
        scale, shift = _at(given, 1), _at(given, 2)
        settings: dict[str, Any] = {"scale": bool(scale), "shift": bool(shift)}
        if kind == "batch_norm":
            settings["training"] = bool(s.get("training_mode", 0))
        elif kind == "group_norm":
            settings["groups"] = s.get("num_groups", shape[1])
        else:
            settings["features"] = prod(shape[s.get("axis", -1) :])
        return kind, (given[0], scale, shift), settings

    return read


def _pair(kind: str, name: str, formula: str, swapped: str = "") -> Reading:
    def read(reader: Facts, given: list[str], s: Mapping[str, Any], shape: Shape, call: Call) -> Read:
        for source, other, text in ((given[0], given[1], formula), (given[1], given[0], swapped or formula)):
            about = reader.recorder.values[other]
            if about.role == "constant" and about.size == 1:
                return "pointwise", (source,), {"name": name, "expression": text}
        return kind, (given[0], given[1]), {}

    return read


def _one(kind: str, **settings: Any) -> Reading:
    return lambda reader, given, s, shape, call: (kind, (given[0],), settings)


def _formula(name: str) -> Reading:
    return _one("pointwise", name=FORMULAS[name][0], expression=FORMULAS[name][1])


def _power(reader: Facts, given: list[str], s: Mapping[str, Any], shape: Shape, call: Call) -> Read | None:
    exponent = reader.number(given[1])
    return None if exponent is None else power(given[0], exponent)


def _reduce(kind: str) -> Reading:
    def read(reader: Facts, given: list[str], s: Mapping[str, Any], shape: Shape, call: Call) -> Read:
        rank = len(reader.recorder.values[given[0]].shape)
        axes = s.get("axes") or (reader.integers(given[1]) if len(given) > 1 else None) or range(rank)
        return kind, (given[0],), {"axes": tuple(sorted(axis % rank for axis in axes))}

    return read


def _global(reader: Facts, given: list[str], s: Mapping[str, Any], shape: Shape, call: Call) -> Read:
    return "mean", (given[0],), {"axes": tuple(range(2, len(shape)))}


def _softmax(reader: Facts, given: list[str], s: Mapping[str, Any], shape: Shape, call: Call) -> Read:
    return "softmax", (given[0],), {"axis": s.get("axis", -1) % len(shape)}


def _dropout(reader: Facts, given: list[str], s: Mapping[str, Any], shape: Shape, call: Call) -> Read:
    training = reader.numbers.get(_at(given, 2))
    p = reader.number(_at(given, 1)) if len(given) > 1 else s.get("ratio", 0.5)
    if training is None or not training.any() or not p:
        return "same", (given[0],), {}
    return "dropout", (given[0],), {"p": p}


def _concatenate(reader: Facts, given: list[str], s: Mapping[str, Any], shape: Shape, call: Call) -> Read:
    return "concatenate", tuple(given), {"axis": s["axis"] % len(shape)}


def _gather(reader: Facts, given: list[str], s: Mapping[str, Any], shape: Shape, call: Call) -> Read | None:
    table, ids = (reader.recorder.values[name] for name in given)
    if table.role == "parameter" and len(table.shape) == 2 and s.get("axis", 0) == 0 and ids.shape:
        return "embedding", (given[1], given[0]), {}
    return ("view", (given[0],), {}) if ids.role == "constant" and ids.size == 1 else None


def _clip(reader: Facts, given: list[str], s: Mapping[str, Any], shape: Shape, call: Call) -> Read:
    low, high = (reader.number(_at(given, place)) for place in (1, 2))
    low, high = s.get("min", low), s.get("max", high)
    if (low, high) == (0, 6):
        return "activation", (given[0],), {"layer": "ReLU6"}
    text = "{x}" if low is None else "max({x}, low)"
    return "pointwise", (given[0],), {"name": "Clamp", "expression": text if high is None else f"min({text}, high)"}


def _gelu(reader: Facts, given: list[str], s: Mapping[str, Any], shape: Shape, call: Call) -> Read:
    if s.get("approximate") == b"tanh":
        name, text = FORMULAS["gelu_tanh"]
        return "pointwise", (given[0],), {"name": name, "expression": text}
    return "activation", (given[0],), {"layer": "GELU"}


def _resize(reader: Facts, given: list[str], s: Mapping[str, Any], shape: Shape, call: Call) -> Read | None:
    return ("copy", (given[0],), {}) if s.get("mode", b"nearest") == b"nearest" else None


def _prelu(reader: Facts, given: list[str], s: Mapping[str, Any], shape: Shape, call: Call) -> Read:
    return "prelu", (given[0], given[1]), {}


def _attention(reader: Facts, given: list[str], s: Mapping[str, Any], shape: Shape, call: Call) -> Read | None:
    if any(_at(given, place) for place in (4, 5)) or len(shape) != 4:
        return None  # with a cache of keys and values
    return "attention", tuple(given[:3]), {"causal": bool(s.get("is_causal", 0) or _at(given, 3)), "dropout": False}


def _activations() -> Iterable[tuple[str, Reading]]:
    for name, layer in (("Relu", "ReLU"), ("LeakyRelu", "LeakyReLU"), ("Sigmoid", "Sigmoid"), ("Tanh", "Tanh"),
                        ("HardSwish", "HardSwish"), ("Swish", "SiLU")):  # fmt: skip
        yield name, _one("activation", layer=layer)
    for name in ("Exp", "Log", "Sqrt", "Neg", "Abs", "Reciprocal", "Erf", "HardSigmoid", "Softplus", "Softsign", "Mish",
                 "Elu", "Selu"):  # fmt: skip
        yield name, _formula(name.lower())


OPERATIONS: dict[str, Reading] = {
    **dict(_activations()),
    "Conv": _convolution(False),
    "ConvTranspose": _convolution(True),
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Einsum": _einsum,
    "BatchNormalization": _norm("batch_norm"),
    "LayerNormalization": _norm("layer_norm"),
    "RMSNormalization": _norm("rms_norm"),
    "GroupNormalization": _norm("group_norm"),
    "InstanceNormalization": _norm("group_norm"),
    "Add": _pair("add", "Shift", "{x} + term"),
    "Sub": _pair("subtract", "Shift", "{x} - term", "term - {x}"),
    "Mul": _pair("multiply", "Scale", "{x} * factor"),
    "Div": _pair("divide", "Scale", "{x} / factor", "factor / {x}"),
    "Pow": _power,
    "MaxPool": _pool("max_pool"),
    "AveragePool": _pool("avg_pool"),
    "GlobalAveragePool": _global,
    "ReduceMean": _reduce("mean"),
    "ReduceSum": _reduce("sum"),
    "Softmax": _softmax,
    "Dropout": _dropout,
    "Concat": _concatenate,
    "Gather": _gather,
    "Clip": _clip,
    "Gelu": _gelu,
    "Resize": _resize,
    "Upsample": _resize,
    "PRelu": _prelu,
    "Attention": _attention,
}
