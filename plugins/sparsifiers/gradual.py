"""Gradual magnitude pruning."""

from dataclasses import dataclass
from typing import Annotated

from framework import Distribution, Interval, Masks, Sparsifier, Step, remove_lowest, spread


@dataclass
class Gradual(Sparsifier):
    """Prune the smallest weights little by little, quickly at first (Zhu & Gupta 2017, arXiv:1710.01878).

    At step t the sparsity is ``amount + (initial - amount) (1 - (t - t0) / (t1 - t0))³``, from t0 to t1, both included,
    so that it ends at exactly round(amount × weights), if no more are pruned already and training is not stopped early.

    Attributes:
        amount: the sparsity in the end, a fraction of all weights that are not frozen.
        initial: the sparsity that the cubic begins with; what is pruned already stays so.
        begin: t0, as a fraction of the stage's steps.
        end: t1, likewise.
        every: steps from one change to the next.
        distribution: how many of the weights that go each layer loses.

    Example:
        stages:
          - train: {epochs: 10, sparsifier: {name: gradual, amount: 0.9, end: 0.7}}
    """

    amount: Annotated[float, Interval(ge=0, le=1)]
    initial: Annotated[float, Interval(ge=0, le=1)] = 0.0
    begin: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    end: Annotated[float, Interval(gt=0, le=1)] = 0.75
    every: Annotated[int, Interval(ge=1)] = 100
    distribution: Distribution = "global"

    def __post_init__(self) -> None:
        if self.begin >= self.end or self.initial > self.amount:
            raise ValueError("begin must be less than end, and initial at most amount")

    def update(self, step: Step) -> Masks | None:
        last = min(round(self.end * step.steps), step.steps - 1)
        first = min(round(self.begin * step.steps), last)
        done = step.number - first
        if done < 0 or step.number > last or (done % self.every and step.number != last):
            return None
        progress = done / (last - first) if last > first else 1.0
        sparsity = self.amount + (self.initial - self.amount) * (1 - progress) ** 3
        masks = step.masks.values()
        total, pruned = sum(mask.numel() for mask in masks), sum(int((~mask).sum()) for mask in masks)
        count = max(0, round(sparsity * total) - pruned)
        scores = {name: weight.abs() for name, weight in step.weights.items()}
        return remove_lowest(scores, step.masks, spread(self.distribution, scores, step.masks, count))
