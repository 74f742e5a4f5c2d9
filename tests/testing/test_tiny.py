"""What checks are run on, and what authors run their stages on."""

import doctest
from dataclasses import dataclass
from typing import Annotated

import pytest
import torch
from torch import nn

import framework.testing
from framework import Interval, Loss, Optimizer, Stage, StageError, Trainer, Trial
from framework.testing import run_stage, tiny_data, tiny_trial


def test_what_is_public_is_this():
    assert framework.testing.__all__ == [
        "check_criterion",
        "check_dataset",
        "check_distribution",
        "check_loss",
        "check_metric",
        "check_model",
        "check_observer",
        "check_optimizer",
        "check_schedule",
        "check_sparsifier",
        "check_stage",
        "check_transform",
        "run_stage",
        "tiny_data",
        "tiny_trial",
    ]
    for name in framework.testing.__all__:
        assert callable(getattr(framework.testing, name))


@pytest.mark.parametrize("name", framework.testing.__all__)
def test_what_is_public_has_an_example_that_runs(name):
    function = getattr(framework.testing, name)
    [example] = doctest.DocTestFinder(recurse=False).find(function, name, globs={})
    assert example.examples
    assert doctest.DocTestRunner().run(example).failed == 0


def test_tiny_data_is_as_asked_and_the_same_for_the_same_seed():
    data = tiny_data((3, 5, 6), classes=4, train=9, test=7, seed=2)
    assert data.train_images.shape == (9, 3, 5, 6)
    assert data.test_images.shape == (7, 3, 5, 6)
    assert data.train_labels.tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0]
    assert len(data.classes) == 4
    assert (data.train_images == tiny_data((3, 5, 6), classes=4, train=9, test=7, seed=2).train_images).all()
    assert (data.train_images != tiny_data((3, 5, 6), classes=4, train=9, test=7).train_images).any()


def test_the_tiny_network_learns_to_tell_tiny_data_apart():
    trial = run_stage("train", epochs=8, batch_size=12, optimizer={"name": "sgd", "lr": 0.1, "momentum": 0.9})
    assert trial.records[-1].metrics["val/accuracy"] > 0.8
    assert [record.epoch for record in trial.records] == list(range(1, 9))


def test_a_tiny_trial_depends_on_its_seed_only_and_draws_nothing_of_torchs_numbers():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    trials = [tiny_trial(seed) for seed in (0, 0, 1)]
    assert torch.equal(torch.rand(3), expected)
    a, b, c = (trial.model.conv1.weight for trial in trials)
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert [trial.seed for trial in trials] == [0, 0, 1]


def test_a_prepared_trial_is_pruned_and_frozen_in_part():
    fresh, trial = tiny_trial(), tiny_trial(prepared=True)
    for name, weight in trial.weights().items():
        mask = trial.masks[name]
        assert int((~mask).sum()) == mask.numel() // 3
        assert not weight[~mask].any()
        original = fresh.weights()[name]
        assert torch.equal(weight[mask], original[mask])
        assert torch.equal(trial.before_pruning[name][~mask], original[~mask])
        assert original[~mask].abs().max() < original[mask].abs().min()
        assert torch.equal(trial.initial_state()[name], original)
    assert {name for name, held in trial.frozen.items() if held.all()} == {
        "conv1.weight",
        "norm1.weight",
        "norm1.bias",
        "norm1.running_mean",
        "norm1.running_var",
        "norm1.num_batches_tracked",
    }
    assert trial.frozen["conv2.weight"].flatten().tolist() == [True] * 144 + [False] * 144


def test_a_tiny_trial_takes_another_network_and_other_data():
    model = nn.Sequential(nn.Flatten(), nn.Linear(75, 2))
    trial = tiny_trial(model=model, data=tiny_data((3, 5, 5), classes=2), prepared=True)
    assert trial.model is model
    assert trial.data.shape == (3, 5, 5)
    assert list(trial.frozen) == ["1.weight"]
    assert int((~trial.masks["1.weight"]).sum()) == 50


@dataclass(frozen=True)
class Step(Stage):
    """Make some steps."""

    loss: Loss
    optimizer: Optimizer = "sgd"
    steps: Annotated[int, Interval(ge=1)] = 1

    def run(self, trial: Trial) -> None:
        trainer = Trainer(trial.model, self.loss(), self.optimizer(params=trial.model.parameters()))
        for _ in range(self.steps):
            trainer.step(torch.rand(6, *trial.data.shape), torch.arange(6) % 3)
        trial.epoch += trainer.steps


def test_a_stage_is_run_by_class_with_parameters_as_in_yaml():
    trial = tiny_trial()
    assert run_stage(Step, trial, loss={"name": "focal", "gamma": 1.0}, optimizer={"lr": 0.1}, steps=3) is trial
    assert trial.epoch == 3


def test_a_stage_that_is_run_draws_the_same_numbers_and_leaves_torchs_alone():
    state = torch.get_rng_state()
    a, b = (run_stage(Step, loss="nll").model.state_dict() for _ in range(2))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert torch.equal(torch.get_rng_state(), state)


def test_wrong_parameters_are_refused_in_the_words_of_a_spec():
    with pytest.raises(ValueError, match="must be >= 1, not 0"):
        run_stage(Step, loss="nll", steps=0)
    with pytest.raises(ValueError, match="unknown loss 'nil'"):
        run_stage(Step, loss="nil")
    with pytest.raises(ValueError, match="stage 'Step' has no parameter 'step'"):
        run_stage(Step, loss="nll", step=1)


def test_a_stage_that_is_made_already_takes_no_parameters():
    @dataclass(frozen=True)
    class Count(Stage):
        """Count an epoch."""

        def run(self, trial):
            trial.epoch += 1

    assert run_stage(Count()).epoch == 1
    with pytest.raises(TypeError, match="takes no parameters"):
        run_stage(Count(), epochs=1)


def test_what_a_stage_cannot_do_it_says_itself():
    with pytest.raises(StageError, match="there is nothing to unprune"):
        run_stage("unprune")
