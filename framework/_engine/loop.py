"""The one loop of training: epochs, checkpoints, resuming, evaluation, early stopping and reports."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from math import inf
from typing import Annotated, Any, Protocol

from annotated_types import Interval
from torch import Tensor

from framework._batches import Batches
from framework._engine.tester import evaluate
from framework._engine.trainer import Trainer
from framework._errors import StageError
from framework._masks import flags_by_tensor
from framework._ranks import take_from_first
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
        metric: one that the stage reports, such as ``val/loss``; null is the primary one on the validation set. Metrics
            say themselves whether they should rise or fall; a loss should fall.
        patience: measurements (one an epoch, unless the stage says otherwise) without improvement after which to stop;
            null never stops.
        min_delta: smallest change that counts as improvement.
        restore_best: end with the network as it was when the metric was best, and report that step as ``best/step``.
    """

    metric: str | None = None
    patience: Annotated[int, Interval(ge=1)] | None = 5
    min_delta: Annotated[float, Interval(ge=0)] = 0.0
    restore_best: bool = False


def fit(
    trial: Trial,
    trainer: Trainer,
    batches: Batches,
    *,
    steps: int,
    evaluate_every: int | None = None,
    early_stopping: EarlyStopping | None = None,
    sparsifier: Sparsifier | None = None,
    state: Mapping[str, Stateful] | None = None,
    lengths: Mapping[int, int] | None = None,
) -> None:
    """Train a trial's network, pass after pass over the batches, with a validation and a report after each.

    After every pass it can go on from a checkpoint, if the stage was interrupted: the network, masks, the optimizer,
    ``trial.loss``, the sparsifier, and what else is in ``state`` are then as they were, bit for bit.

    Args:
        trial: what is trained; its epoch advances by one with every pass.
        trainer: makes the steps; it was made with the trial's network and masks.
        batches: to train on.
        steps: how many to make; the last pass may be part of one.
        evaluate_every: after how many steps to measure for early stopping; None: after every pass.
        early_stopping: when to stop before that.
        sparsifier: changes masks on the way.
        state: by name, what else has to be kept for going on.
        lengths: those of ``trial.lengths``, and after how many steps of this training each of them ends.

    Raises:
        StageError: the loss is no longer finite, the metric of early stopping is not measured, or a sparsifier gave no
            masks or has no weights to give any for.
    """
    kept: dict[str, Stateful] = {"trainer": trainer, "loss": trial.loss, **(state or {})}
    if sparsifier is not None:
        kept["sparsifier"] = sparsifier
    best = kept["best"] = _Best(trial, early_stopping)
    if (earlier := trial.resume()) is not None:
        for name, part in kept.items():
            part.load_state_dict(earlier[name])
    before_step = None if sparsifier is None else _sparsify(trial, trainer, sparsifier, steps)
    ahead = dict(lengths or {})

    def progress() -> dict[str, Any]:
        return {name: part.state_dict() for name, part in kept.items()}

    def keep_lengths() -> None:
        """Keep the state for those who train up to this pass and then go on in another way, or end."""
        for length, end in [*ahead.items()]:
            if best.exhausted or end < trainer.steps + len(batches):
                del ahead[length]
                if end >= trainer.steps:  # else it is too late: a checkpoint lay beyond that length
                    trial.reached(length, progress)

    keep_lengths()
    while trainer.steps < steps and not best.exhausted:
        if trainer.steps:
            trial.checkpoint(progress)
        one_pass: Iterator[tuple[Any, Any]] = islice(
            batches.epoch(trainer.steps // len(batches)), steps - trainer.steps
        )
        if evaluate_every is not None:
            one_pass = _measured(one_pass, evaluate_every, trial, trainer, best)
        metrics = trainer.epoch(one_pass, before_step)
        with trainer.averaged():
            metrics |= evaluate(trial, "validation", forward=trainer.forward)
            trial.epoch += 1
            trial.report(metrics)
            if evaluate_every is None or trainer.steps % evaluate_every == 0:
                best.update(metrics, trainer.steps)
        keep_lengths()
    trainer.use_average()
    best.restore()


def _measured(
    batches: Iterator[tuple[Any, Any]], every: int, trial: Trial, trainer: Trainer, best: "_Best"
) -> Iterator[tuple[Any, Any]]:
    """Yield the batches of a pass, measure after every so many steps of it, and end it early if there is no use."""
    for i, batch in enumerate(batches):
        if i and trainer.steps % every == 0:  # what is due after the last batch is measured with the pass
            with trainer.averaged():
                best.update(evaluate(trial, "validation", forward=trainer.forward), trainer.steps)
            if best.exhausted:
                return
        yield batch


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
            take_from_first([*masks.values()])
            trial.set_masks(checked_masks(masks, step, type(sparsifier).__name__))
            trainer.set_masks(trial.masks)
        return not step.skipped

    return before_step


class _Best:
    """Counts the measurements since a metric last improved, and keeps the network of that time if it is wanted."""

    def __init__(self, trial: Trial, rule: EarlyStopping | None) -> None:
        self.trial, self.rule, self.value, self.since = trial, rule, inf, 0
        self.metrics: dict[str, float] = {}
        self.network: dict[str, Tensor] = {}

    def update(self, metrics: Mapping[str, float], step: int) -> None:
        if self.rule is None:
            return
        metric, maximize = self.trial.measures.aim(self.rule.metric)
        if metric not in metrics:
            raise StageError(f"early_stopping.metric {metric!r} is not measured (there are: {', '.join(metrics)})")
        value = metrics[metric] * (-1 if maximize else 1)
        improved = value < self.value - self.rule.min_delta
        self.value, self.since = (value, 0) if improved else (self.value, self.since + 1)
        if improved and self.rule.restore_best:
            self.metrics = {"best/step": step, **{n: x for n, x in metrics.items() if n.startswith("val/")}}
            self.network = {name: tensor.clone() for name, tensor in self.trial.model.state_dict().items()}

    @property
    def exhausted(self) -> bool:
        return self.rule is not None and self.rule.patience is not None and self.since >= self.rule.patience

    def restore(self) -> None:
        """Set the network back to the one that was best, and report it."""
        if self.network:
            self.trial.set_state(self.network)
            self.trial.report(self.metrics)

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.value, "since": self.since, "metrics": self.metrics, "network": self.network}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.value, self.since = state["value"], state["since"]
        self.metrics, self.network = dict(state["metrics"]), dict(state["network"])
