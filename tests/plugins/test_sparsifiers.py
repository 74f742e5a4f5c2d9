import math

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from framework import Sparsifier, StageError, Step
from framework._component import build
from framework._registry import installed
from framework._sparsifier import checked_masks
from framework.testing import run_stage, tiny_trial
from framework_plugins.sparsifiers import SET, Gradual, RigL


def step(number, steps=100, masks=None, seed=0, **weights):
    parameters = {name: nn.Parameter(torch.tensor(value)) for name, value in weights.items()}
    return Step(number, steps, parameters, {n: torch.tensor(m) for n, m in (masks or {}).items()}, seed)


def closed(masks):
    return sum(int((~mask).sum()) for mask in masks.values())


# --- gradual ------------------------------------------------------------------------------------------------------


def test_the_cubic_is_followed_exactly_from_its_first_step_to_its_last():
    weights = {"a": torch.arange(1.0, 501.0), "b": torch.arange(501.0, 1001.0)}
    parameters, masks = {name: nn.Parameter(w) for name, w in weights.items()}, {}
    sparsifier, found = Gradual(amount=0.9, initial=0.1, begin=0.1, end=0.5, every=10, distribution=component()), {}
    for number in range(200):
        changed = sparsifier.update(Step(number, 200, parameters, masks, 0))
        if changed is not None:
            masks, found[number] = changed, closed(changed)
    # t0 = 20 and t1 = 100, both included; of 1000 weights, by hand.
    expected = {t: round(1000 * (0.9 - 0.8 * (1 - (t - 20) / 80) ** 3)) for t in range(20, 101, 10)}
    assert found == expected
    assert found[20] == 100
    assert found[100] == 900
    assert not masks["a"].any()  # the smallest have gone
    assert masks["b"].tolist() == [False] * 400 + [True] * 100


def test_the_last_step_is_one_of_change_whatever_the_interval():
    sparsifier = Gradual(amount=0.5, begin=0.0, end=1.0, every=7, distribution=component())
    weights = {"a": list(range(1, 11))}
    numbers = [n for n in range(20) if sparsifier.update(step(n, 20, a=[float(x) for x in weights["a"]])) is not None]
    assert numbers == [0, 7, 14, 19]
    assert closed(sparsifier.update(step(19, 20, a=[float(x) for x in weights["a"]]))) == 5


@pytest.mark.parametrize(("begin", "end", "steps"), [(0.97, 1.0, 12), (0.5, 0.6, 3), (0.0, 0.75, 1)])
def test_it_ends_at_its_amount_however_few_steps_there_are(begin, end, steps):
    sparsifier = Gradual(amount=0.5, begin=begin, end=end, distribution=component())
    found = [sparsifier.update(step(n, steps, a=[1.0, 2.0, 3.0, 4.0])) for n in range(steps)]
    assert [closed(masks) for masks in found if masks is not None][-1:] == [2]


@pytest.mark.parametrize("parameters", [{"begin": 0.8}, {"begin": 0.5, "end": 0.5}, {"initial": 0.6}])
def test_what_would_never_get_to_its_amount_is_refused_when_a_spec_is_read(parameters):
    with pytest.raises(ValidationError, match="begin must be less than end, and initial at most amount"):
        build(installed(), "sparsifier", {"name": "gradual", "amount": 0.5, **parameters})


def test_what_is_pruned_already_stays_so_and_counts():
    sparsifier = Gradual(amount=0.5, end=0.5, every=1, distribution=component())
    masks = sparsifier.update(step(0, masks={"a": [True, False, True, False]}, a=[1.0, 0.0, 3.0, 0.0]))
    assert masks["a"].tolist() == [True, False, True, False]


def component(name="global"):
    return build(installed(), "distribution", name)


# --- SET and RigL -------------------------------------------------------------------------------------------------


def test_rigl_drops_the_smallest_and_grows_where_the_gradient_is_largest():
    # At t = 10 of T = 75 the share is 0.5 / 2 (1 + cos(10 π / 75)) = 0.4785…; of 4 remaining weights, 2 go.
    at = step(10, masks={"a": [True, True, True, True, False, False, False]}, a=[4.0, -0.1, 3.0, 0.2, 0.0, 0.0, 0.0])
    at._parameters["a"].grad = torch.tensor([9.0, 5.0, 9.0, 0.1, 1.0, -7.0, 2.0])
    masks = RigL(fraction=0.5, every=10).update(at)
    # -0.1 and 0.2 go. The largest gradients among what is not kept are those of 5 and 1: the one that went comes back.
    assert masks["a"].tolist() == [True, True, True, False, False, True, False]
    assert at.skipped


@pytest.mark.parametrize("kind", [SET, RigL])
def test_changes_take_place_at_every_interval_but_the_first_step_until_three_quarters(kind):
    sparsifier, numbers = kind(every=10), []
    for number in range(100):
        at = step(number, masks={"a": [True] * 5 + [False] * 5}, a=[1.0] * 5 + [0.0] * 5)
        masks = sparsifier.update(at)
        assert at.skipped == (masks is not None)
        if masks is not None:
            numbers.append(number)
            assert int(masks["a"].sum()) == 5
    assert numbers == [10, 20, 30, 40, 50, 60, 70]


def test_the_share_that_goes_falls_with_the_cosine():
    sparsifier = RigL(every=1)
    count, gone = 1000, {}
    for number in (1, 25, 50, 74):
        at = step(number, masks={"a": [True] * count + [False] * count}, a=[1.0] * count + [0.0] * count)
        at._parameters["a"].grad = torch.cat([torch.zeros(count), torch.ones(count)])
        gone[number] = int((~sparsifier.update(at)["a"][:count]).sum())
    assert gone == {t: round(1000 * 0.15 * (1 + math.cos(math.pi * t / 75))) for t in gone}


def test_set_draws_what_grows_by_the_seed_and_the_step_alone():
    def grown(number, seed):
        masks = {"a": [True] * 50 + [False] * 50}
        return SET(every=1).update(step(number, masks=masks, seed=seed, a=[1.0] * 50 + [0.0] * 50))["a"].tolist()

    assert grown(1, 0) == grown(1, 0)
    assert grown(1, 0) != grown(1, 1)
    assert grown(1, 0) != grown(2, 0)


# --- in training --------------------------------------------------------------------------------------------------


def prepared():
    trial = tiny_trial()
    return run_stage("prune", trial, amount=0.8, criterion="random", distribution="erk")


@pytest.mark.parametrize("name", ["set", "rigl"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_training_keeps_the_number_of_weights_and_what_is_masked_is_0(name, optimizer):
    trial = prepared()
    before = {layer: mask.clone() for layer, mask in trial.masks.items()}
    run_stage("train", trial, epochs=4, batch_size=12, optimizer=optimizer, sparsifier={"name": name, "every": 2})
    assert {n: int(m.sum()) for n, m in trial.masks.items()} == {n: int(m.sum()) for n, m in before.items()}
    assert any(not torch.equal(trial.masks[layer], mask) for layer, mask in before.items())
    for layer, mask in trial.masks.items():
        assert bool((trial.weights()[layer][~mask] == 0).all())
        assert bool((trial.before_pruning[layer][mask] == 0).all())


def test_the_optimizer_leaves_out_a_step_whose_place_a_change_takes():
    class Still(Sparsifier):
        def update(self, step):
            step.skip()

    trial = tiny_trial()
    before = {name: p.detach().clone() for name, p in trial.model.named_parameters()}
    train_with(trial, Still())
    assert all(torch.equal(before[name], p) for name, p in trial.model.named_parameters())


def train_with(trial, sparsifier, steps=3):
    from framework import Trainer, fit, trainable

    optimizer = torch.optim.SGD(trainable(trial.model, trial.frozen), 0.1, momentum=0.9)
    trainer = Trainer(trial.model, trial.loss, optimizer, masks=trial.masks, frozen=trial.frozen)
    fit(trial, trainer, trial.batches("train", 12), steps=steps, sparsifier=sparsifier)
    return trainer


def test_gradual_ends_at_exactly_the_amount():
    trial = tiny_trial()
    run_stage("train", trial, steps=12, batch_size=12, sparsifier={"name": "gradual", "amount": 0.77, "every": 3})
    weights = trial.weights().values()
    assert sum(int((w == 0).sum()) for w in weights) == round(0.77 * sum(w.numel() for w in weights))


def test_what_is_frozen_even_in_part_is_neither_pruned_nor_grown():
    trial = tiny_trial(prepared=True)
    before = {name: mask.clone() for name, mask in trial.masks.items()}
    run_stage("train", trial, steps=9, batch_size=12, sparsifier={"name": "gradual", "amount": 0.9, "every": 2})
    held = [name for name in before if name in trial.frozen]
    assert held == ["conv1.weight", "conv2.weight"]
    assert all(torch.equal(before[name], trial.masks[name]) for name in held)
    assert int((~trial.masks["fc.weight"]).sum()) == round(0.9 * 96)


@pytest.mark.parametrize("name", ["gradual", "set", "rigl"])
def test_where_there_is_nothing_to_change_a_sparsifier_is_refused(name):
    parameters = {"amount": 0.5} if name == "gradual" else {}
    for trial in (tiny_trial(model=nn.Sequential(nn.Flatten(), nn.LayerNorm(64))), tiny_trial()):
        trial.frozen |= {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in trial.weights().items()}
        with pytest.raises(StageError, match=r"^there is nothing for a sparsifier to change: the network has no"):
            run_stage("train", trial, steps=2, sparsifier={"name": name, **parameters})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"b": torch.ones(2, dtype=torch.bool)}, "for weights that step.weights has; for b it gave"),
        ({"a": torch.ones(3, dtype=torch.bool)}, "a bool mask of shape (2,)"),
        ({"a": torch.ones(2)}, "for a it gave torch.float32 of shape (2,)"),
    ],
)
def test_what_is_no_mask_is_refused(given, words):
    with pytest.raises(StageError) as error:
        checked_masks(given, step(0, a=[1.0, 2.0]), "Odd")
    assert words in str(error.value)
    assert str(error.value).startswith("sparsifier 'Odd' must give a bool mask")
