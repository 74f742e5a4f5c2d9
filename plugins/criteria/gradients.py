"""Criteria that estimate from gradients by how much the loss would change without a weight."""

from collections.abc import Sequence
from typing import Annotated, Any, TypeAlias

import torch
from torch import Tensor

from framework import Interval, Mode, Network

Count = Annotated[int, Interval(ge=1)]
Batch: TypeAlias = tuple[Any, Any]


def snip(network: Network, images: Count = 128, batches: Count = 1, mode: Mode = "train") -> dict[str, Tensor]:
    """SNIP (Lee et al. 2019, arXiv:1810.02340): by how much the loss would change without the weight, to first order.

    The score is |w · ∂L/∂w|; the gradient is of all images together. Made for networks that have not been trained yet.

    Args:
        images: per batch.
        batches: whose gradients are averaged.
        mode: of normalisation meanwhile: by the batch (``train``) or by the running statistics.

    Example:
        stages:
          - prune: {amount: 0.9, criterion: snip}
          - train: {epochs: 10}
    """
    found = list(network.gradients(network.batches(batches, images), mode))
    return {name: (weight * sum(g[name] for g in found)).abs() for name, weight in network.weights.items()}


def taylor(network: Network, images: Count = 128, batches: Count = 10, mode: Mode = "train") -> dict[str, Tensor]:
    """Taylor (Molchanov et al. 2019, arXiv:1906.10771): the squared change of the loss without the weight.

    The score is (w · ∂L/∂w)² of a batch, to first order, averaged over batches: squares are averaged, so that changes
    of opposite sign do not cancel as they do in the square of an average.

    Args:
        images: per batch.
        batches: whose squares are averaged.
        mode: of normalisation meanwhile: by the batch (``train``) or by the running statistics.

    Example:
        stages:
          - train: {epochs: 5}
          - prune: {amount: 0.9, criterion: taylor}
    """
    squares = _mean_squares(network, network.batches(batches, images), mode)
    return {name: weight.square() * squares[name] for name, weight in network.weights.items()}


def fisher(network: Network, images: Count = 1280) -> dict[str, Tensor]:
    """Fisher (Theis et al. 2018, arXiv:1801.05787): by how much the loss would grow without the weight.

    The score is ½ w² F, with the diagonal of the Fisher information F: the mean of the squared gradients of single
    images, by their labels. It is the second-order estimate for a network that has been trained. Normalisation uses
    its running statistics, as those of a batch would mix its images.

    Args:
        images: how many.

    Example:
        stages:
          - train: {epochs: 5}
          - prune: {amount: 0.9, criterion: fisher}
    """
    squares = _mean_squares(network, network.batches(images, 1), "eval")
    return {name: weight.square() * squares[name] / 2 for name, weight in network.weights.items()}


def _mean_squares(network: Network, batches: Sequence[Batch], mode: Mode) -> dict[str, Tensor]:
    """Average the squares of the gradients of each batch's mean loss."""
    means = {name: torch.zeros_like(weight) for name, weight in network.weights.items()}
    for gradients in network.gradients(batches, mode):
        for name, gradient in gradients.items():
            means[name].addcmul_(gradient, gradient, value=1 / len(batches))
    return means
