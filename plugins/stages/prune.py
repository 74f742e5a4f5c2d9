"""Prune weights by a criterion."""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from framework import Batches, Criterion, Interval, Loss, Masks, Stage, StageError, Trial, eval_mode, select


@dataclass(frozen=True)
class Prune(Stage):
    """Set the weights with the lowest scores to zero and hold them there.

    Exactly round(amount × candidates) weights go; among equal scores the first ones, in forward order. The masks are
    those of `torch.nn.utils.prune` (``global_unstructured``, or ``l1_unstructured`` by layer) where scores differ.

    Attributes:
        amount: which fraction of the weights of convolutions, linear layers and attention to prune.
        of: what ``amount`` counts of: the weights ``remaining`` before the stage, or the ``total``, so that amount
            is the fraction pruned in the end.
        criterion: gives each weight its score.
        scope: rank all layers together (``global``) or each by itself (``layer``).
        layers: patterns of names to prune, such as ``layer1.*``; all by default.
        exclude: patterns of names to leave alone.
        loss: what a criterion's gradients are of.
        batches: over how many training batches of 128 images such gradients are averaged.

    Example:
        stages:
          - train: {epochs: 5}
          - prune: {amount: 0.8, scope: layer, exclude: [fc]}
          - train: {epochs: 5}
    """

    amount: Annotated[float, Interval(ge=0, le=1)]
    of: Literal["remaining", "total"] = "remaining"
    criterion: Criterion = "l1"
    scope: Literal["global", "layer"] = "global"
    layers: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    loss: Loss = "cross_entropy"
    batches: Annotated[int, Interval(ge=1)] = 1

    def run(self, trial: Trial) -> None:
        weights = trial.weights()
        chosen = select(list(weights), self.layers, self.exclude)
        masks: Masks = {
            name: trial.masks.get(name, torch.ones_like(weights[name], dtype=torch.bool)) for name in chosen
        }
        scores = self._scores(trial, chosen)
        for group in [chosen] if self.scope == "global" else [[name] for name in chosen]:
            remaining = torch.cat([masks[name].reshape(-1) for name in group])
            score = torch.cat([scores[name].reshape(-1) for name in group])
            kept = remaining & ~lowest(score, remaining, self._count(remaining))
            sizes = [masks[name].numel() for name in group]
            for name, mask in zip(group, kept.split(sizes), strict=True):
                masks[name] = mask.view(masks[name].shape)
        for name, mask in masks.items():
            pruned_now = ~mask & trial.masks.get(name, torch.ones_like(mask))
            value = weights[name].detach()
            before = trial.before_pruning.get(name, torch.zeros_like(value))
            trial.before_pruning[name] = torch.where(pruned_now, value, before)
            value.masked_fill_(~mask, 0.0)
            trial.masks[name] = mask

    def _count(self, remaining: Tensor) -> int:
        left, total = int(remaining.sum()), remaining.numel()
        if self.of == "remaining":
            return round(self.amount * left)
        count = round(self.amount * total) - (total - left)
        if count < 0:
            raise StageError(
                f"amount {self.amount:g} of the total is less than the {1 - left / total:.1%} already pruned: "
                "raise it, unprune first, or count of: remaining"
            )
        return count

    def _scores(self, trial: Trial, names: list[str]) -> dict[str, Tensor]:
        weights, generator = trial.weights(), trial.generator()
        gradients = self._gradients(trial, names) if "gradient" in self.criterion.entry.inputs else {}
        scores = {}
        for name in names:
            weight = weights[name].detach()
            score = self.criterion(weight=weight, gradient=gradients.get(name), generator=generator)
            if score.shape != weight.shape or bool(score.isnan().any()):
                raise StageError(
                    f"criterion {self.criterion.name!r} must give a number for each weight of {name}, "
                    f"shape {tuple(weight.shape)}; it gave shape {tuple(score.shape)}"
                    + (" with NaN" if bool(score.isnan().any()) else "")
                )
            scores[name] = score
        return scores

    def _gradients(self, trial: Trial, names: list[str]) -> dict[str, Tensor]:
        data, weights, loss = trial.data, trial.weights(), self.loss().to(trial.device)
        batches = Batches(*data.train, data.mean, data.std, batch_size=128, generator=trial.generator())
        inputs = [weights[name].requires_grad_() for name in names]
        sums = [torch.zeros_like(w) for w in inputs]
        with eval_mode(trial.model):  # scores must not move the statistics of normalisation
            for _, (images, labels) in zip(range(self.batches), batches, strict=False):
                found = torch.autograd.grad(loss(trial.model(images), labels), inputs, allow_unused=True)
                for total, gradient in zip(sums, found, strict=True):
                    if gradient is not None:
                        total += gradient / min(self.batches, len(batches))
        return dict(zip(names, sums, strict=True))


def lowest(scores: Tensor, candidates: Tensor, count: int) -> Tensor:
    """Mark the ``count`` candidates with the lowest scores, the first ones among equals.

    Args:
        scores: (N,), any number type without NaN.
        candidates: bool, (N,).
        count: at most the number of candidates.

    Returns:
        bool, (N,), with exactly ``count`` True.
    """
    if count == 0:
        return torch.zeros_like(candidates)
    threshold = scores[candidates].kthvalue(count).values
    marked = candidates & (scores < threshold)
    ties = (candidates & (scores == threshold)).nonzero().squeeze(1)
    marked[ties[: count - int(marked.sum())]] = True
    return marked
