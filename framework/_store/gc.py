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


def total(snapshots: Iterable[Snapshot]) -> int:
    """The bytes of all tensor files that they need; one that several share counts once."""
    files: dict[str, int] = {}
    for snapshot in snapshots:
        files |= snapshot.files
    return sum(files.values())


def over_limit(snapshots: Sequence[Snapshot], limit_bytes: int, needed: Collection[str]) -> list[Snapshot]:
    """Choose which to drop so that the rest fits, the least valuable first; none that is needed.

    States within stages go first; then the ends of the stage tree, from which no other snapshot goes on; then what has
    become an end; of several ends the oldest. Dropping one frees those of its tensor files that no other snapshot
    needs; where this is none, it is kept.

    Args:
        snapshots: all there are.
        limit_bytes: for the tensor files of the rest.
        needed: keys.
    """
    children = Counter(snapshot.parent for snapshot in snapshots)
    whole = {snapshot.key: i for i, snapshot in enumerate(snapshots) if not snapshot.partial}
    users = Counter(file for snapshot in snapshots for file in snapshot.files)

    def rank(i: int) -> tuple[bool, bool, float, int]:
        snapshot = snapshots[i]
        inner = not snapshot.partial and children[snapshot.key] > 0
        return snapshot.end is None, inner, snapshot.created, i

    queue = [rank(i) for i in range(len(snapshots)) if snapshots[i].key not in needed]
    heapq.heapify(queue)
    excess = total(snapshots) - limit_bytes
    dropped: dict[int, Snapshot] = {}
    while excess > 0 and queue:
        *_, i = heapq.heappop(queue)
        if i in dropped:
            continue
        dropped[i] = snapshot = snapshots[i]
        users.subtract(list(snapshot.files))
        excess -= sum(size for file, size in snapshot.files.items() if not users[file])
        children[snapshot.parent] -= 1
        parent = whole.get(snapshot.parent or "")
        if children[snapshot.parent] == 0 and parent is not None and snapshots[parent].key not in needed:
            heapq.heappush(queue, rank(parent))  # an end now: it goes earlier than it stood
    return [snapshot for snapshot in dropped.values() if not all(users[file] for file in snapshot.files)]
