"""Freeze and unfreeze parts of the network."""

from dataclasses import dataclass
from math import ceil
from typing import Annotated, Literal

import torch

from framework import Interval, Masks, Stage, StageError, Trial, select


@dataclass(frozen=True)
class Freeze(Stage):
    """Hold the first part of the network, in forward order, or the layers named.

    With ``fraction``, a layer that is held whole takes its bias along, and the normalisation that follows it; with
    ``layers``, exactly what is named is held. The statistics of a held normalisation stand still.

    Attributes:
        fraction: how much of the network, counted in ``unit``; give this or ``layers``.
        unit: ``layers`` holds the first ⌈fraction × weight layers⌉; ``weights`` holds exactly
            round(fraction × weights) elements, the last tensor in part.
        layers: patterns of names to hold, such as ``conv1`` or ``layer1.*``.

    Example:
        stages:
          - train: {epochs: 5}
          - freeze: {fraction: 0.2, unit: weights}
          - train: {epochs: 5}
    """

    fraction: Annotated[float, Interval(gt=0, le=1)] | None = None
    unit: Literal["layers", "weights"] = "layers"
    layers: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if (self.fraction is None) == (not self.layers):
            raise ValueError("give either fraction or layers")

    def run(self, trial: Trial) -> None:
        for name, held in (self._named(trial) if self.layers else self._first(trial)).items():
            trial.frozen[name] = trial.frozen[name] | held if name in trial.frozen else held

    def _named(self, trial: Trial) -> Masks:
        tensors = _tensors(trial)
        return {name: _all(tensors[name]) for name in select(list(tensors), self.layers)}

    def _first(self, trial: Trial) -> Masks:
        weights = trial.weights()
        if self.unit == "layers":
            # Rounded first: 0.55 × 20 is 11.000000000000002 in floating point.
            first = list(weights)[: ceil(round(self.fraction * len(weights), 6))]
            held = {name: _all(weights[name]) for name in first}
        else:
            held = {}
            left = round(self.fraction * sum(w.numel() for w in weights.values()))
            for name, weight in weights.items():
                if left > 0:
                    held[name] = (torch.arange(weight.numel()) < left).view(weight.shape).to(weight.device)
                    left -= weight.numel()
        if not held:
            raise StageError(f"fraction {self.fraction:g} of the weights rounds to none of them: nothing to freeze")
        whole = {name for name, mask in held.items() if bool(mask.all())}
        free = next((name for name in weights if name not in whole), None)
        return self._before(trial, free) | held

    def _before(self, trial: Trial, weight: str | None) -> Masks:
        """Everything that belongs to modules that come before the one with this weight."""
        order = trial.module_order
        end = len(order) if weight is None else order.index(weight.rpartition(".")[0])
        before = set(order[:end])
        return {name: _all(t) for name, t in _tensors(trial).items() if name.rpartition(".")[0] in before}


@dataclass(frozen=True)
class Unfreeze(Stage):
    """Let what was frozen learn again: everything, or the layers named.

    Attributes:
        layers: patterns of names, such as ``layer4.*``; all by default.

    Example:
        stages:
          - freeze: {layers: ["features.*"]}
          - train: {epochs: 5}
          - unfreeze
          - train: {epochs: 5}
    """

    layers: tuple[str, ...] | None = None

    def run(self, trial: Trial) -> None:
        tensors = _tensors(trial)
        for name in select(list(tensors), self.layers):
            if trial.frozen.pop(name, None) is not None and isinstance(tensors[name], torch.nn.Parameter):
                tensors[name].requires_grad_(True)


def _tensors(trial: Trial) -> dict[str, torch.Tensor]:
    model = trial.model
    return {**dict(model.named_parameters(remove_duplicate=False)), **dict(model.named_buffers())}


def _all(tensor: torch.Tensor) -> torch.Tensor:
    return torch.ones(tensor.shape, dtype=torch.bool, device=tensor.device)
