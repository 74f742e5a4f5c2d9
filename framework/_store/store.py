"""The stage store.

A snapshot is a safetensors file and a small JSON file that points to it. The JSON file is written last: it is what
makes the snapshot exist. Every tensor file has a name of its own, which only one JSON file ever points to, so that
writers of one key never mix, and what one of them replaces no other still needs. What a dead writer leaves is an
orphan.
"""

import hashlib
import re
import secrets
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from framework._errors import DamagedError, StoreError, describe
from framework._store.backend import PART, Backend, open_backend
from framework._store.snapshot import Snapshot, dump, json_name, parse, split_name, stem
from framework._store.tensors import decode, encode

_DAMAGED = ".damaged"
_TENSORS = ".safetensors"
_NOTE = ".note"
_OURS = re.compile(rf"[0-9a-f]+(\.partial)?[-.].*({_TENSORS}|{PART})")
_SETTLED = 3600.0  # seconds after which no writer is about to write a tensor file's JSON any more
_READERS = 16  # an object store answers many at once


class Store:
    """Snapshots by stage key, whole ones and partial ones (checkpoints within a stage).

    It is cheap to make and to send to another process. All methods raise StoreError where the folder refuses or cannot
    be reached.

    Args:
        uri: a local folder, or any URI that fsspec knows, such as ``s3://bucket/prefix``.
    """

    def __init__(self, uri: str | Path) -> None:
        self.uri = str(uri) if "://" in str(uri) else str(Path(uri).absolute())

    def __reduce__(self) -> tuple[type["Store"], tuple[str]]:
        return Store, (self.uri,)

    @cached_property
    def _backend(self) -> Backend:
        return open_backend(self.uri)

    def save(
        self, key: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any], *, partial: bool = False
    ) -> Snapshot:
        """Store a snapshot whole or not at all; it replaces that of the same key, a whole one the partial one too.

        Args:
            key: hex.
            tensors: on any device.
            metadata: plain JSON; NaN and infinity may be in it.
            partial: whether this is a checkpoint within the stage.

        Raises:
            StoreError: the disk is full, or the folder cannot be written.
            TypeError: a tensor cannot be stored, or ``metadata`` is no JSON.
        """
        content = encode(tensors)
        digest = hashlib.sha256(content).hexdigest()
        file = f"{stem(key, partial)}-{digest[:12]}-{secrets.token_hex(4)}{_TENSORS}"
        snapshot = Snapshot(key, partial, file, digest, len(content), time.time(), metadata)
        text = dump(snapshot)
        former = self._find_intact(key, partial)
        self._backend.write(file, content)
        self._backend.write(snapshot.name, text)
        if former:
            self._backend.remove(former.file)
        if not partial:
            self._discard(key, partial=True)
        return snapshot

    def stored(self, *, partial: bool = False) -> set[str]:
        """List the keys of all whole snapshots, or of all partial ones, in one request."""
        found = filter(None, map(split_name, self._backend.sizes()))
        return {key for key, is_partial in found if is_partial == partial}

    def __contains__(self, key: str) -> bool:
        return self._backend.read(json_name(key, partial=False)) is not None

    def find(self, key: str, *, partial: bool = False) -> Snapshot | None:
        """Read a snapshot's JSON file; None if there is no such snapshot.

        Raises:
            DamagedError: the JSON file is damaged; it has been set aside.
        """
        name = json_name(key, partial)
        content = self._backend.read(name)
        if content is None:
            return None
        try:
            return parse(content, key, partial)
        except ValueError as error:
            raise self._rename_damaged(name, str(error), name) from None

    def load(self, key: str, *, partial: bool = False) -> tuple[dict[str, Tensor], Snapshot]:
        """Read a snapshot, and check its size and digest.

        Raises:
            StoreError: there is no such snapshot.
            DamagedError: it is damaged; it has been set aside.
        """
        snapshot = self.find(key, partial=partial)
        while snapshot:
            content = self._backend.read(snapshot.file)
            wrong = _wrong(content, snapshot)
            if content is not None and not wrong:
                try:
                    return decode(content), snapshot
                except Exception as error:  # its digest is right, but it was never a file of ours
                    wrong = f"it does not hold tensors: {describe(error)}"
            now = self.find(key, partial=partial)
            if now and now.file == snapshot.file:
                culprit = snapshot.name if content is None else snapshot.file
                raise self._rename_damaged(culprit, wrong, snapshot.name, snapshot.file)
            snapshot = now  # another process has replaced or removed it meanwhile
        raise StoreError(f"there is no stored state {self._backend.where(json_name(key, partial))}")

    def set_aside(self, snapshot: Snapshot, wrong: str) -> DamagedError:
        """Set aside a snapshot that could be read but not used, unless another process has replaced it meanwhile.

        Args:
            snapshot: the one that was read.
            wrong: what is wrong with it, a clause.

        Returns:
            An error that says so, to be raised or shown.
        """
        now = self._find_intact(snapshot.key, snapshot.partial)
        mine = now is not None and now.file == snapshot.file
        return self._rename_damaged(snapshot.name, wrong, *((snapshot.name,) if mine else ()), snapshot.file)

    def lock(self, key: str, waiting: Callable[[], None]) -> AbstractContextManager[None]:
        """Hold a stage's lock while computing it, so that nobody else does; an object store has none, and lets all in.

        A process that hangs loses it after a while: see `framework._store.lease`.

        Args:
            key: hex.
            waiting: is called if another process is computing the stage; it may have stored it afterwards.
        """
        return self._backend.lock(key, waiting)

    def read_note(self, name: str) -> bytes | None:
        """Read what `write_note` has kept by this name; None if there is nothing."""
        return self._backend.read(name + _NOTE)

    def write_note(self, name: str, content: bytes) -> None:
        """Keep something beside the snapshots that is no trial's state, in the place of what has that name."""
        self._backend.write(name + _NOTE, content)

    def discard(self, key: str) -> None:
        """Remove the whole and the partial snapshot of a key, if they are there."""
        self._discard(key, partial=False)
        self._discard(key, partial=True)

    def remove(self, snapshot: Snapshot) -> None:
        """Remove this snapshot, if it is there."""
        self._backend.remove(snapshot.name)
        self._backend.remove(snapshot.file)

    def snapshots(self) -> list[Snapshot]:
        """List all snapshots, whole and partial, the oldest first; damaged JSON files are set aside and left out."""
        names = [found for found in map(split_name, self._backend.sizes()) if found]
        with ThreadPoolExecutor(_READERS) as pool:
            found = list(pool.map(lambda name: self._find_intact(*name), names))
        return sorted(filter(None, found), key=lambda snapshot: snapshot.created)

    def orphans(self) -> dict[str, int]:
        """List files of no snapshot, with their bytes: what dead writers have left, and what was set aside."""
        sizes = self._backend.sizes()
        used = {snapshot.file for snapshot in self.snapshots()}
        return {name: size for name, size in sizes.items() if name not in used and self._is_orphan(name)}

    def remove_orphan(self, name: str) -> None:
        """Remove one of :meth:`orphans`."""
        self._backend.remove(name)

    def _is_orphan(self, name: str) -> bool:
        if name.endswith(_DAMAGED):
            return True
        return _OURS.fullmatch(name) is not None and self._backend.age(name) > _SETTLED

    def _find_intact(self, key: str, partial: bool) -> Snapshot | None:
        try:
            return self.find(key, partial=partial)
        except DamagedError:  # it has been set aside, which is all that there is to do
            return None

    def _discard(self, key: str, partial: bool) -> None:
        snapshot = self._find_intact(key, partial)
        if snapshot:
            self.remove(snapshot)

    def _rename_damaged(self, culprit: str, wrong: str, *names: str) -> DamagedError:
        """Rename these files, the JSON file first, so that they count as not stored; return the error that says so."""
        for name in names:
            self._backend.move(name, name + _DAMAGED)
        where = self._backend.where(culprit)
        return DamagedError(
            f"{where} is damaged: {wrong}; it was set aside as {where}{_DAMAGED} and counts as not stored"
        )


def _wrong(content: bytes | None, snapshot: Snapshot) -> str:
    """Say what is wrong with the content of a tensor file; empty if nothing is."""
    if content is None:
        return f"its tensor file {snapshot.file} is missing"
    if len(content) != snapshot.size:
        return f"it has {len(content)} bytes instead of {snapshot.size}"
    return "" if hashlib.sha256(content).hexdigest() == snapshot.digest else "its content does not match its digest"
