"""A network without the filters that are pruned whole."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models import get_model

from framework import DataError, eval_mode
from framework._report.anatomy import dissect
from framework._report.compact import checked_difference, compacted
from framework._tracking import save_program
from framework.testing import run_stage, tiny_data, tiny_trial


def test_what_is_pruned_whole_is_gone_and_the_outputs_are_the_same(make_trial, stage):
    trial = make_trial()
    stage("prune", granularity="filters", amount={"conv1": 0.5, "conv2": 1 / 3}).run(trial)
    before = {name: tensor.clone() for name, tensor in trial.model.state_dict().items()}
    found = compacted(trial.model, (1, 8, 8))
    assert found.filters == 2 + 2
    assert found.kept == {"fc.weight": "it gives the network's outputs"}
    assert found.difference < 1e-6
    assert {name: tuple(p.shape) for name, p in found.network.named_parameters()} == {
        "fc.weight": (3, 16),  # 4 places of 4 channels
        "fc.bias": (3,),
        "conv2.weight": (4, 2, 2, 2),
        "bn2.weight": (4,),
        "bn2.bias": (4,),
        "conv1.weight": (2, 1, 3, 3),
        "conv1.bias": (2,),
        "bn1.weight": (2,),
        "bn1.bias": (2,),
    }
    assert all(torch.equal(before[name], tensor) for name, tensor in trial.model.state_dict().items())
    full, small = (dissect(model.eval(), {}, (1, 8, 8)) for model in (trial.model, found.network))
    assert small.parameters == full.nonzero + 6  # the biases of six normalised channels, which are 0 at first


def test_weights_that_are_zero_one_by_one_stay_where_they_are(make_trial, stage):
    trial = make_trial()
    stage("prune", amount=0.9).run(trial)
    with pytest.raises(DataError, match=r"^no filter is pruned whole, with all that belongs to it"):
        compacted(trial.model, (1, 8, 8))


def test_other_outputs_are_an_error(make_net):
    network, other = make_net(), make_net()
    other.fc.bias.data += 3e-5
    with pytest.raises(DataError, match=r"^without these filters outputs differ by 3e-05; the largest is [\d.]+$"):
        checked_difference(network, other, (1, 8, 8))
    other.fc.bias.data.fill_(torch.nan)
    with pytest.raises(DataError, match="differ by nan"):
        checked_difference(network, other, (1, 8, 8))


def test_it_is_saved_as_a_program_for_any_number_of_images(make_trial, stage, tmp_path: Path):
    trial = make_trial()
    stage("prune", granularity="filters", amount=0.5, distribution="layer").run(trial)
    small = compacted(trial.model, (1, 8, 8)).network
    program = save_program(small, (1, 8, 8), tmp_path / "net.pt2")
    images = torch.rand(5, 1, 8, 8)
    with torch.no_grad(), eval_mode(trial.model):
        assert torch.allclose(program.module()(images), trial.model(images), atol=1e-6)
        assert torch.allclose(torch.export.load(tmp_path / "net.pt2").module()(images[:1]), trial.model(images[:1]))


def test_a_network_that_cannot_be_exported_says_why(tmp_path: Path):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 2)

        def forward(self, x):
            return self.fc(x if x.sum() > 0 else -x)

    with pytest.raises(DataError, match=r"^torch\.export cannot export the network: "):
        save_program(Odd(), (4,), tmp_path / "net.pt2")


@pytest.mark.long
@pytest.mark.parametrize("name", ["resnet18", "vgg11_bn", "mobilenet_v2", "densenet121", "vit_b_16"])
def test_the_networks_of_torchvision_compute_the_same_without_half_of_their_filters(name: str, tmp_path: Path):
    shape = (3, 224, 224)
    torch.manual_seed(0)
    network = get_model(name, weights=None)
    if name == "vit_b_16":
        nn.init.normal_(network.heads.head.weight, std=0.02)  # which would be 0, as all outputs
    trial = tiny_trial(model=network, data=tiny_data(shape, train=8, test=4))
    run_stage("prune", trial, granularity="filters", amount=0.5, distribution="layer")
    network = trial.model.eval()
    found = compacted(network, shape)
    program = save_program(found.network, shape, tmp_path / "net.pt2").module()
    assert checked_difference(network, program, shape) <= found.difference + 1e-6
    full, small = (dissect(model, {}, shape) for model in (network, program))
    assert small.parameters < 0.75 * full.parameters
    assert small.flops < 0.75 * full.flops
