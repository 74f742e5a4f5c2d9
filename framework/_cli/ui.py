"""``framework ui``."""

import os
import socket
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from framework._errors import FrameworkError
from framework._tracking import Reader, default_uri, ui_command

_HOST = "127.0.0.1"
_SHOWN = 10


def serve(root: Path, tracking_uri: str | None, port: int) -> NoReturn:
    """Replace this process by the server of the MLflow UI, on the loopback interface.

    Raises:
        TrackingError: there are no results, or they are on a server that has its own UI.
        FrameworkError: the port is taken.
    """
    uri = tracking_uri or default_uri(root)
    command = ui_command(uri, root, _HOST, port)
    reader = Reader(uri)
    try:
        socket.create_server((_HOST, port)).close()
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise FrameworkError(f"port {port} cannot be used ({reason}): choose another with --port") from error
    address = f"http://{_HOST}:{port}"
    lines = [f"MLflow UI: {address}   (Ctrl-C stops it)", *(f"  {line}" for line in views(reader, address))]
    print("\n".join(lines), flush=True)
    # The server and its workers would import modules from the current folder, which may shadow Python's own.
    os.environ["PYTHONSAFEPATH"] = "1"
    os.chdir("/")
    # The server takes over this process, so that whatever ends the process ends the server.
    os.execv(sys.executable, command)


def views(reader: Reader, address: str, experiments: Iterable[str] | None = None) -> list[str]:
    """List the addresses at which the UI shows the trials of experiments, by default the newest: ``name: URL``."""
    found = {name: reader.views(name) for name in (reader.experiments() if experiments is None else experiments)}
    lines = [f"{name}: {address}/{next(iter(links.values()))}" for name, links in found.items() if links]
    return lines[:_SHOWN] + ([f"… and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else [])
