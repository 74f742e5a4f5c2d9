"""Prune weights by a criterion."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import floor
from typing import Annotated, Literal, TypeAlias

import torch

from framework import (
    Criterion,
    Distribution,
    Interval,
    Loss,
    Masks,
    Mode,
    Stage,
    StageError,
    Trial,
    remove_lowest,
    scores,
    select,
    spread,
)

Fraction: TypeAlias = Annotated[float, Interval(ge=0, le=1)]
_ALL = ""  # all layers together, which a distribution then spreads the amount over


@dataclass(frozen=True)
class Prune(Stage):
    """Set the weights with the lowest scores to zero and hold them there.

    Exactly round(amount × candidates) weights go; among equal scores the first ones, in forward order. The masks are
    those of `torch.nn.utils.prune` (``global_unstructured``, or ``l1_unstructured`` by layer) where scores differ; of
    equal ones, torch may take others. What is frozen is no candidate: it is neither pruned nor counted.

    Attributes:
        amount: which fraction of the weights of convolutions, linear and recurrent layers and attention to prune; or a
            fraction for each layer by patterns of names, such as ``{"*": 0.2, fc: 0.1}``, of which the last one that
            matches counts. A layer that none of them matches stays as it is, and the total of all layers is rounded
            once, by largest remainder.
        of: what ``amount`` counts of: the weights ``remaining`` before the stage, or the ``total``, so that amount
            is the fraction pruned in the end.
        criterion: gives each weight its score.
        distribution: how many of the weights that go each layer loses, if ``amount`` is one for all of them.
        layers: patterns of names to prune, such as ``layer1.*``; all by default.
        exclude: patterns of names to leave alone.
        rounds: in how many rounds; each has new scores, of what the rounds before it have left.
        pace: how the rounds get there: ``exponential`` prunes the same fraction of what remains in each, ``linear``
            the same number of weights.
        loss: what a criterion's gradients are of.
        batches: over how many training batches a layer's gradient is averaged.
        batch_size: of these batches.
        mode: of normalisation meanwhile: by the running statistics (``eval``), or by those of the batch (``train``).

    Example:
        stages:
          - train: {epochs: 5}
          - prune: {amount: 0.8, distribution: layer, exclude: [fc]}
          - train: {epochs: 5}
    """

    amount: Fraction | dict[str, Fraction]
    of: Literal["remaining", "total"] = "remaining"
    criterion: Criterion = "magnitude"
    distribution: Distribution = "global"
    layers: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    rounds: Annotated[int, Interval(ge=1)] = 1
    pace: Literal["exponential", "linear"] = "exponential"
    loss: Loss = "cross_entropy"
    batches: Annotated[int, Interval(ge=1)] = 1
    batch_size: Annotated[int, Interval(ge=1)] = 128
    mode: Mode = "eval"

    def __post_init__(self) -> None:
        if not isinstance(self.amount, Mapping):
            return
        if not self.amount:
            raise ValueError("amount names no layer: give a fraction, or patterns of names with a fraction for each")
        if getattr(self.distribution, "name", self.distribution) != "global":
            raise ValueError("give amount for each layer, or a distribution: each says what the layers lose")

    def run(self, trial: Trial) -> None:
        by_layer = isinstance(self.amount, Mapping)
        free = trial.candidates(list(self.amount) if by_layer and self.layers is None else self.layers, self.exclude)
        amounts = self._amounts(list(free)) if isinstance(self.amount, Mapping) else {_ALL: self.amount}
        if by_layer:
            free = {name: free[name] for name in amounts}
        masks = self._masks(trial, free)
        left = {name: int((mask & free[name]).sum()) for name, mask in masks.items()}
        total = {name: int(mask.sum()) for name, mask in free.items()}
        if not by_layer:
            left, total = {_ALL: sum(left.values())}, {_ALL: sum(total.values())}
        for counts in self._rounds(amounts, left, total):
            masks = self._masks(trial, free)
            candidates = {name: mask & free[name] for name, mask in masks.items()}
            found = scores(
                self.criterion,
                trial,
                list(free),
                loss=self.loss(),
                batches=self.batches,
                batch_size=self.batch_size,
                mode=self.mode,
            )
            if not by_layer:
                counts = spread(self.distribution, found, candidates, counts[_ALL])
            trial.set_masks(remove_lowest(found, masks, counts, candidates))

    def _masks(self, trial: Trial, free: Masks) -> Masks:
        return {name: trial.masks.get(name, torch.ones_like(mask)) for name, mask in free.items()}

    def _amounts(self, names: list[str]) -> dict[str, float]:
        """The fraction of each layer that a pattern matches, in forward order."""
        assert isinstance(self.amount, Mapping)
        found = {name: amount for pattern, amount in self.amount.items() for name in select(names, [pattern])}
        return {name: found[name] for name in names if name in found}

    def _rounds(
        self, amounts: Mapping[str, float], left: Mapping[str, int], total: Mapping[str, int]
    ) -> Iterator[dict[str, int]]:
        """How many weights go in each round."""
        goal, gone = self._goal(amounts, left, total), dict.fromkeys(amounts, 0)
        for done in range(1, self.rounds + 1):
            reached = {name: self._reached(left[name], goal[name], done / self.rounds) for name in goal}
            yield {name: reached[name] - gone[name] for name in goal}
            gone = reached

    def _goal(self, amounts: Mapping[str, float], left: Mapping[str, int], total: Mapping[str, int]) -> dict[str, int]:
        """How many weights go in all rounds together."""
        counted = left if self.of == "remaining" else total
        goal = _rounded({name: amount * counted[name] for name, amount in amounts.items()})
        if self.of == "remaining":
            return goal
        for name, count in goal.items():
            pruned = total[name] - left[name]
            if count < pruned:
                whose = f" of {name}" if name else ""
                raise StageError(
                    f"amount {amounts[name]:g} of the total{whose} is less than the {pruned / total[name]:.1%} already "
                    "pruned: raise it, unprune first, or count of: remaining"
                )
            goal[name] -= pruned
        return goal

    def _reached(self, left: int, goal: int, share: float) -> int:
        """How many of ``goal`` are gone after this share of the rounds."""
        if share == 1:
            return goal  # whatever floating point makes of it
        kept = 1 - goal / max(left, 1)
        return round(left * (1 - kept**share) if self.pace == "exponential" else share * goal)


def _rounded(quotas: Mapping[str, float]) -> dict[str, int]:
    """Round numbers, up or down by largest remainder, so that their sum is their rounded sum."""
    whole = {name: floor(quota) for name, quota in quotas.items()}
    missing = round(sum(quotas.values())) - sum(whole.values())
    # Remainders that are equal on paper differ by a hair in floating point.
    for name in sorted(quotas, key=lambda name: round(whole[name] - quotas[name], 9))[:missing]:
        whole[name] += 1
    return whole
