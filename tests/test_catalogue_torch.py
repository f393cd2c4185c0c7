"""PyTorch as a second witness: output shapes, values and gradients of the layers it has too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from witness import ADAM, EPS, SCALE, WITNESSES, Values, arrays, pair

from dnnlab import vectorised
from dnnlab.layers import CATALOGUE

torch = pytest.importorskip("torch", reason="PyTorch is an extra: pip install dnnlab[torch]")
F = torch.nn.functional
Tensors = dict[str, Any]

torch.set_num_threads(1)  # the arrays are tiny, and other tests run beside this one

OPTIONS = st.composite(lambda draw, name: WITNESSES[name].draw(draw))
WINDOWED = ("Conv2d", "DepthwiseConv2d", "Conv1d", "ConvTranspose2d", "MaxPool2d", "AvgPool2d")


def sliding(o: Values) -> Values:
    return {key: o[key] for key in ("stride", "padding", "dilation", "groups") if key in o}


def pooling(o: Values) -> Values:
    return {"stride": o.get("stride"), "padding": o["padding"], "ceil_mode": o["ceil"]}


def same_only_without_stride(o: Values) -> bool:
    """PyTorch's "same" is for a stride of one."""
    return o["padding"] != "same" or pair(o["stride"]) == (1, 1)


def poolable(o: Values) -> Values:
    """For pooling PyTorch knows no "same" and no border wider than half a window; mean windows have no gaps."""
    given = (0, 0) if isinstance(o["padding"], str) else pair(o["padding"])
    padding = (min(given[0], o["r"] // 2), min(given[1], o["s"] // 2))
    apart = pair(o["dilation"])
    reach = (apart[0] * (o["r"] - 1) + 1, apart[1] * (o["s"] - 1) + 1)
    return o | {"padding": padding, "h": max(o["h"], reach[0]), "w": max(o["w"], reach[1])}


def batch_norm(o: Values, t: Tensors) -> Any:
    means, variances = t["running_mean"].clone(), t["running_var"].clone()
    return F.batch_norm(t["inp"], means, variances, t["weight"], t["bias"], o["training"], 0.1, EPS)


def sdpa(o: Values, t: Tensors) -> Any:
    def split(x: Any) -> Any:
        return x.unflatten(2, (-1, o["d"])).transpose(1, 2)

    query, key, value = (split(t[name]) for name in ("query", "key", "value"))
    out = F.scaled_dot_product_attention(
        query, key, value, attn_mask=t.get("mask"), scale=SCALE, enable_gqa=o.get("g", o["a"]) != o["a"]
    )
    return out.transpose(1, 2).flatten(2)


def mha(o: Values, t: Tensors) -> Any:
    packed = torch.cat([t[f"weight_{name}"] for name in ("query", "key", "value")])
    shift = torch.cat([t[f"bias_{name}"] for name in ("query", "key", "value")]) if o["bias"] else None
    mask = t["mask"] if o["causal"] else None
    x = t["inp"].transpose(0, 1)
    scale = SCALE * (o["c"] // o["a"]) ** 0.5  # PyTorch divides by the root itself: fold the rest into the query
    packed = torch.cat([packed[: o["c"]] * scale, packed[o["c"] :]])
    shift = None if shift is None else torch.cat([shift[: o["c"]] * scale, shift[o["c"] :]])
    out, _ = F.multi_head_attention_forward(
        x, x, x, o["c"], o["a"], packed, shift, None, None, False, 0.0, t["weight_out"], t.get("bias_out"),
        attn_mask=mask,
    )  # fmt: skip
    return out.transpose(0, 1)


#: What PyTorch calls each layer.
PEERS: dict[str, Callable[[Values, Tensors], Any]] = {
    "Conv2d": lambda o, t: F.conv2d(t["inp"], t["weight"], t.get("bias"), **sliding(o)),
    "DepthwiseConv2d": lambda o, t: F.conv2d(
        t["inp"], t["weight"][:, None], t.get("bias"), **sliding(o), groups=o["k"]
    ),
    "PointwiseConv2d": lambda o, t: F.conv2d(t["inp"], t["weight"][:, :, None, None], t.get("bias")),
    "Conv1d": lambda o, t: F.conv1d(t["inp"], t["weight"], t.get("bias"), **sliding(o)),
    "ConvTranspose2d": lambda o, t: F.conv_transpose2d(
        t["inp"], t["weight"], t.get("bias"), o["stride"], o["padding"], o["output_padding"], 1, o["dilation"]
    ),
    "Linear": lambda o, t: F.linear(t["inp"], t["weight"], t.get("bias")),
    "BatchedLinear": lambda o, t: F.linear(t["inp"], t["weight"], t.get("bias")),
    "MaxPool2d": lambda o, t: F.max_pool2d(t["inp"], (o["r"], o["s"]), **pooling(o), dilation=o["dilation"]),
    "AvgPool2d": lambda o, t: F.avg_pool2d(t["inp"], (o["r"], o["s"]), **pooling(o), divisor_override=o["r"] * o["s"]),
    "AdaptiveAvgPool2d": lambda o, t: F.adaptive_avg_pool2d(t["inp"], (o["y"], o["x"])),
    "GlobalAvgPool2d": lambda o, t: F.adaptive_avg_pool2d(t["inp"], 1),
    "BatchNorm2d": batch_norm,
    "LayerNorm": lambda o, t: F.layer_norm(t["inp"], (o["c"],), t["weight"], t["bias"], EPS),
    "RMSNorm": lambda o, t: F.rms_norm(t["inp"], (o["c"],), t["weight"], EPS),
    "ReLU": lambda o, t: F.relu(t["inp"]),
    "ReLU6": lambda o, t: F.relu6(t["inp"]),
    "LeakyReLU": lambda o, t: F.leaky_relu(t["inp"], 0.2),
    "PReLU": lambda o, t: F.prelu(t["inp"], t["slope"]),
    "Sigmoid": lambda o, t: torch.sigmoid(t["inp"]),
    "Tanh": lambda o, t: torch.tanh(t["inp"]),
    "HardSwish": lambda o, t: F.hardswish(t["inp"]),
    "GELU": lambda o, t: F.gelu(t["inp"]),
    "SiLU": lambda o, t: F.silu(t["inp"]),
    "Softmax": lambda o, t: F.softmax(t["inp"], -1),
    "Embedding": lambda o, t: F.embedding(t["ids"].long(), t["table"]),
    "ScaledDotProductAttention": sdpa,
    "MultiHeadAttention": mha,
}
#: The settings that PyTorch takes, where it refuses some.
ALLOWED: dict[str, Callable[[Values], bool]] = {
    "Conv2d": same_only_without_stride,
    "DepthwiseConv2d": same_only_without_stride,
    "Conv1d": same_only_without_stride,
    "ConvTranspose2d": lambda o: all(
        extra < max(step, apart)
        for extra, step, apart in zip(pair(o["output_padding"]), pair(o["stride"]), pair(o["dilation"]), strict=True)
    ),
    "BatchNorm2d": lambda o: not o["training"] or o["n"] * o["h"] * o["w"] > 1,
    "ScaledDotProductAttention": lambda o: not o["dropout"],
    "MultiHeadAttention": lambda o: not o["dropout"],
}
#: Those that are turned into ones it takes.
NEAREST: dict[str, Callable[[Values], Values]] = {
    "MaxPool2d": poolable,
    "AvgPool2d": lambda o: poolable(o | {"dilation": 1}),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", PEERS)
def test_shapes_values_and_gradients_are_those_of_pytorch(name: str) -> None:
    witness = WITNESSES[name]

    @settings(max_examples=200 if name in WINDOWED else 50, deadline=None)
    @given(OPTIONS(name), st.integers(0, 2**32))
    def law(o: Values, seed: int) -> None:
        o = NEAREST.get(name, dict)(o)
        assume(ALLOWED.get(name, lambda o: True)(o))
        layer = CATALOGUE[name](**o)
        program = layer.program
        natural = dict(arrays(witness, o, seed))
        # a window that sees nothing but border makes PyTorch's own backward pass read outside its memory
        assume(np.isfinite(witness.compute(o, natural)).all())
        learned = [*program.having("input"), *program.having("parameter")]
        tensors = {key: torch.tensor(array, requires_grad=key in learned) for key, array in natural.items()}
        expected = PEERS[name](o, tensors)
        assert layer.output_shape == tuple(expected.shape)

        given = {key: array.reshape(program.shape(key)) for key, array in natural.items()}
        run = vectorised.run(program, given, witness.scalars)
        (output,) = program.having("output")
        same(run[output].reshape(expected.shape), expected.detach(), f"{name} {o}")

        cotangent = np.random.default_rng(seed).standard_normal(expected.shape)
        expected.backward(torch.tensor(cotangent))
        saved = {key: run[key] for key in layer.saved} | {"d_" + output: cotangent.reshape(run[output].shape)}
        gradients = vectorised.run(layer.backward(), saved, witness.scalars)
        for key in learned:
            found = gradients["d_" + key].reshape(natural[key].shape)
            same(found, tensors[key].grad, f"{name} {o}: gradient of {key}")

    law()


def same(found: Any, expected: Any, what: str) -> None:
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-9, atol=1e-9, err_msg=what)


@given(OPTIONS("BatchNorm2d"), st.integers(0, 2**32))
def test_running_means_are_those_of_pytorch(o: Values, seed: int) -> None:
    count = o["n"] * o["h"] * o["w"]
    assume(count > 1)
    natural = dict(arrays(WITNESSES["BatchNorm2d"], o | {"training": True}, seed))
    means, variances = torch.tensor(natural["running_mean"]), torch.tensor(natural["running_var"])
    F.batch_norm(torch.tensor(natural["inp"]), means, variances, training=True, momentum=0.1)
    layer = CATALOGUE["BatchNorm2d"](**o | {"training": True})
    run = vectorised.run(layer.program, natural, WITNESSES["BatchNorm2d"].scalars)
    same(run["running_mean"], means, str(o))
    # PyTorch keeps the unbiased variance, the line the biased one that it normalises with
    batch = (variances.numpy() - 0.9 * natural["running_var"]) * (count - 1) / count
    np.testing.assert_allclose(run["running_var"], 0.9 * natural["running_var"] + batch, rtol=1e-9)


@pytest.mark.parametrize("name", ["SGD", "Momentum", "Adam"])
def test_three_steps_are_those_of_pytorch(name: str) -> None:
    rng = np.random.default_rng(0)
    start, gradients = rng.standard_normal(50), rng.standard_normal((3, 50))
    param = torch.tensor(start, requires_grad=True)
    peers = {
        "SGD": lambda: torch.optim.SGD([param], lr=0.1),
        "Momentum": lambda: torch.optim.SGD([param], lr=0.1, momentum=0.9),
        "Adam": lambda: torch.optim.Adam([param], lr=0.1, betas=(0.9, 0.99), eps=1e-8),
    }
    optimizer = peers[name]()
    program = CATALOGUE[name](p=50).program
    tensors: dict[str, Any] = {"param": start} | {key: np.zeros(50) for key in program.having("state")}
    for step, gradient in enumerate(gradients, start=1):
        param.grad = torch.tensor(gradient)
        optimizer.step()
        scalars = WITNESSES[name].scalars
        if name == "Adam":
            scalars = ADAM | {"fix1": 1 - 0.9**step, "fix2": 1 - 0.99**step}
        tensors = vectorised.run(program, {**tensors, "grad": gradient}, scalars)
        same(tensors["param"], param.detach(), f"{name}, step {step}")
