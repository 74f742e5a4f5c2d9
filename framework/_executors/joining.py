"""What has to be settled before ray is imported, which reads its settings then."""

import os
import socket
import subprocess
import sys
from pathlib import Path

_KNOCK_SECONDS = 5.0
_ASK_SECONDS = 15.0
_MODE = "RAY_AUTH_MODE"


def settle(address: str | None) -> None:
    """Keep a Ray of our own to the loopback interface; use token authentication if a cluster requires it."""
    if address is None:
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    elif _MODE not in os.environ and "ray" not in sys.modules and _has_token() and _asks_for_token(address):
        os.environ[_MODE] = "token"


def knock(address: str) -> None:
    """Check that a cluster's port accepts connections: Ray itself would retry for minutes and log every attempt.

    Raises:
        OSError: nobody is there.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), _KNOCK_SECONDS).close()


def _has_token() -> bool:
    given = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(os.environ)
    return bool(given) or Path.home().joinpath(".ray", "auth_token").exists()


def _asks_for_token(address: str) -> bool:
    """A cluster that was started where there was no token knows none: a driver that sends one waits in vain.

    A driver that is told the address sends none of itself, and Ray does not say which kind a cluster is.
    """
    # -P: what lies in the working folder is not what Ray wants to import.
    command = [sys.executable, "-P", "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        knock(address)
        without = {**os.environ, _MODE: "disabled"}
        done = subprocess.run(command, env=without, capture_output=True, timeout=_ASK_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return False  # joining it says why
    return b"AuthenticationError" in done.stderr
