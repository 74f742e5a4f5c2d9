"""A lock that its owner keeps for as long as it shows signs of life.

A lease is a file. Its owner holds the operating system's lock on it, which ends with the process. The owner also writes
to the file now and then, since a process that has been stopped, or whose machine was lost, keeps its lock without doing
anything. A process that waits watches the file: once nothing has been written for too long, it removes the file and
makes a new one. Each process measures that time by its own clock, so the clocks of several machines need not agree.
"""

import errno
import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

SECONDS = 30.0  # without a sign of life; a busy machine may be silent for some
SIGNS = 6  # in that time
_PAUSE = 0.1  # seconds between two looks
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextmanager
def lease(path: Path, waiting: Callable[[], None], seconds: float | None = None) -> Iterator[None]:
    """Hold the lease of this file within the context, against threads of this process too.

    An owner that comes back to life late does not know that another has taken over: then both are in the context.
    Where the file system has no locks, everybody gets in.

    Args:
        path: of the file; its folder is there. The file goes with the owner.
        waiting: is called once if another one is in the context.
        seconds: after so many without a sign of life another takes over; None: `SECONDS`.

    Raises:
        OSError: the file cannot be made or written.
    """
    seconds = SECONDS if seconds is None else seconds
    file = _acquire(path, waiting, seconds)
    try:
        with alive(partial(_show_life, file), seconds):
            yield
    finally:
        if _is_at(path, file):
            path.unlink(missing_ok=True)
        os.close(file)


@contextmanager
def alive(show: Callable[[float, threading.Event], None], seconds: float) -> Iterator[None]:
    """Show signs of life on a thread of its own within the context.

    Args:
        show: does so, with so many seconds between two signs, until the event is set.
        seconds: after so many without a sign another process takes over.
    """
    done = threading.Event()
    thread = threading.Thread(target=show, args=(seconds / SIGNS, done), name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _acquire(path: Path, waiting: Callable[[], None], seconds: float) -> int:
    seen, since, waited = None, time.monotonic(), False
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        mine = False
        try:
            locked = _lock(file)
            mine = locked and _is_at(path, file)
            if mine:
                return file
            if locked:  # its owner has removed it, or another has taken over
                continue
            sign = os.fstat(file).st_ino, os.pread(file, 64, 0)
            if sign != seen:
                seen, since = sign, time.monotonic()
            elif time.monotonic() - since > seconds and _is_at(path, file):
                path.unlink(missing_ok=True)
                continue
        finally:
            if not mine:
                os.close(file)
        if not waited:
            waited = True
            waiting()
        time.sleep(min(_PAUSE, seconds / SIGNS))


def _lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True


def _is_at(path: Path, file: int) -> bool:
    """Tell whether the path still leads to this open file."""
    with suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(file))
    return False


def _show_life(file: int, pause: float, done: threading.Event) -> None:
    count = 0
    while True:
        with suppress(OSError):  # a full disk: others may come in, which does no harm
            os.pwrite(file, f"{os.getpid()} {count:020}".encode(), 0)
        count += 1
        if done.wait(pause):
            return
