"""Knowledge distillation (Hinton et al. 2015, arXiv:1503.02531)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from framework import Interval, Objective, Stage, StageError, Training, Trial, hookimpl, load_model


@dataclass(frozen=True, kw_only=True)
class Distill(Training):
    """Train the network to answer as an earlier run's model does, and to fit the labels besides.

    What is minimised is ``alpha × temperature² × KL(teacher ‖ network)``, the answers of both softened by the
    temperature, plus ``(1 - alpha) × loss``. Both see the same images, normalised alike: the teacher must have been
    trained on the same data.

    Attributes:
        teacher: the model, as ``runs:/<run id>/model``.
        temperature: what the outputs are divided by; above 1, the teacher also tells which wrong classes come close.
        alpha: how much the teacher counts; the labels count the rest.
    """

    teacher: str
    temperature: Annotated[float, Interval(gt=0)] = 4.0
    alpha: Annotated[float, Interval(ge=0, le=1)] = 0.9

    def objective(self, trial: Trial) -> Objective:
        teacher, scale = self._teacher(trial), self.alpha * self.temperature**2

        def mixed(forward: Callable[[Any], Tensor], inputs: Any, targets: Any) -> tuple[Tensor, Tensor]:
            with torch.no_grad():
                theirs = functional.log_softmax(teacher(inputs) / self.temperature, 1)
            outputs = forward(inputs)
            ours = functional.log_softmax(outputs / self.temperature, 1)
            # Its gradients fall with the square of the temperature.
            difference = functional.kl_div(ours, theirs, reduction="batchmean", log_target=True)
            return scale * difference + (1 - self.alpha) * trial.loss(outputs, targets), outputs

        return mixed

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


@hookimpl
def register_stages() -> Mapping[str, type[Stage]]:
    return {"distill": Distill}
