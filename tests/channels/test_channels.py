"""Which channels of a network can go, and the network without them."""

import sys

import pytest
import torch
from torch import nn
from torch.nn import functional
from torchvision import models

from framework import StageError, eval_mode
from framework._channels import channel_groups, remove_channels
from framework._masks import computed_weights, prunable


class Calls(nn.Module):
    """Layers by name, and a function of the network and its inputs that calls them."""

    def __init__(self, forward, **layers):
        super().__init__()
        self.calls = forward
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x):
        return self.calls(self, x)


def head(channels):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 3))


def found(model, shape=(1, 8, 8)):
    """The layers whose filters are tied, group by group; and why others have none."""
    groups, refused = channel_groups(model, shape)
    return [[name.removesuffix(".weight") for name in group.weights("out")] for group in groups], refused


def test_a_convolution_of_single_channels_and_what_is_concatenated_or_split():
    model = Calls(
        lambda net, x: net.out(torch.cat([net.deep(net.a(x)), net.b(x)], 1)),
        a=nn.Conv2d(1, 4, 1),
        deep=nn.Conv2d(4, 4, 3, groups=4, padding=1),
        b=nn.Conv2d(1, 2, 1),
        out=nn.Sequential(nn.BatchNorm2d(6), nn.Conv2d(6, 5, 1), head(5)),
    )
    groups, refused = channel_groups(model, (1, 8, 8))
    assert refused == {"out.2.2.weight": "it gives the network's outputs"}
    assert [(group.name, group.count, group.weights("out")) for group in groups] == [
        ("a.weight", 4, ["a.weight", "deep.weight"]),
        ("b.weight", 2, ["b.weight"]),
        ("out.1.weight", 5, ["out.1.weight"]),
    ]
    # Of what is concatenated, the second part begins behind the first.
    [norm] = [part for part in groups[1].parts if part.role == "norm"]
    assert (norm.tensors, norm.places.tolist()) == ({"out.0.weight": 0, "out.0.bias": 0}, [4, 5])


def test_a_transposed_convolution_has_its_filters_in_the_second_dimension():
    model = nn.Sequential(nn.ConvTranspose2d(1, 4, 3), nn.ReLU(), nn.ConvTranspose2d(4, 6, 3), head(6))
    groups, _ = channel_groups(model, (1, 8, 8))
    assert [(part.role, dict(part.tensors)) for part in groups[0].parts] == [
        ("out", {"0.weight": 1, "0.bias": 0}),
        ("in", {"2.weight": 0}),
    ]


@pytest.mark.parametrize(
    ("layers", "forward", "why"),
    [
        (
            {"a": nn.Conv2d(1, 4, 1), "norm": nn.GroupNorm(2, 4), "head": head(4)},
            lambda net, x: net.head(net.norm(net.a(x))),
            "norm (GroupNorm) normalises its channels together",
        ),
        (
            {"a": nn.Conv2d(1, 4, 1), "b": nn.Conv2d(4, 4, 1, groups=2), "head": head(4)},
            lambda net, x: net.head(net.b(net.a(x))),
            "b (Conv2d) has groups of channels",
        ),
        (
            {"a": nn.utils.parametrizations.weight_norm(nn.Conv2d(1, 4, 1)), "b": nn.Conv2d(1, 4, 1), "head": head(4)},
            lambda net, x: net.head(net.a(x) + net.b(x)),
            "the weight of a (ParametrizedConv2d) is computed from other parameters",
        ),
        (
            {"b": nn.Conv2d(1, 4, 1), "head": head(4)},
            lambda net, x: net.head(functional.layer_norm(net.b(x), (4, 8, 8))),
            "without half of its channels the network fails (RuntimeError: Given normalized_shape=[4, 8, 8]",
        ),
        (
            {"b": nn.Conv2d(1, 4, 1), "head": head(4)},
            lambda net, x: net.head(functional.softmax(net.b(x), 1)),
            "without half of its channels the network computes something else than with zeros in them",
        ),
        (
            {"b": nn.Conv2d(1, 4, 1), "unused": nn.Conv2d(1, 4, 1), "head": head(4)},
            lambda net, x: net.head(net.b(x)),
            "a forward pass does not call this layer",
        ),
    ],
    ids=["norm", "groups", "computed", "fails", "mixes", "unused"],
)
def test_why_filters_cannot_be_removed(layers, forward, why):
    model = Calls(forward, **layers)
    groups, refused = channel_groups(model, (1, 8, 8))
    assert any(reason.startswith(why) for reason in refused.values()), refused
    assert {name for group in groups for name in group.weights("out")} | {*refused} == {
        *prunable(model),
        *computed_weights(model),
    }


def test_what_is_refused_leaves_the_others():
    model = Calls(
        lambda net, x: net.head(functional.softmax(net.b(net.a(x).relu()), 1)),
        a=nn.Conv2d(1, 4, 1),
        b=nn.Conv2d(4, 4, 1),
        head=head(4),
    )
    groups, refused = found(model)
    assert groups == [["a"]]
    assert [*refused] == ["b.weight", "head.2.weight"]


def test_a_network_that_cannot_be_followed_is_an_error():
    model = Calls(lambda net, x: net.a(x).detach().numpy(), a=nn.Conv2d(1, 4, 1))
    with pytest.raises(StageError, match=r"^Torch-Pruning cannot follow a forward pass of Calls, so that no filter"):
        channel_groups(model, (1, 8, 8))


def test_without_the_package_an_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    with pytest.raises(StageError, match=r"needs the package torch-pruning: pip install 'framework\[structured\]'$"):
        channel_groups(nn.Linear(3, 3), (3,))


@pytest.mark.parametrize("activation", [functional.relu, torch.sigmoid], ids=["relu", "sigmoid"])
def test_without_channels_that_are_zero_a_network_computes_the_same(activation):
    torch.manual_seed(0)
    model = Calls(
        lambda net, x: net.head(activation(net.bn(net.b(activation(net.a(x)))) + net.short(x))),
        a=nn.Conv2d(1, 6, 3, padding=1),
        b=nn.Conv2d(6, 4, 3, padding=1),
        bn=nn.BatchNorm2d(4),
        short=nn.Conv2d(1, 4, 1),
        head=nn.Sequential(nn.Flatten(), nn.Linear(256, 5), nn.ReLU(), nn.Linear(5, 3)),
    )
    groups, _ = channel_groups(model, (1, 8, 8))
    assert [group.count for group in groups] == [6, 4, 5]
    gone = {group.name: torch.arange(group.count) % 3 > 0 for group in groups}
    parameters = dict(model.named_parameters())
    marks = {name: torch.zeros_like(p, dtype=torch.bool) for name, p in parameters.items()}
    for group in groups:
        group.mark(gone[group.name], marks)
    for name, parameter in parameters.items():
        parameter.data[marks[name]] = 0
    assert all(
        torch.equal(group.every({n: p == 0 for n, p in parameters.items()}), gone[group.name]) for group in groups
    )
    small = remove_channels(model, groups, gone)
    assert (small.a.weight.shape, small.b.weight.shape, small.short.weight.shape) == (
        (2, 1, 3, 3),
        (2, 2, 3, 3),
        (2, 1, 1, 1),
    )
    assert (small.bn.running_var.shape, small.head[1].weight.shape) == ((2,), (2, 128))
    images = torch.rand(3, 1, 8, 8)
    with eval_mode(model), eval_mode(small):
        assert torch.allclose(model(images), small(images), atol=1e-6)


def test_a_layer_of_which_all_goes_keeps_its_first_filter():
    model = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), head(4))
    groups, _ = channel_groups(model, (1, 8, 8))
    small = remove_channels(model, groups, {"0.weight": torch.ones(4, dtype=torch.bool)})
    assert torch.equal(small[0].weight, model[0].weight[:1])


def test_the_networks_of_torchvision_are_followed():
    groups, refused = found(models.resnet18(), (3, 32, 32))
    assert len(groups) == 12
    assert ["conv1", "layer1.0.conv2", "layer1.1.conv2"] in groups
    assert ["layer4.0.conv2", "layer4.0.downsample.0", "layer4.1.conv2"] in groups
    assert refused == {"fc.weight": "it gives the network's outputs"}
    vit = models.VisionTransformer(8, 4, 2, 2, 16, 32, num_classes=3)
    groups, refused = found(vit, (3, 8, 8))
    assert groups == [[f"encoder.layers.encoder_layer_{number}.mlp.0"] for number in range(2)]
    assert refused["conv_proj.weight"].endswith("encoder_layer_0.ln_1 (LayerNorm) normalises its channels together")
