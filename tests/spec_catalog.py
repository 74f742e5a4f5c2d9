"""A small registry for the tests of specs."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch

from framework import Interval, Loss, Optimizer, Stage, Trial, hookimpl
from framework.registry import Registry


@dataclass(frozen=True)
class Stopping:
    metric: str = "val/loss"
    patience: Annotated[int, Interval(ge=1)] = 5


@dataclass(frozen=True)
class Train(Stage):
    """Train the network."""

    epochs: Annotated[int, Interval(ge=1)] | None = None
    steps: Annotated[int, Interval(ge=1)] | None = None
    optimizer: Optimizer = "sgd"
    loss: Loss = "cross_entropy"
    early_stopping: Stopping | None = None

    def __post_init__(self) -> None:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give either epochs or steps")

    def run(self, trial: Trial) -> None: ...


@dataclass(frozen=True)
class Prune(Stage):
    """Prune weights."""

    amount: Annotated[float, Interval(gt=0, lt=1)]
    scope: Literal["global", "layer"] = "global"
    layers: tuple[str, ...] | None = None

    def run(self, trial: Trial) -> None: ...


@dataclass(frozen=True)
class Unprune(Stage):
    """Drop the masks."""

    def run(self, trial: Trial) -> None: ...


def convnet(shape: Any, classes: int, width: Annotated[int, Interval(ge=1)] = 8) -> Any:
    """A small network."""


def mlp(shape: Any, classes: int, hidden: list[int] = [32]) -> Any:  # noqa: B006
    """A multi-layer perceptron."""


def digits() -> Any:
    """Scikit-learn's digits."""


def npz(path: str, mean: float | None = None) -> Any:
    """Arrays in a file."""


class Plugin:
    @hookimpl
    def register_stages(self) -> Any:
        return {"train": Train, "prune": Prune, "unprune": Unprune}

    @hookimpl
    def register_models(self) -> Any:
        return {"convnet": convnet, "mlp": mlp}

    @hookimpl
    def register_datasets(self) -> Any:
        return {"digits": digits, "npz": npz}

    @hookimpl
    def register_losses(self) -> Any:
        return {"cross_entropy": torch.nn.CrossEntropyLoss}

    @hookimpl
    def register_optimizers(self) -> Any:
        return {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}


CATALOG = Registry([(Plugin(), "test 1")])
