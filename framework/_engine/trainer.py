"""The training loop."""

import math
import time
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from framework._engine.batches import Batches
from framework._engine.constraints import Constraints
from framework._engine.precision import Precision, autocast
from framework._errors import StageError
from framework._masks import Masks


class Trainer:
    """Trains a network, and updates only what is neither masked nor frozen.

    Any loss fits that maps (outputs, labels) to a scalar, and any optimizer whose ``step`` takes a closure; the closure
    is a whole forward and backward pass, so that an optimizer may call it more than once (SAM, L-BFGS). After every
    step masked weights are exactly 0 and frozen elements are what they were, bit for bit, whatever the optimizer does.

    Args:
        model: the network; its frozen parameters get ``requires_grad=False``.
        loss: maps outputs (batch, classes) and labels int64 (batch,) to a scalar.
        optimizer: made with `trainable` parameters; its learning rates are the schedule's base.
        masks: by parameter name, True = the weight may be non-zero.
        frozen: by name of a parameter or buffer, True = the element is held. A normalisation layer whose running mean
            is frozen runs in eval mode.
        schedule: maps the time since the start, and the whole time, both in epochs, to a factor on the learning rate.
        epochs: the whole time, for the schedule.
        clip_norm: largest norm of all gradients together; None doesn't clip.
        precision: see `framework._engine.precision.autocast`.
        compile: compile the forward pass with `torch.compile`.

    Example:
        >>> trainer = Trainer(model, nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters(), 0.1))
        >>> trainer.epoch(batches)["train/accuracy"]
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[Tensor, Tensor], Tensor],
        optimizer: torch.optim.Optimizer,
        *,
        masks: Masks | None = None,
        frozen: Masks | None = None,
        schedule: Callable[[float, float], float] | None = None,
        epochs: float = 1,
        clip_norm: float | None = None,
        precision: Precision = "auto",
        compile: bool = False,
    ) -> None:
        self.model, self.loss, self.optimizer = model, loss, optimizer
        self.schedule, self.epochs, self.clip_norm = schedule, epochs, clip_norm
        self.steps = 0
        self._constraints = Constraints(model, masks or {}, frozen or {})
        self._trained = [p for group in optimizer.param_groups for p in group["params"]]
        self._base_lrs = [group["lr"] for group in optimizer.param_groups]
        self._device = next(model.parameters()).device
        self._autocast = autocast(precision, self._device)
        self._forward = torch.compile(model) if compile else model
        self._constraints.train_mode(model)

    def epoch(self, batches: Batches, steps: int | None = None) -> dict[str, float]:
        """Make one pass over the batches, or over the first ``steps`` of them.

        Returns:
            ``train/loss`` and ``train/accuracy`` (fraction) over the images seen, ``lr`` of the first group at the
            last step, and ``images_per_second``.

        Raises:
            StageError: the loss is no longer finite, or is no scalar.
        """
        self._constraints.train_mode(self.model)
        started = time.perf_counter()
        loss = torch.zeros((), device=self._device)
        correct = torch.zeros((), device=self._device, dtype=torch.int64)
        seen = 0
        for images, labels in islice(batches, steps):
            self._set_lr(self.steps / len(batches))
            batch_loss, outputs = self.step(images, labels)
            loss += batch_loss * len(labels)
            correct += (outputs.argmax(1) == labels).sum()
            seen += len(labels)
        mean_loss, accuracy = loss.item() / seen, correct.item() / seen  # waits for the device, so time it
        seconds = time.perf_counter() - started
        if not math.isfinite(mean_loss):
            raise StageError(f"the training loss became {mean_loss}: lower the learning rate or clip gradients")
        return {
            "train/loss": mean_loss,
            "train/accuracy": accuracy,
            "lr": self.optimizer.param_groups[0]["lr"],
            "images_per_second": seen / seconds,
        }

    def state_dict(self) -> dict[str, Any]:
        """What training goes on from besides the network itself: the optimizer's state and the steps made."""
        return {"optimizer": self.optimizer.state_dict(), "steps": self.steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.optimizer.load_state_dict(dict(state["optimizer"]))
        self.steps = state["steps"]

    def step(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Make one optimizer step on one batch.

        Returns:
            The loss (scalar) and the outputs (batch, classes) of the first forward pass, detached.
        """
        first: list[Tensor] = []

        def closure() -> Tensor:
            self.optimizer.zero_grad(set_to_none=True)
            with self._autocast:
                outputs = self._forward(images)
                loss = self.loss(outputs, labels)
            if loss.dim():
                raise StageError(f"the loss must be a scalar, not of shape {tuple(loss.shape)}")
            loss.backward()  # type: ignore[no-untyped-call]
            self._constraints.mask_gradients()
            if self.clip_norm is not None:
                nn.utils.clip_grad_norm_(self._trained, self.clip_norm)
            if not first:
                first.extend((loss.detach(), outputs.detach()))
            return loss

        with torch.enable_grad():
            self.optimizer.step(closure)  # type: ignore[arg-type]
        if not first:
            name = type(self.optimizer).__name__
            raise StageError(f"{name}.step did not call its closure, which computes the loss and the gradients")
        self._constraints.restore()
        self.steps += 1
        return first[0], first[1]

    def _set_lr(self, epoch: float) -> None:
        if self.schedule is not None:
            factor = self.schedule(epoch, self.epochs)
            for group, base in zip(self.optimizer.param_groups, self._base_lrs, strict=True):
                group["lr"] = base * factor
