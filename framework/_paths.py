"""Names and paths that users write: which texts can be names of files, and what ``~`` stands for."""

import os
import re

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
        plainly = "without slashes" if forbidden == "/\\" else f"without any of {' '.join(forbidden)}"
        return f"must be a non-empty line {plainly}"
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
