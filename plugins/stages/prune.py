"""Prune weights by a criterion."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

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
    spread,
)


@dataclass(frozen=True)
class Prune(Stage):
    """Set the weights with the lowest scores to zero and hold them there.

    Exactly round(amount × candidates) weights go; among equal scores the first ones, in forward order. The masks are
    those of `torch.nn.utils.prune` (``global_unstructured``, or ``l1_unstructured`` by layer) where scores differ; of
    equal ones, torch may take others. What is frozen is no candidate: it is neither pruned nor counted.

    Attributes:
        amount: which fraction of the weights of convolutions, linear and recurrent layers and attention to prune.
        of: what ``amount`` counts of: the weights ``remaining`` before the stage, or the ``total``, so that amount
            is the fraction pruned in the end.
        criterion: gives each weight its score.
        distribution: how many of the weights that go each layer loses.
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

    amount: Annotated[float, Interval(ge=0, le=1)]
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

    def run(self, trial: Trial) -> None:
        free = trial.candidates(self.layers, self.exclude)
        names = list(free)
        for count in self._counts(self._masks(trial, free), free):
            masks = self._masks(trial, free)
            candidates = {name: mask & free[name] for name, mask in masks.items()}
            found = scores(
                self.criterion,
                trial,
                names,
                loss=self.loss(),
                batches=self.batches,
                batch_size=self.batch_size,
                mode=self.mode,
            )
            counts = spread(self.distribution, found, candidates, count)
            trial.set_masks(remove_lowest(found, masks, counts, candidates))

    def _masks(self, trial: Trial, free: Masks) -> Masks:
        return {name: trial.masks.get(name, torch.ones_like(mask)) for name, mask in free.items()}

    def _counts(self, masks: Masks, free: Masks) -> Iterator[int]:
        """How many weights go in each round, of those that are not frozen."""
        left = sum(int((mask & free[name]).sum()) for name, mask in masks.items())
        count, gone = self._count(left, sum(int(mask.sum()) for mask in free.values())), 0
        for done in range(1, self.rounds + 1):
            share, kept = done / self.rounds, 1 - count / max(left, 1)
            target = round(left * (1 - kept**share) if self.pace == "exponential" else share * count)
            target = count if done == self.rounds else target  # whatever floating point makes of it
            yield target - gone
            gone = target

    def _count(self, left: int, total: int) -> int:
        if self.of == "remaining":
            return round(self.amount * left)
        count = round(self.amount * total) - (total - left)
        if count < 0:
            raise StageError(
                f"amount {self.amount:g} of the total is less than the {1 - left / total:.1%} already pruned: "
                "raise it, unprune first, or count of: remaining"
            )
        return count
