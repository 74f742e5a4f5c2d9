"""A model: a function of the images' shape and the number of classes. Its other parameters are those in YAML."""

from collections.abc import Callable, Mapping
from typing import Annotated

from framework import Interval, hookimpl
from torch import nn


def perceptron(
    shape: tuple[int, int, int],
    classes: int,
    width: Annotated[int, Interval(ge=1)] = 64,
    depth: Annotated[int, Interval(ge=1)] = 2,
    dropout: Annotated[float, Interval(ge=0, lt=1)] = 0.0,
) -> nn.Module:
    """A multilayer perceptron: linear layers of one width, with batch normalisation and ReLU.

    Args:
        shape: (channels, height, width) of one image.
        classes: how many outputs.
        width: how many features each hidden layer has.
        depth: how many hidden layers there are.
        dropout: the fraction of features that is dropped after each of them.
    """
    channels, height, length = shape
    layers: list[nn.Module] = [nn.Flatten()]
    features = channels * height * length
    for _ in range(depth):
        # Without a bias: batch normalisation has one.
        layers += [nn.Linear(features, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(dropout)]
        features = width
    return nn.Sequential(*layers, nn.Linear(features, classes))


@hookimpl
def register_models() -> Mapping[str, Callable[..., nn.Module]]:
    """The models of this package, by the names that specs use."""
    return {"a_plugin": perceptron}
