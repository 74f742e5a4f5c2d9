"""Train the network to answer as another one does."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor
from torch.nn import functional

from framework import Interval, Model, Objective, Training, Trial


@dataclass(frozen=True, kw_only=True)
class Distill(Training):
    """Train the network to answer as a teacher does, and to fit the labels besides: knowledge distillation.

    What is minimised is ``alpha × temperature² × KL(teacher ‖ network)``, the answers of both softened by the
    temperature, plus ``(1 - alpha) × loss`` (Hinton et al. 2015, arXiv:1503.02531). Both see the same inputs, so the
    teacher must take them as this data gives them. Measured is the loss alone, as in `train`.

    Attributes:
        teacher: a model with its weights: a file, ``runs:/<id>/model`` of an earlier run, or those of a library.
        temperature: what the outputs are divided by; above 1, the teacher also tells which wrong classes come close.
        alpha: how much the teacher counts; the labels count the rest.

    Example:
        stages:
          - distill: {epochs: 5, teacher: {name: resnet18, weights: teacher.safetensors}}
          - prune: {amount: 0.8}
          - distill: {epochs: 5, teacher: {name: resnet18, weights: teacher.safetensors}, temperature: 2}
    """

    teacher: Model
    temperature: Annotated[float, Interval(gt=0)] = 4.0
    alpha: Annotated[float, Interval(ge=0, le=1)] = 0.9

    def objective(self, trial: Trial) -> Objective:
        teacher, scale = trial.make_model(self.teacher).to(trial.device).eval(), self.alpha * self.temperature**2

        def mixed(forward: Callable[[Any], Tensor], inputs: Any, targets: Any) -> tuple[Tensor, Tensor]:
            with torch.no_grad():
                theirs = functional.log_softmax(teacher(inputs) / self.temperature, 1)
            outputs = forward(inputs)
            ours = functional.log_softmax(outputs / self.temperature, 1)
            # Its gradients fall with the square of the temperature.
            difference = functional.kl_div(ours, theirs, reduction="batchmean", log_target=True)
            return scale * difference + (1 - self.alpha) * trial.loss(outputs, targets), outputs

        return mixed
