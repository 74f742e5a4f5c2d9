"""Tasks define the meaning of a network's outputs: how they are measured, and which metric is the primary one."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:  # who only reads results asks for names, and need not wait for torch
    from torch import Tensor

_MOST_CLASSES = 100  # whose confusion is worth keeping: it grows with their square


class Meter(Protocol):
    """Gathers what a pass over some batches comes to."""

    def update(self, outputs: "Tensor", targets: Any) -> None:
        """Take the outputs of one batch, detached, and its targets; without waiting for the device."""

    def compute(self) -> dict[str, float]:
        """The metrics of all batches so far, by name without a split, such as ``accuracy``."""

    def files(self) -> Mapping[str, bytes]:
        """Further results of a pass over the test set that are worth keeping, by file name."""


class Task(Protocol):
    """The meaning of a network's outputs.

    Attributes:
        primary: the metric that counts most, without a split, such as ``accuracy``.
        maximize: whether more of it is better.
        fractions: those of its metrics that are fractions in [0, 1], which people read as percentages.
    """

    primary: ClassVar[str]
    maximize: ClassVar[bool]
    fractions: ClassVar[tuple[str, ...]]

    def meter(self) -> Meter:
        """A fresh meter."""


@dataclass(frozen=True)
class Classification:
    """One class for each input: outputs (N, classes), targets int64 (N,); the largest output is the prediction.

    Where training mixes inputs, targets are probabilities (N, classes), of which the largest one counts.

    Attributes:
        classes: their names.
    """

    classes: Sequence[str] = ()
    primary: ClassVar[str] = "accuracy"
    maximize: ClassVar[bool] = True
    fractions: ClassVar[tuple[str, ...]] = ("accuracy",)

    def meter(self) -> "_Accuracy":
        """Measures the accuracy, a fraction in [0, 1]; its file is ``confusion.json``, for up to 100 classes."""
        return _Accuracy(self.classes)


class _Accuracy:
    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = classes
        self.predicted: list[Tensor] = []
        self.targets: list[Tensor] = []

    def update(self, outputs: "Tensor", targets: "Tensor") -> None:
        self.predicted.append(outputs.argmax(1))
        self.targets.append(targets if targets.dim() == 1 else targets.argmax(1))

    def compute(self) -> dict[str, float]:
        import torch

        predicted, targets = torch.cat(self.predicted), torch.cat(self.targets)
        return {"accuracy": (predicted == targets).sum().item() / len(targets)}

    def files(self) -> Mapping[str, bytes]:
        """The confusion matrix: how many inputs of each row's class were predicted as each column's class."""
        import torch

        if not 0 < len(self.classes) <= _MOST_CLASSES:
            return {}
        predicted, targets = torch.cat(self.predicted), torch.cat(self.targets)
        # A network may have more outputs than there are classes.
        size = max(len(self.classes), int(predicted.max()) + 1)
        counts = torch.bincount(targets * size + predicted, minlength=size**2).view(size, size)
        names = [*self.classes, *map(str, range(len(self.classes), size))]
        content = json.dumps({"classes": names, "counts": counts.tolist()}, separators=(",", ":"))
        return {"confusion.json": content.encode()}
