"""Digests of files: the same content under another name has the same digest."""

import hashlib
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from framework._errors import DataError

if TYPE_CHECKING:
    _Path: TypeAlias = Path
else:
    _Path = type(Path())  # Path itself cannot be inherited from before Python 3.12


class Folder(_Path):
    """A folder that must exist, as pydantic's ``DirectoryPath`` says: what is in it counts, not what it is called."""


def digest(path: Path) -> str:
    """The representation of a path in a key: a file's content, the listing of a `Folder`, else the path itself.

    A folder that need not exist is where something is yet to be put: what is there does not matter.

    Raises:
        DataError: it cannot be read.
    """
    try:
        if isinstance(path, Folder):
            return f"listing:{_listing(path)}"
        if not os.path.isfile(path):
            return str(path)
        stat = path.stat()
        return f"sha256:{_content(path.absolute(), stat.st_size, stat.st_mtime_ns)}"
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


@cache
def _content(path: Path, size: int, mtime_ns: int) -> str:
    """The digest of a file's content; its size and time are arguments so that the cache notices a changed file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _listing(folder: Path) -> str:
    """A digest of names, sizes and times, because reading all of a large dataset would take long."""
    lines = sorted(
        f"{entry.path[len(str(folder)) :]}\0{stat.st_size}\0{stat.st_mtime_ns}"
        for entry in _entries(str(folder), frozenset())
        # A link that leads nowhere counts as itself.
        for stat in [entry.stat(follow_symlinks=os.path.exists(entry.path))]
    )
    return hashlib.sha256(os.fsencode("\0".join(lines))).hexdigest()


def _entries(folder: str, above: frozenset[tuple[int, int]]) -> Iterator[os.DirEntry[str]]:
    """All files in a folder and in those inside, through links too, unless they lead back up."""
    stat = os.stat(folder)
    above |= {(stat.st_dev, stat.st_ino)}
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.is_dir():
                yield entry
            elif (entry.stat().st_dev, entry.stat().st_ino) not in above:
                yield from _entries(entry.path, above)
