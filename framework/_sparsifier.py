"""Sparsifiers, which change masks during training."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from framework._errors import StageError
from framework._masks import Masks
from framework._random import derived_seed


class Step:
    """The moment between the backward pass and the optimizer's step.

    All tensors are on the trial's device, by parameter name, in forward order; none of them is to be changed.

    Attributes:
        number: how many steps the stage has made so far: 0 at its first.
        steps: how many it makes in all.
        weights: of the layers that can be pruned and of which nothing is frozen.
        masks: a mask for each of them; True = may be non-zero. All True where nothing has been pruned.
        gradients: of the loss, by all elements of these weights, also the masked ones, before clipping.
        generator: for random numbers, on the CPU; the same at the same step for the same seed.
        skipped: whether the optimizer leaves this step out.
    """

    def __init__(
        self, number: int, steps: int, parameters: Mapping[str, nn.Parameter], masks: Masks, seed: int
    ) -> None:
        self.number, self.steps, self.skipped = number, steps, False
        self._parameters, self._masks, self._seed = parameters, masks, seed

    # Made when they are asked for: at most steps a sparsifier looks at the number only.

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        return {name: parameter.detach() for name, parameter in self._parameters.items()}

    @cached_property
    def masks(self) -> Masks:
        return {
            name: self._masks[name] if name in self._masks else torch.ones_like(parameter, dtype=torch.bool)
            for name, parameter in self._parameters.items()
        }

    @cached_property
    def gradients(self) -> dict[str, Tensor]:
        return {
            name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.detach()
            for name, parameter in self._parameters.items()
        }

    @cached_property
    def generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(derived_seed(self._seed, "sparsifier", self.number))

    def skip(self) -> None:
        """Have the optimizer leave this step out: the change of masks takes its place."""
        self.skipped = True


class Sparsifier(ABC):
    """Changes masks while a stage trains. Derive a class; the parameters of its ``__init__`` are those in YAML.

    Made anew for every stage. One that remembers something from step to step says so in `state_dict`.
    """

    @abstractmethod
    def update(self, step: Step) -> Masks | None:
        """Called at every step, after the backward pass and before the optimizer's step.

        Args:
            step: what there is to decide by.

        Returns:
            New masks for any of ``step.weights``, by name, bool of their shapes; None for no change. What is masked
            becomes 0, what is not masked any more starts at 0, and so does the optimizer's state of both.
        """

    def state_dict(self) -> dict[str, Any]:
        """The state that it needs to resume after an interruption: mappings, lists, numbers, strings and tensors."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # noqa: B027 - most have nothing to do here
        """Go on from what `state_dict` gave."""


def checked_masks(masks: Masks, step: Step, owner: str) -> Masks:
    """Check the masks that a sparsifier returned.

    Raises:
        StageError: it is not.
    """
    for name, mask in masks.items():
        weight = step.weights.get(name)
        if weight is None or mask.dtype != torch.bool or mask.shape != weight.shape:
            expected = "" if weight is None else f" of shape {tuple(weight.shape)}"
            raise StageError(
                f"sparsifier {owner!r} must give a bool mask{expected} for weights that step.weights has; for {name} "
                f"it gave {mask.dtype} of shape {tuple(mask.shape)}"
            )
    return masks
