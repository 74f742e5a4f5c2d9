"""Replace characters that the terminal or the pipe cannot encode."""

import codecs
import sys

_PLAIN = {"→": "->", "⇒": "=>", "±": "+-", "−": "-", "×": "x", "…": "...", "·": "*", "–": "-", "≤": "<=", "≥": ">="}
_PLAIN |= dict.fromkeys("─━═", "-") | dict.fromkeys("│┃", "|") | dict.fromkeys("├└┌┐┘┤┬┴┼╶╴╭╮╰╯", "+")
_ERRORS = "framework.plain"


def make_writable() -> None:
    """Write ASCII in place of characters that the output's encoding lacks, instead of raising an error."""
    codecs.register_error(_ERRORS, _plain)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a notebook's takes everything
            stream.reconfigure(errors=_ERRORS)


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_PLAIN.get(one, "?") for one in error.object[error.start : error.end]), error.end
