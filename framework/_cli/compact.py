"""A trial's network without the filters that were pruned whole: built again from the spec, then made smaller."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework._cli.find_run import called
from framework._cli.kept import write_kept
from framework._errors import DataError, FrameworkError, first_line
from framework._registry import installed
from framework._report.compact import Compact, checked_difference, compacted
from framework._spec import names_files, read_model
from framework._task import Classification, Task
from framework._tracking import LoggedModel, Reader, TrialRun
from framework._trial import make_model

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class _Inputs:
    """What a model is made for; see `framework._data.Inputs`."""

    shape: tuple[int, ...]
    dtype: "torch.dtype"
    task: Task
    notes: Mapping[str, Any]


def compact_network(logged: LoggedModel, trial: TrialRun, reader: Reader, *, trusted: bool = False) -> Compact:
    """Build a trial's network again, give it the weights that the run has, and remove what is pruned whole.

    Args:
        logged: what the run has of the network, which it must be the same as.
        trial: its run.
        reader: of the tracking store.
        trusted: run the code that the run keeps, if the model is made by any.

    Raises:
        DataError: it cannot be built again, it is another one than the run's, or nothing can be removed; says why.
        FrameworkError: Torch-Pruning is missing.
    """
    with tempfile.TemporaryDirectory() as folder:
        spec, code = write_kept(reader, trial, Path(folder))
        if (code or names_files(spec)) and not trusted:
            raise DataError(
                f"{called(trial)} makes its network by code of its own, which is not run before you have looked at it "
                "(framework reproduce writes it to a folder): --trust-code runs it"
            )
        try:
            component = read_model(spec, installed())
            network = make_model(component, _inputs(logged, trial), seed=0).eval()
            network.load_state_dict(logged.state())
        except Exception as error:  # of a plugin's code, or weights that are not there any more
            raise DataError(f"{called(trial)}: its network cannot be built again: {first_line(error)}") from error
        try:
            compact = compacted(network, logged.shape, logged.dtype)
            checked_difference(logged.module(), compact.network, logged.shape, logged.dtype)
        except FrameworkError as error:
            raise DataError(f"{called(trial)} cannot be made compact: {error}") from error
    return compact


def _inputs(logged: LoggedModel, trial: TrialRun) -> _Inputs:
    import torch

    with torch.no_grad():
        outputs = logged.module()(torch.zeros(2, *logged.shape, dtype=logged.dtype))
    notes = {name: json.loads(trial.params[name]) for name in ("data.mean", "data.std") if name in trial.params}
    # Whatever the task was, a model is made for a number of outputs.
    task = Classification(tuple(map(str, range(outputs.shape[1]))))
    return _Inputs(tuple(logged.shape), logged.dtype, task, notes)
