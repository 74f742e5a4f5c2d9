import json
import math

import pytest
import torch
from torch import nn

from framework import Classification
from framework._batches import ImageBatches
from framework._engine import Tester, evaluate


class Fixed(nn.Module):
    """Returns the first pixels as outputs, shifted by a parameter."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(3))
        self.modes = []

    def forward(self, x):
        self.modes.append((self.training, torch.is_grad_enabled(), x.dtype))
        return x[:, 0, 0, :3] + self.shift


def fixed_batches(batch_size):
    """Five images whose outputs are known: 255 at one class, 0 elsewhere."""
    images = torch.zeros(5, 1, 1, 3, dtype=torch.uint8)
    predicted = torch.tensor([0, 1, 2, 0, 1])
    images[torch.arange(5), 0, 0, predicted] = 255
    labels = torch.tensor([0, 1, 2, 1, 1])  # four of five are right
    return ImageBatches(images, labels, torch.zeros(1), torch.ones(1), batch_size=batch_size).epoch(0)


@pytest.mark.parametrize("batch_size", [1, 2, 4, 5, 100])
def test_loss_and_accuracy_are_exact_over_all_images_whatever_the_last_batch(batch_size):
    right, wrong = math.log(math.e + 2) - 1, math.log(math.e + 2)
    found = Tester(Fixed(), nn.CrossEntropyLoss()).evaluate(fixed_batches(batch_size))
    assert found == {"loss": pytest.approx((4 * right + wrong) / 5, rel=1e-6), "accuracy": 0.8}


def test_it_runs_in_eval_mode_without_gradients_and_restores_the_mode_of_each_module(make_net):
    net = nn.Sequential(Fixed(), nn.Dropout(0.9), nn.BatchNorm1d(3))
    net[2].eval()
    statistics = net[2].running_mean.clone()
    Tester(net, nn.CrossEntropyLoss()).evaluate(fixed_batches(2))
    assert net[0].modes == [(False, False, torch.float32)] * 3
    assert [m.training for m in net.modules()] == [True, True, True, False]
    assert torch.equal(net[2].running_mean, statistics)
    net.eval()
    Tester(net, nn.CrossEntropyLoss()).evaluate(fixed_batches(2))
    assert not any(m.training for m in net.modules())


def test_a_loss_is_in_eval_mode_too_and_a_function_has_none():
    loss = nn.Sequential(nn.Dropout(0.5), nn.CrossEntropyLoss())
    loss[0].eval()
    modes = []
    loss.forward = lambda outputs, labels: (
        modes.append([m.training for m in loss.modules()]) or loss[1](outputs, labels)
    )
    found = Tester(Fixed(), loss).evaluate(fixed_batches(5))
    assert modes == [[False, False, False]]
    assert [m.training for m in loss.modules()] == [True, False, True]
    assert Tester(Fixed(), nn.functional.cross_entropy).evaluate(fixed_batches(5)) == found


def test_the_mode_is_restored_after_an_error():
    net = Fixed()
    with pytest.raises(IndexError):
        Tester(net, nn.CrossEntropyLoss()).evaluate([(torch.zeros(2, 1, 1, 3), torch.tensor([0, 3]))])
    assert net.training


def test_a_network_that_is_trained_in_bfloat16_is_measured_in_float32(make_trial, stage):
    trial, dtypes = make_trial(), {True: set(), False: set()}
    trial.model.fc.register_forward_hook(lambda module, args, output: dtypes[module.training].add(output.dtype))
    stage("train", epochs=1, precision="bfloat16").run(trial)
    assert dtypes == {True: {torch.bfloat16}, False: {torch.float32}}


def test_a_network_can_be_trained_after_it_was_tested(make_net, make_data):
    data, net = make_data(), make_net()
    given = list(ImageBatches(*data.test, data.mean, data.std, batch_size=5).epoch(0))
    Tester(net, nn.CrossEntropyLoss()).evaluate(given)
    images, labels = given[0]
    nn.functional.cross_entropy(net(images), labels).backward()
    assert net.fc.weight.grad is not None


def test_a_trial_is_measured_on_the_split_asked_for_with_its_own_loss(make_trial):
    trial = make_trial(loss=nn.CrossEntropyLoss(label_smoothing=0.5))
    with torch.no_grad():
        trial.model.eval()
        x = (trial.data.test.images.float() / 255 - 0.4) / 0.2
        outputs = trial.model(x)
    found = evaluate(trial, "test", batch_size=5)
    assert found == {
        "test/loss": pytest.approx(trial.loss(outputs, trial.data.test.labels).item(), rel=1e-5),
        "test/accuracy": int((outputs.argmax(1) == trial.data.test.labels).sum()) / 12,
    }
    assert set(evaluate(trial, "validation")) == {"val/loss", "val/accuracy"}


def test_without_a_validation_set_nothing_is_measured(make_trial, make_data):
    assert evaluate(make_trial(data=make_data(validation=None)), "validation") == {}


def confusion(trial):
    return json.loads(trial.artifacts["confusion.json"])


def test_the_test_sets_confusion_is_counted_in_the_pass_that_measures_it(make_trial):
    trial = make_trial()
    passes = []
    trial.model.register_forward_hook(lambda *_: passes.append(None))
    found = evaluate(trial, "test", batch_size=5)
    assert len(passes) == 3
    told = confusion(trial)
    assert told["classes"] == ["a", "b", "c"]
    assert [sum(row) for row in told["counts"]] == trial.data.test.labels.bincount().tolist()
    assert sum(told["counts"][i][i] for i in range(3)) / 12 == found["test/accuracy"]
    with torch.no_grad():
        trial.model.eval()
        outputs = trial.model((trial.data.test.images.float() / 255 - 0.4) / 0.2)
    for label, predicted in zip(trial.data.test.labels.tolist(), outputs.argmax(1).tolist(), strict=True):
        told["counts"][label][predicted] -= 1
    assert told["counts"] == [[0] * 3] * 3


def test_the_validation_set_has_no_confusion(make_trial):
    trial = make_trial()
    evaluate(trial, "validation")
    assert trial.artifacts == {}


def test_a_network_may_have_more_outputs_than_there_are_classes(make_trial):
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))
    nn.init.zeros_(net[1].weight)
    net[1].bias.data = torch.arange(5.0)
    trial = make_trial(net)
    evaluate(trial, "test")
    assert confusion(trial) == {
        "classes": ["a", "b", "c", "3", "4"],
        "counts": [[0, 0, 0, 0, 4], [0, 0, 0, 0, 4], [0, 0, 0, 0, 4], [0] * 5, [0] * 5],
    }


def test_of_more_than_a_hundred_classes_none_is_kept(make_trial):
    trial = make_trial(task=Classification(tuple(map(str, range(101)))))
    evaluate(trial, "test")
    assert trial.artifacts == {}
