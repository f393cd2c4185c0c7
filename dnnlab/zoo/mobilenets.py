"""Networks made of depth-wise and point-wise convolutions: MobileNetV1 and MobileNetV2."""

from __future__ import annotations

from ..layers import (
    Add,
    BatchNorm2d,
    Conv2d,
    DepthwiseConv2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Linear,
    PointwiseConv2d,
    ReLU,
    ReLU6,
)
from ..layers.base import Layer
from ..networks import Builder, Network
from ..notation import Dim


def _normalised(build: Builder, name: str, layer: Layer, activation: Layer) -> None:
    """A convolution, batch norm and an activation, named as torchvision numbers them."""
    build.add(f"{name}.0", layer)
    build.add(f"{name}.1", BatchNorm2d())
    build.add(f"{name}.2", activation, in_place=True)


def mobilenet_v1(batch: Dim = 1) -> Network:
    """MobileNetV1 (Howard et al. 2017), width 1, 224 x 224 images.

    >>> mobilenet_v1().parameters, mobilenet_v1().macs
    (4231976, 568740352)
    """
    build = Builder("MobileNetV1", batch, 3, 224, 224)
    _normalised(build, "features.0", Conv2d(k=32, r=3, s=3, stride=2, padding=1), ReLU())
    plan = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
    for place, (k, stride) in enumerate(plan, 1):
        _normalised(build, f"features.{place}.depthwise", DepthwiseConv2d(r=3, s=3, stride=stride, padding=1), ReLU())
        _normalised(build, f"features.{place}.pointwise", PointwiseConv2d(k=k), ReLU())
    build.add("avgpool", GlobalAvgPool2d())
    build.add("flatten", Flatten())
    build.add("fc", Linear(k=1000, bias=True))
    return build.network()


def mobilenet_v2(batch: Dim = 1) -> Network:
    """MobileNetV2 (Sandler et al. 2018) as torchvision builds it, 224 x 224 images.

    >>> mobilenet_v2().parameters, mobilenet_v2().macs
    (3504872, 300774272)
    """
    build = Builder("MobileNetV2", batch, 3, 224, 224)
    _normalised(build, "features.0", Conv2d(k=32, r=3, s=3, stride=2, padding=1), ReLU6())
    channels, place = 32, 1
    for expand, k, repeats, first_stride in (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):
        for repeat in range(repeats):
            stride = first_stride if repeat == 0 else 1
            name, shortcut, step = f"features.{place}", build.last, 0
            if expand != 1:
                _normalised(build, f"{name}.conv.0", PointwiseConv2d(k=channels * expand), ReLU6())
                step = 1
            depthwise = DepthwiseConv2d(r=3, s=3, stride=stride, padding=1)
            _normalised(build, f"{name}.conv.{step}", depthwise, ReLU6())
            build.add(f"{name}.conv.{step + 1}", PointwiseConv2d(k=k))
            x = build.add(f"{name}.conv.{step + 2}", BatchNorm2d())
            if stride == 1 and channels == k:
                build.add(f"{name}.add", Add(), shortcut, x)
            channels, place = k, place + 1
    _normalised(build, f"features.{place}", PointwiseConv2d(k=1280), ReLU6())
    build.add("avgpool", GlobalAvgPool2d())
    build.add("flatten", Flatten())
    build.add("classifier.0", Dropout(p=0.2))
    build.add("classifier.1", Linear(k=1000, bias=True))
    return build.network()
