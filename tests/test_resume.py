"""Processes that are killed, and the same command again: as if nothing had happened."""

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from fork_server import Command
from running import all_runs, framework, framework_started, history, parents, trials, wait_for, write

from framework._store import Store

LONG = {
    "long.yaml": """
        name: long
        model: {name: convnet, dropout: 0.1}
        data: {name: digits, validation: 0.2, augment: [crop]}
        defaults: {train: {epochs: 6, batch_size: 64, optimizer: {name: adamw, lr: 0.003}}}
        stages:
          - train
          - prune: {amount: {grid_search: [0.3, 0.6]}}
          - train
          - unprune
          - train
        """,
}
EPOCHS, ALONE, SHARED = 18, 36, 30
# A second worker would take five seconds of a CPU.
COMMAND = ("run", "long.yaml", "--root", "results", "--max-concurrent", "1")


@pytest.fixture(scope="module")
def undisturbed(cluster: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a run that nobody disturbs."""
    folder = tmp_path_factory.mktemp("undisturbed")
    write(folder, LONG)
    done = framework(*COMMAND, "--address", cluster, folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"epochs: {SHARED} executed, {ALONE - SHARED} shared, 0 restored (1.2× fewer)" in done.stdout
    return folder / "results"


@pytest.fixture
def start(cluster: str, tmp_path: Path) -> Iterator[Callable[..., Command]]:
    """Start the command in the background."""
    started: list[Command] = []
    write(tmp_path, LONG)

    def go(*options: str) -> Command:
        command, output = (*COMMAND, "--address", cluster, *options), tmp_path / f"output{len(started)}"
        started.append(framework_started(*command, folder=tmp_path, output=output))
        return started[-1]

    yield go
    for process in started:
        process.kill()
        process.wait()


def everything(root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What all trials have left: states, curves, and what their runs say."""
    found: dict[str, Any] = {}
    store = Store(root / "stages")
    for name, run in trials(root, "long").items():
        assert run.info.status == "FINISHED"
        tensors, _ = store.load(run.data.tags["framework.key"])
        curves = {metric: history(root, run, metric) for metric in run.data.metrics}
        for measured in ("images_per_second", "seconds"):
            assert len(curves.pop(measured)) == (EPOCHS if measured == "images_per_second" else 1)
        assert [epoch for epoch, _ in curves["train/loss"]] == list(range(1, EPOCHS + 1))
        found[name] = {name: tensor.tolist() for name, tensor in tensors.items()}, curves, run.data.params
    assert not [run for run in all_runs(root, "long") if run.info.status == "RUNNING"]
    return found


def executed(output: Path) -> int:
    """How many epochs the command says that it has executed."""
    found = re.search(r"epochs: (\d+) executed, \d+ shared, \d+ restored", output.read_text())
    assert found is not None
    return int(found[1])


def worker(folder: Path) -> psutil.Process | None:
    """A worker process that runs a trial of the command in this folder, to which it goes; others may be running too."""
    for process in psutil.process_iter(["cmdline", "cwd"]):
        if process.info["cwd"] == str(folder) and "ray::ImplicitFunc" in " ".join(process.info["cmdline"] or ()):
            return process
    return None


def trained(folder: Path) -> Callable[[], bool]:
    """Whether a checkpoint or a result is stored."""
    return lambda: any((folder / "results" / "stages").glob("*.json"))


def test_a_killed_driver(start: Any, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = start()
    wait_for(trained(tmp_path))
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert start().wait(200) == 0
    assert "2 trials to run" in (tmp_path / "output1").read_text()
    assert executed(tmp_path / "output1") <= SHARED
    assert everything(tmp_path / "results", monkeypatch) == everything(undisturbed, monkeypatch)
    assert [run.info.status for run in parents(tmp_path / "results", "long")] == ["FINISHED", "KILLED"]
    again = framework(*COMMAND, "--executor", "inline", folder=tmp_path)
    assert "0 trials to run, 2 finished earlier" in again.stdout


def test_a_killed_worker(start: Any, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = start()
    wait_for(trained(tmp_path))
    victim = worker(tmp_path)
    assert victim is not None
    victim.kill()
    assert process.wait(200) == 0
    assert "tried again, as it failed: its worker process died" in (tmp_path / "output0").read_text()
    assert everything(tmp_path / "results", monkeypatch) == everything(undisturbed, monkeypatch)


def test_a_request_to_terminate_is_met_as_ctrl_c_is(
    start: Any, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = start()
    wait_for(trained(tmp_path))
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 130
    told = (tmp_path / "output0").read_text()
    assert told.splitlines()[-1].startswith("interrupted; what is finished is kept")
    assert "Traceback" not in told
    assert {run.info.status for run in all_runs(tmp_path / "results", "long")} == {"KILLED"}
    assert framework(*COMMAND, "--executor", "inline", folder=tmp_path).returncode == 0
    assert everything(tmp_path / "results", monkeypatch) == everything(undisturbed, monkeypatch)


def test_two_invocations_at_once_on_one_store_execute_every_stage_once(
    start: Any, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = str(tmp_path / "results" / "stages")
    first = start()
    second = start("--root", "others", "--store", stages)
    assert first.wait(200) == second.wait(200) == 0
    assert executed(tmp_path / "output0") + executed(tmp_path / "output1") == SHARED
    expected = everything(undisturbed, monkeypatch)
    assert everything(tmp_path / "results", monkeypatch) == expected
    (tmp_path / "others" / "stages").symlink_to(stages)
    assert everything(tmp_path / "others", monkeypatch) == expected


def test_one_more_value_in_a_grid_runs_only_what_is_new(undisturbed: Path, tmp_path: Path) -> None:
    write(tmp_path, LONG)
    options = ("--store", str(undisturbed / "stages"), "--executor", "inline")
    longer = ("--set", "stages.1.prune.amount={grid_search: [0.3, 0.6, 0.9]}")
    done = framework(*COMMAND, *options, *longer, folder=tmp_path)
    assert "stages: 4 executed, 0 shared, 11 restored; epochs: 12 executed, 0 shared, 42 restored" in done.stdout


# --- failures ------------------------------------------------------------------------------------------------------


@pytest.fixture
def trial_that(tmp_path: Path, gate: str, cluster: str) -> Callable[..., tuple[subprocess.CompletedProcess[str], Any]]:
    """Run a trial of two stages, and return how the command ended and the run of the trial."""

    def run(stage: str, resources: str, **more: str) -> tuple[subprocess.CompletedProcess[str], Any]:
        text = f"""
        name: failing
        model: convnet
        data: {{name: digits, validation: 0.5}}
        resources: {resources}
        stages:
          - train: {{steps: 1, batch_size: 16}}
          - {stage}
        """
        write(tmp_path, {"failing.yaml": text})
        options = ("--root", "results", "--address", cluster)
        done = framework("run", "failing.yaml", *options, folder=tmp_path, PYTHONPATH=gate, **more)
        ((_, found),) = trials(tmp_path / "results", "failing").items()
        return done, found

    return run


def test_a_trial_that_hangs_is_ended_and_says_so(trial_that: Any) -> None:
    done, run = trial_that("wait: {path: never}", "{timeout: 4, retries: 0}")
    assert done.returncode == 1
    reason = "it was ended after its timeout of 4 s (resources.timeout)"
    assert run.data.tags["framework.reason"] == reason
    assert run.info.status == "FAILED"
    assert f"failed: failing seed=0: {reason}" in done.stdout


def test_a_trial_is_tried_again_as_often_as_asked_and_its_first_stage_is_not(trial_that: Any) -> None:
    done, run = trial_that("die", "{retries: 2}")
    assert done.returncode == 1
    assert done.stdout.count("tried again, as it failed: its worker process died") == 2
    assert "stages: 1 executed, 0 shared, 0 restored" in done.stdout
    assert run.info.status == "FAILED"


def test_a_loss_that_is_no_number_fails_the_trial_after_its_retry(trial_that: Any) -> None:
    done, run = trial_that("train: {steps: 3, optimizer: {name: sgd, lr: 1e30}}", "{retries: 1}")
    assert done.returncode == 1
    assert done.stdout.count("tried again, as it failed: the training loss became nan") == 1
    assert run.data.tags["framework.reason"].startswith("the training loss became nan")


def test_a_store_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    write(tmp_path, LONG)
    (tmp_path / "blocked").write_text("a file where the store's folder should be")
    done = framework(*COMMAND, "--executor", "inline", "--store", "blocked", folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert str(tmp_path / "blocked") in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_state_is_there_for_whoever_asks(undisturbed: Path) -> None:
    (run, *_) = trials(undisturbed, "long").values()
    keys = run.data.tags["framework.stages"].split()
    assert keys[-1] == run.data.tags["framework.key"]
    assert set(keys) <= Store(undisturbed / "stages").stored()
    tensors, snapshot = Store(undisturbed / "stages").load(keys[-1])
    assert snapshot.metadata["stages"] == ["train", "prune", "train", "unprune", "train"]
    assert all(isinstance(tensor, torch.Tensor) for tensor in tensors.values())
    assert os.path.getsize(undisturbed / "stages" / snapshot.file) == snapshot.size
