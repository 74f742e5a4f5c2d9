"""Names and paths that users write: which texts can be names of files, what ``~`` stands for, where results lie."""

import os
import re
from pathlib import Path

from framework._errors import FrameworkError

RESULTS = Path("mlruns")  # where results lie unless the user says otherwise
MOST_BYTES = 250  # file systems take 255, and an ending may follow
# Control characters, line breaks, and halves of characters, which no encoding can write.
_NO_TEXT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def name_fault(name: str, forbidden: str = "/\\") -> str | None:
    """Say why a text cannot be the name of one file.

    Args:
        name: the text.
        forbidden: the characters that it may not have.

    Returns:
        What it must be, for the end of a message; None if it can be a name.
    """
    if not name.strip() or any(c in name for c in forbidden) or _NO_TEXT.search(name):
        without = "slashes" if forbidden == "/\\" else f"any of {' '.join(forbidden)}"
        return f"must be a non-empty line without {without}"
    if name in (".", ".."):
        return f"must not be {name!r}, which is a folder everywhere"
    size = len(name.encode())
    return f"must be at most {MOST_BYTES} bytes long in UTF-8, not {size:,}" if size > MOST_BYTES else None


def expand_home(path: str) -> str:
    """A path in which a leading ``~`` or ``~user`` stands for the home folder.

    Raises:
        ValueError: there is no such home folder.
    """
    expanded = os.path.expanduser(path)
    if expanded.startswith("~"):
        user = path.partition("/")[0][:MOST_BYTES]
        raise ValueError(
            f"{user} stands for no home folder here: write the path out, or ./{user} for what is called so"
        )
    return expanded


def home_path(path: Path | str) -> Path:
    """A path in which a leading ``~`` stands for the home folder, whether or not a shell has seen it.

    Raises:
        FrameworkError: there is none.
    """
    try:
        return Path(expand_home(str(path)))
    except ValueError as error:
        raise FrameworkError(str(error)) from None


def stages_in(root: Path, store: str | None) -> str:
    """The stage store: the given one, else a folder beside the results."""
    return (str(home_path(store)) if store.startswith("~") else store) if store else str(root.absolute() / "stages")
