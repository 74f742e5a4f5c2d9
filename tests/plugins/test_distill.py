from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from framework.testing import run_stage, tiny_trial
from framework_plugins.stages.distill import Distill


class Bright(nn.Module):
    """Knows a class by the brightness of its images, and tells it in logits of ±4."""

    def forward(self, images: Tensor) -> Tensor:
        brightness = images.mean((1, 2, 3)).add(0.75).mul(2).long().clamp(0, 2)
        return 4 * (2 * nn.functional.one_hot(brightness, 3).float() - 1)


def test_what_is_minimised_is_what_is_computed_by_hand() -> None:
    trial, images, labels = tiny_trial(), torch.rand(2, 1, 8, 8), torch.tensor([0, 1])
    trial.make_model = lambda model: Bright()
    outputs, answers = torch.tensor([[0.0, 2.0, 1.0], [1.0, 1.0, 0.0]]), Bright()(images)
    ours, theirs = (outputs / 2).softmax(1), (answers / 2).softmax(1)
    divergence = (theirs * (theirs / ours).log()).sum(1).mean()
    expected = 0.75 * 4 * divergence + 0.25 * cross_entropy(outputs, labels)
    stage = Distill(teacher="bright", epochs=1, temperature=2.0, alpha=0.75)
    loss, given = stage.objective(trial)(lambda inputs: outputs, images, labels)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert given is outputs
    alike = Distill(teacher="bright", epochs=1, alpha=1.0).objective(trial)(Bright(), images, labels)[0]
    assert alike.item() == pytest.approx(0, abs=1e-6)


def test_the_network_learns_to_answer_as_the_teacher_does() -> None:
    trial = tiny_trial()
    trial.make_model = lambda model: Bright()
    trial.data.train.labels.zero_()  # nothing can be learnt from them
    run_stage("distill", trial, teacher="convnet", epochs=12, batch_size=12, alpha=1.0, optimizer={"lr": 0.1})
    images = trial.data.test.images.float() / 255
    images = (images - trial.data.mean.view(1, -1, 1, 1)) / trial.data.std.view(1, -1, 1, 1)
    with torch.no_grad():
        agree = trial.model.eval()(images).argmax(1) == Bright()(images).argmax(1)
    assert agree.float().mean() > 0.8
    assert trial.epoch == 12


def test_a_teacher_has_the_weights_that_it_names(tmp_path: Path) -> None:
    path, trial, taught = tmp_path / "teacher.safetensors", tiny_trial(), []
    teacher = {"name": "mlp", "widths": [4]}
    trial_make = trial.make_model
    trial.make_model = lambda model: taught.append(trial_make(model)) or taught[-1]
    run_stage("distill", trial, teacher=teacher, steps=1)
    torch.nn.init.ones_(next(taught[0].parameters()))
    save_file(taught[0].state_dict(), path)
    run_stage("distill", trial, teacher={**teacher, "weights": str(path)}, steps=1)
    for theirs, saved in zip(taught[1].parameters(), taught[0].parameters(), strict=True):
        assert torch.equal(theirs, saved)
