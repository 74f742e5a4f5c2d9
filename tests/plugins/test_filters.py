"""Whole filters: pruned, regrown and shuffled with all that belongs to them."""

import logging
import sys

import pytest
import torch
from torch import nn

from framework import Filters, StageError, Trainer
from framework.testing import run_stage
from framework_plugins.stages import ShuffleMasks, Unprune


class Chain(nn.Module):
    """Two convolutions with biases and normalisation, and a linear layer that reads 2 × 2 places of each channel."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.fc = nn.Linear(12, 3)

    def forward(self, x):
        x = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu())).relu()
        return self.fc(nn.functional.adaptive_avg_pool2d(x, 2).flatten(1))


class Block(nn.Module):
    """A residual sum: what the stem and the second convolution compute is added, channel by channel."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.conv1, self.bn1 = nn.Conv2d(4, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.conv2, self.bn2 = nn.Conv2d(6, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        x = self.stem(x)
        x = (x + self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))).relu()
        return self.fc(x.mean((2, 3)))


@pytest.fixture
def chain(make_trial):
    torch.manual_seed(0)
    return make_trial(Chain())


@pytest.fixture
def block(make_trial):
    torch.manual_seed(0)
    return make_trial(Block())


def fill(parameter, *values):
    """Let every number of the first filter be the first value, and so on."""
    with torch.no_grad():
        for row, value in zip(parameter, values, strict=True):
            row.fill_(value)


def gone(trial):
    """The filters that are pruned whole, by name of their layers."""
    filters = Filters(trial)
    masks = filters.masks(filters.candidates())
    return {name: (~mask).nonzero().flatten().tolist() for name, mask in masks.items() if not mask.all()}


def open_places(trial, name):
    return sorted({place[0] for place in trial.masks[name].nonzero().tolist()})


def test_the_filters_with_the_smallest_sums_go_with_all_that_belongs_to_them(chain, stage):
    fill(chain.model.conv1.weight, 0.3, -0.1, 0.2, -0.4)  # of 9 weights each: 2.7, 0.9, 1.8, 3.6
    fill(chain.model.conv2.weight, 0.1, -0.2, 0.01)  # of 36 each: 3.6, 7.2, 0.36
    model = chain.model
    stage("prune", granularity="filters", amount=3 / 7).run(chain)
    assert gone(chain) == {"conv1.weight": [1, 2], "conv2.weight": [2]}
    assert {name: tuple(open_places(chain, name)) for name in chain.masks if chain.masks[name].dim() == 1} == {
        "conv1.bias": (0, 3),
        "bn1.weight": (0, 3),
        "bn1.bias": (0, 3),
        "conv2.bias": (0, 1),
        "bn2.weight": (0, 1),
        "bn2.bias": (0, 1),
    }
    kept = torch.zeros(3, 4, dtype=torch.bool)
    kept[:2, [0, 3]] = True  # filters by what they read
    assert torch.equal(chain.masks["conv2.weight"], kept.view(3, 4, 1, 1).expand(3, 4, 3, 3))
    columns = torch.arange(12) < 8  # 2 × 2 places of each of three channels
    assert torch.equal(chain.masks["fc.weight"], columns.expand(3, 12))
    model.bn1.running_mean.fill_(5)  # cannot bring back what is masked
    model.eval()
    images = torch.rand(2, 1, 8, 8)
    assert bool((model.bn1(model.conv1(images))[:, [1, 2]] == 0).all())
    assert bool((model.bn2(model.conv2(model.bn1(model.conv1(images)).relu()))[:, 2] == 0).all())


@pytest.mark.parametrize("amount", [0, 0.1, 0.25, 0.5, 0.65, 1])
@pytest.mark.parametrize("distribution", ["global", "layer", "erk"])
def test_the_count_of_filters_is_exact_and_of_equal_ones_the_first_go(amount, distribution, chain, stage):
    for name in ("conv1", "conv2"):
        nn.init.constant_(chain.model.get_submodule(name).weight, 0.5)
    stage("prune", granularity="filters", amount=amount, distribution=distribution).run(chain)
    found = gone(chain)
    assert sum(map(len, found.values())) == round(amount * 7)
    assert all(places == [*range(len(places))] for places in found.values())


def test_amounts_by_layer_rounds_and_what_remains_count_filters(chain, stage):
    stage("prune", granularity="filters", amount={"conv1": 0.5, "conv2": 0}).run(chain)
    assert {name: len(places) for name, places in gone(chain).items()} == {"conv1.weight": 2}
    stage("prune", granularity="filters", amount=0.4, rounds=2, criterion="taylor").run(chain)  # 2 of the 5 that remain
    assert sum(map(len, gone(chain).values())) == 4
    stage("prune", granularity="filters", amount=5 / 7, of="total").run(chain)
    assert sum(map(len, gone(chain).values())) == 5


def test_channels_that_are_added_are_scored_and_pruned_together(block, stage):
    fill(block.model.stem.weight, 0.1, 0.2, 0.3, 0.4)  # of 9 weights: 0.9, 1.8, 2.7, 3.6
    fill(block.model.conv2.weight, 0.06, 0.05, 0.04, 0.005)  # of 54: 3.24, 2.7, 2.16, 0.27; together the last is least
    fill(block.model.conv1.weight, *[1.0] * 6)
    stage("prune", granularity="filters", amount=0.1).run(block)  # of 4 that are tied and 6 others
    assert gone(block) == {"stem.weight": [3]}
    for name in ("stem.weight", "conv2.weight", "bn2.weight", "bn2.bias"):
        assert open_places(block, name) == [0, 1, 2]
    for name in ("conv1.weight", "fc.weight"):  # those that read the sum
        assert not block.masks[name][:, 3].any()
        assert block.masks[name][:, :3].all()


def test_slimming_scores_by_gamma_of_all_that_are_tied(chain, block, stage):
    fill(chain.model.bn1.weight, 0.5, -0.1, 0.3, 0.9)
    fill(chain.model.bn2.weight, -0.2, 0.6, 0.7)
    stage("prune", granularity="filters", amount=3 / 7, criterion="slimming").run(chain)
    assert gone(chain) == {"conv1.weight": [1, 2], "conv2.weight": [0]}
    fill(block.model.bn2.weight, 0.5, -0.4, 0.3, 0.2)
    stage("prune", granularity="filters", amount=0.5, criterion="slimming", layers=["stem", "conv2"]).run(block)
    assert gone(block) == {"stem.weight": [2, 3]}


def test_a_layer_without_normalisation_has_no_gamma(make_trial, stage):
    trial = make_trial(nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 3)))
    text = (
        "criterion 'slimming' scores filters by their batch normalisation, and those of 1 have none: leave that layer "
        "out with exclude, or take another criterion"
    )
    with pytest.raises(StageError, match=f"^{text}$"):
        stage("prune", granularity="filters", amount=0.5, criterion="slimming").run(trial)


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"layers": ["fc"]}, "there is no filter to choose: fc (it gives the network's outputs)"),
        ({"layers": ["stem"]}, "there is no filter to choose: stem (it is tied to conv2, and that is not chosen)"),
        ({"layers": ["conv3"]}, "no layer matches 'conv3' (did you mean 'conv2'?)"),
    ],
)
def test_why_there_is_no_filter_to_choose(parameters, text, block, stage):
    with pytest.raises(StageError) as error:
        stage("prune", granularity="filters", amount=0.5, **parameters).run(block)
    assert str(error.value) == text
    assert block.masks == {}


def test_a_note_names_the_layers_that_keep_their_filters(block, stage, caplog):
    with caplog.at_level(logging.WARNING, "framework"):
        stage("prune", granularity="filters", amount=0.5, exclude=["conv2"]).run(block)
    assert caplog.messages == [
        "these layers keep all their filters: stem (it is tied to conv2, and that is not chosen)"
    ]
    assert [*gone(block)] == ["conv1.weight"]


def test_what_is_frozen_is_no_candidate(chain, stage):
    chain.frozen["bn1.bias"] = torch.tensor([True, True, False, False])
    stage("prune", granularity="filters", amount=1, layers=["conv1"]).run(chain)
    assert gone(chain) == {"conv1.weight": [2, 3]}


def test_without_the_package_an_error_says_how_to_install_it(stage, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    for name in ("prune", "unprune", "shuffle_masks"):
        with pytest.raises(ValueError, match=r"needs the package torch-pruning: pip install 'framework\[structured\]'"):
            stage(name, granularity="filters", **({"amount": 0.5} if name == "prune" else {}))


def test_slimming_is_for_whole_filters_only(stage):
    with pytest.raises(ValueError, match="criterion 'slimming' scores whole filters: give granularity: filters"):
        stage("prune", amount=0.5, criterion="slimming")


def test_a_filter_regrows_whole_and_learns_again(chain, stage):
    before = {name: p.detach().clone() for name, p in chain.model.named_parameters()}
    stage("prune", granularity="filters", amount=4 / 7, distribution="layer").run(chain)
    with pytest.raises(StageError, match=r"^whole filters are pruned here, with .*: give granularity: filters$"):
        stage("unprune").run(chain)
    pruned = gone(chain)
    stage("unprune", granularity="filters", start="before", fraction=0.5).run(chain)
    left = gone(chain)
    assert sum(map(len, left.values())) == 2
    assert all({*places} < {*pruned[name]} or places == pruned[name] for name, places in left.items())
    stage("unprune", granularity="filters", start="before").run(chain)
    assert (chain.masks, chain.before_pruning) == ({}, {})
    assert all(torch.equal(p, before[name]) for name, p in chain.model.named_parameters())


def test_regrown_at_random_a_filter_has_what_a_new_layer_has(chain, stage):
    fill(chain.model.bn1.weight, 2.0, 2.0, 2.0, 2.0)
    stage("prune", granularity="filters", amount=0.5, layers=["conv1"]).run(chain)
    [places] = gone(chain).values()
    stage("unprune", granularity="filters", start="random").run(chain)
    model = chain.model
    assert bool((model.conv1.weight[places] != 0).all())
    assert bool((model.conv1.bias[places] == 0).all())
    assert bool((model.bn1.weight[places] == 1).all())
    assert bool((model.conv2.weight[:, places] != 0).all())
    assert bool((model.bn1.weight.sum() == 6).all())


def test_shuffled_filters_are_as_many_in_each_layer_and_have_their_values(chain, stage):
    before = {name: p.detach().clone() for name, p in chain.model.named_parameters()}
    stage("prune", granularity="filters", amount={"conv1": 0.5, "conv2": 0.4}).run(chain)
    first = gone(chain)
    drawn = set()
    for seed in range(8):
        chain.seed = seed
        stage("shuffle_masks", granularity="filters").run(chain)
        found = gone(chain)
        assert {name: len(places) for name, places in found.items()} == {n: len(p) for n, p in first.items()}
        drawn.add(str(found))
        for name, parameter in chain.model.named_parameters():
            assert torch.equal(parameter, before[name].masked_fill(~chain.masks.get(name, torch.tensor(True)), 0))
    assert len(drawn) > 3


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_what_goes_with_a_filter_stays_at_zero_while_the_others_learn(optimizer, chain, stage):
    stage("prune", granularity="filters", amount=0.5, distribution="layer").run(chain)
    before = chain.model.bn1.weight.detach().clone()
    options = {"sgd": {"momentum": 0.9, "weight_decay": 0.1}, "adamw": {}}[optimizer]
    cls = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}[optimizer]
    made = cls(chain.model.parameters(), lr=0.1, **options)
    trainer = Trainer(chain.model, nn.CrossEntropyLoss(), made, masks=chain.masks)
    for inputs, targets in chain.batches("train", 8).epoch(0):
        trainer.step(inputs, targets)
    for name, mask in chain.masks.items():
        parameter = chain.model.get_parameter(name)
        assert bool((parameter[~mask] == 0).all())
        for slot in made.state[parameter].values():
            assert slot is None or slot.shape != mask.shape or bool((slot[~mask] == 0).all())
    assert not torch.equal(before, chain.model.bn1.weight)


def test_the_network_is_left_as_it_was(chain):
    state = {name: tensor.clone() for name, tensor in chain.model.state_dict().items()}
    chain.model.conv1.weight.requires_grad_(False)
    random = torch.get_rng_state()
    Filters(chain)
    assert torch.equal(random, torch.get_rng_state())
    assert chain.model.training
    assert not chain.model.conv1.weight.requires_grad
    assert all(torch.equal(state[name], tensor) for name, tensor in chain.model.state_dict().items())


def test_nothing_to_regrow_or_shuffle_is_an_error(chain):
    run_stage("prune", chain, amount=0.5)
    for made in (Unprune(granularity="filters", start="before"), ShuffleMasks(granularity="filters")):
        with pytest.raises(StageError, match="no filter is pruned whole here of which nothing is frozen"):
            made.run(chain)
