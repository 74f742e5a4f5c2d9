"""The one loop of training: epochs, checkpoints, resuming, evaluation, early stopping and reports."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from math import inf
from typing import Annotated, Any, Protocol

from annotated_types import Interval

from framework._batches import Batches
from framework._engine.tester import evaluate
from framework._engine.trainer import Trainer
from framework._errors import StageError
from framework._masks import flags_by_tensor
from framework._sparsifier import Sparsifier, Step, checked_masks
from framework._stage import Trial


class Stateful(Protocol):
    """An object with a state dict, such as a `torch.nn.Module`."""

    def state_dict(self) -> Mapping[str, Any]:
        """Return what is needed to go on from here."""

    def load_state_dict(self, state: Mapping[str, Any], /) -> Any:
        """Go on from what `state_dict` gave."""


@dataclass(frozen=True)
class EarlyStopping:
    """Stop a stage when a metric no longer improves.

    Attributes:
        metric: one that the stage reports; ``…/loss`` should fall, any other should rise.
        patience: epochs without improvement after which to stop.
        min_delta: smallest change that counts as improvement.
    """

    metric: str = "val/loss"
    patience: Annotated[int, Interval(ge=1)] = 5
    min_delta: Annotated[float, Interval(ge=0)] = 0.0


def fit(
    trial: Trial,
    trainer: Trainer,
    batches: Batches,
    *,
    steps: int,
    early_stopping: EarlyStopping | None = None,
    sparsifier: Sparsifier | None = None,
    state: Mapping[str, Stateful] | None = None,
) -> None:
    """Train a trial's network, pass after pass over the batches, with a validation and a report after each.

    After every pass it can go on from a checkpoint, if the stage was interrupted: the network, masks, the optimizer,
    ``trial.loss``, the sparsifier, and what else is in ``state`` are then as they were, bit for bit.

    Args:
        trial: what is trained; its epoch advances by one with every pass.
        trainer: makes the steps; it was made with the trial's network and masks.
        batches: to train on.
        steps: how many to make; the last pass may be part of one.
        early_stopping: when to stop before that.
        sparsifier: changes masks on the way.
        state: by name, what else has to be kept for going on.

    Raises:
        StageError: the loss is no longer finite, the metric of early stopping is not measured, or a sparsifier gave no
            masks or has no weights to give any for.
    """
    kept: dict[str, Stateful] = {"trainer": trainer, "loss": trial.loss, **(state or {})}
    if sparsifier is not None:
        kept["sparsifier"] = sparsifier
    best = kept["best"] = _Best(early_stopping)
    if (earlier := trial.resume()) is not None:
        for name, part in kept.items():
            part.load_state_dict(earlier[name])
    before_step = None if sparsifier is None else _sparsify(trial, trainer, sparsifier, steps)
    while trainer.steps < steps and not best.exhausted:
        if trainer.steps:
            trial.checkpoint(lambda: {name: part.state_dict() for name, part in kept.items()})
        number = trainer.steps // len(batches)
        metrics = trainer.epoch(islice(batches.epoch(number), steps - trainer.steps), before_step)
        metrics |= evaluate(trial, "validation")
        trial.epoch += 1
        trial.report(metrics)
        best.update(metrics)


def _sparsify(trial: Trial, trainer: Trainer, sparsifier: Sparsifier, steps: int) -> Callable[[], bool]:
    # What is frozen is not to be changed, so it cannot be pruned or regrown either.
    held = flags_by_tensor(trial.model, trial.frozen)
    weights = {name: weight for name, weight in trial.weights().items() if weight not in held}
    if not weights:
        raise StageError(
            "there is nothing for a sparsifier to change: the network has no prunable weight of which nothing is frozen"
        )

    def before_step() -> bool:
        step = Step(trainer.steps, steps, weights, trial.masks, trial.seed)
        masks = sparsifier.update(step)
        if masks is not None:
            trial.set_masks(checked_masks(masks, step, type(sparsifier).__name__))
            trainer.set_masks(trial.masks)
        return not step.skipped

    return before_step


class _Best:
    """Counts the epochs since a metric last improved."""

    def __init__(self, rule: EarlyStopping | None) -> None:
        self.rule, self.value, self.since = rule, inf, 0

    def update(self, metrics: Mapping[str, float]) -> None:
        if self.rule is None:
            return
        if self.rule.metric not in metrics:
            raise StageError(
                f"early_stopping.metric {self.rule.metric!r} is not measured (there are: {', '.join(metrics)})"
            )
        value = metrics[self.rule.metric] * (1 if self.rule.metric.endswith("loss") else -1)
        improved = value < self.value - self.rule.min_delta
        self.value, self.since = (value, 0) if improved else (self.value, self.since + 1)

    @property
    def exhausted(self) -> bool:
        return self.rule is not None and self.since >= self.rule.patience

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.value, "since": self.since}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.value, self.since = state["value"], state["since"]
