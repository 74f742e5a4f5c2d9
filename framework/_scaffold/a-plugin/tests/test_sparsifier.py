import torch
from framework import Step
from framework.testing import check_sparsifier
from torch import nn

from a_plugin.sparsifier import Threshold


def test_it_keeps_to_what_a_sparsifier_promises() -> None:
    check_sparsifier(Threshold, threshold=0.1, every=2)


def test_its_masks_are_those_computed_by_hand() -> None:
    weights = {"fc.weight": nn.Parameter(torch.tensor([[0.5, -0.01], [0.02, -0.3]]))}
    sparsifier = Threshold(threshold=0.1, every=5)
    masks = sparsifier.update(Step(10, 100, weights, {}, seed=0))
    assert masks is not None
    assert masks["fc.weight"].tolist() == [[True, False], [False, True]]
    assert sparsifier.update(Step(11, 100, weights, {}, seed=0)) is None
