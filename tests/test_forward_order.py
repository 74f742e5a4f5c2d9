import logging
import random

import pytest
import torch
from torch import nn

from framework._masks import eval_mode, forward_order, named_tensors, prunable


def order_of(model, shape, *names):
    """Where these names stand, in the order found."""
    order = forward_order(model, shape)
    assert sorted(order) == sorted(named_tensors(model))  # each of them once
    return sorted(names, key=order.index)


class Tied(nn.Module):
    """``late`` is registered first, but ``early`` uses the shared weight first."""

    def __init__(self):
        super().__init__()
        self.late = nn.Linear(4, 4)
        self.early = nn.Linear(4, 4)
        self.late.weight = self.early.weight
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.late(self.early(x.flatten(1))))


class Parent(nn.Module):
    """Parameters of the root that are used first, in the middle, last and not at all; one that is only asked things."""

    def __init__(self):
        super().__init__()
        self.last = nn.Parameter(torch.ones(3))
        self.middle = nn.Parameter(torch.ones(4))
        self.asked = nn.Parameter(torch.ones(3))
        self.first = nn.Parameter(torch.ones(4))
        self.unused = nn.Parameter(torch.ones(4))
        self.register_buffer("table", torch.tensor([1, 0, 3, 2]))
        self.aux = nn.Linear(4, 3)
        self.b = nn.Linear(4, 3)
        self.a = nn.Linear(4, 4)

    def forward(self, x):
        x = x.flatten(1).to(self.asked.device, self.asked.dtype) * self.first
        assert self.asked.shape == (3,)
        x = self.a(x) + self.middle
        x = self.b(x[:, self.table]) * self.last
        return x + self.asked if not self.training else self.aux(x)


def test_weights_come_in_the_order_of_the_forward_pass_not_of_registration(make_net):
    net = make_net()
    assert list(prunable(net, forward_order(net, (1, 8, 8)))) == ["conv1.weight", "conv2.weight", "fc.weight"]


def test_parameters_and_buffers_come_by_their_first_use_and_what_is_not_used_comes_last():
    assert forward_order(Parent(), (1, 2, 2)) == [
        *("first", "a.weight", "a.bias", "middle", "table", "b.weight", "b.bias", "last", "asked"),
        *("unused", "aux.weight", "aux.bias"),
    ]


def test_a_buffer_that_is_not_used_stands_with_its_module(make_net):
    order = forward_order(make_net(), (1, 8, 8))
    assert order[2:7] == [f"bn1.{n}" for n in ("weight", "num_batches_tracked", "bias", "running_mean", "running_var")]
    assert order[0] == "conv1.weight"


def test_attention_is_seen_operation_by_operation_and_its_fast_path_is_back_afterwards():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)
    model = nn.Sequential(nn.Flatten(2), layer, nn.Flatten(), nn.Linear(16, 3)).requires_grad_(False)
    used = "norm1.weight self_attn.in_proj_weight self_attn.out_proj.weight norm2.weight linear1.weight linear2.weight"
    names = [f"1.{name}" for name in used.split()]
    assert order_of(model, (2, 2, 4), *names) == names
    assert torch.backends.mha.get_fastpath_enabled()


def test_of_a_tied_weight_the_name_by_which_it_is_used_first_comes_first():
    assert order_of(Tied(), (1, 2, 2), "late.weight", "early.weight", "late.bias", "early.bias") == [
        *("early.weight", "late.weight", "early.bias", "late.bias"),
    ]


def test_what_a_recurrent_layer_and_an_own_function_use_is_seen():
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, scale):
            return x * scale

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))
            self.lstm = nn.LSTM(8, 5, num_layers=2, batch_first=True)
            self.head = nn.Linear(5, 3)

        def forward(self, x):
            return self.head(Double.apply(self.lstm(x.squeeze(1))[0][:, -1], self.scale))

    of_layers = ("weight_ih_l0", "bias_ih_l0", "weight_hh_l0", "bias_hh_l0", "weight_ih_l1", "weight_hh_l1")
    names = [*(f"lstm.{name}" for name in of_layers), "scale", "head.weight"]
    assert order_of(Own(), (1, 8, 8), *reversed(names)) == names


@pytest.mark.parametrize(
    ("name", "shape", "names"),
    [
        (
            "vit_b_32",
            32,
            ["conv_proj.weight", "class_token", "encoder.pos_embedding", "encoder.layers.encoder_layer_0"],
        ),
        (
            "convnext_tiny",
            32,
            ["features.1.0.block.0", "features.1.0.block.5", "features.1.0.layer_scale", "classifier"],
        ),
        (
            "swin_t",
            32,
            ["features.1.0.attn.relative_position_bias_table", "features.1.0.attn.qkv", "features.1.1.attn"],
        ),
        ("swin_v2_t", 64, ["features.1.0.attn.cpb_mlp.2", "features.1.0.attn.qkv", "features.1.0.attn.proj"]),
        ("googlenet", 64, ["conv1", "inception4b", "fc.weight", "aux1.conv", "aux2.conv"]),
    ],
)
def test_the_networks_of_torchvision_are_in_the_order_in_which_they_compute(name, shape, names):
    from torchvision import models

    options = {"vit_b_32": {"image_size": 32}, "googlenet": {"init_weights": False}}.get(name, {})
    with torch.device("meta"):
        skeleton = models.get_model(name, num_classes=3, **options)
    order = forward_order(skeleton.to_empty(device="cpu"), (3, shape, shape))
    first = [next(i for i, full in enumerate(order) if full.startswith(name)) for name in names]
    assert first == sorted(first)


class Restless(nn.Module):
    """Draws random numbers and counts, also in eval mode."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 3)
        self.register_buffer("seen", torch.zeros(()))
        self.register_buffer("replaced", torch.zeros(()), persistent=False)

    def forward(self, x):
        self.seen += 1
        self.replaced = self.replaced + random.random()
        return self.fc(x.flatten(1) + torch.rand(4))


def test_modes_buffers_gradients_hooks_and_random_state_are_left_as_they_were():
    net = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(), Restless())
    net.train()
    net[0].eval()
    state, numbers, buffer = torch.get_rng_state(), random.getstate(), net[2].replaced
    before = {name: t.clone() for name, t in named_tensors(net).items()}
    forward_order(net, (1, 2, 2))
    assert [m.training for m in net] == [False, True, True]
    assert all(torch.equal(before[name], t) for name, t in named_tensors(net).items())
    assert net[2].replaced is buffer
    assert all(not m._forward_pre_hooks for m in net.modules())
    assert all(p.grad is None for p in net.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert random.getstate() == numbers


def test_normalisation_that_keeps_no_statistics_is_no_hindrance(caplog):
    net = nn.Sequential(nn.Conv2d(1, 4, 2), nn.BatchNorm2d(4, track_running_stats=False), nn.Flatten(), nn.Linear(4, 3))
    assert forward_order(net, (1, 2, 2))[0] == "0.weight"
    assert not caplog.records


class Refuses(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 3)
        self.stem = nn.Linear(4, 4)

    def forward(self, x):
        x = self.stem(x.flatten(1))
        if not x.count_nonzero() or len(x) == 2:
            raise ValueError("these are no images")
        return self.head(x)


def test_a_pass_that_fails_gives_what_was_seen_a_note_and_no_error(caplog):
    net = Refuses()
    net.head.eval()
    with caplog.at_level(logging.WARNING, "framework"):
        assert forward_order(net, (1, 2, 2)) == ["stem.weight", "stem.bias", "head.weight", "head.bias"]
    (record,) = caplog.records
    assert record.name == "framework"
    assert record.getMessage() == (
        "the order of the network's layers, beyond those that were reached, is taken from their registration, as it "
        "could not be tried on two empty inputs of shape (1, 2, 2): ValueError: these are no images"
    )
    assert net.training
    assert not net.head.training
    assert all(not m._forward_pre_hooks for m in net.modules())


def test_lazy_layers_are_not_made_by_looking(caplog):
    net = nn.Sequential(nn.Flatten(), nn.LazyLinear(3))
    with caplog.at_level(logging.WARNING, "framework"):
        assert forward_order(net, (1, 2, 2)) == ["1.weight", "1.bias"]
    assert "a lazy module has no weights yet" in caplog.text
    assert net[1].has_uninitialized_params()


def test_eval_mode_gives_each_module_its_own_mode_back_after_an_error(make_net):
    net = make_net()
    net.bn2.eval()
    modes = []
    net.conv2.register_forward_pre_hook(lambda module, args: modes.extend(m.training for m in net.modules()))
    with pytest.raises(RuntimeError), eval_mode(net):
        net(torch.zeros(1, 1, 2, 2))  # too small for the second convolution
    assert modes == [False] * len(list(net.modules()))
    assert [name for name, m in net.named_modules() if not m.training] == ["bn2"]
