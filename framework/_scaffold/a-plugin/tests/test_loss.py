import math

import pytest
import torch
from framework.testing import check_loss

from a_plugin.loss import TemperedCrossEntropy


def test_it_keeps_to_what_a_loss_promises() -> None:
    check_loss(TemperedCrossEntropy, temperature=2.0, label_smoothing=0.1)


def test_its_value_is_the_one_computed_by_hand() -> None:
    # At temperature 2 the probabilities are 1/4 and 3/4.
    outputs, labels = torch.tensor([[0.0, 2 * math.log(3)]]), torch.tensor([1])
    assert TemperedCrossEntropy(temperature=2.0)(outputs, labels).item() == pytest.approx(math.log(4 / 3))
    smoothed = TemperedCrossEntropy(temperature=2.0, label_smoothing=0.2)(outputs, labels).item()
    assert smoothed == pytest.approx(0.9 * math.log(4 / 3) + 0.1 * math.log(4))
