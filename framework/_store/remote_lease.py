"""A lease, as `framework._store.lease` has it, where there are no locks: an object that only one can create.

Its owner writes to the object now and then. One that waits looks at it: once nothing has been written for too long, it
takes the object over. S3 does so in one step, on the condition that the object is still the one that was looked at
(``If-Match``); elsewhere the object is looked at once more before it is replaced. Each process measures time by its own
clock.
"""

import inspect
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from framework._store import lease as local

_PAUSE = 0.5  # seconds between two looks: each is a request
_NOT_SO = ("PreconditionFailed", "ConditionalRequestConflict", "409", "412")  # a condition does not hold


def can_lease(fs: Any) -> bool:
    """Tell whether a file system of fsspec can create a file on the condition that there is none."""
    return "mode" in inspect.signature(getattr(fs, "_pipe_file", fs.pipe_file)).parameters


@contextmanager
def remote_lease(fs: Any, path: str, waiting: Callable[[], None], seconds: float | None = None) -> Iterator[None]:
    """Hold the lease of this object within the context; see `framework._store.lease.lease`.

    Args:
        fs: a file system of fsspec that `can_lease`. A server that does not know conditions lets everybody in.
        path: of the object, which goes with the owner.
        waiting: is called once if another one is in the context.
        seconds: after so many without a sign of life another takes over; None: as in a folder.

    Raises:
        Exception: whatever the file system raises if the object cannot be made.
    """
    seconds = local.SECONDS if seconds is None else seconds
    mine = _Object(fs, path)
    mine.acquire(waiting, seconds)
    try:
        with local.alive(mine.show_life, seconds):
            yield
    finally:
        with suppress(Exception):  # one that stays is taken over after a while
            mine.release()


class _Object:
    """The object of a lease, as one of those sees it that want to have it."""

    def __init__(self, fs: Any, path: str) -> None:
        self.fs, self.path, self.token, self.count = fs, path, secrets.token_hex(8), 0
        self.conditions = "s3" in fs.protocol
        self.sign: Any = None  # of what was written last

    def acquire(self, waiting: Callable[[], None], seconds: float) -> None:
        seen, since, waited = None, time.monotonic(), False
        while not self._write(mode="create"):
            sign = self._look()
            if sign != seen:
                seen, since = sign, time.monotonic()
            elif sign is not None and time.monotonic() - since > seconds and self._replace(sign):
                return
            if not waited:
                waited = True
                waiting()
            time.sleep(min(_PAUSE, seconds / local.SIGNS))

    def show_life(self, pause: float, done: threading.Event) -> None:
        while not done.wait(pause):
            with suppress(Exception):  # the server may be away: others may come in, which does no harm
                if not self._replace(self.sign):
                    return  # another has taken over

    def release(self) -> None:
        if self._look() == self.sign:
            self.fs.rm_file(self.path)

    def _look(self) -> Any:
        """Something that changes with the object's content; None if the object is not there."""
        with suppress(FileNotFoundError):
            if not self.conditions:
                return self.fs.cat_file(self.path)
            self.fs.invalidate_cache(self.path)
            return self.fs.info(self.path)["ETag"]
        return None

    def _replace(self, sign: Any) -> bool:
        """Write to the object if it is still the one with this sign."""
        if self.conditions:
            return self._write(IfMatch=sign)
        return self._look() == sign and self._write()

    def _write(self, **condition: Any) -> bool:
        """Write to the object; False if the condition does not hold."""
        content = f"{self.token} {self.count:020}".encode()
        self.count += 1
        try:
            answer = self.fs.pipe_file(self.path, content, **condition)
        except FileExistsError:
            return False
        except OSError as error:
            code = server_code(error)
            if code in _NOT_SO or (code == "NoSuchKey" and "IfMatch" in condition):
                return False
            if code != "NotImplemented":
                raise
            answer = None
        self.sign = answer["ETag"] if self.conditions and answer else content
        return True


def server_code(error: BaseException) -> str:
    """What an S3 server calls the error; empty for others."""
    response = getattr(error.__cause__, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))
