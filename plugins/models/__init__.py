"""Models: callables of ``shape`` and ``classes`` that return a `torch.nn.Module`."""

from collections.abc import Callable, Mapping

from torch import nn

from framework import hookimpl
from framework_plugins.models.classics import lenet5, mlp, vgg
from framework_plugins.models.convnet import convnet
from framework_plugins.models.resnet import resnet18
from framework_plugins.models.timm import timm
from framework_plugins.models.zoo import torchvision


@hookimpl
def register_models() -> Mapping[str, Callable[..., nn.Module]]:
    return {
        "convnet": convnet,
        "lenet5": lenet5,
        "mlp": mlp,
        "resnet18": resnet18,
        "timm": timm,
        "torchvision": torchvision,
        "vgg": vgg,
    }
