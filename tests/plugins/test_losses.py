import math

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.nn.functional import log_softmax

from framework._component import build
from framework._registry import installed

NAMES = ("bce", "cross_entropy", "focal", "multi_margin", "nll")
OF_QUANTITIES = ("huber", "mae", "mse")


def loss(name: str, **parameters: float) -> nn.Module:
    return build(installed(), "loss", {"name": name, **parameters})()


def test_all_losses_are_registered():
    assert installed().names("loss") == sorted((*NAMES, *OF_QUANTITIES))


def test_losses_of_quantities_and_labels_are_those_computed_by_hand():
    outputs, targets = torch.tensor([[0.0], [3.0]]), torch.tensor([[1.0], [0.0]])
    assert loss("mse")(outputs, targets) == 5
    assert loss("mae")(outputs, targets) == 2
    assert loss("huber", delta=2)(outputs, targets) == (0.5 + 2 * (3 - 1)) / 2
    assert loss("bce")(outputs, targets).item() == pytest.approx((math.log(2) + 3 + math.log1p(math.exp(-3))) / 2)


@pytest.mark.parametrize("name", NAMES)
def test_every_loss_is_a_scalar_with_finite_gradients(name):
    outputs = torch.randn(8, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    value = loss(name)(log_softmax(outputs, 1), torch.arange(8) % 5)
    value.backward()
    assert value.shape == ()
    assert outputs.grad.isfinite().all()
    assert outputs.grad.any()


MEANS = [*NAMES, {"name": "cross_entropy", "label_smoothing": 0.2}, {"name": "multi_margin", "p": 2, "margin": 0.5}]
MEANS += [{"name": "focal", "gamma": 0.5}, {"name": "bce", "label_smoothing": 0.2}]


@pytest.mark.parametrize("spec", MEANS)
def test_a_loss_is_the_mean_over_all_images_so_that_batches_may_be_of_any_size(spec):
    found = build(installed(), "loss", spec)()
    outputs, labels = (
        log_softmax(torch.randn(12, 5, generator=torch.Generator().manual_seed(0)), 1),
        torch.arange(12) % 5,
    )
    for size in (1, 5, 12):
        parts = zip(outputs.split(size), labels.split(size), strict=True)
        mean = sum(found(x, y) * len(y) for x, y in parts) / 12
        torch.testing.assert_close(mean, found(outputs, labels))


@pytest.mark.parametrize("name", ["cross_entropy", "multi_margin", "nll"])
@pytest.mark.parametrize("option", ["reduction", "ignore_index", "size_average", "reduce"])
def test_what_would_make_a_loss_anything_else_than_a_mean_is_not_offered(name, option):
    with pytest.raises(ValidationError, match=option):
        loss(name, **{option: 1})


@pytest.mark.parametrize(
    ("name", "theirs", "parameters"),
    [
        ("cross_entropy", nn.CrossEntropyLoss, {"label_smoothing": 0.1}),
        ("multi_margin", nn.MultiMarginLoss, {"p": 2, "margin": 0.5}),
        ("nll", nn.NLLLoss, {}),
    ],
)
def test_losses_of_torch_are_torchs(name, theirs, parameters):
    outputs, labels = torch.randn(8, 5, generator=torch.Generator().manual_seed(3)), torch.arange(8) % 5
    assert torch.equal(loss(name, **parameters)(outputs, labels), theirs(**parameters)(outputs, labels))


def test_bce_is_the_mean_of_one_yes_or_no_per_class():
    outputs = torch.tensor([[0.0, math.log(3)]])  # probabilities 1/2 and 3/4
    expected = (-math.log(1 / 2) - math.log(3 / 4)) / 2
    assert loss("bce")(outputs, torch.tensor([1])).item() == pytest.approx(expected)


def test_bce_spreads_smoothed_labels_over_all_classes():
    outputs = torch.tensor([[0.0, math.log(3)]])
    # The targets become 0.1 and 0.9.
    expected = -(math.log(1 / 2) + 0.9 * math.log(3 / 4) + 0.1 * math.log(1 / 4)) / 2
    assert loss("bce", label_smoothing=0.2)(outputs, torch.tensor([1])).item() == pytest.approx(expected)


def test_focal_weighs_cross_entropy_by_what_is_missing():
    outputs = torch.tensor([[0.0, math.log(3)], [math.log(9), 0.0]])  # the labels' probabilities: 3/4 and 1/10
    expected = (0.25**2 * -math.log(0.75) + 0.9**2 * -math.log(0.1)) / 2
    assert loss("focal", gamma=2.0)(outputs, torch.tensor([1, 1])).item() == pytest.approx(expected)


def test_focal_with_gamma_0_is_cross_entropy():
    outputs = torch.randn(16, 7, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(16) % 7
    torch.testing.assert_close(loss("focal", gamma=0.0)(outputs, labels), nn.CrossEntropyLoss()(outputs, labels))


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_has_finite_gradients_where_the_network_is_certain(gamma):
    outputs = torch.tensor([[200.0, 0.0], [0.0, 200.0]], requires_grad=True)
    loss("focal", gamma=gamma)(outputs, torch.tensor([0, 0])).backward()
    assert outputs.grad.isfinite().all()
    assert outputs.grad[1, 0] < 0 < outputs.grad[1, 1]


@pytest.mark.parametrize("name", ["bce", "focal"])
def test_losses_take_bfloat16_outputs(name):
    assert loss(name)(torch.zeros(2, 3, dtype=torch.bfloat16), torch.tensor([0, 1])).isfinite()
