import pytest
import torch

from framework.testing import check_criterion, run_stage, tiny_trial
from framework_saliency import saliency

WEIGHT = torch.tensor([[1.0, -2.0], [3.0, 0.0]])
GRADIENT = torch.tensor([[2.0, 0.5], [0.0, 9.0]])


def test_it_keeps_to_what_a_criterion_promises() -> None:
    check_criterion(saliency)
    check_criterion(saliency, by_layer=True)


def test_its_scores_are_those_computed_by_hand() -> None:
    assert torch.equal(saliency(WEIGHT, GRADIENT), torch.tensor([[2.0, 1.0], [0.0, 0.0]]))
    assert torch.equal(saliency(WEIGHT, GRADIENT, by_layer=True), torch.tensor([[2.0, 1.0], [0.0, 0.0]]) / 3)
    assert torch.equal(saliency(WEIGHT, 0 * GRADIENT, by_layer=True), torch.zeros(2, 2))


@pytest.mark.parametrize(("criterion", "kept"), [("saliency", False), ("magnitude", True)])
def test_weights_that_nothing_depends_on_go_however_large(criterion: str, kept: bool) -> None:
    trial = tiny_trial()
    trial.model.norm2.weight.data[0] = trial.model.norm2.bias.data[0] = 0.0  # a filter that is off
    behind = trial.weights()["fc.weight"].data.view(3, 8, 4)[:, 0]
    behind.fill_(10.0)
    run_stage("prune", trial, amount=0.5, layers=["fc"], criterion=criterion)
    assert bool((behind == 10).all() if kept else (behind == 0).all())
