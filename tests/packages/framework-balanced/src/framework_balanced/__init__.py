"""A loss in which every class counts as much as any other."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from framework import Interval, hookimpl

_HEAVIEST = 100.0  # how much more than on average an image may count


class Balanced(nn.Module):
    """Cross entropy, each image weighted by the inverse of its class's frequency. Expects logits.

    How frequent a class is, is learnt from the batches that are trained on.

    Args:
        momentum: how much each batch counts in the frequencies, a running mean.
    """

    frequencies: Tensor

    def __init__(self, momentum: Annotated[float, Interval(gt=0, le=1)] = 0.05) -> None:
        super().__init__()
        self.momentum = momentum
        # float32, (classes,); the first batch shows how many there are.
        self.register_buffer("frequencies", torch.empty(0))
        self.register_load_state_dict_pre_hook(_fit)  # type: ignore[no-untyped-call]

    def forward(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The weighted mean over the batch.

        Args:
            outputs: (N, classes).
            labels: int64, (N,).
        """
        classes = outputs.shape[1]
        if self.training:
            if not len(self.frequencies):
                self.frequencies = torch.full((classes,), 1 / classes, device=labels.device)
            self.frequencies.lerp_(labels.bincount(minlength=classes) / len(labels), self.momentum)
        weight = (1 / (classes * self.frequencies)).clamp(max=_HEAVIEST) if len(self.frequencies) else None
        return functional.cross_entropy(outputs, labels, weight)


def _fit(loss: Balanced, state: Mapping[str, Any], prefix: str, *_: object) -> None:
    """Make room for frequencies that are about to be loaded: torch compares shapes."""
    if (found := state.get(f"{prefix}frequencies")) is not None:
        loss.frequencies = torch.empty_like(found, device=loss.frequencies.device)


@hookimpl
def register_losses() -> Mapping[str, Callable[..., nn.Module]]:
    return {"balanced": Balanced}
