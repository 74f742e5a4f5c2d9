"""A stage: one step of an experiment. Its fields are its parameters in YAML."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from framework import Interval, Stage, Trial, hookimpl, select


@dataclass(frozen=True)
class Rescale(Stage):
    """Multiply weights by a factor. What is frozen stays as it is, and what is pruned stays zero.

    Attributes:
        factor: below 1 shrinks, above 1 grows.
        layers: patterns of names, such as ``features.*``; all layers by default.
    """

    factor: Annotated[float, Interval(gt=0, le=10)] = 0.5
    layers: tuple[str, ...] | None = None

    def run(self, trial: Trial) -> None:
        weights = trial.weights()
        for name in select(list(weights), self.layers):
            weight = weights[name].detach()
            free = ~trial.frozen.get(name, torch.zeros_like(weight, dtype=torch.bool))
            weight[free] *= self.factor


@hookimpl
def register_stages() -> Mapping[str, type[Stage]]:
    """The stages of this package, by the names that specs use."""
    return {"a_plugin": Rescale}
