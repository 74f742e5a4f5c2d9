"""What a pass over some batches comes to, by the metrics of a task or by those that a spec names."""

import json
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any

from framework._errors import PluginError, StageError, located, shown
from framework._task import Metric, Task

LOSS = "loss"  # which is measured with every task


@dataclass(frozen=True)
class Measures:
    """The metrics of a trial, for those who show and compare them; plain data.

    Attributes:
        higher_is_better: by name without a split, such as ``accuracy``; the primary metric comes first.
    """

    higher_is_better: Mapping[str, bool]

    @property
    def primary(self) -> str:
        """The metric that counts most, without a split."""
        return next(iter(self.higher_is_better))

    def maximize(self, metric: str) -> bool:
        """Whether more of a metric, such as ``val/rmse``, is better; of an unknown one, unless it is a loss."""
        name = metric.rpartition("/")[2]
        return self.higher_is_better.get(name, not name.endswith(LOSS))

    def aim(self, metric: str | None = None, mode: str | None = None) -> tuple[str, bool]:
        """By which metric trials are told apart, and whether more of it is better.

        Args:
            metric: that a user has asked for; None: the primary one on the validation set.
            mode: ``max`` or ``min``; None: what the metric says of itself.
        """
        name = metric or f"val/{self.primary}"
        return name, self.maximize(name) if mode is None else mode == "max"

    def text(self, longest: int) -> str:
        """Itself as JSON of at most so many characters; metrics that do not fit are left out, the last ones first."""
        kept = dict(self.higher_is_better)
        while len(text := json.dumps(kept)) > longest:
            kept.popitem()
        return text

    @classmethod
    def of(cls, text: str) -> "Measures":
        """Read what `text` gave; of anything else, as anybody may write it into a run, what counts by default."""
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            return CLASSIFIED
        valid = isinstance(found, dict) and found and all(isinstance(higher, bool) for higher in found.values())
        return cls(found) if valid else CLASSIFIED


CLASSIFIED = Measures({"accuracy": True})
"""Those of what is not said to be anything else."""


def measures(task: Task) -> Measures:
    """Find out about a task's metrics from themselves.

    Raises:
        PluginError: there is none, or one does not say whether more of it is better.
    """
    found = {name: metric.higher_is_better for name, metric in task.metrics(max(len(task.outputs), 2)).items()}
    if not found:
        raise PluginError(f"{type(task).__name__} has no metric: there must be a primary one")
    for name, higher in found.items():
        if higher is None:
            raise PluginError(f"metric {name!r} does not say whether more of it is better: set its higher_is_better")
    return Measures({name: bool(higher) for name, higher in found.items()})


def measured_by(task: Task, makers: Mapping[str, Callable[[Mapping[str, Any]], Metric]]) -> Task:
    """Return the same task, measured by other metrics than its own.

    Args:
        task: the task.
        makers: by name, what makes each metric out of `Task.options`; the primary one first.
    """
    found = copy(task)

    def metrics(count: int) -> Mapping[str, Metric]:
        options = task.options(count)
        return {name: make(options) for name, make in makers.items()}

    object.__setattr__(found, "metrics", metrics)  # a task may be a frozen dataclass
    return found


class Meter:
    """Measures one pass over some batches.

    Args:
        task: says by what.
        files: gather what becomes files besides.
    """

    def __init__(self, task: Task, *, files: bool = False) -> None:
        self._task, self._with_files = task, files
        self._metrics: dict[str, Metric] | None = None
        self._files: Mapping[str, Metric] = {}

    def update(self, outputs: Any, targets: Any) -> None:
        """Take the outputs for one batch, detached, and its targets; without waiting for the device."""
        count = outputs.shape[1] if getattr(outputs, "ndim", 0) > 1 else len(self._task.outputs)
        outputs, targets = self._task.read(outputs, targets)
        if self._metrics is None:
            # Only now it is known how many outputs there are, and on which device.
            self._metrics = dict(self._task.metrics(count))
            self._files = self._task.files() if self._with_files else {}
            for metric in self._metrics.values():
                _prepare(metric, outputs)
        for name, metric in (*self._metrics.items(), *self._files.items()):
            with located(f"in metric {name}"):
                metric.update(outputs, targets)

    def compute(self) -> dict[str, float]:
        """Return the metrics of all batches so far, by name without a split, such as ``accuracy``.

        Raises:
            StageError: one gives something else than a number.
        """
        found = {}
        for name, metric in (self._metrics or {}).items():
            with located(f"in metric {name}"):
                value = metric.compute()
            try:
                found[name] = float(value)
            except (TypeError, ValueError, RuntimeError):
                raise StageError(
                    f"metric {name!r} must give a number, not {shown(value)}: have it average over classes or outputs"
                ) from None
        return found

    def files(self) -> dict[str, bytes]:
        """Return the files, by name."""
        return {
            name: json.dumps(metric.compute(), separators=(",", ":")).encode() for name, metric in self._files.items()
        }


def _prepare(metric: Metric, outputs: Any) -> None:
    """Have a metric of torchmetrics compute where the outputs are, and as precisely."""
    import torch

    if isinstance(metric, torch.nn.Module):
        metric.to(outputs.device)
        for part in metric.modules():
            # Every process of a trial has the outputs for the whole batch, and torchmetrics would add them up.
            if hasattr(part, "distributed_available_fn"):
                part.distributed_available_fn = _never  # type: ignore[assignment]
        set_dtype = getattr(metric, "set_dtype", None)
        if outputs.dtype == torch.float64 and set_dtype is not None:
            set_dtype(outputs.dtype)


def _never() -> bool:
    return False
