"""Choose which snapshots to remove. All functions are pure, and return snapshots out of those given."""

import heapq
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from framework._store.snapshot import Snapshot


def older_than(snapshots: Iterable[Snapshot], seconds: float, now: float) -> list[Snapshot]:
    """Choose those that were made more than so many seconds before ``now`` (seconds since 1970)."""
    return [snapshot for snapshot in snapshots if now - snapshot.created > seconds]


def all_but_last(snapshots: Sequence[Snapshot], n: int) -> list[Snapshot]:
    """Choose all but the ``n`` newest whole ones, and the partial ones since, which belong to what still runs."""
    kept = sorted((snapshot.created for snapshot in snapshots if not snapshot.partial), reverse=True)[:n]
    if len(kept) < n:
        return []
    return [snapshot for snapshot in snapshots if not kept or snapshot.created < kept[-1]]


def unreferenced(snapshots: Sequence[Snapshot], roots: Collection[str]) -> list[Snapshot]:
    """Choose those whose key is neither a root nor an ancestor of one, and that no such stage has gone through."""
    parents = {snapshot.key: snapshot.parent for snapshot in snapshots}
    kept: set[str] = set()
    for root in roots:
        key: str | None = root
        while key and key not in kept:
            kept.add(key)
            key = parents.get(key)
    return [snapshot for snapshot in snapshots if not {snapshot.key, snapshot.end} & kept]


def over_limit(snapshots: Sequence[Snapshot], limit_bytes: int, needed: Collection[str]) -> list[Snapshot]:
    """Choose which to drop so that the rest fits, the least valuable first.

    No needed one goes before one that is not needed. Apart from that, states within stages go first; then the ends of
    the stage tree, from which no other snapshot goes on; then what has become an end; of several ends the oldest.

    Args:
        snapshots: all there are.
        limit_bytes: for the tensor files of the rest.
        needed: keys.
    """
    children = Counter(snapshot.parent for snapshot in snapshots)
    whole = {snapshot.key: i for i, snapshot in enumerate(snapshots) if not snapshot.partial}

    def rank(i: int) -> tuple[bool, bool, bool, float, int]:
        snapshot = snapshots[i]
        inner = not snapshot.partial and children[snapshot.key] > 0
        return snapshot.key in needed, snapshot.end is None, inner, snapshot.created, i

    queue = [rank(i) for i in range(len(snapshots))]
    heapq.heapify(queue)
    excess = sum(snapshot.size for snapshot in snapshots) - limit_bytes
    dropped: dict[int, Snapshot] = {}
    while excess > 0 and queue:
        *_, i = heapq.heappop(queue)
        if i in dropped:
            continue
        dropped[i] = snapshot = snapshots[i]
        excess -= snapshot.size
        children[snapshot.parent] -= 1
        if children[snapshot.parent] == 0 and snapshot.parent in whole:
            heapq.heappush(queue, rank(whole[snapshot.parent]))  # an end now: it goes earlier than it stood
    return list(dropped.values())
