"""Where the store keeps its files: the operations that it needs, and a folder on this machine that has them."""

import errno
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit
from urllib.request import url2pathname

from framework._errors import StoreError
from framework._store.lease import lease

PART = ".part"
LOCKS = "locks"


class Backend(Protocol):
    """A folder of files. A file appears in it whole or not at all; what is missing is no error to read, move or remove.

    Every method raises StoreError where the folder refuses or cannot be reached.
    """

    def sizes(self) -> dict[str, int]:
        """List every file's bytes by name, in one request; empty if there is no folder yet."""

    def age(self, name: str) -> float:
        """Tell the seconds since the file was written; 0 if it is missing."""

    def read(self, name: str) -> bytes | None:
        """Return the file's content; None if it is missing."""

    def read_part(self, name: str, start: int, size: int) -> bytes | None:
        """Return so many bytes of the file from there on, fewer at its end; None if it is missing."""

    def exists(self, name: str) -> bool:
        """Tell whether the file is there."""

    def write(self, name: str, content: bytes) -> None:
        """Write a file, or replace it."""

    def move(self, name: str, new: str) -> None:
        """Rename a file; one that has the new name already is replaced."""

    def remove(self, name: str) -> None:
        """Remove a file."""

    def lock(self, name: str, waiting: Callable[[], None]) -> AbstractContextManager[None]:
        """Hold the lock of this name within the context; a backend that knows none lets everybody in.

        Args:
            name: of the lock. A process that dies gives it up, and so does, after a while, one that hangs: should it go
                on later, another process may hold the lock as well.
            waiting: is called if another process holds it.
        """

    def where(self, name: str) -> str:
        """Return the file's path, for messages."""


def open_backend(uri: str) -> Backend:
    """Open a local folder, or any fsspec URI.

    Raises:
        StoreError: nothing here can open such a URI.
    """
    parts = urlsplit(uri)
    if parts.scheme in ("file", "local"):
        return LocalBackend(Path(url2pathname(parts.path)))
    if "://" not in uri:
        return LocalBackend(Path(uri))
    from framework._store.remote import RemoteBackend

    return RemoteBackend(uri)


class LocalBackend:
    """A folder on this machine, which is made when something is written. What is written survives a power cut."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def sizes(self) -> dict[str, int]:
        found = {}
        with self._translate_errors("list", ""), suppress(FileNotFoundError), os.scandir(self.folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # it has gone since
                    if entry.is_file():
                        found[entry.name] = entry.stat().st_size
        return found

    def age(self, name: str) -> float:
        with self._translate_errors("read", name), suppress(FileNotFoundError):
            return time.time() - (self.folder / name).stat().st_mtime
        return 0.0

    def read(self, name: str) -> bytes | None:
        with self._translate_errors("read", name), suppress(FileNotFoundError):
            return (self.folder / name).read_bytes()
        return None

    def read_part(self, name: str, start: int, size: int) -> bytes | None:
        with (
            self._translate_errors("read", name),
            suppress(FileNotFoundError),
            (self.folder / name).open("rb") as file,
        ):
            file.seek(start)
            return file.read(size)
        return None

    def exists(self, name: str) -> bool:
        with self._translate_errors("read", name):
            return (self.folder / name).exists()

    def write(self, name: str, content: bytes) -> None:
        part = self.folder / f"{name}.{secrets.token_hex(4)}{PART}"
        with self._translate_errors("write", name):
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                with part.open("xb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(part, self.folder / name)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
            self._sync()

    def move(self, name: str, new: str) -> None:
        with self._translate_errors("rename", name), suppress(FileNotFoundError):
            os.replace(self.folder / name, self.folder / new)

    def remove(self, name: str) -> None:
        with self._translate_errors("remove", name):
            (self.folder / name).unlink(missing_ok=True)

    @contextmanager
    def lock(self, name: str, waiting: Callable[[], None]) -> Iterator[None]:
        with ExitStack() as stack:
            with self._translate_errors("lock", name):
                (self.folder / LOCKS).mkdir(parents=True, exist_ok=True)
                stack.enter_context(lease(self.folder / LOCKS / name, waiting))
            yield

    def where(self, name: str) -> str:
        return str(self.folder / name)

    def _sync(self) -> None:
        """Flush the folder itself, so that the names of new files survive a power cut."""
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @contextmanager
    def _translate_errors(self, what: str, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                reason += f" ({shutil.disk_usage(self.folder).free / 2**20:.0f} MiB are free there)"
            raise StoreError(f"cannot {what} {self.where(name)}: {reason}") from error
