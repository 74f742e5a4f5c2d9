import pytest
import torch
from framework.testing import check_optimizer

from a_plugin.optimizer import Lion


def test_it_keeps_to_what_an_optimizer_promises() -> None:
    check_optimizer(Lion, lr=0.001, weight_decay=0.1)


def test_its_steps_are_those_computed_by_hand() -> None:
    weight = torch.tensor([1.0, -1.0], requires_grad=True)
    optimizer = Lion([weight], lr=0.1, betas=(0.5, 0.5), weight_decay=1.0)
    weight.grad = torch.tensor([4.0, -4.0])
    optimizer.step()
    # Shrunk by a tenth, then moved by a tenth against the gradient; the running mean is half of it.
    assert weight.tolist() == pytest.approx([0.8, -0.8])
    weight.grad = torch.tensor([-1.0, 1.0])
    optimizer.step()
    # The mean of 2 still outweighs the gradient of -1.
    assert weight.tolist() == pytest.approx([0.62, -0.62])
