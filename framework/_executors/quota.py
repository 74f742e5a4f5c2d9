"""Keeps the stage store below a size."""

from collections.abc import Collection

from framework._executors.scheduler import StageScheduler
from framework._store import Store, over_limit, total


class StoreQuota:
    """Drops the least valuable snapshots whenever the store has grown too large; what is still needed stays.

    Args:
        store: the store.
        scheduler: knows what is still needed, and learns what is lost.
        limit: bytes.
    """

    def __init__(self, store: Store, scheduler: StageScheduler, limit: int) -> None:
        self._store, self._scheduler, self._limit = store, scheduler, limit
        self._size = total(store.snapshots())

    def grown(self, size: int, unlogged: Collection[str]) -> None:
        """A snapshot of so many bytes has come; those of these keys are still to be read."""
        self._size += size
        if not size or self._size <= self._limit:
            return
        there = self._store.snapshots()
        dropped = over_limit(there, self._limit, {*self._scheduler.needed, *unlogged})
        self._store.remove(*dropped)
        for snapshot in dropped:
            self._scheduler.lost(snapshot.key)
        self._size = total(snapshot for snapshot in there if snapshot not in dropped)
