"""Content-addressed snapshots of stages: state and JSON, by stage key, in a local folder or an object store."""

from framework._store.gc import all_but_last, older_than, over_limit, total, unreferenced
from framework._store.pack import pack, unpack
from framework._store.snapshot import Snapshot
from framework._store.store import Store

__all__ = ["Snapshot", "Store", "all_but_last", "older_than", "over_limit", "pack", "total", "unpack", "unreferenced"]
