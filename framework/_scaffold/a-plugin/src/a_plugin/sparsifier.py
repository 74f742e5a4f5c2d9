"""A sparsifier: it changes masks while a stage trains."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated

from framework import Interval, Masks, Sparsifier, Step, hookimpl


@dataclass
class Threshold(Sparsifier):
    """Prune the weights that training has driven close to 0.

    Attributes:
        threshold: what is smaller goes.
        every: steps from one change to the next.
    """

    threshold: Annotated[float, Interval(gt=0)] = 0.01
    every: Annotated[int, Interval(ge=1)] = 20

    def update(self, step: Step) -> Masks | None:
        if step.number % self.every:
            return None
        return {name: mask & (step.weights[name].abs() >= self.threshold) for name, mask in step.masks.items()}


@hookimpl
def register_sparsifiers() -> Mapping[str, Callable[..., Sparsifier]]:
    """The sparsifiers of this package, by the names that specs use."""
    return {"a_plugin": Threshold}
