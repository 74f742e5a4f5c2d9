"""Parity: each criterion against another rendering of its published rule, element by element, on the field's networks.

What is rendered here is written otherwise than in the plugins: masks as factors that gradients are taken by, Hessian
times gradient by forward-over-reverse differentiation, gradients of single images by vmap, sums by their definition.
All is in float64, so that the order of sums does not matter to the sixth digit. The networks' batch normalisation has
statistics, scales and shifts of both signs, as after training.
"""

from itertools import islice

import numpy as np
import pytest
import torch
from torch.func import functional_call, grad, jvp, vmap
from torch.nn.functional import cross_entropy

from framework import scores
from framework._component import build
from framework._registry import installed
from framework.testing import run_stage, tiny_data, tiny_trial
from framework_plugins.models.classics import mlp, vgg

# PyTorch's own forward-mode differentiation warns of what it is made with.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")


def resnet18():
    from torchvision import models

    return models.resnet18(num_classes=10)


NETWORKS = {
    "mlp": ((1, 28, 28), lambda: mlp((1, 28, 28), 10)),
    "resnet18": ((3, 32, 32), resnet18),
    "vgg16_bn": ((3, 32, 32), lambda: vgg((3, 32, 32), 10)),
}
EACH = [name if name == "mlp" else pytest.param(name, marks=pytest.mark.long) for name in NETWORKS]
each_network = pytest.mark.parametrize("network", EACH)


class InFloat64:
    """A trial's data, of which batches are in float64."""

    def __init__(self, data):
        self._data = data

    def __getattr__(self, name):
        return getattr(self._data, name)

    def batches(self, split, size, **options):
        return Batches(self._data.batches(split, size, **options))


class Batches:
    def __init__(self, batches):
        self._batches = batches

    def __len__(self):
        return len(self._batches)

    def epoch(self, number):
        return ((inputs.double(), targets) for inputs, targets in self._batches.epoch(number))


def trial_of(network):
    shape, make = NETWORKS[network]
    torch.manual_seed(0)
    model = make()
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.dim() == 1 and tensor.is_floating_point():
            noise = torch.randn_like(tensor)
            tensor.data = (noise.abs() + 0.5) if "var" in name else noise
    trial = tiny_trial(model=model, data=tiny_data(shape, classes=10, train=40))
    assert trial.forward_order  # found in float32, while that is what the network takes
    model.double()
    trial.data = InFloat64(trial.data)
    return trial


def parts(trial):
    """Parameters and buffers, apart in weights to be pruned and the rest; copies."""
    weights = {name: weight.detach().clone() for name, weight in trial.weights().items()}
    state = {name: tensor.detach().clone() for name, tensor in trial.model.state_dict().items()}
    return weights, {name: tensor for name, tensor in state.items() if name not in weights}


def scored(trial, criterion, **parameters):
    return scores(build(installed(), "criterion", {"name": criterion, **parameters}), trial, list(trial.weights()))


def training(trial, size, count):
    return list(islice(trial.batches("train", size).epoch(0), count))


def agree(found, expected):
    """The scores to 1e-6 at least, and so the masks that they give at any amount."""
    assert list(found) == list(expected)
    ours, theirs = (torch.cat([part.double().flatten() for part in side.values()]) for side in (found, expected))
    relative = float(((ours - theirs).abs() / theirs.abs().clamp(min=1e-3 * float(theirs.abs().mean()))).max())
    print(f"largest difference {relative:.1e}")
    assert relative < 1e-6
    count = round(0.9 * len(ours))
    gone = [
        torch.from_numpy(np.argpartition(side.detach().numpy(), count)[:count]).sort().values for side in (ours, theirs)
    ]
    assert torch.equal(*gone)


def masked_loss(trial, weights, rest, mode):
    """The loss as a function of factors on the weights, as SNIP's paper writes it: c in L(c ⊙ w)."""
    trial.model.train(mode == "train")

    def loss(factors, inputs, targets):
        state = {name: factors[name] * weights[name] for name in weights}
        fresh = {name: tensor.clone() for name, tensor in rest.items()}  # normalisation writes its statistics there
        return cross_entropy(functional_call(trial.model, {**fresh, **state}, (inputs,)), targets)

    return loss


def ones(weights):
    return {name: torch.ones_like(weight) for name, weight in weights.items()}


@each_network
def test_snip_is_the_gradient_by_a_mask_of_ones(network):
    trial = trial_of(network)
    weights, rest = parts(trial)
    [batch] = training(trial, 12, 1)
    by_mask = grad(masked_loss(trial, weights, rest, "train"))(ones(weights), *batch)
    agree(scored(trial, "snip", images=12), {name: g.abs() for name, g in by_mask.items()})


@each_network
def test_grasp_is_the_derivative_of_the_gradient_along_itself(network):
    trial = trial_of(network)
    weights, rest = parts(trial)
    chosen, left = [], dict.fromkeys(range(10), 1)
    for inputs, targets in trial.batches("train").epoch(0):
        for image, target in zip(inputs, targets.tolist(), strict=True):
            if left[target]:
                left[target] -= 1
                chosen.append((image, target))
    images, targets = torch.stack([image for image, _ in chosen]), torch.tensor([target for _, target in chosen])
    trial.model.train()

    def loss(values):
        total = 0.0
        for part in (slice(0, 6), slice(6, 10)):
            fresh = {name: tensor.clone() for name, tensor in rest.items()}
            total += cross_entropy(
                functional_call(trial.model, {**fresh, **values}, (images[part],)) / 200, targets[part]
            )
        return total

    along = grad(loss)(weights)
    _, product = jvp(grad(loss), (weights,), (along,))
    found = scored(trial, "grasp", per_class=1, batch_size=6)
    agree(found, {name: weight * product[name] for name, weight in weights.items()})


def flow(trial, logarithms, rest):
    """R of SynFlow's paper as a function of the logarithms of the weights: its gradient by them is the score."""
    trial.model.eval()
    state = {name: logarithm.exp() for name, logarithm in logarithms.items()}
    images = torch.ones(1, *trial.data.shape, dtype=torch.float64)
    return functional_call(trial.model, {**rest, **state}, (images,)).sum()


@each_network
def test_synflow_is_the_gradient_by_the_logarithm_of_the_weights(network):
    trial = trial_of(network)
    weights, rest = parts(trial)
    logarithms = {name: weight.abs().log() for name, weight in weights.items()}
    rest = {name: tensor.abs() if tensor.is_floating_point() else tensor for name, tensor in rest.items()}
    agree(scored(trial, "synflow"), grad(lambda values: flow(trial, values, rest))(logarithms))


def test_a_hundred_rounds_of_synflow_leave_the_density_that_its_paper_says():
    # Of a small network: in a large one, scores that differ in the last digits are among the millions, and one weight
    # that goes instead of another changes all scores of the rounds after it.
    trial, amount = trial_of("mlp"), 0.999
    weights, rest = parts(trial)
    rest = {name: tensor.abs() if tensor.is_floating_point() else tensor for name, tensor in rest.items()}
    sizes = [weight.numel() for weight in weights.values()]
    kept = torch.ones(sum(sizes), dtype=torch.bool)
    for k in range(1, 101):
        masks = {n: m.view(weights[n].shape) for n, m in zip(weights, kept.split(sizes), strict=True)}
        logarithms = {name: weight.abs().where(masks[name], 0.0).log() for name, weight in weights.items()}
        found = grad(lambda values: flow(trial, values, rest))(logarithms)
        mantissa, exponent = torch.frexp(torch.cat([score.flatten() for score in found.values()]))
        # The weights of a unit that has one weight before it and one behind have equal scores, whatever rounding makes
        # of them; the first one goes.
        flat = torch.ldexp(mantissa.round(decimals=9), exponent).masked_fill(~kept, -1.0)
        # What is gone already is the lowest; so many more go that 0.001 ** (k / 100) of all are left.
        kept[flat.sort(stable=True).indices[: round(sum(sizes) * (1 - (1 - amount) ** (k / 100)))]] = False
    run_stage("prune", trial, amount=amount, criterion="synflow", rounds=100)
    for name, mask in zip(weights, kept.split(sizes), strict=True):
        assert torch.equal(trial.masks[name].flatten(), mask), name


@each_network
def test_taylor_is_the_mean_of_the_squared_gradients_by_a_mask_of_ones(network):
    trial = trial_of(network)
    weights, rest = parts(trial)
    by_mask = grad(masked_loss(trial, weights, rest, "train"))
    found = [by_mask(ones(weights), *batch) for batch in training(trial, 10, 2)]
    expected = {name: torch.stack([g[name].square() for g in found]).mean(0) for name in weights}
    agree(scored(trial, "taylor", images=10, batches=2), expected)


@each_network
def test_fisher_is_half_the_mean_of_the_squared_gradients_of_single_images(network):
    trial = trial_of(network)
    weights, rest = parts(trial)
    trial.model.eval()

    def loss(values, image, target):
        return cross_entropy(functional_call(trial.model, {**rest, **values}, (image[None],)), target[None])

    [(images, targets)] = training(trial, 3, 1)
    each = vmap(grad(loss), in_dims=(None, 0, 0))(weights, images, targets)
    expected = {name: (weights[name].square() * (g**2).sum(0)) / (2 * 3) for name, g in each.items()}
    agree(scored(trial, "fisher", images=3), expected)


@each_network
def test_lamp_is_the_square_over_the_squares_of_all_that_are_not_smaller(network):
    trial = trial_of(network)
    found = scored(trial, "lamp")
    for name, weight in trial.weights().items():
        size = weight.detach().abs().flatten()
        place = torch.arange(len(size))
        for chosen in torch.linspace(0, len(size) - 1, 12).long().tolist():
            later = (size == size[chosen]) & (place >= chosen)  # of equal ones the first is the smaller one
            expected = size[chosen] ** 2 / size[(size > size[chosen]) | later].square().sum()
            torch.testing.assert_close(found[name].flatten()[chosen], expected, rtol=1e-9, atol=0)


# --- distributions and sparsifiers ----------------------------------------------------------------------------------


def test_erk_is_the_density_that_solves_for_its_factor():
    weights = trial_of("mlp").weights()
    raw = {name: sum(weight.shape) / weight.numel() for name, weight in weights.items()}
    total = sum(weight.numel() for weight in weights.values())
    for amount in (0.3, 0.9, 0.99):
        kept = total - round(amount * total)

        def density(factor, name):
            return min(1.0, factor * raw[name])

        low, high = 0.0, 1e6  # the factor by bisection: what is kept grows with it
        for _ in range(100):
            middle = (low + high) / 2
            enough = sum(density(middle, name) * weight.numel() for name, weight in weights.items()) >= kept
            low, high = (low, middle) if enough else (middle, high)
        run = run_stage("prune", trial_of("mlp"), amount=amount, criterion="random", distribution="erk")
        found = {name: int((weight != 0).sum()) for name, weight in run.weights().items()}
        assert sum(found.values()) == kept
        assert all(abs(found[name] - density(high, name) * weight.numel()) < 1 for name, weight in weights.items())


def test_rigl_is_its_algorithm_step_by_step():
    steps, every, alpha, end = 12, 2, 0.3, 0.75
    trial = run_stage("prune", trial_of("mlp"), amount=0.9, criterion="random", distribution="erk")
    masks = {name: mask.clone() for name, mask in trial.masks.items()}
    twin = trial_of("mlp")  # for its network and its batches
    twin.model.load_state_dict(trial.model.state_dict())
    weights = dict(twin.model.named_parameters())
    sgd = {"name": "sgd", "lr": 0.05}
    run_stage("train", trial, steps=steps, batch_size=10, optimizer=sgd, sparsifier={"name": "rigl", "every": every})
    batches = [batch for number in range(4) for batch in twin.batches("train", 10).epoch(number)][:steps]
    for step, (inputs, targets) in enumerate(batches):
        loss = cross_entropy(twin.model(inputs), targets)
        gradients = dict(zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True))
        if step and step % every == 0 and step < end * steps:
            share = alpha / 2 * (1 + np.cos(np.pi * step / (end * steps)))
            for name, mask in masks.items():
                weight, gradient = weights[name].detach().flatten().tolist(), gradients[name].flatten().tolist()
                on = set(mask.flatten().nonzero().flatten().tolist())
                count = round(share * len(on))
                kept = on - {*sorted(on, key=lambda i: (abs(weight[i]), i))[:count]}
                others = [i for i in range(len(weight)) if i not in kept]
                kept |= {*sorted(others, key=lambda i: (-abs(gradient[i]), i))[:count]}
                masks[name] = torch.tensor([i in kept for i in range(len(weight))]).view(mask.shape)
            rate = 0.0  # the update takes the place of the step
        else:
            rate = 0.05
        with torch.no_grad():
            for name, weight in weights.items():
                weight -= rate * gradients[name]
                weight *= masks.get(name, torch.tensor(True))
    assert all(torch.equal(trial.masks[name], mask) for name, mask in masks.items())
    for name, weight in weights.items():
        torch.testing.assert_close(trial.model.get_parameter(name), weight, rtol=1e-9, atol=1e-12)


def test_set_grows_at_random_and_else_does_as_rigl():
    trial = run_stage("prune", trial_of("mlp"), amount=0.9, criterion="random", distribution="erk")
    before = {name: mask.clone() for name, mask in trial.masks.items()}
    # The last of two steps is the one that changes masks: it begins with what the first step made of the weights.
    seen = {}
    original = trial.set_masks

    def noted(masks):
        seen.update({name: weight.detach().abs().clone() for name, weight in trial.weights().items()})
        original(masks)

    trial.set_masks = noted
    run_stage("train", trial, steps=2, batch_size=10, sparsifier={"name": "set", "every": 1, "end": 1.0})
    for name, mask in trial.masks.items():
        count = round(0.15 * (1 + np.cos(np.pi / 2)) * int(before[name].sum()))
        dropped = before[name].flatten().nonzero().flatten()[seen[name][before[name]].argsort(stable=True)[:count]]
        kept = before[name].flatten().clone()
        kept[dropped] = False
        assert bool(mask.flatten()[kept].all())
        assert int(mask.sum()) == int(before[name].sum())


@pytest.mark.parametrize("distribution", ["global", "layer"])
def test_gradual_follows_the_cubic_to_the_weight(distribution):
    trial, counted = trial_of("mlp"), []
    original = trial.set_masks

    def noted(masks):
        original(masks)
        counted.append(sum(int((weight == 0).sum()) for weight in trial.weights().values()))

    trial.set_masks = noted
    rule = {"name": "gradual", "amount": 0.95, "initial": 0.2, "begin": 0.1, "end": 0.9, "every": 4}
    run_stage("train", trial, steps=40, batch_size=10, sparsifier={**rule, "distribution": distribution})
    total = sum(weight.numel() for weight in trial.weights().values())
    # Zhu & Gupta, equation 1, with t0 = 4, n = 8 and Δt = 4: s_f + (s_i - s_f) (1 - (t - t0) / (n Δt))³.
    times = range(4, 4 + 8 * 4 + 1, 4)
    assert counted == [round(total * (0.95 + (0.2 - 0.95) * (1 - (t - 4) / 32) ** 3)) for t in times]
