"""Losses: modules of outputs (N, classes) and labels int64 (N,) with a scalar result, the mean over the batch.

Torch's have a signature of our own, without what would make them anything else than a mean over all images
(``reduction``, ``ignore_index``): losses of batches are averaged by the number of their images.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Literal

from torch import Tensor, nn
from torch.nn import functional

from framework import Interval, hookimpl


class CrossEntropy(nn.CrossEntropyLoss):
    """Cross entropy. Expects logits.

    Args:
        label_smoothing: how much of the target is spread evenly over all classes.

    Example:
        stages:
          - train: {epochs: 5, loss: {name: cross_entropy, label_smoothing: 0.1}}
    """

    def __init__(self, label_smoothing: Annotated[float, Interval(ge=0, le=1)] = 0.0) -> None:
        super().__init__(label_smoothing=label_smoothing)


class NegativeLogLikelihood(nn.NLLLoss):
    """Negative log likelihood. Expects logarithms of probabilities, such as a log-softmax gives.

    Example:
        stages:
          - train: {epochs: 5, loss: nll}
    """

    def __init__(self) -> None:
        super().__init__()


class MultiMargin(nn.MultiMarginLoss):
    """Multi-class hinge loss: how far the label's output falls short of the others' by less than a margin.

    Args:
        p: the power of what each class falls short by.
        margin: by how much the label's output should be the larger one.

    Example:
        stages:
          - train: {epochs: 5, loss: {name: multi_margin, p: 2}}
    """

    def __init__(self, p: Literal[1, 2] = 1, margin: Annotated[float, Interval(ge=0)] = 1.0) -> None:
        super().__init__(p=p, margin=margin)


class BinaryCrossEntropy(nn.Module):
    """One-vs-rest binary cross entropy: each class is a yes or no of its own. Expects logits.

    As Wightman et al. 2021 (arXiv:2110.00476) train residual networks. Of a task of labels, each label is one.

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
        """The mean over the batch and the classes; labels may be probabilities, (N, classes)."""
        hot = labels if labels.is_floating_point() else functional.one_hot(labels, outputs.shape[1])
        targets = hot.to(outputs.dtype)
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


class MeanSquaredError(nn.MSELoss):
    """The mean squared error of quantities.

    Example:
        stages:
          - train: {epochs: 5, loss: mse}
    """

    def __init__(self) -> None:
        super().__init__()


class MeanAbsoluteError(nn.L1Loss):
    """The mean absolute error of quantities.

    Example:
        stages:
          - train: {epochs: 5, loss: mae}
    """

    def __init__(self) -> None:
        super().__init__()


class Huber(nn.HuberLoss):
    """Half the squared error of quantities up to a size, and linear beyond (Huber 1964): outliers count less.

    Args:
        delta: the size, in the units of the targets.

    Example:
        stages:
          - train: {epochs: 5, loss: {name: huber, delta: 0.5}}
    """

    def __init__(self, delta: Annotated[float, Interval(gt=0)] = 1.0) -> None:
        super().__init__(delta=delta)


@hookimpl
def register_losses() -> Mapping[str, Callable[..., nn.Module]]:
    return {
        "bce": BinaryCrossEntropy,
        "cross_entropy": CrossEntropy,
        "focal": Focal,
        "huber": Huber,
        "mae": MeanAbsoluteError,
        "mse": MeanSquaredError,
        "multi_margin": MultiMargin,
        "nll": NegativeLogLikelihood,
    }
