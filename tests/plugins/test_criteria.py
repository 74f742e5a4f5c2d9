import torch

from framework._registry import installed
from framework_plugins.criteria import l1, random


def test_l1_scores_by_magnitude():
    weight = torch.tensor([[-3.0, 0.5], [0.0, 2.0]])
    assert l1(weight).tolist() == [[3.0, 0.5], [0.0, 2.0]]


def test_random_draws_the_same_scores_from_the_same_seed_and_others_from_another():
    weight = torch.ones(4, 3, 2)
    scores = [random(weight, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert scores[0].shape == weight.shape
    assert torch.equal(scores[0], scores[1])
    assert not torch.equal(scores[0], scores[2])


def test_random_goes_on_drawing_for_the_next_weight():
    generator = torch.Generator().manual_seed(0)
    assert not torch.equal(random(torch.ones(9), generator), random(torch.ones(9), generator))


def test_criteria_ask_only_for_the_inputs_that_they_use():
    assert installed().get("criterion", "l1").inputs == ("weight",)
    assert installed().get("criterion", "random").inputs == ("weight", "generator")
