"""Criteria that look at what follows a filter."""

from torch import Tensor


def slimming(gamma: Tensor) -> Tensor:
    """Network slimming (Liu et al. 2017, arXiv:1708.06519): filters whose batch normalisation scales them least go.

    The score is |γ|, the weight of the batch normalisation; of filters that are tied, the sum over all of theirs. For
    ``granularity: filters`` only, and made for networks that have been trained with a penalty on |γ|.

    Example:
        stages:
          - train: {epochs: 5}
          - prune: {granularity: filters, amount: 0.3, criterion: slimming}
          - train: {epochs: 5}
    """
    return gamma.abs()
