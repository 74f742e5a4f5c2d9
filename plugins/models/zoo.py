"""The classification models of torchvision."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, get_ident
from typing import Any

import torch
from torch import nn

from framework import StageError, nearest
from framework_plugins.models.weights import Weights, load

# Extra outputs in train mode, which no loss takes.
_AUXILIARY = {"googlenet", "inception_v3"}
_BUILDING = Lock()


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
    with _stem_of(shape[0]):
        model: nn.Module = models.get_model(architecture, weights=None, num_classes=classes, **options)
    check_size(model, architecture, shape)
    if weights is not None:
        larger = models.get_model(architecture, weights=None, num_classes=classes + 1, **options)
        stem = next(name for name, module in model.named_modules() if isinstance(module, nn.Conv2d))
        replaceable = (stem, *_differing(model, larger), "aux1", "aux2", "AuxLogits")
        load(model, weights, replaceable=replaceable, architecture=architecture)
    return model


@contextmanager
def _stem_of(channels: int) -> Iterator[None]:
    """Have the first convolution that is made take that many channels instead of three.

    torchvision has no parameter for it. A layer that is put in afterwards would lack the initialisation that the
    architecture gives its layers, each by a rule of its own, at the end of its constructor.
    """
    thread, original = get_ident(), nn.Conv2d.__init__

    def make(self: nn.Conv2d, in_channels: int, *args: Any, **kwargs: Any) -> None:
        if get_ident() == thread:
            nn.Conv2d.__init__ = original  # type: ignore[method-assign]
            in_channels = channels
        original(self, in_channels, *args, **kwargs)

    with _BUILDING:
        nn.Conv2d.__init__ = make  # type: ignore[method-assign, assignment]
        try:
            yield
        finally:
            nn.Conv2d.__init__ = original  # type: ignore[method-assign]


def _differing(model: nn.Module, larger: nn.Module) -> list[str]:
    """The layers whose size depends on the number of classes, however the architecture names them."""
    sizes = {name: tensor.shape for name, tensor in larger.named_parameters()}
    return [
        name.rpartition(".")[0]
        for name, tensor in model.named_parameters()
        if name in sizes and name.endswith("weight") and tensor.shape != sizes[name]
    ]


def check_size(model: nn.Module, architecture: str, shape: tuple[int, int, int]) -> None:
    """Check that a network takes images of that size.

    Raises:
        StageError: it does not.
    """
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, *shape))
    except (RuntimeError, ValueError, AssertionError) as error:
        size = "×".join(map(str, shape))
        reason = str(error).strip().splitlines()[0]
        raise StageError(f"{architecture} cannot take images of {size}: {reason}") from error
    model.train()
