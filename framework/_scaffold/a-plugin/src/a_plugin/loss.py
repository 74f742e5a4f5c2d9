"""A loss: a module of outputs and labels with a scalar result. The parameters of ``__init__`` are those in YAML."""

from collections.abc import Callable, Mapping
from typing import Annotated

from framework import Interval, hookimpl
from torch import Tensor, nn
from torch.nn import functional


class TemperedCrossEntropy(nn.Module):
    """Cross entropy at a temperature, with smoothed labels. Expects logits.

    Args:
        temperature: what logits are divided by; above 1, the network has to be surer for the same loss.
        label_smoothing: how much of the target is spread evenly over all classes.
    """

    def __init__(
        self,
        temperature: Annotated[float, Interval(gt=0)] = 1.0,
        label_smoothing: Annotated[float, Interval(ge=0, lt=1)] = 0.0,
    ) -> None:
        super().__init__()
        self.temperature, self.label_smoothing = temperature, label_smoothing

    def forward(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The mean over the batch.

        Args:
            outputs: (N, classes).
            labels: int64, (N,).
        """
        return functional.cross_entropy(outputs / self.temperature, labels, label_smoothing=self.label_smoothing)


@hookimpl
def register_losses() -> Mapping[str, Callable[..., nn.Module]]:
    """The losses of this package, by the names that specs use."""
    return {"a_plugin": TemperedCrossEntropy}
