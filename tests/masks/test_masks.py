import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune

from framework import StageError
from framework._masks import (
    candidates,
    check_masks,
    computed_values,
    computed_weights,
    held_fraction,
    layer_name,
    lowest,
    prunable,
    select,
    sparsity,
)

NAMES = ["conv1.weight", "layer1.0.conv.weight", "layer1.1.conv.weight", "fc.weight"]


def test_biases_and_normalisation_are_not_prunable(make_net):
    net = make_net()
    assert sum(w.numel() for w in prunable(net).values()) == 36 + 96 + 72


def test_attention_projections_are_prunable():
    model = nn.Sequential(nn.Flatten(2), nn.TransformerEncoderLayer(8, 2, 16), nn.Flatten(), nn.Linear(16, 3))
    weights = prunable(model)
    assert {n: w.numel() for n, w in weights.items()} == {
        "1.self_attn.in_proj_weight": 192,
        "1.self_attn.out_proj.weight": 64,
        "1.linear1.weight": 128,
        "1.linear2.weight": 128,
        "3.weight": 48,
    }


def test_a_model_that_is_one_layer_names_its_weight_plainly():
    assert list(prunable(nn.Conv2d(1, 1, 3))) == ["weight"]


def test_sparsity_counts_exact_zeros_by_layer_and_in_all():
    weights = {"a.weight": torch.tensor([0.0, 1.0, -0.0, 1e-30]), "b.weight": torch.tensor([[0.0], [2.0]])}
    assert sparsity(weights) == {"sparsity": 0.5, "sparsity/a": 0.5, "sparsity/b": 0.5}
    weights["b.weight"] = torch.tensor([[3.0], [2.0]])
    assert sparsity(weights) == {"sparsity": 2 / 6, "sparsity/a": 0.5, "sparsity/b": 0.0}


def test_held_fraction_counts_elements_of_weights_only(make_net):
    net = make_net()
    frozen = {"fc.weight": torch.arange(72).view(3, 24) < 51, "fc.bias": torch.ones(3, dtype=torch.bool)}
    assert held_fraction(net, prunable(net), frozen) == 51 / 204
    assert held_fraction(net, prunable(net), {}) == 0


def test_a_tied_weight_is_counted_once_where_it_comes_first_and_is_held_by_any_of_its_names():
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    net[1].weight = net[0].weight
    assert list(prunable(net)) == ["0.weight", "2.weight"]
    assert list(prunable(net, ["2.weight", "1.weight", "0.weight"])) == ["2.weight", "1.weight"]
    left, right = torch.arange(16).view(4, 4) < 3, torch.arange(16).view(4, 4) > 10
    assert held_fraction(net, prunable(net), {"1.weight": left}) == 3 / 24
    assert held_fraction(net, prunable(net), {"1.weight": left, "0.weight": right}) == 8 / 24


# --- recurrent layers, and weights that are computed ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "names"),
    [
        (nn.GRU(3, 5), ["weight_ih_l0", "weight_hh_l0"]),
        (
            nn.LSTM(3, 5, num_layers=2, bidirectional=True, proj_size=2),
            [f"weight_{k}_l{n}{d}" for n in (0, 1) for d in ("", "_reverse") for k in ("ih", "hh", "hr")],
        ),
        (nn.RNN(3, 5), ["weight_ih_l0", "weight_hh_l0"]),
        (nn.LSTMCell(3, 5), ["weight_ih", "weight_hh"]),
        (nn.Bilinear(3, 4, 5), ["weight"]),
        (nn.Embedding(3, 4), []),
        (nn.BatchNorm2d(3), []),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_recurrent_and_bilinear_layers_count_and_embeddings_and_normalisation_do_not(layer, names):
    assert list(prunable(layer)) == names
    assert list(prunable(nn.Sequential(layer))) == [f"0.{name}" for name in names]
    assert computed_weights(layer) == {}


def half(layer):
    layer.weight.data[:1] = 0
    return layer


COMPUTED = {
    "weight_norm": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(4, 2)),
    "spectral_norm": lambda: nn.utils.parametrizations.spectral_norm(half(nn.Linear(4, 2))),
    "hook of weight_norm": lambda: torch.nn.utils.weight_norm(nn.Linear(4, 2)),
    "hook of spectral_norm": lambda: torch.nn.utils.spectral_norm(half(nn.Linear(4, 2))),
    "torch's pruning": lambda: prune.l1_unstructured(half(nn.Linear(4, 2)), "weight", 4),
}


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")
@pytest.mark.parametrize("kind", COMPUTED)
def test_weights_that_are_computed_are_told_apart_and_count_by_the_values_that_they_have(kind):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), COMPUTED[kind](), nn.ReLU(), nn.Linear(2, 2))
    state, before = torch.get_rng_state(), {name: t.clone() for name, t in net.state_dict().items()}
    assert list(prunable(net)) == ["3.weight"]
    computed, values = computed_weights(net), computed_values(net)
    assert list(computed) == list(values) == ["1.weight"]
    net.eval()
    assert torch.equal(values["1.weight"], net[1].weight)
    zeros = 0 if "weight_norm" in kind else 4
    assert sparsity(prunable(net), values.values()) == {"sparsity": zeros / 12, "sparsity/3": 0.0}
    assert all(torch.equal(before[name], t) for name, t in net.state_dict().items())  # nothing was iterated
    assert torch.equal(torch.get_rng_state(), state)
    # Held once all is that it is computed from.
    frozen = {
        n: torch.ones_like(p, dtype=torch.bool) for n, p in net[1].named_parameters(prefix="1") if "bias" not in n
    }
    assert held_fraction(net, prunable(net), frozen) == 8 / 12
    frozen.popitem()
    assert held_fraction(net, prunable(net), frozen) == 0


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")
def test_of_a_recurrent_layer_single_weights_may_be_computed():
    lstm = torch.nn.utils.weight_norm(nn.LSTM(3, 5, bidirectional=True), "weight_hh_l0")
    assert list(prunable(lstm)) == ["weight_ih_l0", "weight_ih_l0_reverse", "weight_hh_l0_reverse"]
    (sources,) = computed_weights(lstm).values()
    assert [tuple(p.shape) for p in sources] == [(20, 1), (20, 5)]


def test_without_weights_there_is_nothing_to_count_and_no_error():
    net = nn.BatchNorm2d(1)
    assert prunable(net) == {}
    assert sparsity({}) == {}
    assert held_fraction(net, {}, {"weight": torch.ones(1, dtype=torch.bool)}) == 0
    with pytest.raises(StageError) as error:
        candidates(net, {}, {}, None, ())
    assert str(error.value) == (
        "BatchNorm2d has no convolutional, linear, recurrent or attention layer: nothing to prune"
    )


def test_a_lazy_layer_is_named():
    with pytest.raises(StageError) as error:
        prunable(nn.Sequential(nn.Flatten(), nn.LazyLinear(3)))
    assert str(error.value) == (
        "the layer 1 is lazy: it has no weights before it has seen an image; call the model once on images where it is "
        "made"
    )


# --- candidates and masks ------------------------------------------------------------------------------------------


def test_candidates_are_the_elements_that_are_not_frozen_under_any_name():
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    net[1].weight = net[0].weight
    weights, held = prunable(net), torch.arange(16).view(4, 4) < 3
    found = candidates(net, weights, {"1.weight": held, "2.bias": torch.ones(2, dtype=torch.bool)}, None, ())
    assert list(found) == ["0.weight", "2.weight"]
    assert torch.equal(found["0.weight"], ~held)
    assert bool(found["2.weight"].all())
    assert list(candidates(net, weights, {}, ["2"], ())) == ["2.weight"]
    with pytest.raises(StageError) as error:
        candidates(net, weights, {"0.weight": torch.ones(4, 4, dtype=torch.bool)}, None, ["2"])
    assert str(error.value) == (
        "all weights to choose from are frozen, and what is frozen keeps its mask: unfreeze some first"
    )


def test_a_computed_weight_is_refused_by_name_unless_it_is_left_out():
    net = nn.Sequential(nn.Flatten(), COMPUTED["spectral_norm"](), nn.Linear(2, 2))
    with pytest.raises(StageError) as error:
        candidates(net, prunable(net), {}, None, ())
    assert str(error.value) == (
        "1.weight is computed from other parameters (weight_norm, spectral_norm or another parametrization), so that "
        "it cannot be pruned: remove that where the model is made, for example with "
        "torch.nn.utils.parametrize.remove_parametrizations, or choose other layers with layers or exclude"
    )
    assert list(candidates(net, prunable(net), {}, None, ["1"])) == ["2.weight"]
    assert list(candidates(net, prunable(net), {}, ["2"], ())) == ["2.weight"]


@settings(deadline=None)
@given(
    scores=st.lists(st.integers(-3, 3), min_size=1, max_size=40),
    data=st.data(),
)
def test_exactly_so_many_candidates_with_the_lowest_scores_are_marked_the_first_among_equals(scores, data):
    candidates = data.draw(st.lists(st.booleans(), min_size=len(scores), max_size=len(scores)))
    count = data.draw(st.integers(0, sum(candidates)))
    ranked = sorted((s, i) for i, (s, c) in enumerate(zip(scores, candidates, strict=True)) if c)
    marked = lowest(torch.tensor(scores, dtype=torch.float32), torch.tensor(candidates), count)
    assert marked.nonzero().flatten().tolist() == sorted(i for _, i in ranked[:count])


@pytest.mark.parametrize(
    ("masks", "text"),
    [
        (
            {"fc.weigth": torch.ones(3, 24, dtype=torch.bool)},
            "there is no parameter or buffer 'fc.weigth' to mask or freeze (did you mean 'fc.weight'?)",
        ),
        (
            {"fc.weight": torch.ones(24, 3, dtype=torch.bool)},
            "the mask of fc.weight must be bool of shape (3, 24), not bool of shape (24, 3)",
        ),
        (
            {"fc.weight": torch.ones(3, 24)},
            "the mask of fc.weight must be bool of shape (3, 24), not float32 of shape (3, 24)",
        ),
    ],
)
def test_masks_that_do_not_fit_are_refused(masks, text, make_net):
    with pytest.raises(StageError) as error:
        check_masks(make_net(), masks)
    assert str(error.value) == text


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
