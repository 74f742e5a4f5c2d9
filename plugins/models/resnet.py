"""ResNet-18 (He et al. 2015) of torchvision, with the stems, heads and outputs that the study compares."""

from typing import Annotated, Literal

from torch import nn

from framework import Interval
from framework_plugins.models.weights import Weights, load

Width = Annotated[int, Interval(ge=1)]


def resnet18(
    shape: tuple[int, int, int],
    classes: int,
    stem: Literal["imagenet", "cifar"] = "imagenet",
    head: tuple[Width, ...] = (),
    output: Literal["logits", "softmax"] = "logits",
    output_scale: Annotated[float, Interval(gt=0)] = 1.0,
    weights: Weights | None = None,
) -> nn.Module:
    """ResNet-18 (He et al. 2015, arXiv:1512.03385) of torchvision, for images of any size.

    Args:
        shape: (channels, height, width) of one image.
        classes: how many outputs.
        stem: ``imagenet`` is 7×7 by 2 and a max pool, which divides each side by 4; ``cifar`` is 3×3 by 1.
        head: widths of hidden layers between the 512 features and the classes.
        output: what the loss gets: logits, or their softmax.
        output_scale: what the output is multiplied by.
        weights: where to start from: the name of torchvision weights (``DEFAULT``), a file, or ``runs:/<id>/model``.

    Example:
        model: {name: resnet18, stem: cifar, head: [100], weights: DEFAULT}
    """
    from framework_plugins.models.resnet_module import ResNet18

    model = ResNet18(shape[0], classes, stem, head, output == "softmax", output_scale)
    load(model, weights, replaceable=("conv1", "fc"), architecture="resnet18")
    return model
