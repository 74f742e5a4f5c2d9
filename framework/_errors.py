"""The errors a user can meet. Their text is the whole message: the command line prints it without a traceback.

FrameworkError
  x SpecError       a spec, or a value given for it on the command line, is wrong; holds every Problem found
  x PluginError     a plugin cannot be loaded, or breaks the contract of what it registers
  x DataError       a dataset cannot be read or downloaded
  x StageError      a stage cannot do what the spec asks of it, on this model or this data
  x StoreError      a state cannot be stored or read, or is missing
  |   x DamagedError  it was there, but is damaged, and has been set aside
  x TrackingError   the tracking store refuses or cannot be reached
"""

import difflib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass


class FrameworkError(Exception):
    """Base of all errors that are the user's to read."""


@dataclass(frozen=True, order=True)
class Problem:
    """One mistake in a spec: where it stands, which value it concerns, what is wrong with it."""

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{where} {self.path}: {self.message}" if self.path else f"{where}: {self.message}"


class SpecError(FrameworkError):
    """A spec is wrong.

    Attributes:
        problems: every mistake found, in the order of the file.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(set(problems))
        super().__init__("\n".join(map(str, self.problems)))


class PluginError(FrameworkError):
    """A plugin cannot be loaded, or breaks its contract."""


class DataError(FrameworkError):
    """A dataset cannot be read or downloaded."""


class StageError(FrameworkError):
    """A stage cannot do what the spec asks of it."""


class StoreError(FrameworkError):
    """A state cannot be stored or read, or is missing."""


class DamagedError(StoreError):
    """A stored state is damaged. It has been set aside, so that it counts as not stored."""


class TrackingError(FrameworkError):
    """The tracking store refuses or cannot be reached."""


class Expired(BaseException):
    """A trial's time is up. This is not an `Exception`, so that no plugin catches it as a failure of its own."""


# What a plugin's code is not the cause of: all else that is raised in it is its own failure, `SystemExit` too.
INTERRUPTS = (KeyboardInterrupt, Expired)

_LONGEST = 5000  # characters of a reason


def readable(text: str, longest: int = _LONGEST) -> str:
    """Make a text that every terminal, file and database accepts: valid characters, and not too many of them."""
    clean = text.replace("\0", "\\0").encode(errors="backslashreplace").decode()
    return clean if len(clean) <= longest else f"{clean[: longest - 2]} …"


def describe(error: BaseException) -> str:
    """Return an exception's text, even where its class fails to give one; all but ours begin with their type."""
    kind = type(error).__name__
    try:
        text = str(error)
    except INTERRUPTS:
        raise
    except BaseException as another:
        return readable(f"{kind}, of which no text can be had: str() of it raises {type(another).__name__}")
    return readable(text if isinstance(error, FrameworkError) else f"{kind}: {text}".strip().rstrip(":"))


def shown(value: object) -> str:
    """Return a value as messages show it: its repr, cut if it is long, or its type if repr fails."""
    try:
        return readable(repr(value), 80)
    except INTERRUPTS:
        raise
    except BaseException:  # its class may be a plugin's
        return f"a {type(value).__name__}"


@contextmanager
def located(where: str) -> Iterator[None]:
    """Note on whatever is raised in the context where that was, such as ``in stage 2, prune of my-package 1.2``."""
    try:
        yield
    except BaseException as error:
        with suppress(Exception):  # of a frozen class
            error.add_note(where)
        raise


def locations(error: BaseException) -> list[str]:
    """List what `located` has noted on an exception, the innermost first."""
    with suppress(Exception):  # a class may compute its attributes
        return [readable(note) for note in error.__notes__ if isinstance(note, str)]
    return []


_SHOWN = 20  # a network has hundreds of layers


def nearest(name: object, valid: Iterable[str]) -> str:
    """Say which valid name was meant, or which there are.

    Returns:
        A clause for the end of a message, such as ``did you mean 'train'?``.
    """
    choices = sorted(valid)
    close = difflib.get_close_matches(str(name), choices, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    if not choices:
        return "none is valid here"
    return f"valid: {', '.join(choices[:_SHOWN])}{', …' if len(choices) > _SHOWN else ''}"


def first_line(error: BaseException) -> str:
    """The first line of an error from third-party code, or the error's type if it has no text."""
    try:
        lines = str(error).strip().splitlines()
    except INTERRUPTS:
        raise
    except BaseException:  # its code too
        lines = []
    return lines[0][:500] if lines else type(error).__name__


def redact(text: str) -> str:
    """A URI, or a text that holds URIs, without users and passwords."""
    return re.sub(r"//[^/\s]*@", "//", text)
