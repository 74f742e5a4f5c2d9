"""A small registry for the tests of specs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import torch

from framework import Interval, Loss, Optimizer, Stage, Trial, hookimpl
from framework._errors import SpecError
from framework._registry import Registry
from framework._spec import ExperimentSpec, load


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

START = "model: convnet\ndata: digits\n"
GOOD = START + "stages: [{train: {epochs: 1}}]\n"
DEFAULTS = START + "defaults: {train: {epochs: 4, optimizer: {name: sgd, lr: 0.1}}}\n"


def stages(*items: str) -> str:
    """A spec with these stages, the first of which is in line 4, column 5."""
    return START + "stages:\n" + "".join(f"  - {item}\n" for item in items)


def mistakes(text: str | bytes, *settings: str, **options: list[int]) -> list[str]:
    """The mistakes in a spec that is written to the current folder, line by line."""
    Path("s.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SpecError) as caught:
        load("s.yaml", CATALOG, settings, **options)
    return str(caught.value).split("\n")


def read(text: str, *overrides: str, **options: Any) -> ExperimentSpec:
    """The spec of this text, written to the current folder."""
    Path("study.yaml").write_text(text)
    return load("study.yaml", CATALOG, overrides, **options)


def resolved(text: str, *overrides: str) -> list[dict[str, Any]]:
    """The stages of a spec without search spaces, without parameters that have their default."""
    spec = read(text, *overrides)
    return [{"name": s.name, **_given(s.given)} for s in spec.resolve(spec.tree).stages]


def _given(params: Any) -> dict[str, Any]:
    return {k: {"name": v.name, **v.given} if hasattr(v, "given") else v for k, v in params.items()}
