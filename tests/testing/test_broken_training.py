"""Losses and optimizers that break a contract, one by one, and what the check of their kind says of each."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from refused import assert_refused
from torch import nn, optim

from framework.testing import (
    check_loss,
    check_optimizer,
)

RNG = np.random.default_rng()
COUNT = itertools.count()


# --- losses -------------------------------------------------------------------------------------------------------


class Loss(nn.Module):
    """Cross entropy."""

    def forward(self, outputs, labels):
        return nn.functional.cross_entropy(outputs, labels)


def loss(forward: Any = None, init: Any = None, **methods: Any) -> type[nn.Module]:
    """A loss class with these as its methods; ``init`` is called with the module after it was made."""

    def make(self):
        Loss.__init__(self)
        if init:
            init(self)

    return type("Odd", (Loss,), {"__init__": make, **({"forward": forward} if forward else {}), **methods})


def with_buffer(self):
    self.register_buffer("mean", torch.ones(()))


def averaged(self, outputs, labels):
    value = Loss.forward(self, outputs, labels)
    if self.training:
        self.mean = 0.9 * self.mean + 0.1 * value.detach()
    return value * self.mean


@pytest.mark.parametrize(
    ("forward", "words"),
    [
        (
            lambda self, outputs, labels: nn.functional.cross_entropy(outputs, labels, reduction="none"),
            "must give a scalar for outputs (8, 3) and int64 labels (8,), not (8,): take the mean over the batch",
        ),
        (
            lambda self, outputs, labels: nn.functional.cross_entropy(outputs, labels, reduction="sum"),
            "must give the mean over the batch, not the sum: it gives ",
        ),
        (lambda self, outputs, labels: 1.0, "must give a scalar for outputs (8, 3) and int64 labels (8,), not float"),
        (lambda self, outputs, labels: outputs.sum() / 0, "gives inf for outputs (8, 3) and int64"),
        (
            lambda self, outputs, labels: (outputs - outputs.mean(0)).square().sum() / (len(outputs) - 1),
            "gives nan for outputs (1, 3) and int64 labels (1,), which is not finite",
        ),
        (lambda self, outputs, labels: outputs.detach().mean(), "cannot be differentiated with respect to the outputs"),
        (lambda self, outputs, labels: (outputs * 0).sqrt().sum(), "cannot be differentiated"),
        (lambda self, outputs, labels: outputs @ labels, "cannot be called with outputs (8, 3) and int64 labels (8,)"),
        (lambda self, outputs, labels: outputs.mean() + RNG.random(), "gives two values for the same inputs"),
        (
            lambda self, outputs, labels: torch.zeros(3).index_add(0, labels, outputs[:, 0]).square().mean(),
            "cannot be computed in bfloat16: RuntimeError",
        ),
        (
            lambda self, outputs, labels: outputs.mean() + torch.full((), 3.4e38, dtype=outputs.dtype),
            "gives inf in bfloat16, which is used on GPUs",
        ),
    ],
)
def test_a_loss_of_such_a_value(forward, words):
    assert_refused(check_loss, loss(forward), f"loss 'Odd' {words}")


def test_a_loss_that_is_no_module():
    def odd():
        return nn.functional.cross_entropy

    assert_refused(check_loss, odd, "loss 'odd' must give a torch.nn.Module, not a function")


def test_a_loss_that_cannot_be_made():
    assert_refused(check_loss, loss(init=lambda self: 1 / 0), "loss 'Odd' cannot be made: ZeroDivisionError")


def test_a_loss_with_a_tensor_that_does_not_move():
    odd = loss(init=lambda self: setattr(self, "weight", torch.ones(3)))
    assert_refused(check_loss, odd, "loss 'Odd': weight would not move with .to(): make tensors buffers, with register")


def test_a_loss_with_state():
    check_loss(type("Averaged", (loss(averaged, with_buffer),), {"__doc__": "Has state."}))


def test_a_loss_whose_state_evaluation_changes():
    def forward(self, outputs, labels):
        self.mean.mul_(0.9)
        return Loss.forward(self, outputs, labels) * self.mean

    assert_refused(check_loss, loss(forward, with_buffer), "evaluation changes its state (1 of 1 elements of mean")


def test_a_loss_that_remembers_outside_of_its_buffers():
    def forward(self, outputs, labels):
        self.scale *= 0.9
        return Loss.forward(self, outputs, labels) * self.scale

    odd = loss(forward, lambda self: setattr(self, "scale", 1.0))
    assert_refused(check_loss, odd, "gives another value after state_dict and load_state_dict: keep what it remembers")


def test_a_loss_whose_state_is_no_tensor():
    odd = loss(get_extra_state=lambda self: {"a": 1}, set_extra_state=lambda self, state: None)
    assert_refused(check_loss, odd, "its state cannot be stored: state_dict must hold tensors only: AttributeError")


def test_a_loss_that_cannot_load_its_state():
    def load_state_dict(self, state):
        raise KeyError("mean")

    odd = loss(averaged, with_buffer, load_state_dict=load_state_dict)
    assert_refused(check_loss, odd, "loss 'Odd' cannot load its own state_dict: KeyError: 'mean'")


def test_a_loss_that_fails_in_training():
    def forward(self, outputs, labels):
        return Loss.forward(self, outputs, labels[:8] if len(labels) > 8 else labels)

    assert_refused(check_loss, loss(forward), "training with loss 'Odd' fails")


# --- optimizers ---------------------------------------------------------------------------------------------------


class Descent(optim.Optimizer):
    """Gradient descent with momentum."""

    def __init__(self, params, lr: float = 0.1):
        super().__init__(params, {"lr": lr})

    def step(self, closure=None):
        with torch.enable_grad():
            value = closure()
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        self.move(parameter, parameter.grad, group["lr"])
        return value

    def move(self, parameter, gradient, lr):
        mean = self.state[parameter].setdefault("mean", torch.zeros_like(parameter))
        mean.mul_(0.9).add_(gradient)
        parameter.sub_(lr * mean)


class Twice(Descent):
    """Computes each gradient twice."""

    def step(self, closure=None):
        with torch.enable_grad():
            closure()
        return super().step(closure)


def optimizer(**methods: Any) -> type[optim.Optimizer]:
    return type("Odd", (Descent,), methods)


@pytest.mark.parametrize("factory", [Descent, Twice])
def test_a_good_optimizer(factory):
    check_optimizer(factory, lr=0.05)


def test_an_optimizer_that_is_none():
    def odd(params):
        return list(params)

    assert_refused(check_optimizer, odd, "optimizer 'odd' must give a torch.optim.Optimizer with an lr in every group")


def test_an_optimizer_without_a_learning_rate():
    odd = optimizer(__init__=lambda self, params: optim.Optimizer.__init__(self, params, {}))
    assert_refused(check_optimizer, odd, "optimizer 'Odd' must give a torch.optim.Optimizer with an lr in every group")


def test_an_optimizer_whose_step_takes_no_closure():
    def step(self):
        pass

    assert_refused(check_optimizer, optimizer(step=step), "optimizer 'Odd': step(closure) fails: TypeError")


def test_an_optimizer_that_does_not_call_its_closure():
    def step(self, closure=None):
        pass

    assert_refused(check_optimizer, optimizer(step=step), "optimizer 'Odd': step does not call its closure, which")


def test_an_optimizer_that_leaves_nan():
    def step(self, closure=None):
        self.steps = getattr(self, "steps", 0) + 1
        value = Descent.step(self, closure)
        if self.steps == 9:
            self.param_groups[0]["params"][-1].data[0] = float("nan")
        return value

    assert_refused(
        check_optimizer, optimizer(step=step), "fails: StageError: the weights became too large or NaN (the largest of"
    )


def test_an_optimizer_that_moves_nothing():
    odd = optimizer(move=lambda self, parameter, gradient, lr: None)
    assert_refused(check_optimizer, odd, "optimizer 'Odd' moves no weight in three epochs")


def test_an_optimizer_that_draws_unseeded_numbers():
    def move(self, parameter, gradient, lr):
        parameter.sub_(lr * RNG.random() * gradient)

    words = "training with optimizer 'Odd' gives another result when it is run again from the same state"
    assert_refused(check_optimizer, optimizer(move=move), words)


@pytest.mark.parametrize(
    "methods",
    [
        {"state_dict": lambda self: {"state": {}, "param_groups": [{**g, "params": []} for g in self.param_groups]}},
        {"load_state_dict": lambda self, state: None},
    ],
)
def test_an_optimizer_that_loses_its_state(methods):
    words = "training with optimizer 'Odd', interrupted after checkpoint 1 and resumed, ends otherwise"
    assert_refused(check_optimizer, optimizer(**methods), words)


def test_an_optimizer_whose_state_cannot_be_stored():
    def state_dict(self):
        return {**Descent.state_dict(self), "names": {"a"}}

    words = "training with optimizer 'Odd' fails: TypeError: stage.trainer.optimizer.names is a set"
    assert_refused(check_optimizer, optimizer(state_dict=state_dict), words)
