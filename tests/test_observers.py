"""Plugins that observe trials: what they are told, what they add, and what they must not change."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from test_trial import BUILT_IN, Reports, Toys, comparable

from framework import PluginError, Trial, hookimpl
from framework._component import build
from framework._executors.inline import attempt
from framework._plan import TrialPlan, as_it_stands, make_plans
from framework._registry import Registry
from framework._spec import load
from framework._store import Store
from framework._trial import prepare, run_trial

SPEC = """
model: {name: convnet, widths: [4], dropout: 0.2}
data: {name: toy, validation: 0.25, augment: [crop]}
stages:
  - train: {epochs: 2, batch_size: 8}
  - prune: {amount: 0.5}
  - train: {epochs: 1, batch_size: 8, optimizer: {name: sgd, lr: 0.01}}
"""


class Watcher:
    """Notes down what it is told; draws random numbers, measures, and logs files."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    @hookimpl
    def trial_started(self, trial: Trial) -> None:
        torch.rand(3)
        self.told.append(("trial_started", trial.epoch, len(trial.records)))

    @hookimpl
    def stage_started(self, trial: Trial, name: str, stage: Any) -> None:
        torch.rand(3)
        self.told.append(("stage_started", name, getattr(stage, "epochs", None), trial.epoch))

    @hookimpl
    def epoch_ended(self, trial: Trial, metrics: Any) -> dict[str, float]:
        torch.rand(3)
        self.told.append(("epoch_ended", trial.epoch, "train/loss" in metrics))
        return {"norm": sum(float(weight.norm()) for weight in trial.weights().values())}

    @hookimpl
    def stage_ended(self, trial: Trial, name: str) -> None:
        torch.rand(3)
        self.told.append(("stage_ended", name, trial.epoch))
        trial.log_artifact(f"stages/{len(trial.records)}.txt", f"{name} {trial.epoch}".encode())

    @hookimpl
    def trial_ended(self, trial: Trial) -> None:
        torch.rand(3)
        self.told.append(("trial_ended", [record.epoch for record in trial.records]))
        trial.log_artifact("empty", b"")


TOLD = [
    ("trial_started", 0, 0),
    ("stage_started", "train", 2, 0),
    ("epoch_ended", 1, True),
    ("epoch_ended", 2, True),
    ("stage_ended", "train", 2),
    ("stage_started", "prune", None, 2),
    ("epoch_ended", 2, False),
    ("stage_ended", "prune", 2),
    ("stage_started", "train", 1, 2),
    ("epoch_ended", 3, True),
    ("stage_ended", "train", 3),
    ("trial_ended", [1, 2, 2, 3, 3]),
]
FILES = {"stages/2.txt": b"train 2", "stages/3.txt": b"prune 2", "stages/4.txt": b"train 3", "empty": b""}


def registry_of(*plugins: object) -> Registry:
    return Registry([*BUILT_IN, (Toys(), "toys 1"), *((plugin, f"third-{i} 1") for i, plugin in enumerate(plugins))])


def plan_of(registry: Registry, folder: Path, text: str = SPEC) -> TrialPlan:
    path = folder / "spec.yaml"
    path.write_text(text)
    return make_plans(load(path, registry), as_it_stands)[0]


def run(registry: Registry, folder: Path, text: str = SPEC) -> tuple[Trial, Reports]:
    plan, reports = plan_of(registry, folder, text), Reports()
    return run_trial(plan, registry, prepare(plan.data, registry), Store(folder / "store"), reports), reports


def test_trial_started(tmp_path: Path) -> None:
    watcher = Watcher()
    run(registry_of(watcher), tmp_path)
    assert watcher.told[0] == TOLD[0]


@pytest.mark.parametrize("hook", ["stage_started", "epoch_ended", "stage_ended"])
def test_stage_started_epoch_ended_stage_ended(hook: str, tmp_path: Path) -> None:
    watcher = Watcher()
    run(registry_of(watcher), tmp_path)
    assert [told for told in watcher.told if told[0] == hook] == [told for told in TOLD if told[0] == hook]


def test_trial_ended(tmp_path: Path) -> None:
    watcher = Watcher()
    trial, _ = run(registry_of(watcher), tmp_path)
    assert watcher.told == TOLD
    assert trial.artifacts == {**FILES, "confusion.json": trial.artifacts["confusion.json"]}


def test_what_an_observer_measures_is_in_the_records(tmp_path: Path) -> None:
    _, reports = run(registry_of(Watcher()), tmp_path)
    *measured, tested = reports.records
    assert all(record.metrics["norm"] > 0 for record in measured)
    assert "test/accuracy" in tested.metrics
    assert "norm" not in tested.metrics


def test_observing_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "with").mkdir()
    (tmp_path / "without").mkdir()
    watched, _ = run(registry_of(Watcher()), tmp_path / "with")
    alone, _ = run(registry_of(), tmp_path / "without")
    a, b = watched.model.state_dict(), alone.model.state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_what_is_stored_is_not_observed_again_but_its_files_and_metrics_are_there(tmp_path: Path) -> None:
    _, reports = run(registry_of(Watcher()), tmp_path)
    watcher = Watcher()
    trial, again = run(registry_of(watcher), tmp_path, SPEC.replace("lr: 0.01", "lr: 0.02"))
    assert watcher.told == [TOLD[0], *TOLD[8:]]
    assert trial.artifacts == {**FILES, "confusion.json": trial.artifacts["confusion.json"]}
    assert comparable(again.records[:3]) == comparable(reports.records[:3])


def test_observers_count_in_the_keys(tmp_path: Path) -> None:
    alone = plan_of(registry_of(), tmp_path)
    watched = plan_of(registry_of(Watcher()), tmp_path)
    assert set(alone.keys).isdisjoint(watched.keys)
    assert alone.plugins == ("framework 0", "toys 1")
    assert watched.plugins == ("framework 0", "third-0 1", "toys 1")


def failing(registry: Registry, folder: Path, text: str = SPEC) -> Any:
    plan = plan_of(registry, folder, text)
    return attempt(plan, registry, prepare(plan.data, registry), Store(folder / "store"), Reports(), 300)


class Fails:
    """Logs, measures, and fails in one of its hooks."""

    def __init__(self, hook: str, error: BaseException) -> None:
        self.hook, self.error, self.told = hook, error, 0

    def _fail(self, hook: str) -> None:
        self.told += 1
        if hook == self.hook:
            raise self.error

    @hookimpl
    def trial_started(self) -> None:
        self._fail("trial_started")

    @hookimpl
    def stage_started(self) -> None:
        self._fail("stage_started")

    @hookimpl
    def epoch_ended(self) -> dict[str, float]:
        self._fail("epoch_ended")
        return {"measured": 1.0}

    @hookimpl
    def stage_ended(self, trial: Trial) -> None:
        trial.log_artifact("so-far.txt", b"this far")
        self._fail("stage_ended")

    @hookimpl
    def trial_ended(self) -> None:
        self._fail("trial_ended")


class Unspeakable(Exception):  # noqa: N818
    """Cannot even say what it is."""

    def __str__(self) -> str:
        raise self


@pytest.mark.parametrize("hook", ["trial_started", "stage_started", "epoch_ended", "stage_ended", "trial_ended"])
@pytest.mark.parametrize("error", [ZeroDivisionError("by nought"), SystemExit(3), Unspeakable()], ids=repr)
def test_an_observer_that_fails_is_named_and_left_out_and_the_trial_goes_on(
    hook: str, error: BaseException, tmp_path: Path
) -> None:
    observer, other = Fails(hook, error), Watcher()
    trial, reports = run(registry_of(observer, other), tmp_path)
    said = {"ZeroDivisionError": "by nought", "SystemExit": "3", "Unspeakable": "of which no text can be had"}
    name = type(error).__name__
    [note] = reports.notes
    assert re.match(rf"third-0 1 failed in {hook}, and observes this trial no more: {name}[:,] {said[name]}", note)
    assert observer.told == [told[0] for told in TOLD].index(hook) + 1
    assert other.told == TOLD
    assert reports.records[-1].metrics["test/accuracy"] >= 0
    assert ("so-far.txt" in trial.artifacts) == (hook in ("stage_ended", "trial_ended"))


def test_a_stage_that_fails_is_named(tmp_path: Path) -> None:
    outcome = failing(registry_of(), tmp_path, SPEC.split("  - prune")[0] + "  - unprune\n")
    assert outcome.error.startswith("there is nothing to unprune")
    assert outcome.error.endswith(" (in stage 2, unprune of framework 0)")


class Leaves:
    """Ends the process of who wants to show it."""

    def __repr__(self) -> str:
        raise SystemExit(3)


class LeavesWhenRead(dict[str, float]):
    """Ends the process of who reads it."""

    def items(self) -> Any:
        raise SystemExit(4)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (3, "epoch_ended: they must be metrics by name, not int"),
        ({"val/loss": 1.0}, "epoch_ended: 'val/loss' is measured already"),
        ({"norm": "large"}, "epoch_ended: gave 'large' as 'norm', not a number"),
        ({"norm": Leaves()}, "epoch_ended: gave a Leaves as 'norm', not a number"),
        ({Leaves(): 1.0}, "epoch_ended: a Leaves is no metric's name"),
        (LeavesWhenRead(), "epoch_ended: SystemExit: 4"),
    ],
)
def test_what_is_no_metric_is_left_out_and_told(given: Any, text: str, tmp_path: Path) -> None:
    class Gives:
        @hookimpl
        def epoch_ended(self) -> Any:
            return given

    _, reports = run(registry_of(Gives()), tmp_path)
    [note] = reports.notes
    assert f"third-0 1 failed in epoch_ended, and observes this trial no more: third-0 1: {text}" in note
    assert not any("norm" in record.metrics for record in reports.records)


@pytest.mark.parametrize("name", ["", "/etc/x", "../x", "a//b", "a/./b", "a\\b", "c:x"])
def test_an_artifact_stays_inside_the_run(name: str, tmp_path: Path) -> None:
    class Logs:
        @hookimpl
        def trial_started(self, trial: Trial) -> None:
            trial.log_artifact(name, b"")

    trial, reports = run(registry_of(Logs()), tmp_path)
    assert "an artifact's name is a relative path" in reports.notes[0]
    assert name not in trial.artifacts


def test_a_machine_that_lacks_a_plugin_says_which(tmp_path: Path) -> None:
    plan = plan_of(registry_of(Watcher()), tmp_path)
    elsewhere = registry_of()
    elsewhere.reject("other 2", "other", "other 2 cannot be imported: no reason")
    with pytest.raises(PluginError) as error:
        run_trial(plan, elsewhere, prepare(plan.data, elsewhere), Store(tmp_path / "store"), Reports())
    assert str(error.value).endswith(
        " lacks third-0 1, which the trial uses; it has framework 0; toys 1; other 2 cannot be imported: no reason"
    )


def test_a_machine_that_has_other_code_of_a_plugin_says_which(tmp_path: Path) -> None:
    def registry(origin: str) -> Registry:
        made = registry_of()
        made.add(Watcher(), "edited 1", origin=origin)
        return made

    plan, elsewhere = plan_of(registry("edited 1 aaaa"), tmp_path), registry("edited 1 bbbb")
    with pytest.raises(PluginError, match="has other code of edited 1 than the machine that planned the trial"):
        run_trial(plan, elsewhere, prepare(plan.data, elsewhere), Store(tmp_path / "store"), Reports())


def test_the_plugins_of_a_component_inside_another_count_too(tmp_path: Path) -> None:
    class Optimizers:
        @hookimpl
        def register_optimizers(self) -> Any:
            return {"mine": torch.optim.SGD}

    registry = registry_of(Optimizers())
    plan = plan_of(registry, tmp_path, SPEC.replace("name: sgd", "name: mine"))
    assert plan.plugins == ("framework 0", "third-0 1", "toys 1")
    assert build(registry, "stage", plan.stages[2]).sources == {"framework 0", "third-0 1"}
