"""The store's files in an object store, or wherever else fsspec reaches. A put is atomic there."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import fsspec

from framework._errors import StoreError, redact
from framework._store.backend import LOCKS
from framework._store.remote_lease import can_lease, remote_lease, server_code


class RemoteBackend:
    """A folder (a bucket and prefix, say) that fsspec reaches; credentials come from the environment.

    Raises:
        StoreError: the protocol is not known, or its package is not installed.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")
        with self._translate_errors("open", ""):
            self.fs, self.folder = fsspec.url_to_fs(self.uri)

    def sizes(self) -> dict[str, int]:
        found = {}
        with self._translate_errors("list", ""), _missing_is_fine():
            self.fs.invalidate_cache()  # others write there too
            for entry in self.fs.ls(self.folder, detail=True):
                if entry["type"] == "file":
                    found[entry["name"].rpartition("/")[2]] = int(entry["size"])
        return found

    def age(self, name: str) -> float:
        with self._translate_errors("read", name), _missing_is_fine():
            self.fs.invalidate_cache()
            return time.time() - float(self.fs.modified(self._path(name)).timestamp())
        return 0.0

    def read(self, name: str) -> bytes | None:
        with self._translate_errors("read", name), _missing_is_fine():
            content: bytes = self.fs.cat_file(self._path(name))
            return content
        return None

    def read_part(self, name: str, start: int, size: int) -> bytes | None:
        if not size:
            return b""
        with self._translate_errors("read", name), _missing_is_fine():
            try:
                content: bytes = self.fs.cat_file(self._path(name), start=start, end=start + size)
            except OSError as error:
                if server_code(error) != "InvalidRange":
                    raise
                return b""  # it ends before
            return content
        return None

    def exists(self, name: str) -> bool:
        with self._translate_errors("read", name), _missing_is_fine():
            self.fs.invalidate_cache()
            self.fs.info(self._path(name))
            return True
        return False

    def write(self, name: str, content: bytes) -> None:
        with self._translate_errors("write", name):
            self.fs.pipe_file(self._path(name), content)

    def move(self, name: str, new: str) -> None:
        content = self.read(name)
        if content is not None:
            self.write(new, content)
            self.remove(name)

    def remove(self, name: str) -> None:
        with self._translate_errors("remove", name), _missing_is_fine():
            self.fs.rm_file(self._path(name))

    @contextmanager
    def lock(self, name: str, waiting: Callable[[], None]) -> Iterator[None]:
        with ExitStack() as stack:
            if can_lease(self.fs):
                with self._translate_errors("lock", name):
                    stack.enter_context(remote_lease(self.fs, self._path(f"{LOCKS}/{name}"), waiting))
            yield

    def where(self, name: str) -> str:
        return f"{redact(self.uri)}/{name}".rstrip("/")

    def _path(self, name: str) -> str:
        return f"{self.folder}/{name}"

    @contextmanager
    def _translate_errors(self, what: str, name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # every kind of store raises errors of its own
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise StoreError(f"cannot {what} {self.where(name)}: {reason[0]}") from error


@contextmanager
def _missing_is_fine() -> Iterator[None]:
    """Ignore that a file is missing; a missing bucket is an error."""
    with suppress(FileNotFoundError):
        try:
            yield
        except FileNotFoundError as error:
            if "bucket does not exist" in str(error):
                raise OSError(str(error)) from error
            raise
