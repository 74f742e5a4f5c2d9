from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn
from torch.nn.utils import prune as torch_prune

from framework import StageError, hookimpl
from framework._component import build
from framework._registry import Registry, installed

TOTAL = 36 + 96 + 72


def pruned(trial):
    return sum(int((~m).sum()) for m in trial.masks.values())


def mask(trial, name):
    return trial.masks.get(name, torch.ones_like(trial.weights()[name], dtype=torch.bool))


def zeros(trial):
    return sum(int((w == 0).sum()) for w in trial.weights().values())


@settings(deadline=None, max_examples=40)
@given(
    amounts=st.lists(st.floats(0, 1), min_size=1, max_size=3),
    distribution=st.sampled_from(["global", "layer", "erk"]),
    criterion=st.sampled_from(["magnitude", "random"]),
    rounds=st.integers(1, 4),
)
def test_exactly_the_rounded_amount_of_the_remaining_weights_goes(
    make_trial, stage, amounts, distribution, criterion, rounds
):
    trial, left = make_trial(), TOTAL
    for amount in amounts:
        before = {name: int(mask(trial, name).sum()) for name in trial.weights()}
        stage("prune", amount=amount, distribution=distribution, criterion=criterion, rounds=rounds).run(trial)
        left -= round(amount * left)
        assert TOTAL - pruned(trial) == left
        assert zeros(trial) == pruned(trial)
        for name, weight in trial.weights().items():
            if distribution == "layer" and rounds == 1:
                assert abs(int(mask(trial, name).sum()) - before[name] * (1 - amount)) <= 1
            assert torch.equal(weight != 0, mask(trial, name))


@settings(deadline=None, max_examples=30)
@given(first=st.floats(0, 1), second=st.floats(0, 1), distribution=st.sampled_from(["global", "layer", "erk"]))
def test_of_total_makes_amount_the_fraction_pruned_in_the_end(make_trial, stage, first, second, distribution):
    trial = make_trial()
    for amount in sorted([first, second]):
        stage("prune", amount=amount, of="total", distribution=distribution).run(trial)
        assert pruned(trial) == round(amount * TOTAL)


def test_of_total_below_what_is_pruned_already_is_an_error(make_trial, stage):
    trial = make_trial()
    stage("prune", amount=0.5).run(trial)
    with pytest.raises(StageError) as error:
        stage("prune", amount=0.2, of="total").run(trial)
    assert str(error.value) == (
        "amount 0.2 of the total is less than the 50.0% already pruned: raise it, unprune first, or count of: remaining"
    )
    assert pruned(trial) == TOTAL // 2


def test_ties_go_by_position_in_forward_order(make_trial, stage):
    trial = make_trial()
    for weight in trial.weights().values():
        weight.data.fill_(-0.5)
    trial.model.fc.weight.data.view(-1)[[3, 70]] = 0.25
    stage("prune", amount=40 / TOTAL).run(trial)
    assert [(~mask(trial, name)).view(-1).nonzero().flatten().tolist() for name in trial.weights()] == [
        list(range(36)),
        [0, 1],
        [3, 70],
    ]


def test_weights_that_are_zero_by_themselves_are_candidates_but_masked_ones_are_never_counted_again(make_trial, stage):
    trial = make_trial()
    trial.model.conv1.weight.data.view(-1)[:6] = 0
    stage("prune", amount=5 / TOTAL).run(trial)
    assert pruned(trial) == 5
    assert (~trial.masks["conv1.weight"]).view(-1).nonzero().flatten().tolist() == [0, 1, 2, 3, 4]
    stage("prune", amount=2 / (TOTAL - 5)).run(trial)
    assert pruned(trial) == 7
    assert not trial.masks["conv1.weight"].view(-1)[5]


def test_the_smallest_magnitudes_go_over_all_layers_together_or_by_layer(make_trial, stage):
    values = {"conv1.weight": (1.0, 2.0), "conv2.weight": (10.0, 20.0), "fc.weight": (100.0, 200.0)}
    for distribution, expected in (("global", [36, 66, 0]), ("layer", [18, 48, 36])):
        trial = make_trial()
        for name, weight in trial.weights().items():
            weight.data = torch.linspace(*values[name], weight.numel()).view(weight.shape)
            weight.data.view(-1)[::2] *= -1
        stage("prune", amount=0.5, distribution=distribution).run(trial)
        for name, count in zip(trial.weights(), expected, strict=True):
            gone = ~mask(trial, name).view(-1)
            assert int(gone.sum()) == int(gone[:count].sum()) == count


def test_layers_and_exclude_choose_what_is_counted(make_trial, stage):
    trial = make_trial()
    stage("prune", amount=0.25, layers=["conv*"]).run(trial)
    assert set(trial.masks) == {"conv1.weight", "conv2.weight"}
    assert pruned(trial) == 33
    trial = make_trial()
    stage("prune", amount=0.5, exclude=["conv1", "fc"]).run(trial)
    assert {name: int((~m).sum()) for name, m in trial.masks.items()} == {"conv2.weight": 48}


def test_pruning_one_layer_leaves_the_masks_of_the_others(make_trial, stage):
    trial = make_trial()
    stage("prune", amount=0.5, layers=["fc"]).run(trial)
    fc = trial.masks["fc.weight"].clone()
    stage("prune", amount=0.5, layers=["conv2"]).run(trial)
    assert torch.equal(trial.masks["fc.weight"], fc)
    assert pruned(trial) == 36 + 48


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"layers": ["conv3"]}, "no layer matches 'conv3' (did you mean 'conv2'?)"),
        ({"exclude": ["conv3"]}, "no layer matches 'conv3' (did you mean 'conv2'?)"),
        (
            {"layers": ["bn1"]},
            "no layer matches 'bn1' (valid: conv1, conv1.weight, conv2, conv2.weight, fc, fc.weight)",
        ),
        ({"layers": ["fc"], "exclude": ["f*"]}, "no layer is left to choose from: the patterns select none"),
    ],
)
def test_a_selector_that_matches_nothing_is_an_error(parameters, text, make_trial, stage):
    trial = make_trial()
    with pytest.raises(StageError) as error:
        stage("prune", amount=0.5, **parameters).run(trial)
    assert str(error.value) == text
    assert trial.masks == {}


def test_the_values_before_pruning_are_kept_across_repeated_pruning(make_trial, stage):
    trial = make_trial()
    start = {name: w.detach().clone() for name, w in trial.weights().items()}
    stage("prune", amount=0.3).run(trial)
    first = {name: m.clone() for name, m in trial.masks.items()}
    for weight in trial.weights().values():
        weight.data.mul_(2)  # what is left trains on
    stage("prune", amount=0.3).run(trial)
    for name, mask in trial.masks.items():
        expected = torch.where(~first[name], start[name], torch.where(mask, 0.0, 2 * start[name]))
        assert torch.equal(trial.before_pruning[name], expected)


def test_what_is_frozen_is_neither_pruned_nor_counted(make_trial, stage):
    for of in ("remaining", "total"):
        trial = make_trial()
        stage("prune", amount=0.25, layers=["fc"]).run(trial)
        trial.frozen["conv2.weight"] = torch.arange(96).view(6, 4, 2, 2) < 50
        trial.frozen["fc.weight"] = torch.ones(3, 24, dtype=torch.bool)
        before = trial.model.conv2.weight.detach().clone(), trial.masks["fc.weight"].clone()
        stage("prune", amount=0.5, of=of).run(trial)
        assert pruned(trial) == round(0.25 * 72) + round(0.5 * (36 + 96 - 50))
        held = trial.frozen["conv2.weight"]
        assert torch.equal(trial.model.conv2.weight[held], before[0][held])
        assert torch.equal(trial.masks["fc.weight"], before[1])
        stage("prune", amount=0.5, distribution="layer", layers=["conv2"]).run(trial)
        assert bool(trial.masks["conv2.weight"][held].all())


def test_pruning_only_what_is_frozen_is_an_error(make_trial, stage):
    trial = make_trial()
    stage("freeze", layers=["conv*"]).run(trial)
    with pytest.raises(StageError) as error:
        stage("prune", amount=0.5, layers=["conv1", "conv2"]).run(trial)
    assert str(error.value) == (
        "all weights to choose from are frozen, and what is frozen keeps its mask: unfreeze some first"
    )


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(8, 6, batch_first=True)
        self.fc = nn.Linear(6, 3)

    def forward(self, x):
        return self.fc(self.gru(x.squeeze(1))[0][:, -1])


def test_recurrent_layers_are_pruned_frozen_trained_and_regrown(make_trial, stage):
    trial = make_trial(Recurrent())
    total = 18 * 8 + 18 * 6 + 18
    stage("prune", amount=0.5).run(trial)
    assert set(trial.masks) == {"gru.weight_ih_l0", "gru.weight_hh_l0", "fc.weight"}
    stage("freeze", fraction=0.3).run(trial)
    assert set(trial.frozen) == {"gru.weight_ih_l0", "gru.bias_ih_l0"}
    before = trial.model.gru.weight_ih_l0.detach().clone()
    stage("train", epochs=1, batch_size=8).run(trial)
    assert trial.records == []
    assert zeros(trial) == pruned(trial) == round(0.5 * total)
    assert torch.equal(trial.model.gru.weight_ih_l0, before)
    stage("unprune").run(trial)
    assert set(trial.masks) == {"gru.weight_ih_l0"}


def test_a_network_without_weights_to_count_trains_and_is_refused_where_they_are_needed(make_trial, stage):
    told = []
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Unflatten(1, (4, 16)), nn.AdaptiveAvgPool2d((3, 1)))
    trial = make_trial(nn.Sequential(*model, nn.Flatten()), emit=lambda epoch, metrics: told.append(metrics))
    stage("train", epochs=1, batch_size=8).run(trial)
    assert not [name for name in told[0] if name.startswith(("sparsity", "frozen"))]
    for name, parameters in (("prune", {"amount": 0.5}), ("unprune", {}), ("freeze", {"fraction": 0.5})):
        with pytest.raises(StageError, match=r"^Sequential has no convolutional, linear, recurrent or attention layer"):
            stage(name, **parameters).run(trial)
    stage("freeze", layers=["1.weight"]).run(trial)
    stage("train", epochs=1, batch_size=8).run(trial)


@pytest.mark.parametrize("amount", [0, 1])
def test_none_and_all_can_be_pruned(amount, make_trial, stage):
    trial = make_trial()
    stage("prune", amount=amount).run(trial)
    assert pruned(trial) == zeros(trial) == amount * TOTAL


def test_random_pruning_is_decided_by_the_seed_alone(make_trial, stage):
    def masks(seed, noise):
        torch.manual_seed(noise)
        trial = make_trial(seed=seed)
        stage("prune", amount=0.3, criterion="random").run(trial)
        return torch.cat([m.view(-1) for m in trial.masks.values()])

    assert torch.equal(masks(1, 0), masks(1, 1))
    assert not torch.equal(masks(1, 0), masks(2, 0))


# --- torch.nn.utils.prune as the reference -------------------------------------------------------------------------


def convnet():
    widths = [3, 8, 16, 32]
    layers = [
        layer
        for a, b in pairwise(widths)
        for layer in (nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU(), nn.MaxPool2d(2))
    ]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 16, 10))


def vit():
    from torchvision.models import VisionTransformer

    model = VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=10
    )
    nn.init.normal_(model.heads.head.weight, std=0.1)  # torchvision starts it at zero: all ties
    return model


def from_torchvision(name):
    def make():
        from torchvision import models

        return models.get_model(name, num_classes=10)

    return make


ARCHITECTURES = {
    "convnet": convnet,
    "resnet18": from_torchvision("resnet18"),
    "mobilenet_v3_small": from_torchvision("mobilenet_v3_small"),
    "vit": vit,
}


def modules_of(model, names):
    return [(model.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2]) for name in names]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_masks_are_those_of_torchs_global_l1_pruning_bit_for_bit_also_repeated(
    architecture, make_trial, make_data, stage
):
    models = []
    for _ in range(2):
        torch.manual_seed(0)
        models.append(ARCHITECTURES[architecture]())
    trial = make_trial(models[0], make_data(count=3, shape=(3, 32, 32), classes=3))
    names = list(trial.weights())
    theirs = modules_of(models[1], names)
    for amount in (0.2,) if architecture == "resnet18" else (0.2, 0.3):  # the others are quicker
        stage("prune", amount=amount).run(trial)
        torch_prune.global_unstructured(theirs, torch_prune.L1Unstructured, amount=amount)
        for name, (module, attribute) in zip(names, theirs, strict=True):
            assert torch.equal(trial.masks[name], getattr(module, f"{attribute}_mask").bool())
            assert torch.equal(trial.weights()[name], getattr(module, attribute))


@pytest.mark.parametrize("architecture", ["convnet", "vit"])
def test_masks_by_layer_are_those_of_torchs_l1_pruning_bit_for_bit_also_repeated(
    architecture, make_trial, make_data, stage
):
    models = []
    for _ in range(2):
        torch.manual_seed(0)
        models.append(ARCHITECTURES[architecture]())
    trial = make_trial(models[0], make_data(count=3, shape=(3, 32, 32), classes=3))
    theirs, empty = modules_of(models[1], trial.weights()), torch.empty(0)
    for amount in (0.1, 0.35):
        stage("prune", amount=amount, distribution="layer").run(trial)
        for name, (module, attribute) in zip(trial.weights(), theirs, strict=True):
            # Both round, but the framework so that all layers together come to the amount.
            count = int((~mask(trial, name)).sum()) - int((module._buffers.get(f"{attribute}_mask", empty) == 0).sum())
            torch_prune.l1_unstructured(module, attribute, amount=count)
            assert torch.equal(mask(trial, name), getattr(module, f"{attribute}_mask").bool()), name


# --- criteria of other plugins -------------------------------------------------------------------------------------


def saliency(weight: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    return (weight * gradient).abs()


def by_power(weight: torch.Tensor, power: float = -1.0) -> torch.Tensor:
    return weight.abs() ** power


def flat(weight: torch.Tensor) -> torch.Tensor:
    return weight.abs().flatten()


def nan(weight: torch.Tensor) -> torch.Tensor:
    return weight * torch.nan


@dataclass(frozen=True)
class Plugin:
    @hookimpl
    def register_criteria(self):
        return {"saliency": saliency, "power": by_power, "flat": flat, "nan": nan}


class Both:
    """A catalog of two registries."""

    def __init__(self, *registries):
        self.registries = registries

    def entry(self, kind, name):
        return next((e for e in (r.entry(kind, name) for r in self.registries) if e), None)

    def names(self, kind):
        return sorted(n for r in self.registries for n in r.names(kind))


@pytest.fixture
def prune():
    catalog = Both(installed(), Registry([(Plugin(), "test 1")]))
    return lambda **parameters: build(catalog, "stage", {"name": "prune", **parameters})()


def test_a_criterion_has_parameters_of_its_own(make_trial, prune):
    trial = make_trial()
    before = torch.cat([w.detach().abs().view(-1) for w in trial.weights().values()])
    prune(amount=0.1, criterion={"name": "power", "power": -2.0}).run(trial)
    kept = torch.cat([mask(trial, name).view(-1) for name in trial.weights()])
    assert before[~kept].min() > before[kept].max()  # the largest went


@pytest.mark.parametrize("batches", [1, 2, 5])
def test_a_criterion_gets_the_mean_gradient_over_the_training_batches_it_asks_for(
    batches, make_trial, prune, make_data
):
    trial = make_trial(data=make_data(count=300), seed=4)
    used = [batch for number in (0, 1) for batch in trial.batches("train", 128).epoch(number)][:batches]
    trial.model.eval()
    loss = sum(nn.functional.cross_entropy(trial.model(x), labels) for x, labels in used) / len(used)
    gradients = torch.autograd.grad(loss, list(trial.weights().values()))
    score = torch.cat([(w * g).abs().view(-1) for w, g in zip(trial.weights().values(), gradients, strict=True)])
    trial.model.train()
    statistics = trial.model.bn1.running_mean.clone()
    prune(amount=0.4, criterion="saliency", batches=batches).run(trial)
    kept = torch.cat([mask(trial, name).view(-1) for name in trial.weights()])
    assert score[~kept].max() <= score[kept].min() * (1 + 1e-3)
    assert torch.equal(trial.model.bn1.running_mean, statistics)
    assert trial.model.training


@pytest.mark.parametrize(("criterion", "gave"), [("flat", "it gave shape (36,)"), ("nan", "it gave NaN")])
def test_a_criterion_must_give_a_number_for_each_weight(criterion, gave, make_trial, prune):
    with pytest.raises(StageError) as error:
        prune(amount=0.1, criterion=criterion).run(make_trial())
    assert str(error.value) == (
        f"criterion {criterion!r} must give a number for each weight of conv1.weight, shape (4, 1, 3, 3); {gave}"
    )


def test_annotations_of_criteria_allow_bounds(make_trial, prune):
    def bounded(weight: torch.Tensor, p: Annotated[float, "any metadata"] = 2.0) -> torch.Tensor:
        return weight.abs() ** p

    registry = Registry([(type("P", (), {"register_criteria": hookimpl(lambda self: {"b": bounded})})(), "test 1")])
    stage = build(Both(installed(), registry), "stage", {"name": "prune", "amount": 0.1, "criterion": "b"})()
    trial = make_trial()
    stage.run(trial)
    assert pruned(trial) == round(0.1 * TOTAL)


# --- an amount for each layer --------------------------------------------------------------------------------------


SIZES = {"conv1": 36, "conv2": 96, "fc": 72}


def gone(trial):
    return {name.removesuffix(".weight"): int((~mask(trial, name)).sum()) for name in trial.weights()}


def test_each_layer_loses_what_the_last_pattern_that_matches_it_says(make_trial, stage):
    trial = make_trial()
    # 0.2 of 36 and of 96 is 7.2 and 19.2, 0.1 of 72 is 7.2: 33.6 in all, so 34, and the first of the remainders goes.
    stage("prune", amount={"*": 0.2, "fc": 0.1}).run(trial)
    assert gone(trial) == {"conv1": 8, "conv2": 19, "fc": 7}
    trial = make_trial()
    stage("prune", amount={"fc": 0.1, "*": 0.25}).run(trial)
    assert gone(trial) == {"conv1": 9, "conv2": 24, "fc": 18}


def test_a_layer_that_no_pattern_matches_stays_as_it_is(make_trial, stage):
    trial = make_trial()
    stage("prune", amount={"conv2": 0.5, "conv2.weight": 0.75}).run(trial)
    assert gone(trial) == {"conv1": 0, "conv2": 72, "fc": 0}


def test_the_smallest_weights_of_each_layer_go(make_trial, stage):
    trial = make_trial()
    sizes = {name: weight.detach().abs().flatten() for name, weight in trial.weights().items()}
    stage("prune", amount={"*": 0.5, "fc": 0.25}).run(trial)
    for name, size in sizes.items():
        gone = ~trial.masks[name].flatten()
        assert size[gone].max() < size[~gone].min()


@settings(deadline=None, max_examples=15)
@given(
    amounts=st.fixed_dictionaries({name: st.floats(0, 1) for name in SIZES}),
    of=st.sampled_from(["remaining", "total"]),
    rounds=st.integers(1, 4),
    pace=st.sampled_from(["exponential", "linear"]),
    criterion=st.sampled_from(["magnitude", "lamp"]),
)
def test_the_total_over_all_layers_is_rounded_once_and_no_layer_is_off_by_one(
    make_trial, stage, amounts, of, rounds, pace, criterion
):
    trial, left = make_trial(), dict(SIZES)
    for share in (0.5, 1.0):
        shares = {name: share * amount for name, amount in amounts.items()}
        stage("prune", amount=shares, of=of, rounds=rounds, pace=pace, criterion=criterion).run(trial)
        base = SIZES if of == "total" else left
        found = {name: gone(trial)[name] - (SIZES[name] - left[name] if of == "remaining" else 0) for name in SIZES}
        assert sum(found.values()) == round(sum(shares[name] * base[name] for name in SIZES))
        assert all(abs(found[name] - shares[name] * base[name]) < 1 for name in SIZES)
        left = {name: SIZES[name] - count for name, count in gone(trial).items()}


def test_layers_and_what_is_frozen_limit_the_amounts_by_layer_too(make_trial, stage):
    trial = make_trial()
    trial.frozen["conv2.weight"] = torch.arange(96).view(6, 4, 2, 2) < 56
    stage("prune", amount={"*": 0.5, "conv1": 1}, layers=["conv*"]).run(trial)
    assert gone(trial) == {"conv1": 36, "conv2": 20, "fc": 0}


def test_of_total_below_what_a_layer_has_lost_already_is_an_error(make_trial, stage):
    trial = make_trial()
    stage("prune", amount={"fc": 0.5}).run(trial)
    with pytest.raises(StageError) as error:
        stage("prune", amount={"*": 0.8, "fc": 0.2}, of="total").run(trial)
    assert str(error.value) == (
        "amount 0.2 of the total of fc.weight is less than the 50.0% already pruned: raise it, unprune first, or count "
        "of: remaining"
    )
    assert gone(trial) == {"conv1": 0, "conv2": 0, "fc": 36}


def test_a_pattern_of_amount_that_matches_nothing_is_an_error(make_trial, stage):
    trial = make_trial()
    with pytest.raises(StageError, match=r"^no layer matches 'conv3' \(did you mean 'conv2'\?\)$"):
        stage("prune", amount={"*": 0.5, "conv3": 0.1}).run(trial)
    assert trial.masks == {}


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"amount": {}}, "amount names no layer: give a fraction, or patterns of names with a fraction for each"),
        ({"amount": {"fc": 0.5}, "distribution": "erk"}, "give amount for each layer, or a distribution: each says"),
        ({"amount": {"fc": 2}}, "must be <= 1, not 2"),
        ({"amount": {"fc": "0.5"}}, "must be a number, not '0.5'"),
        ({"amount": [0.5]}, "must be a number or a mapping, not [0.5]"),
        ({"amount": 1.5}, "must be <= 1, not 1.5"),
    ],
)
def test_an_amount_that_makes_no_sense_is_refused_once_when_a_spec_is_read(parameters, text, stage):
    with pytest.raises(ValidationError) as error:
        stage("prune", **parameters)
    [mistake] = error.value.errors()
    assert text in mistake["msg"]
