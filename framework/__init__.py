"""Experiments on how networks learn under freezing and pruning.

All that is public is here and in `framework.testing`. It is loaded on first use, so that ``framework --help`` does not
wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from annotated_types import Interval

    from framework._api import results, run
    from framework._batches import Batches, ImageBatches, TensorBatches
    from framework._component import (
        Criterion,
        Distribution,
        Loss,
        Model,
        Optimizer,
        Schedule,
        StageLabel,
        Transform,
        Unkeyed,
    )
    from framework._data import Arrays, Data, ImageData, Source, Split
    from framework._dataset import Dataset
    from framework._engine import (
        EarlyStopping,
        Filters,
        Mode,
        Network,
        Objective,
        Precision,
        Tester,
        Trainer,
        Training,
        apportion,
        evaluate,
        fit,
        largest_remainder,
        remove_lowest,
        scores,
        spread,
        trainable,
    )
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
    from framework._loader import LoaderBatches
    from framework._masks import Masks, eval_mode, lowest, select
    from framework._report.results import Results
    from framework._sparsifier import Sparsifier, Step
    from framework._stage import Record, Stage, Trial
    from framework._task import Classification, Metric, Multilabel, Regression, Task
    from framework._tracking import load_model, load_model_state

_HOMES = {
    "annotated_types": ["Interval"],
    "framework._api": ["results", "run"],
    "framework._batches": ["Batches", "ImageBatches", "TensorBatches"],
    "framework._component": [
        "Criterion",
        "Distribution",
        "Loss",
        "Model",
        "Optimizer",
        "Schedule",
        "StageLabel",
        "Transform",
        "Unkeyed",
    ],
    "framework._data": ["Arrays", "Data", "ImageData", "Source", "Split"],
    "framework._dataset": ["Dataset"],
    "framework._engine": [
        "EarlyStopping",
        "Filters",
        "Mode",
        "Network",
        "Objective",
        "Precision",
        "Tester",
        "Trainer",
        "Training",
        "apportion",
        "evaluate",
        "fit",
        "largest_remainder",
        "remove_lowest",
        "scores",
        "spread",
        "trainable",
    ],
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
    "framework._loader": ["LoaderBatches"],
    "framework._masks": ["Masks", "eval_mode", "lowest", "select"],
    "framework._report.results": ["Results"],
    "framework._sparsifier": ["Sparsifier", "Step"],
    "framework._stage": ["Record", "Stage", "Trial"],
    "framework._task": ["Classification", "Metric", "Multilabel", "Regression", "Task"],
    "framework._tracking": ["load_model", "load_model_state"],
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Arrays",
    "Batches",
    "Classification",
    "Criterion",
    "Data",
    "DataError",
    "Dataset",
    "Distribution",
    "EarlyStopping",
    "Filters",
    "FrameworkError",
    "ImageBatches",
    "ImageData",
    "Interval",
    "LoaderBatches",
    "Loss",
    "Masks",
    "Metric",
    "Mode",
    "Model",
    "Multilabel",
    "Network",
    "Objective",
    "Optimizer",
    "PluginError",
    "Precision",
    "Record",
    "Regression",
    "Results",
    "Schedule",
    "Source",
    "Sparsifier",
    "SpecError",
    "Split",
    "Stage",
    "StageError",
    "StageLabel",
    "Step",
    "StoreError",
    "Task",
    "TensorBatches",
    "Tester",
    "TrackingError",
    "Trainer",
    "Training",
    "Transform",
    "Trial",
    "Unkeyed",
    "apportion",
    "eval_mode",
    "evaluate",
    "fit",
    "hookimpl",
    "largest_remainder",
    "load_model",
    "load_model_state",
    "lowest",
    "nearest",
    "remove_lowest",
    "results",
    "run",
    "scores",
    "select",
    "spread",
    "trainable",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'framework' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
