"""A new SQLite database for runs, made in milliseconds.

MLflow makes one by going through all migrations of its history, which takes seconds: `schema.sql` is what they come to
in one version of MLflow. With another version, MLflow makes the database itself.
"""

import os
import sqlite3
import tempfile
from contextlib import closing
from importlib import metadata
from pathlib import Path

_QUOTING = "sqlite+pysqlite:///"
SCHEMA = Path(__file__).with_name("schema.sql")


def database_uri(file: Path) -> str:
    """The URI of a SQLite database, whatever its path is made of."""
    path = str(file)
    quoted = path.replace("%", "%25").replace("?", "%3F")
    # What follows `sqlite:///` MLflow takes for a path as it is, and makes its folder.
    return f"sqlite:///{path}" if quoted == path else f"{_QUOTING}{quoted}"


def make_database(path: Path) -> None:
    """Make the database of the installed MLflow, unless another process is faster.

    It is made elsewhere first: MLflow cannot open one whose making was cut short, nor make it whole.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".mlflow-") as folder:
        new = Path(folder, path.name)
        script = SCHEMA.read_text()
        if script.startswith(_title()):
            with closing(sqlite3.connect(new)) as database:
                database.executescript(script)
        else:
            _migrate(new)
        try:
            os.link(new, path)
        except FileExistsError:
            pass  # another process was faster
        except OSError:  # no hard links here
            os.replace(new, path)


def schema() -> str:
    """The SQL that makes what the installed MLflow's migrations make."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mlflow.db")
        _migrate(path)
        with closing(sqlite3.connect(path)) as database:
            # MLflow adds it to every database that it opens; it names a folder of the process that does.
            database.execute("DELETE FROM experiments")
            return "\n".join([_title(), *database.iterdump(), ""])


def write_schema() -> None:
    """Write `schema.sql` for the installed MLflow."""
    SCHEMA.write_text(schema())


def _migrate(path: Path) -> None:
    from mlflow import MlflowClient

    MlflowClient(database_uri(path))


def _title() -> str:
    return f"-- The database of MLflow {metadata.version('mlflow')}, written by `make schema`.\n"
