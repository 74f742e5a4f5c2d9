"""Criteria that look at the whole network, against independent renderings of the published rules."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from framework import Network, scores
from framework._component import build
from framework._registry import installed
from framework.testing import run_stage, tiny_data, tiny_trial


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


def batches_of(monkeypatch, *batches):
    """Let criteria draw these batches, whatever they ask for."""
    given = [(torch.tensor(x).view(-1, 1, 1, 2), torch.tensor(y)) for x, y in batches]
    monkeypatch.setattr(Network, "batches", lambda self, count, size: given)


def test_taylor_averages_the_squares_of_batches_and_fisher_those_of_images_by_hand(monkeypatch):
    # The loss is output 0 minus output 1, so its gradient by row 0 is the batch's mean input, and by row 1 minus that:
    # of the batches below (2, 0) and (0, -2).
    layer, loss = nn.Linear(2, 2, bias=False), Difference()
    layer.weight.data = torch.tensor([[1.0, 2.0], [3.0, 0.0]])
    trial = tiny_trial(model=nn.Sequential(nn.Flatten(), layer), data=tiny_data((1, 1, 2), classes=2, train=8))
    batches_of(monkeypatch, ([[1.0, 0.0], [3.0, 0.0]], [0, 1]), ([[0.0, -2.0]], [0]))
    found = scores(component("taylor"), trial, ["1.weight"], loss=loss)
    assert found["1.weight"].tolist() == [[1 * 4 / 2, 4 * 4 / 2], [9 * 4 / 2, 0.0]]
    batches_of(monkeypatch, ([[1.0, 0.0]], [0]), ([[3.0, 0.0]], [1]), ([[0.0, -2.0]], [0]))
    found = scores(component("fisher"), trial, ["1.weight"], loss=loss)["1.weight"]
    torch.testing.assert_close(found, torch.tensor([[1 * 10 / 6, 4 * 4 / 6], [9 * 10 / 6, 0.0]]))


class Difference(nn.Module):
    def forward(self, outputs, targets):
        return (outputs[:, 0] - outputs[:, 1]).mean()


def test_fisher_asks_for_single_images_without_repeating_any():
    asked = []

    class Batches:
        def __len__(self):
            return 36

        def epoch(self, number):
            for i in range(36):
                asked.append((number, i))
                yield torch.full((1, 1, 8, 8), float(i)), torch.tensor([i % 3])

    trial = tiny_trial()
    trial.data = replace_batches(trial.data, Batches())
    scores(component("fisher", images=40), trial, list(trial.weights()))
    assert asked == [(0, i) for i in range(36)] + [(1, i) for i in range(4)]  # and no more are drawn than are used


def replace_batches(data, batches):
    class Replaced(type(data)):
        def batches(self, split, size, *, seed=None, channels_last=False):
            assert size == 1
            return batches

    return Replaced(**vars(data))


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
    for criterion in ("synflow", "magnitude"):
        trial = run_stage("prune", tiny_trial(), amount=0.97, criterion=criterion, rounds=100)
        left[criterion] = [int((w != 0).sum()) for w in trial.weights().values()]
        assert sum(left[criterion]) == 420 - round(0.97 * 420)
    assert min(left["synflow"]) > 0


SMALL = {"grasp": {"per_class": 4}, "fisher": {"images": 5}, "taylor": {"images": 8, "batches": 2}}


@pytest.mark.parametrize("name", ["snip", "grasp", "synflow", "taylor", "fisher"])
def test_the_trial_its_gradients_and_the_random_state_stay_as_they_were(name):
    trial = run_stage("prune", tiny_trial(), amount=0.3)
    for parameter in trial.model.parameters():
        parameter.grad = torch.ones_like(parameter)
    before, state = deepcopy(trial.model.state_dict()), torch.get_rng_state()
    modes = [module.training for module in trial.model.modules()]
    scores(component(name, **SMALL.get(name, {})), trial, list(trial.weights()))
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


@pytest.mark.parametrize("name", ["snip", "grasp", "synflow", "taylor", "fisher"])
def test_what_no_pass_uses_has_no_part_in_the_loss(name):
    trial = tiny_trial(model=Unused())
    found = scores(component(name, **SMALL.get(name, {})), trial, list(trial.weights()))
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
