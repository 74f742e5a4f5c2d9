import pytest
import torch
from torch import nn

from framework import StageError
from framework._masks import (
    eval_mode,
    forward_order,
    held_fraction,
    layer_name,
    prunable,
    select,
    sparsity,
)

NAMES = ["conv1.weight", "layer1.0.conv.weight", "layer1.1.conv.weight", "fc.weight"]


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


def weights_of(model, shape):
    return prunable(model, forward_order(model, shape))


def test_weights_come_in_the_order_of_the_forward_pass_not_of_registration(make_net):
    assert list(weights_of(make_net(), (1, 8, 8))) == ["conv1.weight", "conv2.weight", "fc.weight"]


def test_biases_and_normalisation_are_not_prunable(make_net):
    net = make_net()
    assert sum(w.numel() for w in weights_of(net, (1, 8, 8)).values()) == 36 + 96 + 72


def test_module_order_has_every_module_once_and_a_module_without_a_call_after_its_parent():
    attention = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model = nn.Sequential(nn.Flatten(2), attention, nn.Flatten(), nn.Linear(16, 3))
    order = forward_order(model, (2, 2, 4))
    assert sorted(order) == sorted(name for name, _ in model.named_modules())
    assert order.index("1.self_attn.out_proj") == order.index("1.self_attn") + 1


def test_attention_projections_are_prunable():
    model = nn.Sequential(nn.Flatten(2), nn.TransformerEncoderLayer(8, 2, 16), nn.Flatten(), nn.Linear(16, 3))
    weights = weights_of(model, (2, 2, 4))
    assert {n: w.numel() for n, w in weights.items()} == {
        "1.self_attn.in_proj_weight": 192,
        "1.self_attn.out_proj.weight": 64,
        "1.linear1.weight": 128,
        "1.linear2.weight": 128,
        "3.weight": 48,
    }


def test_a_model_that_is_one_layer_names_its_weight_plainly():
    assert list(weights_of(nn.Conv2d(1, 1, 3), (1, 8, 8))) == ["weight"]


def test_a_tied_weight_is_counted_once_where_it_is_used_first():
    assert list(weights_of(Tied(), (1, 2, 2))) == ["early.weight", "head.weight"]


def test_forward_order_leaves_modes_statistics_gradients_and_hooks_alone(make_net):
    net = make_net()
    net.train()
    net.bn1.eval()
    before = {name: t.clone() for name, t in net.state_dict().items()}
    forward_order(net, (1, 8, 8))
    assert net.training
    assert net.bn2.training
    assert not net.bn1.training
    assert all(torch.equal(before[name], t) for name, t in net.state_dict().items())
    assert all(not m._forward_pre_hooks for m in net.modules())


def test_hooks_are_removed_even_if_the_forward_pass_fails(make_net):
    net = make_net()
    with pytest.raises(RuntimeError):
        forward_order(net, (2, 8, 8))
    assert net.training
    assert all(not m._forward_pre_hooks for m in net.modules())


def test_a_model_without_prunable_weights_has_none_and_nothing_can_be_chosen_of_them():
    model = nn.BatchNorm2d(1)
    assert weights_of(model, (1, 2, 2)) == {}
    with pytest.raises(StageError, match="no convolutional, linear or attention layer"):
        select([], None)


def test_eval_mode_gives_each_module_its_own_mode_back_after_an_error(make_net):
    net = make_net()
    net.bn2.eval()
    modes = []
    net.conv2.register_forward_pre_hook(lambda module, args: modes.extend(m.training for m in net.modules()))
    with pytest.raises(RuntimeError), eval_mode(net):
        net(torch.zeros(1, 1, 2, 2))  # too small for the second convolution
    assert modes == [False] * len(list(net.modules()))
    assert [name for name, m in net.named_modules() if not m.training] == ["bn2"]


def test_sparsity_counts_exact_zeros_by_layer_and_in_all():
    weights = {"a.weight": torch.tensor([0.0, 1.0, -0.0, 1e-30]), "b.weight": torch.tensor([[0.0], [2.0]])}
    assert sparsity(weights) == {"sparsity": 0.5, "sparsity/a": 0.5, "sparsity/b": 0.5}
    weights["b.weight"] = torch.tensor([[3.0], [2.0]])
    assert sparsity(weights) == {"sparsity": 2 / 6, "sparsity/a": 0.5, "sparsity/b": 0.0}


def test_held_fraction_counts_elements_of_weights_only():
    weights = {"a.weight": torch.ones(3), "b.weight": torch.ones(5)}
    frozen = {"a.weight": torch.tensor([True, True, False]), "a.bias": torch.tensor([True])}
    assert held_fraction(weights, frozen) == 2 / 8
    assert held_fraction(weights, {}) == 0


@pytest.mark.parametrize(
    ("parameter", "layer"),
    [
        ("layer1.0.conv1.weight", "layer1.0.conv1"),
        ("attn.in_proj_weight", "attn.in_proj_weight"),
        ("weight", "weight"),
    ],
)
def test_layer_name(parameter, layer):
    assert layer_name(parameter) == layer


@pytest.mark.parametrize(
    ("patterns", "exclude", "chosen"),
    [
        (None, (), NAMES),
        (["fc", "conv1"], (), ["conv1.weight", "fc.weight"]),
        (["layer1"], (), NAMES[1:3]),
        (["layer1.*"], (), NAMES[1:3]),
        (["layer1.1"], (), NAMES[2:3]),
        (["*.weight"], (), NAMES),
        (["*conv*"], ["conv1"], NAMES[1:3]),
        (None, ["fc", "layer1.0"], ["conv1.weight", "layer1.1.conv.weight"]),
    ],
)
def test_select_matches_parameters_layers_and_parents_and_keeps_the_order(patterns, exclude, chosen):
    assert select(NAMES, patterns, exclude) == chosen


@pytest.mark.parametrize(
    ("patterns", "exclude", "text"),
    [
        (["layer2"], (), "no layer matches 'layer2' (did you mean 'layer1'?)"),
        (["fc", "conv2"], (), "no layer matches 'conv2' (did you mean 'conv1'?)"),
        (
            None,
            ["fx"],
            "no layer matches 'fx' (valid: conv1, conv1.weight, fc, fc.weight, layer1, layer1.0, layer1.0.conv, "
            "layer1.0.conv.weight, layer1.1, layer1.1.conv, layer1.1.conv.weight)",
        ),
        (["FC"], (), None),
        (["fc"], ["fc"], "no layer is left to choose from: the patterns select none"),
        ([], (), "no layer is left to choose from: the patterns select none"),
    ],
)
def test_a_selector_that_matches_nothing_is_an_error(patterns, exclude, text):
    with pytest.raises(StageError) as error:
        select(NAMES, patterns, exclude)
    if text:
        assert str(error.value) == text
