"""Print lines on the terminal."""

import os
import sys

from rich.console import Console

from framework._terminal.encoding import make_writable

_ENDLESS = 10_000


def make_console() -> Console:
    """Make a console; lines that go to a file, a pipe or a notebook are not wrapped."""
    make_writable()
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else _ENDLESS
    # A notebook takes text as a file does, but its kernel claims to be a terminal.
    notebook = "ipykernel" in sys.modules
    return Console(width=width, force_jupyter=False, force_terminal=False if notebook else None)


def say(console: Console, text: str, style: str | None = None) -> None:
    """Print a line verbatim: brackets are not taken for markup, and the line is not wrapped."""
    console.print(text, style=style, highlight=False, markup=False, soft_wrap=True)


def count(number: int, noun: str) -> str:
    """``1 trial``, ``10,000 trials``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """``45 s``, ``2 min 5 s``, ``3 h 20 min``, ``2 d 1 h``."""
    left = round(seconds)
    parts: list[str] = []
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        amount, left = divmod(left, length)
        if amount or parts:
            parts.append(f"{amount} {unit}")
    return " ".join(part for part in parts[:2] if part[0] != "0") or "0 s"
