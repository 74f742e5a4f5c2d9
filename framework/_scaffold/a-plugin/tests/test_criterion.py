import torch
from framework.testing import check_criterion

from a_plugin.criterion import relative_magnitude


def test_it_keeps_to_what_a_criterion_promises() -> None:
    check_criterion(relative_magnitude)


def test_its_scores_are_those_computed_by_hand() -> None:
    weight = torch.tensor([[1.0, -2.0], [3.0, 0.0]])  # 1.5 on average
    assert torch.allclose(relative_magnitude(weight), torch.tensor([[2 / 3, 4 / 3], [2.0, 0.0]]))
    # A layer that is a thousand times smaller gets the same scores.
    assert torch.allclose(relative_magnitude(weight / 1000), relative_magnitude(weight))


def test_a_layer_of_zeros_has_scores_too() -> None:
    assert torch.equal(relative_magnitude(torch.zeros(2, 2)), torch.zeros(2, 2))
