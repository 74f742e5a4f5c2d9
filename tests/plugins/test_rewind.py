import pytest
import torch

from framework import StageError
from framework.testing import check_stage, run_stage, tiny_trial
from framework_plugins.stages import Rewind


def trained_and_pruned():
    """A trial whose network was trained and then pruned, and the state that it began with."""
    trial = tiny_trial()
    initial = {name: tensor.clone() for name, tensor in trial.model.state_dict().items()}
    trial.earlier_state = {"initial": initial}.__getitem__
    run_stage("train", trial, epochs=2, batch_size=12, optimizer={"name": "sgd", "lr": 0.1})
    return run_stage("prune", trial, amount=0.6), initial


def test_all_goes_back_but_what_is_pruned_stays_0():
    trial, initial = trained_and_pruned()
    masks = {name: mask.clone() for name, mask in trial.masks.items()}
    before = {name: values.clone() for name, values in trial.before_pruning.items()}
    run_stage("rewind", trial)
    for name, tensor in trial.model.state_dict().items():
        kept = masks.get(name, torch.ones_like(tensor, dtype=torch.bool))
        assert torch.equal(tensor, torch.where(kept, initial[name], torch.zeros_like(tensor))), name
    assert all(torch.equal(trial.masks[name], mask) for name, mask in masks.items())
    assert all(torch.equal(trial.before_pruning[name], values) for name, values in before.items())


def test_what_is_frozen_stays_as_it_is():
    trial, initial = trained_and_pruned()
    run_stage("freeze", trial, layers=["conv1", "norm1"])
    held = {name: trial.model.state_dict()[name].clone() for name in trial.frozen}
    run_stage("rewind", trial)
    state = trial.model.state_dict()
    assert all(torch.equal(state[name], value) for name, value in held.items())
    assert torch.equal(state["fc.bias"], initial["fc.bias"])


def test_it_keeps_to_what_a_stage_promises():
    check_stage(Rewind)


@pytest.mark.parametrize(("begins", "lrs"), [(0.0, [0.0875, 0.0375]), (2.0, [0.04375, 0.01875])])
def test_a_schedule_can_begin_where_training_goes_on(begins, lrs):
    trial, found = tiny_trial(), []
    trial.emit = lambda epoch, metrics: found.append(metrics["lr"])
    # Two epochs of two steps: at the last step of each, 0.5 and 1.5 of 2 epochs are over, or 2.5 and 3.5 of 4.
    optimizer = {"name": "sgd", "lr": 0.1 * 7 / 6}
    run_stage("train", trial, epochs=2, batch_size=18, schedule="linear", schedule_from=begins, optimizer=optimizer)
    expected = [0.1 * 7 / 6 * (1 - (begins + e) / (2 + begins)) for e in (0.5, 1.5)]
    assert found == pytest.approx(expected)


def test_a_schedule_can_be_cut_at_a_step_and_goes_on_there():
    trial, found = tiny_trial(), []
    trial.emit = lambda epoch, metrics: found.append(metrics["lr"])
    options = {"batch_size": 18, "schedule": "linear", "optimizer": {"name": "sgd", "lr": 1.0}}
    # Two epochs of two steps, cut after the first step: the last steps of the passes begin at 0, 1 and 1.5 epochs.
    run_stage("train", trial, steps=1, schedule_until=2, **options)
    run_stage("train", trial, steps=3, schedule_from=0.5, **options)
    assert found == pytest.approx([1.0, 1 - 1 / 2, 1 - 1.5 / 2])
    with pytest.raises(StageError, match=r"^schedule_until is 2, but the stage trains to epoch 2.5 of the schedule$"):
        run_stage("train", trial, steps=3, schedule_from=1.0, schedule_until=2, **options)


def test_learning_rate_rewinding_repeats_the_last_part_of_the_schedule_on_the_weights_as_they_are():
    trial, found = tiny_trial(), []
    trial.emit = lambda epoch, metrics: found.append(metrics["lr"])
    options = {"batch_size": 18, "schedule": "cosine", "optimizer": {"name": "sgd", "lr": 1.0}}
    run_stage("train", trial, epochs=4, **options)
    run_stage("prune", trial, amount=0.5)
    run_stage("train", trial, epochs=3, schedule_from=1, **options)
    assert found[4:] == pytest.approx(found[1:4])
