import math
import os
import re
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from framework._errors import DataError, TrackingError
from framework._masks import forward_order, prunable, sparsity
from framework._plan import TrialPlan, as_it_stands, make_plans
from framework._spec import load
from framework._stage import Record
from framework._tracking import RunArtifacts, Tracker, default_uri, load_model, load_model_state, ui_command
from framework._tracking.params import parameters, valid_name

SHAPE = (1, 8, 8)


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A local store, with a name that must be quoted in URIs."""
    return tmp_path_factory.mktemp("store") / "our runs"


@pytest.fixture(scope="session")
def uri(root: Path) -> str:
    return f"sqlite:///{root / 'mlflow.db'}"


@pytest.fixture
def open_tracker(uri: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Tracker]:
    """Begins an invocation; the current folder is one that nobody should write to."""
    monkeypatch.chdir(tmp_path)
    return lambda: Tracker(uri, root)


@pytest.fixture
def client(uri: str, open_tracker: Callable[[], Tracker]) -> Any:
    with open_tracker():
        pass
    from mlflow import MlflowClient

    return MlflowClient(uri)


@pytest.fixture
def experiment(request: pytest.FixtureRequest) -> str:
    """An experiment of the test's own."""
    return request.node.name


@pytest.fixture
def plan(experiment: str) -> TrialPlan:
    return make_plan(experiment)


def make_plan(experiment: str, key: str = "key", **fields: Any) -> TrialPlan:
    return replace(
        TrialPlan(
            experiment=experiment,
            swept={"prune.amount": 0.2},
            seed=1,
            model={"name": "convnet", "channels": [4, 8]},
            data={"dataset": {"name": "digits", "flat": False}, "validation": 0.1, "augment": []},
            stages=(
                {"name": "train", "epochs": 2, "optimizer": {"name": "sgd", "lr": 5e-4}},
                {"name": "prune", "amount": 0.2, "layers": None},
            ),
            resources={"cpu": 1, "gpu": "auto"},
            keys=("initial", key),
            stage_epochs=(2,),
        ),
        **fields,
    )


def record(epoch: int, stage: int = 0, **metrics: float) -> Record:
    metrics = {"train/loss": 1 / (epoch + 1), "sparsity": 0.1 * stage} | metrics
    return Record(epoch, stage, metrics, 1_800_000_000 + epoch + 0.1 * stage)


def begin(tracker: Tracker, *plans: TrialPlan, force: bool = False) -> None:
    tracker.start(plans[0].experiment, "What it is for.", len(plans), "framework run it.yaml")
    for plan in plans:
        tracker.trial_started(plan, "name: it\n", force=force)


def runs_of(client: Any, experiment: str) -> dict[str, Any]:
    identity = client.get_experiment_by_name(experiment).experiment_id
    return {run.info.run_name: run for run in client.search_runs([identity])}


def history(client: Any, run: Any, name: str) -> list[tuple[int, float]]:
    return [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)]


def artifact(client: Any, run: Any, name: str, folder: Path) -> bytes:
    return Path(client.download_artifacts(run.info.run_id, name, str(folder))).read_bytes()


def test_a_finished_trial_leaves_one_run_with_its_metrics_on_one_axis(
    open_tracker: Callable[[], Tracker], client: Any, plan: TrialPlan, tmp_path: Path
) -> None:
    with open_tracker() as tracker:
        begin(tracker, plan)
        tracker.recorded(plan, [record(1), record(2)])
        tracker.recorded(plan, [record(2, 1, **{"test/accuracy": 0.9})])
        tracker.trial_ended(plan, None)
    run = runs_of(client, plan.experiment)["prune.amount=0.2 seed=1"]
    assert run.info.status == "FINISHED"
    assert history(client, run, "train/loss") == [(1, 1 / 2), (2, 1 / 3), (2, 1 / 3)]
    assert history(client, run, "sparsity") == [(1, 0.0), (2, 0.0), (2, 0.1)]
    assert history(client, run, "test/accuracy") == [(2, 0.9)]
    assert history(client, run, "epochs") == [(2, 2.0)]
    assert run.data.metrics["sparsity"] == 0.1
    [first, *_] = client.get_metric_history(run.info.run_id, "sparsity")
    assert first.timestamp == 1_800_000_001_000
    assert artifact(client, run, "spec.yaml", tmp_path) == b"name: it\n"


def test_of_two_values_at_one_epoch_the_later_is_the_runs_last_even_within_a_millisecond(
    open_tracker: Callable[[], Tracker], client: Any, plan: TrialPlan
) -> None:
    with open_tracker() as tracker:
        begin(tracker, plan)
        tracker.recorded(plan, [Record(1, 0, {"sparsity": 0.3}, 1.8e9), Record(1, 1, {"sparsity": 0.2}, 1.8e9)])
        tracker.trial_ended(plan, None)
    assert runs_of(client, plan.experiment)[plan.name].data.metrics["sparsity"] == 0.2


def test_parameters_are_flat_and_swept_ones_stand_under_their_short_name_too(
    open_tracker: Callable[[], Tracker], client: Any, plan: TrialPlan
) -> None:
    with open_tracker() as tracker:
        begin(tracker, plan)
        tracker.trial_ended(plan, None)
    assert runs_of(client, plan.experiment)[plan.name].data.params == {
        "model": "convnet",
        "model.channels": "[4, 8]",
        "data.dataset": "digits",
        "data.dataset.flat": "false",
        "data.validation": "0.1",
        "data.augment": "[]",
        "seed": "1",
        "stages.0": "train",
        "stages.0.train.epochs": "2",
        "stages.0.train.optimizer": "sgd",
        "stages.0.train.optimizer.lr": "0.0005",
        "stages.1": "prune",
        "stages.1.prune.amount": "0.2",
        "stages.1.prune.layers": "null",
        "prune.amount": "0.2",
    }


def test_trials_are_nested_under_the_invocation_which_says_how_they_went(
    open_tracker: Callable[[], Tracker], client: Any, experiment: str
) -> None:
    good, bad = make_plan(experiment, "a"), make_plan(experiment, "b", seed=2)
    with open_tracker() as tracker:
        begin(tracker, good, bad)
        tracker.trial_ended(good, None)
        tracker.trial_ended(bad, "prune: no layer matches 'fc9'")
    runs = runs_of(client, experiment)
    [parent] = [run for name, run in runs.items() if name.startswith("run 20")]
    children = [runs[good.name], runs[bad.name]]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert parent.info.status == "FAILED"
    assert parent.data.metrics == {"trials": 2, "failed": 1}
    assert parent.data.tags["framework.command"] == "framework run it.yaml"
    assert parent.data.tags["mlflow.note.content"] == "What it is for."
    assert children[1].info.status == "FAILED"
    assert children[1].data.tags["framework.reason"] == "prune: no layer matches 'fc9'"
    assert children[1].data.tags["mlflow.note.content"] == "prune: no layer matches 'fc9'"
    assert client.get_experiment_by_name(experiment).tags["framework.description"] == "What it is for."


def test_a_run_says_which_commit_it_comes_from(
    open_tracker: Callable[[], Tracker], client: Any, plan: TrialPlan, tmp_path: Path
) -> None:
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.example"]
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "one"]):
        subprocess.run([*git, *command], cwd=tmp_path, check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    with open_tracker() as tracker:
        begin(tracker, plan)
        tracker.trial_ended(plan, None)
    tags = runs_of(client, plan.experiment)[plan.name].data.tags
    assert tags["mlflow.source.git.commit"] == head.strip()
    assert tags["mlflow.source.name"] == "framework run"


def test_an_interrupted_trial_goes_on_in_its_run_with_every_record_there_once(
    open_tracker: Callable[[], Tracker], client: Any, plan: TrialPlan
) -> None:
    # Twice at epoch 2 in stage 0: an epoch and the stage's end; the invocation dies between them.
    records = [record(1), record(2), record(2, **{"test/accuracy": 0.5}), record(2, 1), record(3, 2)]
    with open_tracker() as tracker:
        begin(tracker, plan)
        tracker.recorded(plan, records[:2])
    killed = runs_of(client, plan.experiment)[plan.name]
    assert (killed.info.status, killed.data.tags["framework.reason"]) == ("KILLED", "interrupted")
    with open_tracker() as tracker:
        assert tracker.finished(plan.experiment) == {}
        begin(tracker, plan)
        later = [replace(r, time=r.time + 1000) for r in records]  # computed again
        tracker.recorded(plan, later[:1])
        tracker.recorded(plan, later[1:])
        tracker.trial_ended(plan, None)
    runs = runs_of(client, plan.experiment)
    run = runs[plan.name]
    assert run.info.run_id == killed.info.run_id
    assert run.info.status == "FINISHED"
    assert "framework.reason" not in run.data.tags
    assert "mlflow.note.content" not in run.data.tags
    assert history(client, run, "sparsity") == [(r.epoch, r.metrics["sparsity"]) for r in records]
    assert history(client, run, "test/accuracy") == [(2, 0.5)]
    assert len([name for name in runs if name == plan.name]) == 1


def test_a_trial_that_is_tried_again_has_every_record_once(
    open_tracker: Callable[[], Tracker], client: Any, plan: TrialPlan
) -> None:
    records = [record(1), record(2), record(2, 1), record(3, 2)]
    with open_tracker() as tracker:
        begin(tracker, plan)
        tracker.recorded(plan, records[:3])
        tracker.trial_restarted(plan)
        tracker.recorded(plan, records[:1])  # from the store
        tracker.trial_restarted(plan)
        tracker.recorded(plan, [replace(r, time=r.time + 1000) for r in records])
        tracker.trial_ended(plan, None)
    run = runs_of(client, plan.experiment)[plan.name]
    assert history(client, run, "sparsity") == [(r.epoch, r.metrics["sparsity"]) for r in records]
    assert run.data.metrics["epochs"] == 3


def test_a_run_knows_all_its_stages_and_the_invocation_what_became_of_them(
    open_tracker: Callable[[], Tracker], client: Any, plan: TrialPlan
) -> None:
    plan = replace(plan, keys=("initial", "first", "second"))
    with open_tracker() as tracker:
        begin(tracker, plan)
        tracker.trial_ended(plan, None)
        tracker.summarised(plan.experiment, {"epochs/executed": 3.0, "epochs/shared": 4.0})
    runs = runs_of(client, plan.experiment)
    assert runs.pop(plan.name).data.tags["framework.stages"] == "first second"
    ((_, parent),) = runs.items()
    assert parent.data.metrics == {"epochs/executed": 3, "epochs/shared": 4, "trials": 1, "failed": 0}


def test_finished_trials_are_found_by_their_key_and_experiment(
    open_tracker: Callable[[], Tracker], client: Any, experiment: str
) -> None:
    done, failed = (make_plan(experiment, key) for key in ("done", "failed"))
    elsewhere = replace(done, experiment=f"{experiment} elsewhere")
    with open_tracker() as tracker:
        begin(tracker, done, failed)
        tracker.recorded(done, [record(1), record(2, 1, **{"test/accuracy": 0.75})])
        tracker.trial_ended(done, None)
        tracker.trial_ended(failed, "why not")
    with open_tracker() as tracker:
        found = tracker.finished(experiment)
        assert tracker.finished(elsewhere.experiment) == {}
    assert list(found) == ["done"]
    run = found["done"]
    seconds = run.metrics["seconds"]
    assert run.metrics == {
        "train/loss": 1 / 3,
        "sparsity": 0.1,
        "test/accuracy": 0.75,
        "epochs": 2,
        "seconds": seconds,
    }
    assert 0 <= seconds < 60
    assert client.get_run(run.run_id).info.status == "FINISHED"


def test_a_stopped_trial_is_finished_says_why_and_goes_on_where_it_is_run_again(
    open_tracker: Callable[[], Tracker], client: Any, plan: TrialPlan
) -> None:
    with open_tracker() as tracker:
        begin(tracker, plan)
        tracker.recorded(plan, [record(1)])
        tracker.trial_ended(plan, None, stopped="stopped by somebody")
    runs = runs_of(client, plan.experiment)
    stopped = runs.pop(plan.name)
    assert stopped.info.status == "FINISHED"
    assert stopped.data.tags["framework.stopped"] == stopped.data.tags["mlflow.note.content"] == "stopped by somebody"
    assert stopped.data.metrics["epochs"] == 1
    assert next(iter(runs.values())).data.metrics == {"trials": 1, "failed": 0, "stopped": 1}
    with open_tracker() as tracker:
        assert tracker.finished(plan.experiment)[plan.key].stopped
        begin(tracker, plan)
        tracker.recorded(plan, [record(1), record(2)])
        tracker.trial_ended(plan, None)
    run = runs_of(client, plan.experiment)[plan.name]
    assert (run.info.run_id, run.info.status) == (stopped.info.run_id, "FINISHED")
    assert not {"framework.stopped", "mlflow.note.content"} & run.data.tags.keys()
    assert history(client, run, "train/loss") == [(1, 1 / 2), (2, 1 / 3)]
    assert run.data.metrics["epochs"] == 2
    with open_tracker() as tracker:
        assert not tracker.finished(plan.experiment)[plan.key].stopped


def test_points_are_found_again_by_their_study(
    open_tracker: Callable[[], Tracker], client: Any, plan: TrialPlan
) -> None:
    with open_tracker() as tracker:
        assert tracker.points(plan.experiment, "a") == {}
        begin(tracker, plan)
        tracker.suggested(plan.experiment, "a", 0, [0.1, 2])
        tracker.suggested(plan.experiment, "b", 1, [1e-7])
        tracker.interrupt()
    with open_tracker() as tracker:
        begin(tracker, plan)
        tracker.suggested(plan.experiment, "a", 11, [0.1 + 0.2, 0])
    with open_tracker() as tracker:
        assert tracker.points(plan.experiment, "a") == {0: [0.1, 2], 11: [0.1 + 0.2, 0]}
        assert tracker.points(plan.experiment, "b") == {1: [1e-7]}


@pytest.mark.parametrize("status", ["FINISHED", "FAILED"])
def test_force_puts_a_new_run_in_the_place_of_the_old_one(
    open_tracker: Callable[[], Tracker], client: Any, plan: TrialPlan, status: str
) -> None:
    with open_tracker() as tracker:
        begin(tracker, plan)
        tracker.recorded(plan, [record(1), record(2)])
        tracker.trial_ended(plan, None if status == "FINISHED" else "why not")
    old = runs_of(client, plan.experiment)[plan.name]
    with open_tracker() as tracker:
        begin(tracker, plan, force=True)
        tracker.recorded(plan, [record(1)])
        tracker.trial_ended(plan, None)
    [new] = [run for name, run in runs_of(client, plan.experiment).items() if name == plan.name]
    assert new.info.run_id != old.info.run_id
    assert history(client, new, "train/loss") == [(1, 1 / 2)]
    assert client.get_run(old.info.run_id).info.lifecycle_stage == "deleted"


def test_an_exception_leaves_no_run_running(open_tracker: Callable[[], Tracker], client: Any, plan: TrialPlan) -> None:
    def interrupted() -> None:
        with open_tracker() as tracker:
            begin(tracker, plan)
            tracker.recorded(plan, [record(1)])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    runs = runs_of(client, plan.experiment)
    assert {run.info.status for run in runs.values()} == {"KILLED"}
    assert len(runs) == 2
    assert history(client, runs[plan.name], "train/loss") == [(1, 1 / 2)]


def test_runs_of_a_killed_process_are_ended_by_the_next_invocation(
    open_tracker: Callable[[], Tracker], client: Any, plan: TrialPlan
) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    with open_tracker() as tracker:
        begin(tracker, plan)
        tracker.trial_ended(plan, None)
    experiment_id = client.get_experiment_by_name(plan.experiment).experiment_id
    processes = {"dead": f"{socket.gethostname()}:{process.pid}", "alive": f"{socket.gethostname()}:{os.getpid()}"}
    processes["elsewhere"] = f"another-host:{process.pid}"
    for name, where in processes.items():
        client.create_run(experiment_id, tags={"framework.process": where}, run_name=name)
    with open_tracker() as tracker:
        assert tracker.finished(plan.experiment).keys() == {plan.key}  # nothing is left to run
    runs = runs_of(client, plan.experiment)
    assert {name: runs[name].info.status for name in processes} == {
        "dead": "KILLED",
        "alive": "RUNNING",
        "elsewhere": "RUNNING",
    }
    assert runs["dead"].data.tags["framework.reason"] == "the process was killed"


def test_more_metrics_and_parameters_than_a_batch_takes_are_all_there(
    open_tracker: Callable[[], Tracker], client: Any, experiment: str
) -> None:
    plan = make_plan(experiment, model={"name": "wide", **{f"p{i}": i for i in range(250)}})
    layers = {f"sparsity/layer{i}.weird@name": i / 1200 for i in range(1200)}
    with open_tracker() as tracker:
        begin(tracker, plan)
        tracker.recorded(plan, [record(1, **layers)])
        tracker.trial_ended(plan, None)
    run = runs_of(client, experiment)[plan.name]
    assert run.data.params["model.p249"] == "249"
    assert run.data.metrics["sparsity/layer1199.weird_name"] == 1199 / 1200
    assert len(run.data.metrics) == 1200 + 5  # train/loss, sparsity, stage, epochs, seconds


def test_a_long_parameter_is_cut_where_one_can_see_it(
    open_tracker: Callable[[], Tracker], client: Any, experiment: str
) -> None:
    plans = [make_plan(experiment, end, model={"name": "convnet", "note": "x" * 7000 + end}, seed=2) for end in "ab"]
    with open_tracker() as tracker:
        for plan in plans:
            begin(tracker, plan)
            tracker.trial_ended(plan, None)
    identity = client.get_experiment_by_name(experiment).experiment_id
    values = {run.data.params["model.note"] for run in client.search_runs([identity], "params.seed = '2'")}
    assert len(values) == 2  # they begin alike, and are told apart all the same
    for value in values:
        assert len(value) == 6000
        assert re.search(r"x … \(cut; whole in spec.yaml; #\w{8}\)$", value)


def test_numbers_that_are_none_are_kept_as_such(
    open_tracker: Callable[[], Tracker], client: Any, plan: TrialPlan
) -> None:
    with open_tracker() as tracker:
        begin(tracker, plan)
        tracker.recorded(plan, [record(1, **{"train/loss": math.nan})])
        tracker.trial_ended(plan, "the loss is not a number")
    [(step, value)] = history(client, runs_of(client, plan.experiment)[plan.name], "train/loss")
    assert step == 1
    assert math.isnan(value)


def test_the_model_loads_with_its_weights_its_sparsity_and_for_any_batch(
    open_tracker: Callable[[], Tracker],
    client: Any,
    experiment: str,
    make_net: Callable[..., nn.Module],
    uri: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plans = [make_plan(experiment, str(seed), seed=seed) for seed in range(3)]
    networks = [pruned(make_net(seed=seed)).eval() for seed in range(3)]  # of one architecture
    with open_tracker() as tracker:
        begin(tracker, *plans)
        for plan, network in zip(plans, networks, strict=True):
            tracker.recorded(plan, [record(4)])
            tracker.trial_ended(plan, None, artifacts=lambda run, net=network: RunArtifacts(model=net, shape=SHAPE))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    import mlflow.pytorch

    runs = runs_of(client, experiment)
    images = torch.rand(5, *SHAPE)
    for plan, network in zip(plans, networks, strict=True):
        run = runs[plan.name]
        assert "framework.model" not in run.data.tags
        loaded = mlflow.pytorch.load_model(f"runs:/{run.info.run_id}/model")
        state = network.state_dict()
        assert loaded.state_dict().keys() == state.keys()
        assert all(torch.equal(loaded.state_dict()[name], value) for name, value in state.items())
        assert measured(dict(loaded.named_parameters()), network) == measured(dict(network.named_parameters()), network)
        torch.testing.assert_close(loaded(images), network(images))
        torch.testing.assert_close(load_model(f"runs:/{run.info.run_id}/model")(images), network(images))
        [output] = client.get_run(run.info.run_id).outputs.model_outputs
        assert output.step == 4
        kept = load_model_state(f"runs:/{run.info.run_id}/model")
        assert all(torch.equal(kept[name], value) for name, value in state.items())
        assert not any(value.requires_grad for value in kept.values())
    assert measured(dict(networks[0].named_parameters()), networks[0])["sparsity"] > 0.4


def pruned(network: nn.Module) -> nn.Module:
    with torch.no_grad():
        for weight in network.parameters():
            weight[weight < 0] = 0
    return network


def measured(parameters: dict[str, Any], network: nn.Module) -> dict[str, float]:
    return sparsity({name: parameters[name] for name in prunable(network, forward_order(network, SHAPE))})


class Scaled(nn.Module):
    """A network whose output depends on what neither its weights nor its text show."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 3)
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x.flatten(1)) * self.scale


class Moody(nn.Module):
    """A network that no graph can follow."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs = self.linear(x.flatten(1))
        return outputs if outputs.sum() > 0 else -outputs


def test_networks_that_only_look_alike_do_not_share_a_graph(
    open_tracker: Callable[[], Tracker], client: Any, experiment: str, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = [make_plan(experiment, str(seed), seed=seed) for seed in (1, 2)]
    networks = [Scaled(1.0), Scaled(2.0)]
    with open_tracker() as tracker:
        begin(tracker, *plans)
        for plan, network in zip(plans, networks, strict=True):
            tracker.trial_ended(plan, None, artifacts=lambda run, net=network: RunArtifacts(model=net, shape=SHAPE))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    import mlflow.pytorch

    images = torch.rand(2, *SHAPE)
    for plan, network in zip(plans, networks, strict=True):
        run_id = runs_of(client, experiment)[plan.name].info.run_id
        torch.testing.assert_close(mlflow.pytorch.load_model(f"runs:/{run_id}/model")(images), network(images))


def test_a_network_without_a_graph_leaves_its_weights_and_says_so(
    open_tracker: Callable[[], Tracker], client: Any, plan: TrialPlan, uri: str
) -> None:
    network = Moody()
    with open_tracker() as tracker:
        begin(tracker, plan)
        tracker.trial_ended(plan, None, artifacts=lambda run: RunArtifacts(model=network, shape=SHAPE))
    run = runs_of(client, plan.experiment)[plan.name]
    assert run.info.status == "FINISHED"
    assert run.data.tags["framework.model"].startswith(
        "torch.export cannot export this network, so only its weights are kept, as weights.safetensors: "
    )
    state = load_model_state(f"runs:/{run.info.run_id}/weights.safetensors", uri)
    assert torch.equal(state["linear.weight"], network.linear.weight)
    with pytest.raises(DataError, match=r"has weights only: torch\.export could not export the network"):
        load_model(f"runs:/{run.info.run_id}/weights.safetensors", uri)


def test_a_model_that_is_not_there_is_a_plain_error(
    open_tracker: Callable[[], Tracker], client: Any, plan: TrialPlan, uri: str
) -> None:
    with open_tracker() as tracker:
        begin(tracker, plan)
        tracker.trial_ended(plan, None)
    run_id = runs_of(client, plan.experiment)[plan.name].info.run_id
    with pytest.raises(DataError, match=f"^no model can be loaded from runs:/{run_id}/model: .*model"):
        load_model_state(f"runs:/{run_id}/model", uri)
    with pytest.raises(DataError, match=r"^no model can be loaded from runs:/0123/model: .*0123.* not found"):
        load_model_state("runs:/0123/model", uri)
    with pytest.raises(DataError, match=r"^'runs:/0123' names no logged model: it must be runs:/<run id>/model$"):
        load_model_state("runs:/0123", uri)


def test_files_are_logged_as_they_are(
    open_tracker: Callable[[], Tracker], client: Any, plan: TrialPlan, tmp_path: Path
) -> None:
    with open_tracker() as tracker:
        begin(tracker, plan)
        tracker.trial_ended(
            plan, None, artifacts=lambda run: RunArtifacts({"curves.png": b"\x89PNG drawn", "norms/conv1/a.txt": b""})
        )
    run = runs_of(client, plan.experiment)[plan.name]
    assert artifact(client, run, "curves.png", tmp_path) == b"\x89PNG drawn"
    assert artifact(client, run, "norms/conv1/a.txt", tmp_path) == b""


def test_a_run_names_the_plugins_that_its_trial_used(
    open_tracker: Callable[[], Tracker], client: Any, plan: TrialPlan
) -> None:
    plan = replace(plan, plugins=("framework 1", "mine 1.2"))
    with open_tracker() as tracker:
        begin(tracker, plan)
    assert runs_of(client, plan.experiment)[plan.name].data.tags["framework.plugins"] == "framework 1, mine 1.2"


def test_a_model_that_cannot_be_made_fails_its_trial_and_no_other(
    open_tracker: Callable[[], Tracker], client: Any, experiment: str
) -> None:
    good, bad = make_plan(experiment, "a"), make_plan(experiment, "b", seed=2)
    told: list[str] = []
    with open_tracker() as tracker:
        begin(tracker, bad, good)
        tracker.trial_ended(bad, None, artifacts=lambda run: 1 / 0, failed=told.append)
        tracker.trial_ended(good, None, failed=told.append)
    assert told == ["ZeroDivisionError: division by zero"]
    runs = runs_of(client, experiment)
    assert runs[good.name].info.status == "FINISHED"
    assert runs[bad.name].info.status == "FAILED"
    assert runs[bad.name].data.tags["framework.reason"] == "ZeroDivisionError: division by zero"


def test_training_does_not_wait_while_the_database_is_busy(
    open_tracker: Callable[[], Tracker], client: Any, plan: TrialPlan, root: Path
) -> None:
    with open_tracker() as tracker:
        begin(tracker, plan)
        tracker.wait()
        other = sqlite3.connect(root / "mlflow.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")  # nobody else can write until it ends
        for epoch in range(1, 301):
            tracker.recorded(plan, [record(epoch)])
        tracker.trial_ended(plan, None)
        other.execute("ROLLBACK")
        other.close()
    run = runs_of(client, plan.experiment)[plan.name]
    assert [step for step, _ in history(client, run, "train/loss")] == list(range(1, 301))


def exits(run_id: str) -> RunArtifacts:
    sys.exit("enough")


class Exiting(nn.Module):
    """Ends its process, if it may."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        sys.exit("enough")


# What keeps one trial from being written: what it does, and the reason that its run gives.
UNWRITABLE: dict[str, tuple[dict[str, Any], str]] = {
    "a name that no file can have": ({"artifacts": lambda run: RunArtifacts({"x" * 300: b""})}, "File name too long"),
    "a file that is a folder too": ({"artifacts": lambda run: RunArtifacts({"a": b"", "a/b": b""})}, "a"),
    "a metric that is no number": ({"metrics": {"x": "high"}}, "could not convert string to float"),
    "a model that cannot be made": ({"artifacts": exits}, "SystemExit: enough"),
    "a model that ends its process": (
        {"artifacts": lambda run: RunArtifacts(model=Exiting(), shape=SHAPE)},
        "SystemExit: enough",
    ),
}


@pytest.mark.parametrize("what", UNWRITABLE)
def test_what_cannot_be_written_of_one_trial_fails_that_trial_alone(
    what: str, open_tracker: Callable[[], Tracker], client: Any, experiment: str
) -> None:
    good, bad = make_plan(experiment, "a"), make_plan(experiment, "b", seed=2)
    does, why = UNWRITABLE[what]
    failures: dict[str, str] = {}
    logged: list[str] = []
    with open_tracker() as tracker:
        begin(tracker, bad, good)
        for plan, more in ((bad, does), (good, {})):
            tracker.recorded(plan, [record(1, **more.get("metrics", {}))])
            tracker.trial_ended(
                plan,
                None,
                artifacts=more.get("artifacts", lambda run: RunArtifacts()),
                failed=lambda reason, name=plan.name: failures.update({name: reason}),  # type: ignore[misc]
                logged=lambda name=plan.name: logged.append(name),  # type: ignore[misc]
            )
    assert failures.keys() == {bad.name}
    assert why in failures[bad.name]
    assert logged == [bad.name, good.name]
    runs = runs_of(client, experiment)
    assert (runs[good.name].info.status, runs[bad.name].info.status) == ("FINISHED", "FAILED")
    assert runs[bad.name].data.tags["framework.reason"] == failures[bad.name]
    [parent] = [run for run in runs.values() if "trials" in run.data.metrics]
    assert (parent.info.status, parent.data.metrics["failed"]) == ("FAILED", 1)


def test_a_run_that_is_deleted_meanwhile_fails_its_trial_alone(
    open_tracker: Callable[[], Tracker], client: Any, experiment: str
) -> None:
    gone, other = make_plan(experiment, "a"), make_plan(experiment, "b", seed=2)
    told: list[str] = []
    with open_tracker() as tracker:
        begin(tracker, gone, other)
        tracker.wait()
        client.delete_run(runs_of(client, experiment)[gone.name].info.run_id)
        tracker.recorded(gone, [record(1)])
        tracker.trial_ended(gone, None, failed=told.append)
        tracker.trial_ended(other, None, failed=told.append)
    assert len(told) == 1
    assert "must be in the 'active' state" in told[0]
    assert runs_of(client, experiment)[other.name].info.status == "FINISHED"


def test_a_store_that_fails_while_trials_run_is_reported_at_the_end(
    open_tracker: Callable[[], Tracker], client: Any, experiment: str, root: Path
) -> None:
    plans = make_plan(experiment, "a"), make_plan(experiment, "b", seed=2)
    told: list[str] = []
    database = sqlite3.connect(root / "mlflow.db", isolation_level=None)
    tracker = open_tracker()
    begin(tracker, *plans)
    tracker.wait()
    database.execute("ALTER TABLE metrics RENAME TO elsewhere")
    try:
        tracker.recorded(plans[0], [record(1)])
        tracker.trial_ended(plans[0], None, failed=told.append)
        with pytest.raises(TrackingError, match=r"^the tracking store sqlite:.* refuses: ") as error:
            tracker.close()
    finally:
        database.execute("ALTER TABLE elsewhere RENAME TO metrics")
        database.close()
    assert told == []
    assert [note.partition(":")[0] for note in error.value.__notes__] == ["nor can its run say so"]
    assert {runs_of(client, experiment)[plan.name].info.status for plan in plans} == {"KILLED"}


def test_an_unreachable_server_is_a_plain_error_at_once(tmp_path: Path, plan: TrialPlan) -> None:
    tracker = Tracker("http://user:secret@127.0.0.1:9", tmp_path)
    message = r"^the tracking store http://127\.0\.0\.1:9 refuses: .*Connection refused"
    with pytest.raises(TrackingError, match=message):
        tracker.finished(plan.experiment)
    with pytest.raises(TrackingError, match=message):
        tracker.start(plan.experiment, "", 1, "")
    with pytest.raises(TrackingError, match=message):
        tracker.close()


def test_an_experiment_deleted_in_mlflow_is_a_plain_error(
    open_tracker: Callable[[], Tracker], client: Any, plan: TrialPlan
) -> None:
    identity = client.create_experiment(plan.experiment)
    client.delete_experiment(identity)
    with open_tracker() as tracker, pytest.raises(TrackingError, match=f"restore it with.* {identity}$"):
        tracker.start(plan.experiment, "", 1, "")


def test_artifacts_lie_beside_the_database_and_nothing_in_the_current_folder(
    open_tracker: Callable[[], Tracker], client: Any, plan: TrialPlan, root: Path, tmp_path: Path
) -> None:
    with open_tracker() as tracker:
        begin(tracker, plan)
        tracker.trial_ended(plan, None, artifacts=lambda run: RunArtifacts(model=Scaled(1.0), shape=SHAPE))
    run_id = runs_of(client, plan.experiment)[plan.name].info.run_id
    folder = root / "artifacts" / plan.experiment
    assert (folder / run_id / "artifacts" / "spec.yaml").read_text() == "name: it\n"
    assert len(list((folder / "models").glob("*/artifacts/data/model.pt2"))) == 1
    assert list(tmp_path.iterdir()) == []


def test_the_default_store_is_what_the_environment_says_else_a_database_in_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert default_uri(Path("mlruns")) == f"sqlite:///{tmp_path}/mlruns/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server")
    assert default_uri(Path("mlruns")) == "http://server"


def test_the_ui_serves_this_store_on_the_loopback_unless_the_runs_are_on_a_server(tmp_path: Path) -> None:
    command = ui_command(f"sqlite:///{tmp_path}/mlflow.db", tmp_path, port=5005)
    assert command[:5] == [sys.executable, "-P", "-m", "mlflow", "server"]
    options = dict(zip(command[5::2], command[6::2], strict=True))
    assert options["--backend-store-uri"] == f"sqlite:///{tmp_path}/mlflow.db"
    assert options["--default-artifact-root"] == f"file://{tmp_path}/artifacts"
    assert (options["--host"], options["--port"]) == ("127.0.0.1", "5005")
    with pytest.raises(TrackingError, match=r"open http://server$"):
        ui_command("http://server", tmp_path)


def test_importing_the_tracking_imports_neither_mlflow_nor_torch() -> None:
    code = "import sys, framework._tracking; print({'mlflow', 'torch', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sparsity/layer1.0.conv1", "sparsity/layer1.0.conv1"),
        ("a@b", "a_b"),
        ("a//b/", "a/b"),
        ("../x", "x"),
        ("", "_"),
    ],
)
def test_names_that_mlflow_refuses_are_made_valid(name: str, expected: str) -> None:
    assert valid_name(name) == expected


def test_a_swept_component_stands_under_its_short_name_in_few_words(experiment: str) -> None:
    plan = make_plan(experiment, swept={"train.optimizer": {"name": "sgd", "lr": 0.1}})
    assert parameters(plan, {})["train.optimizer"] == "sgd(lr=0.1)"


def test_every_parameter_of_a_real_spec_is_logged(registry: Any, tmp_path: Path) -> None:
    spec = tmp_path / "it.yaml"
    spec.write_text("{name: it, model: convnet, data: digits, stages: [{train: {epochs: 1}}, {prune: {amount: 0.5}}]}")
    [plan] = make_plans(load(spec, registry, (), None), as_it_stands)
    found = parameters(plan, {})
    assert (found["model"], found["data.dataset"], found["stages.1.prune.amount"]) == ("convnet", "digits", "0.5")
    assert found["stages.0.train.optimizer.lr"]
