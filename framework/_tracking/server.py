"""Where runs are kept: a database beside the results, or an MLflow server."""

import logging
import os
import re
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from framework._errors import TrackingError, redact
from framework._home import make_home
from framework._tracking.database import database_uri, make_database

if TYPE_CHECKING:
    from mlflow import MlflowClient

_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
_DATABASES = r"(sqlite|postgresql|mysql|mssql)\b"


def default_uri(root: Path) -> str:
    """The tracking URI where none is given: ``MLFLOW_TRACKING_URI``, else a SQLite database in ``root``."""
    return os.environ.get("MLFLOW_TRACKING_URI") or database_uri(root.absolute() / "mlflow.db")


def database_file(uri: str) -> Path | None:
    """The file of a SQLite database, as SQLAlchemy reads its URI; None: the URI is not that of a file.

    Raises:
        TrackingError: a `?` in it begins no options.
    """
    kind, colon, rest = uri.partition(":///")
    path, asks, options = rest.partition("?")
    if not colon or kind not in ("sqlite", "sqlite+pysqlite") or path in ("", ":memory:"):
        return None
    if path.startswith("file:"):  # the URI of SQLite's own, which may be in no file
        return None
    if asks and not all("=" in option for option in options.split("&")):
        raise TrackingError(
            f"in {uri} what follows the ? would not be part of the path: if it is, write {database_uri(Path(rest))}"
        )
    return Path(unquote(path))


def is_new(uri: str) -> bool:
    """Whether the store is a SQLite database that is not there yet."""
    file = database_file(uri)
    return file is not None and not file.exists()


def artifact_location(uri: str, root: Path, experiment: str) -> str | None:
    """Where a new experiment's artifacts go: into ``root`` with a database, else where the server says (None)."""
    # An experiment's name may hold a slash; a folder's may not.
    folder = re.sub(r"[^\w. -]", "_", experiment)
    return (root.absolute() / "artifacts" / folder).as_uri() if re.match(_DATABASES, uri) else None


def ui_command(uri: str, root: Path, host: str = "127.0.0.1", port: int = 5000) -> list[str]:
    """The command that serves MLflow's UI on these runs, from whatever folder it is started.

    Raises:
        TrackingError: the runs are on a server, which has a UI of its own.
    """
    if uri.startswith("http"):
        raise TrackingError(f"these runs are on a server that has its own UI: open {redact(uri)}")
    configure()
    artifacts = (root.absolute() / "artifacts").as_uri()
    file = database_file(uri)
    if file is not None and not file.is_absolute():
        uri = database_uri(file.absolute())
    server = [sys.executable, "-P", "-m", "mlflow", "server", "--backend-store-uri", uri]
    return [
        *server,
        *("--default-artifact-root", artifacts),
        *("--host", host, "--port", str(port), "--workers", "1"),
    ]


def configure() -> None:
    """Keep MLflow from phoning home, and from talking over our own lines; what the user has set stays.

    To be called before MLflow is imported.
    """
    make_home()
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    logging.getLogger("alembic").setLevel(os.environ["MLFLOW_LOGGING_LEVEL"])
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # it logs what it raises


def connect(uri: str) -> "MlflowClient":
    """A client of the tracking store; a SQLite database is made where there is none.

    A server is asked once whether it is there.

    Raises:
        TrackingError: it cannot be reached or opened.
    """
    with translate_errors(uri):
        configure()
        reach(uri)
        from mlflow import MlflowClient

        file = database_file(uri)
        if file is not None and not file.exists():
            make_database(file)
        return MlflowClient(uri)


def pages(search: Callable[..., Any]) -> Iterator[Any]:
    """All that a search of MLflow's client finds, page by page."""
    token = None
    while True:
        page = search(page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def reach(uri: str, seconds: float = 10.0) -> None:
    """Ask a server once whether it is there: MLflow's own client asks for four minutes before it gives up.

    Raises:
        TrackingError: it is not.
    """
    if not uri.startswith("http"):
        return
    with translate_errors(uri):
        # MLflow's own request, as it knows of credentials, certificates and proxies. Any answer is an answer: if
        # something is wrong, it shows in what is asked next.
        from mlflow.utils.credentials import get_default_host_creds
        from mlflow.utils.rest_utils import http_request

        server = get_default_host_creds(uri)  # type: ignore[no-untyped-call]
        http_request(server, "/health", "GET", max_retries=0, raise_on_status=False, timeout=seconds)  # type: ignore[no-untyped-call]


@contextmanager
def translate_errors(uri: str) -> Iterator[None]:
    """Turn what a tracking store can raise into one plain sentence.

    Raises:
        TrackingError: the store refuses or cannot be reached.
    """
    try:
        yield
    except Exception as error:
        if not _is_the_stores(error):
            raise
        store, code = f"the tracking store {redact(uri)}", _code(error)
        if code in ("UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED"):
            raise TrackingError(f"{store} wants credentials that it knows: set {_CREDENTIALS}") from error
        if code == "PERMISSION_DENIED":
            raise TrackingError(f"{store} does not permit this: {_CREDENTIALS} must name who may") from error
        raise TrackingError(f"{store} refuses: {reason(error)}") from error


_CREDENTIALS = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"


def lost(error: Exception) -> bool:
    """Whether a store did not answer, or said that it cannot now: asked again in a while, it may."""
    from requests import exceptions

    if re.search(_COLLISION, str(error)):
        return True
    if database := _database_error(error):
        return getattr(database, "sqlite_errorcode", 0) & 0xFF in _LOCKED  # the rest of it says how
    if _code(error) == "TEMPORARILY_UNAVAILABLE":  # its database cannot be reached
        return True
    # With an answer that says `later`, MLflow's client raises a RetryError; all its errors come in a wrapping.
    away = (exceptions.ChunkedEncodingError, exceptions.ConnectionError, exceptions.RetryError, exceptions.Timeout)
    return any(isinstance(cause, away) for cause in (error, error.__cause__, error.__context__))


# What databases say where two write the same new tag at once: MLflow looks first, and then writes.
_COLLISION = "UNIQUE constraint failed|UniqueViolation|Duplicate entry"
_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _database_error(error: BaseException | None) -> sqlite3.Error | None:
    """SQLite's own error, which SQLAlchemy and MLflow wrap."""
    while error is not None and not isinstance(error, sqlite3.Error):
        error = error.__cause__
    return error


def reason(error: BaseException) -> str:
    """What is behind an error of a tracking store, in a line, without user and password."""
    if isinstance(error, Exception) and lost(error):
        while behind := _behind(error):
            error = behind
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return redact(re.sub(r"too many (\d+) error responses", r"HTTP \1", lines[0]))


def _behind(error: BaseException) -> BaseException | None:
    """What made a request fail: three libraries wrap it."""
    wrapped = (error.__cause__, error.__context__, getattr(error, "reason", None), *error.args)
    return next((one for one in wrapped if isinstance(one, BaseException)), None)


def _code(error: Exception) -> str:
    """MLflow's code of an error, also of one that MLflow's client for artifacts raises."""
    response = getattr(error, "response", None)
    if response is None:
        return str(getattr(error, "error_code", ""))
    return {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED"}.get(response.status_code, "")


def _is_the_stores(error: Exception) -> bool:
    # Files may go to a bucket directly; what requests raises is an OSError.
    if isinstance(error, OSError) or type(error).__module__.partition(".")[0] in _BUCKETS:
        return True
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return isinstance(error, MlflowException | SQLAlchemyError)


_BUCKETS = ("azure", "boto3", "botocore", "google")
