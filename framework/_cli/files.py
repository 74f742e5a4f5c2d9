"""Files that commands write."""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from framework._errors import FrameworkError

_LONGEST = 200  # bytes: file systems take 255, and an ending follows


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """Give a temporary path to write to, which replaces the file once it is complete.

    Raises:
        FrameworkError: it cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=".framework-") as folder:
            part = Path(folder, file.name)
            yield part
            os.replace(part, file)
    except OSError as error:
        raise FrameworkError(f"{file} cannot be written: {error.strerror or error}") from error


def file_name(text: str) -> str:
    """A text as the name of a file that needs no quotes in a shell; what is too long ends in a digest of the whole."""
    name = re.sub(r"[^\w.=+-]+", "_", text).strip("._-") or "_"
    if len(name.encode()) <= _LONGEST:
        return name
    digest = hashlib.sha256(text.encode(errors="replace")).hexdigest()[:8]
    return f"{name.encode()[: _LONGEST - len(digest) - 1].decode(errors='ignore')}-{digest}"
