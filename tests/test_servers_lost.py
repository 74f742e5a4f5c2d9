"""A tracking server that goes away for a while."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import pytest
from running import framework_started, stages_ended, wait_for, write
from served import epochs, needs_server, runs_of
from serving import Postgres, Proxy, Tracking
from test_tracking import SHAPE, begin, make_plan, record
from torch import nn

from framework import load_model
from framework._errors import TrackingError
from framework._store import Store
from framework._tracking import RunArtifacts, Tracker

pytestmark = needs_server
SPEC = {
    "away.yaml": """
        name: away
        model: {name: convnet, widths: [4, 8]}
        data: {name: digits, validation: 0.5}
        defaults: {train: {epochs: 2, batch_size: 64}}
        stages:
          - train
          - wait: {path: one.flag}
          - prune: {amount: 0.5}
          - wait: {path: two.flag}
          - train
        """,
}


def test_an_answer_that_is_lost_leaves_nothing_twice(
    pass_by: Callable[..., Proxy], server_client: Any, tmp_path: Path, make_net: Callable[..., nn.Module]
) -> None:
    proxy, lost = pass_by(), set()

    def first(method: str, path: str) -> bool:
        """Of every kind of request that writes the first answer is lost, and of batches every third."""
        kind = method, "files" if "artifacts" in path else path.partition("/m-")[0]
        again = kind in lost and not (path.endswith("log-batch") and proxy.seen.count((method, path)) % 3 == 0)
        writes = method != "GET" and not path.endswith("/search")
        lost.add(kind)
        return writes and not again

    proxy.loses = first
    told: list[str] = []
    plan, other = make_plan("twice"), make_plan("twice", "other", seed=2)
    network = make_net()
    with Tracker(proxy.uri, tmp_path, told.append) as tracker:
        begin(tracker, plan, other)
        for epoch in range(1, 6):
            tracker.recorded(plan, [record(epoch)])
            tracker.wait()
        tracker.summarised(
            "twice", {"epochs/executed": 5.0}, {"notes/summary.txt": b"five"}, lambda run: "Five epochs."
        )
        artifacts = RunArtifacts({"a.txt": b"a"}, {"model/flops": 7.0}, lambda exported: "A note.", network, SHAPE)
        tracker.trial_ended(plan, None, artifacts=lambda run: artifacts)
        tracker.trial_ended(other, "why not")
    endings = ("experiments/create", "runs/create", "runs/log-batch", "runs/set-tag", "runs/update", "outputs")
    endings += ("logged-models", "files", "set-experiment-tag")
    assert [end for end in endings if not any(kind.endswith(end) for _, kind in lost)] == []
    assert len([line for line in told if "answers again" in line]) == len(told) / 2
    parent, trials = runs_of(server_client, "twice")
    assert (parent.info.status, parent.data.metrics["failed"]) == ("FAILED", 1)
    for name in ("trials", "epochs/executed"):
        assert len(epochs(server_client, parent, name)) == 1
    assert trials[other.name].info.status == "FAILED"
    run = server_client.get_run(trials[plan.name].info.run_id)
    assert run.info.status == "FINISHED"
    assert epochs(server_client, run, "train/loss") == epochs(server_client, run, "stage") == [1, 2, 3, 4, 5]
    assert epochs(server_client, run, "model/flops") == epochs(server_client, run, "epochs") == [5]
    assert len(run.outputs.model_outputs) == 1
    assert len(server_client.search_logged_models([run.info.experiment_id])) == 1


def test_mlflow_itself_asks_as_often_as_before_once_trials_are_tracked(
    tracking: Tracking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for given in ("3", None):
        if given is None:
            monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES")
        else:
            monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", given)
        with Tracker(tracking.uri, tmp_path):
            assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "0"
        assert os.environ.get("MLFLOW_HTTP_REQUEST_MAX_RETRIES") == given


def test_a_patience_that_is_no_number_is_a_plain_error(
    tracking: Tracking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRAMEWORK_TRACKING_PATIENCE", "an hour")
    with pytest.raises(TrackingError, match=r"^FRAMEWORK_TRACKING_PATIENCE must be .* and not 'an hour'$"):
        Tracker(tracking.uri, tmp_path)


def test_nobody_waits_who_does_not_want_to(pass_by: Callable[..., Proxy], server_client: Any, tmp_path: Path) -> None:
    proxy, told, asked = pass_by(), Queue(), []
    plan = make_plan("impatient")

    def interrupt() -> None:
        told.get(timeout=60)  # it says that it waits
        asked.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    def lose_it() -> None:
        with Tracker(proxy.uri, tmp_path, told.put) as tracker:
            begin(tracker, plan)
            tracker.wait()
            proxy.down = True
            tracker.recorded(plan, [record(1)])
            interrupting.start()
            tracker.wait()

    interrupting = Thread(target=interrupt)
    with pytest.raises(KeyboardInterrupt):
        lose_it()
    interrupting.join()
    assert time.monotonic() - asked[0] < 60  # and not ten minutes
    # What it did not get is said, and comes with the next invocation.
    assert "refuses: Remote end closed connection without response" in told.get_nowait()
    proxy.down = False
    with Tracker(proxy.uri, tmp_path) as tracker:
        begin(tracker, plan)
        tracker.recorded(plan, [record(1), record(2)])
        tracker.trial_ended(plan, None)
    found = server_client.search_runs([server_client.get_experiment_by_name("impatient").experiment_id])
    (run,) = [run for run in found if run.info.run_name == plan.name]
    assert (run.info.status, epochs(server_client, run, "train/loss")) == ("FINISHED", [1, 2])


def test_a_server_that_goes_away_for_a_while_loses_nothing(
    postgres: Postgres, tracking: Tracking, server_client: Any, gate: str, tmp_path: Path
) -> None:
    write(tmp_path, SPEC)
    store = Store(str(tmp_path / "results" / "stages"))
    command = ("run", "away.yaml", "--root", "results", "--executor", "inline")
    more = {"PYTHONPATH": gate, "MLFLOW_TRACKING_URI": tracking.uri}
    run = framework_started(*command, folder=tmp_path, output=tmp_path / "told.txt", **more)

    def said(what: str) -> int:
        return (tmp_path / "told.txt").read_text().count(what)

    wait_for(lambda: stages_ended(store) == 1)
    tracking.kill()
    (tmp_path / "one.flag").touch()
    wait_for(lambda: said("does not answer ([Errno 111] Connection refused)") == 1)
    wait_for(lambda: stages_ended(store) == 3)  # the training has gone on
    tracking.start()
    wait_for(lambda: said("answers again") == 1)
    postgres.kill(signal.SIGQUIT)
    (tmp_path / "two.flag").touch()
    wait_for(lambda: said("does not answer (HTTP 503)") == 1)
    wait_for(lambda: stages_ended(store) == 5)
    postgres.start()
    assert run.wait(120) == 0, (tmp_path / "told.txt").read_text()
    assert (said("does not answer"), said("answers again"), said("Traceback")) == (2, 2, 0)
    parent, trials = runs_of(server_client, "away")
    ((_, trial),) = trials.items()
    assert (parent.info.status, trial.info.status) == ("FINISHED", "FINISHED")
    assert epochs(server_client, trial, "train/loss") == [1, 2, 3, 4]
    assert epochs(server_client, trial, "sparsity") == [1, 2, 2, 2, 2, 3, 4, 4]
    load_model(f"runs:/{trial.info.run_id}/model", tracking_uri=tracking.uri)
