import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import framework_distill
from framework import StageError
from framework.testing import check_stage, run_stage, tiny_trial
from framework_distill import Distill


class Teacher(nn.Module):
    """Knows by the brightness of an image, and tells in logits of ± ``sure``."""

    def __init__(self, classes: int = 3, sure: float = 4.0) -> None:
        super().__init__()
        self.classes, self.sure = classes, sure

    def forward(self, images: Tensor) -> Tensor:
        brightness = images.mean((1, 2, 3)).add(0.75).mul(self.classes / 1.5).long().clamp(0, self.classes - 1)
        return self.sure * (2 * nn.functional.one_hot(brightness, self.classes).float() - 1)


@pytest.fixture(autouse=True)
def teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    teachers = {"runs:/1/model": Teacher(), "runs:/2/model": Teacher(classes=5)}
    monkeypatch.setattr(framework_distill, "load_model", teachers.__getitem__)


def test_it_keeps_to_what_a_stage_promises() -> None:
    check_stage(Distill, teacher="runs:/1/model", epochs=3, batch_size=16, optimizer={"name": "sgd", "momentum": 0.9})


def test_what_is_minimised_is_what_is_computed_by_hand() -> None:
    trial, images, labels = tiny_trial(), torch.rand(2, 1, 8, 8), torch.tensor([0, 1])
    outputs, answers = torch.tensor([[0.0, 2.0, 1.0], [1.0, 1.0, 0.0]]), Teacher()(images)
    ours, theirs = (outputs / 2).softmax(1), (answers / 2).softmax(1)
    divergence = (theirs * (theirs / ours).log()).sum(1).mean()
    expected = 0.75 * 4 * divergence + 0.25 * cross_entropy(outputs, labels)
    stage = Distill(teacher="runs:/1/model", epochs=1, temperature=2.0, alpha=0.75)
    loss, given = stage.objective(trial)(lambda inputs: outputs, images, labels)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert given is outputs
    alike = Distill(teacher="runs:/1/model", epochs=1, alpha=1.0).objective(trial)(Teacher(), images, labels)[0]
    assert alike.item() == pytest.approx(0, abs=1e-6)


def test_the_network_learns_to_answer_as_the_teacher_does() -> None:
    trial, labels = tiny_trial(), []
    labels.append(trial.data.train.labels.clone())
    trial.data.train.labels.zero_()  # nothing can be learnt from them
    run_stage(Distill, trial, teacher="runs:/1/model", epochs=12, batch_size=12, alpha=1.0, optimizer={"lr": 0.1})
    images = trial.data.test.images.float() / 255
    images = (images - trial.data.mean.view(1, -1, 1, 1)) / trial.data.std.view(1, -1, 1, 1)
    with torch.no_grad():
        agree = trial.model.eval()(images).argmax(1) == Teacher()(images).argmax(1)
    assert agree.float().mean() > 0.8
    assert trial.epoch == 12


def test_a_teacher_of_other_classes_is_refused() -> None:
    with pytest.raises(StageError, match="tells 5 classes apart, but this data has 3"):
        run_stage(Distill, teacher="runs:/2/model", epochs=1)
