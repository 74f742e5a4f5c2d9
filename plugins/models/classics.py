"""The small networks that work on pruning is compared on."""

from collections import OrderedDict
from itertools import pairwise
from math import prod
from typing import Annotated, Literal

from torch import nn

from framework import Interval, StageError
from framework_plugins.models.weights import Weights, load

Width = Annotated[int, Interval(ge=1)]

_BLOCKS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


def mlp(
    shape: tuple[int, ...],
    classes: int,
    widths: tuple[Width, ...] = (300, 100),
    weights: Weights | None = None,
) -> nn.Module:
    """A multilayer perceptron with ReLU; its defaults are LeNet-300-100 (LeCun et al. 1998).

    The hidden layers are called ``fc1``, ``fc2``, …, and the last layer ``fc``.

    Args:
        shape: of one input, of any number of dimensions, which are flattened.
        classes: how many outputs.
        widths: of the hidden layers.
        weights: where to start from: a file, or a model of an earlier run as ``runs:/<id>/model``.

    Example:
        model: {name: mlp, widths: [300, 100]}
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    sizes = (prod(shape), *widths)
    for i, (inputs, outputs) in enumerate(pairwise(sizes), 1):
        layers[f"fc{i}"], layers[f"relu{i}"] = nn.Linear(inputs, outputs), nn.ReLU()
    layers["fc"] = nn.Linear(sizes[-1], classes)
    model = nn.Sequential(layers)
    load(model, weights, replaceable=("fc1", "fc"))
    return model


def lenet5(shape: tuple[int, int, int], classes: int, weights: Weights | None = None) -> nn.Module:
    """LeNet-5 as in the literature on pruning, which took it from Caffe: 430,500 weights on MNIST.

    Two 5×5 convolutions with 20 and 50 channels, each followed by 2×2 max pooling, and 500 hidden units with ReLU. The
    network of LeCun et al. 1998 is smaller (61,470 weights) and has sigmoids and a trained subsampling.

    Args:
        shape: (channels, height, width) of one image, of at least 16×16.
        classes: how many outputs.
        weights: where to start from: a file, or a model of an earlier run as ``runs:/<id>/model``.

    Raises:
        StageError: the images are too small.

    Example:
        model: lenet5
    """
    channels, height, width = shape
    rows, columns = (((side - 4) // 2 - 4) // 2 for side in (height, width))
    if rows < 1 or columns < 1:
        raise StageError(f"lenet5 needs images of at least 16×16, not {height}×{width}: take convnet or mlp")
    model = nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(channels, 20, 5),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(20, 50, 5),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc1=nn.Linear(50 * rows * columns, 500),
            relu1=nn.ReLU(),
            fc=nn.Linear(500, classes),
        )
    )
    load(model, weights, replaceable=("conv1", "fc1", "fc"))
    return model


def vgg(
    shape: tuple[int, int, int],
    classes: int,
    depth: Literal[11, 13, 16, 19] = 16,
    batch_norm: bool = True,
    weights: Weights | None = None,
) -> nn.Module:
    """VGG (Simonyan & Zisserman 2014, arXiv:1409.1556) for small images, as work on pruning has it.

    The convolutions are those of VGG. The mean over what is left of the image, and one linear layer, take the place of
    its three linear layers: VGG-16 has 14.7 million parameters instead of 138. The original is ``torchvision`` with
    ``architecture: vgg16_bn``.

    Args:
        shape: (channels, height, width) of one image.
        classes: how many outputs.
        depth: how many layers with weights VGG has by name, ; the last three of them are one here.
        batch_norm: normalise after each convolution, which then has no bias.
        weights: where to start from: a file, or a model of an earlier run as ``runs:/<id>/model``.

    Example:
        model: {name: vgg, depth: 16}
    """
    layers: list[nn.Module] = []
    channels = shape[0]
    for block, (count, width) in enumerate(zip(_BLOCKS[depth], (64, 128, 256, 512, 512), strict=True)):
        if block:
            layers.append(nn.MaxPool2d(2, ceil_mode=True))  # rounding up, so that a side of 1 stays 1
        for _ in range(count):
            convolution = nn.Conv2d(channels, width, 3, padding=1, bias=not batch_norm)
            nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
            if convolution.bias is not None:
                nn.init.zeros_(convolution.bias)
            layers += [convolution, *([nn.BatchNorm2d(width)] if batch_norm else []), nn.ReLU()]
            channels = width
    model = nn.Sequential(
        OrderedDict(
            features=nn.Sequential(*layers),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            fc=nn.Linear(channels, classes),
        )
    )
    load(model, weights, replaceable=("features.0", "fc"))
    return model
