import pytest
import torch

from framework import Trainer, trainable
from framework.testing import check_optimizer, tiny_trial
from framework_sam import SAM


def test_it_keeps_to_what_an_optimizer_promises() -> None:
    check_optimizer(SAM, lr=0.05, weight_decay=0.01)
    check_optimizer(SAM, lr=0.05, nesterov=True, rho=2.0)


def test_a_step_is_the_one_computed_by_hand() -> None:
    weight = torch.tensor([3.0, 4.0], requires_grad=True)
    optimizer = SAM([weight], lr=0.1, momentum=0.5, rho=0.5)
    seen = []

    def closure() -> torch.Tensor:
        seen.append(weight.tolist())
        optimizer.zero_grad()
        loss = weight.square().sum() / 2
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 12.5
    # The gradient is the weight itself, of norm 5: half a unit along it is a tenth of it.
    assert seen[0] == [3.0, 4.0]
    assert seen[1] == pytest.approx([3.3, 4.4])
    assert weight.tolist() == pytest.approx([3 - 0.33, 4 - 0.44])
    optimizer.step(closure)
    # A tenth of the momentum of before, halved, and of 1.1 times the distance to go.
    factor = 0.89 * 5
    expected = 1 - 0.11 - 0.055 - 0.1 * 0.89 * (factor + 0.5) / factor
    assert weight.tolist() == pytest.approx([3 * expected, 4 * expected])


def test_neither_pass_sees_a_masked_or_frozen_weight_moved() -> None:
    trial = tiny_trial(prepared=True)
    start = {name: parameter.detach().clone() for name, parameter in trial.model.named_parameters()}
    passes = []

    def loss(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        passes.append({name: parameter.detach().clone() for name, parameter in trial.model.named_parameters()})
        return torch.nn.functional.cross_entropy(outputs, labels)

    optimizer = SAM(trainable(trial.model, trial.frozen), rho=1.0)
    trainer = Trainer(trial.model, loss, optimizer, masks=trial.masks, frozen=trial.frozen)
    images = trial.data.train.images.float() / 255
    for _ in range(2):
        trainer.step(images, trial.data.train.labels)
    assert len(passes) == 4
    for seen in passes:
        for name, mask in trial.masks.items():
            assert not seen[name][~mask].any()
        for name in trial.frozen.keys() & seen.keys():
            assert torch.equal(seen[name][trial.frozen[name]], start[name][trial.frozen[name]])
    # The second pass of a step is elsewhere than the first.
    assert any(not torch.equal(passes[0][name], passes[1][name]) for name in start)
