"""Parity: which filters go with all that is theirs, and which N of M weights stay, against the papers, by hand."""

from itertools import pairwise

import pytest
import torch
from test_parity import each_network, trial_of
from torch import nn

from framework.testing import run_stage


def chain(model):
    """Each layer with weights is read by the next one, and what is normalised is so before it is read."""
    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    norms = iter([name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)])
    for (name, _), (reader, _) in pairwise(layers):
        yield [name], [norm] if (norm := next(norms, None)) else [], [reader]


def residual(model):
    """ResNet-18: the sums of a stage tie its second convolutions and what they are added to."""
    yield (
        ["conv1", "layer1.0.conv2", "layer1.1.conv2"],
        ["bn1", "layer1.0.bn2", "layer1.1.bn2"],
        ["layer1.0.conv1", "layer1.1.conv1", "layer2.0.conv1", "layer2.0.downsample.0"],
    )
    for stage in (2, 3, 4):
        a, b, after = f"layer{stage}.0", f"layer{stage}.1", f"layer{stage + 1}.0"
        yield (
            [f"{a}.conv2", f"{a}.downsample.0", f"{b}.conv2"],
            [f"{a}.bn2", f"{a}.downsample.1", f"{b}.bn2"],
            [f"{b}.conv1", *([f"{after}.conv1", f"{after}.downsample.0"] if stage < 4 else ["fc"])],
        )
    for stage in (1, 2, 3, 4):
        for block in (f"layer{stage}.0", f"layer{stage}.1"):
            yield [f"{block}.conv1"], [f"{block}.bn1"], [f"{block}.conv2"]


def expected(trial, groups, criterion, amount):
    """The masks, where all layers are ranked together."""
    model, scores = trial.model, []
    for number, (filters, norms, _) in enumerate(groups):
        scored = [model.get_submodule(name).weight for name in (filters if criterion == "magnitude" else norms)]
        total = sum(weight.detach().abs().reshape(len(weight), -1).sum(1) for weight in scored)
        scores += [(float(score), number, channel) for channel, score in enumerate(total)]
    masks = {name: torch.ones_like(p, dtype=torch.bool) for name, p in model.named_parameters()}
    for _, number, channel in sorted(scores)[: round(amount * len(scores))]:
        filters, norms, readers = groups[number]
        for name in (*filters, *norms):
            for parameter in ("weight", "bias"):
                if f"{name}.{parameter}" in masks:
                    masks[f"{name}.{parameter}"][channel] = False
        for name in readers:
            masks[f"{name}.weight"][:, channel] = False
    return {name: mask for name, mask in masks.items() if not mask.all()}


@each_network
@pytest.mark.parametrize("criterion", ["magnitude", "slimming"])
def test_filters_go_by_their_norm_or_gamma_with_what_is_theirs(network, criterion):
    if network == "mlp" and criterion == "slimming":
        pytest.skip("it has no normalisation")
    trial = trial_of(network)
    groups = list(residual(trial.model) if network == "resnet18" else chain(trial.model))
    masks = expected(trial, groups, criterion, 0.4)
    run_stage("prune", trial, granularity="filters", amount=0.4, criterion=criterion)
    assert trial.masks.keys() == masks.keys()
    assert all(torch.equal(trial.masks[name], mask) for name, mask in masks.items())


@each_network
def test_of_four_inputs_in_a_row_those_stay_that_at_most_one_is_larger_than(network):
    trial = trial_of(network)
    run_stage("prune", trial, granularity={"n": 2, "m": 4})
    for name, weight in trial.weights().items():
        if weight.shape[1] % 4:
            assert name not in trial.masks
            continue
        size = weight.detach().abs()
        groups = [size[:, i : i + 4] for i in range(0, weight.shape[1], 4)]
        larger = torch.cat([(group.unsqueeze(2) > group.unsqueeze(1)).sum(1) for group in groups], 1)
        assert torch.equal(trial.masks[name], larger < 2)
