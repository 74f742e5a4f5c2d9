"""Knowledge distillation (Hinton et al. 2015, arXiv:1503.02531)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from framework import (
    Batches,
    Interval,
    Loss,
    Optimizer,
    Schedule,
    Stage,
    StageError,
    Trainer,
    Trial,
    evaluate,
    hookimpl,
    load_model,
    trainable,
)


@dataclass(frozen=True)
class Distill(Stage):
    """Train the network to answer as an earlier run's model does, and to fit the labels besides.

    What is minimised is ``alpha × temperature² × KL(teacher ‖ network)``, the answers of both softened by the
    temperature, plus ``(1 - alpha) × loss``. Both see the same images, normalised alike: the teacher must have been
    trained on the same data.

    Attributes:
        teacher: the model, as ``runs:/<run id>/model``.
        epochs: passes over the training set.
        temperature: what the outputs are divided by; above 1, the teacher also tells which wrong classes come close.
        alpha: how much the teacher counts; the labels count the rest.
        batch_size: images per step.
        loss: of the labels; also what evaluation reports.
        optimizer: how to minimise; its learning rate is the schedule's base.
        schedule: how the learning rate changes from step to step, over the stage.
    """

    teacher: str
    epochs: Annotated[int, Interval(ge=1)]
    temperature: Annotated[float, Interval(gt=0)] = 4.0
    alpha: Annotated[float, Interval(ge=0, le=1)] = 0.9
    batch_size: Annotated[int, Interval(ge=1)] = 128
    loss: Loss = "cross_entropy"
    optimizer: Optimizer = "sgd"
    schedule: Schedule = "constant"

    @property
    def planned_epochs(self) -> int:
        return self.epochs

    def run(self, trial: Trial) -> None:
        data, generator = trial.data, trial.generator()
        batches = _Taught(
            *data.train,
            data.mean,
            data.std,
            batch_size=self.batch_size,
            augment=data.augment,
            generator=generator,
        )
        batches.teacher = self._teacher(trial)
        loss = trial.use_loss(self.loss)
        trainer = Trainer(
            trial.model,
            lambda outputs, labels: self._mixed(outputs, batches.answers, loss(outputs, labels)),
            self.optimizer(params=trainable(trial.model, trial.frozen)),
            masks=trial.masks,
            frozen=trial.frozen,
            schedule=lambda epoch, epochs: self.schedule(epoch=epoch, epochs=epochs),
            epochs=self.epochs,
        )
        if (earlier := trial.resume()) is not None:
            trainer.load_state_dict(earlier["trainer"])
            loss.load_state_dict(earlier["loss"])
            generator.set_state(earlier["generator"])

        def progress() -> dict[str, Any]:
            return {"trainer": trainer.state_dict(), "loss": loss.state_dict(), "generator": generator.get_state()}

        while trainer.steps < self.epochs * len(batches):
            if trainer.steps:
                trial.checkpoint(progress)
            metrics = trainer.epoch(batches) | evaluate(trial, "validation")
            trial.epoch += 1
            trial.report(metrics)

    def _teacher(self, trial: Trial) -> nn.Module:
        teacher = load_model(self.teacher).to(trial.device)
        with torch.no_grad():
            answers = teacher(torch.zeros(2, *trial.data.shape, device=trial.device))
        if answers.shape != (2, len(trial.data.classes)):
            raise StageError(
                f"the teacher {self.teacher} tells {answers.shape[-1]} classes apart, "
                f"but this data has {len(trial.data.classes)}: take one that was trained on the same data"
            )
        return teacher

    def _mixed(self, outputs: Tensor, answers: Tensor, loss: Tensor) -> Tensor:
        ours = functional.log_softmax(outputs / self.temperature, 1)
        theirs = functional.log_softmax(answers / self.temperature, 1)
        difference = functional.kl_div(ours, theirs, reduction="batchmean", log_target=True)
        # Its gradients fall with the square of the temperature.
        return self.alpha * self.temperature**2 * difference + (1 - self.alpha) * loss


class _Taught(Batches):
    """Batches that have the teacher's answers to the latest of them."""

    teacher: nn.Module
    answers: Tensor

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for images, labels in super().__iter__():
            with torch.no_grad():
                self.answers = self.teacher(images)
            yield images, labels


@hookimpl
def register_stages() -> Mapping[str, type[Stage]]:
    return {"distill": Distill}
