"""Load the plugins for a command, and report its errors."""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from framework._errors import FrameworkError, PluginError, SpecError

if TYPE_CHECKING:
    from framework._registry import Registry


def load_registry(disabled: Iterable[str], files: Sequence[Path] = ()) -> "Registry":
    """Load all installed plugins, except those of the distributions that are disabled, and those in files.

    Raises:
        PluginError: a file cannot be used.
    """
    from framework._registry import installed

    return installed(frozenset(disabled)).with_files(files)


@contextmanager
def report_errors() -> Iterator[None]:
    """Print errors that are meant for the user, without a traceback, and exit with the right code."""
    try:
        yield
    except FrameworkError as error:
        print(f"error: {error}" if not isinstance(error, SpecError) else error, file=sys.stderr)
        raise typer.Exit(2 if isinstance(error, SpecError | PluginError) else 1) from None
    except KeyboardInterrupt:
        print("interrupted; what is finished is kept, and the same command goes on from there", file=sys.stderr)
        raise typer.Exit(130) from None
    except BrokenPipeError:
        # The reader (head, say) has left; without this Python complains again when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
