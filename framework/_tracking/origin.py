"""Where a run comes from."""

import getpass
import os
import platform
import socket
import subprocess
from contextlib import suppress
from functools import cache
from importlib.metadata import version

COMMIT, PROCESS, VERSIONS = "mlflow.source.git.commit", "framework.process", "framework.versions"


def source() -> dict[str, str]:
    """Who runs this, from which commit, in which process, with which versions of what is no plugin."""
    tags = {
        "mlflow.source.name": "framework run",
        "mlflow.source.type": "LOCAL",
        PROCESS: f"{socket.gethostname()}:{os.getpid()}",
        VERSIONS: _versions(),
    }
    with suppress(KeyError, OSError):
        tags["mlflow.user"] = getpass.getuser()
    if commit := _commit(os.getcwd()):
        tags[COMMIT] = commit
    return tags


@cache
def _versions() -> str:
    return f"Python {platform.python_version()}, torch {version('torch')}, mlflow {version('mlflow')}"


@cache  # starting a process takes as long as all else that opening a run does
def _commit(folder: str) -> str | None:
    with suppress(OSError, subprocess.CalledProcessError):  # no git, or no repository
        git = subprocess.run(["git", "-C", folder, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        return git.stdout.strip()
    return None


def is_dead(process: str) -> bool:
    """Whether a process of this host is gone; of another host's one cannot know."""
    host, _, pid = process.rpartition(":")
    if host != socket.gethostname():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # somebody else's, but alive
    return False
