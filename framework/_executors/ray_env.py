"""Environment variables of Ray, which it reads when it is imported."""

import os
import socket
import subprocess
import sys
from pathlib import Path

_CONNECT_SECONDS = 5.0
_ASK_SECONDS = 15.0
_MODE = "RAY_AUTH_MODE"


def configure(address: str | None) -> None:
    """Keep a Ray of our own to the loopback interface, or send a cluster the token that it asks for."""
    if address is None:
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    elif _MODE not in os.environ and "ray" not in sys.modules and _has_token() and _asks_for_token(address):
        os.environ[_MODE] = "token"


def check_port(address: str) -> None:
    """Connect to a cluster's port: Ray itself asks for minutes, loudly.

    Raises:
        OSError: nobody is there.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()


def _has_token() -> bool:
    given = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(os.environ)
    return bool(given) or Path.home().joinpath(".ray", "auth_token").exists()


def _asks_for_token(address: str) -> bool:
    """A cluster that was started where there was no token knows none: a driver that sends one waits in vain.

    A driver that is given the address sends none of itself, and Ray does not say which kind a cluster is.
    """
    # -P: what lies in the working folder is not what Ray wants to import.
    command = [sys.executable, "-P", "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        check_port(address)
        without = {**os.environ, _MODE: "disabled"}
        done = subprocess.run(command, env=without, capture_output=True, timeout=_ASK_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return False  # connecting to it says why
    return b"AuthenticationError" in done.stderr
