"""N:M patterns: of m weights in a row, n stay."""

import logging

import pytest
import torch
from torch import nn

from framework import StageError

PATTERN = {"n": 2, "m": 4}


def linear(rows):
    layer = nn.Linear(len(rows[0]), len(rows))
    layer.weight.data = torch.tensor(rows)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, len(rows[0])), layer)


def test_of_four_inputs_in_a_row_the_two_largest_stay_and_of_equal_ones_the_first_go(make_trial, stage):
    trial = make_trial(
        linear(
            [
                [0.1, -0.4, 0.3, 0.2, 4.0, 3.0, -2.0, 1.0],
                [0.5, 0.5, 0.5, 0.5, 0.0, 0.0, 0.0, -7.0],
                [-3.0, 1.0, -1.0, 2.0, 0.2, -0.1, 0.1, 0.1],
            ]
        )
    )
    stage("prune", granularity=PATTERN, layers=["2"]).run(trial)
    assert trial.masks["2.weight"].int().tolist() == [
        [0, 1, 1, 0, 1, 1, 0, 0],
        [0, 0, 1, 1, 0, 0, 1, 1],
        [1, 0, 0, 1, 1, 0, 0, 1],
    ]
    assert set(trial.masks) == {"2.weight"}


def test_a_convolution_is_grouped_along_its_inputs_at_each_place_of_the_kernel(make_trial, stage):
    trial = make_trial(nn.Sequential(nn.Conv2d(1, 4, 1), nn.Conv2d(4, 1, (1, 2)), nn.Flatten(), nn.LazyLinear(3)))
    trial.model(torch.zeros(2, 1, 8, 8))
    weight = trial.model[1].weight.detach()  # one filter of 4 inputs at 2 places
    weight[0, :, 0, 0] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    weight[0, :, 0, 1] = torch.tensor([8.0, -7.0, 6.0, 5.0])
    stage("prune", granularity=PATTERN, layers=["1"]).run(trial)
    assert trial.masks["1.weight"][0, :, 0].int().tolist() == [[0, 1], [0, 1], [1, 0], [1, 0]]


def test_a_transposed_convolution_has_its_inputs_first(make_trial, stage):
    trial = make_trial(nn.Sequential(nn.Conv2d(1, 2, 1), nn.ConvTranspose2d(2, 3, 1), nn.Flatten(), nn.Linear(192, 3)))
    trial.model[1].weight.data = torch.tensor([[1.0, 5.0, -2.0], [3.0, -4.0, 2.0]]).view(2, 3, 1, 1)
    stage("prune", granularity={"n": 1, "m": 2}, layers=["1"]).run(trial)
    assert trial.masks["1.weight"].view(2, 3).int().tolist() == [[0, 1, 0], [1, 0, 1]]


def test_what_is_masked_already_goes_first_and_stays_masked(make_trial, stage):
    trial = make_trial(linear([[4.0, 3.0, 2.0, 1.0], [4.0, 3.0, 2.0, 1.0]]))
    trial.set_masks({"2.weight": torch.tensor([[False, True, True, True], [False, False, False, True]])})
    stage("prune", granularity=PATTERN, layers=["2"]).run(trial)
    assert trial.masks["2.weight"].int().tolist() == [[0, 1, 1, 0], [0, 0, 0, 1]]


def test_a_note_names_the_layers_that_stay_dense(make_trial, stage, caplog):
    trial = make_trial()
    trial.frozen["fc.weight"] = torch.arange(72).view(3, 24) < 5
    with caplog.at_level(logging.WARNING, "framework"):
        stage("prune", granularity=PATTERN, criterion="snip").run(trial)
    assert caplog.messages == [
        "these layers stay as they are, without 2 of 4: conv1 (1 inputs, no multiple of 4); fc (frozen)"
    ]
    assert set(trial.masks) == {"conv2.weight"}
    assert bool((trial.masks["conv2.weight"].sum(1) == 2).all())  # of four inputs, for each filter at each place
    with pytest.raises(StageError, match=r"^no layer can have 2 of 4: conv1 \(1 inputs, no multiple of 4\)$"):
        stage("prune", granularity=PATTERN, layers=["conv1"]).run(trial)


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"granularity": PATTERN, "amount": 0.5}, "2 of 4 says what each layer loses: leave out amount"),
        ({"granularity": PATTERN, "distribution": "erk"}, "2 of 4 says what each layer loses: leave out amount"),
        ({"granularity": {"n": 4, "m": 4}}, "n must be less than m, not"),
        ({"granularity": "filter", "amount": 0.5}, "must be 'weights' or 'filters' or a mapping of n, m, not 'filter'"),
        ({}, "give amount, the fraction that goes"),
    ],
)
def test_what_does_not_go_together(parameters, text, stage):
    with pytest.raises(ValueError, match=text):
        stage("prune", **parameters)
