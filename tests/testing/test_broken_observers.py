"""Observers that break a contract, one by one, and what `check_observer` says of each."""

import itertools
import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from framework import hookimpl
from framework.testing import check_observer


def observer(**hooks: Any) -> object:
    """An object with these functions as its hooks."""
    return SimpleNamespace(__name__="odd", **{name: hookimpl(hook) for name, hook in hooks.items()})


def assert_refused(plugin: object, words: str) -> None:
    with pytest.raises(AssertionError, match=re.escape(words)):
        check_observer(plugin)


class Norms:
    """Uses every hook: measures, draws random numbers, remembers trials, and logs what it has seen."""

    def __init__(self):
        self.seen = {}

    @hookimpl
    def trial_started(self, trial):
        self.seen[trial] = [torch.rand(()).item()]

    @hookimpl
    def stage_started(self, trial, name, stage):
        self.seen[trial].append(name)

    @hookimpl
    def epoch_ended(self, trial, metrics):
        return {"norm": trial.model.fc.weight.norm().item(), "known": len(metrics)}

    @hookimpl
    def stage_ended(self, trial, name, stage):
        trial.log_artifact(f"{name}.txt", b"It has ended.")

    @hookimpl
    def trial_ended(self, trial):
        assert trial.records
        del self.seen[trial]


def test_one_that_only_looks():
    check_observer(Norms())


@pytest.mark.parametrize(
    ("hook", "words"),
    [
        ({"epoch_endde": lambda trial: None}, "observer 'odd': the plugin under test: there is no hook 'epoch_endde'"),
        ({"epoch_ended": lambda trial, epoch: None}, "{'epoch'} are declared in the hookimpl but can not be found"),
        (
            {"register_stages": lambda: {"odd": dict}},
            "observer 'odd' implements no lifecycle hook: trial_started",
        ),
    ],
)
def test_hooks_that_there_are_not(hook, words):
    assert_refused(observer(**hook), words)


def test_a_hook_that_is_not_marked():
    plugin = SimpleNamespace(__name__="odd", stage_ended=lambda trial: None)
    assert_refused(plugin, "observer 'odd': stage_ended is no hook without @framework.hookimpl")


@pytest.mark.parametrize("hook", ["trial_started", "stage_started", "epoch_ended", "stage_ended"])
def test_a_hook_that_changes_the_network(hook):
    def change(trial):
        trial.model.fc.bias.data += 1

    assert_refused(observer(**{hook: change}), "observer 'odd' changes the trial that it observes (")


@pytest.mark.parametrize(
    "change",
    [
        lambda trial: trial.masks.pop("fc.weight", None),
        lambda trial: trial.frozen.clear(),
        lambda trial: setattr(trial, "epoch", trial.epoch + 1),
        lambda trial: trial.report({"more": 1.0}),
        lambda trial: setattr(trial.model.dropout, "p", 0.0),
    ],
)
def test_a_hook_that_changes_something_else(change):
    assert_refused(observer(stage_started=change), "observer 'odd' changes the trial that it observes (")


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        ({"norm": float("nan")}, "observer 'odd': metric norm is nan after epoch 1, which is not finite"),
        (
            {"norm": torch.ones(2)},
            "epoch_ended: gave tensor([1., 1.]) as 'norm', not a number",
        ),
        ({"train/loss": 1.0}, "'train/loss' is measured already"),
        ([1.0], "epoch_ended: they must be metrics by name, not list"),
    ],
)
def test_metrics_that_are_none(metrics, words):
    assert_refused(observer(epoch_ended=lambda: metrics), words)


def test_one_that_fails():
    def fail(trial):
        trial.frozen["nonsense"].any()

    assert_refused(observer(stage_ended=fail), "observer 'odd' fails on a tiny trial: KeyError: 'nonsense'")


def test_one_that_fails_when_a_trial_goes_on():
    counter = itertools.count()

    def fail(trial):
        if next(counter):
            raise KeyError("twice")

    assert_refused(
        observer(trial_started=fail), "observer 'odd' fails when a trial is interrupted and resumed: KeyError"
    )


def test_one_that_changes_only_a_trial_that_goes_on():
    counter = itertools.count()

    def change(trial):
        if next(counter):
            trial.epoch += 1

    assert_refused(observer(trial_started=change), "observer 'odd' changes the trial that it observes (")
