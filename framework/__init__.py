"""Experiments on how networks learn under freezing and pruning.

What a plugin author imports is here; it is loaded on first use, so that ``framework --help`` does not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from annotated_types import Interval

    from framework.component import Criterion, Loss, Optimizer, Schedule
    from framework.dataset import Dataset
    from framework.errors import (
        DataError,
        FrameworkError,
        PluginError,
        SpecError,
        StageError,
        StoreError,
        TrackingError,
    )
    from framework.hookspecs import hookimpl
    from framework.masks import Masks
    from framework.stage import Data, Split, Stage, Trial

_HOMES = {
    "annotated_types": ["Interval"],
    "framework.component": ["Criterion", "Loss", "Optimizer", "Schedule"],
    "framework.dataset": ["Dataset"],
    "framework.errors": [
        "DataError",
        "FrameworkError",
        "PluginError",
        "SpecError",
        "StageError",
        "StoreError",
        "TrackingError",
    ],
    "framework.hookspecs": ["hookimpl"],
    "framework.masks": ["Masks"],
    "framework.stage": ["Data", "Split", "Stage", "Trial"],
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Criterion",
    "Data",
    "DataError",
    "Dataset",
    "FrameworkError",
    "Interval",
    "Loss",
    "Masks",
    "Optimizer",
    "PluginError",
    "Schedule",
    "SpecError",
    "Split",
    "Stage",
    "StageError",
    "StoreError",
    "TrackingError",
    "Trial",
    "hookimpl",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'framework' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
