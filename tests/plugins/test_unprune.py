import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from framework import StageError

TOTAL = 36 + 96 + 72


@pytest.fixture(scope="session")
def pruned_trial(make_trial, stage):
    """A trial of which 40 % of the weights were pruned, at a known start."""

    def make(**fields):
        trial = make_trial(**fields)
        trial.start = {name: w.detach().clone() for name, w in trial.weights().items()}
        stage("prune", amount=0.4).run(trial)
        trial.pruned = {name: ~m for name, m in trial.masks.items()}
        return trial

    return make


def masked(trial):
    return sum(int((~m).sum()) for m in trial.masks.values())


@settings(deadline=None, max_examples=40)
@given(fraction=st.floats(0, 1, exclude_min=True), seed=st.integers(0, 9))
def test_exactly_the_rounded_fraction_of_the_pruned_weights_regrows(pruned_trial, stage, fraction, seed):
    trial = pruned_trial(seed=seed)
    count = masked(trial)
    assert count == round(0.4 * TOTAL)
    stage("unprune", fraction=fraction).run(trial)
    assert masked(trial) == count - round(fraction * count)
    for name, mask in trial.masks.items():
        assert not (~mask & ~trial.pruned[name]).any()  # nothing was pruned instead


def test_all_masks_are_dropped_by_default_and_the_weights_start_at_zero(pruned_trial, stage):
    trial = pruned_trial()
    before = {name: w.detach().clone() for name, w in trial.weights().items()}
    stage("unprune").run(trial)
    assert trial.masks == {}
    assert trial.before_pruning == {}
    assert all(torch.equal(before[name], w) for name, w in trial.weights().items())


def test_the_part_that_stays_masked_keeps_its_mask_and_its_value_before_pruning(pruned_trial, stage):
    trial = pruned_trial()
    stage("unprune", fraction=0.5).run(trial)
    for name, mask in trial.masks.items():
        assert torch.equal(trial.before_pruning[name][~mask], trial.start[name][~mask])
    stage("unprune", start="before").run(trial)
    for name, weight in trial.weights().items():
        back = trial.pruned[name] & (weight != 0)
        assert torch.equal(weight[back], trial.start[name][back])
    assert sum(int((w == 0).sum()) for w in trial.weights().values()) == round(0.5 * round(0.4 * TOTAL))


def test_before_gives_every_weight_the_value_that_it_was_pruned_from(pruned_trial, stage):
    trial = pruned_trial()
    stage("unprune", start="before").run(trial)
    assert all(torch.equal(trial.start[name], w) for name, w in trial.weights().items())


def test_initial_gives_the_value_of_the_trials_initial_state_to_regrown_weights_only(pruned_trial, make_net, stage):
    trial = pruned_trial(initial_state=lambda: make_net(seed=7).state_dict())
    stage("unprune", start="initial").run(trial)
    other = make_net(seed=7).state_dict()
    for name, weight in trial.weights().items():
        assert torch.equal(weight, torch.where(trial.pruned[name], other[name], trial.start[name]))


def test_random_draws_within_kaimings_bound_by_the_seed_and_leaves_the_others(pruned_trial, stage):
    def drawn(seed, noise=0):
        torch.manual_seed(noise)
        trial = pruned_trial(seed=seed)
        stage("unprune", start="random").run(trial)
        for name, weight in trial.weights().items():
            assert torch.equal(weight[~trial.pruned[name]], trial.start[name][~trial.pruned[name]])
            regrown = weight[trial.pruned[name]]
            bound = (weight.numel() / weight.shape[0]) ** -0.5
            assert bool((regrown.abs() <= bound).all())
            assert bool((regrown.abs() > bound / 2).any())
            assert bool((regrown != 0).all())
        return torch.cat([w.detach().view(-1) for w in trial.weights().values()])

    assert torch.equal(drawn(1), drawn(1, noise=5))
    assert not torch.equal(drawn(1), drawn(2))


def test_which_weights_regrow_is_decided_by_the_seed(pruned_trial, stage):
    def regrown(seed):
        trial = pruned_trial(seed=seed)
        stage("unprune", fraction=0.5).run(trial)
        return torch.cat([m.view(-1) for m in trial.masks.values()])

    assert torch.equal(regrown(1), regrown(1))
    assert not torch.equal(regrown(1), regrown(2))


def test_layers_choose_what_regrows(pruned_trial, stage):
    trial = pruned_trial()
    stage("unprune", layers=["conv*"]).run(trial)
    assert set(trial.masks) == {"fc.weight"}
    assert torch.equal(~trial.masks["fc.weight"], trial.pruned["fc.weight"])


@pytest.mark.parametrize("prepare", [{}, {"amount": 0.5, "layers": ["conv1"]}, {"amount": 0}])
def test_nothing_to_unprune_is_an_error(prepare, make_trial, stage):
    trial = make_trial()
    if prepare:
        stage("prune", **prepare).run(trial)
    with pytest.raises(StageError) as error:
        stage("unprune", layers=["fc"]).run(trial)
    assert str(error.value) == "there is nothing to unprune: no weight is masked here that is not frozen (prune first)"


def test_a_selector_that_matches_nothing_is_an_error(pruned_trial, stage):
    with pytest.raises(StageError, match=r"^no layer matches 'conv3' \(did you mean 'conv2'\?\)$"):
        stage("unprune", layers=["conv3"]).run(pruned_trial())


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
def test_regrown_weights_learn_again_and_those_still_masked_do_not(optimizer, pruned_trial, stage):
    trial = pruned_trial()
    train = stage("train", epochs=2, batch_size=8, optimizer={"name": optimizer, "lr": 0.05})
    train.run(trial)
    assert sum(int((w == 0).sum()) for w in trial.weights().values()) == masked(trial) == round(0.4 * TOTAL)
    stage("unprune", fraction=0.5).run(trial)
    train.run(trial)
    for name, weight in trial.weights().items():
        still = ~trial.masks[name] if name in trial.masks else torch.zeros_like(weight, dtype=torch.bool)
        assert bool((weight[still] == 0).all())
        regrown = trial.pruned[name] & ~still
        assert bool((weight[regrown] != 0).any())


def test_pruning_again_after_unpruning_keeps_the_new_values_as_those_before(pruned_trial, stage):
    trial = pruned_trial()
    stage("unprune", start="before").run(trial)
    for weight in trial.weights().values():
        weight.data.add_(3)
    stage("prune", amount=0.5).run(trial)
    for name, mask in trial.masks.items():
        assert torch.equal(trial.before_pruning[name][~mask], trial.start[name][~mask] + 3)


def test_what_is_frozen_stays_pruned_and_is_not_counted(pruned_trial, stage):
    trial = pruned_trial()
    held = trial.frozen["fc.weight"] = torch.arange(72).view(3, 24) < 40
    count = masked(trial) - int((~trial.masks["fc.weight"] & held).sum())
    stage("unprune", fraction=0.5, start="before").run(trial)
    assert masked(trial) == masked(pruned_trial()) - round(0.5 * count)
    assert torch.equal(trial.masks["fc.weight"][held], ~trial.pruned["fc.weight"][held])
    stage("unprune").run(trial)
    assert set(trial.masks) == {"fc.weight"}
    assert torch.equal(~trial.masks["fc.weight"], trial.pruned["fc.weight"] & held)
    with pytest.raises(StageError, match="there is nothing to unprune: no weight is masked here that is not frozen"):
        stage("unprune").run(trial)
