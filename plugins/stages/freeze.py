"""Freeze and unfreeze parts of the network."""

from dataclasses import dataclass
from math import ceil
from typing import Annotated, Literal

import torch

from framework import Interval, Masks, Stage, StageError, Trial, select


@dataclass(frozen=True)
class Freeze(Stage):
    """Hold the first part of the network, in forward order, or the layers named.

    With ``fraction``, everything is held that a forward pass uses before the first weight that is not held whole: a
    layer's bias, the normalisation that follows it, tokens and tables. What a pass in eval mode does not use, such as
    an auxiliary head, comes last. With ``layers``, exactly what is named is held, by any of its names. The statistics
    of a held normalisation stand still, as does every buffer that is held. What is frozen is neither pruned nor
    regrown.

    Attributes:
        fraction: how much of the network, counted in ``unit``; give this or ``layers``.
        unit: ``layers`` holds the first ⌈fraction × weight tensors⌉ (a convolution has one, an LSTM two for each layer
            and direction); ``weights`` holds exactly round(fraction × weights) elements, the last tensor in part.
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
        chosen = {tensors[name] for name in select(list(tensors), self.layers)}
        return {name: _all(tensor) for name, tensor in _once(trial).items() if tensor in chosen}

    def _first(self, trial: Trial) -> Masks:
        weights = trial.weights()
        if computed := trial.computed_weights():
            raise StageError(
                f"{computed[0]} is computed from other parameters (weight_norm, spectral_norm or another "
                "parametrization), so that no fraction of the network can be counted: freeze by name with layers"
            )
        if not weights:
            raise StageError(
                f"{type(trial.model).__name__} has no convolutional, linear, recurrent or attention layer to count a "
                "fraction of: freeze by name with layers"
            )
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
        """Everything that is used before this weight."""
        order = trial.forward_order
        before = set(order if weight is None else order[: order.index(weight)])
        return {name: _all(tensor) for name, tensor in _once(trial).items() if name in before}


@dataclass(frozen=True)
class Unfreeze(Stage):
    """Let what was frozen learn again: everything, or the layers named.

    A weight that has several names, as it is tied or its module shared, is let go by any of them.

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
        chosen = {tensors[name] for name in select(list(tensors), self.layers)}
        for name in [name for name in trial.frozen if tensors.get(name) in chosen]:
            del trial.frozen[name]
            if isinstance(tensors[name], torch.nn.Parameter):
                tensors[name].requires_grad_(True)


def _tensors(trial: Trial) -> dict[str, torch.Tensor]:
    """All parameters and buffers by each of their names: a shared module and a tied weight have several."""
    model = trial.model
    return {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }


def _once(trial: Trial) -> dict[str, torch.Tensor]:
    """All parameters and buffers by one name each: that of `Trial.weights` if it is there."""
    names: dict[torch.Tensor, str] = {}
    for name, tensor in {**trial.weights(), **_tensors(trial)}.items():
        names.setdefault(tensor, name)
    return {name: tensor for tensor, name in names.items()}


def _all(tensor: torch.Tensor) -> torch.Tensor:
    return torch.ones(tensor.shape, dtype=torch.bool, device=tensor.device)
