import torch

from framework._registry import installed
from framework_plugins.criteria import lamp, magnitude, random


def test_magnitude_is_the_absolute_value():
    weight = torch.tensor([[-3.0, 0.5], [0.0, 2.0]])
    assert magnitude(weight).tolist() == [[3.0, 0.5], [0.0, 2.0]]


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
    assert installed().get("criterion", "magnitude").inputs == ("weight",)
    assert installed().get("criterion", "random").inputs == ("weight", "generator")


def test_lamp_divides_by_the_squares_of_what_is_not_smaller_by_hand():
    # In order of size: 1, -1 (the first of two equal ones counts as smaller), 2, -3; their squares are 1, 1, 4, 9.
    weight = torch.tensor([[2.0, 1.0], [-1.0, -3.0]])
    assert lamp(weight).tolist() == [[4 / 13, 1 / 15], [1 / 14, 1.0]]


def test_lamp_of_zeros_is_0_also_where_nothing_else_is_left():
    assert lamp(torch.tensor([0.0, 2.0, 0.0])).tolist() == [0.0, 1.0, 0.0]
    assert lamp(torch.zeros(2, 2)).tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_lamp_leaves_each_layer_its_largest_weight_as_long_as_there_are_others(make_trial, stage):
    trial = make_trial()
    trial.model.conv1.weight.data.mul_(1e-6)  # magnitude would empty it first
    stage("prune", amount=(36 + 96 + 72 - 3) / (36 + 96 + 72), criterion="lamp").run(trial)
    assert [int((weight != 0).sum()) for weight in trial.weights().values()] == [1, 1, 1]
