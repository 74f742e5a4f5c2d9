"""Train the network."""

from dataclasses import dataclass
from math import inf
from typing import Annotated, Any

import torch

from framework import (
    Batches,
    Interval,
    Loss,
    Optimizer,
    Precision,
    Schedule,
    Stage,
    StageError,
    Trainer,
    Trial,
    evaluate,
    trainable,
)


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


@dataclass(frozen=True)
class Train(Stage):
    """Train what is neither masked nor frozen, with a fresh optimizer, and measure on the validation set every epoch.

    Attributes:
        epochs: passes over the training set; give this or ``steps``.
        steps: optimizer steps; the last pass may be part of one.
        batch_size: images per step.
        loss: what to minimise.
        optimizer: how to minimise it; its learning rate is the schedule's base.
        schedule: how the learning rate changes from step to step, over the stage.
        clip_norm: scale gradients down to this L2 norm, that of all parameters together; null leaves them as they are.
        precision: of the forward pass; auto takes bfloat16 on GPUs that have it, and float32 elsewhere.
        channels_last: memory format of images and weights; often faster for convolutions on GPUs.
        compile: compile the forward pass; pays off for long training.
        early_stopping: when to stop before the last epoch; null never does.

    Example:
        stages:
          - train:
              epochs: 20
              batch_size: 64
              loss: {name: cross_entropy, label_smoothing: 0.1}
              optimizer: {name: adamw, lr: 0.001}
              schedule: {name: cosine, warmup: 1}
              early_stopping: {metric: val/accuracy, patience: 3}
    """

    epochs: Annotated[int, Interval(ge=1)] | None = None
    steps: Annotated[int, Interval(ge=1)] | None = None
    batch_size: Annotated[int, Interval(ge=1)] = 128
    loss: Loss = "cross_entropy"
    optimizer: Optimizer = "sgd"
    schedule: Schedule = "constant"
    clip_norm: Annotated[float, Interval(gt=0)] | None = None
    precision: Precision = "auto"
    channels_last: bool = False
    compile: bool = False
    early_stopping: EarlyStopping | None = None

    def __post_init__(self) -> None:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give either epochs or steps")

    @property
    def planned_epochs(self) -> int:
        return self.epochs or 0

    def run(self, trial: Trial) -> None:
        generator = trial.generator()
        batches = Batches(
            *trial.data.train,
            trial.data.mean,
            trial.data.std,
            batch_size=self.batch_size,
            augment=trial.data.augment,
            generator=generator,
            channels_last=self.channels_last,
        )
        loss = trial.use_loss(self.loss)
        trial.model.to(memory_format=torch.channels_last if self.channels_last else torch.contiguous_format)
        trainer = Trainer(
            trial.model,
            loss,
            self.optimizer(params=trainable(trial.model, trial.frozen)),
            masks=trial.masks,
            frozen=trial.frozen,
            schedule=lambda epoch, epochs: self.schedule(epoch=epoch, epochs=epochs),
            epochs=self.epochs or self.steps / len(batches),
            clip_norm=self.clip_norm,
            precision=self.precision,
            compile=self.compile,
        )
        total = self.steps or self.epochs * len(batches)
        best = _Best(self.early_stopping)
        if (earlier := trial.resume()) is not None:
            trainer.load_state_dict(earlier["trainer"])
            loss.load_state_dict(earlier["loss"])
            generator.set_state(earlier["generator"])
            best.value, best.since = earlier["best"]

        def progress() -> dict[str, Any]:
            state = {"trainer": trainer.state_dict(), "loss": loss.state_dict(), "generator": generator.get_state()}
            return {**state, "best": (best.value, best.since)}

        while trainer.steps < total and not best.exhausted:
            if trainer.steps:
                trial.checkpoint(progress)
            metrics = trainer.epoch(batches, total - trainer.steps)
            metrics |= evaluate(trial, "validation", precision=self.precision)
            trial.epoch += 1
            trial.report(metrics)
            best.update(metrics)


class _Best:
    """Counts the epochs since a metric last improved."""

    def __init__(self, rule: EarlyStopping | None) -> None:
        self.rule, self.value, self.since = rule, inf, 0

    def update(self, metrics: dict[str, float]) -> None:
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
