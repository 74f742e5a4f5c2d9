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
    """Become the server of the MLflow UI, on the loopback interface.

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
    # The server and its workers import from the folder that they stand in: from none that has modules of the user's.
    os.environ["PYTHONSAFEPATH"] = "1"
    os.chdir("/")
    # In our place, so that whatever ends us ends the server.
    os.execv(sys.executable, command)


def views(reader: Reader, address: str, experiments: Iterable[str] | None = None) -> list[str]:
    """Where the UI at an address shows the trials of experiments, by default of the newest ones: ``name: URL``."""
    found = {name: reader.views(name) for name in (reader.experiments() if experiments is None else experiments)}
    lines = [f"{name}: {address}/{next(iter(links.values()))}" for name, links in found.items() if links]
    return lines[:_SHOWN] + ([f"… and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else [])
