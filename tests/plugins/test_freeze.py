from math import ceil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from framework import StageError
from framework._masks import held_fraction

TOTAL = 36 + 96 + 72  # conv1, conv2, fc in forward order
OPTIMIZERS = {
    "momentum": {"name": "sgd", "lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    "adamw": {"name": "adamw", "lr": 0.01, "weight_decay": 0.5},
    "muon": {"name": "muon", "lr": 0.02, "weight_decay": 0.1},
}


def state_of(trial):
    return {name: t.detach().clone() for name, t in trial.model.state_dict().items()}


def whole(trial):
    return {name for name, mask in trial.frozen.items() if bool(mask.all())}


def assert_held(trial, before):
    """Every frozen element is bit for bit what it was."""
    after = state_of(trial)
    for name, held in trial.frozen.items():
        assert torch.equal(before[name][held], after[name][held]), name


CONV1 = {"conv1.weight", "conv1.bias"}
BN1 = {f"bn1.{t}" for t in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")}
BN2 = {name.replace("bn1", "bn2") for name in BN1}


@pytest.mark.parametrize(
    ("fraction", "held"),
    [
        (0.01, CONV1 | BN1),
        (1 / 3, CONV1 | BN1),
        (0.34, CONV1 | BN1 | {"conv2.weight"} | BN2),
        (2 / 3, CONV1 | BN1 | {"conv2.weight"} | BN2),
        (0.7, CONV1 | BN1 | {"conv2.weight"} | BN2 | {"fc.weight", "fc.bias"}),
        (1.0, CONV1 | BN1 | {"conv2.weight"} | BN2 | {"fc.weight", "fc.bias"}),
    ],
)
def test_by_layers_the_first_ceil_of_the_weight_layers_go_whole_with_bias_and_normalisation(
    fraction, held, make_trial, stage
):
    trial = make_trial()
    stage("freeze", fraction=fraction).run(trial)
    assert whole(trial) == set(trial.frozen) == held


@pytest.mark.parametrize(("layers", "fraction"), [(20, 0.55), (25, 0.28), (50, 0.14), (10, 0.3), (21, 0.1)])
def test_the_number_of_layers_is_that_of_exact_arithmetic(layers, fraction, make_trial, make_data, stage):
    net = nn.Sequential(nn.Flatten(), *(nn.Linear(4, 4) for _ in range(layers)))
    trial = make_trial(net, make_data(shape=(1, 2, 2)))
    stage("freeze", fraction=fraction).run(trial)
    expected = -(-layers * round(fraction * 100) // 100)
    assert sum(name.endswith("weight") for name in trial.frozen) == expected
    assert sum(name.endswith("bias") for name in trial.frozen) == expected


@settings(deadline=None, max_examples=50)
@given(fraction=st.floats(0.003, 1))
def test_by_weights_exactly_the_rounded_count_is_held_from_the_front(make_trial, stage, fraction):
    trial = make_trial()
    stage("freeze", fraction=fraction, unit="weights").run(trial)
    count = round(fraction * TOTAL)
    held = torch.cat(
        [trial.frozen.get(name, torch.zeros_like(w, dtype=torch.bool)).view(-1) for name, w in trial.weights().items()]
    )
    assert torch.equal(held, torch.arange(TOTAL) < count)
    assert held_fraction(trial.model, trial.weights(), trial.frozen) == count / TOTAL
    assert ("conv1.bias" in trial.frozen) == ("bn1.running_mean" in trial.frozen) == (count >= 36)
    assert ("bn2.running_mean" in trial.frozen) == (count >= 36 + 96)
    assert ("fc.bias" in trial.frozen) == (count == TOTAL)


def test_by_weights_a_fraction_that_rounds_to_none_is_an_error(make_trial, stage):
    with pytest.raises(StageError) as error:
        stage("freeze", fraction=0.002, unit="weights").run(make_trial())
    assert str(error.value) == "fraction 0.002 of the weights rounds to none of them: nothing to freeze"


def test_layers_hold_exactly_what_is_named(make_trial, stage):
    trial = make_trial()
    stage("freeze", layers=["conv1", "*.bias"]).run(trial)
    assert whole(trial) == set(trial.frozen) == CONV1 | {"bn1.bias", "bn2.bias", "fc.bias"}
    trial = make_trial()
    stage("freeze", layers=["bn?"]).run(trial)
    assert set(trial.frozen) == BN1 | BN2


def test_a_selector_that_matches_nothing_is_an_error(make_trial, stage):
    with pytest.raises(StageError, match=r"^no layer matches 'conv3' \(did you mean 'conv[12]'\?\)$"):
        stage("freeze", layers=["fc", "conv3"]).run(make_trial())
    with pytest.raises(StageError, match=r"^no layer matches 'conv3' \(did you mean 'conv[12]'\?\)$"):
        stage("unfreeze", layers=["conv3"]).run(make_trial())


@pytest.mark.parametrize("parameters", [{}, {"fraction": 0.5, "layers": ["fc"]}, {"layers": []}])
def test_fraction_or_layers_must_be_given(parameters, stage):
    with pytest.raises(ValueError, match=r"stage 'freeze': give either fraction or layers"):
        stage("freeze", **parameters)


@pytest.mark.parametrize("unit", ["layers", "weights"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_what_is_frozen_is_bit_identical_after_training_and_the_rest_moves(optimizer, unit, make_trial, stage):
    trial = make_trial()
    train = stage("train", epochs=2, batch_size=8, optimizer=OPTIMIZERS[optimizer], clip_norm=1.0)
    train.run(trial)  # leaves gradients behind
    stage("freeze", fraction=0.4, unit=unit).run(trial)
    for p in trial.model.parameters():
        assert p.grad is not None
        p.grad.fill_(1.0)
    before = state_of(trial)
    train.run(trial)
    assert_held(trial, before)
    after = state_of(trial)
    for name, value in before.items():
        free = ~trial.frozen.get(name, torch.zeros_like(value, dtype=torch.bool))
        if bool(free.any()):
            assert bool((before[name] != after[name])[free].any()), name


def test_a_frozen_normalisation_uses_its_statistics_and_they_stand_still(make_trial, stage):
    trial = make_trial()
    trial.weights()  # makes its own forward pass, once
    modes = []
    trial.model.bn1.register_forward_hook(lambda module, args, output: modes.append(module.training))
    trial.model.bn2.register_forward_hook(lambda module, args, output: modes.append(module.training))
    stage("freeze", layers=["bn1"]).run(trial)
    before = state_of(trial)
    stage("train", epochs=1, batch_size=12).run(trial)
    # Two training batches, then one of validation.
    assert modes == [False, True] * 2 + [False, False]
    assert_held(trial, before)
    assert not torch.equal(trial.model.bn2.running_mean, before["bn2.running_mean"])


def test_normalisation_whose_affine_part_alone_is_frozen_keeps_collecting_statistics(make_trial, stage):
    trial = make_trial()
    stage("freeze", layers=["bn1.weight", "bn1.bias"]).run(trial)
    before = state_of(trial)
    stage("train", epochs=1, batch_size=12).run(trial)
    assert_held(trial, before)
    assert not torch.equal(trial.model.bn1.running_mean, before["bn1.running_mean"])


def test_freezing_twice_holds_both(make_trial, stage):
    trial = make_trial()
    stage("freeze", fraction=20 / TOTAL, unit="weights").run(trial)
    stage("freeze", layers=["fc.bias"]).run(trial)
    stage("freeze", fraction=50 / TOTAL, unit="weights").run(trial)
    assert held_fraction(trial.model, trial.weights(), trial.frozen) == 50 / TOTAL
    stage("freeze", fraction=10 / TOTAL, unit="weights").run(trial)
    assert held_fraction(trial.model, trial.weights(), trial.frozen) == 50 / TOTAL
    before = state_of(trial)
    stage("train", epochs=2, batch_size=8, optimizer=OPTIMIZERS["momentum"]).run(trial)
    assert_held(trial, before)
    assert "fc.bias" in trial.frozen


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("order", ["freeze first", "prune first"])
def test_freezing_and_pruning_hold_together(order, optimizer, make_trial, stage):
    trial = make_trial()
    stages = [stage("freeze", fraction=0.4, unit="weights"), stage("prune", amount=0.3)]
    for each in stages if order == "freeze first" else reversed(stages):
        each.run(trial)
    before = state_of(trial)
    stage("train", epochs=2, batch_size=8, optimizer=OPTIMIZERS[optimizer]).run(trial)
    assert_held(trial, before)
    for name, weight in trial.weights().items():
        mask = trial.masks.get(name, torch.ones_like(weight, dtype=torch.bool))
        assert bool((weight[~mask] == 0).all())
        held = trial.frozen.get(name, torch.zeros_like(weight, dtype=torch.bool))
        free = mask & ~held
        assert torch.equal((weight != before[name]) & ~free, torch.zeros_like(free))
    assert bool((trial.model.fc.weight != before["fc.weight"]).any())


def test_unfreezing_lets_everything_move_again(make_trial, stage):
    trial = make_trial()
    train = stage("train", epochs=1, batch_size=8, optimizer=OPTIMIZERS["momentum"])
    stage("freeze", fraction=0.4, unit="weights").run(trial)
    train.run(trial)
    before = state_of(trial)
    stage("unfreeze").run(trial)
    assert trial.frozen == {}
    train.run(trial)
    after = state_of(trial)
    assert [name for name in before if torch.equal(before[name], after[name])] == []
    assert bool((before["conv1.weight"] != after["conv1.weight"]).all())


def test_unfreezing_named_layers_leaves_the_others_frozen(make_trial, stage):
    trial = make_trial()
    stage("freeze", fraction=0.4).run(trial)
    assert whole(trial) == CONV1 | BN1 | {"conv2.weight"} | BN2
    stage("unfreeze", layers=["bn1", "conv2"]).run(trial)
    assert whole(trial) == CONV1 | BN2
    before = state_of(trial)
    stage("train", epochs=1, batch_size=8).run(trial)
    assert_held(trial, before)
    assert not torch.equal(trial.model.bn1.running_mean, before["bn1.running_mean"])
    assert not torch.equal(trial.model.conv2.weight, before["conv2.weight"])


def test_training_with_everything_frozen_is_an_error(make_trial, stage):
    trial = make_trial()
    stage("freeze", fraction=1.0).run(trial)
    with pytest.raises(StageError) as error:
        stage("train", epochs=1).run(trial)
    assert str(error.value) == "every parameter is frozen: nothing is left to train (unfreeze some first)"


def test_a_vision_transformer_is_frozen_from_its_first_layer_on(make_trial, make_data, stage):
    from torchvision.models import VisionTransformer

    torch.manual_seed(0)
    net = VisionTransformer(
        image_size=8, patch_size=4, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=8, num_classes=3
    )
    trial = make_trial(net, make_data(shape=(3, 8, 8)))
    names = list(trial.weights())
    stage("freeze", fraction=0.5).run(trial)
    count = ceil(0.5 * len(names))
    first = names[:count]
    assert [name for name in names if name in trial.frozen] == first
    assert first[1] == "encoder.layers.encoder_layer_0.self_attention.in_proj_weight"
    assert {"class_token", "encoder.pos_embedding", f"{first[1][:-6]}bias"} <= set(trial.frozen)
    before = state_of(trial)
    stage("train", epochs=1, batch_size=8, optimizer=OPTIMIZERS["adamw"]).run(trial)
    assert_held(trial, before)
    assert not torch.equal(trial.model.heads.head.bias, before["heads.head.bias"])


def shared_and_tied():
    """A normalisation with two names, and a linear layer whose weight another one uses, too."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.BatchNorm1d(64), nn.Linear(64, 64), nn.Linear(64, 3))
    net[3].weight = net[1].weight
    net.again = net[2]
    net.forward = lambda x: net[4](net[3](net[2](net[1](net[0](x)))))
    return net


@pytest.mark.parametrize(("name", "other"), [("again", "2"), ("2", "again"), ("3.weight", "1"), ("1.weight", "3")])
def test_a_shared_module_and_a_tied_weight_are_held_counted_and_let_go_by_any_name(name, other, make_trial, stage):
    trial = make_trial(shared_and_tied())
    stage("freeze", layers=[name]).run(trial)
    tied = name.endswith("weight")
    assert held_fraction(trial.model, trial.weights(), trial.frozen) == (64 * 64 / (64 * 64 + 3 * 64) if tied else 0)
    assert set(trial.frozen) <= {"1.weight", *(n for n in trial.model.state_dict() if n.startswith("2."))}
    before = state_of(trial)
    train = stage("train", epochs=1, batch_size=8)
    train.run(trial)
    assert_held(trial, before)
    stage("unfreeze", layers=[other]).run(trial)
    assert trial.frozen == {}
    train.run(trial)
    after = state_of(trial)
    assert {n for n in before if torch.equal(before[n], after[n])} <= {"1.bias"}  # which normalisation takes away


class Parent(nn.Module):
    """Tokens of the root: one before the first weight, one after it, one after the last; and a head it does not use."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.token = nn.Parameter(torch.ones(8))
        self.first = nn.Parameter(torch.ones(64))
        self.aux = nn.Linear(8, 3)
        self.head = nn.Linear(8, 3)
        self.stem = nn.Linear(64, 8)

    def forward(self, x):
        return self.head((self.stem(x.flatten(1) * self.first) + self.token).relu()) * self.scale


@pytest.mark.parametrize(
    ("fraction", "held"),
    [
        (0.3, {"first", "stem.weight", "stem.bias", "token"}),
        (0.6, {"first", "stem.weight", "stem.bias", "token", "head.weight", "head.bias", "scale"}),
    ],
)
def test_a_fraction_holds_what_is_used_before_the_first_free_weight(fraction, held, make_trial, stage):
    trial = make_trial(Parent())
    stage("freeze", fraction=fraction).run(trial)
    assert whole(trial) == set(trial.frozen) == held


def test_a_fraction_of_computed_weights_is_refused_by_name_and_names_hold_them(make_trial, stage):
    norm = nn.utils.parametrizations.spectral_norm
    trial = make_trial(nn.Sequential(nn.Flatten(), norm(nn.Linear(64, 8)), nn.Linear(8, 3)))
    with pytest.raises(StageError) as error:
        stage("freeze", fraction=0.5).run(trial)
    assert str(error.value) == (
        "1.weight is computed from other parameters (weight_norm, spectral_norm or another parametrization), so that "
        "no fraction of the network can be counted: freeze by name with layers"
    )
    stage("freeze", layers=["1"]).run(trial)
    assert held_fraction(trial.model, trial.weights(), trial.frozen) == 512 / (512 + 24)
    before = state_of(trial)
    stage("train", epochs=2, batch_size=8).run(trial)
    assert_held(trial, before)
