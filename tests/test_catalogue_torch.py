"""PyTorch as a second witness: output shapes, values and gradients of the layers it has too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from witness import ADAM, SCALE, WITNESSES, Values, arrays

from dnnlab import vectorised
from dnnlab.layers import CATALOGUE
from dnnlab.measuring.in_torch.peers import PEERS, Peer
from dnnlab.measuring.in_torch.support import supports

torch = pytest.importorskip("torch", reason="PyTorch is an extra: pip install dnnlab[torch]")
F = torch.nn.functional
Tensors = dict[str, Any]

torch.set_num_threads(1)  # the arrays are tiny, and other tests run beside this one

OPTIONS = st.composite(lambda draw, name: WITNESSES[name].draw(draw))
WINDOWED = ("Conv2d", "DepthwiseConv2d", "Conv1d", "ConvTranspose2d", "MaxPool2d", "AvgPool2d")
OPTIMIZERS = ("SGD", "Momentum", "Adam")


def packed(layer: Any, t: Tensors, number: Values) -> Any:
    """Multi-head attention by PyTorch's own function, which takes the three weights in one."""
    packed = torch.cat([t[f"weight_{name}"] for name in ("query", "key", "value")])
    shift = torch.cat([t[f"bias_{name}"] for name in ("query", "key", "value")]) if layer.bias else None
    mask = t["mask"] if layer.causal else None
    x = t["inp"].transpose(0, 1)
    scale = SCALE * (layer.c // layer.a) ** 0.5  # PyTorch divides by the root itself: fold the rest into the query
    packed = torch.cat([packed[: layer.c] * scale, packed[layer.c :]])
    shift = None if shift is None else torch.cat([shift[: layer.c] * scale, shift[layer.c :]])
    out, _ = F.multi_head_attention_forward(
        x, x, x, layer.c, layer.a, packed, shift, None, None, False, 0.0, t["weight_out"], t.get("bias_out"),
        attn_mask=mask,
    )  # fmt: skip
    return out.transpose(0, 1)


#: What PyTorch calls each layer; `measure` times the same calls.
CALLS = {name: peer for name, peer in PEERS.items() if name in WITNESSES and name not in (*OPTIMIZERS, "Flatten")}
FUSED = {"MultiHeadAttention": packed}
#: Settings that PyTorch refuses, turned into ones it takes.
NEAREST: dict[str, Callable[[Values], Values]] = {"AvgPool2d": lambda o: o | {"dilation": 1}}


@pytest.mark.parametrize(("name", "peer"), [*CALLS.items(), *FUSED.items()])
def test_shapes_values_and_gradients_are_those_of_pytorch(name: str, peer: Peer) -> None:
    witness = WITNESSES[name]

    @settings(max_examples=200 if name in WINDOWED else 50, deadline=None)
    @given(OPTIONS(name), st.integers(0, 2**32))
    def law(o: Values, seed: int) -> None:
        o = NEAREST.get(name, dict)(o)
        layer = CATALOGUE[name](**o)
        assume(not supports(layer, "fp64") and not (peer is packed and o["dropout"]))
        program = layer.program
        natural = dict(arrays(witness, o, seed))
        # a window that sees nothing but border makes PyTorch's own backward pass read outside its memory
        assume(np.isfinite(witness.compute(o, natural)).all())
        learned = [*program.having("input"), *program.having("parameter")]
        tensors = {key: torch.tensor(array, requires_grad=key in learned) for key, array in natural.items()}
        rows = {key: tensor.long() for key, tensor in tensors.items() if key in ("ids", "kinds")}
        expected = peer(layer, tensors | rows, witness.scalars)
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
