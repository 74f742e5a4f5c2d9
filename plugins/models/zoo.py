"""The classification models of torchvision."""

from typing import Any

import torch
from torch import nn

from framework import StageError, nearest
from framework_plugins.models.weights import Weights, load

# Extra outputs in train mode, which no loss takes.
_AUXILIARY = {"googlenet", "inception_v3"}


def torchvision(
    shape: tuple[int, int, int], classes: int, architecture: str, weights: Weights | None = None
) -> nn.Module:
    """Any classification model of torchvision.

    Args:
        shape: (channels, height, width) of one image.
        classes: how many outputs.
        architecture: its name in torchvision, such as ``mobilenet_v3_small``.
        weights: where to start from: the name of torchvision weights (``DEFAULT``), a file, or ``runs:/<id>/model``.

    Raises:
        StageError: torchvision has no such model, or it cannot take images of that size.

    Example:
        model: {name: torchvision, architecture: mobilenet_v3_small}
    """
    from torchvision import models

    names = models.list_models(module=models)
    if architecture not in names:
        raise StageError(f"torchvision has no classification model {architecture!r} ({nearest(architecture, names)})")
    options: dict[str, Any] = {}
    if architecture in _AUXILIARY:
        options = {"aux_logits": False, "init_weights": True}
    model: nn.Module = models.get_model(architecture, weights=None, num_classes=classes, **options)
    stem = _adapt_stem(model, shape[0])
    _check_size(model, architecture, shape)
    if weights is not None:
        larger = models.get_model(architecture, weights=None, num_classes=classes + 1, **options)
        replaceable = (stem, *_differing(model, larger), "aux1", "aux2", "AuxLogits")
        load(model, weights, replaceable=replaceable, architecture=architecture)
    return model


def _adapt_stem(model: nn.Module, channels: int) -> str:
    """Make the first convolution take that many channels.

    Returns:
        Its name.
    """
    name, conv = next((name, m) for name, m in model.named_modules() if isinstance(m, nn.Conv2d))
    if conv.in_channels != channels:
        parent, _, attribute = name.rpartition(".")
        options: dict[str, Any] = {name: getattr(conv, name) for name in ("kernel_size", "stride", "padding")}
        new = nn.Conv2d(channels, conv.out_channels, bias=conv.bias is not None, **options)
        setattr(model.get_submodule(parent), attribute, new)
    return name


def _differing(model: nn.Module, larger: nn.Module) -> list[str]:
    """The layers whose size depends on the number of classes, however the architecture names them."""
    sizes = {name: tensor.shape for name, tensor in larger.named_parameters()}
    return [
        name.rpartition(".")[0]
        for name, tensor in model.named_parameters()
        if name in sizes and name.endswith("weight") and tensor.shape != sizes[name]
    ]


def _check_size(model: nn.Module, architecture: str, shape: tuple[int, int, int]) -> None:
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, *shape))
    except (RuntimeError, ValueError, AssertionError) as error:
        size = "×".join(map(str, shape))
        reason = str(error).strip().splitlines()[0]
        raise StageError(f"{architecture} cannot take images of {size}: {reason}") from error
    model.train()
