"""Evaluate a network on a validation or test set."""

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn

from framework._engine.speed import gpu_flags
from framework._masks import eval_mode
from framework._measures import Meter
from framework._ranks import agreed, share, size
from framework._stage import Trial
from framework._task import Classification, Task

_PREFIX = {"validation": "val", "test": "test"}


class Tester:
    """Measures a network, in eval mode, in float32 and without gradients.

    Whatever precision it was trained in, it is tested in float32, on GPUs too, where torch by itself would round what
    convolutions multiply to TF32: what a stage such as pruning costs is then not mixed
    with what rounding costs.

    Args:
        model: the network; the mode of each of its modules is restored afterwards.
        loss: maps outputs and targets of a batch to a scalar that is a mean over the batch; a module is in eval mode
            meanwhile, as the network is.
        task: says how outputs are measured.
        files: gather what the task has to say in files besides.
        forward: computes the outputs: the network compiled; None: the network itself.

    Attributes:
        meter: has measured the last pass.
    """

    __test__ = False  # pytest takes every class called Test… for tests

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[Any, Any], Tensor],
        *,
        task: Task | None = None,
        files: bool = False,
        forward: Callable[[Any], Any] | None = None,
    ) -> None:
        self.model, self.loss, self._task, self._files = model, loss, task or Classification(), files
        self._forward = model if forward is None else forward  # a compiled one has no truth
        self._device = next(model.parameters()).device
        self.meter = Meter(self._task, files=files)

    def evaluate(self, batches: Iterable[tuple[Any, Any]]) -> dict[str, float]:
        """Make one pass over batches of (inputs, targets).

        Returns:
            ``loss`` over all inputs, and the task's metrics, such as ``accuracy``, a fraction.
        """
        loss, seen = torch.zeros((), device=self._device), 0
        self.meter = Meter(self._task, files=self._files)
        # A loss may learn from what it is trained with; it must not from what it is tested with.
        loss_mode = eval_mode(self.loss) if isinstance(self.loss, nn.Module) else nullcontext()
        with eval_mode(self.model), loss_mode, gpu_flags(), torch.inference_mode():
            for inputs, targets in batches:
                outputs = _outputs(self._forward, inputs, len(targets))
                loss += self.loss(outputs, targets) * len(targets)
                self.meter.update(outputs, targets)
                seen += len(targets)
        return agreed({"loss": loss.item() / seen, **self.meter.compute()})


def _outputs(forward: Callable[[Any], Any], inputs: Any, rows: int) -> Any:
    """The outputs for a batch; of several processes each computes those for its rows, if inputs and outputs have rows.

    A network in eval mode treats each row by itself.
    """
    if size() == 1 or not isinstance(inputs, Tensor):
        return forward(inputs)
    own = share(rows)
    outputs = forward(own.of(inputs))
    return own.gathered(outputs) if isinstance(outputs, Tensor) else forward(inputs)


def evaluate(
    trial: Trial,
    split: Literal["validation", "test"],
    *,
    batch_size: int = 256,
    forward: Callable[[Any], Any] | None = None,
) -> dict[str, float]:
    """Measure a trial's network on its validation or its test set.

    What the task has to say of the test set besides is logged, such as ``confusion.json`` of a classification.

    Args:
        trial: has the network and the data.
        split: what to measure on.
        batch_size: inputs per forward pass.
        forward: see `Tester`.

    Returns:
        ``val/loss`` and ``val/accuracy``, or ``test/loss`` and ``test/accuracy`` (what the task calls its metrics);
        nothing without a validation set.
    """
    if split not in trial.data.splits:
        return {}
    tester = Tester(trial.model, trial.loss, task=trial.task, files=split == "test", forward=forward)
    measured = tester.evaluate(trial.batches(split, batch_size).epoch(0))
    for name, content in tester.meter.files().items():
        trial.log_artifact(name, content)
    return {f"{_PREFIX[split]}/{name}": value for name, value in measured.items()}
