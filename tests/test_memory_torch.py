"""Memory against PyTorch itself, run on the spot: kept tensors of a transformer layer, training steps, a cache."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from typing import Any

import pytest

try:
    import torch
except ImportError:
    pytest.skip("PyTorch is not installed: python -m tasks test --with torch", allow_module_level=True)

import torch_meters as meters
import torch_models as models
import torch_transformers as transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import dnnlab as dl
from dnnlab import zoo
from dnnlab.memory import footprint, kv_cache, training_step, transformer_layer_saved

torch.set_num_threads(1)
SMALL = {"layers": 2, "width": 64, "heads": 8, "kv_heads": 2, "hidden": 96, "vocabulary": 100}
DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32, "fp64": torch.float64}


# -- a transformer layer ------------------------------------------------------------------------------------


class Layer(nn.Module):
    """The layer of Korthikanti et al. with masks of one byte, or those of `F.dropout` on a CPU, or no dropout."""

    def __init__(self, width: int, heads: int, fused: bool, dropout: str) -> None:
        super().__init__()
        self.heads, self.fused, self.dropout = heads, fused, dropout
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value, self.project = (nn.Linear(width, width) for _ in range(4))
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def drop(self, x: Tensor) -> Tensor:
        if self.dropout == "none":
            return x
        return F.dropout(x, 0.1) if self.dropout == "F" else torch.native_dropout(x, 0.1, True)[0]

    def forward(self, x: Tensor) -> Tensor:
        n, t, width = x.shape
        y = self.norm1(x)
        q, k, v = (
            linear(y).view(n, t, self.heads, width // self.heads).transpose(1, 2)
            for linear in (self.query, self.key, self.value)
        )
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            y = self.drop((q @ k.transpose(-1, -2) / math.sqrt(width // self.heads)).softmax(-1)) @ v
        x = x + self.drop(self.project(y.transpose(1, 2).reshape(n, t, width)))
        return x + self.drop(self.narrow(F.gelu(self.widen(self.norm2(x)))))


@settings(max_examples=40)
@given(
    st.integers(2, 80),
    st.integers(1, 3),
    st.integers(1, 6),
    st.integers(1, 16),
    st.sampled_from([*DTYPES]),
    st.booleans(),
    st.sampled_from(["one byte", "F", "none"]),
)
def test_what_a_transformer_layer_keeps(s: int, b: int, a: int, d: int, dtype: str, fused: bool, dropout: str) -> None:
    """To the byte."""
    h = a * d
    model = Layer(h, a, fused, dropout).to(DTYPES[dtype])
    kept = meters.saved_bytes(model, torch.randn(b, s, h, dtype=DTYPES[dtype]).requires_grad_())
    options: dict[str, Any] = {"mask_bytes": None if dropout == "F" else 1, "dropout": dropout != "none"}
    found = transformer_layer_saved(s, b, h, a, dtype, fused=fused, **options)
    assert kept["activations"] + kept["input"] == found.total


# -- a training step ----------------------------------------------------------------------------------------


class Meter(TorchDispatchMode):
    """Bytes of all storages alive, their peak in each phase; a storage counts until the last tensor on it is gone."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: dict[int, int] = {}
        self.total, self.phase = 0, ""
        self.peaks: dict[str, int] = {}

    def add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self.alive:
            self.alive[key] = size
            self.total += size
            weakref.finalize(storage, self.drop, key)

    def drop(self, key: int) -> None:
        self.total -= self.alive.pop(key)

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.add(leaf)
        self.peaks[self.phase] = max(self.peaks.get(self.phase, 0), self.total)
        return result


def step(
    build: Callable[[], nn.Module], optimizer: Callable[[Any], Any], *shape: int, count: int = 0
) -> dict[str, int]:
    """Peaks of the second training step, all told, by phase. `count` inputs of token numbers, or one image."""
    with FakeTensorMode():
        model = build().train()
        rule = optimizer(model.parameters())
        given_ = [torch.zeros(shape, dtype=torch.long) for _ in range(count)] or [torch.ones(shape)]
        meter = Meter()
        for tensor in (*model.parameters(), *model.buffers(), *given_):
            meter.add(tensor)
        with meter:
            for _step in range(2):
                meter.peaks.clear()
                meter.phase = "forward"
                out = model(*given_)
                loss = out.sum()
                meter.phase = "backward"
                loss.backward()
                meter.phase = "update"
                rule.step()
                rule.zero_grad()
        # a causal mask is a constant, which a fused kernel does without
        masks = sum(4 * buffer.numel() for name, buffer in model.named_buffers() if name.endswith("mask"))
        return {phase: peak - masks for phase, peak in meter.peaks.items()}


OPTIMIZERS = {
    "Adam": (dl.Adam(), lambda weights: torch.optim.Adam(weights, foreach=False)),
    "Momentum": (dl.Momentum(), lambda weights: torch.optim.SGD(weights, 0.1, momentum=0.9, foreach=False)),
    "SGD": (dl.SGD(), lambda weights: torch.optim.SGD(weights, 0.1, foreach=False)),
}


def told(net: dl.Network, optimizer: dl.SGD) -> dict[str, int]:
    """The same, as dnnlab says."""
    found = footprint(net, training=True, optimizer=optimizer)
    moments = training_step(net, "fp32", optimizer)
    resident = found.total - found.moment.total
    return {
        phase: resident + max(m.total for m in moments if m.phase == phase)
        for phase in ("forward", "backward", "update")
    }


@pytest.mark.parametrize("name", ["vgg16", "resnet18", "mobilenet_v2"])
def test_a_training_step(name: str) -> None:
    """Each phase, to the byte."""
    measured = step(getattr(models, name), OPTIMIZERS["Adam"][1], 3, 3, 224, 224)
    assert told(zoo.network(name, batch=3), dl.Adam()) == measured


@pytest.mark.parametrize("rule", OPTIMIZERS)
def test_a_training_step_of_each_optimizer(rule: str) -> None:
    optimizer, twin = OPTIMIZERS[rule]
    assert told(zoo.lenet5(batch=2), optimizer) == step(models.LeNet5, twin, 2, 1, 32, 32)


@pytest.mark.parametrize(
    ("net", "build", "count"),
    [
        (zoo.bert_base(2, 512), transformers.Bert, 2),
        (zoo.gpt2_small(2, 64), transformers.GPT2, 1),
        (zoo.llama(2, 150, **SMALL), lambda: transformers.Llama(150, **SMALL), 1),
    ],
)
def test_a_training_step_of_a_transformer(net: dl.Network, build: Callable[[], nn.Module], count: int) -> None:
    """The fullest moment of the step to the byte; a moment inside a layer can be a little fuller than the layer as a
    whole tells, so the other phases are within 2 %."""
    measured = step(build, OPTIMIZERS["Adam"][1], *net.input_shape, count=count)
    found = told(net, dl.Adam())
    assert max(found.values()) == max(measured.values())
    for phase, peak in measured.items():
        assert found[phase] <= peak <= 1.02 * found[phase], phase


LAYER = st.sampled_from(["conv", "norm", "relu", "pool", "block"])


@settings(max_examples=30)
@given(st.lists(LAYER, min_size=1, max_size=7), st.integers(1, 4), st.integers(1, 6))
def test_random_networks(kinds: list[str], batch: int, channels: int) -> None:
    """Chains of convolutions, norms, activations and residual blocks, each phase of a step to the byte."""
    build, modules, size = dl.Builder("random", batch, 3, 16, 16), list[Callable[[], nn.Module]](), 16

    def conv(name: str, inp: int) -> Callable[[], nn.Module]:
        build.add(name, dl.Conv2d(k=channels, r=3, s=3))
        return lambda: nn.Conv2d(inp, channels, 3, padding=1, bias=False)

    modules.append(conv("0", 3))
    for place, kind in enumerate(kinds, 1):
        name = str(place)
        if kind == "conv":
            modules.append(conv(name, channels))
        elif kind == "norm":
            build.add(name, dl.BatchNorm2d())
            modules.append(lambda: nn.BatchNorm2d(channels))
        elif kind == "relu":
            build.add(name, dl.ReLU())
            modules.append(nn.ReLU)
        elif kind == "pool" and size >= 2:
            build.add(name, dl.MaxPool2d(r=2, s=2, stride=2, padding=0))
            modules.append(lambda: nn.MaxPool2d(2))
            size //= 2
        elif kind == "block":
            before = build.last
            inner = conv(f"{name}.conv", channels)
            build.add(f"{name}.add", dl.Add(), build.last, before)
            modules.append(lambda inner=inner: Residual(inner()))
    build.add("last", dl.Conv2d(k=1, r=1, s=1))
    modules.append(lambda: nn.Conv2d(channels, 1, 1, bias=False))
    net = build.network()
    measured = step(lambda: nn.Sequential(*(make() for make in modules)), OPTIMIZERS["Adam"][1], batch, 3, 16, 16)
    found = told(net, dl.Adam())
    assert found == measured


class Residual(nn.Module):
    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) + x


class Pooled(transformers.Bert):
    """BERT with its pooler: a linear layer and a tanh on the first token."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(768, 768)

    def forward(self, ids: Tensor, kinds: Tensor) -> Tensor:
        return self.dense(super().forward(ids, kinds)[:, 0]).tanh()


def test_the_pooler_of_bert() -> None:
    with torch.device("meta"):
        model = Pooled().train()
        tokens = torch.zeros(2, 16, dtype=torch.long)
        kept = meters.saved_bytes(model, tokens, tokens.clone())
    net = zoo.bert_base(2, 16, pooler=True)
    assert net.saved_bytes() == kept["activations"] and net.saved_bytes().parameters == kept["parameters"]
    assert net.parameters == sum(parameter.numel() for parameter in model.parameters())


# -- a decoder's cache --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("net", "build"),
    [(zoo.llama(2, 24, **SMALL), lambda: transformers.Llama(24, **SMALL)), (zoo.gpt2_small(2, 24), transformers.GPT2)],
)
def test_keys_and_values_of_a_decoder(net: dl.Network, build: Callable[[], nn.Module]) -> None:
    """The cache holds what the modules that make keys and values give for every token."""
    with torch.device("meta"):
        model = build()
    numbers = []
    for name, module in model.named_modules():
        if name.endswith((".key", ".value")):
            module.register_forward_hook(lambda _module, _given, out: numbers.append(out.numel()))
    model(torch.zeros(2, 24, dtype=torch.long, device="meta"))
    assert numbers and kv_cache(net, "fp32").total == 4 * sum(numbers)
