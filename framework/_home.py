"""A home and a name for a user who has none, as in a container that runs under any number."""

import atexit
import getpass
import os
import shutil
import tempfile
from pathlib import Path


def make_home() -> None:
    """Give this process and those that it starts what MLflow, torch and Matplotlib ask for as they are imported.

    What is there stays. A home that has to be made lasts as long as this process.
    """
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["USER"] = str(os.getuid())
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = tempfile.mkdtemp(prefix="framework-home-")
        atexit.register(shutil.rmtree, os.environ["HOME"], ignore_errors=True)
