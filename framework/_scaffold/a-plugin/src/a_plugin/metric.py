"""A metric: what measures a whole pass, batch after batch. The parameters of ``__init__`` are those in YAML."""

from collections.abc import Callable, Mapping

import torch
from framework import Metric, hookimpl
from torch import Tensor


class WorstClass:
    """The accuracy of the class that is recognised worst, a fraction in [0, 1].

    Args:
        num_classes: how many there are; comes from the data. A metric may also ask for ``task`` and ``num_labels``.
        least: how many inputs a class needs to count.
    """

    higher_is_better = True

    def __init__(self, num_classes: int, least: int = 1) -> None:
        self.right, self.all = torch.zeros(num_classes), torch.zeros(num_classes)
        self.least = least

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Count a batch: outputs (N, classes), and int64 targets (N,)."""
        self.right, self.all = self.right.to(targets.device), self.all.to(targets.device)
        self.right.index_add_(0, targets, (outputs.argmax(1) == targets).float())
        self.all.index_add_(0, targets, torch.ones_like(targets).float())

    def compute(self) -> Tensor:
        """Right ones ÷ all, of the worst class."""
        counts = self.all >= self.least
        return (self.right[counts] / self.all[counts]).min()


@hookimpl
def register_metrics() -> Mapping[str, Callable[..., Metric]]:
    """The metrics of this package, by the names that specs use."""
    return {"a_plugin": WorstClass}
