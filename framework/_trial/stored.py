"""The results of a trial's stages in the store, and the states within them: checkpoints and splits."""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import Tensor

from framework._errors import DamagedError
from framework._plan import Split, TrialPlan
from framework._ranks import alone, decided, rank
from framework._registry import Registry
from framework._stage import Trial
from framework._store import Snapshot, Store
from framework._trial.check import check
from framework._trial.snapshot import History, capture, capture_progress

Loaded: TypeAlias = tuple[dict[str, Tensor], Snapshot]


@dataclass
class StoredStages:
    """Loads and saves what a trial is after its stages, and within them.

    Where several processes run the trial, rank 0 alone loads and saves, and gives the others what it has: all of them
    go on from that, so that none drifts away from the others.

    Attributes:
        plan: the trial.
        registry: where its components are looked up.
        store: has the results of stages, and takes them.
        note: takes what the user should know.
        save_seconds: that the last snapshot took, such as the next one will.
    """

    plan: TrialPlan
    registry: Registry
    store: Store
    note: Callable[[str], None]
    save_seconds: float = 0.0

    def load(self, trial: Trial, count: int) -> Loaded | None:
        """What is stored after so many stages; what is damaged is set aside."""
        return decided(lambda: self._load(trial, self.plan.keys[count], count))

    def load_within(self, trial: Trial, index: int) -> tuple[Loaded, Split | None] | None:
        """The furthest of what is stored within the stage of this index, and the split that it is; None: a checkpoint.

        Checkpoints on the way to a split are kept under its key, and others under that of the stage.
        """
        return decided(lambda: self._load_within(trial, index))

    def _load_within(self, trial: Trial, index: int) -> tuple[Loaded, Split | None] | None:
        splits = self.plan.splits_of(index)
        places: list[tuple[str, Split | None, bool]] = [(self.plan.keys[index + 1], None, True)]
        places += [(split.key, split, partial) for split in reversed(splits) for partial in (False, True)]
        found = [(self._find(key, partial), split) for key, split, partial in places]
        there = [(snapshot, split) for snapshot, split in found if snapshot]
        for snapshot, split in sorted(there, key=lambda one: -_epoch(one[0])):
            if loaded := self._load(trial, snapshot.key, index, partial=snapshot.partial, within=True):
                return loaded, None if snapshot.partial else split
        return None

    def _find(self, key: str, partial: bool) -> Snapshot | None:
        try:
            return self.store.find(key, partial=partial)
        except DamagedError as error:
            self.note(f"{error}; it is computed again")
            return None

    def _load(
        self, trial: Trial, key: str, ended: int, *, partial: bool = False, within: bool = False
    ) -> Loaded | None:
        try:
            if not self.store.find(key, partial=partial):
                return None
            tensors, snapshot = self.store.load(key, partial=partial)
            try:
                check(trial, tensors, snapshot.metadata, self.registry, ended=ended, partial=within)
            except ValueError as error:
                raise self.store.set_aside(snapshot, str(error)) from error
            return tensors, snapshot
        except DamagedError as error:
            self.note(f"{error}; it is computed again")
            return None

    def lock(self, key: str, waiting: Callable[[], None]) -> AbstractContextManager[None]:
        """Hold the lock of a state while computing it, on rank 0; see `Store.lock`."""
        return nullcontext() if rank() else self.store.lock(key, waiting)

    def save(self, trial: Trial, index: int, history: History) -> Loaded:
        """Store a trial after the stage of this index."""
        return decided(lambda: self._save(self.plan.keys[index + 1], trial, index, history, {}))

    def save_within(
        self,
        trial: Trial,
        index: int,
        history: History,
        progress: Callable[[], Any],
        split: Split | None,
        *,
        partial: bool,
    ) -> int:
        """Store a trial within the stage of this index.

        Args:
            trial: the trial.
            index: of the stage.
            history: the trial's.
            progress: gives what the stage goes on from.
            split: where it is; of a checkpoint, where it is going to; None: to the stage's end.
            partial: whether it is a checkpoint.

        Returns:
            The bytes by which the store has grown; 0 on other ranks than the first.
        """
        if rank():
            return 0
        end = self.plan.keys[index + 1]
        key, metadata = (end, {}) if split is None else (split.key, {"end": end})
        with alone():
            return self._save(key, trial, index, history, metadata, progress, partial=partial)[1].size

    def _save(
        self,
        key: str,
        trial: Trial,
        index: int,
        history: History,
        more: Mapping[str, Any],
        progress: Callable[[], Any] | None = None,
        *,
        partial: bool = False,
    ) -> Loaded:
        began = time.monotonic()
        tensors, metadata = capture(trial)
        metadata |= {
            "experiment": self.plan.experiment,
            "parent": self.plan.keys[index],
            "stages": [stage["name"] for stage in self.plan.stages[: index + 1]],
            **more,
            **history.plain(),
        }
        if progress is not None:
            packed, metadata["progress"] = capture_progress(trial, progress())
            tensors |= packed
        snapshot = self.store.save(key, tensors, metadata, partial=partial)
        self.save_seconds = time.monotonic() - began
        return tensors, snapshot


def _epoch(snapshot: Snapshot) -> int:
    """Where on the epoch axis it says that it is; what it says is checked when it is loaded."""
    epoch = snapshot.metadata.get("epoch")
    return epoch if isinstance(epoch, int) else -1
