"""Prune weights by a criterion."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

from framework import (
    Criterion,
    Distribution,
    Filters,
    Interval,
    Loss,
    Mode,
    Stage,
    StageError,
    Trial,
    largest_remainder,
    remove_lowest,
    select,
    spread,
)
from framework_plugins.stages.granularity import Granularity, Pattern, Weights, check_filters
from framework_plugins.stages.pattern import divisible, keep_largest

Fraction: TypeAlias = Annotated[float, Interval(ge=0, le=1)]
_ALL = ""  # all layers together, which a distribution then spreads the amount over


@dataclass(frozen=True)
class Prune(Stage):
    """Set the weights, or the whole filters, with the lowest scores to zero and hold them there.

    Exactly round(amount × candidates) weights go; among equal scores the first ones, in forward order. The masks are
    those of `torch.nn.utils.prune` (``global_unstructured``, or ``l1_unstructured`` by layer) where scores differ; of
    equal ones, torch may take others. What is frozen is no candidate: it is neither pruned nor counted.

    Attributes:
        amount: which fraction of the weights of convolutions, linear and recurrent layers and attention to prune; or a
            fraction for each layer by patterns of names, such as ``{"*": 0.2, fc: 0.1}``, of which the last one that
            matches counts. A layer that none of them matches stays as it is, and the total of all layers is rounded
            once, by largest remainder. A granularity of n of m needs none.
        granularity: what goes as one. ``weights``: each by itself. ``filters``: whole output channels, by the sum of
            the scores of their weights (with ``magnitude`` and ``distribution: layer``: Li et al. 2017,
            arXiv:1608.08710; in one ranking, layers of small filters would lose them all), with their biases, their
            batch normalisation and the weights that read them; filters that are tied by residual sums go together and
            count as one; ``pip install 'framework[structured]'``. ``{n: 2, m: 4}``: of four weights in a row, along the
            inputs, two stay (Zhou et al. 2021, arXiv:2104.08378); a layer whose number of inputs is no multiple of m
            stays dense, and a note says so.
        of: what ``amount`` counts of: the weights ``remaining`` before the stage, or the ``total``, so that amount
            is the fraction pruned in the end.
        criterion: gives each weight its score.
        distribution: how many of the weights that go each layer loses, if ``amount`` is one for all of them.
        layers: patterns of names to prune, such as ``layer1.*``; by default all but embeddings, which are pruned
            only by their whole names, and count as weights as long as they are pruned.
        exclude: patterns of names to leave alone.
        rounds: in how many rounds; each has new scores, of what the rounds before it have left.
        pace: how the rounds get there: ``exponential`` prunes the same fraction of what remains in each, ``linear``
            the same number of weights.
        loss: what a criterion's gradients are of; null takes the task's own.
        batches: over how many training batches a layer's gradient is averaged.
        batch_size: of these batches.
        mode: of normalisation meanwhile: by the running statistics (``eval``), or by those of the batch (``train``).

    Example:
        stages:
          - train: {epochs: 5}
          - prune: {amount: 0.8, distribution: layer, exclude: [fc]}
          - train: {epochs: 5}
    """

    amount: Fraction | dict[str, Fraction] | None = None
    granularity: Granularity | Pattern = "weights"
    of: Literal["remaining", "total"] = "remaining"
    criterion: Criterion = "magnitude"
    distribution: Distribution = "global"
    layers: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    rounds: Annotated[int, Interval(ge=1)] = 1
    pace: Literal["exponential", "linear"] = "exponential"
    loss: Loss | None = None
    batches: Annotated[int, Interval(ge=1)] = 1
    batch_size: Annotated[int, Interval(ge=1)] = 128
    mode: Mode = "eval"

    def __post_init__(self) -> None:
        check_filters(self.granularity)
        if self.granularity != "filters" and "gamma" in getattr(getattr(self.criterion, "entry", None), "inputs", ()):
            raise ValueError(f"criterion {self.criterion.name!r} scores whole filters: give granularity: filters")
        one_ranking = getattr(self.distribution, "name", self.distribution) == "global"
        if isinstance(self.granularity, Pattern):
            if self.amount is not None or not one_ranking or self.rounds != 1 or self.of != "remaining":
                raise ValueError(
                    f"{self.granularity} says what each layer loses: leave out amount, of, distribution and rounds"
                )
        elif self.amount is None:
            raise ValueError("give amount, the fraction that goes")
        elif self.amount == {}:
            raise ValueError("amount names no layer: give a fraction, or patterns of names with a fraction for each")
        elif isinstance(self.amount, Mapping) and not one_ranking:
            raise ValueError("give amount for each layer, or a distribution: each says what the layers lose")

    def run(self, trial: Trial) -> None:
        if isinstance(self.granularity, Pattern):
            self._keep_pattern(trial, self.granularity)
            return
        elements = Filters(trial) if self.granularity == "filters" else Weights(trial)
        by_layer = isinstance(self.amount, Mapping)
        free = elements.candidates(self._chosen(), self.exclude)
        amounts = self._amounts({name: elements.layers(name) for name in free})
        if by_layer:
            free = {name: free[name] for name in amounts}
        masks = elements.masks(free)
        left = {name: int((mask & free[name]).count_nonzero()) for name, mask in masks.items()}
        total = {name: int(mask.count_nonzero()) for name, mask in free.items()}
        if not by_layer:
            left, total = {_ALL: sum(left.values())}, {_ALL: sum(total.values())}
        for counts in self._rounds(amounts, left, total):
            masks = elements.masks(free)
            candidates = {name: mask & free[name] for name, mask in masks.items()}
            found = elements.scores(self.criterion, list(free), **self._scoring())
            if not by_layer:
                counts = spread(self.distribution, found, candidates, counts[_ALL], elements.shapes(free))
            elements.set_masks(remove_lowest(found, masks, counts, candidates))

    def _scoring(self) -> dict[str, Any]:
        """What `framework.scores` is told besides."""
        return {
            "loss": self.loss and self.loss(),
            "batches": self.batches,
            "batch_size": self.batch_size,
            "mode": self.mode,
        }

    def _keep_pattern(self, trial: Trial, pattern: Pattern) -> None:
        weights = Weights(trial)
        free = divisible(trial, trial.candidates(self.layers, self.exclude), pattern)
        found = weights.scores(self.criterion, list(free), **self._scoring())
        masks = weights.masks(free)
        trial.set_masks({name: keep_largest(trial, name, found[name], mask, pattern) for name, mask in masks.items()})

    def _chosen(self) -> Sequence[str] | None:
        """The patterns by which layers are chosen; those of amount, unless filters of other layers are tied to them."""
        by_amount = isinstance(self.amount, Mapping) and self.layers is None and self.granularity == "weights"
        return list(self.amount) if by_amount else self.layers

    def _amounts(self, layers: Mapping[str, Sequence[str]]) -> dict[str, float]:
        """The fraction of all layers together, or of each that a pattern matches, in forward order.

        Args:
            layers: by name, the weights that are pruned under it.
        """
        if not isinstance(self.amount, Mapping):
            return {_ALL: self.amount or 0.0}
        every, found = [weight for weights in layers.values() for weight in weights], dict[str, float]()
        for pattern, amount in self.amount.items():
            matching = {*select(every, [pattern])}
            found |= {name: amount for name, weights in layers.items() if matching.intersection(weights)}
        return {name: found[name] for name in layers if name in found}

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
        quotas = {name: amount * counted[name] for name, amount in amounts.items()}
        goal = largest_remainder(quotas, round(sum(quotas.values())), counted)
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
