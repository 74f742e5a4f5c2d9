"""Criteria that look at a layer's weights only."""

import torch
from torch import Tensor


def magnitude(weight: Tensor) -> Tensor:
    """Magnitude (Han et al. 2015, arXiv:1506.02626): the smallest weights go first. Also called L1.

    Example:
        stages:
          - prune: {amount: 0.5, criterion: magnitude}
    """
    return weight.abs()


def random(weight: Tensor, generator: torch.Generator) -> Tensor:
    """Chance: every weight is as likely to go as any other. Drawn on the CPU, so that every device prunes the same.

    Example:
        stages:
          - prune: {amount: 0.5, criterion: random}
    """
    return torch.rand(weight.shape, generator=generator).to(weight.device)


def lamp(weight: Tensor) -> Tensor:
    """LAMP (Lee et al. 2021, arXiv:2010.07611): magnitude, relative to what its layer would still have.

    The score is w² ÷ the sum of the squares of all weights of the layer that are not smaller: what goes with w if the
    layer loses its smallest weights one after another. Of equal weights the first one counts as the smaller one. The
    largest weight of each layer has the score 1, so that with ``distribution: global`` no layer is emptied before all
    have one weight left. Sums are in float64, from the largest weight down.

    Example:
        stages:
          - train: {epochs: 5}
          - prune: {amount: 0.9, criterion: lamp}
    """
    order = weight.abs().flatten().sort(stable=True).indices
    squares = weight.flatten()[order].double().square()
    left = squares.flip(0).cumsum(0).flip(0)
    scores = torch.empty_like(squares)
    # Where nothing is left but zeros, 0 ÷ 0 is to be 0.
    scores[order] = squares / left.clamp(min=torch.finfo(left.dtype).tiny)
    return scores.view(weight.shape)
