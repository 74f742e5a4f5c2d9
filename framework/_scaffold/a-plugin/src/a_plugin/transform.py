"""A transform: a module that gives an image for an image. The parameters of ``__init__`` are those in YAML."""

from collections.abc import Callable, Mapping
from typing import Annotated

import torch
from framework import Interval, hookimpl
from torch import Tensor, nn


class Darken(nn.Module):
    """Multiply an image by a random factor.

    Args:
        least: the smallest factor; the largest one is 1.
    """

    def __init__(self, least: Annotated[float, Interval(ge=0, lt=1)] = 0.5) -> None:
        super().__init__()
        self.least = least

    def forward(self, image: Tensor) -> Tensor:
        """Transform one image, uint8 (channels, height, width)."""
        factor = self.least + (1 - self.least) * torch.rand(())
        return (image * factor).to(image.dtype)


@hookimpl
def register_transforms() -> Mapping[str, Callable[..., nn.Module]]:
    """The transforms of this package, by the names that specs use."""
    return {"a_plugin": Darken}
