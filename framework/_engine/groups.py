"""Options of an optimizer for some of the parameters."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from annotated_types import Interval
from torch import Tensor

from framework._masks import named_tensors, select
from framework._stage import Trial


@dataclass(frozen=True)
class ParameterGroup:
    """What the optimizer does otherwise with some of the parameters.

    Attributes:
        match: a pattern of names of parameters or layers, such as ``fc``, ``layer4.*`` or ``*.bias``.
        lr: their learning rate, by which the schedule multiplies; null: the optimizer's own.
        weight_decay: likewise.
    """

    match: str
    lr: Annotated[float, Interval(ge=0)] | None = None
    weight_decay: Annotated[float, Interval(ge=0)] | None = None

    @property
    def options(self) -> dict[str, float]:
        """Those that are given."""
        options = {"lr": self.lr, "weight_decay": self.weight_decay}
        return {name: value for name, value in options.items() if value is not None}


def split_groups(
    optimizer: torch.optim.Optimizer, trial: Trial, groups: Iterable[ParameterGroup], layer_decay: float = 1.0
) -> None:
    """Split the parameter groups of a new optimizer, so that each parameter has its options.

    Args:
        optimizer: has made no step yet.
        trial: has the network that it trains.
        groups: of those that match a parameter, the later ones count.
        layer_decay: of a parameter's learning rate, once for each weight layer that comes after its own.

    Raises:
        StageError: a pattern matches nothing.
    """
    tensors = named_tensors(trial.model)
    options: dict[Tensor, dict[str, float]] = {}
    for wanted in groups:
        for name in select([name for name, _ in trial.model.named_parameters()], [wanted.match]):
            options.setdefault(tensors[name], {}).update(wanted.options)
    scales = _scales(trial, layer_decay) if layer_decay != 1 else {}
    split: dict[tuple[Any, ...], dict[str, Any]] = {}
    for i, group in enumerate(optimizer.param_groups):
        for parameter in group["params"]:
            own, scale = options.get(parameter, {}), scales.get(parameter, 1.0)
            key = (i, scale, *sorted(own.items()))
            if key not in split:
                split[key] = {**group, **own, "params": []}
                split[key]["lr"] *= scale
            split[key]["params"].append(parameter)
    optimizer.param_groups[:] = split.values()


def _scales(trial: Trial, layer_decay: float) -> Mapping[Tensor, float]:
    """A factor for each parameter; biases and normalisation count with the weight layer before them."""
    tensors, weights, depths, depth = named_tensors(trial.model), trial.weights(), dict[Tensor, int](), 0
    for name in trial.forward_order:
        depth += name in weights
        depths.setdefault(tensors[name], max(depth, 1))
    return {tensor: layer_decay ** (depth - own) for tensor, own in depths.items()}
