"""The results of a trial's stages in the store, where several processes run the trial."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from framework._plan import Split
from framework._ranks import alone, decided, rank
from framework._stage import Trial
from framework._trial.snapshot import History
from framework._trial.stored import Loaded, StoredStages


class SharedStages(StoredStages):
    """Lets rank 0 alone load and save, and gives the other processes what it has loaded or saved.

    All of them go on from that, so that none drifts away from the others. A process that runs a trial by itself loads
    and saves as `StoredStages` does.
    """

    def lock(self, key: str, waiting: Callable[[], None]) -> AbstractContextManager[None]:
        """Hold a stage's lock, on rank 0; the others wait for what it does next."""
        return nullcontext() if rank() else self.store.lock(key, waiting)

    def load(self, trial: Trial, count: int) -> Loaded | None:
        return decided(lambda: super(SharedStages, self).load(trial, count))

    def load_within(self, trial: Trial, index: int) -> tuple[Loaded, Split | None] | None:
        return decided(lambda: super(SharedStages, self).load_within(trial, index))

    def save(self, trial: Trial, index: int, history: History) -> Loaded:
        return decided(lambda: super(SharedStages, self).save(trial, index, history))

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
        if rank():
            return 0
        with alone():
            return super().save_within(trial, index, history, progress, split, partial=partial)
