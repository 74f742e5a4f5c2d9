"""Tasks: what the outputs of a network mean, and how they are measured."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

from framework._errors import DataError

if TYPE_CHECKING:  # who only reads results asks for names, and need not wait for torch
    import torch
    from numpy.typing import NDArray
    from torch import Tensor, nn

_MOST_CLASSES = 100  # whose confusion is worth keeping: it grows with their square


class Metric(Protocol):
    """Measures all batches of a pass together; every ``torchmetrics.Metric`` is one."""

    @property
    def higher_is_better(self) -> bool | None:
        """Whether more of it is better."""

    def update(self, outputs: "Tensor", targets: "Tensor", /) -> None:
        """Take what `Task.read` made of one batch; best without waiting for the device."""

    def compute(self) -> Any:
        """The value of all batches so far: a number, or a tensor of one."""


class Task(ABC):
    """What the outputs of a network mean. A dataset says which task it is for.

    Attributes:
        outputs: the names of what the network's outputs stand for: classes, labels or quantities; one for each.
    """

    outputs: Sequence[str]

    @abstractmethod
    def metrics(self, count: int) -> Mapping[str, Metric]:
        """Make what is measured unless a spec names other metrics, by name, the primary one first.

        Args:
            count: of the network's outputs, of which there may be more than names.
        """

    @abstractmethod
    def loss(self) -> "nn.Module":
        """Make the loss that is trained with unless a stage names another one; it has no state."""

    def options(self, count: int) -> Mapping[str, Any]:
        """With what to make metrics that a spec names, in torchmetrics' words, such as ``task`` and ``num_classes``."""
        return {}

    def targets(self, targets: "NDArray[Any]") -> "NDArray[Any]":
        """Bring the targets of a dataset, of any number type, into the form that the loss takes.

        Raises:
            DataError: they are none for this task.
        """
        return targets

    def read(self, outputs: Any, targets: Any) -> "tuple[Tensor, Tensor]":
        """Turn the outputs for a batch, detached, and its targets into what metrics take."""
        return outputs.float(), targets

    def files(self) -> Mapping[str, Metric]:
        """Make what gathers further results of a pass over the test set, by the file that they go to, as JSON."""
        return {}


@dataclass(frozen=True)
class Classification(Task):
    """One class for each input, or for each place in it; the largest output is the prediction.

    Outputs are (N, classes), and targets int64 (N,). Where each place of a sequence or an image has a class of its own,
    outputs are (N, classes, length) or (N, classes, height, width), and targets (N, length) or (N, height, width).

    Where training mixes inputs, targets are probabilities (N, classes), of which the largest one counts.

    Attributes:
        outputs: the names of the classes.
    """

    outputs: Sequence[str] = ()

    def metrics(self, count: int) -> Mapping[str, Metric]:
        """The accuracy, a fraction in [0, 1]."""
        return {"accuracy": Accuracy()}

    def loss(self) -> "nn.Module":
        """Cross entropy."""
        from torch import nn

        return nn.CrossEntropyLoss()

    def options(self, count: int) -> Mapping[str, Any]:
        """Those of ``multiclass`` metrics."""
        return {"task": "multiclass", "num_classes": count}

    def targets(self, targets: "NDArray[Any]") -> "NDArray[Any]":
        """Check that they are numbers of classes, from 0 on, and make them int64."""
        low, high = targets.min(), targets.max()
        if targets.dtype.kind not in "iub" or low < 0 or high >= len(self.outputs):
            raise DataError(
                f"targets must be integers below the number of classes, {len(self.outputs)}, "
                f"not {targets.dtype} from {low} to {high}"
            )
        return targets.astype("int64")

    def read(self, outputs: "Tensor", targets: "Tensor") -> "tuple[Tensor, Tensor]":
        """Take the most probable class where training mixes inputs, and so targets: these are float32 then."""
        return outputs.float(), targets.argmax(1) if targets.is_floating_point() else targets

    def files(self) -> Mapping[str, Metric]:
        """The confusion matrix, ``confusion.json``, of up to 100 classes."""
        return {"confusion.json": _Confusion(self.outputs)} if 0 < len(self.outputs) <= _MOST_CLASSES else {}


@dataclass(frozen=True)
class Multilabel(Task):
    """Any number of labels for each input: outputs (N, labels) are logits, targets float32 (N, labels) are 0 or 1.

    Attributes:
        outputs: the names of the labels.
    """

    outputs: Sequence[str]

    def metrics(self, count: int) -> Mapping[str, Metric]:
        """F1 averaged over the labels, and the accuracy of all answers; in [0, 1], at a probability of 0.5."""
        from torchmetrics.classification import MultilabelAccuracy, MultilabelF1Score

        return {
            "f1": MultilabelF1Score(count, validate_args=False),
            "accuracy": MultilabelAccuracy(count, average="micro", validate_args=False),
        }

    def loss(self) -> "nn.Module":
        """Binary cross entropy, averaged over the labels."""
        from torch import nn

        return nn.BCEWithLogitsLoss()

    def options(self, count: int) -> Mapping[str, Any]:
        """Those of ``multilabel`` metrics."""
        return {"task": "multilabel", "num_labels": count}

    def targets(self, targets: "NDArray[Any]") -> "NDArray[Any]":
        """Check that there is a 0 or a 1 for each label, and make them float32."""
        if targets.shape[1:] != (len(self.outputs),) or not ((targets == 0) | (targets == 1)).all():
            raise DataError(
                f"targets must be 0 or 1, of shape (N, {len(self.outputs)}), one for each label, "
                f"not {targets.dtype} of shape {targets.shape}"
            )
        return targets.astype("float32")

    def read(self, outputs: "Tensor", targets: "Tensor") -> "tuple[Tensor, Tensor]":
        """Turn logits into probabilities, and targets into integers."""
        return outputs.float().sigmoid(), targets.long()


@dataclass(frozen=True)
class Regression(Task):
    """Quantities to predict: outputs (N, quantities), targets float32 (N, quantities).

    Networks learn best what has mean 0 and standard deviation 1. Where a dataset brings its targets there, the task
    says how, and metrics are of the quantities as they were.

    Attributes:
        outputs: the names of the quantities.
        mean: of each of them, what has been subtracted; nothing by default.
        std: of each of them, what has been divided by; nothing by default.
    """

    outputs: Sequence[str]
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None

    def metrics(self, count: int) -> Mapping[str, Metric]:
        """The root of the mean squared error, the mean absolute error, both over all quantities, and their mean R²."""
        from torchmetrics.regression import MeanAbsoluteError, MeanSquaredError, R2Score

        return {"rmse": MeanSquaredError(squared=False), "mae": MeanAbsoluteError(), "r2": R2Score()}

    def loss(self) -> "nn.Module":
        """The mean squared error."""
        from torch import nn

        return nn.MSELoss()

    def options(self, count: int) -> Mapping[str, Any]:
        """What tells that the task is none of classes."""
        return {"task": "regression"}

    def targets(self, targets: "NDArray[Any]") -> "NDArray[Any]":
        """Make them float32 (N, quantities); of a single quantity they may be (N,)."""
        found = targets.reshape(len(targets), -1).astype("float32")
        if found.shape[1] != len(self.outputs):
            raise DataError(
                f"targets must have the shape (N, {len(self.outputs)}), a number for each quantity, not {targets.shape}"
            )
        return found

    def read(self, outputs: "Tensor", targets: "Tensor") -> "tuple[Tensor, Tensor]":
        """Give both in the quantities' own units, in float64: sums of squares lose too much otherwise."""
        outputs, targets = outputs.double(), targets.double()
        if self.std is not None:
            std = _on_device((*self.std,), outputs.device)
            outputs, targets = outputs * std, targets * std
        if self.mean is not None:
            mean = _on_device((*self.mean,), outputs.device)
            outputs, targets = outputs + mean, targets + mean
        return outputs, targets


@lru_cache(maxsize=8)
def _on_device(numbers: tuple[float, ...], device: "torch.device") -> "Tensor":
    """The numbers as float64; kept there, as each copy to a GPU would have every step wait for it."""
    import torch

    return torch.tensor(numbers, dtype=torch.float64, device=device)


class Accuracy:
    """The fraction of right predictions, in [0, 1], exactly: of all inputs, and of all places in them."""

    higher_is_better = True

    def __init__(self) -> None:
        self._right: Tensor | int = 0
        self._seen = 0

    def update(self, outputs: "Tensor", targets: "Tensor", /) -> None:
        """Take outputs (N, classes, …) and the true classes (N, …)."""
        self._right = self._right + (outputs.argmax(1) == targets).sum()
        self._seen += targets.numel()

    def compute(self) -> float:
        """Right ones ÷ all."""
        return int(self._right) / self._seen


class _Confusion:
    """The confusion matrix: how many inputs of each row's class were predicted as each column's class."""

    higher_is_better = None

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = classes
        self._counts: Tensor | None = None

    def update(self, outputs: "Tensor", targets: "Tensor", /) -> None:
        """Count a batch; a network may have more outputs than there are classes."""
        import torch

        size = outputs.shape[1]
        pairs = (targets * size + outputs.argmax(1)).flatten()
        if self._counts is None:
            self._counts = torch.zeros(size * size, dtype=torch.int64, device=outputs.device)
        self._counts.index_add_(0, pairs, torch.ones_like(pairs))

    def compute(self) -> dict[str, Any]:
        """``classes``, their names, and ``counts``, as many lists of as many numbers."""
        if self._counts is None:
            return {"classes": [*self.classes], "counts": []}
        size = round(len(self._counts) ** 0.5)
        square = self._counts.view(size, size)
        predicted = square.sum(0).nonzero()
        shown = max(len(self.classes), int(predicted.max()) + 1)
        names = [*self.classes, *map(str, range(len(self.classes), shown))]
        return {"classes": names, "counts": square[:shown, :shown].tolist()}
