"""A stage that trains: the parameters that all of them have, and what they do with them."""

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Interval
from torch import nn

from framework._component import Loss, Optimizer, Schedule, SparsifierParameter
from framework._engine.constraints import trainable
from framework._engine.groups import ParameterGroup, split_groups
from framework._engine.loop import EarlyStopping, fit
from framework._engine.precision import Precision
from framework._engine.trainer import Objective, Trainer, loss_of_outputs
from framework._errors import StageError
from framework._stage import Stage, Trial


@dataclass(frozen=True, kw_only=True)
class Training(Stage):
    """Train what is neither masked nor frozen, with a fresh optimizer, and measure on the validation set every epoch.

    A stage that trains in its own way derives from it, adds its own parameters, and says in `objective` what is
    minimised.

    Attributes:
        epochs: passes over the training set; give this or ``steps``.
        steps: optimizer steps; the last pass may be part of one.
        batch_size: inputs per step.
        loss: what to minimise; also what evaluation reports. null takes the task's own: cross entropy for classes,
            binary cross entropy for labels, and the mean squared error for quantities.
        optimizer: how to minimise it; its learning rate is the schedule's base.
        schedule: how the learning rate changes from step to step, over the stage.
        schedule_from: the epoch at which the schedule begins: training goes on as if so many epochs had been made
            already, such as after rewinding to the network of that epoch.
        schedule_until: the epoch at which the schedule ends, if training goes on in another stage; null: with the
            stage.
        sparsifier: what changes masks on the way; null changes none.
        groups: what the optimizer does otherwise with some of the parameters.
        layer_decay: what the learning rate of a layer is multiplied by, once for each layer with weights that comes
            after it in forward order, as in fine-tuning (Clark et al. 2020, arXiv:2003.10555).
        accumulate: parts that each batch is computed in, one after another, to save memory. The step is that of the
            whole batch, but batch normalisation sees the parts.
        ema: decay of an exponential moving average of the weights over the steps, which is what is evaluated and what
            the stage ends with; null trains without one.
        clip_norm: scale gradients down to this L2 norm, that of all parameters together; null leaves them as they are.
        precision: of the forward pass in training; auto takes bfloat16 on GPUs that have it, float16 with a scaled loss
            on others, and float32 on CPUs.
        channels_last: memory format of inputs and weights; often faster for convolutions on GPUs.
        tf32: let GPUs round what is multiplied in float32 to TF32 in training: faster, and less exact than float32.
            Evaluation is in float32.
        cudnn_benchmark: let cuDNN try several algorithms for each shape of a convolution in training, and take the
            fastest. Which one that is may differ from run to run, and with it the last digits of results.
        compile: compile the forward pass, of training and of the evaluations in between; pays off for long training.
        sync_batchnorm: where several processes run a trial, normalise by the statistics of the whole batch, as one
            process does, instead of those of each one's share, of which the first one's are kept.
        evaluate_every: after how many steps to measure for early stopping; null measures after every pass. What is
            measured within a pass is not reported, and its time counts in ``images_per_second``.
        early_stopping: when to stop before the last epoch; null never does.
    """

    epochs: Annotated[int, Interval(ge=1)] | None = None
    steps: Annotated[int, Interval(ge=1)] | None = None
    batch_size: Annotated[int, Interval(ge=1)] = 128
    loss: Loss | None = None
    optimizer: Optimizer = "sgd"
    schedule: Schedule = "constant"
    schedule_from: Annotated[float, Interval(ge=0)] = 0.0
    schedule_until: Annotated[float, Interval(gt=0)] | None = None
    sparsifier: SparsifierParameter | None = None
    groups: tuple[ParameterGroup, ...] = ()
    layer_decay: Annotated[float, Interval(gt=0, le=1)] = 1.0
    accumulate: Annotated[int, Interval(ge=1)] = 1
    ema: Annotated[float, Interval(gt=0, lt=1)] | None = None
    clip_norm: Annotated[float, Interval(gt=0)] | None = None
    precision: Precision = "auto"
    channels_last: bool = False
    tf32: bool = False
    cudnn_benchmark: bool = False
    compile: bool = False
    sync_batchnorm: bool = False
    evaluate_every: Annotated[int, Interval(ge=1)] | None = None
    early_stopping: EarlyStopping | None = None

    def __post_init__(self) -> None:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give either epochs or steps")
        if self.evaluate_every is not None and self.early_stopping is None:
            raise ValueError("evaluate_every is for early_stopping: give it as well")
        for group in self.groups:
            if unknown := [name for name in group.options if name not in self.optimizer.params]:
                raise ValueError(f"{self.optimizer.name} has no {unknown[0]}, which groups give for {group.match!r}")
        if self.sparsifier is not None and self.early_stopping is not None and self.early_stopping.restore_best:
            raise ValueError(
                "restore_best and a sparsifier contradict: the best network may be one before it was pruned"
            )

    @property
    def planned_epochs(self) -> int:
        return self.epochs or 0

    @property
    def planned_length(self) -> tuple[str, int] | None:
        """The ``epochs`` or ``steps``, unless the schedule or a sparsifier is told how many there are.

        A stage that derives from this one gives None if what it adds, such as its `objective`, looks at them.
        """
        spans = self.schedule_until is None and {"epochs", "steps"} & {*self.schedule.entry.inputs}
        if spans or self.sparsifier is not None:
            return None
        return ("epochs", self.epochs) if self.epochs else ("steps", self.steps or 0)

    def objective(self, trial: Trial) -> Objective:
        """What is minimised: the loss of the network's outputs, unless a stage says otherwise.

        Args:
            trial: as the stage finds it, or as it goes on from a checkpoint; ``trial.loss`` is the stage's.

        Returns:
            A function; or a `torch.nn.Module`, if there is something to remember: its state dict is kept for going on.
        """
        return loss_of_outputs(trial.loss)

    def use_loss(self, trial: Trial) -> None:
        """Make the loss of this stage that of the trial, by which it is evaluated from now on."""
        trial.use_loss(self.loss)

    def run(self, trial: Trial) -> None:
        self.use_loss(trial)
        batches = trial.batches("train", self.batch_size, channels_last=self.channels_last)
        trial.model.to(memory_format=torch.channels_last if self.channels_last else torch.contiguous_format)
        steps = self.steps or (self.epochs or 0) * len(batches)
        began = self.schedule_from
        ends = began + steps / len(batches)
        whole = ends if self.schedule_until is None else self.schedule_until
        if whole < ends - 1e-9:  # floating point may miss it by a hair
            raise StageError(f"schedule_until is {whole:g}, but the stage trains to epoch {ends:g} of the schedule")
        whole_steps = round(whole * len(batches))
        objective = self.objective(trial)
        optimizer = self.optimizer(params=trainable(trial.model, trial.frozen), model=trial.model)
        split_groups(optimizer, trial, self.groups, self.layer_decay)
        trainer = Trainer(
            trial.model,
            trial.loss,
            optimizer,
            objective=objective,
            masks=trial.masks,
            frozen=trial.frozen,
            schedule=lambda step: self.schedule(epoch=began + step / len(batches), epochs=whole, steps=whole_steps),
            clip_norm=self.clip_norm,
            accumulate=self.accumulate,
            ema=self.ema,
            precision=self.precision,
            tf32=self.tf32,
            cudnn_benchmark=self.cudnn_benchmark,
            compile=self.compile,
            sync_batchnorm=self.sync_batchnorm,
            task=trial.task,
        )
        fit(
            trial,
            trainer,
            batches,
            steps=steps,
            evaluate_every=self.evaluate_every,
            early_stopping=self.early_stopping,
            sparsifier=self.sparsifier and self.sparsifier(),
            state={"objective": objective} if isinstance(objective, nn.Module) else None,
            lengths={length: length * len(batches) if self.epochs else length for length in trial.lengths},
        )
