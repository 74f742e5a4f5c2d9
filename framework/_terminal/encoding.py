"""What the terminal or the pipe cannot write is written in other characters."""

import codecs
import sys

_PLAIN = {"→": "->", "⇒": "=>", "±": "+-", "−": "-", "×": "x", "…": "...", "·": "*", "–": "-", "≤": "<=", "≥": ">="}
_PLAIN |= dict.fromkeys("─━═", "-") | dict.fromkeys("│┃", "|") | dict.fromkeys("├└┌┐┘┤┬┴┼╶╴╭╮╰╯", "+")
_ERRORS = "framework.plain"


def make_writable() -> None:
    """Have characters that the terminal's or the pipe's encoding does not have written as others, not refused."""
    codecs.register_error(_ERRORS, _plain)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a notebook's takes everything
            stream.reconfigure(errors=_ERRORS)


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_PLAIN.get(one, "?") for one in error.object[error.start : error.end]), error.end
