"""Convolutional networks that are a plain chain: LeNet-5, AlexNet, VGG-16."""

from __future__ import annotations

from ..layers import AdaptiveAvgPool2d, AvgPool2d, Conv2d, Dropout, Flatten, Linear, MaxPool2d, ReLU, Tanh
from ..networks import Builder, Network
from ..notation import Dim


def lenet5(batch: Dim = 1) -> Network:
    """LeNet-5 (LeCun et al. 1998) as it is usually rebuilt: 32 x 32 grey images, tanh, average pooling, every
    filter of the second convolution seeing all six channels.

    >>> lenet5().parameters
    61706
    """
    build = Builder("LeNet-5", batch, 1, 32, 32)
    for index, filters in ((1, 6), (2, 16)):
        build.add(f"conv{index}", Conv2d(k=filters, r=5, s=5, padding="valid", bias=True))
        build.add(f"tanh{index}", Tanh())
        build.add(f"pool{index}", AvgPool2d(r=2, s=2))
    build.add("conv3", Conv2d(k=120, r=5, s=5, padding="valid", bias=True))
    build.add("tanh3", Tanh())
    build.add("flatten", Flatten())
    build.add("fc1", Linear(k=84, bias=True))
    build.add("tanh4", Tanh())
    build.add("fc2", Linear(k=10, bias=True))
    return build.network()


def alexnet(batch: Dim = 1) -> Network:
    """AlexNet in the single-tower form of torchvision (Krizhevsky 2014), 224 x 224 images.

    >>> alexnet().parameters, alexnet().macs
    (61100840, 714188480)
    """
    build = Builder("AlexNet", batch, 3, 224, 224)
    place = 0
    for k, r, stride, padding, pool in (
        (64, 11, 4, 2, True),
        (192, 5, 1, 2, True),
        (384, 3, 1, 1, False),
        (256, 3, 1, 1, False),
        (256, 3, 1, 1, True),
    ):
        build.add(f"features.{place}", Conv2d(k=k, r=r, s=r, stride=stride, padding=padding, bias=True))
        build.add(f"features.{place + 1}", ReLU(), in_place=True)
        place += 2
        if pool:
            build.add(f"features.{place}", MaxPool2d(r=3, s=3, stride=2))
            place += 1
    build.add("avgpool", AdaptiveAvgPool2d(y=6, x=6))
    build.add("flatten", Flatten())
    for place, k in ((0, 4096), (3, 4096)):
        build.add(f"classifier.{place}", Dropout())
        build.add(f"classifier.{place + 1}", Linear(k=k, bias=True))
        build.add(f"classifier.{place + 2}", ReLU(), in_place=True)
    build.add("classifier.6", Linear(k=1000, bias=True))
    return build.network()


def vgg16(batch: Dim = 1) -> Network:
    """VGG-16, configuration D (Simonyan and Zisserman 2014), 224 x 224 images.

    >>> vgg16().parameters, vgg16().macs
    (138357544, 15470264320)
    """
    build = Builder("VGG-16", batch, 3, 224, 224)
    place = 0
    for k, repeats in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(repeats):
            build.add(f"features.{place}", Conv2d(k=k, r=3, s=3, padding=1, bias=True))
            build.add(f"features.{place + 1}", ReLU(), in_place=True)
            place += 2
        build.add(f"features.{place}", MaxPool2d(r=2, s=2))
        place += 1
    build.add("avgpool", AdaptiveAvgPool2d(y=7, x=7))
    build.add("flatten", Flatten())
    for place in (0, 3):
        build.add(f"classifier.{place}", Linear(k=4096, bias=True))
        build.add(f"classifier.{place + 1}", ReLU(), in_place=True)
        build.add(f"classifier.{place + 2}", Dropout())
    build.add("classifier.6", Linear(k=1000, bias=True))
    return build.network()
