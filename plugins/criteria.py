"""Pruning criteria: the elements with the lowest scores are pruned."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from framework import hookimpl


def l1(weight: Tensor) -> Tensor:
    """Magnitude (Han et al. 2015, arXiv:1506.02626): the smallest weights go first.

    Example:
        stages:
          - prune: {amount: 0.5, criterion: l1}
    """
    return weight.abs()


def random(weight: Tensor, generator: torch.Generator) -> Tensor:
    """Chance: every weight is as likely to go as any other. Drawn on the CPU, so that every device prunes the same.

    Example:
        stages:
          - prune: {amount: 0.5, criterion: random}
    """
    return torch.rand(weight.shape, generator=generator).to(weight.device)


@hookimpl
def register_criteria() -> Mapping[str, Callable[..., Tensor]]:
    return {"l1": l1, "random": random}
