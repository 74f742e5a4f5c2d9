"""Everything against MLflow's tracking server, over http, on PostgreSQL, files and all."""

import json
import math
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from running import free_port, here
from served import epochs, needs_server, runs_of
from serving import PASSWORD, Tracking
from test_tracking import begin, make_plan, record

from framework import load_model
from framework._report.results import Results
from framework._store import Store
from framework._tracking import Reader, RunArtifacts, Tracker

pytestmark = needs_server
# Commands that read results; each must end well against a server.
TRIAL = "served/prune.amount=0.5 seed=1"
COMMANDS = [
    ["store", "gc", "--unreferenced", "--dry-run"],
    ["compare", "served", "--baseline", "prune.amount=0.2"],
    ["figures", "served", "--trials"],
    ["report", "served.yaml"],
    ["inspect", TRIAL, "--no-latency"],
    *(["export", TRIAL, "--format", target] for target in ("state-dict", "torch-prune", "torch-export", "onnx")),
]


def test_a_run_leaves_on_a_server_what_it_leaves_beside_its_folder(
    served: tuple[Path, str], tracking: Tracking, server_client: Any, tmp_path: Path
) -> None:
    parent, trials = runs_of(server_client, "served")
    assert parent.info.status == "FINISHED"
    assert {name: parent.data.metrics[name] for name in ("trials", "failed")} == {"trials": 4, "failed": 0}
    assert sorted(trials) == [f"prune.amount={amount} seed={seed}" for amount in (0.2, 0.5) for seed in (0, 1)]
    for run in trials.values():
        assert run.info.status == "FINISHED"
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert epochs(server_client, run, "train/loss") == [1, 2, 3, 4]
        assert epochs(server_client, run, "sparsity") == [1, 2, 2, 3, 4, 4]
    run = trials["prune.amount=0.5 seed=1"]
    assert (run.data.params["stages.1.prune.amount"], run.data.params["seed"]) == ("0.5", "1")
    assert json.loads(run.data.tags["framework.variant"]) == {"prune.amount": 0.5}
    files = {file.path for file in server_client.list_artifacts(run.info.run_id)}
    assert "spec.yaml" in files
    assert any(name.startswith(("curves", "figures")) for name in files)
    reader = Reader(tracking.uri)
    spec = reader.file(run.info.run_id, "spec.yaml")
    assert spec is not None
    assert b"amount: 0.5" in spec
    assert reader.file(run.info.run_id, "no.txt") is None
    # Nothing but the stages lies in the folder.
    assert [path.name for path in (served[0] / "results").iterdir()] == ["stages"]


def test_a_model_on_a_server_is_loaded(served: tuple[Path, str], tracking: Tracking, server_client: Any) -> None:
    run = runs_of(server_client, "served")[1]["prune.amount=0.5 seed=1"]
    model = load_model(f"runs:/{run.info.run_id}/model", tracking_uri=tracking.uri)
    assert model(torch.zeros(3, 1, 8, 8)).shape == (3, 10)
    weights = [value for value in model.state_dict().values() if value.ndim > 1]
    zeros = sum(int((weight == 0).sum()) for weight in weights) / sum(weight.numel() for weight in weights)
    assert zeros == pytest.approx(run.data.metrics["sparsity"])


def test_results_on_a_server_are_read_as_tables(served: tuple[Path, str], tracking: Tracking) -> None:
    reader = Reader(tracking.uri)
    assert "served" in reader.experiments()
    assert reader.description("served") == "Prune, then train on."
    results = Results(reader, ["served"])
    frame = results.frame()
    assert sorted(frame["prune.amount"]) == [0.2, 0.2, 0.5, 0.5]
    assert frame["sparsity"].tolist() == pytest.approx(frame["prune.amount"].tolist(), abs=0.01)
    curve = results.history("train/loss")
    assert curve["epoch"].tolist() == [1, 2, 3, 4] * 4
    assert curve["stage"].tolist() == [0, 0, 2, 2] * 4


def test_nothing_is_run_twice_with_a_server(
    served: tuple[Path, str], tracking: Tracking, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(served[0])
    options = ("--executor", "inline", "--root", "results", "--tracking-uri", tracking.uri)
    assert here("run", "served.yaml", *options, monkeypatch=monkeypatch) == 0
    told = capsys.readouterr().out
    assert "0 trials to run, 4 finished earlier" in told
    assert table(told) == table(served[1])


def table(told: str) -> list[list[str]]:
    """The rows of the summary, but for how long it took."""
    rows = [line.split() for line in told.splitlines() if line.strip().startswith("prune.amount=")]
    assert len(rows) == 2
    return [row[:-1] for row in rows]


def test_what_a_servers_runs_refer_to_is_kept(
    served: tuple[Path, str], tracking: Tracking, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(served[0])
    store = Store("results/stages")
    stored = store.stored()
    store.save("0" * 64, {"weight": torch.zeros(1)}, {})
    options = ("--root", "results", "--tracking-uri", tracking.uri)
    assert here("store", "gc", "--unreferenced", *options, monkeypatch=monkeypatch) == 0
    assert "removed 1 snapshot" in capsys.readouterr().out
    assert store.stored() == stored


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_reads_a_servers_results(
    command: list[str], served: tuple[Path, str], tracking: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(served[0])
    options = ("--root", "results", "--tracking-uri", tracking.uri)
    assert here(*command, *options, monkeypatch=monkeypatch) == 0


@pytest.mark.parametrize("directly", [False, True])
def test_what_postgresql_refuses_is_made_to_fit(
    directly: bool, tracking: Tracking, server_client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    uri, name = (tracking.database, "odd itself") if directly else (tracking.uri, "odd")
    odd = "a\0b \udcff …"
    swept = {f"stage.parameter_{i}": "x" * 20 for i in range(20)}
    plan = make_plan(name, model={"name": "convnet", "note": odd, "long": "ü" * 7000}, swept={**swept, "odd": odd})
    with Tracker(uri, tmp_path) as tracker:
        tracker.start(name, odd + "d" * 30_000, 1, "framework run " + "c" * 9000)
        tracker.trial_started(plan, odd.encode(errors="replace").decode())
        values = {"nan": math.nan, "inf": math.inf, "less": -math.inf, "tiny": 5e-324, "huge": 1.7e308}
        layers = {f"sparsity/layer{i}.{'n' * 200}": i / 2500 for i in range(2500)}
        tracker.recorded(plan, [record(1, **values, **layers), record(2, **values)])
        note = RunArtifacts(note=lambda exported: odd + "n" * 9000, metrics={"model/flops": 1e18})
        tracker.trial_ended(plan, odd + "r" * 9000, artifacts=lambda run: note)
    _, trials = runs_of(server_client, name)
    ((called, run),) = trials.items()
    assert (len(called), called[-6:]) == (250, "seed=1")
    assert run.info.status == "FAILED"
    assert run.data.tags["framework.reason"].startswith("a�b ? …rrr")
    assert run.data.params["model.note"] == "a�b ? …"
    assert len(run.data.params["model.long"]) == 6000
    assert len([metric for metric in run.data.metrics if metric.startswith("sparsity/")]) == 2500
    points = {metric: server_client.get_metric_history(run.info.run_id, metric) for metric in values}
    assert [math.isnan(point.value) for point in points["nan"]] == [True, True]
    assert [(point.step, point.value) for point in points["tiny"]] == [(1, 5e-324), (2, 5e-324)]
    assert [point.value > 1e308 for point in points["inf"] + points["huge"]] == [True] * 4
    # Files go through the server, or where it has none into the folder.
    assert len([*tmp_path.rglob("spec.yaml")]) == directly


def test_files_that_a_bucket_does_not_take_are_a_plain_error(
    tracking: Tracking, server_client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = {"ACCESS_KEY_ID": "tester", "SECRET_ACCESS_KEY": "secret", "MAX_ATTEMPTS": "1"}
    for name, value in {**account, "ENDPOINT_URL": f"http://127.0.0.1:{free_port()}"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    server_client.create_experiment("bucket", "s3://nowhere/files")
    plan, failed = make_plan("bucket"), []
    with Tracker(tracking.uri, tmp_path) as tracker:
        begin(tracker, plan)
        tracker.trial_ended(plan, None, failed=failed.append)
    assert len(failed) == 1
    assert "Could not connect to the endpoint URL" in failed[0]


@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType")  # MLflow of its own code
def test_the_server_that_the_guide_starts_can_be_started() -> None:
    from mlflow.cli import cli

    guide = (Path(__file__).parent.parent / "docs" / "servers.md").read_text()
    (line,) = [line for line in guide.splitlines() if line.startswith("mlflow server ")]
    words = shlex.split(line)[2:]
    options = cli.commands["server"].make_context("server", [*words]).params
    assert options["serve_artifacts"]
    assert {*words[::2]} == {"--backend-store-uri", "--artifacts-destination", "--host", "--port"}  # as Tracking's
