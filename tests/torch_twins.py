"""Networks that are in no table, each written twice: with dnnlab's `Builder`, and as a plain PyTorch module."""

from __future__ import annotations

from collections.abc import Callable

try:
    import torch
except ImportError:  # collected by pytest on a machine without it
    import pytest

    pytest.skip("PyTorch is not installed: python -m tasks test --with torch", allow_module_level=True)

from torch import Tensor, nn
from torch_models import Bottleneck, depthwise
from torch_transformers import Core

import dnnlab as dl

Twin = tuple[Callable[[int], dl.Network], type[nn.Module], tuple[int, ...]]  # by batch, the module, an input's shape


def conv(after: int, r: int, s: int, **options: object) -> dl.Conv2d:
    """A convolution of dnnlab that keeps height and width at stride 1."""
    dilation = options.get("dilation", 1)
    assert isinstance(dilation, int)
    return dl.Conv2d(k=after, r=r, s=s, padding=(dilation * (r - 1) // 2, dilation * (s - 1) // 2), **options)


# -- grouped convolutions -----------------------------------------------------------------------------------


class ResNeXt(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, stride=2, padding=1)
        shortcut = nn.Sequential(nn.Conv2d(32, 64, 1, 2, bias=False), nn.BatchNorm2d(64))
        self.blocks = nn.Sequential(Bottleneck(32, 16, 2, shortcut, groups=8), Bottleneck(64, 16, 1, None, groups=4))
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.avgpool(self.blocks(self.stem(x)))
        return self.fc(torch.flatten(x, 1))


def resnext(batch: int) -> dl.Network:
    build = dl.Builder("ResNeXt", batch, 3, 33, 47)
    x = build.add("stem", dl.Conv2d(k=32, r=3, s=3, stride=2, padding=1, bias=True))
    for place, (stride, groups) in enumerate(((2, 8), (1, 4))):
        name, shortcut = f"blocks.{place}", x
        build.add(f"{name}.conv1", dl.Conv2d(k=16, r=1, s=1))
        build.add(f"{name}.bn1", dl.BatchNorm2d())
        build.add(f"{name}.relu", dl.ReLU(), in_place=True)
        build.add(f"{name}.conv2", dl.Conv2d(k=16, r=3, s=3, stride=stride, padding=1, groups=groups))
        build.add(f"{name}.bn2", dl.BatchNorm2d())
        build.add(f"{name}.relu_1", dl.ReLU(), in_place=True)
        build.add(f"{name}.conv3", dl.Conv2d(k=64, r=1, s=1))
        x = build.add(f"{name}.bn3", dl.BatchNorm2d())
        if stride == 2:
            build.add(f"{name}.downsample.0", dl.Conv2d(k=64, r=1, s=1, stride=2, padding=0), shortcut)
            shortcut = build.add(f"{name}.downsample.1", dl.BatchNorm2d())
        build.add(f"{name}.add", dl.Add(), x, shortcut, in_place=True)
        x = build.add(f"{name}.relu_2", dl.ReLU(), in_place=True)
    build.add("avgpool", dl.GlobalAvgPool2d())
    build.add("flatten", dl.Flatten())
    build.add("fc", dl.Linear(k=10, bias=True))
    return build.network()


# -- dense connections --------------------------------------------------------------------------------------


class DenseLayer(nn.Module):
    def __init__(self, before: int) -> None:
        super().__init__()
        self.norm, self.relu = nn.BatchNorm2d(before), nn.ReLU(inplace=True)
        self.conv = nn.Conv2d(before, 12, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((x, self.conv(self.relu(self.norm(x)))), 1)


class Dense(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 7, padding=3)
        self.dense = nn.Sequential(DenseLayer(16), DenseLayer(28), DenseLayer(40))
        self.transition, self.pool = nn.Conv2d(52, 26, 1), nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.transition(self.dense(self.stem(x))))


def dense(batch: int) -> dl.Network:
    build = dl.Builder("Dense", batch, 3, 24, 30)
    x = build.add("stem", conv(16, 7, 7, bias=True))
    for place in range(3):
        build.add(f"dense.{place}.norm", dl.BatchNorm2d(), x)
        build.add(f"dense.{place}.relu", dl.ReLU(), in_place=True)
        build.add(f"dense.{place}.conv", conv(12, 3, 3))
        x = build.add(f"dense.{place}.cat", dl.Concatenate(), x, f"dense.{place}.conv")
    build.add("transition", dl.PointwiseConv2d(k=26, bias=True))
    build.add("pool", dl.AvgPool2d(r=2, s=2))
    return build.network()


# -- gates, as squeeze-and-excitation has them, at every pixel ----------------------------------------------


class GatedBlock(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.expand, self.norm1, self.act1 = nn.Conv2d(before, 48, 1), nn.BatchNorm2d(48), nn.Hardswish(inplace=True)
        self.depth, self.norm2 = depthwise(48, stride, r=5), nn.BatchNorm2d(48)
        self.squeeze, self.act2 = nn.Conv2d(48, 12, 1), nn.SiLU()
        self.excite, self.gate = nn.Conv2d(12, 48, 1), nn.Sigmoid()
        self.project, self.residual = nn.Conv2d(48, after, 1, bias=False), stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        out = self.act1(self.norm1(self.expand(x)))
        out = self.depth(out)
        out = self.norm2(out)
        out = out * self.gate(self.excite(self.act2(self.squeeze(out))))
        out = self.project(out)
        return x + out if self.residual else out


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(GatedBlock(3, 20, 2), GatedBlock(20, 20, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)


def gated(batch: int) -> dl.Network:
    build = dl.Builder("Gated", batch, 3, 31, 31)
    x = "input"
    for place, stride in enumerate((2, 1)):
        name, shortcut = f"blocks.{place}", x
        build.add(f"{name}.expand", dl.PointwiseConv2d(k=48, bias=True), x)
        build.add(f"{name}.norm1", dl.BatchNorm2d())
        build.add(f"{name}.act1", dl.HardSwish(), in_place=True)
        build.add(f"{name}.depth", dl.DepthwiseConv2d(r=5, s=5, stride=stride, padding=2))
        x = build.add(f"{name}.norm2", dl.BatchNorm2d())
        build.add(f"{name}.squeeze", dl.PointwiseConv2d(k=12, bias=True))
        build.add(f"{name}.act2", dl.SiLU())
        build.add(f"{name}.excite", dl.PointwiseConv2d(k=48, bias=True))
        gate = build.add(f"{name}.gate", dl.Sigmoid())
        build.add(f"{name}.multiply", dl.Multiply(), x, gate)
        x = build.add(f"{name}.project", dl.PointwiseConv2d(k=20))
        if place:
            x = build.add(f"{name}.add", dl.Add(), shortcut, x)
    return build.network()


# -- an encoder and a decoder with a skip -------------------------------------------------------------------


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.enter, self.act1 = nn.Conv2d(1, 8, 3, padding=1), nn.LeakyReLU(0.1, inplace=True)
        self.down, self.act2 = nn.Conv2d(8, 16, 4, stride=2, padding=1), nn.LeakyReLU(0.1)
        self.up, self.act3 = nn.ConvTranspose2d(16, 8, 4, stride=2, padding=1), nn.ReLU()
        self.mix, self.act4 = nn.Conv2d(16, 8, 3, padding=1), nn.ReLU6()
        self.wide = nn.ConvTranspose2d(8, 4, (3, 2), stride=(3, 2), padding=(1, 0), output_padding=(1, 0), bias=False)
        self.leave, self.act5 = nn.Conv2d(4, 1, 1), nn.Tanh()

    def forward(self, x: Tensor) -> Tensor:
        x = self.act1(self.enter(x))
        x = torch.cat((self.act3(self.up(self.act2(self.down(x)))), x), 1)
        x = self.act4(self.mix(x))
        x = self.wide(x)
        x = self.leave(x)
        return self.act5(x)


def unet(batch: int) -> dl.Network:
    build = dl.Builder("UNet", batch, 1, 20, 28)
    build.add("enter", conv(8, 3, 3, bias=True))
    skip = build.add("act1", dl.LeakyReLU(), in_place=True)
    build.add("down", dl.Conv2d(k=16, r=4, s=4, stride=2, padding=1, bias=True))
    build.add("act2", dl.LeakyReLU())
    build.add("up", dl.ConvTranspose2d(k=8, r=4, s=4, stride=2, padding=1, bias=True))
    build.add("act3", dl.ReLU())
    build.add("cat", dl.Concatenate(), "act3", skip)
    build.add("mix", conv(8, 3, 3, bias=True))
    build.add("act4", dl.ReLU6())
    build.add("wide", dl.ConvTranspose2d(k=4, r=3, s=2, stride=(3, 2), padding=(1, 0), output_padding=(1, 0)))
    build.add("leave", dl.PointwiseConv2d(k=1, bias=True))
    build.add("act5", dl.Tanh())
    return build.network()


# -- sound --------------------------------------------------------------------------------------------------


class Sound(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.act1 = nn.Conv1d(2, 16, 9, stride=4, padding=4), nn.PReLU(16)
        self.conv2, self.act2 = nn.Conv1d(16, 16, 3, dilation=2, padding=2, groups=4), nn.GELU()
        self.drop, self.conv3 = nn.Dropout(0.3), nn.Conv1d(16, 6, 1, bias=False)
        self.fc, self.softmax = nn.Linear(6 * 25, 7), nn.Softmax(-1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act1(self.conv1(x))
        x = x + self.act2(self.conv2(x))
        x = self.conv3(self.drop(x))
        return self.softmax(self.fc(torch.flatten(x, 1)))


def sound(batch: int) -> dl.Network:
    build = dl.Builder("Sound", batch, 2, 100)
    build.add("conv1", dl.Conv1d(k=16, s=9, stride=4, padding=4, bias=True))
    x = build.add("act1", dl.PReLU())
    build.add("conv2", dl.Conv1d(k=16, s=3, dilation=2, padding=2, groups=4, bias=True))
    build.add("act2", dl.GELU())
    build.add("add", dl.Add(), x, "act2")
    build.add("drop", dl.Dropout(p=0.3))
    build.add("conv3", dl.Conv1d(k=6, s=1, padding=0))
    build.add("flatten", dl.Flatten())
    build.add("fc", dl.Linear(k=7, bias=True))
    build.add("softmax", dl.Softmax())
    return build.network()


# -- branches with long and dilated filters -----------------------------------------------------------------


class Inception(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.enter, self.pool = nn.Conv2d(3, 8, 3, stride=2), nn.MaxPool2d(3, stride=1, padding=1)
        self.tall, self.wide = nn.Conv2d(8, 6, (7, 1), padding=(3, 0)), nn.Conv2d(6, 6, (1, 7), padding=(0, 3))
        self.tall_act, self.wide_act = nn.LeakyReLU(), nn.Hardswish()
        self.sparse, self.sparse_act = nn.Conv2d(8, 10, 3, dilation=3, padding=3), nn.SiLU()
        self.small, self.small_act = nn.Conv2d(8, 5, 1), nn.Sigmoid()
        self.last = nn.MaxPool2d((3, 2), stride=2, ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        tower = self.wide_act(self.wide(self.tall_act(self.tall(x))))
        sparse = self.sparse_act(self.sparse(x))
        x = self.small_act(self.small(self.pool(x)))
        x = torch.cat((tower, sparse, x), 1)
        del tower, sparse
        return self.last(x)


def inception(batch: int) -> dl.Network:
    build = dl.Builder("Inception", batch, 3, 40, 31)
    x = build.add("enter", dl.Conv2d(k=8, r=3, s=3, stride=2, padding="valid", bias=True))
    build.add("tall", conv(6, 7, 1, bias=True))
    build.add("tall_act", dl.LeakyReLU())
    build.add("wide", conv(6, 1, 7, bias=True))
    build.add("wide_act", dl.HardSwish())
    build.add("sparse", conv(10, 3, 3, dilation=3, bias=True), x)
    build.add("sparse_act", dl.SiLU())
    build.add("pool", dl.MaxPool2d(r=3, s=3, stride=1, padding=1), x)
    build.add("small", dl.PointwiseConv2d(k=5, bias=True))
    build.add("small_act", dl.Sigmoid())
    build.add("cat", dl.Concatenate(), "wide_act", "sparse_act", "small_act")
    build.add("last", dl.MaxPool2d(r=3, s=2, stride=2, ceil=True))
    return build.network()


# -- no convolution at all ----------------------------------------------------------------------------------


class MultiQuery(nn.Module):
    """Attention with one key-value head for four."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = nn.Linear(24, 24), nn.Linear(24, 6), nn.Linear(24, 6, bias=False)
        self.core = Core(4, kv_heads=1, dropout=0.2)

    def forward(self, x: Tensor) -> Tensor:
        return self.core(self.query(x), self.key(x), self.value(x))


class Tokens(nn.Module):
    """Rows of numbers: a linear layer comes first, and the input is a factor at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.norm, self.attention = nn.Linear(24, 24), nn.LayerNorm(24), MultiQuery()
        self.leave, self.act = nn.Linear(24, 24), nn.Tanh()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.act(self.leave(self.attention(self.norm(self.enter(x)))))


def tokens(batch: int) -> dl.Network:
    build = dl.Builder("Tokens", batch, 18, 24)
    build.add("enter", dl.BatchedLinear(k=24, bias=True))
    x = build.add("norm", dl.LayerNorm())
    parts = [
        build.add(f"attention.{name}", dl.BatchedLinear(k=k, bias=bias), x)
        for name, k, bias in (("query", 24, True), ("key", 6, True), ("value", 6, False))
    ]
    build.add("attention.core", dl.ScaledDotProductAttention(a=4, g=1, dropout=True), *parts)
    build.add("leave", dl.BatchedLinear(k=24, bias=True))
    build.add("act", dl.Tanh())
    build.add("multiply", dl.Multiply(), "input", "act")
    return build.network()


TWINS: dict[str, Twin] = {
    "resnext": (resnext, ResNeXt, (3, 33, 47)),
    "dense": (dense, Dense, (3, 24, 30)),
    "gated": (gated, Gated, (3, 31, 31)),
    "unet": (unet, UNet, (1, 20, 28)),
    "sound": (sound, Sound, (2, 100)),
    "inception": (inception, Inception, (3, 40, 31)),
    "tokens": (tokens, Tokens, (18, 24)),
}
