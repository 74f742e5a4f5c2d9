"""Keeps how a trial's weights are spread, for the figure of its weights."""

import json
from collections.abc import Iterable
from math import isfinite

import torch
from torch import Tensor

from framework import Trial, hookimpl

FILE = "weights.json"
BINS = 100
REACH = 4  # the bins go so many times the root mean square of the weights that are not 0 to either side
_MOST = 2**24  # up to here a float32 counts by ones


@hookimpl
def stage_started(trial: Trial) -> None:
    if FILE not in trial.artifacts:  # nothing has run yet
        _keep(trial, -1, "the start")


@hookimpl
def stage_ended(trial: Trial, name: str) -> None:
    _keep(trial, trial.records[-1].stage, name)


def _keep(trial: Trial, stage: int, name: str) -> None:
    states = json.loads(trial.artifacts.get(FILE, b"[]"))
    states.append({"stage": stage, "name": name, **spread(trial.weights().values())})
    trial.log_artifact(FILE, json.dumps(states, separators=(",", ":")).encode())


def spread(weights: Iterable[Tensor]) -> dict[str, int | float | list[int]]:
    """A histogram of weights.

    Args:
        weights: of all layers, float of any shapes; of complex ones, real and imaginary parts are counted apart.

    Returns:
        ``limit``: the bins go from ``-limit`` to ``limit``; ``counts``: of the weights in them, but for the ``zeros``,
        that are counted apart, and those ``beyond``. Where the weights are not finite, or all are 0, there are no bins.
    """
    flat = (weight.detach().resolve_conj().flatten() for weight in weights)
    real = (torch.view_as_real(weight).flatten() if weight.is_complex() else weight for weight in flat)
    parts = [part for weight in real for part in weight.split(_MOST)]
    if not parts:
        return {"limit": 0.0, "zeros": 0, "beyond": 0, "counts": []}
    total = sum(len(part) for part in parts)
    others = int(sum(torch.count_nonzero(part) for part in parts))
    # In double precision, and rounded: the same wherever and in whatever order it is summed up.
    squares = torch.stack([torch.linalg.vector_norm(part, dtype=torch.float64).square() for part in parts]).sum()
    limit = float(f"{REACH * (squares.item() / max(others, 1)) ** 0.5:.3g}")
    if not limit or not isfinite(limit):
        return {"limit": 0.0, "zeros": total - others, "beyond": others, "counts": []}
    counts = sum(_count(part, limit) for part in parts) - (total - others) * _count(parts[0].new_zeros(1), limit)
    return {
        "limit": limit,
        "zeros": total - others,
        "beyond": others - int(counts.sum()),
        "counts": counts.tolist(),
    }


def _count(part: Tensor, limit: float) -> Tensor:
    return torch.histc(part.float(), BINS, -limit, limit).long()
