"""Imported PyTorch modules against the zoo, and against PyTorch's own counters and saved tensors."""

from __future__ import annotations

import warnings
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
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from test_networks_torch import CASES, inputs, module, told
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import dnnlab as dl
from dnnlab import Network
from dnnlab.errors import DnnlabError, ShapeError
from dnnlab.importing import LeftOut

pytestmark = pytest.mark.filterwarnings(f"error::{LeftOut.__module__}.LeftOut")
torch.set_num_threads(1)


def macs(model: nn.Module, *given_: Any) -> int:
    """PyTorch's own count; fused attention is counted only where it is written out."""
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(*given_)
    flops = counter.get_total_flops()
    assert flops % 2 == 0
    return flops // 2


def agrees(model: nn.Module, *given_: Any) -> Network:
    """Import a module and hold MACs and parameters against PyTorch."""
    net = Network.from_torch(model, given_)
    assert net.macs == macs(model, *given_)
    assert net.parameters == sum(p.numel() for p in model.parameters())
    return net


def kinds(net: Network) -> list[str]:
    return [node.kind for node in net.layers]


# -- networks that are written by hand, too -------------------------------------------------------------------


def facts(net: Network) -> list[tuple[Any, ...]]:
    """The rows without their names; a 1 x 1 convolution has two kinds."""
    return [
        ("Conv2d" if row.kind == "PointwiseConv2d" else row.kind, row.input_shape, row.output_shape, row.parameters,
         row.macs, row.ops, row.backward_macs, row.backward_ops)
        for row in net.rows()
    ]  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_twin_of_the_zoo(name: str) -> None:
    case = CASES[name]
    ours, net = case[0](2), Network.from_torch(module(case), inputs(case, 2))
    assert facts(net) == facts(ours)
    assert told(net) == told(ours) == meters.saved_bytes(module(case), *inputs(case, 2))
    assert net.saved_bytes(framework=None) == ours.saved_bytes(framework=None)
    assert net.peak_bytes() == ours.peak_bytes()
    assert net.peak_activations == ours.peak_activations
    assert net.left_out == ()


@pytest.mark.parametrize("name", ["lenet5", "alexnet", "vgg16", "resnet50", "mobilenet_v2", "gated", "sound", "unet"])
def test_names_are_those_of_the_modules(name: str) -> None:
    case = CASES[name]
    ours, net = case[0](2), Network.from_torch(module(case), inputs(case, 2))
    assert [(node.name, node.in_place) for node in net.layers] == [(node.name, node.in_place) for node in ours.layers]


@pytest.mark.parametrize("name", ["lenet5", "resnet18", "llama", "tokens", "gated"])
def test_another_batch(name: str) -> None:
    case = CASES[name]
    net = Network.from_torch(module(case), inputs(case, 2)).at_batch(6)
    assert facts(net) == facts(case[0](6))


# -- architectures in no table --------------------------------------------------------------------------------


class Excite(nn.Module):
    """A gate for each channel, from the mean of the channel."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.down, self.up = nn.Conv2d(3, 12, 3, groups=3), nn.Conv2d(12, 4, 1), nn.Conv2d(4, 12, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x * F.hardsigmoid(self.up(F.silu(self.down(x.mean((2, 3), keepdim=True)))))


class Patches(nn.Module):
    """A small vision transformer: a token for the class, learned positions, packed queries, keys and values."""

    def __init__(self, width: int = 24, heads: int = 4) -> None:
        super().__init__()
        self.embed, self.heads = nn.Conv2d(3, width, 4, 4), heads
        self.token, self.place = nn.Parameter(torch.zeros(1, 1, width)), nn.Parameter(torch.zeros(1, 10, width))
        self.norm, self.qkv, self.proj = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.scale = nn.Parameter(torch.ones(width))
        self.head = nn.Linear(width, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.token.expand(len(x), -1, -1), x), 1) + self.place
        n, t, c = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(n, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(q, k, v)
        x = x + self.scale * self.proj(out.transpose(1, 2).reshape(n, t, c))
        return self.head(x[:, 0])


class Windows(nn.Module):
    """Attention with a learned bias of the scores, on (n, h, w, c), as in Swin."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.qkv, self.bias = nn.LayerNorm(16), nn.Linear(16, 48), nn.Parameter(torch.zeros(2, 16, 16))

    def forward(self, x: Tensor) -> Tensor:
        n, h, w, c = x.shape
        q, k, v = self.qkv(self.norm(torch.roll(x, (1, 1), (1, 2)))).view(n, h * w, 3, 2, 8).permute(2, 0, 3, 1, 4)
        scores = (q * 8**-0.5) @ k.transpose(-2, -1) + self.bias
        return (scores.softmax(-1) @ v).transpose(1, 2).reshape(n, h, w, c)


class Shuffle(nn.Module):
    """Channels split, convolved in groups, put together and shuffled."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.norm = nn.GroupNorm(3, 12)

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, 1)
        x = torch.cat((a, self.conv(b)), 1)
        n, c, h, w = x.shape
        return self.norm(x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w))


class Folded(nn.Module):
    """Odd linear algebra: einsum, a batch of products, a matrix as a parameter, a packed weight in parts."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix, self.packed = nn.Parameter(torch.ones(8, 5)), nn.Parameter(torch.ones(12, 8))
        self.enter = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        y = torch.einsum("nqd,nkd->nqk", x, x) @ x
        first, second = self.packed.chunk(2)
        return (y @ self.matrix).sum() + F.linear(y, first).mean() + torch.bmm(F.linear(x, second).mT, y).mean(-1)


SMALL: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "excite": (Excite, (2, 3, 9, 11)),
    "patches": (Patches, (2, 3, 12, 12)),
    "windows": (Windows, (2, 4, 4, 16)),
    "shuffle": (Shuffle, (2, 12, 5, 7)),
    "folded": (Folded, (3, 4, 8)),
    "encoder": (lambda: nn.TransformerEncoderLayer(24, 4, 40, dropout=0.0, batch_first=True), (2, 5, 24)),
    "sequence first": (lambda: nn.TransformerEncoderLayer(24, 4, 40, activation="gelu", norm_first=True), (5, 2, 24)),
    "transposed 1-D": (lambda: nn.ConvTranspose1d(6, 4, 5, 2, groups=2), (2, 6, 9)),
    "transposed in groups": (lambda: nn.ConvTranspose2d(6, 4, (3, 2), 2, groups=2), (2, 6, 5, 4)),
    "one row": (lambda: nn.Sequential(nn.Conv1d(4, 8, 3, 2, "valid"), nn.BatchNorm1d(8), nn.MaxPool1d(2)), (2, 4, 30)),
    "one sample": (lambda: nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU()), (3, 6, 8)),
    "same": (lambda: nn.Conv2d(3, 5, 3, padding="same", dilation=2), (2, 3, 8, 8)),
    "instance norm": (lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.InstanceNorm2d(4, affine=True)), (2, 3, 6, 6)),
    "no affine": (lambda: nn.Sequential(nn.LayerNorm(6, elementwise_affine=False), nn.Linear(6, 2)), (3, 4, 5, 6)),
    "norm without bias": (lambda: nn.Sequential(nn.LayerNorm(6, bias=False), nn.Linear(6, 2)), (3, 6)),
    "functions": (
        lambda: nn.Sequential(nn.Linear(4, 4), nn.ELU(), nn.Mish(), nn.Softplus(), nn.Hardtanh(), nn.GELU("tanh")),
        (3, 4),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SMALL)
def test_a_small_architecture(name: str) -> None:
    make, shape = SMALL[name]
    net = agrees(make(), torch.ones(shape))
    assert net.left_out == () and net.input_shape == shape


@pytest.mark.parametrize("name", SMALL)
def test_backward_macs_of_a_small_architecture(name: str) -> None:
    make, shape = SMALL[name]
    model = make()
    net = Network.from_torch(model, shape)
    with sdpa_kernel(SDPBackend.MATH):
        forward, backward = meters.flops(model, torch.ones(shape))
    assert 2 * net.macs == forward
    if "transposed" not in name:  # PyTorch's counter multiplies groups and strides there
        assert 2 * sum(row.backward_macs for row in net.rows()) == backward


def test_ranks_that_the_catalogue_does_not_have() -> None:
    net = Network.from_torch(nn.Linear(6, 2), (3, 4, 5, 6))
    (row,) = net.rows()
    assert (row.kind, row.input_shape, row.output_shape, row.macs) == ("BatchedLinear", (3, 4, 5, 6), (3, 4, 5, 2), 720)
    assert net.at_batch(9).macs == 2160


def test_a_gate_for_each_channel_reads_its_element_often() -> None:
    net = Network.from_torch(Excite(), (2, 3, 9, 11))
    assert net["multiply"].statements == ("out[i,j] = first[i,j] * second[i]",)
    assert net["multiply"].input_shapes == ((2, 12, 7, 9), (2, 12, 1, 1))


def test_operands_that_are_parameters() -> None:
    net = Network.from_torch(Patches(), (2, 3, 12, 12))
    assert (net["token"].kind, net["token"].parameters, net["scale"].parameters) == ("Parameter", 24, 24)
    assert [node.kind for node in net.layers].count("AddEmbedding") == 1
    assert net["scaled_dot_product_attention"].macs == 2 * 2 * 4 * 10 * 10 * 6
    assert net.saved_bytes().parameters > 0


# -- what attention looks like --------------------------------------------------------------------------------


class Heads(nn.Module):
    def __init__(self, fused: bool, kv_heads: int = 4, causal: bool = False, repeat: bool = False) -> None:
        super().__init__()
        self.q, self.k, self.v = nn.Linear(16, 16), nn.Linear(16, 4 * kv_heads), nn.Linear(16, 4 * kv_heads)
        self.fused, self.kv_heads, self.causal, self.repeat = fused, kv_heads, causal, repeat

    def forward(self, x: Tensor) -> Tensor:
        n, t, _ = x.shape
        q = self.q(x).view(n, t, 4, 4).transpose(1, 2)
        k, v = (part(x).view(n, t, self.kv_heads, 4).transpose(1, 2) for part in (self.k, self.v))
        if self.repeat:
            k, v = (part[:, :, None].expand(n, self.kv_heads, 4 // self.kv_heads, t, 4).reshape(n, 4, t, 4)
                    for part in (k, v))  # fmt: skip
        if self.fused:
            gqa = k.shape[1] != 4
            out = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal, enable_gqa=gqa)
        else:
            scores = q @ k.mT * 0.5
            if self.causal:
                mask = torch.ones(t, t, dtype=torch.bool).triu(1)
                scores = scores.masked_fill(mask, float("-inf"))
            out = F.softmax(scores, dim=-1) @ v
        return out.transpose(1, 2).reshape(n, t, 16)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("kv_heads", "repeat"), [(4, False), (2, True), (1, True), (2, False)])
@pytest.mark.parametrize("fused", [True, False])
def test_attention_is_one_layer_however_it_is_written(fused: bool, kv_heads: int, repeat: bool, causal: bool) -> None:
    if not fused and kv_heads < 4 and not repeat:
        pytest.skip("products need as many heads on both sides")
    net = agrees(Heads(fused, kv_heads, causal, repeat), torch.ones(3, 5, 16))
    core = [node.layer for node in net.layers if node.kind == "ScaledDotProductAttention"]
    g = {} if kv_heads == 4 else {"g": kv_heads}
    assert core == [dl.ScaledDotProductAttention(n=3, t=5, u=5, a=4, d=4, causal=causal, **g)]
    assert kinds(net) == ["BatchedLinear"] * 3 + ["ScaledDotProductAttention"]


def test_scores_that_somebody_else_reads_are_not_hidden() -> None:
    class Shown(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            scores = (x @ x.mT).softmax(-1)
            return scores @ x, scores

    assert kinds(Network.from_torch(Shown(), (2, 5, 4))) == ["View", "MatrixProduct", "Softmax", "MatrixProduct"]


# -- shared weights -------------------------------------------------------------------------------------------


def test_a_layer_that_is_called_twice_counts_its_parameters_once() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.act = nn.Conv2d(3, 3, 3, padding=1), nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            return self.act(self.conv(self.act(self.conv(x))))

    net = agrees(Twice(), torch.ones(2, 3, 6, 6))
    assert [(node.name, node.shares, node.parameters) for node in net.layers] == [
        ("conv", None, 84), ("act", None, 0), ("conv_1", "conv", 0), ("act_1", None, 0)
    ]  # fmt: skip


def test_a_tied_weight_with_a_bias_of_its_own() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(11, 6), nn.Linear(6, 11)
            self.head.weight = self.table.weight

        def forward(self, ids: Tensor) -> Tensor:
            return self.head(self.table(ids))

    net = agrees(Tied(), torch.zeros(2, 5, dtype=torch.long))
    assert [(node.name, node.kind, node.shares, node.parameters) for node in net.layers] == [
        ("table", "Embedding", None, 66), ("head", "BatchedLinear", "table", 0),
        ("head.bias", "Parameter", None, 11), ("head.bias_1", "Add", None, 0),
    ]  # fmt: skip


# -- what is not known ----------------------------------------------------------------------------------------


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.enter, self.lstm, self.leave = nn.Linear(5, 8), nn.LSTM(8, 6, batch_first=True), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        out, (hidden, _) = self.lstm(self.enter(x))
        return self.leave(torch.cumsum(out, 1)) + hidden.sum()


def test_unknown_operations_stand_in_the_network_and_in_a_warning() -> None:
    with pytest.warns(
        LeftOut, match=r"Recurrent: totals are without lstm \(lstm, .*cumsum \(cumsum, .*\(2, 7, 6\)"
    ) as said:
        net = Network.from_torch(Recurrent(), (2, 7, 5))
    (warning,) = (entry for entry in said if entry.category is LeftOut)  # PyTorch has one of its own
    assert "Network.left_out" in str(warning.message) and warning.filename == __file__
    assert [(node.name, node.kind, node.output_shape) for node in net.left_out] == [
        ("lstm", "lstm", (2, 7, 6)), ("cumsum", "cumsum", (2, 7, 6))
    ]  # fmt: skip
    assert net.parameters == sum(p.numel() for p in Recurrent().parameters())
    assert net.macs == 2 * 7 * (5 * 8 + 6 * 2)
    assert net["lstm"].ops == 0 and net["lstm"].parameters == 4 * 6 * (8 + 6 + 2)
    assert "without lstm, cumsum" in repr(net)
    assert "total, without lstm, cumsum" in net.table().text(140)
    assert net.saved_bytes() > 0 and net.peak_bytes() > 0
    assert dl.on(net, dl.device("h100-sxm"), dtype="fp32").total > 0


def test_a_second_input_and_a_table_are_no_layers() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)
            self.register_buffer("table", torch.ones(3, 4))

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return self.linear(x) * y + self.table

    net = agrees(Two(), torch.ones(3, 4), torch.ones(3, 4))
    assert [(node.name, node.kind) for node in net.layers] == [
        ("linear", "Linear"), ("y", "Input"), ("multiply", "Multiply"), ("b_table", "Constant"), ("add", "Add")
    ]  # fmt: skip
    by_name = Network.from_torch(Two(), {"x": torch.ones(3, 4), "y": torch.ones(3, 4)})
    assert by_name.rows() == net.rows()
    saved = meters.saved_bytes(Two(), torch.ones(3, 4), torch.ones(3, 4))
    assert told(net) == saved


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_refusals_say_what_to_do() -> None:
    class Chooses(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    for given_, example, words in (
        (nn.Linear(3, 5), (2, 4), ("Linear cannot be traced", "(2, 4)", "check that module(*example) runs")),
        (Chooses(), (2, 4), ("Chooses cannot be traced", "control flow depends on numbers")),
        (nn.Linear(3, 5), "photo", ("expected an example tensor", "'photo'")),
        (nn.Linear(3, 5), (), ("expected an example tensor",)),
        (nn.functional.relu, (2, 4), ("expected a torch.nn.Module", "relu")),
        (nn.Identity(), (2, 4), ("Identity computes nothing",)),
        (nn.Linear(4, 3), (0, 4), ("the shape (0, 4), which holds no number",)),
    ):
        with pytest.raises(DnnlabError) as refusal:
            Network.from_torch(given_, example)
        assert all(word in str(refusal.value) for word in words), refusal.value


def test_a_view_made_for_one_batch_says_so() -> None:
    class Turned(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.relu(x.T)

    with pytest.raises(ShapeError, match="import the network again"):
        Network.from_torch(nn.Sequential(nn.Linear(4, 3), Turned()), (2, 4)).at_batch(3)


def test_importing_changes_nothing() -> None:
    model = models.resnet18(narrow=8).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fast = torch.backends.mha.get_fastpath_enabled()
    Network.from_torch(model, (2, 3, 64, 64))
    assert model.training and torch.backends.mha.get_fastpath_enabled() == fast
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_training_and_inference_differ() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))
    training = Network.from_torch(model.train(), (2, 3, 8, 8))
    inference = Network.from_torch(model.eval(), (2, 3, 8, 8))
    assert kinds(training) == ["Conv2d", "BatchNorm2d", "Dropout"] and kinds(inference) == kinds(training)[:2]
    assert training["1"].layer.training and not inference["1"].layer.training
    assert told(inference) == meters.saved_bytes(model, torch.ones(2, 3, 8, 8))


# -- random modules -------------------------------------------------------------------------------------------

SIZE = st.integers(1, 3)
STEP = st.one_of(
    st.tuples(st.just("conv"), SIZE, SIZE, st.sampled_from([1, 2, 4])),
    st.tuples(st.sampled_from(["norm", "relu", "silu", "pool", "twice", "gate", "branch", "group", "flip"]),
              SIZE, SIZE, st.just(1)),
)  # fmt: skip


class Random(nn.Module):
    """Steps one after the other on four channels a multiple of four; some branch and join again."""

    def __init__(self, steps: list[tuple[str, int, int, int]]) -> None:
        super().__init__()
        self.steps, self.parts, width = steps, nn.ModuleList(), 4
        for kind, a, b, groups in steps:
            if kind == "conv":
                self.parts.append(nn.Conv2d(width, 4 * a, (a, b), padding=1, groups=groups))
                width = 4 * a
            elif kind == "twice":
                self.parts.append(nn.Conv2d(width, width, 3, padding=1, groups=width))
            elif kind == "gate":
                self.parts.append(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, width, 1), nn.Sigmoid()))
            elif kind == "branch":
                self.parts.append(nn.Conv2d(width, 4 * b, 1))
                width += 4 * b
            else:
                self.parts.append(
                    {"norm": nn.BatchNorm2d(width), "relu": nn.ReLU(inplace=a == 1), "silu": nn.SiLU(),
                     "pool": nn.MaxPool2d((a, b), 1), "group": nn.GroupNorm(2, width), "flip": nn.Identity()}[kind]
                )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        x = x * 1.0
        for (kind, *_), part in zip(self.steps, self.parts, strict=True):
            if kind == "twice":
                x = part(part(x)) + x
            elif kind == "gate":
                x = x * part(x)
            elif kind == "branch":
                x = torch.cat((x, part(x)), 1)
            elif kind == "flip":
                x = x.transpose(2, 3) / 2
            else:
                x = part(x)
        return x.mean((2, 3))


@settings(max_examples=40, deadline=None)
@given(st.lists(STEP, min_size=1, max_size=7), st.integers(6, 10), st.integers(6, 10))
def test_a_random_module(steps: list[tuple[str, int, int, int]], height: int, width: int) -> None:
    model, image = Random(steps), torch.ones(2, 4, height, width)
    try:
        with torch.no_grad():
            out = model(image)
    except RuntimeError:
        assume(False)
    net = agrees(model, image)
    assert net.layers[-1].output_shape == tuple(out.shape)
    forward, backward = meters.flops(model, image) if net.macs else (0, 0)
    if not any((step[0] in ("twice", "conv") and step[3] != 1) or step[0] == "twice" for step in steps):
        assert (2 * net.macs, 2 * sum(row.backward_macs for row in net.rows())) == (forward, backward)


class Pair(nn.Module):
    """Two linear layers, and a function of both."""

    def __init__(self, join: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.b, self.join = nn.Linear(6, 6), nn.Linear(6, 6), join

    def forward(self, x: Tensor) -> Tensor:
        return self.join(self.a(x), self.b(x))


#: Kinds that only imported networks have, and functions that keep what their line reads.
KEPT: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "subtract": lambda a, b: a - b,
    "divide": lambda a, b: a / (b + 3),
    "product": lambda a, b: torch.sigmoid(a) @ torch.sigmoid(b),
    "gate": lambda a, b: torch.sigmoid(a) * torch.sigmoid(b).mean(-1, keepdim=True),
    "sum": lambda a, b: a.sum(1) + b.mean(1),
    "moved": lambda a, b: torch.roll(a, 1, 1) + F.pad(b, (1, -1)),
    "views": lambda a, b: torch.sigmoid(a).mT * b[:, :1].expand(-1, 6, -1),
    "exp": lambda a, b: torch.exp(a) + torch.sqrt(b),
    "power": lambda a, b: a**3 + 2 * b - 1,
    "mish": lambda a, b: F.elu(a) + F.hardsigmoid(b),
    "group norm": lambda a, b: F.group_norm(a, 3) + b,
}


@pytest.mark.parametrize("name", KEPT)
def test_what_pytorch_keeps(name: str) -> None:
    x = torch.rand(4, 6, 6)
    model = Pair(KEPT[name])
    assert told(Network.from_torch(model, x)) == meters.saved_bytes(model, x)


@pytest.mark.parametrize("name", ["patches", "excite", "shuffle", "windows"])
def test_saved_bytes_are_near_what_pytorch_keeps(name: str) -> None:
    """Fused attention and moved tensors apart, whose copies depend on the kernel."""
    make, shape = SMALL[name]
    with FakeTensorMode(), sdpa_kernel(SDPBackend.MATH):
        model = make()
        truth = meters.saved_bytes(model, torch.ones(shape))["activations"]
    net = Network.from_torch(make(), shape)
    assert 0.75 * truth <= net.saved_bytes().activations <= 1.25 * truth, (name, truth, net.saved_bytes())


def test_a_hand_written_transformer_with_a_mask_as_input() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net = agrees(transformers.Bert(50, 16, 4, 2), *(torch.zeros(2, 6, dtype=torch.long),) * 2)
    assert kinds(net).count("ScaledDotProductAttention") == 2 and net["embeddings.token_type"].layer.lookup
