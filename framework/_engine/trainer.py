"""Make the steps of training, with masks and frozen elements held."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from framework._engine.average import WeightAverage
from framework._engine.constraints import Constraints, check_finite
from framework._engine.parallel import DataParallel, check_scalar
from framework._engine.precision import Precision, mixed_precision
from framework._engine.speed import compiled, gpu_flags
from framework._errors import StageError
from framework._masks import Masks
from framework._measures import Meter
from framework._ranks import agreed, size
from framework._task import Classification, Task

Objective: TypeAlias = Callable[[Callable[[Any], Tensor], Any, Any], tuple[Tensor, Tensor]]
"""What is minimised: a function of (forward, inputs, targets) that calls ``forward(inputs)``, the network, once or more
often, and returns the loss, a scalar, and the outputs by which metrics are measured."""


def loss_of_outputs(loss: Callable[[Any, Any], Tensor]) -> Objective:
    """The usual objective: the loss of the network's outputs."""

    def objective(forward: Callable[[Any], Tensor], inputs: Any, targets: Any) -> tuple[Tensor, Tensor]:
        outputs = forward(inputs)
        return loss(outputs, targets), outputs

    return objective


class _StepTaken(Exception):  # noqa: N818 - it is no error
    """Ends an optimizer's step before it changes weights, as something else has taken its place."""


class Trainer:
    """Trains a network, and updates only what is neither masked nor frozen.

    Any loss fits that maps (outputs, targets) to a scalar, and any optimizer whose ``step`` takes a closure; that is a
    whole forward and backward pass, so that an optimizer may call it more than once (SAM, L-BFGS). After every step
    masked weights and their places in the optimizer's state are exactly 0, and frozen elements are what they were, bit
    for bit, whatever the optimizer does.

    Where several processes run a trial, each of them makes the same steps with the same batches, of which it computes
    its share: batches, losses, outputs and metrics are those of all of them.

    Args:
        model: the network; its frozen parameters get ``requires_grad=False``.
        loss: maps outputs and targets of a batch to a scalar.
        optimizer: made with `trainable` parameters; its learning rates are the schedule's base.
        masks: by parameter name, True = the weight may be non-zero.
        frozen: by name of a parameter or buffer, True = the element is held. A normalisation layer whose running mean
            is frozen, and spectral normalisation whose vectors are, run in eval mode.
        objective: what is minimised, see `Objective`, where the loss of the outputs is not all; None: the loss.
        schedule: maps the number of steps made so far to a factor on the learning rate.
        clip_norm: largest norm of all gradients together; None doesn't clip.
        accumulate: parts that each batch is computed in, one after another, to save memory; inputs and targets are
            tensors then. A loss that is a mean over the batch is the same, and batch normalisation sees the parts.
        ema: decay of the running average of the network's weights and statistics, see `averaged`; None keeps none.
        precision: see `framework._engine.precision.mixed_precision`.
        tf32: let GPUs round what they multiply in float32 to TF32, in `epoch`.
        cudnn_benchmark: let cuDNN try which algorithms are the fastest, in `epoch`.
        compile: compile the forward pass with `torch.compile`.
        sync_batchnorm: on several processes, normalise by the statistics of the whole batch, as one process does,
            instead of those of each one's share, of which rank 0's are kept.
        task: says how outputs are measured.

    Attributes:
        steps: made so far.
        forward: the network, compiled if so asked; for evaluation in between too, as it follows the network's mode.

    Example:
        >>> trainer = Trainer(model, nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters(), 0.1))
        >>> trainer.epoch(batches)["train/accuracy"]
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[Any, Any], Tensor],
        optimizer: torch.optim.Optimizer,
        *,
        masks: Masks | None = None,
        frozen: Masks | None = None,
        objective: Objective | None = None,
        schedule: Callable[[int], float] | None = None,
        clip_norm: float | None = None,
        accumulate: int = 1,
        ema: float | None = None,
        precision: Precision = "auto",
        tf32: bool = False,
        cudnn_benchmark: bool = False,
        compile: bool = False,
        sync_batchnorm: bool = False,
        task: Task | None = None,
    ) -> None:
        self.model, self.loss, self.optimizer = model, loss, optimizer
        self.schedule, self.clip_norm, self.accumulate = schedule, clip_norm, accumulate
        self._objective = objective or loss_of_outputs(loss)
        self._task = task or Classification()
        self.steps = 0
        self._constraints = Constraints(model, optimizer, masks or {}, frozen or {})
        self._trained = [p for group in optimizer.param_groups for p in group["params"]]
        self._base_lrs = [group["lr"] for group in optimizer.param_groups]
        self._device = next(model.parameters()).device
        self._autocast, self._scaler = mixed_precision(precision, self._device)
        self._flags = {"tf32": tf32, "cudnn_benchmark": cudnn_benchmark}
        self.forward: Callable[[Any], Any] = compiled(model) if compile else model
        self._constraints.train_mode(model)
        self._parallel: DataParallel | None = None
        if size() > 1:
            self._parallel = DataParallel(
                self._objective, self.forward, model, loss, self._trained, synchronise=sync_batchnorm
            )
        self._average = None if ema is None else WeightAverage(model, ema)

    def epoch(
        self, batches: Iterable[tuple[Any, Any]], before_step: Callable[[], bool] | None = None
    ) -> dict[str, float]:
        """Make one pass over batches of (inputs, targets).

        Args:
            batches: any iterable of them, such as a `torch.utils.data.DataLoader`.
            before_step: see `step`.

        Returns:
            ``train/loss`` and the task's metrics, such as ``train/accuracy``, over the inputs seen; ``lr`` of the first
            group at the last step; and ``images_per_second``.

        Raises:
            StageError: the loss or a weight is no longer finite, or the loss is no scalar.
        """
        self._constraints.train_mode(self.model)
        started = time.perf_counter()
        loss = torch.zeros((), device=self._device)
        meter, seen = Meter(self._task), 0
        with gpu_flags(**self._flags):
            for inputs, targets in batches:
                batch_loss, outputs = self.step(inputs, targets, before_step)
                loss += batch_loss * len(targets)
                meter.update(outputs, targets)
                seen += len(targets)
        mean_loss, measured = loss.item() / seen, meter.compute()  # waits for the device, so time it
        seconds = time.perf_counter() - started
        if not math.isfinite(mean_loss):
            raise StageError(f"the training loss became {mean_loss}: lower the learning rate or clip gradients")
        check_finite(self.model)  # the last step has moved them after the last loss
        return agreed(
            {
                "train/loss": mean_loss,
                **{f"train/{name}": value for name, value in measured.items()},
                "lr": self.optimizer.param_groups[0]["lr"],
                "images_per_second": seen / seconds,
            }
        )

    def state_dict(self) -> dict[str, Any]:
        """Return what training goes on from besides the network: optimizer state, steps made, scale and average."""
        average = {} if self._average is None else {"average": self._average.state_dict()}
        scaler = self._scaler.state_dict()
        return {"optimizer": self.optimizer.state_dict(), "steps": self.steps, "scaler": scaler, **average}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.optimizer.load_state_dict(dict(state["optimizer"]))
        self.steps = state["steps"]
        if self._scaler.is_enabled():
            self._scaler.load_state_dict(dict(state["scaler"]))
        if self._average is not None:
            self._average.load_state_dict(state["average"])

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Let the network be the running average of itself in the context; it stays as it is where none is kept."""
        self.use_average()
        try:
            yield
        finally:
            if self._average is not None:
                self._average.exchange()

    def use_average(self) -> None:
        """Make the network the running average of itself; it stays as it is where none is kept."""
        if self._average is not None:
            self._average.exchange()
            self._constraints.restore(stepped=False)  # masks may have closed since

    def set_masks(self, masks: Masks) -> None:
        """Replace all masks by these: the only way to change masks while an optimizer lives.

        Where a mask closes or opens, the weight becomes 0, and so does every slot of the optimizer's state; where it
        opens, a slot becomes what a fresh optimizer would have there, which is the learning rate for Rprop's step sizes
        and ``initial_accumulator_value`` for Adagrad's sums. A slot with one number for a whole row or column
        (Adafactor) begins anew where no weight of it has stayed. Counters of steps go on.

        Args:
            masks: by parameter name, True = the weight may be non-zero; a weight without one is not masked.

        Raises:
            StageError: they do not fit the network, or one changes where its weight is frozen.
        """
        self._constraints.set_masks(masks)

    def step(self, inputs: Any, targets: Any, before_step: Callable[[], bool] | None = None) -> tuple[Tensor, Tensor]:
        """Make one step on one batch.

        Args:
            inputs: what the network takes.
            targets: what the loss takes besides the outputs.
            before_step: called once, after the first backward pass: ``grad`` of each parameter is that of the loss,
                also where the parameter is masked. It may change masks, with `set_masks`. If it returns False, the
                optimizer leaves this step out.

        Returns:
            The loss (scalar) and the outputs of the first forward pass, detached.
        """
        first: list[Tensor] = []
        if self.schedule is not None:
            factor = self.schedule(self.steps)
            for group, base in zip(self.optimizer.param_groups, self._base_lrs, strict=True):
                group["lr"] = base * factor

        def closure() -> Tensor:
            loss, outputs = self._gradients(inputs, targets)
            if not first:
                first.extend((loss, outputs))
                if before_step is not None and not before_step():
                    raise _StepTaken
            self._constraints.mask_gradients()
            if self.clip_norm is not None:
                nn.utils.clip_grad_norm_(self._trained, self.clip_norm)
            return loss

        stepped = False
        with torch.enable_grad(), suppress(_StepTaken):
            self.optimizer.step(closure)  # type: ignore[arg-type]
            stepped = True
        if not first:
            name = type(self.optimizer).__name__
            raise StageError(f"{name}.step did not call its closure, which computes the loss and the gradients")
        self._constraints.restore(stepped)
        if self._parallel is not None:
            self._parallel.take_buffers()
        self.steps += 1
        if self._average is not None:
            self._average.update()
        return first[0], first[1]

    def _gradients(self, inputs: Any, targets: Any) -> tuple[Tensor, Tensor]:
        """Compute gradients; where they overflow in float16, once more with a smaller scale: no step is left out.

        Returns:
            The loss and the outputs, detached.
        """
        while True:
            self.optimizer.zero_grad(set_to_none=True)
            found = self._backward(inputs, targets)
            scale = self._scaler.get_scale()
            self._scaler.unscale_(self.optimizer)
            self._scaler.update()
            # Below 1 it is no matter of scale: training has diverged, which is told at the end of the pass.
            if self._scaler.get_scale() >= scale or scale < 1:
                return found

    def _backward(self, inputs: Any, targets: Any) -> tuple[Tensor, Tensor]:
        """Add up the gradients of a batch, part by part.

        Returns:
            The loss and the outputs, detached.
        """
        parts = [(inputs, targets)]
        if self.accumulate > 1:
            # No part of a single input, of which batch normalisation has no variance.
            count = max(1, min(self.accumulate, len(targets) // 2))
            parts = list(zip(inputs.tensor_split(count), targets.tensor_split(count), strict=True))
        losses, outputs = [], []
        for number, (part_inputs, part_targets) in enumerate(parts, 1):
            fraction, last = len(part_targets) / len(targets), number == len(parts)
            loss, output = self._backward_part(part_inputs, part_targets, fraction, last)
            losses.append(loss)
            outputs.append(output)
        return (losses[0], outputs[0]) if len(parts) == 1 else (torch.stack(losses).sum(), torch.cat(outputs))

    def _backward_part(self, inputs: Any, targets: Any, fraction: float, last: bool) -> tuple[Tensor, Tensor]:
        """Add the gradients of a part, which is this fraction of the batch, to those that there are."""
        if self._parallel is not None:
            return self._parallel.backward(
                *(inputs, targets, self._scaler.scale, self._autocast), fraction=fraction, last=last
            )
        with self._autocast:
            loss, output = self._objective(self.forward, inputs, targets)
        check_scalar(loss)
        if fraction != 1:
            loss = loss * fraction
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        return loss.detach(), output.detach()
