"""Keep what a trial is within a stage: checkpoints from time to time, and the state at each split."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from framework._plan import Split
from framework._stage import Trial
from framework._trial.reports import StageEnd
from framework._trial.snapshot import History
from framework._trial.stored import StoredStages

# Checkpoints may take this part of the time.
_SHARE = 0.02


class WithinStage:
    """Keeps what a trial is within one of its stages.

    Args:
        stored: takes it.
        trial: the trial, at the beginning of the stage, or where it goes on.
        index: of the stage.
        history: the trial's.
        checkpoint_seconds: the longest time between two checkpoints.
        kept: told of every split that the trial has come to.
    """

    def __init__(
        self,
        stored: StoredStages,
        trial: Trial,
        index: int,
        history: History,
        checkpoint_seconds: float,
        kept: Callable[[StageEnd], None],
    ) -> None:
        self._stored, self._trial, self._index, self._history = stored, trial, index, history
        self._checkpoint_seconds, self._kept = checkpoint_seconds, kept
        self._ahead = {split.length: split for split in stored.plan.splits_of(index) if split.length in trial.lengths}
        self._last = time.monotonic()

    def checkpoint(self, progress: Callable[[], Any]) -> None:
        """Save a checkpoint if the last state that was kept is old enough."""
        if time.monotonic() - self._last >= min(self._stored.save_seconds / _SHARE, self._checkpoint_seconds):
            self._save(progress, next(iter(self._ahead.values()), None), partial=True)

    def keep_length(self, length: int, progress: Callable[[], Any]) -> None:
        """Save the state at a split, unless it is that in which the stage has begun."""
        split, epochs, size = self._ahead.pop(length), self._trial.epoch - self._history.end, 0
        if epochs:
            size = self._save(progress, split, partial=False)
        self._kept(StageEnd(self._index, split.key, epochs, executed=True, size=size, whole=False))

    def _save(self, progress: Callable[[], Any], split: Split | None, *, partial: bool) -> int:
        at = self._trial, self._index, self._history
        size = self._stored.save_within(*at, progress, split, partial=partial)
        self._last = time.monotonic()
        return size


class Locks:
    """The locks of the states that a trial is about to compute; each is released as soon as its state is stored."""

    def __init__(self) -> None:
        self._held: dict[str, ExitStack] = {}

    @contextmanager
    def hold(self, stored: StoredStages, index: int, waiting: Callable[[], None]) -> Iterator[None]:
        """Hold those of a stage and of its splits, as far as these are not stored, within the context.

        Everybody takes the locks of a course in the order of its lengths, so that no two wait for each other.
        """
        splits = [split.key for split in stored.plan.splits_of(index) if split.key not in stored.store]
        try:
            for key in (*splits, stored.plan.keys[index + 1]):
                self._held[key] = ExitStack()
                self._held[key].enter_context(stored.lock(key, waiting))
            yield
        finally:
            for key in [*self._held]:
                self.release(key)

    def release(self, key: str) -> None:
        """Let others go on who wait for this state."""
        if key in self._held:
            self._held.pop(key).close()
