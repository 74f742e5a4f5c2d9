"""ResNet-18 (He et al. 2015), with the stems, heads and outputs that the study compares.

Written out rather than imported: torchvision takes seconds to import in every process. Names and initialisation are
torchvision's, so that its weights fit.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal

from framework_plugins.models.weights import load
from torch import Tensor, nn

from framework import Interval

Width = Annotated[int, Interval(ge=1)]


class Scale(nn.Module):
    """Multiplies by a constant."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor

    def extra_repr(self) -> str:
        return str(self.factor)


class Block(nn.Module):
    """Two 3×3 convolutions around a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(x)) + shortcut)


class ResNet18(nn.Module):
    """Eight blocks in four layers; see `resnet18` for the parameters."""

    def __init__(self, channels: int, classes: int, stem: str, head: Sequence[int], output: nn.Module) -> None:
        super().__init__()
        cifar = stem == "cifar"
        self.conv1 = nn.Conv2d(channels, 64, *((3, 1, 1) if cifar else (7, 2, 3)), bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.Identity() if cifar else nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(Block(64, 64, 1), Block(64, 64, 1))
        self.layer2 = nn.Sequential(Block(64, 128, 2), Block(128, 128, 1))
        self.layer3 = nn.Sequential(Block(128, 256, 2), Block(256, 256, 1))
        self.layer4 = nn.Sequential(Block(256, 512, 2), Block(512, 512, 1))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = _head(head, classes)
        self.output = output
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.output(self.fc(self.avgpool(x).flatten(1)))


def resnet18(
    shape: tuple[int, int, int],
    classes: int,
    stem: Literal["imagenet", "cifar"] = "imagenet",
    head: tuple[Width, ...] = (),
    output: Literal["logits", "softmax"] = "logits",
    output_scale: Annotated[float, Interval(gt=0)] = 1.0,
    weights: str | None = None,
) -> nn.Module:
    """ResNet-18, for images of any size.

    Args:
        shape: (channels, height, width) of one image.
        classes: how many outputs.
        stem: ``imagenet`` is 7×7 by 2 and a max pool, which divides each side by 4; ``cifar`` is 3×3 by 1.
        head: widths of hidden layers between the 512 features and the classes.
        output: what the loss gets: logits, or their softmax,
        output_scale: times this.
        weights: where to start from: the name of torchvision weights (``DEFAULT``), a file, or ``runs:/<id>/model``.
    """
    outputs: list[nn.Module] = [nn.Softmax(dim=1)] if output == "softmax" else []
    if output_scale != 1:
        outputs.append(Scale(output_scale))
    model = ResNet18(shape[0], classes, stem, head, nn.Sequential(*outputs))
    load(model, weights, replaceable=("conv1", "fc"), architecture="resnet18")
    return model


def _head(hidden: Sequence[int], classes: int) -> nn.Module:
    if not hidden:
        return nn.Linear(512, classes)
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise((512, *hidden)):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(hidden[-1], classes))
