import time
from collections.abc import Callable, Mapping

import pytest
import torch
from torch import nn

from framework._masks import prunable
from framework._report.anatomy import Anatomy, anatomy, dissect

SHAPE = (1, 8, 8)


class Attending(nn.Module):
    """Attention, which keeps weights outside any layer, and a transposed convolution of two groups."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 16)
        self.encoder = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        self.up = nn.ConvTranspose2d(4, 6, 2, groups=2)
        self.fc = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raised = self.up(x.expand(-1, 4, -1, -1)).mean(dim=(1, 2, 3))
        return self.fc(self.encoder(self.embed(x.flatten(1, 2))).mean(1)) + raised[:, None]


def weights_of(network: nn.Module) -> Mapping[str, torch.Tensor]:
    return prunable(network)


def dissected(network: nn.Module) -> Anatomy:
    return dissect(network.eval(), weights_of(network), SHAPE)


def test_every_layers_flops_are_those_that_one_counts_by_hand(make_net: Callable[..., nn.Module]) -> None:
    found = dissected(make_net())
    # Outputs times what each is the sum of; a multiply-add is two.
    assert {layer.name: layer.flops for layer in found.layers} == {
        "conv1.weight": 2 * (4 * 8 * 8) * (1 * 3 * 3),
        "conv2.weight": 2 * (6 * 3 * 3) * (4 * 2 * 2),
        "fc.weight": 2 * 3 * 24,
    }
    assert found.flops == sum(layer.flops for layer in found.layers)


def test_layers_come_in_the_order_of_the_forward_pass(make_net: Callable[..., nn.Module]) -> None:
    assert [layer.name for layer in dissected(make_net()).layers] == ["conv1.weight", "conv2.weight", "fc.weight"]


def test_zeros_take_away_their_share_of_their_layers_flops(make_net: Callable[..., nn.Module]) -> None:
    network = make_net()
    with torch.no_grad():
        network.conv2.weight.view(-1)[:24] = 0  # of 96
    whole = dissected(make_net())
    found = dissected(network)
    assert found.flops == whole.flops
    assert found.flops_effective == whole.flops - whole.layers[1].flops / 4
    assert whole.nonzero - found.nonzero == 24
    assert [layer.zeros for layer in found.layers] == [0, 24, 0]


def test_filters_without_any_other_weight_than_zero_are_dead(make_net: Callable[..., nn.Module]) -> None:
    network = make_net()
    with torch.no_grad():
        network.conv1.weight[2] = 0
        network.conv1.weight[3] = 0
        network.conv1.weight[3, 0, 1, 1] = 1e-30
        network.fc.weight[:, 5] = 0  # a column is no output
    assert [layer.dead_filters for layer in dissected(network).layers] == [1, 0, 0]


def test_a_transposed_convolutions_outputs_are_counted_across_its_groups() -> None:
    network = Attending()
    with torch.no_grad():
        network.up.weight[:2, 1] = 0  # all that the second output of the first group is made of
        network.up.weight[2, 1] = 0  # half of what that of the second group is made of
    [up] = [layer for layer in dissected(network).layers if layer.name == "up.weight"]
    assert (up.filters, up.dead_filters, up.zeros) == (6, 1, 12)


def test_attention_is_counted_with_the_weights_that_it_keeps_itself() -> None:
    found = dissected(Attending())
    flops = {layer.name: layer.flops for layer in found.layers}
    assert flops["encoder.self_attn.in_proj_weight"] == 2 * 8 * 16 * 48
    assert flops["encoder.linear1.weight"] == 2 * 8 * 16 * 32
    # Queries times keys, and their products times the values, are on no weight.
    assert found.flops - sum(flops.values()) == 2 * (2 * 4 * 8 * 8 * 4)


def test_an_exported_network_is_found_to_be_the_same() -> None:
    network = Attending().eval()
    with torch.no_grad():
        network.fc.weight[0] = 0
    weights = weights_of(network)
    exported = torch.export.export(network, (torch.rand(1, *SHAPE),)).module()
    assert dissect(exported, {name: exported.get_parameter(name) for name in weights}, SHAPE) == dissected(network)


def test_a_run_gets_six_numbers_and_the_network_stays_as_it_is(make_net: Callable[..., nn.Module]) -> None:
    network = make_net()
    network.bn1.eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    metrics = anatomy(network, SHAPE)
    assert metrics == {
        "model/parameters": 231.0,
        "model/nonzero": 231.0 - 10,  # the two normalisations' biases
        "model/flops": 2.0 * (256 * 9 + 54 * 16 + 72),
        "model/flops_effective": 2.0 * (256 * 9 + 54 * 16 + 72),
        "model/dead_filters": 0.0,
        "model/bytes": 4.0 * (231 + 20) + 2 * 8,  # running statistics, and two int64 counters
    }
    assert network.training
    assert not network.bn1.training
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_a_network_without_weights_to_prune_has_numbers_as_well() -> None:
    found = anatomy(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64)), SHAPE)
    assert found["model/parameters"] == found["model/nonzero"] + 64 == 128
    assert found["model/flops"] == found["model/flops_effective"] == found["model/dead_filters"] == 0


def test_a_resnet_takes_no_more_than_a_third_of_a_second() -> None:
    from framework_plugins.models.resnet import resnet18

    network, threads = resnet18((3, 32, 32), 10), torch.get_num_threads()
    torch.set_num_threads(1)  # of more, each waits for the others on a busy machine
    try:
        anatomy(network, (3, 32, 32))
        began = time.process_time()
        assert anatomy(network, (3, 32, 32))["model/flops"] == pytest.approx(74e6, rel=0.01)
        assert time.process_time() - began < 0.3
    finally:
        torch.set_num_threads(threads)
