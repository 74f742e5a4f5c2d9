"""Evaluation."""

import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Literal

import torch
from torch import Tensor, nn

from framework._engine.batches import Batches
from framework._engine.precision import Precision, autocast
from framework._masks import eval_mode
from framework._stage import Trial

_MOST_CLASSES = 100  # whose confusion is worth keeping: it grows with their square


class Tester:
    """Measures loss and accuracy of a network, in eval mode and without gradients.

    Args:
        model: the network; the mode of each of its modules is restored afterwards.
        loss: maps outputs (batch, classes) and labels int64 (batch,) to a scalar that is a mean over the batch; a
            module is in eval mode meanwhile, as the network is.
        precision: see `framework._engine.precision.autocast`.

    Attributes:
        predictions: the classes that the images of the last pass were taken for, in the order of the batches: int64,
            (N,), on the network's device. Empty before the first pass.
    """

    __test__ = False  # pytest takes every class called Test… for tests

    def __init__(
        self, model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], *, precision: Precision = "auto"
    ) -> None:
        self.model, self.loss = model, loss
        self._device = next(model.parameters()).device
        self._autocast = autocast(precision, self._device)
        self.predictions = torch.empty(0, dtype=torch.int64, device=self._device)

    def evaluate(self, batches: Batches) -> dict[str, float]:
        """Make one pass over the batches.

        Returns:
            ``loss``, and ``accuracy`` as a fraction, over all images.
        """
        loss = torch.zeros((), device=self._device)
        correct = torch.zeros((), device=self._device, dtype=torch.int64)
        predicted: list[Tensor] = []
        # A loss may learn from what it is trained with; it must not from what it is tested with.
        loss_mode = eval_mode(self.loss) if isinstance(self.loss, nn.Module) else nullcontext()
        with eval_mode(self.model), loss_mode, torch.inference_mode(), self._autocast:
            for images, labels in batches:
                outputs = self.model(images)
                loss += self.loss(outputs, labels) * len(labels)
                predicted.append(outputs.argmax(1))
                correct += (predicted[-1] == labels).sum()
        self.predictions = torch.cat(predicted)
        seen = len(self.predictions)
        return {"loss": loss.item() / seen, "accuracy": correct.item() / seen}


def evaluate(
    trial: Trial,
    split: Literal["validation", "test"],
    *,
    batch_size: int = 256,
    precision: Precision = "float32",
) -> dict[str, float]:
    """Measure a trial's network on its validation or its test set.

    What of the test set was taken for what is logged as ``confusion.json``, for up to 100 classes: their names, and how
    many images of the class of each row were taken for the class of each column.

    Returns:
        ``val/loss`` and ``val/accuracy``, or ``test/loss`` and ``test/accuracy``; nothing without a validation set.
    """
    data = trial.data
    images_labels = data.validation if split == "validation" else data.test
    if images_labels is None:
        return {}
    batches = Batches(*images_labels, data.mean, data.std, batch_size=batch_size)
    tester = Tester(trial.model, trial.loss, precision=precision)
    measured = tester.evaluate(batches)
    if split == "test" and len(data.classes) <= _MOST_CLASSES:
        trial.log_artifact("confusion.json", _confusion(data.classes, images_labels.labels, tester.predictions))
    prefix = "val" if split == "validation" else "test"
    return {f"{prefix}/{name}": value for name, value in measured.items()}


def _confusion(classes: Sequence[str], labels: Tensor, predictions: Tensor) -> bytes:
    # A network may have more outputs than there are classes.
    size = max(len(classes), int(predictions.max()) + 1)
    counts = torch.bincount(labels * size + predictions, minlength=size**2).view(size, size)
    names = [*classes, *map(str, range(len(classes), size))]
    return json.dumps({"classes": names, "counts": counts.tolist()}, separators=(",", ":")).encode()
