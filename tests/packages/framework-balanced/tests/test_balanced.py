import pytest
import torch
from torch.nn.functional import cross_entropy

from framework.testing import check_loss
from framework_balanced import Balanced

OUTPUTS = torch.tensor([[2.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
LABELS = torch.tensor([0, 0, 0, 1])


def test_it_keeps_to_what_a_loss_promises() -> None:
    check_loss(Balanced, momentum=0.5)


def test_its_value_is_the_one_computed_by_hand() -> None:
    loss = Balanced(momentum=0.5)
    value = loss(OUTPUTS, LABELS)
    # Half of one half each, half of three quarters and one quarter.
    assert loss.frequencies.tolist() == pytest.approx([0.625, 0.375])
    each = cross_entropy(OUTPUTS, LABELS, reduction="none")
    weights = torch.tensor([0.8, 0.8, 0.8, 4 / 3])
    assert value.item() == pytest.approx(((weights * each).sum() / weights.sum()).item())


def test_it_learns_from_training_only() -> None:
    loss = Balanced(momentum=0.5)
    loss.eval()
    assert torch.equal(loss(OUTPUTS, LABELS), cross_entropy(OUTPUTS, LABELS))  # it knows of no class yet
    loss.train()(OUTPUTS, LABELS)
    known = loss.frequencies.clone()
    loss.eval()(OUTPUTS, LABELS)
    assert torch.equal(loss.frequencies, known)


def test_a_class_that_has_never_come_does_not_outweigh_all() -> None:
    loss = Balanced(momentum=1.0)
    loss(OUTPUTS, torch.zeros(4, dtype=torch.int64))
    assert loss.frequencies.tolist() == [1, 0]
    assert loss.eval()(OUTPUTS, LABELS).isfinite()


def test_what_it_has_learnt_can_be_kept() -> None:
    loss, other = Balanced(), Balanced()
    loss(OUTPUTS, LABELS)
    other.load_state_dict(loss.state_dict())
    assert torch.equal(other.eval()(OUTPUTS, LABELS), loss.eval()(OUTPUTS, LABELS))
    loss.load_state_dict(Balanced().state_dict())
    assert not len(loss.frequencies)
