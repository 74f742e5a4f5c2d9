"""Sparse training: the smallest weights go, and as many others grow."""

from dataclasses import dataclass
from math import cos, pi
from typing import Annotated

import torch
from torch import Tensor

from framework import Interval, Masks, Sparsifier, Step, lowest


@dataclass
class SET(Sparsifier):
    """Sparse evolutionary training (Mocanu et al. 2018, arXiv:1707.04780): what grows is drawn at random.

    Every so many steps each layer loses the smallest of its remaining weights, a fraction that falls to 0 as
    ``fraction / 2 (1 + cos(π t / T))``, and as many of those that it does not keep grow, from 0. A weight that goes and
    grows at once keeps its value. The change takes the place of the optimizer's step. Begin with a `prune` of random
    weights, spread by ``erk``.

    Attributes:
        fraction: of the remaining weights that go at first (α).
        every: steps from one change to the next (ΔT).
        end: when changes cease, as a fraction of the stage's steps (T).

    Example:
        stages:
          - prune: {amount: 0.9, criterion: random, distribution: erk}
          - train: {epochs: 10, sparsifier: set}
    """

    fraction: Annotated[float, Interval(gt=0, le=1)] = 0.3
    every: Annotated[int, Interval(ge=1)] = 100
    end: Annotated[float, Interval(gt=0, le=1)] = 0.75

    def update(self, step: Step) -> Masks | None:
        last = self.end * step.steps
        if step.number == 0 or step.number % self.every or step.number >= last:
            return None
        step.skip()
        share, masks = self.fraction / 2 * (1 + cos(pi * step.number / last)), {}
        for name, mask in step.masks.items():
            remaining = mask.flatten()
            count = round(share * int(remaining.sum()))
            kept = remaining & ~lowest(step.weights[name].abs().flatten(), remaining, count)
            grown = lowest(-self.growth(step, name).flatten(), ~kept, count)
            masks[name] = (kept | grown).view(mask.shape)
        return masks

    def growth(self, step: Step, name: str) -> Tensor:
        """Scores of a layer's weights, of its shape; the highest grow."""
        return torch.rand(step.weights[name].shape, generator=step.generator).to(step.weights[name].device)


@dataclass
class RigL(SET):
    """Rigging the lottery (Evci et al. 2020, arXiv:1911.11134): those grow whose gradients are largest.

    Like `set`, but what grows is chosen by the gradient of the loss, of this step's batch.

    Example:
        stages:
          - prune: {amount: 0.9, criterion: random, distribution: erk}
          - train: {epochs: 10, sparsifier: {name: rigl, every: 50}}
    """

    def growth(self, step: Step, name: str) -> Tensor:
        return step.gradients[name].abs()
