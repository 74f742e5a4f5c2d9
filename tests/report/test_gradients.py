"""Which weights no gradient ever reaches, counted by hand."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from framework._report.gradients import no_gradient
from framework_plugins.models.resnet import resnet18
from framework_plugins.models.zoo import torchvision


def test_of_a_resnet_with_the_imagenet_stem_on_small_images_the_elements_that_lie_on_padding() -> None:
    # The sides are 32, 16 after the stem, 8 after pooling, then 8, 4, 2 and 1. A 3×3 kernel on a single pixel reads it
    # with its centre alone. With a stride of 2 on 2×2 pixels it stands over the first, so that its first row and
    # column lie on padding. On 2×2 pixels and more, each element reads some pixel.
    found = no_gradient(resnet18((3, 32, 32), 10), (3, 32, 32))
    total, layer4 = found.pop("no_gradient"), 512 * 512 * 8
    assert found == {
        "no_gradient/layer4.0.conv1": 5 / 9,
        "no_gradient/layer4.0.conv2": 8 / 9,
        "no_gradient/layer4.1.conv1": 8 / 9,
        "no_gradient/layer4.1.conv2": 8 / 9,
    }
    # The stem, the twelve 3×3 kernels before layer4, the three shortcuts, layer4's own kernels, and the classes.
    weights = 64 * 3 * 49 + 64 * 64 * 36 + 128 * 64 * 9 + 128 * 128 * 27 + 256 * 128 * 9 + 256 * 256 * 27
    weights += 64 * 128 + 128 * 256 + 256 * 512 + 512 * 256 * 9 + 512 * 512 * 27 + 512 * 10
    assert total == (512 * 256 * 5 + 3 * layer4) / weights


def test_with_the_cifar_stem_there_are_none() -> None:
    assert no_gradient(resnet18((3, 16, 16), 10, stem="cifar"), (3, 16, 16)) == {"no_gradient": 0.0}


def test_bounded_and_gated_activations_and_depthwise_kernels_hide_nothing() -> None:
    network, sides = torchvision((3, 32, 32), 10, "mobilenet_v3_small"), dict[str, int]()
    kernels = {name: module for name, module in network.named_modules() if getattr(module, "groups", 1) > 1}
    for name, module in kernels.items():
        module.register_forward_hook(lambda m, given, out, name=name: sides.update({name: given[0].shape[-1]}))
    network.eval()(torch.zeros(1, 3, 32, 32))
    # By size of the kernel, side of the map and stride: in each direction so many elements meet a pixel.
    meeting = {(5, 2, 1): 3, (5, 2, 2): 2, (5, 1, 1): 1, (3, 2, 2): 2, (3, 1, 1): 1}
    expected = {}
    for name, module in kernels.items():
        size = module.kernel_size[0]
        if met := meeting.get((size, sides[name], module.stride[0])):
            expected[f"no_gradient/{name}"] = 1 - met**2 / size**2
    found = no_gradient(network, (3, 32, 32))
    assert {name: value for name, value in found.items() if "/" in name} == pytest.approx(expected)
    assert len(expected) > 3


class Norms(nn.Module):
    """Layers whose outputs are centred and rectified, attention, a recurrent layer, and a computed weight."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Linear(8, 8)
        self.embed = nn.Linear(8, 16)
        self.norm = nn.LayerNorm(16)
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
        self.recurrent = nn.GRU(16, 8, batch_first=True)
        self.computed = weight_norm(nn.Linear(8, 8))
        self.groups = nn.GroupNorm(2, 8)
        self.fc = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.embed(x.flatten(1, 2))).relu()
        x, _ = self.recurrent(self.attention(x, x, x)[0])
        x = self.groups(self.computed(x[:, -1])).relu()
        return self.fc(x).softmax(1)


def test_what_is_centred_attended_or_recurrent_is_reached_and_what_is_not_used_is_not() -> None:
    network = Norms()
    sizes = sum(p.numel() for name, p in network.named_parameters() if p.dim() > 1 and "computed" not in name)
    assert no_gradient(network, (1, 8, 8)) == {"no_gradient": 64 / sizes, "no_gradient/unused": 1.0}


def test_a_maximum_may_be_any_of_its_inputs() -> None:
    network = nn.Sequential(nn.Conv2d(1, 64, 3, padding=1), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 3))
    assert no_gradient(network, (1, 2, 2)) == {"no_gradient": 0.0}


def test_it_is_not_a_matter_of_values_and_nothing_is_changed(make_net: Callable[..., nn.Module]) -> None:
    network = make_net()
    with torch.no_grad():
        network.conv1.bias.fill_(-1e3)  # no unit is ever active
        network.conv2.weight.zero_()  # and all is pruned
        network.fc.weight.requires_grad_(requires_grad=False)
    network.bn1.eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = torch.get_rng_state()
    assert no_gradient(network, (1, 8, 8)) == {"no_gradient": 0.0}
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert network.training
    assert not network.bn1.training
    assert not network.fc.weight.requires_grad
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_network_without_weights_to_prune_has_no_such_number() -> None:
    assert no_gradient(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64)), (1, 8, 8)) == {}
