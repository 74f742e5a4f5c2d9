"""What specs call components that nobody has registered: ``./mine.py:Net`` in a file, ``package:Net`` in a module."""

import os
import re
from pathlib import Path

from framework._paths import expand_home

_ATTRIBUTE = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*"
_FILE = re.compile(rf"([^\n:]+\.py):({_ATTRIBUTE})")
_MODULE = re.compile(rf"({_ATTRIBUTE}):({_ATTRIBUTE})", re.ASCII)
PATTERN = rf"^[^\n:]+:{_ATTRIBUTE}$"
"""Matches both, for JSON schemas."""


def file_in(name: str) -> tuple[str, str] | None:
    """Split ``./mine.py:Net`` into the file and what is meant in it; None if the name is of another form."""
    found = _FILE.fullmatch(name)
    return (found[1], found[2]) if found else None


def stored_in(name: str) -> tuple[str, str] | None:
    """Split a name that stands for a file's content, as stored states have it, into the file's origin and the rest."""
    origin, _, part = name.partition(":")
    return (origin, part) if origin.startswith("file ") else None


def module_in(name: str) -> tuple[str, str] | None:
    """Split ``package.module:Net`` likewise."""
    found = None if file_in(name) else _MODULE.fullmatch(name)
    return (found[1], found[2]) if found else None


def is_file_name(text: object) -> bool:
    """Tell whether what a spec lists under ``plugins`` is a file, and not a package."""
    return isinstance(text, str) and text.endswith(".py") and "\n" not in text


def canonical(file: str, written_in: Path, folder: Path) -> str:
    """Return what a file is called from a folder: ``./mine.py``, ``./sub/mine.py`` or ``../mine.py``.

    Args:
        file: what it is called where somebody wrote it; a leading ``~`` is the home folder.
        written_in: the folder that this is relative to.
        folder: from where.

    Raises:
        ValueError: there is no such home folder.
    """
    path = os.path.relpath(os.path.join(os.path.abspath(written_in), expand_home(file)), os.path.abspath(folder))
    path = Path(path).as_posix()
    return path if path.startswith("../") else f"./{path}"
