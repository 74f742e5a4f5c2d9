import torch
from framework.testing import check_stage, run_stage, tiny_trial

from a_plugin.stage import Rescale


def test_it_keeps_to_what_a_stage_promises() -> None:
    check_stage(Rescale, factor=0.25)


def test_every_weight_is_multiplied() -> None:
    trial = tiny_trial()
    for weight in trial.weights().values():
        weight.data.fill_(2.0)
    run_stage(Rescale, trial, factor=0.25)
    for weight in trial.weights().values():
        assert torch.equal(weight, torch.full_like(weight, 0.5))


def test_only_the_layers_that_are_named_change() -> None:
    trial = tiny_trial()
    before = {name: weight.detach().clone() for name, weight in trial.weights().items()}
    first = next(iter(before))
    run_stage(Rescale, trial, factor=3.0, layers=[first])
    for name, weight in trial.weights().items():
        assert torch.equal(weight, 3 * before[name] if name == first else before[name])
