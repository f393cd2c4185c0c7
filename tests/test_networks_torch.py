"""Networks against PyTorch itself, run on the spot: the zoo, networks in no table, single layers, random chains."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest

try:
    import torch
except ImportError:
    pytest.skip("PyTorch is not installed: python -m tasks test --with torch", allow_module_level=True)

import torch_meters as meters
import torch_models as models
import torch_transformers as transformers
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch_twins import TWINS

import dnnlab as dl
from dnnlab import zoo
from dnnlab.errors import DnnlabError
from dnnlab.frameworks import PYTORCH

torch.set_num_threads(1)  # the networks are small
SMALL = {"layers": 2, "width": 64, "heads": 8, "kv_heads": 2, "hidden": 96, "vocabulary": 100}
CNNS = ("alexnet", "vgg16", "resnet18", "resnet50", "mobilenet_v1", "mobilenet_v2")
# the network by batch, the module, the shape of an input without the batch (a length: numbers of tokens), inputs
Case = tuple[Callable[[int], dl.Network], Callable[[], nn.Module], tuple[int, ...], int]
CASES: dict[str, Case] = {
    "lenet5": (zoo.lenet5, models.LeNet5, (1, 32, 32), 1),
    **{name: (zoo.ZOO[name], getattr(models, name), (3, 224, 224), 1) for name in CNNS},
    "bert_base": (lambda batch: zoo.bert_base(batch, 16), transformers.Bert, (16,), 2),
    "gpt2_small": (lambda batch: zoo.gpt2_small(batch, 20), transformers.GPT2, (20,), 1),
    "llama": (lambda batch: zoo.llama(batch, 24, **SMALL), lambda: transformers.Llama(24, **SMALL), (24,), 1),
    **{name: (net, module, shape, 1) for name, (net, module, shape) in TWINS.items()},
}
REAL = ("lenet5", "mobilenet_v2", "llama", *TWINS)  # small enough to be run with numbers
#: What a PyTorch module does between its children.
BETWEEN = ("Add", "Multiply", "Concatenate", "Flatten")


def inputs(case: Case, batch: int, device: str = "meta") -> tuple[Tensor, ...]:
    *_, shape, count = case
    if len(shape) == 1:
        return tuple(torch.zeros(batch, *shape, dtype=torch.long, device=device) for _ in range(count))
    return (torch.ones(batch, *shape, device=device),)


def module(case: Case, device: str = "meta") -> nn.Module:
    with torch.device(device):
        return case[1]().train()


def told(net: dl.Network) -> dict[str, int]:
    """What dnnlab says is kept, in the meter's words."""
    saved = net.saved_bytes("fp32", "pytorch")
    assert saved == saved.activations == sum(saved.by_layer.values())
    return {name: getattr(saved, name) for name in ("activations", "input", "parameters", "buffers")}


def counted(net: dl.Network, input_gradient: bool = False) -> tuple[int, int]:
    """FLOPs forward and backward, as PyTorch counts them: two a MAC, and nothing else."""
    rows = net.rows(input_gradient)
    return 2 * sum(row.macs for row in rows), 2 * sum(row.backward_macs for row in rows)


# -- whole networks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_each_layer(name: str) -> None:
    case = CASES[name]
    leaves = meters.leaves(module(case), *inputs(case, 2), whole=(transformers.Core,))
    net = case[0](2)
    rows = [row for row in net.rows() if row.kind not in BETWEEN]
    found = [meters.Leaf(r.name, r.input_shape, r.output_shape, r.parameters, 2 * r.macs) for r in rows]
    assert found == leaves
    assert net.parameters == sum(leaf.parameters for leaf in leaves)
    assert net.macs == sum(row.macs for row in rows)


@pytest.mark.parametrize("name", CASES)
def test_operations_forward_and_backward(name: str) -> None:
    case = CASES[name]
    model, given_ = module(case), inputs(case, 2)
    assert counted(case[0](2)) == meters.flops(model, *given_)
    if given_[0].is_floating_point():
        given_[0].requires_grad_()
        assert counted(case[0](2), input_gradient=True) == meters.flops(model, *given_)


@pytest.mark.parametrize("name", CASES)
def test_saved_bytes(name: str) -> None:
    case = CASES[name]
    model = module(case)
    for batch in (1, 8):
        assert told(case[0](batch)) == meters.saved_bytes(model, *inputs(case, batch)), batch


@pytest.mark.parametrize("name", REAL)
def test_saved_bytes_of_a_real_run(name: str) -> None:
    case = CASES[name]
    assert told(case[0](2)) == meters.saved_bytes(module(case, "cpu"), *inputs(case, 2, "cpu"))


@pytest.mark.parametrize("name", CASES)
def test_inference_peak(name: str) -> None:
    case = CASES[name]
    with FakeTensorMode():  # shapes on the CPU: the meta device saves statistics of batch norm even in inference
        model = module(case, "cpu")
        for batch in (1, 8):
            peak = meters.inference_peak(model, *inputs(case, batch, "cpu"))
            assert case[0](batch).peak_bytes("fp32", "pytorch") == peak, batch


@pytest.mark.parametrize("length", [8, 300])
def test_inference_peak_of_attention(length: int) -> None:
    """With few tokens the widest layers count, with many the scores."""
    sizes = {**SMALL, "kv_heads": 8, "heads": 8} if length == 8 else SMALL
    with FakeTensorMode():
        for name, net, model, count in (
            ("llama", zoo.llama(2, length, **sizes), transformers.Llama(length, **sizes), 1),
            ("bert", zoo.bert_base(2, length), transformers.Bert(), 2),
        ):
            ids = [torch.zeros(2, length, dtype=torch.long) for _ in range(count)]
            assert net.peak_bytes() == meters.inference_peak(model, *ids), name


# -- single layers ------------------------------------------------------------------------------------------


class Turned(nn.Module):
    """Rotary embedding with tables for seven positions and a head of six features."""

    def __init__(self) -> None:
        super().__init__()
        self.turn = transformers.Rotary(2, torch.ones(7, 3), torch.ones(7, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.turn(x)


class SelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = transformers.Attention(12, 3, last="out", causal=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x)


def grouped() -> nn.Module:
    return nn.Conv2d(6, 4, (3, 5), 2, 1, groups=2, bias=False)


IMAGE, ROW, TOKENS, SOUND = (2, 6, 8, 10), (2, 12), (2, 7, 12), (2, 6, 11)
Pair = tuple[dl.Network, nn.Module]
# shape of the input, the layer, the module, in place
Single = tuple[tuple[int, ...], dl.Layer, Callable[[], nn.Module], bool]
SINGLE: list[Single] = [
    (IMAGE, dl.Conv2d(k=4, r=3, s=5, stride=2, padding=1, groups=2), grouped, False),
    (IMAGE, dl.DepthwiseConv2d(r=3, s=3, padding=1, bias=True), lambda: nn.Conv2d(6, 6, 3, padding=1, groups=6), False),
    (IMAGE, dl.PointwiseConv2d(k=5, bias=True), lambda: nn.Conv2d(6, 5, 1), False),
    (IMAGE, dl.ConvTranspose2d(k=4, r=2, s=3, stride=2, bias=True), lambda: nn.ConvTranspose2d(6, 4, (2, 3), 2), False),
    (SOUND, dl.Conv1d(k=4, s=3, padding=1, bias=True), lambda: nn.Conv1d(6, 4, 3, padding=1), False),
    (ROW, dl.Linear(k=5, bias=True), lambda: nn.Linear(12, 5), False),
    (TOKENS, dl.BatchedLinear(k=5, bias=True), lambda: nn.Linear(12, 5), False),
    (TOKENS, dl.BatchedLinear(k=5), lambda: nn.Linear(12, 5, bias=False), False),
    (IMAGE, dl.BatchNorm2d(), lambda: nn.BatchNorm2d(6), False),
    (IMAGE, dl.BatchNorm2d(training=False), lambda: nn.BatchNorm2d(6).eval(), False),
    (TOKENS, dl.LayerNorm(), lambda: nn.LayerNorm(12), False),
    (TOKENS, dl.RMSNorm(), lambda: transformers.RMSNorm(12), False),
    (TOKENS, dl.RMSNorm(), lambda: nn.RMSNorm(12), False),
    *((IMAGE, dl.ReLU(), lambda place=place: nn.ReLU(place), place) for place in (False, True)),
    *((IMAGE, dl.ReLU6(), lambda place=place: nn.ReLU6(place), place) for place in (False, True)),
    *((IMAGE, dl.LeakyReLU(), lambda place=place: nn.LeakyReLU(0.1, place), place) for place in (False, True)),
    *((IMAGE, dl.HardSwish(), lambda place=place: nn.Hardswish(place), place) for place in (False, True)),
    *((TOKENS, dl.SiLU(), lambda place=place: nn.SiLU(place), place) for place in (False, True)),
    (TOKENS, dl.GELU(), nn.GELU, False),
    (ROW, dl.Sigmoid(), nn.Sigmoid, False),
    (SOUND, dl.Tanh(), nn.Tanh, False),
    (ROW, dl.Softmax(), lambda: nn.Softmax(-1), False),
    (IMAGE, dl.PReLU(), lambda: nn.PReLU(6), False),
    *((IMAGE, dl.Dropout(p=0.2), lambda place=place: nn.Dropout(0.2, place), place) for place in (False, True)),
    (IMAGE, dl.MaxPool2d(r=3, s=2, stride=2, padding=1), lambda: nn.MaxPool2d((3, 2), 2, 1), False),
    (IMAGE, dl.AvgPool2d(r=3, s=3, padding=1), lambda: nn.AvgPool2d(3, padding=1), False),
    (IMAGE, dl.AdaptiveAvgPool2d(y=4, x=2), lambda: nn.AdaptiveAvgPool2d((4, 2)), False),
    (IMAGE, dl.AdaptiveAvgPool2d(y=1, x=1), lambda: nn.AdaptiveAvgPool2d(1), False),
    (IMAGE, dl.GlobalAvgPool2d(), lambda: nn.AdaptiveAvgPool2d(1), False),
    (IMAGE, dl.Flatten(), nn.Flatten, False),
    (TOKENS, dl.AddEmbedding(v=9), lambda: transformers.AddRows(9, 12), False),
    (TOKENS, dl.RotaryEmbedding(a=2), Turned, False),
    (TOKENS, dl.MultiHeadAttention(a=3, bias=True, causal=True, dropout=True), SelfAttention, False),
    (TOKENS, dl.FeedForward(m=20, activation="silu", gated=True), lambda: transformers.SwiGLU(12, 20), False),
    *(
        (
            TOKENS,
            dl.FeedForward(m=20, bias=True, activation=name),
            lambda kind=kind: nn.Sequential(nn.Linear(12, 20), kind(), nn.Linear(20, 12)),
            False,
        )
        for name, kind in (("gelu", nn.GELU), ("relu", nn.ReLU), ("relu6", nn.ReLU6), ("tanh", nn.Tanh))
    ),
]
#: Activations by name.
BENT: dict[str, tuple[type[dl.Layer], type[nn.Module]]] = {
    "relu": (dl.ReLU, nn.ReLU),
    "relu6": (dl.ReLU6, nn.ReLU6),
    "leaky": (dl.LeakyReLU, nn.LeakyReLU),
    "hardswish": (dl.HardSwish, nn.Hardswish),
    "silu": (dl.SiLU, nn.SiLU),
    "gelu": (dl.GELU, nn.GELU),
    "sigmoid": (dl.Sigmoid, nn.Sigmoid),
    "tanh": (dl.Tanh, nn.Tanh),
}
#: With an input of token numbers, or two inputs: the whole networks have them.
ELSEWHERE = ("Embedding", "Add", "Multiply", "Concatenate", "ScaledDotProductAttention")


def test_every_kind_is_tried() -> None:
    assert {layer.kind for _, layer, _, _ in SINGLE} | set(ELSEWHERE) == set(PYTORCH)


def alone(shape: tuple[int, ...], layer: dl.Layer, make: Callable[[], nn.Module], in_place: bool) -> Pair:
    """The layer on its own: its input needs no gradient."""
    build = dl.Builder("alone", *shape)
    build.add("0", layer, in_place=in_place)
    return build.network(), nn.Sequential(make())


def surrounded(shape: tuple[int, ...], layer: dl.Layer, make: Callable[[], nn.Module], in_place: bool) -> Pair:
    """The layer between others that share its tensors: a sigmoid keeps its output (batch norm does not, and may
    be overwritten), a linear layer keeps its input."""
    build, parts = dl.Builder("surrounded", *shape), list[nn.Module]()

    def add(ours: dl.Layer, theirs: nn.Module, in_place: bool = False) -> None:
        build.add(str(len(parts)), ours, in_place=in_place)
        parts.append(theirs)

    def linear(after: int) -> None:
        size = build.shapes[build.last]
        if len(size) == 4:
            add(dl.PointwiseConv2d(k=after), nn.Conv2d(size[1], after, 1, bias=False))
        elif shape == SOUND and len(size) == 3:
            add(dl.Conv1d(k=after, s=1), nn.Conv1d(size[1], after, 1, bias=False))
        else:
            kind = dl.Linear if len(size) == 2 else dl.BatchedLinear
            add(kind(k=after), nn.Linear(size[-1], after, bias=False))

    linear(shape[1] if shape in (IMAGE, SOUND) else shape[-1])
    if not in_place:
        add(dl.Sigmoid(), nn.Sigmoid())
    elif shape == IMAGE:
        add(dl.BatchNorm2d(), nn.BatchNorm2d(shape[1]))
    add(layer, make(), in_place)
    linear(3)
    return build.network(), nn.Sequential(*parts)


@pytest.mark.parametrize("around", [alone, surrounded])
@pytest.mark.parametrize("single", SINGLE, ids=[f"{entry[1]!r}-{entry[3]}" for entry in SINGLE])
def test_single_layer(single: Single, around: Callable[..., Pair]) -> None:
    net, model = around(*single)
    assert told(net) == meters.saved_bytes(model, torch.rand(single[0]))
    if any(True for _ in model.parameters()):
        assert counted(net) == meters.flops(model, torch.rand(single[0]))
    with FakeTensorMode():
        _, model = around(*single)
        assert net.peak_bytes() == meters.inference_peak(model, torch.rand(single[0]))


# -- random chains ------------------------------------------------------------------------------------------

small, flag = st.integers(1, 3), st.booleans()
STEPS = st.one_of(
    st.fixed_dictionaries(
        {"kind": st.just("conv"), "k": st.integers(1, 4), "r": small, "s": small, "stride": st.tuples(small, small),
         "padding": st.tuples(st.integers(0, 2), st.integers(0, 2)), "dilation": st.tuples(small, small),
         "groups": st.sampled_from([1, 1, 2, 4]), "bias": flag}
    ),
    st.fixed_dictionaries({"kind": st.just("depthwise"), "r": small, "s": small, "stride": small, "bias": flag}),
    st.fixed_dictionaries({"kind": st.just("bend"), "name": st.sampled_from(sorted(BENT)), "in_place": flag}),
    st.fixed_dictionaries(
        {"kind": st.sampled_from(["max", "mean"]), "r": st.integers(2, 3), "s": small, "stride": small, "ceil": flag}
    ),
    st.fixed_dictionaries({"kind": st.sampled_from(["normal", "drop"])}),
)  # fmt: skip


def chain(steps: list[dict], height: int, width: int) -> Pair:
    """The steps that fit, one after the other, in both worlds; four channels enter."""
    build, parts = dl.Builder("chain", 2, 4, height, width), list[nn.Module]()
    for step in steps:
        step = dict(step)
        kind, channels = step.pop("kind"), build.shapes[build.last][1]
        in_place = step.pop("in_place", False) and parts and isinstance(parts[-1], nn.Conv2d | nn.BatchNorm2d)
        if kind == "conv":
            groups = step["groups"] if channels % step["groups"] == 0 else 1
            step |= {"groups": groups, "k": 2 * groups * step["k"]}
            ours = dl.Conv2d(**step)
            size = step.pop("k"), (step.pop("r"), step.pop("s"))
            theirs: nn.Module = nn.Conv2d(channels, *size, **step)
        elif kind == "depthwise":
            ours = dl.DepthwiseConv2d(**step, padding=1)
            size = step.pop("r"), step.pop("s")
            theirs = nn.Conv2d(channels, channels, size, padding=1, groups=channels, **step)
        elif kind == "bend":
            bent, module_ = BENT[step["name"]]
            in_place = in_place and "inplace" in inspect.signature(module_).parameters
            ours, theirs = bent(), module_(inplace=True) if in_place else module_()
        elif kind == "normal":
            ours, theirs = dl.BatchNorm2d(), nn.BatchNorm2d(channels)
        elif kind == "drop":
            ours, theirs = dl.Dropout(p=0.1), nn.Dropout(0.1)
        else:
            pool, module_ = (dl.MaxPool2d, nn.MaxPool2d) if kind == "max" else (dl.AvgPool2d, nn.AvgPool2d)
            ours = pool(**step)
            theirs = module_((step["r"], step["s"]), step["stride"], ceil_mode=step["ceil"])
        try:
            build.add(str(len(parts)), ours, in_place=bool(in_place))
        except DnnlabError:
            continue  # the filter has grown larger than what is left of the image
        parts.append(theirs)
    assume(parts)
    return build.network(), nn.Sequential(*parts)


@given(st.lists(STEPS, min_size=1, max_size=8), st.integers(5, 14), st.integers(5, 14), flag)
def test_random_chain(steps: list[dict], height: int, width: int, input_gradient: bool) -> None:
    net, model = chain(steps, height, width)
    image = torch.rand(2, 4, height, width)
    assert [leaf.output_shape for leaf in meters.leaves(model, image)] == [row.output_shape for row in net.rows()]
    assert sum(p.numel() for p in model.parameters()) == net.parameters
    assert told(net) == meters.saved_bytes(model, image)
    learned = net.parameters > 0
    image.requires_grad_(input_gradient)
    if learned or input_gradient:
        assert counted(net, input_gradient) == meters.flops(model, image)
    with FakeTensorMode():
        _, model = chain(steps, height, width)
        assert net.peak_bytes() == meters.inference_peak(model, torch.rand(2, 4, height, width))


# -- receptive fields ---------------------------------------------------------------------------------------

FIELDS = {
    "resnet18": (zoo.resnet18, lambda: models.resnet18(32), 550, "conv1 maxpool layer1.0 layer2 layer3.0 layer4"),
    "vgg16": (zoo.vgg16, lambda: models.vgg16(32), 300, "features.2 features.4 features.16 features.30"),
    "mobilenet_v2": (zoo.mobilenet_v2, lambda: models.mobilenet_v2(8), 620, "features.0 features.3 features.18"),
    "resnext": (*TWINS["resnext"][:2], 100, "stem blocks.0 blocks.1"),
    "dense": (*TWINS["dense"][:2], 100, "stem dense.1 pool"),
    "gated": (*TWINS["gated"][:2], 100, "blocks.0 blocks.1"),
    "unet": (*TWINS["unet"][:2], 60, "act1 act2"),
    "inception": (*TWINS["inception"][:2], 100, "tall_act wide_act sparse small_act last"),
}  # fmt: skip


@pytest.mark.parametrize("name", FIELDS)
def test_receptive_field(name: str) -> None:
    ours, theirs, size, places = FIELDS[name]
    net, model = ours(1), meters.smooth(theirs())
    if hasattr(model, "classifier"):
        model.classifier = nn.Identity()  # made for one size of image
    if hasattr(model, "fc"):
        model.fc = nn.Identity()
    found = meters.footprints(model, places.split(), net.input_shape[1], size)
    fields = {place: net.receptive_field(place) for place in places.split()}
    assert {place: (field, field.width, field.stride) for place, field in fields.items()} == found


WINDOWS = st.tuples(flag, *(st.tuples(st.integers(1, least), st.integers(1, least)) for least in (5, 2, 3)))


@given(st.lists(WINDOWS, min_size=1, max_size=4))
def test_receptive_field_of_a_random_chain(windows: list[tuple]) -> None:
    """Convolutions and means with any window, stride and dilation, down and across apart."""
    build, parts = dl.Builder("windows", 1, 1, 400, 400), list[nn.Module]()
    for pool, (r, s), stride, dilation in windows:
        if pool:
            build.add(str(len(parts)), dl.AvgPool2d(r=r, s=s, stride=stride))
            parts.append(nn.AvgPool2d((r, s), stride))
        else:
            build.add(str(len(parts)), dl.Conv2d(k=1, r=r, s=s, stride=stride, dilation=dilation, padding="valid"))
            parts.append(nn.Conv2d(1, 1, (r, s), stride, dilation=dilation))
    last = build.last
    field = build.network().receptive_field(last)
    model = meters.smooth(nn.Sequential(*parts))
    assert meters.footprints(model, [last], 1, 400) == {last: (field.height, field.width, field.stride)}
