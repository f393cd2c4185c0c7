"""Residual networks (He et al. 2015) as torchvision builds them: the stride sits in the 3 x 3 convolution."""

from __future__ import annotations

from ..layers import Add, BatchNorm2d, Conv2d, Flatten, GlobalAvgPool2d, Linear, MaxPool2d, ReLU
from ..networks import Builder, Network
from ..notation import Dim

Convolution = tuple[int, int, int]  # filters, filter size, stride


def _block(build: Builder, name: str, convolutions: list[Convolution], project: Convolution | None) -> None:
    """Convolutions with batch norm, ReLU between them, plus the shortcut, plus a last ReLU."""
    shortcut = x = build.last
    for place, (k, r, stride) in enumerate(convolutions, 1):
        x = build.add(f"{name}.conv{place}", Conv2d(k=k, r=r, s=r, stride=stride, padding=r // 2), x)
        x = build.add(f"{name}.bn{place}", BatchNorm2d())
        if place < len(convolutions):
            x = build.add(f"{name}.relu" + (f"_{place - 1}" if place > 1 else ""), ReLU(), in_place=True)
    if project:
        k, r, stride = project
        build.add(f"{name}.downsample.0", Conv2d(k=k, r=r, s=r, stride=stride, padding=0), shortcut)
        shortcut = build.add(f"{name}.downsample.1", BatchNorm2d())
    build.add(f"{name}.add", Add(), x, shortcut, in_place=True)
    build.add(f"{name}.relu_{len(convolutions) - 1}", ReLU(), in_place=True)


def _resnet(name: str, batch: Dim, depths: tuple[int, ...], bottleneck: bool) -> Network:
    build = Builder(name, batch, 3, 224, 224)
    build.add("conv1", Conv2d(k=64, r=7, s=7, stride=2, padding=3))
    build.add("bn1", BatchNorm2d())
    build.add("relu", ReLU(), in_place=True)
    build.add("maxpool", MaxPool2d(r=3, s=3, stride=2, padding=1))
    channels = 64
    for stage, depth in enumerate(depths, 1):
        width = 64 * 2 ** (stage - 1)
        out = width * 4 if bottleneck else width
        for place in range(depth):
            stride = 2 if stage > 1 and place == 0 else 1
            chain = [(width, 1, 1), (width, 3, stride), (out, 1, 1)] if bottleneck else [
                (width, 3, stride), (width, 3, 1)
            ]  # fmt: skip
            project = (out, 1, stride) if stride != 1 or channels != out else None
            _block(build, f"layer{stage}.{place}", chain, project)
            channels = out
    build.add("avgpool", GlobalAvgPool2d())
    build.add("flatten", Flatten())
    build.add("fc", Linear(k=1000, bias=True))
    return build.network()


def resnet18(batch: Dim = 1) -> Network:
    """ResNet-18, 224 x 224 images.

    >>> resnet18().parameters, resnet18().macs
    (11689512, 1814073344)
    """
    return _resnet("ResNet-18", batch, (2, 2, 2, 2), bottleneck=False)


def resnet50(batch: Dim = 1) -> Network:
    """ResNet-50 (torchvision's v1.5), 224 x 224 images.

    >>> resnet50().parameters, resnet50().macs
    (25557032, 4089184256)
    """
    return _resnet("ResNet-50", batch, (3, 4, 6, 3), bottleneck=True)
