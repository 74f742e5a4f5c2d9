"""torchvision's ResNet-18 with other stems, heads and outputs; a file of its own, as torchvision is slow to import."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, ResNet


class Scale(nn.Module):
    """Multiplies by a constant."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor

    def extra_repr(self) -> str:
        return str(self.factor)


class ResNet18(ResNet):
    """See `framework_plugins.models.resnet.resnet18` for the parameters."""

    def __init__(
        self, channels: int, classes: int, stem: str, head: Sequence[int], softmax: bool, output_scale: float
    ) -> None:
        super().__init__(BasicBlock, [2, 2, 2, 2], num_classes=classes)
        if stem == "cifar":
            self.conv1, self.maxpool = _stem(channels, 3, 1), nn.Identity()
        elif channels != self.conv1.in_channels:
            self.conv1 = _stem(channels, 7, 2)
        if head:
            self.fc = _head(self.fc.in_features, head, classes)
        # Apart from the head, so that all output variants share their weights' names.
        self.output = nn.Sequential()
        if softmax:
            self.output.append(nn.Softmax(dim=1))
        if output_scale != 1:
            self.output.append(Scale(output_scale))

    def forward(self, x: Tensor) -> Tensor:
        return self.output(super().forward(x))


def _stem(channels: int, size: int, stride: int) -> nn.Conv2d:
    conv = nn.Conv2d(channels, 64, size, stride, size // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv


def _head(features: int, hidden: Sequence[int], classes: int) -> nn.Module:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise((features, *hidden)):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(hidden[-1], classes))
