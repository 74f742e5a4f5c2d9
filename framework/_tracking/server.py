"""Where runs are kept: a database beside the results, or an MLflow server."""

import logging
import os
import re
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework._errors import TrackingError

if TYPE_CHECKING:
    from mlflow import MlflowClient

_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


def default_uri(root: Path) -> str:
    """The tracking URI where none is given: ``MLFLOW_TRACKING_URI``, else a SQLite database in ``root``."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root.absolute() / 'mlflow.db'}"


def is_new(uri: str) -> bool:
    """Whether the store is a SQLite database that is not there yet."""
    return uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists()


def artifact_location(uri: str, root: Path, experiment: str) -> str | None:
    """Where a new experiment's artifacts go: beside a SQLite database, else where the server says (None)."""
    # An experiment's name may hold a slash; a folder's may not.
    folder = re.sub(r"[^\w. -]", "_", experiment)
    return (root.absolute() / "artifacts" / folder).as_uri() if uri.startswith("sqlite:") else None


def ui_command(uri: str, root: Path, host: str = "127.0.0.1", port: int = 5000) -> list[str]:
    """The command that serves MLflow's UI on these runs.

    Raises:
        TrackingError: the runs are on a server, which has a UI of its own.
    """
    if uri.startswith("http"):
        raise TrackingError(f"these runs are on a server that has its own UI: open {uri}")
    configure()
    artifacts = (root.absolute() / "artifacts").as_uri()
    server = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
    return [
        *server,
        *("--default-artifact-root", artifacts),
        *("--host", host, "--port", str(port), "--workers", "1"),
    ]


def configure() -> None:
    """Keep MLflow from phoning home, and from talking over our own lines; what the user has set stays."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    logging.getLogger("alembic").setLevel(os.environ["MLFLOW_LOGGING_LEVEL"])


def connect(uri: str) -> "MlflowClient":
    """A client of the tracking store; a SQLite database is made where there is none (some 5 s, once).

    Raises:
        TrackingError: it cannot be reached or opened.
    """
    with plainly(uri):
        reach(uri)
        configure()
        from mlflow import MlflowClient

        if is_new(uri):
            _make_database(Path(uri.removeprefix("sqlite:///")))
        return MlflowClient(uri)


def _make_database(path: Path) -> None:
    """Make it elsewhere first: MLflow cannot open one whose making was cut short, nor make it whole."""
    from mlflow import MlflowClient

    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".mlflow-") as folder:
        new = Path(folder, path.name)
        MlflowClient(f"sqlite:///{new}")
        try:
            os.link(new, path)
        except FileExistsError:
            pass  # another process was faster
        except OSError:  # no hard links here
            os.replace(new, path)


def pages(search: Callable[..., Any]) -> Iterator[Any]:
    """All that a search of MLflow's client finds, page by page."""
    token = None
    while True:
        page = search(page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def reach(uri: str) -> None:
    """Ask a server once whether it is there: MLflow's own client asks for four minutes before it gives up.

    Raises:
        TrackingError: it is not.
    """
    if not uri.startswith("http"):
        return
    with plainly(uri), suppress(urllib.error.HTTPError):  # an answer is an answer; MLflow will say what is wrong
        urllib.request.urlopen(f"{_public(uri).rstrip('/')}/health", timeout=10).close()


@contextmanager
def plainly(uri: str) -> Iterator[None]:
    """Turn what a tracking store can raise into one plain sentence.

    Raises:
        TrackingError: the store refuses or cannot be reached.
    """
    try:
        yield
    except Exception as error:
        if not _is_the_stores(error):
            raise
        reason = str(getattr(error, "reason", None) or error).strip().splitlines() or [type(error).__name__]
        raise TrackingError(f"the tracking store {_public(uri)} refuses: {reason[0]}") from error


def _is_the_stores(error: Exception) -> bool:
    if isinstance(error, OSError):  # includes what requests and urllib raise
        return True
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return isinstance(error, MlflowException | SQLAlchemyError)


def _public(uri: str) -> str:
    """Without user and password."""
    return re.sub(r"//[^/@]*@", "//", uri)
