"""New databases: the same as MLflow makes, in milliseconds, whole or not at all."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pytest
from running import environment

from framework._tracking import database
from framework._tracking.database import SCHEMA, make_database, schema
from framework._tracking.server import connect


def content(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as opened:
        return list(opened.iterdump())


def compared(statements: Iterable[str]) -> list[list[str]]:
    """Migrations make indices and the constraints of a table in an order that changes from process to process."""
    return sorted(sorted(line.strip(" \t,") for line in statement.splitlines()) for statement in statements)


def test_the_schema_is_that_of_the_installed_mlflow() -> None:
    ours, migrations = SCHEMA.read_text(), schema()

    assert ours.splitlines()[0] == migrations.splitlines()[0], "run `make schema`"
    assert compared(ours.split(";\n")) == compared(migrations.split(";\n")), "run `make schema`"


def test_a_new_database_is_made_of_the_schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_migrate", None)  # which takes long, is not called

    make_database(tmp_path / "a" / "mlflow.db")

    assert "\n".join(content(tmp_path / "a" / "mlflow.db")) in SCHEMA.read_text()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["mlflow.db"]


def test_mlflow_leaves_a_new_database_as_it_is(tmp_path: Path) -> None:
    make_database(tmp_path / "mlflow.db")
    before = content(tmp_path / "mlflow.db")

    client = connect(f"sqlite:///{tmp_path / 'mlflow.db'}")

    assert [experiment.name for experiment in client.search_experiments()] == ["Default"]
    added = [line for line in content(tmp_path / "mlflow.db") if line not in before]
    assert [line[:24] for line in added] == ['INSERT INTO "experiments']


def test_another_mlflow_makes_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "schema.sql"
    other.write_text("-- The database of MLflow 3.5.0, written by `make schema`.\n\nCREATE TABLE old (x);\n")
    monkeypatch.setattr(database, "SCHEMA", other)

    client = connect(f"sqlite:///{tmp_path / 'mlflow.db'}")

    assert client.get_experiment(client.create_experiment("new")).name == "new"


def test_one_that_another_process_has_made_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("theirs")

    make_database(tmp_path / "mlflow.db")

    assert (tmp_path / "mlflow.db").read_text() == "theirs"


@pytest.mark.parametrize(
    "dies",
    [
        "sqlite3.connect = lambda path: (Path(path).write_bytes(b'SQLite format 3'), die())",
        "os.link = lambda new, path: die()",
    ],
    ids=["while it is written", "before it is put in place"],
)
def test_a_process_that_is_killed_leaves_none(tmp_path: Path, dies: str) -> None:
    path = tmp_path / "mlflow.db"
    code = f"""
import os, signal, sqlite3
from pathlib import Path
from framework._tracking.database import make_database
die = lambda: os.kill(os.getpid(), signal.SIGKILL)
{dies}
make_database(Path({str(path)!r}))
"""
    killed = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True)
    assert killed.returncode == -9, killed.stderr
    assert not path.exists()

    assert connect(f"sqlite:///{path}").search_experiments()
