import pytest
import torch

from framework import StageError
from framework.testing import check_stage, run_stage, tiny_trial
from framework_plugins.stages import ShuffleMasks


def pruned(amount=0.6, **parameters):
    trial = tiny_trial()
    initial = {name: tensor.clone() for name, tensor in trial.model.state_dict().items()}
    trial.earlier_state = {"initial": initial}.__getitem__
    run_stage("train", trial, epochs=1, batch_size=12, optimizer={"name": "sgd", "lr": 0.1})
    return run_stage("prune", trial, amount=amount, **parameters), initial


def test_each_layer_keeps_its_number_and_its_weights_their_values():
    trial, _ = pruned()
    masks = {name: mask.clone() for name, mask in trial.masks.items()}
    # What a weight would be if it were not masked.
    values = {name: weight.detach() + trial.before_pruning[name] for name, weight in trial.weights().items()}
    run_stage("shuffle_masks", trial)
    for name, mask in trial.masks.items():
        assert not torch.equal(mask, masks[name])
        assert int(mask.sum()) == int(masks[name].sum())
        assert torch.equal(trial.weights()[name], values[name].masked_fill(~mask, 0.0))
        assert torch.equal(trial.before_pruning[name], values[name].masked_fill(mask, 0.0))


def test_rewinding_afterwards_gives_the_first_weights_under_shuffled_masks():
    trial, initial = pruned()
    run_stage("rewind", run_stage("shuffle_masks", trial))
    for name, mask in trial.masks.items():
        assert torch.equal(trial.weights()[name], initial[name].masked_fill(~mask, 0.0))


def test_every_place_is_as_likely_and_the_seed_decides():
    trial = run_stage("prune", tiny_trial(), amount=0.25, layers=["fc"])
    first = trial.masks["fc.weight"]

    def shuffled(seed):
        trial.masks["fc.weight"], trial.seed = first, seed
        ShuffleMasks().run(trial)
        return trial.masks["fc.weight"]

    assert torch.equal(shuffled(1), shuffled(1))
    # Of 200 draws each of the 96 places is kept in 150, give or take; 6 standard deviations are 37.
    often = sum(shuffled(seed).int() for seed in range(200))
    assert int(often.min()) > 150 - 37
    assert int(often.max()) < 150 + 37


def test_what_is_frozen_is_neither_opened_nor_closed_and_layers_choose():
    trial, _ = pruned()
    held = torch.arange(288).view(8, 4, 3, 3) < 100
    trial.frozen["conv2.weight"] = held
    before = {name: mask.clone() for name, mask in trial.masks.items()}
    run_stage("shuffle_masks", trial, layers=["conv*"])
    assert torch.equal(trial.masks["fc.weight"], before["fc.weight"])
    assert torch.equal(trial.masks["conv2.weight"][held], before["conv2.weight"][held])
    assert not torch.equal(trial.masks["conv2.weight"], before["conv2.weight"])
    assert int(trial.masks["conv2.weight"].sum()) == int(before["conv2.weight"].sum())


def test_where_nothing_is_pruned_that_is_not_frozen_there_is_nothing_to_shuffle():
    frozen, _ = pruned(layers=["fc"])
    frozen.frozen["fc.weight"] = ~frozen.masks["fc.weight"]
    for trial in (tiny_trial(), frozen):
        with pytest.raises(StageError, match=r"^there is nothing to shuffle: no weight is masked here that is not fr"):
            run_stage("shuffle_masks", trial)


def test_it_keeps_to_what_a_stage_promises():
    check_stage(ShuffleMasks)
