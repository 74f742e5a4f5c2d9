"""Watches how the layers' weights grow, and how far they go. Every hook of a trial's life is used once."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from framework import Trial, hookimpl
from framework_norms.figures import distances_over_epochs, histogram, norms_over_epochs

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame


@dataclass
class _Watched:
    """What is known of a trial that runs.

    Attributes:
        initial: its weights as they were when it began.
        began: when its stage began, in seconds of a clock that only runs forward.
    """

    initial: dict[str, Tensor]
    began: float = field(default_factory=time.monotonic)


_watched: WeakKeyDictionary[Trial, _Watched] = WeakKeyDictionary()


@hookimpl
def trial_started(trial: Trial) -> None:
    _watched[trial] = _Watched({name: weight.detach().clone() for name, weight in trial.weights().items()})


@hookimpl
def stage_started(trial: Trial) -> None:
    _watched[trial].began = time.monotonic()


@hookimpl
def epoch_ended(trial: Trial) -> Mapping[str, float]:
    """``norm/<layer>``, ``distance/<layer>`` and ``stage_seconds``."""
    watched, weights = _watched[trial], trial.weights()
    norms = torch.stack([w.detach().norm() for w in weights.values()])
    distances = torch.stack([(w.detach() - watched.initial[name]).norm() for name, w in weights.items()])
    layers = [name.removesuffix(".weight") for name in weights]
    return {
        **dict(zip([f"norm/{layer}" for layer in layers], norms.tolist(), strict=True)),
        **dict(zip([f"distance/{layer}" for layer in layers], distances.tolist(), strict=True)),
        "stage_seconds": time.monotonic() - watched.began,
    }


@hookimpl
def stage_ended(trial: Trial, name: str) -> None:
    weights = torch.cat([weight.detach().flatten() for weight in trial.weights().values()])
    trial.log_artifact(f"norms/{trial.records[-1].stage}-{name}.png", histogram(weights.cpu(), name))


@hookimpl
def trial_ended(trial: Trial) -> None:
    trial.log_artifact("norms/norms.png", norms_over_epochs(trial.records))


@hookimpl
def sweep_figures(trials: "DataFrame", history: "Callable[[str], DataFrame]") -> "Mapping[str, Figure]":
    """``distances``: how far each layer has gone, variant by variant."""
    layers = [name for name in trials.columns if name.startswith("distance/")]
    return {"distances": distances_over_epochs({layer: history(layer) for layer in layers})} if layers else {}
