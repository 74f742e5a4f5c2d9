"""The running average of a network that trains."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class WeightAverage:
    """Keeps an exponential moving average of a network's weights and of the statistics of its normalisation.

    What is frozen is equal in both, and what is masked is 0 in both.

    Args:
        model: the network, whose state is what the average begins with.
        decay: how much of the average each step keeps.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._model, self._decay = model, decay
        self._average = [tensor.detach().clone() for tensor in self._tensors()]

    def _tensors(self) -> list[Tensor]:
        tensors = (*self._model.parameters(), *self._model.buffers())
        return [tensor.detach() for tensor in tensors if tensor.is_floating_point()]

    @torch.no_grad()
    def update(self) -> None:
        """Take the network as it is after a step."""
        torch._foreach_lerp_(self._average, self._tensors(), 1 - self._decay)

    @torch.no_grad()
    def exchange(self) -> None:
        """Give the network the average, and keep what it had in its place."""
        for average, tensor in zip(self._average, self._tensors(), strict=True):
            held = tensor.clone()
            tensor.copy_(average)
            average.copy_(held)

    def state_dict(self) -> dict[str, Any]:
        """Return the average."""
        return {str(i): tensor for i, tensor in enumerate(self._average)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        for i, tensor in enumerate(self._average):
            tensor.copy_(state[str(i)])
