"""Trials that Optuna suggests and that ASHA stops, on a real Ray: what they share, what they leave, and again."""

import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from running import all_runs, framework, framework_started, here, history, parents, trials, wait_for, write

from framework._store import Store

TUNE = {
    "tune.yaml": """
        name: tune
        model: convnet
        data: {name: digits, validation: 0.5}
        search: {algorithm: optuna, samples: 6}
        defaults: {train: {batch_size: 64}}
        stages:
          - train: {steps: 12}
          - prune: {amount: 0.5}
          - train: {steps: 12, optimizer: {name: sgd, lr: {loguniform: [1e-4, 1]}}}
        """,
}
# Without its scheduler, the second spec is not stopped by the first one's.
HALVED = {
    "halved.yaml": """
        name: halved
        model: convnet
        data: {name: digits, validation: 0.5}
        search: {scheduler: asha}
        defaults: {train: {batch_size: 64}}
        stages:
          - train: {steps: 12}
          - train: {epochs: 5, optimizer: {name: sgd, lr: {grid_search: [0.1, 1e-9, 20.0, 1e-8, 30.0]}}}
        """,
    "whole.yaml": """
        extends: halved.yaml
        name: whole
        search: {scheduler: null}
        stages:
          - train: {steps: 12}
          - train: {epochs: 5, optimizer: {name: sgd, lr: {grid_search: [1e-7, 40.0]}}}
        """,
}


def learning_rates(root: Path) -> dict[str, Any]:
    return {run.data.params["train.optimizer.lr"]: run for run in trials(root, "tune").values()}


def _stages(run: Any) -> list[str]:
    return list(run.data.tags["framework.stages"].split())


# --- Optuna --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tuned(cluster: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, set[str]]:
    """A search whose command is killed when two of its trials are done, and given again.

    Returns:
        Where it was given, what it said the second time, and the trials that it had begun the first time.
    """
    folder = tmp_path_factory.mktemp("tuned")
    write(folder, TUNE)
    command = ("run", "tune.yaml", "--root", "results", "--address", cluster, "--max-concurrent", "1")
    output = folder / "output"
    process = framework_started(*command, folder=folder, output=output)
    try:
        wait_for(lambda: "[2/6]" in output.read_text() or process.poll() is not None)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    begun = {run.info.run_id for run in trials(folder / "results", "tune").values()}
    again = framework(*command, folder=folder)
    assert again.returncode == 0, again.stdout + again.stderr
    return folder, again.stdout, begun


def test_a_killed_search_goes_on_to_as_many_points_as_asked(tuned: Any) -> None:
    folder, _, begun = tuned
    runs = learning_rates(folder / "results")
    assert len(runs) == 6
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert len(begun) < 6
    assert begun <= {run.info.run_id for run in runs.values()}
    points = [
        json.loads(value)
        for run in all_runs(folder / "results", "tune")
        for name, value in run.data.tags.items()
        if name.startswith("framework.point.")
    ]
    assert len(points) == 6
    assert not [run for run in all_runs(folder / "results", "tune") if run.info.status == "RUNNING"]


def test_the_best_point_is_named(tuned: Any) -> None:
    folder, told, _ = tuned
    best = max(learning_rates(folder / "results").items(), key=lambda item: item[1].data.metrics["val/accuracy"])
    lr, value = best[0], best[1].data.metrics["val/accuracy"]
    assert f"best of tune: train.optimizer.lr={lr}: val/accuracy {value:.4f}" in told


def test_what_all_suggestions_share_is_executed_once(tuned: Any) -> None:
    folder, told, begun = tuned
    keys = {key for run in learning_rates(folder / "results").values() for key in _stages(run)}
    assert len(keys) == 2 + 6
    assert keys <= Store(folder / "results" / "stages").stored()
    # The killed invocation has executed the two, and at least as many of their own as it had begun, but for two.
    [executed] = re.findall(r"stages: (\d+) executed, \d+ shared, \d+ restored", told)
    assert int(executed) <= 6 - max(0, len(begun) - 2)


def test_the_same_search_again_executes_nothing_even_without_ray(
    tuned: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, *_ = tuned
    monkeypatch.chdir(folder)
    before = {run.info.run_id for run in all_runs(folder / "results", "tune")}
    assert here("run", "tune.yaml", "--root", "results", "--executor", "inline", monkeypatch=monkeypatch) == 0
    told = capsys.readouterr().out
    assert told.splitlines()[0] == "0 trials to run, 6 finished earlier"
    assert "best of tune: " in told
    assert {run.info.run_id for run in all_runs(folder / "results", "tune")} == before


def test_more_samples_are_as_many_more_points_one_after_another(
    tuned: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, *_ = tuned
    monkeypatch.chdir(folder)
    arguments = ("run", "tune.yaml", "--root", "results", "--executor", "inline", "--set", "search.samples=8")
    assert here(*arguments, monkeypatch=monkeypatch) == 0
    told = capsys.readouterr().out
    assert told.splitlines()[0] == "2 trials to run, up to 2 of them suggested on the way, 6 finished earlier"
    assert "stages: 2 executed, 0 shared, 4 restored" in told
    assert len(learning_rates(folder / "results")) == 8


# --- ASHA ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def halved(cluster: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Two specs of which one has a scheduler, run by one command; where, and what it said."""
    folder = tmp_path_factory.mktemp("halved")
    write(folder, HALVED)
    options = ("--root", "results", "--address", cluster, "--checkpoint-minutes", "0")
    done = framework("run", "halved.yaml", "whole.yaml", *options, folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


def stopped(root: Path) -> dict[str, Any]:
    return {name: run for name, run in trials(root, "halved").items() if "framework.stopped" in run.data.tags}


def test_what_does_worse_is_stopped_says_so_and_counts_as_done(halved: Any) -> None:
    folder, told = halved
    runs, found = trials(folder / "results", "halved"), stopped(folder / "results")
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert 3 <= len(found) < 5
    for name, run in found.items():
        why = run.data.tags["framework.stopped"]
        assert run.data.tags["mlflow.note.content"].startswith(f"**Stopped early:** {why}\n")
        epoch = int(run.data.metrics["epochs"])
        value = run.data.metrics["val/accuracy"]
        assert why == f"stopped by asha at epoch {epoch}: its val/accuracy of {value:.4f} was not among the best"
        assert "test/accuracy" not in run.data.metrics
        assert f"halved {name}: {why}: test accuracy –" in told
        assert [epoch for epoch, _ in history(folder / "results", run, "val/accuracy")] == list(range(1, epoch + 1))
    assert "train.optimizer.lr=0.1 seed=0" not in found
    assert f"best of halved: train.optimizer.lr=0.1: val/accuracy {_best(runs):.4f}" in told
    [head] = [line for line in told.splitlines() if line.strip().startswith("variant")]
    assert head.split()[-1] == "stopped"
    [parent] = parents(folder / "results", "halved")
    assert parent.data.metrics["stopped"] == len(found)


def _best(runs: dict[str, Any]) -> float:
    return float(runs["train.optimizer.lr=0.1 seed=0"].data.metrics["val/accuracy"])


def test_only_trials_of_a_spec_with_a_scheduler_are_stopped(halved: Any) -> None:
    folder, _ = halved
    for run in trials(folder / "results", "whole").values():
        assert "framework.stopped" not in run.data.tags
        assert "test/accuracy" in run.data.metrics


def test_stopped_trials_are_not_run_again_but_go_on_without_the_scheduler(
    halved: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = halved
    root, found = folder / "results", stopped(folder / "results")
    store = Store(root / "stages")
    keys = {name: run.data.tags["framework.key"] for name, run in found.items()}
    assert not set(keys.values()) & store.stored()
    times = {name: run.info.end_time / 1000 for name, run in found.items()}
    # Their checkpoints lie on the way to a state within the stage, which longer trials share.
    assert {*keys.values()} <= {one.end or one.key for one in store.snapshots() if one.partial}

    monkeypatch.chdir(folder)
    assert here("run", "halved.yaml", "--root", "results", monkeypatch=monkeypatch) == 0
    assert capsys.readouterr().out.splitlines()[0] == "0 trials to run, 5 finished earlier"

    arguments = ("run", "halved.yaml", "--root", "results", "--executor", "inline")
    assert here(*arguments, monkeypatch=monkeypatch) == 2
    assert capsys.readouterr().err == (
        "halved.yaml search.scheduler: trials are compared with others that run at the same time: "
        "take --executor ray, or set this to null\n"
    )
    assert here(*arguments, "--set", "search.scheduler=null", monkeypatch=monkeypatch) == 0
    assert f"{len(found)} trials to run, {5 - len(found)} finished earlier" in capsys.readouterr().out
    runs = trials(root, "halved")
    assert stopped(root) == {}
    for name, run in found.items():
        assert runs[name].info.run_id == run.info.run_id
        assert "test/accuracy" in runs[name].data.metrics
        records = store.load(keys[name])[1].metadata["records"]
        assert [record["epoch"] for record in records if "train/loss" in record["metrics"]] == list(range(1, 7))
        # What the network went through before it was stopped, it did not go through again.
        kept = [record["epoch"] for record in records if record["time"] < times[name]]
        assert max(kept) >= run.data.metrics["epochs"] - 1
