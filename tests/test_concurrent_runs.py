"""Invocations that run the same trials at once: each trial has one run, and counts once."""

import re
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from serving import Tracking
from test_tracking import begin, history, make_plan, record

from framework._cli.find_run import find_run
from framework._report.comparison import compare
from framework._report.results import Results
from framework._tracking import Reader, RunArtifacts, Tracker, default_uri
from framework._tracking.server import connect

ACCURACY = "test/accuracy"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a database of this module's own."""
    root = tmp_path_factory.mktemp("shared")
    connect(default_uri(root))
    return root


@pytest.fixture(scope="module")
def served_uri(shared: Path) -> Iterator[str]:
    """The address of a server on that database."""
    server = Tracking(default_uri(shared), shared)
    try:
        server.start()
        yield server.uri
    finally:
        server.kill()


@pytest.fixture(params=["sqlite", "http"])
def uri(request: pytest.FixtureRequest, shared: Path) -> str:
    return default_uri(shared) if request.param == "sqlite" else request.getfixturevalue("served_uri")


@pytest.fixture
def experiment(request: pytest.FixtureRequest) -> str:
    return re.sub(r"\W", "-", request.node.name)


@pytest.fixture
def plans(experiment: str) -> list[Any]:
    return [make_plan(experiment, f"key{seed}", seed=seed, swept={}) for seed in (0, 1)]


def trial_runs(uri: str, experiment: str) -> list[Any]:
    client = connect(uri)
    identity = client.get_experiment_by_name(experiment).experiment_id
    return [run for run in client.search_runs([identity]) if "mlflow.parentRunId" in run.data.tags]


def counted(uri: str, experiment: str) -> list[int]:
    """What the readers make of it: how many trials each group of `compare` has, and that each has a name of its own."""
    results = Results(Reader(uri), [experiment])
    for trial in results.trials:
        assert find_run(f"{experiment}/{trial.name}", results.reader).run_id == trial.run_id
    return [group.n for group in compare(results, ACCURACY)]


def report(tracker: Tracker, plan: Any) -> None:
    tracker.recorded(plan, [record(1), record(2, 1, **{ACCURACY: 0.9 + plan.seed / 100})])


def end(tracker: Tracker, plan: Any) -> None:
    artifacts = RunArtifacts({"a.txt": b"a"}, {"model/flops": 7.0}, lambda exported: "A note.")
    tracker.trial_ended(plan, None, artifacts=lambda run: artifacts)


def run_all(uri: str, root: Path, plans: list[Any], ready: threading.Barrier, reading: threading.Barrier) -> None:
    """One invocation, as the session makes it: what is finished is looked up once, at the start."""
    with Tracker(uri, root) as tracker:
        tracker.wait()
        ready.wait(120)
        finished = tracker.finished(plans[0].experiment)
        reading.wait(120)
        pending = [plan for plan in plans if plan.key not in finished]
        begin(tracker, *pending)
        for plan in pending:
            report(tracker, plan)
            end(tracker, plan)


@pytest.mark.parametrize("invocations", [2, 10])
def test_of_invocations_at_once_each_trial_has_one_run(
    invocations: int, uri: str, shared: Path, experiment: str, plans: list[Any]
) -> None:
    ready, reading = threading.Barrier(invocations), threading.Barrier(invocations)
    with ThreadPoolExecutor(invocations) as pool:
        jobs = [pool.submit(run_all, uri, shared, plans, ready, reading) for _ in range(invocations)]
        for job in jobs:
            job.result()
    runs = trial_runs(uri, experiment)
    assert Counter(run.data.tags["framework.key"] for run in runs) == {plan.key: 1 for plan in plans}
    for run in runs:
        assert (run.info.status, run.data.metrics["model/flops"]) == ("FINISHED", 7.0)
        assert {epoch for epoch, _ in history(connect(uri), run, "train/loss")} == {1, 2}
    assert counted(uri, experiment) == [2]


@pytest.fixture
def two(uri: str, shared: Path, plans: list[Any]) -> Iterator[tuple[Tracker, Tracker]]:
    """Two invocations that both have begun when nothing was finished, and both run the first trial."""
    with Tracker(uri, shared) as first, Tracker(uri, shared) as second:
        for tracker in (first, second):
            assert tracker.finished(plans[0].experiment) == {}
            begin(tracker, plans[0])
            tracker.wait()
            report(tracker, plans[0])
        yield first, second


def only_run(uri: str, plan: Any) -> Any:
    [run] = trial_runs(uri, plan.experiment)
    return run


def test_whoever_ends_first_finishes_the_run(uri: str, plans: list[Any], two: tuple[Tracker, Tracker]) -> None:
    plan = plans[0]
    assert only_run(uri, plan).info.status == "RUNNING"
    for tracker in reversed(two):  # the second one, who has followed so far
        end(tracker, plan)
        tracker.wait()
        run = only_run(uri, plan)
        assert run.info.status == "FINISHED"
        assert [epoch for epoch, _ in history(connect(uri), run, "train/loss")] == [1, 2]
        assert len(history(connect(uri), run, "seconds")) == 1
    assert counted(uri, plan.experiment) == [1]


def test_who_follows_goes_on_where_the_other_one_failed(
    uri: str, plans: list[Any], two: tuple[Tracker, Tracker]
) -> None:
    plan, (first, second) = plans[0], two
    first.trial_ended(plan, "out of memory")
    first.wait()
    assert only_run(uri, plan).info.status == "FAILED"
    end(second, plan)
    second.wait()
    run = only_run(uri, plan)
    assert (run.info.status, run.data.tags.get("framework.reason")) == ("FINISHED", None)
    assert [epoch for epoch, _ in history(connect(uri), run, "train/loss")] == [1, 2]


def test_who_fails_or_is_interrupted_leaves_the_run_to_the_other_one(
    uri: str, plans: list[Any], two: tuple[Tracker, Tracker]
) -> None:
    plan, (first, second) = plans[0], two
    second.trial_ended(plan, "out of memory")
    second.wait()
    assert only_run(uri, plan).info.status == "RUNNING"
    end(first, plan)
    first.wait()
    assert only_run(uri, plan).info.status == "FINISHED"


def test_an_interrupted_one_does_not_spoil_what_another_has_finished(uri: str, shared: Path, plans: list[Any]) -> None:
    plan, interrupted = plans[0], Tracker(uri, shared)
    begin(interrupted, plan)
    interrupted.wait()
    with Tracker(uri, shared) as tracker:
        begin(tracker, plan)
        end(tracker, plan)
    interrupted.interrupt()
    interrupted.close()
    assert only_run(uri, plan).info.status == "FINISHED"


def test_who_forces_does_not_take_a_run_from_under_another_one(uri: str, shared: Path, plans: list[Any]) -> None:
    plan = plans[0]
    with Tracker(uri, shared) as other:
        begin(other, plan)
        other.wait()
        with Tracker(uri, shared) as forcing:
            begin(forcing, plan, force=True)
            end(forcing, plan)
        report(other, plan)
        end(other, plan)
    assert only_run(uri, plan).info.status == "FINISHED"


def test_what_earlier_versions_left_twice_counts_once_and_is_repaired(
    uri: str, shared: Path, plans: list[Any], experiment: str
) -> None:
    with Tracker(uri, shared) as tracker:
        begin(tracker, *plans)
        for plan in plans:
            report(tracker, plan)
            end(tracker, plan)
    client = connect(uri)
    kept = {run.info.run_id for run in trial_runs(uri, experiment)}
    for run in trial_runs(uri, experiment):
        for status, later in (("FINISHED", 1), ("FAILED", -1), ("KILLED", -2)):
            start = run.info.start_time + later
            tags = dict(run.data.tags)
            twin = client.create_run(run.info.experiment_id, start, tags, run.info.run_name).info.run_id
            client.log_param(twin, "seed", run.data.params["seed"])
            client.log_metric(twin, ACCURACY, 0.5)
            client.set_terminated(twin, status)
    assert len(trial_runs(uri, experiment)) == 8
    assert {trial.run_id for trial in Reader(uri).trials(experiment)} == kept
    assert counted(uri, experiment) == [2]
    with Tracker(uri, shared) as tracker:  # as `run` does first of all
        assert {run.run_id for run in tracker.finished(experiment).values()} == kept
    assert {run.info.run_id for run in trial_runs(uri, experiment)} == kept
