"""``framework store``."""

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from framework._cli.options import UNITS
from framework._store import Snapshot, Store, all_but_last, older_than, total, unreferenced
from framework._terminal.console import count, make_console, say
from framework._tracking import default_uri
from framework._tracking.references import referenced, unfinished

_RIGHT = ("epoch", "size", "age")


def list_snapshots(store: Store) -> None:
    """Print all snapshots, the newest last."""
    snapshots, console = store.snapshots(), make_console()
    if snapshots:
        console.print(_table(snapshots))
    else:
        say(console, f"no snapshots in {store.uri}")
    damaged = sum(name.endswith(".json.damaged") for name in store.orphans())
    if damaged:
        say(console, f"{damaged} damaged and set aside; framework store gc removes them")


def show_size(store: Store) -> None:
    """Print how much is stored."""
    snapshots, orphans, console = store.snapshots(), store.orphans(), make_console()
    whole = [snapshot for snapshot in snapshots if not snapshot.partial]
    for what, number, size in (
        ("whole", len(whole), total(whole)),
        ("partial", len(snapshots) - len(whole), total(snapshots) - total(whole)),
        ("orphans", len(orphans), sum(orphans.values())),
    ):
        say(console, f"{what + ':':9}{number:6}  {readable(size)}")


def collect(
    store: Store,
    root: Path,
    tracking_uri: str | None,
    *,
    keep_last: int | None,
    older: float | None,
    only_unreferenced: bool,
    dry_run: bool,
) -> None:
    """Remove the snapshots that every given criterion chooses, and all orphans; what unfinished runs need stays.

    Args:
        keep_last: choose all but so many.
        older: choose those of more seconds.
        only_unreferenced: choose those that no run refers to.
        dry_run: only say what would be removed.
    """
    chosen = snapshots = store.snapshots()
    if keep_last is not None:
        chosen = _both(chosen, all_but_last(snapshots, keep_last))
    if older is not None:
        chosen = _both(chosen, older_than(snapshots, older, time.time()))
    uri = tracking_uri or default_uri(root)
    if only_unreferenced:
        chosen = _both(chosen, unreferenced(snapshots, referenced(uri)))
    elif chosen:
        chosen = _both(chosen, unreferenced(snapshots, unfinished(uri)))
    orphans, console = store.orphans(), make_console()
    if chosen:
        console.print(_table(chosen))
    if not dry_run:
        _remove(store, chosen, orphans)
    gone = {snapshot.file for snapshot in chosen}
    left = total(snapshot for snapshot in snapshots if snapshot.file not in gone)
    freed = readable(total(snapshots) - left + sum(orphans.values()))
    verb = "would remove" if dry_run else "removed"
    say(console, f"{verb} {count(len(chosen), 'snapshot')} and {count(len(orphans), 'orphan')}: {freed}")


def readable(size: int) -> str:
    """A number of bytes as people read it: ``1.5 MB``."""
    if size < 1000:
        return f"{size} B"
    value = float(size)
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        if value < 999.95:
            return f"{value:.1f} {unit}"
    return f"{value / 1000:.1f} TB"


def _table(snapshots: Iterable[Snapshot]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("key", "experiment", "stages", "epoch", "size", "age", ""):
        table.add_column(column, no_wrap=column != "stages", justify="right" if column in _RIGHT else "left")
    now = time.time()
    for snapshot in snapshots:
        metadata = snapshot.metadata
        table.add_row(
            snapshot.key[:12],
            Text(str(metadata.get("experiment", ""))),
            Text(" ".join(map(str, metadata.get("stages", ())))),
            str(metadata.get("epoch", "")),
            readable(snapshot.size),
            _age(now - snapshot.created),
            "partial" if snapshot.partial else "split" if snapshot.end else "",
        )
    return table


def _age(passed: float) -> str:
    for unit, length in UNITS.items():
        if passed >= length:
            return f"{int(passed // length)}{unit}"
    return "0s"


def _both(one: Sequence[Snapshot], other: Iterable[Snapshot]) -> list[Snapshot]:
    files = {snapshot.file for snapshot in other}
    return [snapshot for snapshot in one if snapshot.file in files]


def _remove(store: Store, snapshots: Iterable[Snapshot], orphans: Iterable[str]) -> None:
    store.remove(*snapshots)
    for name in orphans:
        store.remove_orphan(name)
