"""What is pruned and regrown as one: single weights, whole filters, or all but n of m weights."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Annotated, Any, Literal, TypeAlias

import torch
from torch import Tensor

from framework import Criterion, Filters, Interval, Masks, StageError, Trial, scores

Granularity: TypeAlias = Literal["weights", "filters"]
NOTHING_PRUNED = {
    "weights": "no weight is masked here that is not frozen (prune first)",
    "filters": "no filter is pruned whole here of which nothing is frozen (prune first)",
}


@dataclass(frozen=True)
class Pattern:
    """N:M sparsity: of each m weights in a row, n stay.

    Attributes:
        n: how many stay.
        m: of how many.
    """

    n: Annotated[int, Interval(ge=1)]
    m: Annotated[int, Interval(ge=2)]

    def __post_init__(self) -> None:
        if self.n >= self.m:
            raise ValueError("n must be less than m")

    def __str__(self) -> str:
        return f"{self.n} of {self.m}"


class Weights:
    """Single weights, by the same methods as `framework.Filters`."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial

    def candidates(self, layers: Sequence[str] | None = None, exclude: Sequence[str] = ()) -> Masks:
        return self._trial.candidates(layers, exclude)

    def masks(self, names: Iterable[str]) -> Masks:
        names = list(names)
        weights = self._trial.weights(names)
        return {n: self._trial.masks.get(n, torch.ones_like(weights[n], dtype=torch.bool)) for n in names}

    def set_masks(self, masks: Masks) -> None:
        self._trial.set_masks(masks)

    def scores(self, criterion: Criterion, names: Sequence[str], **options: Any) -> dict[str, Tensor]:
        return scores(criterion, self._trial, names, **options)

    def shapes(self, names: Iterable[str]) -> None:
        return None  # those of the scores

    def layers(self, name: str) -> list[str]:
        return [name]

    def parameters(self, names: Iterable[str]) -> list[str]:
        return list(names)


def check_filters(granularity: object) -> None:
    """Check that whole filters can be found, if they are asked for.

    Raises:
        ValueError: a package is missing.
    """
    if granularity == "filters" and find_spec("torch_pruning") is None:
        raise ValueError("granularity: filters needs the package torch-pruning: pip install 'framework[structured]'")


def pruned_elements(trial: Trial, granularity: Granularity) -> Weights | Filters:
    """What is to be regrown or moved, of a network that is pruned already.

    Raises:
        StageError: whole filters are pruned, and single weights are asked for.
    """
    if granularity == "filters":
        return Filters(trial)
    weights = trial.weights()
    if whole := [name for name in trial.masks if name not in weights]:
        raise StageError(
            f"whole filters are pruned here, with {whole[0]}, so that single weights would get no gradient: give "
            "granularity: filters"
        )
    return Weights(trial)


def set_masks(trial: Trial, elements: Weights | Filters, masks: Masks) -> dict[str, tuple[Tensor, Tensor]]:
    """Set masks, and tell what has opened.

    Returns:
        Of each parameter that these elements have a part in and that was masked before, in forward order: where it has
        opened, bool of its shape, and the values before pruning there.
    """
    names, before, values = elements.parameters(masks), dict(trial.masks), dict(trial.before_pruning)
    elements.set_masks(masks)
    return {
        name: (
            ~before[name] & trial.masks.get(name, torch.ones_like(before[name])),
            values.get(name, torch.zeros_like(trial.model.get_parameter(name))),
        )
        for name in names
        if name in before
    }
