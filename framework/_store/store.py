"""The stage store.

A snapshot is a safetensors file and a small JSON file that points to it. The JSON file is written last: it is what
makes the snapshot exist. Every tensor file has a name of its own, which only one snapshot ever has written, so that
writers of one key never mix. What a dead writer leaves is an orphan.

The tensor file has what is new. What is in the file of an earlier whole snapshot already, such as the one of the stage
before, is referred to: the JSON file names all tensor files that the snapshot needs. So a tensor file is removed only
if no JSON file names it. Partial snapshots come and go: theirs are never referred to by others.
"""

import json
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from framework._errors import DamagedError, StoreError, describe
from framework._store.backend import PART, Backend, open_backend
from framework._store.contents import BadFileError, Contents, read, write
from framework._store.snapshot import Snapshot, dump, json_name, parse, split_name, stem

_DAMAGED = ".damaged"
_TENSORS = ".safetensors"
_NOTE = ".note"
_OURS = re.compile(rf"[0-9a-f]+(\.partial)?[-.].*({_TENSORS}|{PART})|removing\.json(\..*{PART})?")
_SETTLED = 3600.0  # seconds after which no writer is about to write a tensor file's JSON any more
_READERS = 16  # an object store answers many at once
_KNOWN = 4  # snapshots that the next one may share tensors with: that of the stage before, one that was gone back to, …
_REMOVING = "removing.json"  # names the tensor files that are just being removed, unless a snapshot needs them


class Store:
    """Snapshots by stage key, whole ones and partial ones (checkpoints within a stage).

    It is cheap to make and to send to another process. All methods raise StoreError where the folder refuses or cannot
    be reached.

    Args:
        uri: a local folder, or any URI that fsspec knows, such as ``s3://bucket/prefix``.
    """

    def __init__(self, uri: str | Path) -> None:
        self.uri = str(uri) if "://" in str(uri) else str(Path(uri).absolute())
        self._known: dict[str, Contents] = {}

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
        former = self._find_intact(key, partial)
        snapshot, contents = self._write(key, partial, tensors, metadata, self._known)
        if not self._all_there(snapshot.uses):  # another process has removed a snapshot meanwhile
            shared = snapshot
            snapshot, contents = self._write(key, partial, tensors, metadata, {})
            self._backend.remove(shared.file)
        if former:
            self._remove_files([former])
        self._remember(snapshot, contents)
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
            try:
                return self._read(snapshot), snapshot
            except BadFileError as error:
                now = self.find(key, partial=partial)
                if now and now.file == snapshot.file:
                    # Its own file stays if only another is bad: others may share tensors with it.
                    names = {error.file, *([snapshot.file] if partial else [])} - {snapshot.name}
                    raise self._rename_damaged(error.file, str(error), snapshot.name, *names) from None
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
        # What others share with it is what it was when they were saved, so the tensor file of a whole one stays.
        names = ((snapshot.name,) if mine else ()) + ((snapshot.file,) if snapshot.partial else ())
        return self._rename_damaged(snapshot.name, wrong, *names)

    def lock(self, key: str, waiting: Callable[[], None]) -> AbstractContextManager[None]:
        """Hold a stage's lock while computing it, so that nobody else does.

        A process that hangs loses it after a while: see `framework._store.lease`. Where neither a file system's locks
        nor a condition on creating a file are to be had, everybody gets in.

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

    def discard(self, *keys: str) -> None:
        """Remove the whole and the partial snapshots of these keys, if they are there."""
        found = (self._find_intact(key, partial) for key in keys for partial in (False, True))
        self.remove(*filter(None, found))

    def remove(self, *snapshots: Snapshot) -> None:
        """Remove these snapshots, if they are there, and their tensor files as far as no other snapshot needs them."""
        for snapshot in snapshots:
            if not snapshot.partial:
                self._known.pop(snapshot.key, None)
            self._backend.remove(snapshot.name)
        self._remove_files(snapshots)

    def snapshots(self) -> list[Snapshot]:
        """List all snapshots, whole and partial, the oldest first; damaged JSON files are set aside and left out."""
        names = [found for found in map(split_name, self._backend.sizes()) if found]
        with ThreadPoolExecutor(_READERS) as pool:
            found = list(pool.map(lambda name: self._find_intact(*name), names))
        return sorted(filter(None, found), key=lambda snapshot: snapshot.created)

    def orphans(self) -> dict[str, int]:
        """List files of no snapshot, with their bytes: what dead writers have left, and what was set aside."""
        sizes = self._backend.sizes()
        used = {file for snapshot in self.snapshots() for file in snapshot.files}
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

    def _write(
        self,
        key: str,
        partial: bool,
        tensors: Mapping[str, Tensor],
        metadata: Mapping[str, Any],
        known: Mapping[str, Contents],
    ) -> tuple[Snapshot, Contents]:
        file = f"{stem(key, partial)}-{secrets.token_hex(8)}{_TENSORS}"
        others = [contents for name, contents in known.items() if name != key]
        parent = known.get(str(metadata.get("parent")), Contents())
        content, digest, contents = write(file, tensors, parent, others)
        uses = contents.uses(file)
        snapshot = Snapshot(key, partial, file, digest, len(content), time.time(), metadata, uses)
        text = dump(snapshot)
        self._backend.write(file, content)
        self._backend.write(snapshot.name, text)
        return snapshot, contents

    def _read(self, snapshot: Snapshot) -> dict[str, Tensor]:
        """Read a snapshot's tensors; raises BadFileError with what is wrong."""
        content = self._backend.read(snapshot.file)
        if content is None:
            raise BadFileError(snapshot.name, f"its tensor file {snapshot.file} is missing")
        if len(content) != snapshot.size:
            raise BadFileError(snapshot.file, f"it has {len(content)} bytes instead of {snapshot.size}")
        try:
            tensors, contents = read(snapshot.file, content, snapshot.digest, snapshot.files, self._backend.read_part)
        except StoreError:
            raise
        except BadFileError as error:
            if error.file == snapshot.file:
                raise
            if not self._backend.exists(error.file):
                raise BadFileError(snapshot.name, f"{error.file}, where a part of its tensors is, is missing") from None
            raise BadFileError(error.file, f"{error}, and {snapshot.name} needs it") from None
        except Exception as error:  # its digest is right, but it was never a file of ours
            raise BadFileError(snapshot.file, f"it does not hold tensors: {describe(error)}") from None
        self._remember(snapshot, contents)
        return tensors

    def _remember(self, snapshot: Snapshot, contents: Contents) -> None:
        if snapshot.partial or snapshot.end:
            return  # states within stages are the first to go, and their files with them: nobody shares these
        self._known.pop(snapshot.key, None)
        self._known[snapshot.key] = contents
        while len(self._known) > _KNOWN:
            del self._known[next(iter(self._known))]

    def _all_there(self, files: Iterable[str]) -> bool:
        """Tell whether these tensor files are there, and stay there for a snapshot whose JSON file is written."""
        needed = set(files)
        if not needed:
            return True
        removing = self._backend.read(_REMOVING)
        return not needed & _names_in(removing) and all(map(self._backend.exists, needed))

    def _remove_files(self, snapshots: Iterable[Snapshot]) -> None:
        """Remove the tensor files of snapshots that are no longer there, as far as no other snapshot needs them."""
        files: set[str] = set()
        for snapshot in snapshots:
            if snapshot.partial:
                self._backend.remove(snapshot.file)
            else:
                files |= snapshot.files.keys()
        if not files:
            return
        with self._backend.lock("removing", lambda: None):
            # Who saves a snapshot reads this once its JSON file is there, and shares nothing with what is named: so
            # either that JSON file is found here, or its writer finds this.
            self._backend.write(_REMOVING, json.dumps(sorted(files)).encode())
            for file in files.difference(*(snapshot.files for snapshot in self.snapshots())):
                self._backend.remove(file)
            self._backend.remove(_REMOVING)

    def _rename_damaged(self, culprit: str, wrong: str, *names: str) -> DamagedError:
        """Rename these files, the JSON file first, so that they count as not stored; return the error that says so."""
        for name in names:
            self._backend.move(name, name + _DAMAGED)
        where = self._backend.where(culprit)
        return DamagedError(
            f"{where} is damaged: {wrong}; it was set aside as {where}{_DAMAGED} and counts as not stored"
        )


def _names_in(content: bytes | None) -> set[str]:
    """The names in a list of files that are being removed; whatever is damaged names none."""
    with suppress(ValueError, TypeError):
        return {str(name) for name in json.loads(content or b"[]")}
    return set()
