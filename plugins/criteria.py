"""Pruning criteria: the elements with the lowest scores are pruned."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from framework import hookimpl


def l1(weight: Tensor) -> Tensor:
    """Magnitude: the smallest weights go first."""
    return weight.abs()


def random(weight: Tensor, generator: torch.Generator) -> Tensor:
    """Chance: every weight is as likely to go as any other. Drawn on the CPU, so that every device prunes the same."""
    return torch.rand(weight.shape, generator=generator).to(weight.device)


@hookimpl
def register_criteria() -> Mapping[str, Callable[..., Tensor]]:
    return {"l1": l1, "random": random}
