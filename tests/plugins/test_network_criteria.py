"""Criteria that look at the whole network, against independent renderings of the published rules."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from framework import scores
from framework._component import build
from framework._registry import installed
from framework.testing import run_stage, tiny_trial


def component(name, **parameters):
    return build(installed(), "criterion", {"name": name, **parameters})


def perceptron():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 3))


NETWORKS = {"perceptron": lambda: tiny_trial(model=perceptron()), "convolutions": tiny_trial}


@pytest.fixture(params=NETWORKS)
def trial(request):
    return NETWORKS[request.param]()


def batch(trial, count):
    return next(trial.batches("train", count).epoch(0))


def test_snip_is_the_weight_times_the_gradient_of_a_batch(trial):
    found = scores(component("snip", images=16, mode="eval"), trial, list(trial.weights()))
    model = deepcopy(trial.model).eval()
    inputs, labels = batch(trial, 16)
    nn.functional.cross_entropy(model(inputs), labels).backward()
    for name, score in found.items():
        weight = model.get_parameter(name)
        torch.testing.assert_close(score, (weight * weight.grad).abs(), rtol=1e-5, atol=1e-8)


def test_grasp_is_the_weight_times_the_hessian_times_the_gradient():
    trial = tiny_trial(model=perceptron())
    found = scores(component("grasp", per_class=4, temperature=2.0, batch_size=5), trial, list(trial.weights()))
    model = trial.model.double()
    names, weights = zip(*trial.weights().items(), strict=True)
    chosen, left = [], {0: 4, 1: 4, 2: 4}
    for inputs, labels in trial.batches("train").epoch(0):
        for x, y in zip(inputs, labels.tolist(), strict=True):
            if left[y]:
                left[y] -= 1
                chosen.append((x, y))
    x, y = torch.stack([x for x, _ in chosen]).double(), torch.tensor([y for _, y in chosen])

    def loss(*values):  # of the three batches of 5, 5 and 2
        state = dict(zip(names, values, strict=True))
        return sum(
            nn.functional.cross_entropy(torch.func.functional_call(model, state, a) / 2.0, b)
            for a, b in zip(x.split(5), y.split(5), strict=True)
        )

    gradients = torch.autograd.grad(loss(*weights), weights)
    _, product = torch.autograd.functional.hvp(loss, tuple(w.detach() for w in weights), gradients)
    for name, weight, hg in zip(names, weights, product, strict=True):
        torch.testing.assert_close(found[name].double(), weight.detach() * hg, rtol=1e-4, atol=1e-9)


def test_synflow_is_the_part_of_the_flow_through_each_weight_by_hand():
    torch.manual_seed(0)
    trial = tiny_trial(model=nn.Sequential(nn.Flatten(), nn.Linear(64, 2, bias=False), nn.Linear(2, 3, bias=False)))
    found = scores(component("synflow"), trial, list(trial.weights()))
    first, second = (w.detach().double().abs() for w in trial.weights().values())
    through_hidden = second.sum(0)  # of each hidden unit: what its value counts in the sum of the outputs
    torch.testing.assert_close(found["1.weight"], first * through_hidden.view(-1, 1))
    torch.testing.assert_close(found["2.weight"], second * first.sum(1).view(1, -1))


def test_synflow_in_a_hundred_rounds_empties_no_layer_where_magnitude_does():
    left = {}
    for criterion in ("synflow", "l1"):
        trial = run_stage("prune", tiny_trial(), amount=0.97, criterion=criterion, rounds=100)
        left[criterion] = [int((w != 0).sum()) for w in trial.weights().values()]
        assert sum(left[criterion]) == 420 - round(0.97 * 420)
    assert min(left["synflow"]) > 0


@pytest.mark.parametrize("name", ["snip", "grasp", "synflow"])
def test_the_trial_its_gradients_and_the_random_state_stay_as_they_were(name):
    trial = run_stage("prune", tiny_trial(), amount=0.3)
    for parameter in trial.model.parameters():
        parameter.grad = torch.ones_like(parameter)
    before, state = deepcopy(trial.model.state_dict()), torch.get_rng_state()
    modes = [module.training for module in trial.model.modules()]
    parameters = {"per_class": 4} if name == "grasp" else {}
    scores(component(name, **parameters), trial, list(trial.weights()))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[key], value) for key, value in trial.model.state_dict().items())
    assert [module.training for module in trial.model.modules()] == modes
    assert all(bool((p.grad == 1).all()) for p in trial.model.parameters())


class Unused(nn.Module):
    """Has a head that no pass uses, and a buffer that is no number."""

    def __init__(self):
        super().__init__()
        self.body, self.head, self.auxiliary = nn.Linear(64, 6), nn.Linear(6, 3), nn.Linear(6, 3)
        self.register_buffer("closed", torch.zeros(3, dtype=torch.bool))

    def forward(self, x):
        return self.head(self.body(x.flatten(1)).relu()).masked_fill(self.closed, 0.0)


@pytest.mark.parametrize("name", ["snip", "grasp", "synflow"])
def test_what_no_pass_uses_has_no_part_in_the_loss(name):
    trial = tiny_trial(model=Unused())
    parameters = {"per_class": 4} if name == "grasp" else {}
    found = scores(component(name, **parameters), trial, list(trial.weights()))
    assert [bool(score.any()) for score in found.values()] == [True, True, False]
    assert list(found)[2] == "auxiliary.weight"


@pytest.mark.parametrize(("pace", "expected"), [("exponential", [126, 214, 276, 319]), ("linear", [80, 160, 239, 319])])
def test_rounds_prune_exponentially_or_linearly(pace, expected, monkeypatch):
    # 0.76 of 420 weights is 319; exponentially 420 (1 - 0.24 ** (k / 4)) in all after round k.
    trial, found = tiny_trial(), []
    original = type(trial).set_masks

    def noted(self, masks):
        original(self, masks)
        found.append(sum(int((w == 0).sum()) for w in self.weights().values()))

    monkeypatch.setattr(type(trial), "set_masks", noted)
    run_stage("prune", trial, amount=0.76, rounds=4, pace=pace)
    assert found == expected
