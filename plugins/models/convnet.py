"""A small convolutional network."""

from collections import OrderedDict
from typing import Annotated

from torch import nn

from framework import Interval
from framework_plugins.models.weights import Weights, load


def convnet(
    shape: tuple[int, int, int],
    classes: int,
    widths: tuple[Annotated[int, Interval(ge=1)], ...] = (32, 64, 128),
    dropout: Annotated[float, Interval(ge=0, lt=1)] = 0.0,
    weights: Weights | None = None,
) -> nn.Module:
    """A small network for images of any size: per width a 3×3 convolution, batch norm, ReLU, and halving.

    Args:
        shape: (channels, height, width) of one image.
        classes: how many outputs.
        widths: the channels of each convolution.
        dropout: the fraction of features that is dropped before the last layer.
        weights: where to start from: a file, or a model of an earlier run as ``runs:/<id>/model``.

    Example:
        model: {name: convnet, widths: [16, 32], dropout: 0.1}
    """
    layers: list[nn.Module] = []
    channels = shape[0]
    for width in widths:
        # Rounding up, so that a side of 1 stays 1.
        layers += [
            nn.Conv2d(channels, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(2, ceil_mode=True),
        ]
        channels = width
    model = nn.Sequential(
        OrderedDict(
            features=nn.Sequential(*layers),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            dropout=nn.Dropout(dropout),
            fc=nn.Linear(channels, classes),
        )
    )
    load(model, weights, replaceable=("features.0", "fc"))
    return model
