"""What `train` can do besides: parameter groups, layer-wise decay, averaged weights and batches in parts."""

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from framework import StageError
from framework.testing import run_stage, tiny_trial

SGD = {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}


def by_hand(trial, optimizer, steps, batch_size=12):
    """Train by plain torch; yield after each step."""
    number, made = 0, 0
    torch.manual_seed(trial.seed)  # for dropout, as `run_stage` does
    while made < steps:
        for inputs, targets in trial.batches("train", batch_size).epoch(number):
            if made < steps:
                optimizer.zero_grad()
                nn.functional.cross_entropy(trial.model.train()(inputs), targets).backward()
                optimizer.step()
                made += 1
                yield trial
        number += 1


def assert_equal_networks(one, other, **tolerance):
    for name, tensor in one.model.state_dict().items():
        torch.testing.assert_close(tensor, other.model.state_dict()[name], **tolerance)


def test_groups_give_parameters_their_own_options_the_later_one_counts():
    groups = [{"match": "*.bias", "weight_decay": 0.0}, {"match": "fc", "lr": 0.5}, {"match": "fc.bias", "lr": 0.2}]
    trial = run_stage("train", tiny_trial(), steps=5, batch_size=12, optimizer=SGD, groups=groups)
    expected = tiny_trial()
    options = {"conv1.weight": {}, "norm1.weight": {}, "conv2.weight": {}, "norm2.weight": {}}
    options |= {name: {"weight_decay": 0.0} for name in ("norm1.bias", "conv2.bias", "norm2.bias")}
    options |= {"fc.weight": {"lr": 0.5}, "fc.bias": {"weight_decay": 0.0, "lr": 0.2}}
    parameters = dict(expected.model.named_parameters())
    assert options.keys() == parameters.keys()
    torch_groups = [{"params": [parameters[name]], **own} for name, own in options.items()]
    for _ in by_hand(expected, torch.optim.SGD(torch_groups, lr=0.1, momentum=0.9, weight_decay=0.01), 5):
        pass
    assert_equal_networks(trial, expected, rtol=0, atol=1e-7)


def test_a_learning_rate_decays_with_each_layer_from_the_last():
    trial = run_stage("train", tiny_trial(), steps=3, batch_size=12, optimizer=SGD, layer_decay=0.5)
    expected = tiny_trial()
    factors = {"conv1": 0.25, "norm1": 0.25, "conv2": 0.5, "norm2": 0.5, "fc": 1.0}
    torch_groups = [
        {"params": [parameter], "lr": 0.1 * factors[name.split(".")[0]]}
        for name, parameter in expected.model.named_parameters()
    ]
    for _ in by_hand(expected, torch.optim.SGD(torch_groups, lr=0.1, momentum=0.9, weight_decay=0.01), 3):
        pass
    assert_equal_networks(trial, expected, rtol=0, atol=1e-7)


def test_the_schedule_multiplies_all_learning_rates():
    trial, lrs = tiny_trial(), []
    trial.emit = lambda epoch, metrics: lrs.append(metrics["lr"])
    groups = [{"match": "*", "lr": 0.4}]
    run_stage("train", trial, epochs=2, batch_size=18, optimizer=SGD, groups=groups, schedule="linear")
    assert lrs == pytest.approx([0.4 * 3 / 4, 0.4 * 1 / 4])  # at the last of two steps of each epoch


@pytest.mark.parametrize("optimizer", ["muon", "adagrad", "rprop", {"name": "adam", "fused": True}])
def test_groups_go_with_every_optimizer(optimizer):
    name = optimizer if isinstance(optimizer, str) else optimizer["name"]
    trial = run_stage("prune", tiny_trial(), amount=0.5)
    before = {n: p.detach().clone() for n, p in trial.model.named_parameters()}
    run_stage("train", trial, steps=4, batch_size=12, optimizer=optimizer, groups=[{"match": "conv*", "lr": 0.0}])
    moved = {n for n, p in trial.model.named_parameters() if not torch.equal(p, before[n])}
    held = set() if name == "rprop" else {"conv1.weight", "conv2.weight", "conv2.bias"}  # whose lr is where steps begin
    assert moved == before.keys() - held
    assert all(not weight[~trial.masks[n]].any() for n, weight in trial.weights().items())


def test_what_a_group_cannot_have_is_refused():
    with pytest.raises(StageError, match="no layer matches 'head'"):
        run_stage("train", epochs=1, groups=[{"match": "head", "lr": 0.1}])
    with pytest.raises(ValidationError, match="rprop has no weight_decay, which groups give for 'fc'"):
        run_stage("train", epochs=1, optimizer="rprop", groups=[{"match": "fc", "weight_decay": 0.1}])


def test_the_average_of_the_weights_is_measured_and_left():
    trial, measured = tiny_trial(), []
    trial.emit = lambda epoch, metrics: measured.append(metrics["val/loss"])
    run_stage("train", trial, steps=5, batch_size=12, optimizer=SGD, ema=0.7)
    expected = tiny_trial()
    average = {n: t.clone() for n, t in expected.model.state_dict().items() if t.is_floating_point()}
    for _ in by_hand(expected, torch.optim.SGD(expected.model.parameters(), 0.1, 0.9, weight_decay=0.01), 5):
        state = expected.model.state_dict()
        average = {name: 0.7 * value + 0.3 * state[name] for name, value in average.items()}
    for name, value in average.items():
        torch.testing.assert_close(trial.model.state_dict()[name], value)
    expected.model.load_state_dict(average, strict=False)
    images, labels = next(trial.batches("validation", 256).epoch(0))
    assert measured[-1] == pytest.approx(nn.functional.cross_entropy(expected.model.eval()(images), labels).item())


def test_the_average_keeps_masks_that_change_and_what_is_frozen():
    trial = tiny_trial(prepared=True)
    held = {name: trial.model.state_dict()[name][flags].clone() for name, flags in trial.frozen.items()}
    sparsities = []
    trial.emit = lambda epoch, metrics: sparsities.append(metrics["sparsity"])
    sparsifier = {"name": "gradual", "amount": 0.9, "every": 1}
    run_stage("train", trial, epochs=4, batch_size=12, optimizer=SGD, ema=0.99, sparsifier=sparsifier)
    state = trial.model.state_dict()
    assert all(torch.equal(state[name][flags], held[name]) for name, flags in trial.frozen.items())
    assert all(not state[name][~mask].any() for name, mask in trial.masks.items())
    assert sparsities == sorted(sparsities)
    assert sparsities[0] < sparsities[-1]


@pytest.mark.parametrize("parts", [2, 5, 100])
def test_a_batch_in_parts_makes_the_same_step(parts):
    def trained(**parameters):
        network = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 3))  # that normalises nothing
        torch.manual_seed(0)
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.2)
        trial, measured = tiny_trial(model=network), []
        trial.emit = lambda epoch, metrics: measured.append((metrics["train/loss"], metrics["train/accuracy"]))
        return run_stage("train", trial, epochs=2, batch_size=13, optimizer=SGD, **parameters), measured

    (whole, measured), (in_parts, too) = trained(), trained(accumulate=parts)
    assert_equal_networks(whole, in_parts, rtol=1e-5, atol=1e-6)
    assert too == [pytest.approx(pair, rel=1e-5) for pair in measured]


def test_no_part_is_a_single_image():
    seen = []
    trial = tiny_trial()
    trial.model.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])) if module.training else None)
    run_stage("train", trial, epochs=1, batch_size=7, accumulate=4)
    assert min(seen) == 2
