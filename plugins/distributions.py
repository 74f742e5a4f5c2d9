"""Distributions: how many of the weights that are pruned each layer loses. Every total is exact."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from framework import apportion, hookimpl, lowest

Counts: TypeAlias = dict[str, int]


def global_(scores: Mapping[str, Tensor], count: int) -> Counts:
    """One ranking over all layers: the lowest scores go, wherever they are.

    Example:
        stages:
          - prune: {amount: 0.5, distribution: global}
    """
    together = torch.cat([score.double() if score.is_floating_point() else score for score in scores.values()])
    gone = lowest(together, torch.ones_like(together, dtype=torch.bool), count)
    parts = gone.split([len(score) for score in scores.values()])
    return {name: int(part.sum()) for name, part in zip(scores, parts, strict=True)}


def layer(candidates: Mapping[str, int], count: int) -> Counts:
    """The same fraction of each layer, rounded by largest remainder.

    Example:
        stages:
          - prune: {amount: 0.5, distribution: layer}
    """
    return apportion(count, candidates, candidates)


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
