"""An independent witness for each layer of the catalogue: which shapes to draw, and what NumPy computes.

Nothing here reads a layer's lines. Arrays have the shapes a network sees, which the lines may split
(channels into groups, a width into heads).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

Array = NDArray[np.float64]
Values = dict[str, Any]
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Witness:
    """`draw` gives dimensions and options; `inputs`, `parameters`, `others` the shapes of what is given;
    `compute` the output from dimensions, arrays and scalars."""

    draw: Callable[[st.DrawFn], Values]
    inputs: Callable[[Values], Shapes]
    compute: Callable[[Values, dict[str, Array]], Any]
    parameters: Callable[[Values], Shapes] = lambda o: {}
    others: Callable[[Values], Shapes] = lambda o: {}
    scalars: dict[str, float] = field(default_factory=dict)
    span: float = 3.7  # arrays are drawn between minus half and half of it, no two elements alike
    kinks: tuple[float, ...] = ()  # and none of them at these


WITNESSES: dict[str, Witness] = {}


# -- windows ---------------------------------------------------------------------------------------------


def pair(value: Any) -> tuple[Any, Any]:
    return tuple(value) if isinstance(value, tuple) else (value, value)


def positions(size: int, filter_: int, step: int, apart: int, padding: Any, ceil: bool = False) -> tuple[int, int]:
    """Outputs along an axis and the width of the border before it."""
    reach = apart * (filter_ - 1) + 1
    if padding == "same":
        return math.ceil(size / step), (reach - 1) // 2
    border = 0 if padding == "valid" else padding
    count = (size + 2 * border - reach) / step
    outputs = (math.ceil(count) if ceil else math.floor(count)) + 1
    while ceil and (outputs - 1) * step >= size + border:
        outputs -= 1
    return outputs, border


def windows(x: Array, o: Values, fill: float) -> Array:
    """(n, c, h, w) to (n, c, y, x, r, s): what the filter sees at each output."""
    paddings = (o["padding"],) * 2 if isinstance(o["padding"], str) else pair(o["padding"])
    axes = []
    for place, (size, filter_) in enumerate(((o["h"], o["r"]), (o["w"], o["s"]))):
        step = pair(o.get("stride") or (o["r"], o["s"]))[place]
        apart = pair(o.get("dilation", 1))[place]
        outputs, border = positions(size, filter_, step, apart, paddings[place], o.get("ceil", False))
        after = max(0, (outputs - 1) * step + apart * (filter_ - 1) + 1 - size - border)
        axes.append((outputs, step, apart, border, after))
    (rows, sy, dy, top, bottom), (columns, sx, dx, left, right) = axes
    wide = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=fill)
    seen = np.empty((*x.shape[:2], rows, columns, o["r"], o["s"]))
    for y in range(rows):
        for x_ in range(columns):
            high, wide_ = y * sy, x_ * sx
            seen[:, :, y, x_] = wide[:, :, high : high + dy * o["r"] : dy, wide_ : wide_ + dx * o["s"] : dx][
                :, :, : o["r"], : o["s"]
            ]
    return seen


def convolve(o: Values, t: dict[str, Array]) -> Array:
    seen = windows(t["inp"], o, 0.0)
    groups, filters, channels = o.get("groups", 1), t["weight"].shape[0], t["weight"].shape[1]
    out = np.zeros((seen.shape[0], filters, *seen.shape[2:4]))
    for k in range(filters):
        first = k // (filters // groups) * channels
        out[:, k] = (seen[:, first : first + channels] * t["weight"][k][:, None, None]).sum((1, 4, 5))
    return out + t["bias"][:, None, None] if o["bias"] else out


def transpose(o: Values, t: dict[str, Array]) -> Array:
    (sy, sx), (dy, dx) = pair(o["stride"]), pair(o["dilation"])
    (py, px), (ey, ex) = pair(o["padding"]), pair(o["output_padding"])
    n, _, h, w = t["inp"].shape
    _, k, r, s = t["weight"].shape
    out = np.zeros((n, k, (h - 1) * sy + dy * (r - 1) + 1 + ey, (w - 1) * sx + dx * (s - 1) + 1 + ex))
    for y in range(h):
        for x in range(w):
            for i in range(r):
                for j in range(s):
                    out[:, :, y * sy + i * dy, x * sx + j * dx] += t["inp"][:, :, y, x] @ t["weight"][:, :, i, j]
    out = out[:, :, py : out.shape[2] - py, px : out.shape[3] - px]
    return out + t["bias"][:, None, None] if o["bias"] else out


def small(draw: st.DrawFn, most: int = 3, least: int = 1) -> int:
    return draw(st.integers(least, most))


def one_or_two(draw: st.DrawFn, most: int, least: int = 1) -> Any:
    """A number for both axes, or a pair."""
    number = st.integers(least, most)
    return draw(number | st.tuples(number, number))


def draw_window(draw: st.DrawFn, dilated: bool = True) -> Values:
    """Filter, input, stride, padding and dilation that fit: the input is as large as the filter, or more."""
    o: Values = {"r": small(draw), "s": small(draw), "stride": one_or_two(draw, 3)}
    o["dilation"] = one_or_two(draw, 3) if dilated else 1
    o["padding"] = draw(st.sampled_from(["same", "valid"])) if draw(st.booleans()) else one_or_two(draw, 4, 0)
    borders = (0, 0) if o["padding"] == "valid" else (9, 9) if o["padding"] == "same" else pair(o["padding"])
    for size, filter_, place in (("h", "r", 0), ("w", "s", 1)):
        least = pair(o["dilation"])[place] * (o[filter_] - 1) + 1 - 2 * borders[place]
        o[size] = max(1, least) + small(draw, 4, 0)
    return o


def draw_channels(draw: st.DrawFn, o: Values, grouped: bool = True) -> Values:
    """Samples, filters, channels and groups: few where the picture is large."""
    most = 1 if o["h"] * o["w"] * o["r"] * o["s"] > 100 else 2
    groups = draw(st.sampled_from([1, 1, 2, 3])) if grouped else 1
    o |= {"n": small(draw, most), "k": small(draw, most + 1) * groups, "c": small(draw, most) * groups}
    return o | {"bias": draw(st.booleans())} | ({"groups": groups} if grouped else {})


def draw_conv2d(draw: st.DrawFn) -> Values:
    return draw_channels(draw, draw_window(draw))


def draw_depthwise(draw: st.DrawFn) -> Values:
    o = draw_channels(draw, draw_window(draw), grouped=False)
    del o["c"]
    return o


def draw_conv1d(draw: st.DrawFn) -> Values:
    o: Values = {"s": small(draw, 4), "stride": small(draw), "dilation": small(draw), "h": 1, "r": 1}
    o["padding"] = draw(st.sampled_from(["same", "valid"]) | st.integers(0, 4))
    least = o["dilation"] * (o["s"] - 1) + 1
    border = {"same": least, "valid": 0}.get(o["padding"], o["padding"])
    o["w"] = max(1, least - 2 * border) + small(draw, 6, 0)
    o = draw_channels(draw, o)
    del o["h"], o["r"]
    return o


def as_picture(o: Values) -> Values:
    """A one-dimensional layer as a picture of height one."""
    padding = o["padding"] if isinstance(o["padding"], str) else (0, o["padding"])
    return o | {"h": 1, "r": 1, "padding": padding, "stride": (1, o["stride"]), "dilation": (1, o["dilation"])}


def convolve_1d(o: Values, t: dict[str, Array]) -> Array:
    wide = t | {"inp": t["inp"][:, :, None], "weight": t["weight"][:, :, None]}
    return convolve(as_picture(o), wide)[:, :, 0]


def draw_transpose(draw: st.DrawFn) -> Values:
    o: Values = {"r": small(draw), "s": small(draw), "stride": one_or_two(draw, 3), "dilation": one_or_two(draw, 2)}
    o |= {"padding": one_or_two(draw, 2, 0), "output_padding": one_or_two(draw, 2, 0)}
    for size, filter_, place in (("h", "r", 0), ("w", "s", 1)):
        step = pair(o["stride"])[place]
        kept = pair(o["dilation"])[place] * (o[filter_] - 1) + pair(o["output_padding"])[place]
        o[size] = 1 + max(0, math.ceil((2 * pair(o["padding"])[place] - kept) / step)) + small(draw, 3, 0)
    return draw_channels(draw, o, grouped=False)


def bias(o: Values, size: str = "k") -> Shapes:
    return {"bias": (o[size],)} if o["bias"] else {}


def picture(o: Values, channels: str = "c") -> Shapes:
    return {"inp": (o["n"], o[channels], o["h"], o["w"])}


WITNESSES["Conv2d"] = Witness(
    draw_conv2d,
    picture,
    convolve,
    lambda o: {"weight": (o["k"], o["c"] // o["groups"], o["r"], o["s"])} | bias(o),
)
WITNESSES["DepthwiseConv2d"] = Witness(
    draw_depthwise,
    lambda o: picture(o, "k"),
    lambda o, t: convolve(o | {"groups": o["k"]}, t | {"weight": t["weight"][:, None]}),
    lambda o: {"weight": (o["k"], o["r"], o["s"])} | bias(o),
)
WITNESSES["PointwiseConv2d"] = Witness(
    lambda draw: {name: small(draw, 5) for name in "nkchw"} | {"bias": draw(st.booleans())},
    picture,
    lambda o, t: np.moveaxis(np.moveaxis(t["inp"], 1, 3) @ t["weight"].T + t.get("bias", 0.0), 3, 1),
    lambda o: {"weight": (o["k"], o["c"])} | bias(o),
)
WITNESSES["Conv1d"] = Witness(
    draw_conv1d,
    lambda o: {"inp": (o["n"], o["c"], o["w"])},
    convolve_1d,
    lambda o: {"weight": (o["k"], o["c"] // o["groups"], o["s"])} | bias(o),
)
WITNESSES["ConvTranspose2d"] = Witness(
    draw_transpose,
    picture,
    transpose,
    lambda o: {"weight": (o["c"], o["k"], o["r"], o["s"])} | bias(o),
)


def draw_pool(draw: st.DrawFn) -> Values:
    o = draw_window(draw)
    if draw(st.booleans()):
        del o["stride"]
    o["ceil"] = draw(st.booleans())
    return o | {"n": small(draw, 2), "c": small(draw, 2)}


WITNESSES["MaxPool2d"] = Witness(draw_pool, picture, lambda o, t: windows(t["inp"], o, -math.inf).max((4, 5)))
WITNESSES["AvgPool2d"] = Witness(draw_pool, picture, lambda o, t: windows(t["inp"], o, 0.0).mean((4, 5)))


def draw_adaptive(draw: st.DrawFn) -> Values:
    o = {name: small(draw, 4 if name in "yx" else 2) for name in "ncyx"}
    return o | {"h": o["y"] * small(draw), "w": o["x"] * small(draw)}


def adaptive(o: Values, t: dict[str, Array]) -> Array:
    r, s = o["h"] // o["y"], o["w"] // o["x"]
    return windows(t["inp"], o | {"r": r, "s": s, "padding": "valid"}, 0.0).mean((4, 5))


WITNESSES["AdaptiveAvgPool2d"] = Witness(draw_adaptive, picture, adaptive)
WITNESSES["GlobalAvgPool2d"] = Witness(
    lambda draw: {name: small(draw, 6) for name in "nchw"},
    picture,
    lambda o, t: t["inp"].mean((2, 3), keepdims=True),
)

# -- linear layers and normalisation ---------------------------------------------------------------------

WITNESSES["Linear"] = Witness(
    lambda draw: {name: small(draw, 9) for name in "nkc"} | {"bias": draw(st.booleans())},
    lambda o: {"inp": (o["n"], o["c"])},
    lambda o, t: np.array([[t["weight"][k] @ row for k in range(o["k"])] for row in t["inp"]]) + t.get("bias", 0.0),
    lambda o: {"weight": (o["k"], o["c"])} | bias(o),
)


def tokens(o: Values) -> Shapes:
    return {"inp": (o["n"], o["t"], o["c"])}


WITNESSES["BatchedLinear"] = Witness(
    lambda draw: {name: small(draw, 5) for name in "ntkc"} | {"bias": draw(st.booleans())},
    tokens,
    lambda o, t: np.tensordot(t["inp"], t["weight"], (2, 1)) + t.get("bias", 0.0),
    lambda o: {"weight": (o["k"], o["c"])} | bias(o),
)


def normalised(x: Array, axes: Any, eps: float) -> Array:
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)


def over_channels(vector: Array) -> Array:
    return vector[:, None, None]


EPS = 0.3  # large, so that finite differences see no steep slope where few elements are normalised


def batch_norm(o: Values, t: dict[str, Array]) -> Array:
    if o["training"]:
        plain = normalised(t["inp"], (0, 2, 3), EPS)
    else:
        plain = (t["inp"] - over_channels(t["running_mean"])) / np.sqrt(over_channels(t["running_var"]) + EPS)
    return plain * over_channels(t["weight"]) + over_channels(t["bias"])


def running(o: Values, t: dict[str, Array]) -> dict[str, Array]:
    """The running statistics after a training step."""
    keep = 1 - 0.1
    return {
        "running_mean": keep * t["running_mean"] + 0.1 * t["inp"].mean((0, 2, 3)),
        "running_var": keep * t["running_var"] + 0.1 * t["inp"].var((0, 2, 3)),
    }


WITNESSES["BatchNorm2d"] = Witness(
    lambda draw: {name: small(draw, 4) for name in "nchw"} | {"training": draw(st.booleans())},
    picture,
    batch_norm,
    lambda o: {"weight": (o["c"],), "bias": (o["c"],)},
    lambda o: {"running_mean": (o["c"],), "running_var": (o["c"],)},
    {"eps": EPS, "momentum": 0.1},
)


def draw_tokens(draw: st.DrawFn) -> Values:
    return {name: small(draw, 7) for name in "ntc"}


WITNESSES["LayerNorm"] = Witness(
    draw_tokens,
    tokens,
    lambda o, t: normalised(t["inp"], -1, EPS) * t["weight"] + t["bias"],
    lambda o: {"weight": (o["c"],), "bias": (o["c"],)},
    scalars={"eps": EPS},
)
WITNESSES["RMSNorm"] = Witness(
    draw_tokens,
    tokens,
    lambda o, t: t["inp"] / np.sqrt((t["inp"] ** 2).mean(-1, keepdims=True) + EPS) * t["weight"],
    lambda o: {"weight": (o["c"],)},
    scalars={"eps": EPS},
)

# -- element by element ----------------------------------------------------------------------------------


def draw_shape(draw: st.DrawFn) -> Values:
    shape = tuple(draw(st.lists(st.integers(1, 6), min_size=1, max_size=3)))
    return draw(st.sampled_from([{"shape": shape}, {"m": math.prod(shape)}]))


def elements(o: Values, *names: str) -> Shapes:
    return dict.fromkeys(names or ("inp",), o.get("shape") or (o.get("m", 0),))


erf = np.vectorize(math.erf, otypes=[float])
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": lambda x: np.where(x > 0, x, 0.0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "sigmoid": lambda x: np.exp(x) / (np.exp(x) + 1),
    "tanh": lambda x: np.sinh(x) / np.cosh(x),
    "hardswish": lambda x: np.select([x < -3, x > 3], [0 * x, x], x * (x + 3) / 6),
    "gelu": lambda x: x * (1 + erf(x / math.sqrt(2))) / 2,
    "silu": lambda x: x * np.exp(x) / (np.exp(x) + 1),
}
NAMES = {"ReLU": "relu", "ReLU6": "relu6", "Sigmoid": "sigmoid", "Tanh": "tanh"}
NAMES |= {"HardSwish": "hardswish", "GELU": "gelu", "SiLU": "silu"}


def pointwise(function: Callable[[Array], Array]) -> Callable[[Values, dict[str, Array]], Array]:
    return lambda o, t: function(t["inp"])


for _layer, _name in NAMES.items():
    WITNESSES[_layer] = Witness(
        draw_shape, elements, pointwise(ACTIVATIONS[_name]), span=15.7, kinks=(-3.0, 0.0, 3.0, 6.0)
    )
WITNESSES["LeakyReLU"] = Witness(
    draw_shape,
    elements,
    lambda o, t: np.where(t["inp"] > 0, t["inp"], 0.2 * t["inp"]),
    scalars={"slope": 0.2},
    kinks=(0.0,),
)
WITNESSES["PReLU"] = Witness(
    lambda draw: {"n": small(draw, 4), "c": small(draw, 5), **draw_rest(draw)},
    lambda o: {"inp": (o["n"], o["c"], *rest_of(o))},
    lambda o, t: np.where(t["inp"] > 0, 1.0, t["slope"].reshape(-1, *[1] * len(rest_of(o)))) * t["inp"],
    lambda o: {"slope": (o["c"],)},
    kinks=(0.0,),
)


def draw_rest(draw: st.DrawFn) -> Values:
    rest = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=2)))
    return draw(st.sampled_from([{"rest": rest}, {"m": math.prod(rest)}]))


def rest_of(o: Values) -> tuple[int, ...]:
    return o.get("rest") or (o.get("m", 0),)


WITNESSES["Dropout"] = Witness(
    lambda draw: draw_shape(draw) | {"p": draw(st.sampled_from([0.0, 0.1, 0.5, 0.9]))},
    elements,
    lambda o, t: t["inp"] * t["mask"],
    others=lambda o: elements(o, "mask"),
)
WITNESSES["Add"] = Witness(draw_shape, lambda o: elements(o, "first", "second"), lambda o, t: t["first"] + t["second"])
WITNESSES["Multiply"] = Witness(
    draw_shape, lambda o: elements(o, "first", "second"), lambda o, t: t["first"] * t["second"]
)
WITNESSES["Concatenate"] = Witness(
    lambda draw: {
        "n": small(draw),
        "parts": tuple(draw(st.lists(st.integers(1, 4), min_size=2, max_size=4))),
        **draw_rest(draw),
    },
    lambda o: {f"inp{place}": (o["n"], part, *rest_of(o)) for place, part in enumerate(o["parts"])},
    lambda o, t: np.concatenate([t[f"inp{place}"] for place in range(len(o["parts"]))], axis=1),
)
WITNESSES["Flatten"] = Witness(
    lambda draw: {"n": small(draw), "rest": tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))},
    lambda o: {"inp": (o["n"], *o["rest"])},
    lambda o, t: t["inp"].reshape(o["n"], -1),
)

# -- transformers ----------------------------------------------------------------------------------------


def softmax(x: Array) -> Array:
    weights = np.exp(x)
    return weights / weights.sum(-1, keepdims=True)


def draw_rows(draw: st.DrawFn) -> Values:
    rows = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=2)))
    return draw(st.sampled_from([{"rows": rows}, {"n": math.prod(rows)}])) | {"c": small(draw, 7)}


WITNESSES["Softmax"] = Witness(
    draw_rows,
    lambda o: {"inp": (*(o.get("rows") or (o.get("n", 0),)), o["c"])},
    lambda o, t: softmax(t["inp"]),
)


def heads(o: Values, t: dict[str, Array], query: Array, key: Array, value: Array, d: int, a: int, g: int) -> Array:
    """Attention a head at a time; query head i uses key and value head i // (a / g)."""
    out = np.zeros_like(query)
    for n in range(query.shape[0]):
        for head in range(a):
            mine, shared = slice(head * d, (head + 1) * d), head * g // a
            theirs = slice(shared * d, (shared + 1) * d)
            score = query[n, :, mine] @ key[n, :, theirs].T * SCALE
            prob = softmax(score + t["mask"] if o["causal"] else score)
            if o["dropout"]:
                prob = prob * t["drop"][n, head]
            out[n, :, mine] = prob @ value[n, :, theirs]
    return out


SCALE = 0.6


def draw_sdpa(draw: st.DrawFn) -> Values:
    o: Values = {"n": small(draw, 2), "t": small(draw, 4), "u": small(draw, 4), "d": small(draw)}
    g, group = small(draw, 2), small(draw, 2)
    o |= {"a": g * group} | ({"g": g} if group > 1 or draw(st.booleans()) else {})
    return o | {"causal": draw(st.booleans()), "dropout": draw(st.booleans())}


def masks(o: Values, t: int, u: int, a: int) -> Shapes:
    return ({"mask": (t, u)} if o["causal"] else {}) | ({"drop": (o["n"], a, t, u)} if o["dropout"] else {})


def sdpa_inputs(o: Values) -> Shapes:
    narrow = (o["n"], o["u"], o.get("g", o["a"]) * o["d"])
    return {"query": (o["n"], o["t"], o["a"] * o["d"]), "key": narrow, "value": narrow}


WITNESSES["ScaledDotProductAttention"] = Witness(
    draw_sdpa,
    sdpa_inputs,
    lambda o, t: heads(o, t, t["query"], t["key"], t["value"], o["d"], o["a"], o.get("g", o["a"])),
    others=lambda o: masks(o, o["t"], o["u"], o["a"]),
    scalars={"scale": SCALE},
)


def draw_mha(draw: st.DrawFn) -> Values:
    o: Values = {"n": small(draw, 2), "t": small(draw), "a": small(draw, 2), "bias": draw(st.booleans())}
    return o | {"c": o["a"] * small(draw, 2), "causal": draw(st.booleans()), "dropout": draw(st.booleans())}


def mha(o: Values, t: dict[str, Array]) -> Array:
    def linear(name: str, x: Array) -> Array:
        return x @ t[f"weight_{name}"].T + t.get(f"bias_{name}", 0.0)

    query, key, value = (linear(name, t["inp"]) for name in ("query", "key", "value"))
    return linear("out", heads(o, t, query, key, value, o["c"] // o["a"], o["a"], o["a"]))


def mha_parameters(o: Values) -> Shapes:
    four = ("query", "key", "value", "out")
    weights = {f"weight_{name}": (o["c"], o["c"]) for name in four}
    return weights | ({f"bias_{name}": (o["c"],) for name in four} if o["bias"] else {})


WITNESSES["MultiHeadAttention"] = Witness(
    draw_mha,
    tokens,
    mha,
    mha_parameters,
    lambda o: masks(o, o["t"], o["t"], o["a"]),
    {"scale": SCALE},
)


def draw_feed_forward(draw: st.DrawFn) -> Values:
    o: Values = {name: small(draw) for name in "ntc"} | {"m": small(draw, 4)}
    o |= {"gated": draw(st.booleans()), "bias": draw(st.booleans())}
    return o | {"activation": draw(st.sampled_from(sorted(ACTIVATIONS)))}


def feed_forward(o: Values, t: dict[str, Array]) -> Array:
    hidden = t["inp"] @ t["weight_hidden"].T + t.get("bias_hidden", 0.0)
    if o["gated"]:
        gate = t["inp"] @ t["weight_gate"].T + t.get("bias_gate", 0.0)
        inner = ACTIVATIONS[o["activation"]](gate) * hidden
    else:
        inner = ACTIVATIONS[o["activation"]](hidden)
    return inner @ t["weight_out"].T + t.get("bias_out", 0.0)


def feed_forward_parameters(o: Values) -> Shapes:
    first = ("hidden", "gate") if o["gated"] else ("hidden",)
    shapes: Shapes = {f"weight_{name}": (o["m"], o["c"]) for name in first} | {"weight_out": (o["c"], o["m"])}
    if o["bias"]:
        shapes |= {f"bias_{name}": (o["m"],) for name in first} | {"bias_out": (o["c"],)}
    return shapes


WITNESSES["FeedForward"] = Witness(
    draw_feed_forward, tokens, feed_forward, feed_forward_parameters, kinks=(-3.0, 0.0, 3.0, 6.0)
)
WITNESSES["Embedding"] = Witness(
    lambda draw: {name: small(draw, 6) for name in "ntvc"},
    lambda o: {"ids": (o["n"], o["t"])},
    lambda o, t: t["table"][t["ids"].astype(int)],
    lambda o: {"table": (o["v"], o["c"])},
)


def draw_add_embedding(draw: st.DrawFn) -> Values:
    o: Values = draw_tokens(draw) | {"lookup": draw(st.booleans())}
    return o | {"v": small(draw, 6) + (0 if o["lookup"] else o["t"])}


def add_embedding(o: Values, t: dict[str, Array]) -> Array:
    rows = t["kinds"].astype(int) if o["lookup"] else np.arange(o["t"])
    return t["inp"] + t["table"][rows]


WITNESSES["AddEmbedding"] = Witness(
    draw_add_embedding,
    tokens,
    add_embedding,
    lambda o: {"table": (o["v"], o["c"])},
    lambda o: {"kinds": (o["n"], o["t"])} if o["lookup"] else {},
)


def rotate(o: Values, t: dict[str, Array]) -> Array:
    """Each pair of neighbouring features as a complex number, times another."""
    pairs = t["inp"].reshape(o["n"], o["t"], o["a"], o["d"] // 2, 2)
    turned = (pairs[..., 0] + 1j * pairs[..., 1]) * (t["cos"] + 1j * t["sin"])[None, :, None]
    return np.stack([turned.real, turned.imag], -1).reshape(t["inp"].shape)


WITNESSES["RotaryEmbedding"] = Witness(
    lambda draw: {name: small(draw, 4) for name in "nta"} | {"d": 2 * small(draw)},
    lambda o: {"inp": (o["n"], o["t"], o["a"] * o["d"])},
    rotate,
    others=lambda o: {"cos": (o["t"], o["d"] // 2), "sin": (o["t"], o["d"] // 2)},
)

# -- optimizers: `compute` gives every tensor that the step changes ---------------------------------------


def sgd(o: Values, t: dict[str, Array]) -> dict[str, Array]:
    return {"param": t["param"] - 0.1 * t["grad"]}


def momentum(o: Values, t: dict[str, Array]) -> dict[str, Array]:
    velocity = 0.9 * t["velocity"] + t["grad"]
    return {"velocity": velocity, "param": t["param"] - 0.1 * velocity}


def adam(o: Values, t: dict[str, Array]) -> dict[str, Array]:
    """The third step, as in the paper's algorithm 1."""
    first, second = 0.9 * t["first"] + 0.1 * t["grad"], 0.99 * t["second"] + 0.01 * np.square(t["grad"])
    step = 0.1 * first / (1 - 0.9**3) / (np.sqrt(second / (1 - 0.99**3)) + 1e-8)
    return {"first": first, "second": second, "param": t["param"] - step}


ADAM = {"lr": 0.1, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "fix1": 1 - 0.9**3, "fix2": 1 - 0.99**3}
for _layer, _function, _state, _scalars in (
    ("SGD", sgd, (), {"lr": 0.1}),
    ("Momentum", momentum, ("velocity",), {"lr": 0.1, "mu": 0.9}),
    ("Adam", adam, ("first", "second"), ADAM),
):
    WITNESSES[_layer] = Witness(
        lambda draw: {"p": small(draw, 400)},
        lambda o: {"grad": (o["p"],)},
        _function,
        lambda o: {"param": (o["p"],)},
        lambda o, names=_state: {name: (o["p"],) for name in names},  # type: ignore[misc]
        _scalars,
    )

# -- numbers ---------------------------------------------------------------------------------------------


def numbers(shape: tuple[int, ...], rng: np.random.Generator, witness: Witness) -> Array:
    """Numbers of both signs, no two alike, and none where a slope jumps."""
    size = math.prod(shape)
    values = (rng.permutation(size) + 0.5 - size / 2) * witness.span / size + rng.uniform(-1e-3, 1e-3)
    for kink in witness.kinks:
        values[np.abs(values - kink) < 2e-3] += 4e-3
    return values.reshape(shape)


def special(name: str, shape: tuple[int, ...], o: Values, rng: np.random.Generator) -> Array | None:
    """Arrays that may not hold just any number."""
    if name in ("ids", "kinds"):
        return rng.integers(0, o["v"], shape).astype(float)
    if name == "mask" and "causal" in o:
        return np.where(np.tri(*shape, k=max(0, shape[1] - shape[0])) > 0, 0.0, -math.inf)
    if name in ("mask", "drop"):
        return (rng.random(shape) < 0.6) / 0.6
    if name in ("running_var", "second"):
        return rng.uniform(0.5, 2, shape)
    return None


def arrays(witness: Witness, o: Values, seed: int) -> Iterator[tuple[str, Array]]:
    """Everything a layer is given, by name."""
    rng = np.random.default_rng(seed)
    for name, shape in (witness.inputs(o) | witness.parameters(o) | witness.others(o)).items():
        found = special(name, shape, o, rng)
        yield name, numbers(shape, rng, witness) if found is None else found
