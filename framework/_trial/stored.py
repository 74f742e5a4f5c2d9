"""The results of a trial's stages in the store, and the checkpoints within them."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from framework._errors import DamagedError
from framework._plan import TrialPlan
from framework._registry import Registry
from framework._stage import Trial
from framework._store import Snapshot, Store
from framework._trial.check import check
from framework._trial.snapshot import History, capture, capture_progress

# Checkpoints may take this part of the time.
_SHARE = 0.02


@dataclass
class StoredStages:
    """Loads and saves what a trial is after its stages.

    Attributes:
        plan: the trial.
        registry: where its components are looked up.
        store: has the results of stages, and takes them.
        note: takes what the user should know.
        checkpoint_seconds: the longest time between two checkpoints within a stage.
        save_seconds: that the last snapshot took, such as the next one will.
    """

    plan: TrialPlan
    registry: Registry
    store: Store
    note: Callable[[str], None]
    checkpoint_seconds: float
    save_seconds: float = 0.0

    def load(self, trial: Trial, count: int, *, partial: bool = False) -> tuple[dict[str, Tensor], Snapshot] | None:
        """What is stored after so many stages, or within the last of them; what is damaged is set aside."""
        key = self.plan.keys[count]
        try:
            if not self.store.find(key, partial=partial):
                return None
            tensors, snapshot = self.store.load(key, partial=partial)
            try:
                check(trial, tensors, snapshot.metadata, self.registry, ended=count - partial, partial=partial)
            except ValueError as error:
                raise self.store.set_aside(snapshot, str(error)) from error
            return tensors, snapshot
        except DamagedError as error:
            self.note(f"{error}; it is computed again")
            return None

    def save(
        self, trial: Trial, index: int, history: History, progress: Callable[[], Any] | None = None
    ) -> tuple[Snapshot, dict[str, Tensor]]:
        """Store a trial after the stage of this index; with progress, as a checkpoint within it."""
        began = time.monotonic()
        tensors, metadata = capture(trial)
        metadata |= {
            "experiment": self.plan.experiment,
            "parent": self.plan.keys[index],
            "stages": [stage["name"] for stage in self.plan.stages[: index + 1]],
            **history.plain(),
        }
        if progress is not None:
            more, metadata["progress"] = capture_progress(trial, progress())
            tensors |= more
        snapshot = self.store.save(self.plan.keys[index + 1], tensors, metadata, partial=progress is not None)
        self.save_seconds = time.monotonic() - began
        return snapshot, tensors

    def checkpoints(self, trial: Trial, index: int, history: History) -> Callable[[Callable[[], Any]], None]:
        """Return what takes a stage's progress: it saves a checkpoint if the last one is old enough."""
        last = time.monotonic()

        def keep(progress: Callable[[], Any]) -> None:
            nonlocal last
            if time.monotonic() - last >= min(self.save_seconds / _SHARE, self.checkpoint_seconds):
                self.save(trial, index, history, progress)
                last = time.monotonic()

        return keep
