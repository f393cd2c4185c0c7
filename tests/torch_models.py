"""Well-known networks as plain PyTorch modules, written by hand from their papers and usual implementations.

They are witnesses: nothing here is taken from `dnnlab`. A module that computes has the name that the layer has
in `dnnlab.zoo`, and the modules are nested as the dots in the names say. `narrow` divides the channels where a
test (a receptive field) does not depend on them. As usual, a variable is bound anew by each step, so that the
tensor before it can go: `out = self.bn(self.conv(out))` would hold the convolution's input while `bn` runs.
"""

from __future__ import annotations

from collections import OrderedDict

try:
    import torch
except ImportError:  # collected by pytest on a machine without it
    import pytest

    pytest.skip("PyTorch is not installed: python -m tasks test --with torch", allow_module_level=True)

from torch import Tensor, nn

# -- chains -------------------------------------------------------------------------------------------------


class LeNet5(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.tanh1, self.pool1 = nn.Conv2d(1, 6, 5), nn.Tanh(), nn.AvgPool2d(2)
        self.conv2, self.tanh2, self.pool2 = nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2)
        self.conv3, self.tanh3 = nn.Conv2d(16, 120, 5), nn.Tanh()
        self.fc1, self.tanh4, self.fc2 = nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool1(self.tanh1(self.conv1(x)))
        x = self.pool2(self.tanh2(self.conv2(x)))
        x = torch.flatten(self.tanh3(self.conv3(x)), 1)
        return self.fc2(self.tanh4(self.fc1(x)))


class Chain(nn.Module):
    """`features`, pooling to a fixed size, `classifier`: AlexNet and VGG."""

    def __init__(self, features: list[nn.Module], pool: int, classifier: list[nn.Module]) -> None:
        super().__init__()
        self.features = nn.Sequential(*features)
        self.avgpool = nn.AdaptiveAvgPool2d(pool)
        self.classifier = nn.Sequential(*classifier)

    def forward(self, x: Tensor) -> Tensor:
        x = self.avgpool(self.features(x))
        return self.classifier(torch.flatten(x, 1))


def alexnet() -> Chain:
    def relu() -> nn.Module:
        return nn.ReLU(inplace=True)

    features = [
        *(nn.Conv2d(3, 64, 11, stride=4, padding=2), relu(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(64, 192, 5, padding=2), relu(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(192, 384, 3, padding=1), relu()),
        *(nn.Conv2d(384, 256, 3, padding=1), relu()),
        *(nn.Conv2d(256, 256, 3, padding=1), relu(), nn.MaxPool2d(3, 2)),
    ]
    classifier = [
        *(nn.Dropout(), nn.Linear(256 * 36, 4096), relu()),
        *(nn.Dropout(), nn.Linear(4096, 4096), relu()),
        nn.Linear(4096, 1000),
    ]
    return Chain(features, 6, classifier)


def vgg16(narrow: int = 1) -> Chain:
    features: list[nn.Module] = []
    before = 3
    for entry in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0):
        if entry:
            features += [nn.Conv2d(before, entry // narrow, 3, padding=1), nn.ReLU(inplace=True)]
            before = entry // narrow
        else:
            features.append(nn.MaxPool2d(2, 2))
    classifier = [
        *(nn.Linear(before * 49, 4096), nn.ReLU(inplace=True), nn.Dropout()),
        *(nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Dropout()),
        nn.Linear(4096, 1000),
    ]
    return Chain(features, 7, classifier)


# -- residual networks --------------------------------------------------------------------------------------


class Basic(nn.Module):
    """Two 3 x 3 convolutions."""

    expansion = 1

    def __init__(self, before: int, width: int, stride: int, downsample: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.bn1, self.relu = nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2, self.relu_1 = nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.conv2(out)
        out = self.bn2(out)
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu_1(out)


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 with the stride (in `groups`), 1 x 1 to four times the width."""

    expansion = 4

    def __init__(self, before: int, width: int, stride: int, downsample: nn.Module | None, groups: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 1, bias=False)
        self.bn1, self.relu = nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, groups=groups, bias=False)
        self.bn2, self.relu_1 = nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3, self.relu_2 = nn.BatchNorm2d(4 * width), nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.conv2(out)
        out = self.relu_1(self.bn2(out))
        out = self.conv3(out)
        out = self.bn3(out)
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu_2(out)


class ResNet(nn.Module):
    def __init__(self, block: type[Basic] | type[Bottleneck], depths: tuple[int, ...], narrow: int = 1) -> None:
        super().__init__()
        before = 64 // narrow
        self.conv1 = nn.Conv2d(3, before, 7, 2, 3, bias=False)
        self.bn1, self.relu, self.maxpool = nn.BatchNorm2d(before), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
        for stage, depth in enumerate(depths):
            blocks = []
            for place in range(depth):
                width, stride = 64 // narrow * 2**stage, 2 if stage and not place else 1
                after, downsample = width * block.expansion, None
                if stride != 1 or before != after:
                    downsample = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
                blocks.append(block(before, width, stride, downsample))
                before = after
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(before, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


def resnet18(narrow: int = 1) -> ResNet:
    return ResNet(Basic, (2, 2, 2, 2), narrow)


def resnet50(narrow: int = 1) -> ResNet:
    return ResNet(Bottleneck, (3, 4, 6, 3), narrow)


# -- mobile networks ----------------------------------------------------------------------------------------


def normalised(conv: nn.Conv2d, activation: type[nn.Module]) -> nn.Sequential:
    return nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels), activation(inplace=True))


def depthwise(width: int, stride: int, r: int = 3) -> nn.Conv2d:
    return nn.Conv2d(width, width, r, stride, r // 2, groups=width, bias=False)


class Classified(nn.Module):
    """`features`, the mean of each channel, and a linear layer, alone or behind a dropout."""

    def __init__(self, features: list[nn.Module], width: int, dropout: bool) -> None:
        super().__init__()
        self.features, self.avgpool = nn.Sequential(*features), nn.AdaptiveAvgPool2d(1)
        if dropout:
            self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(width, 1000))
        else:
            self.fc = nn.Linear(width, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        x = torch.flatten(self.avgpool(x), 1)
        return self.classifier(x) if hasattr(self, "classifier") else self.fc(x)


def mobilenet_v1(narrow: int = 1) -> Classified:
    before = 32 // narrow
    features: list[nn.Module] = [normalised(nn.Conv2d(3, before, 3, 2, 1, bias=False), nn.ReLU)]
    for after, stride in (
        *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
        *((512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1)),
    ):
        after //= narrow
        pair = OrderedDict(
            depthwise=normalised(depthwise(before, stride), nn.ReLU),
            pointwise=normalised(nn.Conv2d(before, after, 1, bias=False), nn.ReLU),
        )
        features.append(nn.Sequential(pair))
        before = after
    return Classified(features, before, dropout=False)


class InvertedResidual(nn.Module):
    def __init__(self, before: int, after: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden = before * expand
        steps: list[nn.Module] = [
            normalised(depthwise(hidden, stride), nn.ReLU6),
            nn.Conv2d(hidden, after, 1, bias=False),
            nn.BatchNorm2d(after),
        ]
        if expand != 1:
            steps.insert(0, normalised(nn.Conv2d(before, hidden, 1, bias=False), nn.ReLU6))
        self.conv = nn.Sequential(*steps)
        self.residual = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


def mobilenet_v2(narrow: int = 1) -> Classified:
    before = 32 // narrow
    features: list[nn.Module] = [normalised(nn.Conv2d(3, before, 3, 2, 1, bias=False), nn.ReLU6)]
    for expand, after, repeats, stride in (
        *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
        *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
    ):
        for place in range(repeats):
            features.append(InvertedResidual(before, after // narrow, 1 if place else stride, expand))
            before = after // narrow
    features.append(normalised(nn.Conv2d(before, 1280 // narrow, 1, bias=False), nn.ReLU6))
    return Classified(features, 1280 // narrow, dropout=True)
