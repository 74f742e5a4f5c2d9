"""The results of a trial's stages in the store, where several processes run the trial."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import Tensor

from framework._ranks import alone, decided, rank
from framework._stage import Trial
from framework._store import Snapshot
from framework._trial.snapshot import History
from framework._trial.stored import StoredStages


class SharedStages(StoredStages):
    """Lets rank 0 alone load and save, and gives the other processes what it has loaded or saved.

    All of them go on from that, so that none drifts away from the others. A process that runs a trial by itself loads
    and saves as `StoredStages` does.
    """

    def lock(self, key: str, waiting: Callable[[], None]) -> AbstractContextManager[None]:
        """Hold a stage's lock, on rank 0; the others wait for what it does next."""
        return nullcontext() if rank() else self.store.lock(key, waiting)

    def load(self, trial: Trial, count: int, *, partial: bool = False) -> tuple[dict[str, Tensor], Snapshot] | None:
        return decided(lambda: super(SharedStages, self).load(trial, count, partial=partial))

    def save(
        self, trial: Trial, index: int, history: History, progress: Callable[[], Any] | None = None
    ) -> tuple[Snapshot, dict[str, Tensor]]:
        return decided(lambda: super(SharedStages, self).save(trial, index, history, progress))

    def checkpoints(self, trial: Trial, index: int, history: History) -> Callable[[Callable[[], Any]], None]:
        keep = super().checkpoints(trial, index, history)

        def keep_alone(progress: Callable[[], Any]) -> None:
            with alone():
                keep(progress)

        return (lambda progress: None) if rank() else keep_alone
