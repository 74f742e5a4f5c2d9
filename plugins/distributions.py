"""Distributions: how many of the weights that are pruned each layer loses. Every total is exact."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from framework import StageError, apportion, hookimpl, lowest

Counts: TypeAlias = dict[str, int]


def global_(scores: Mapping[str, Tensor], count: int) -> Counts:
    """One ranking over all layers: the lowest scores go, wherever they are.

    Example:
        stages:
          - prune: {amount: 0.5, distribution: global}
    """
    parts = list(scores.values())
    if len({part.dtype for part in parts}) > 1:  # rounded to each other's type, scores could change places
        parts = [part.double() if part.is_floating_point() else part for part in parts]
    together = torch.cat(parts)
    gone = lowest(together, torch.ones_like(together, dtype=torch.bool), count)
    by_layer = gone.split([len(part) for part in parts])
    return {name: int(part.count_nonzero()) for name, part in zip(scores, by_layer, strict=True)}


def layer(candidates: Mapping[str, int], count: int, first_dense: bool = False) -> Counts:
    """The same fraction of each layer, rounded by largest remainder.

    Args:
        first_dense: take nothing from the first of the layers that are pruned, as work on sparse training does (Evci et
            al. 2020, arXiv:1911.11134); the others lose the more, so that the total stays what was asked for.

    Raises:
        StageError: the first layer is to stay dense, and the others have fewer weights than are to go.

    Example:
        stages:
          - prune: {amount: 0.5, distribution: layer}
    """
    first = next(iter(candidates)) if first_dense else None
    limits = {name: 0 if name == first else number for name, number in candidates.items()}
    if (most := sum(limits.values())) < count:
        raise StageError(
            f"distribution 'layer' cannot take {count} weights and leave {first} dense: the other layers have {most}"
        )
    return apportion(count, limits, limits)


def erk(shapes: Mapping[str, Sequence[int]], candidates: Mapping[str, int], count: int) -> Counts:
    """Erdős-Rényi kernel (Evci et al. 2020, arXiv:1911.11134): large layers become sparser than small ones.

    A layer keeps a fraction of its weights in proportion to the sum of its dimensions ÷ their product, all four of a
    convolution. Layers that would keep more than they have are dense, and the others are solved for again.

    Example:
        stages:
          - prune: {amount: 0.9, criterion: random, distribution: erk}
    """
    kept = apportion(sum(candidates.values()) - count, {name: sum(shape) for name, shape in shapes.items()}, candidates)
    return {name: candidates[name] - kept[name] for name in kept}


@hookimpl
def register_distributions() -> Mapping[str, Callable[..., Counts]]:
    return {"global": global_, "layer": layer, "erk": erk}
