"""A group's tracking server, with a study on it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from running import framework, write
from serving import Postgres, Proxy, Tracking, postgres_folder

PROGRAMS = postgres_folder()
needs_server = [
    pytest.mark.skipif(PROGRAMS is None, reason="there is no PostgreSQL"),
    pytest.mark.usefixtures("nothing_set"),
]
SPECS = {
    "served.yaml": """
        name: served
        description: Prune, then train on.
        model: {name: convnet, widths: [4, 8]}
        data: {name: digits, validation: 0.5}
        seeds: [0, 1]
        defaults: {train: {epochs: 2, batch_size: 64}}
        stages:
          - train
          - prune: {amount: {grid_search: [0.2, 0.5]}}
          - train
        """,
}


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    assert PROGRAMS is not None
    server = Postgres(PROGRAMS)
    try:
        server.start()
        server.make_database()
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="session")
def tracking(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tracking]:
    database = f"postgresql+psycopg2://postgres@127.0.0.1:{postgres.port}/mlflow"
    server = Tracking(database, tmp_path_factory.mktemp("tracking"))
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="session")
def served(tracking: Tracking, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a run, and what the run said."""
    folder = tmp_path_factory.mktemp("served")
    write(folder, SPECS)
    options = ("--executor", "inline", "--root", "results", "--tracking-uri", tracking.uri)
    done = framework("run", "served.yaml", *options, folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


@pytest.fixture
def server_client(tracking: Tracking) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking.uri)


@pytest.fixture
def pass_by(tracking: Tracking) -> Iterator[Callable[..., Proxy]]:
    """Puts a proxy before the server."""
    started: list[Proxy] = []

    def start(**options: Any) -> Proxy:
        started.append(Proxy(tracking, **options))
        return started[-1]

    yield start
    for proxy in started:
        proxy.__exit__()


@pytest.fixture
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a server nor a way to it is in the environment."""
    for name in ("MLFLOW_TRACKING_URI", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


def runs_of(client: Any, experiment: str) -> tuple[Any, dict[str, Any]]:
    """The invocation's run and those of its trials by name; there must be one of each."""
    found = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    (parent,) = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    trials = {run.info.run_name: run for run in found if run is not parent}
    assert len(trials) == len(found) - 1, "two runs of one trial"
    return parent, trials


def epochs(client: Any, run: Any, metric: str) -> list[int]:
    values = client.get_metric_history(run.info.run_id, metric)
    return [value.step for value in sorted(values, key=lambda value: value.timestamp)]
