"""Models, datasets, criteria and schedules that break a contract, one by one, and what is said of each."""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from refused import assert_refused
from torch import nn

from framework.testing import (
    check_criterion,
    check_dataset,
    check_loss,
    check_model,
    check_optimizer,
    check_schedule,
    tiny_data,
)

RNG = np.random.default_rng()
COUNT = itertools.count()


@pytest.mark.parametrize(
    "check", [check_loss, check_optimizer, check_model, check_dataset, check_criterion, check_schedule]
)
def test_every_kind_needs_a_docstring_and_good_parameters(check):
    kind = check.__name__.removeprefix("check_")

    def odd(factor: float = 1.0):
        pass

    with pytest.raises(AssertionError, match=f"^{kind} 'odd' has no docstring"):
        check(odd)
    assert_refused(check, odd, f"{kind} 'odd' does not take the parameters {{'factor': 'big'}}", factor="big")


# --- models -------------------------------------------------------------------------------------------------------


class Net(nn.Module):
    """A linear layer."""

    def __init__(self, shape, classes: int):
        super().__init__()
        self.fc = nn.Linear(shape[0] * shape[1] * shape[2], classes)

    def forward(self, images):
        return self.fc(images.flatten(1))


def model(forward: Any = Net.forward, init: Any = None) -> type[nn.Module]:
    def make(self, shape, classes):
        Net.__init__(self, shape, classes)
        if init:
            init(self)

    return type("Odd", (Net,), {"__init__": make, "forward": forward})


@pytest.mark.parametrize(
    ("forward", "words"),
    [
        (
            lambda self, x: self.fc(x.flatten(1))[:, :2],
            "must give outputs (4, 3) for 4 images and 3 classes, not (4,",
        ),
        (lambda self, x: (self.fc(x.flatten(1)),), "must give outputs (4, 3) for 4 images and 3 classes, not tuple"),
        (lambda self, x: self.fc(x.flatten(1)) / 0, "gives outputs that are not finite for images of 1×8×8"),
        (lambda self, x: self.fc(x), "cannot evaluate 4 images of 1×8×8: RuntimeError"),
        (lambda self, x: nn.functional.dropout(self.fc(x.flatten(1))), "gives two outputs for the same images in eval"),
        (lambda self, x: self.fc(x.flatten(1)).detach(), "cannot be trained"),
        (lambda self, x: self.fc(x.flatten(1)) * 0, "a step of training changes none of its weights"),
        (lambda self, x: self.fc(x.flatten(1)) if not self.training else (x, x), "cannot be trained"),
    ],
)
def test_a_model_of_such_outputs(forward, words):
    assert_refused(check_model, model(forward), words)


def test_a_model_that_takes_other_images():
    def odd(shape, classes):
        return Net((3, 32, 32), classes)

    check_odd = {"shapes": [(3, 32, 32)]}
    assert_refused(check_model, odd, "model 'odd' cannot evaluate 4 images of 1×8×8")
    check_model(odd, **check_odd)


def test_a_model_that_cannot_be_made_for_such_images():
    def odd(shape, classes):
        if shape[1] < 32:
            raise ValueError("too small")
        return Net(shape, classes)

    assert_refused(check_model, odd, "model 'odd' cannot be made for images of 1×8×8 (if it takes others, give them as")
    check_model(odd, shapes=[(3, 32, 32)])


def test_a_model_that_is_none():
    def odd(shape, classes):
        return lambda images: images

    assert_refused(check_model, odd, "model 'odd' must give a torch.nn.Module, not a function")


def test_a_model_whose_weights_are_not_seeded():
    def init(self):
        self.fc.bias.data += torch.from_numpy(RNG.random(3))

    assert_refused(check_model, model(init=init), "model 'Odd' has other initial weights for the same torch seed (3")


def test_a_model_that_changes_its_state_in_eval_mode():
    def forward(self, x):
        self.seen += 1
        return Net.forward(self, x)

    def init(self):
        self.register_buffer("seen", torch.zeros(()))

    assert_refused(check_model, model(forward, init), "model 'Odd' changes its state in eval mode (1")


def test_a_model_with_nothing_to_prune_is_one():
    class Odd(nn.Module):
        """An average per class."""

        def __init__(self, shape, classes):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1, classes))

        def forward(self, x):
            return x.mean((1, 2, 3))[:, None] * self.weight

    check_model(Odd)


def test_a_model_that_counts_outside_of_its_state():
    def init(self):
        self.seen = 0

    def forward(self, x):
        self.seen += self.training
        return Net.forward(self, x) * (1 + self.seen)

    assert_refused(
        check_model,
        model(forward, init),
        "model 'Odd': training changes what is lost after a stage (seen was 0, and is 1 now): the network is",
    )


def test_a_model_that_counts_in_a_buffer_that_is_not_persistent():
    def init(self):
        self.register_buffer("seen", torch.zeros(()), persistent=False)

    def forward(self, x):
        self.seen += self.training
        return Net.forward(self, x) * (1 + self.seen)

    counting = model(forward, init)
    counting.__doc__ = "Counts."
    check_model(counting)


def test_a_model_that_remembers_a_tensor_outside_of_its_state():
    def init(self):
        self.last = torch.zeros(3)

    def forward(self, x):
        outputs = Net.forward(self, x) + self.last
        if self.training:
            self.last = outputs.detach().mean(0)
        return outputs

    assert_refused(
        check_model, model(forward, init), "model 'Odd' gives other outputs after training than one with its state"
    )


def test_a_model_with_numbers_outside_of_its_state():
    def init(self):
        self.noise = torch.rand(3)

    odd = model(lambda self, x: Net.forward(self, x) + self.noise, init)
    assert_refused(check_model, odd, "model 'Odd' gives other outputs after state_dict and load_state_dict")


def test_a_model_whose_state_depends_on_its_seed():
    def init(self):
        self.register_buffer("chosen", torch.zeros(int(torch.randint(1, 99, ()))))

    assert_refused(check_model, model(init=init), "model 'Odd': its state_dict cannot be stored and loaded again")


# --- datasets -----------------------------------------------------------------------------------------------------


def test_a_dataset_that_is_none():
    assert_refused(check_dataset, lambda: [1], "must give a framework.Dataset or a framework.Source, not a list")


def test_a_dataset_that_cannot_be_loaded():
    def odd():
        return tiny_data((1, 8, 8), classes=3, train=0)

    assert_refused(check_dataset, odd, "dataset 'odd' cannot be loaded: DataError: train_images is empty")


@pytest.mark.parametrize("second", [{"seed": 1}, {"classes": 2}, {"train": 9}])
def test_a_dataset_that_is_another_one_each_time(second):
    given = iter([{}, second])
    words = "its train_images differ when it is loaded again: sort what a folder lists, and seed what is drawn"
    assert_refused(check_dataset, lambda: tiny_data(**next(given)), words)


def test_a_dataset_with_a_class_that_no_image_has():
    assert_refused(
        check_dataset, lambda: tiny_data(classes=4, train=3), "there is no image to train on of the classes ['class 3']"
    )


def test_a_dataset_that_is_tested_on_what_it_is_trained_on():
    def odd():
        data = tiny_data()
        return replace(data, test_images=data.train_images[::-1], test_labels=data.train_labels[::-1])

    assert_refused(check_dataset, odd, "dataset 'odd': all its test images are among the training images")


# --- criteria -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("score", "words"),
    [
        (
            lambda weight, gradient, generator: weight.abs().sum(),
            "must give a tensor of the weight's shape, (6, 4, 3, 3)",
        ),
        (lambda weight, gradient, generator: 1.0, "must give a tensor of the weight's shape, (6, 4, 3, 3), not float"),
        (lambda weight, gradient, generator: weight.log(), "gives NaN for a weight of shape (6, 4, 3, 3)"),
        (
            lambda weight, gradient, generator: (weight * gradient).abs() / gradient.norm(),
            "gives NaN for a weight of shape (6, 4, 3, 3), where the gradient is 0",
        ),
        (lambda weight, gradient, generator: weight.abs_(), "changes what it is given ("),
        (lambda weight, gradient, generator: gradient.mul_(weight), "changes what it is given ("),
        (lambda weight, gradient, generator: torch.rand(weight.shape), "gives two scores for the same seed"),
        (
            lambda weight, gradient, generator: weight.reshape(-1) + weight,
            "cannot be called with a weight",
        ),
    ],
)
def test_a_criterion_of_such_scores(score, words):
    score.__name__ = "odd"
    assert_refused(check_criterion, score, f"criterion 'odd' {words}")


def test_a_criterion_that_draws_from_its_generator():
    def drawn(weight, generator):
        """Chance."""
        return torch.rand(weight.shape, generator=generator)

    check_criterion(drawn)


# --- schedules ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (lambda epoch, epochs: -epoch, "must give a finite float >= 0, not -0.0125 at 0.0125 of 0.5 epochs"),
        (lambda epoch, epochs: float("inf"), "must give a finite float >= 0, not inf at 0 of 0.5 epochs"),
        (lambda epoch, epochs: float("nan"), "must give a finite float >= 0, not nan at 0 of 0.5 epochs"),
        (lambda epoch, epochs: np.float32(0.5), "must give a finite float >= 0, not np.float32(0.5)"),
        (lambda epoch, epochs: torch.ones(()), "must give a finite float >= 0, not tensor(1.)"),
        (lambda epoch, epochs: 1 / epoch, "fails at 0 of 0.5 epochs: ZeroDivisionError"),
        (lambda epoch, epochs: 1.0 / (epochs - epoch), "fails at 0.5 of 0.5 epochs: ZeroDivisionError"),
        (
            lambda epoch, epochs: float(next(COUNT)),
            "gives 0.0 and then 1.0 at 0 of 0.5 epochs",
        ),
    ],
)
def test_a_schedule_of_such_factors(factor, words):
    factor.__name__ = "odd"
    assert_refused(check_schedule, factor, f"schedule 'odd' {words}")
