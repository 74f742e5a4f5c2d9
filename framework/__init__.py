"""Experiments on how networks learn under freezing and pruning.

All that is public is here and in `framework.testing`. It is loaded on first use, so that ``framework --help`` does not
wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from annotated_types import Interval

    from framework._api import results, run
    from framework._component import Criterion, Loss, Optimizer, Schedule
    from framework._dataset import Dataset
    from framework._engine import Batches, Precision, Tester, Trainer, evaluate, trainable
    from framework._errors import (
        DataError,
        FrameworkError,
        PluginError,
        SpecError,
        StageError,
        StoreError,
        TrackingError,
        nearest,
    )
    from framework._hookspecs import hookimpl
    from framework._masks import Masks, eval_mode, select
    from framework._report.results import Results
    from framework._stage import Data, Record, Split, Stage, Trial
    from framework._tracking import load_model, load_model_state

_HOMES = {
    "annotated_types": ["Interval"],
    "framework._api": ["results", "run"],
    "framework._component": ["Criterion", "Loss", "Optimizer", "Schedule"],
    "framework._dataset": ["Dataset"],
    "framework._engine": ["Batches", "Precision", "Tester", "Trainer", "evaluate", "trainable"],
    "framework._errors": [
        "DataError",
        "FrameworkError",
        "PluginError",
        "SpecError",
        "StageError",
        "StoreError",
        "TrackingError",
        "nearest",
    ],
    "framework._hookspecs": ["hookimpl"],
    "framework._masks": ["Masks", "eval_mode", "select"],
    "framework._report.results": ["Results"],
    "framework._stage": ["Data", "Record", "Split", "Stage", "Trial"],
    "framework._tracking": ["load_model", "load_model_state"],
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Batches",
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
    "Precision",
    "Record",
    "Results",
    "Schedule",
    "SpecError",
    "Split",
    "Stage",
    "StageError",
    "StoreError",
    "Tester",
    "TrackingError",
    "Trainer",
    "Trial",
    "eval_mode",
    "evaluate",
    "hookimpl",
    "load_model",
    "load_model_state",
    "nearest",
    "results",
    "run",
    "select",
    "trainable",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'framework' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
