"""Losses: modules of outputs (N, classes) and labels int64 (N,) with a scalar result."""

from collections.abc import Callable, Mapping
from typing import Annotated

from torch import Tensor, nn
from torch.nn import functional

from framework import Interval, hookimpl


class BinaryCrossEntropy(nn.Module):
    """One-vs-rest binary cross entropy: each class is a yes or no of its own. Expects logits.

    As Wightman et al. 2021 (arXiv:2110.00476) train residual networks.

    Args:
        label_smoothing: how much of the target is spread evenly over all classes.

    Example:
        stages:
          - train: {epochs: 5, loss: {name: bce, label_smoothing: 0.1}}
    """

    def __init__(self, label_smoothing: Annotated[float, Interval(ge=0, lt=1)] = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing

    def forward(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The mean over the batch and the classes."""
        targets = functional.one_hot(labels, outputs.shape[1]).to(outputs.dtype)
        targets = targets * (1 - self.label_smoothing) + self.label_smoothing / outputs.shape[1]
        return functional.binary_cross_entropy_with_logits(outputs, targets)


class Focal(nn.Module):
    """Cross entropy that counts well-classified images less (Lin et al. 2017, arXiv:1708.02002). Expects logits.

    Args:
        gamma: how much less: an image whose label has probability p counts ``(1 - p) ** gamma``; 0 is cross entropy.

    Example:
        stages:
          - train: {epochs: 5, loss: {name: focal, gamma: 1}}
    """

    def __init__(self, gamma: Annotated[float, Interval(ge=0)] = 2.0) -> None:
        super().__init__()
        self.gamma = gamma

    def forward(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The mean over the batch."""
        entropy = functional.cross_entropy(outputs, labels, reduction="none")
        missing = -(-entropy).expm1()  # 1 - p
        # The power's slope at 0 is infinite for gamma < 1: an image that is classified perfectly must not give NaN.
        weight = missing.clamp(min=1e-12) ** self.gamma
        return (weight * entropy).mean()


@hookimpl
def register_losses() -> Mapping[str, Callable[..., nn.Module]]:
    return {
        "bce": BinaryCrossEntropy,
        "cross_entropy": nn.CrossEntropyLoss,
        "focal": Focal,
        "multi_margin": nn.MultiMarginLoss,
        "nll": nn.NLLLoss,
    }
