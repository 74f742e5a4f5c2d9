from io import BytesIO

import pytest
import torch
from matplotlib.image import imread
from pandas import DataFrame

import framework_norms
from framework import Record
from framework.testing import check_observer, tiny_trial
from framework_norms import epoch_ended, stage_ended, stage_started, sweep_figures, trial_ended, trial_started
from framework_norms.figures import histogram, norms_over_epochs


def test_it_keeps_to_what_an_observer_promises() -> None:
    check_observer(framework_norms)


def test_norms_and_distances_are_those_computed_by_hand() -> None:
    trial = tiny_trial()
    weights = trial.weights()
    for weight in weights.values():
        torch.nn.init.constant_(weight, 3.0)
    trial_started(trial)
    stage_started(trial)
    for weight in weights.values():
        torch.nn.init.constant_(weight, 5.0)
    told = dict(epoch_ended(trial))
    assert told.pop("stage_seconds") >= 0
    roots = {name.removesuffix(".weight"): weight.numel() ** 0.5 for name, weight in weights.items()}
    norms = {f"norm/{layer}": 5 * root for layer, root in roots.items()}
    assert told == pytest.approx(norms | {f"distance/{layer}": 2 * root for layer, root in roots.items()})


def test_figures_are_left_for_each_stage_and_for_the_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    trial, left = tiny_trial(), {}
    monkeypatch.setattr(trial, "log_artifact", left.__setitem__)
    trial.records.append(Record(epoch=1, stage=2, metrics={"norm/fc": 1.0}, time=0.0))
    stage_ended(trial, "train")
    trial_ended(trial)
    assert left.keys() == {"norms/2-train.png", "norms/norms.png"}
    for content in left.values():
        assert imread(BytesIO(content)).std() > 0  # something is drawn


def test_a_figure_shows_what_it_is_given() -> None:
    few, many = (Record(epoch, 0, {"norm/fc": norm, "val/loss": 9.0}, 0.0) for epoch, norm in ((1, 1.0), (2, 4.0)))
    assert norms_over_epochs([few]) != norms_over_epochs([few, many])
    assert histogram(torch.zeros(4), "prune") != histogram(torch.ones(4), "prune")


def test_a_sweep_has_a_panel_for_each_layer_with_the_mean_of_each_variant() -> None:
    reported = DataFrame(
        [("a", 1, 1.0), ("a", 2, 2.0), ("a", 1, 3.0), ("a", 2, 4.0), ("b", 1, 9.0)],
        columns=["variant", "epoch", "value"],
    )
    trials = DataFrame({"variant": ["a", "a", "b"], "distance/fc": [2.0, 4.0, 9.0]})
    drawn = sweep_figures(trials, {"distance/fc": reported}.__getitem__)
    [axes] = drawn["distances"].axes
    assert {line.get_label(): list(line.get_ydata()) for line in axes.lines} == {"a": [2.0, 3.0], "b": [9.0]}
    assert axes.get_ylabel() == "fc"
    assert sweep_figures(DataFrame({"variant": ["a"]}), {}.__getitem__) == {}
