"""What every download needs: one process at a time, and none that waits forever for a silent server."""

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError

from filelock import FileLock

_PATIENCE = 10.0  # seconds; urllib itself waits as long as the system does: minutes

# What the network and the disk raise. URLError and timeouts are OSErrors.
FAILURES = (OSError, HTTPException)


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Lock a folder, made if need be, against all other processes, and limit how long a connection may be silent."""
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".download.lock"):
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(_PATIENCE)
        try:
            yield
        finally:
            socket.setdefaulttimeout(before)


def reason(error: BaseException) -> str:
    """Why a download failed, in a few words, such as ``Temporary failure in name resolution``."""
    if isinstance(error, HTTPError):
        return f"the server answers {error.code} {error.reason}"
    cause = error.reason if isinstance(error, URLError) else error
    text = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
    if isinstance(cause, OSError) and cause.filename:
        text = f"{text}: {cause.filename}"
    # torchvision strings the errors of several mirrors together.
    last = text.strip().splitlines()[-1] if text.strip() else type(cause).__name__
    return re.sub(r"^(<urlopen error )?(\[Errno -?\d+\] )?|[.>]+$", "", last)
