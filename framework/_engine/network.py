"""The view of a network that pruning criteria get, and the scores that they give."""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from framework._component import Component
from framework._errors import StageError
from framework._masks import Masks
from framework._random import random_state_kept
from framework._stage import Trial

Mode: TypeAlias = Literal["train", "eval"]
"""How normalisation layers compute while gradients are taken: with the batch's statistics, or the running ones."""
Batch: TypeAlias = tuple[Any, Any]


@dataclass
class Network:
    """A trial's network as a criterion may look at it: a copy, with which it can do what it likes.

    Attributes:
        trial: the trial, to look at; what is in it is not to be changed.
        model: the copy, in eval mode, on the trial's device.
        weights: those of the copy that are to be scored, by parameter name, in forward order.
        masks: of those of them that are pruned already; True = may be non-zero.
        loss: what the gradients are of: a mean over a batch.
        generator: for random numbers, on the CPU.
    """

    trial: Trial
    model: nn.Module
    weights: dict[str, nn.Parameter]
    masks: Masks
    loss: nn.Module
    generator: torch.Generator

    def batches(self, count: int = 1, size: int = 128, *, per_class: int | None = None) -> list[Batch]:
        """Draw batches of the training set, as in training.

        Args:
            count: how many.
            size: inputs per batch.
            per_class: take so many inputs of each class instead, in batches of that size; for targets that are classes.

        Raises:
            StageError: a class has fewer inputs than that.
        """
        if per_class is not None:
            inputs, targets = self._balanced(per_class)
            return list(zip(inputs.split(size), targets.split(size), strict=True))
        batches = self.trial.batches("train", size)
        passes = range(-(-count // len(batches)))
        return list(islice(chain.from_iterable(map(batches.epoch, passes)), count))

    def gradients(self, batches: Sequence[Batch], mode: Mode = "eval") -> Iterator[dict[str, Tensor]]:
        """Yield the gradients of the loss by the weights, batch after batch; 0 for a weight that has no part in it."""
        self.model.train(mode == "train")
        weights = list(self.weights.values())
        for inputs, targets in batches:
            loss = self.loss(self.model(inputs), targets)
            found = torch.autograd.grad(loss, weights, allow_unused=True)
            named = zip(self.weights.items(), found, strict=True)
            yield {name: torch.zeros_like(weight) if g is None else g for (name, weight), g in named}

    def _balanced(self, per_class: int) -> Batch:
        classes, taken = len(self.trial.task.outputs), []
        left = torch.full((classes,), per_class)
        for inputs, targets in self.trial.batches("train").epoch(0):
            if targets.is_floating_point():
                raise StageError(
                    "images of each class are asked for, and targets are no classes: of mixed images (mixup, cutmix) "
                    "there are none"
                )
            for i, label in enumerate(targets.tolist()):
                if left[label]:
                    left[label] -= 1
                    taken.append((inputs[i], targets[i]))
            if not left.any():
                inputs, targets = zip(*taken, strict=True)
                return torch.stack(inputs), torch.stack(targets)
        raise StageError(f"there are fewer than {per_class} training images of some classes")


def scores(
    criterion: Component,
    trial: Trial,
    names: Sequence[str],
    *,
    loss: nn.Module | None = None,
    batches: int = 1,
    batch_size: int = 128,
    mode: Mode = "eval",
) -> dict[str, Tensor]:
    """Let a criterion score a trial's weights: those with the lowest scores are worth the least.

    The trial stays as it is, its random state and its gradients included.

    Args:
        criterion: a stage's parameter of type `framework.Criterion`.
        trial: has the network.
        names: which weights, by parameter name, in forward order.
        loss: what a criterion's gradients are of; None: the loss of the trial's task.
        batches: over how many training batches ``gradient`` is averaged.
        batch_size: of these.
        mode: of normalisation meanwhile.

    Returns:
        By name a tensor of the weight's shape, of any number type.

    Raises:
        StageError: the criterion gave something else, or NaN.
    """
    asked = criterion.entry.inputs
    if "gamma" in asked:
        raise StageError(f"criterion {criterion.name!r} scores whole filters: it needs granularity: filters")
    with random_state_kept():
        if {"network", "gradient"} & {*asked}:
            network = _copy(trial, names, trial.task.loss() if loss is None else loss)
        if "network" in asked:
            found = criterion(network=network, weight=None, gradient=None, generator=network.generator)
        else:
            gradient = _mean_gradient(network, batches, batch_size, mode) if "gradient" in asked else {}
            weights, generator = trial.weights(names), trial.generator()
            found = {
                name: criterion(
                    weight=weights[name].detach(), gradient=gradient.get(name), generator=generator, network=None
                )
                for name in names
            }
    return _checked(found, trial, names, criterion.name)


def _copy(trial: Trial, names: Sequence[str], loss: nn.Module) -> Network:
    model = deepcopy(trial.model).eval()
    weights = {name: model.get_parameter(name) for name in names}
    for weight in weights.values():
        weight.requires_grad_()
    masks = {name: trial.masks[name] for name in names if name in trial.masks}
    return Network(trial, model, weights, masks, loss.to(trial.device).eval(), trial.generator())


def _mean_gradient(network: Network, count: int, size: int, mode: Mode) -> dict[str, Tensor]:
    batches = network.batches(count, size)
    sums = {name: torch.zeros_like(weight) for name, weight in network.weights.items()}
    for gradients in network.gradients(batches, mode):
        for name, gradient in gradients.items():
            sums[name] += gradient / len(batches)
    return sums


def _checked(found: Any, trial: Trial, names: Sequence[str], criterion: str) -> dict[str, Tensor]:
    if not isinstance(found, Mapping) or {*found} != {*names}:
        raise StageError(f"criterion {criterion!r} must give scores for each of network.weights, by name")
    weights = trial.weights(names)
    for name in names:
        score, shape = found[name], tuple(weights[name].shape)
        wrong = "" if isinstance(score, Tensor) and score.shape == shape else _described(score)
        if not wrong and bool(score.isnan().any()):
            wrong = "NaN"
        if wrong:
            raise StageError(
                f"criterion {criterion!r} must give a number for each weight of {name}, shape {shape}; it gave {wrong}"
            )
    return {name: found[name].detach() for name in names}


def _described(score: Any) -> str:
    return f"shape {tuple(score.shape)}" if isinstance(score, Tensor) else f"a {type(score).__name__}"
