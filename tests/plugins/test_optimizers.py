import copy
import inspect
import typing
from functools import wraps

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from framework._component import build
from framework._registry import installed
from framework_plugins.muon import Muon, orthogonalized

TORCH = [
    "adadelta",
    "adafactor",
    "adagrad",
    "adam",
    "adamax",
    "adamw",
    "asgd",
    "nadam",
    "radam",
    "rmsprop",
    "rprop",
    "sgd",
]  # fmt: skip


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 16, 4)
    )


def fit(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int, seed: int = 1) -> list[float]:
    generator = torch.Generator().manual_seed(seed)
    images, labels = torch.randn(32, 2, 4, 4, generator=generator), torch.arange(32) % 4

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        return loss

    return [optimizer.step(closure).item() for _ in range(steps)]


def equal(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_all_optimizers_are_registered():
    assert installed().names("optimizer") == sorted([*TORCH, "muon"])


@pytest.mark.parametrize("name", TORCH)
def test_an_optimizer_of_torch_is_torchs_with_all_parameters_that_can_work_here(name):
    made = build(installed(), "optimizer", {"name": name, "lr": 0.25})(params=[torch.zeros(2, requires_grad=True)])
    cls = type(made)
    assert (cls.__module__.split(".")[0], cls.__name__.lower(), made.param_groups[0]["lr"]) == ("torch", name, 0.25)
    offered = {*installed().get("optimizer", name).parameters.model_fields}
    every = {*inspect.signature(cls).parameters}
    assert every - offered == every & {"params", "capturable", "differentiable", "foreach"}


@pytest.mark.parametrize("name", TORCH)
@pytest.mark.parametrize("option", ["capturable", "differentiable", "foreach"])
def test_what_cannot_work_here_is_refused_when_a_spec_is_read(name, option):
    with pytest.raises(ValidationError, match=option):
        build(installed(), "optimizer", {"name": name, option: True})


# Every boolean and every way of saying null that a spec can hold must train here.
SWITCHES = [
    (name, option)
    for name in [*TORCH, "muon"]
    for option, field in installed().get("optimizer", name).parameters.model_fields.items()
    if bool in (field.annotation, *typing.get_args(field.annotation))
]


@pytest.mark.parametrize(("name", "option"), SWITCHES)
def test_every_switch_that_is_offered_trains(name, option):
    model = network()
    before = copy.deepcopy(model)
    # What nesterov needs; the others have no momentum, or ignore it.
    more = {"momentum": 0.9} if name == "sgd" else {}
    fit(
        model, build(installed(), "optimizer", {"name": name, option: True, **more})(params=model.parameters()), steps=2
    )
    assert not equal(model, before)
    assert all(p.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("name", [*TORCH, "muon"])
def test_every_optimizer_lowers_the_loss_with_its_defaults(name):
    model = network()
    losses = fit(model, build(installed(), "optimizer", name)(params=model.parameters()), steps=30)
    assert losses[-1] < losses[0]


def test_muon_steps_as_torchs_on_matrices_and_as_torchs_adamw_on_the_rest():
    ours, theirs = nn.Linear(12, 20), nn.Linear(12, 20)
    theirs.load_state_dict(ours.state_dict())
    mine = Muon(ours.parameters(), lr=0.1, weight_decay=0.05, adamw_lr=0.01)
    muon = torch.optim.Muon([theirs.weight], lr=0.1, weight_decay=0.05)
    adamw = torch.optim.AdamW([theirs.bias], lr=0.01, weight_decay=0.05)
    before = ours.weight.detach().clone()
    for _ in range(3):
        gradient = torch.randn(20, 12), torch.randn(20)
        for model in (ours, theirs):
            model.weight.grad, model.bias.grad = (g.clone() for g in gradient)
        mine.step()
        muon.step()
        adamw.step()
    assert torch.equal(ours.bias, theirs.bias)
    # Torch's iteration runs in bfloat16, whose steps are 1/128 wide; ours in float32 on the CPU.
    step = (theirs.weight - before).norm()
    assert (ours.weight - theirs.weight).norm() < 0.02 * step


def published_step(weight, gradients, lr, weight_decay, momentum, nesterov):
    """The rule of KellerJordan/Muon, by singular values in float64 where it multiplies matrices in bfloat16."""
    weight, average = weight.double(), 0
    for gradient in gradients:
        gradient = gradient.double()
        average = momentum * average + (1 - momentum) * gradient
        update = momentum * average + (1 - momentum) * gradient if nesterov else average
        u, values, v = torch.linalg.svd(update.reshape(len(update), -1), full_matrices=False)
        values = values / (values.square().sum().sqrt() + 1e-7)
        for _ in range(5):
            values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
        update = ((u * values) @ v).reshape(weight.shape)
        # size(-2) and size(-1) of the gradient as it is: of a convolution, those of its kernel.
        update = update * max(1, gradient.size(-2) / gradient.size(-1)) ** 0.5
        weight = weight * (1 - lr * weight_decay) - lr * update
    return weight


SHAPES = [(8, 27), (40, 10), (64, 3, 3, 3), (128, 1, 3, 3), (6, 2, 7, 1), (6, 2, 1, 7), (16, 4, 1, 1)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("nesterov", [True, False])
def test_muon_steps_as_its_authors_publish_it(shape, nesterov):
    generator = torch.Generator().manual_seed(0)
    start, *gradients = (torch.randn(shape, generator=generator) for _ in range(4))
    weight = nn.Parameter(start.clone())
    optimizer = Muon([weight], lr=0.1, weight_decay=0.05, momentum=0.9, nesterov=nesterov)
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimizer.step()
    expected = published_step(start, gradients, 0.1, 0.05, 0.9, nesterov)
    torch.testing.assert_close(weight.detach().double(), expected, rtol=1e-4, atol=1e-4)


class Looker(nn.Module):
    """Has a weight of every kind."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.bias_table = nn.Parameter(torch.zeros(9, 2))
        self.positions = nn.Embedding(16, 8)
        self.attention = nn.MultiheadAttention(8, 2)
        self.bounded = nn.utils.parametrizations.weight_norm(nn.Linear(8, 8))
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 5)


def test_muon_takes_the_weights_of_layers_and_leaves_embeddings_and_tables_to_adamw():
    model = Looker()
    names = {id(p): name for name, p in model.named_parameters()}
    optimizer = build(installed(), "optimizer", "muon")(params=list(model.parameters()), model=model)
    matrices, others = ({names[id(p)] for p in group["params"]} for group in optimizer.param_groups)
    assert matrices == {
        "patches.weight",
        "attention.in_proj_weight",
        "attention.out_proj.weight",
        "bounded.parametrizations.weight.original1",
        "head.weight",
    }
    assert matrices | others == set(names.values())


def test_a_stage_tells_muon_what_network_it_trains(make_trial, stage, monkeypatch):
    given, make = [], Muon.__init__

    def noting(self, params, model=None, **parameters):
        given.append(model)
        make(self, params, model, **parameters)

    monkeypatch.setattr(Muon, "__init__", wraps(make)(noting))
    trial = make_trial()
    stage("train", epochs=1, optimizer="muon").run(trial)
    assert given[-1] is trial.model


def test_muon_does_the_same_in_channels_last():
    plain = nn.Conv2d(3, 8, 3, bias=False)
    last = copy.deepcopy(plain).to(memory_format=torch.channels_last)
    gradient = torch.randn_like(plain.weight)
    for layer in (plain, last):
        layer.weight.grad = gradient.clone(memory_format=torch.preserve_format).to(
            memory_format=torch.channels_last if layer is last else torch.contiguous_format
        )
        Muon(layer.parameters()).step()
    assert last.weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(plain.weight, last.weight)


def test_orthogonalized_brings_all_singular_values_close_to_1():
    for shape in ((16, 40), (40, 16)):
        values = torch.linalg.svdvals(orthogonalized(torch.randn(shape), steps=5))
        assert values.min() > 0.6
        assert values.max() < 1.25
    assert not orthogonalized(torch.zeros(3, 5), steps=5).any()


def test_muon_gives_biases_norms_and_tokens_to_adamw():
    model = network()
    token = nn.Parameter(torch.zeros(1, 1, 8))
    matrices, others = Muon([*model.parameters(), token]).param_groups
    assert [p.shape for p in matrices["params"]] == [model[0].weight.shape, model[4].weight.shape]
    assert len(others["params"]) == 5
    assert (matrices["lr"], others["lr"]) == (0.02, 3e-4)


def test_muon_obeys_the_learning_rates_of_its_groups():
    model = network()
    before = copy.deepcopy(list(model.parameters()))
    optimizer = Muon(model.parameters())
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    fit(model, optimizer, steps=2)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_muon_goes_on_bitwise_from_a_saved_state():
    whole, halved = network(), network()
    fit(whole, Muon(whole.parameters()), steps=6)
    first = Muon(halved.parameters())
    fit(halved, first, steps=3)
    second = Muon(halved.parameters())
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    fit(halved, second, steps=3)
    assert equal(whole, halved)


def test_muon_leaves_alone_what_has_no_gradient():
    model = network()
    model[0].requires_grad_(False)
    before = model[0].weight.clone()
    optimizer = Muon(model.parameters())
    fit(model, optimizer, steps=2)
    assert torch.equal(model[0].weight, before)
    assert model[0].weight not in optimizer.state


@pytest.mark.parametrize("parameters", [[torch.zeros(3, 3)], [torch.zeros(3)]])
def test_muon_takes_only_matrices_or_only_others(parameters):
    assert len(Muon(parameters).param_groups) == 1


def test_muon_without_parameters_says_so_as_torch_does():
    with pytest.raises(ValueError, match="empty parameter list"):
        Muon([])
