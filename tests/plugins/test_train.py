import pytest
import torch
from pydantic import ValidationError
from torch import nn

from framework import StageError
from framework._engine import evaluate

METRICS = {"train/loss", "train/accuracy", "lr", "images_per_second", "val/loss", "val/accuracy"}
MEASURED = {"sparsity", "sparsity/conv1", "sparsity/conv2", "sparsity/fc", "frozen", "empty_layers"}


@pytest.fixture
def recorded(make_trial):
    """Make a trial that notes what it reports."""

    def make(*args, **fields):
        records = []
        trial = make_trial(*args, emit=lambda epoch, metrics: records.append((epoch, metrics)), **fields)
        return trial, records

    return make


def test_every_epoch_is_reported_on_the_continuous_axis_with_everything_measured(recorded, stage):
    trial, records = recorded(epoch=3)
    stage("train", epochs=4, batch_size=8).run(trial)
    assert [epoch for epoch, _ in records] == [4, 5, 6, 7]
    assert trial.epoch == 7
    assert all(set(metrics) == METRICS | MEASURED for _, metrics in records)
    found = evaluate(trial, "validation")
    assert {name: records[-1][1][name] for name in found} == found


def test_without_a_validation_set_only_training_is_measured(recorded, make_data, stage):
    trial, records = recorded(data=make_data(validation=None))
    stage("train", epochs=1).run(trial)
    assert set(records[0][1]) == {m for m in METRICS if not m.startswith("val/")} | MEASURED


def test_it_learns(recorded, stage):
    trial, records = recorded()
    stage("train", epochs=15, batch_size=8, optimizer={"name": "sgd", "lr": 0.1, "momentum": 0.9}).run(trial)
    assert records[-1][1]["train/loss"] < 0.2 < records[0][1]["train/loss"]
    assert evaluate(trial, "test")["test/accuracy"] > 0.6


@pytest.mark.parametrize(("steps", "epochs"), [(1, 1), (3, 1), (4, 2), (7, 3)])
def test_steps_count_optimizer_steps_and_the_last_pass_may_be_a_part(steps, epochs, recorded, stage):
    trial, records = recorded()
    made = []
    trial.model.register_forward_pre_hook(lambda module, args: made.append(1) if module.training else None)
    stage("train", steps=steps, batch_size=8).run(trial)  # a pass has 3
    assert len(made) == steps
    assert trial.epoch == len(records) == epochs


def test_steps_and_epochs_give_the_same_weights(make_trial, stage):
    trials = [make_trial(), make_trial()]
    stage("train", epochs=2, batch_size=8, schedule="cosine").run(trials[0])
    stage("train", steps=6, batch_size=8, schedule="cosine").run(trials[1])
    for a, b in zip(*(t.model.state_dict().values() for t in trials), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("parameters", [{}, {"epochs": 1, "steps": 1}])
def test_epochs_or_steps_must_be_given(parameters, stage):
    with pytest.raises(ValidationError, match="stage 'train': give either epochs or steps"):
        stage("train", **parameters)


def test_planned_epochs(stage):
    assert stage("train", epochs=5).planned_epochs == 5
    assert stage("train", steps=5).planned_epochs == 0
    assert stage("prune", amount=0.1).planned_epochs == 0


def test_the_schedule_runs_over_the_stage_from_step_to_step(recorded, stage):
    trial, records = recorded()
    stage("train", epochs=4, batch_size=8, optimizer={"name": "sgd", "lr": 0.4}, schedule="linear").run(trial)
    # The last of three steps in every epoch: 2/3, 5/3, 8/3 and 11/3 of four epochs.
    assert [m["lr"] for _, m in records] == pytest.approx([0.4 * (1 - e / 12) for e in (2, 5, 8, 11)])
    stage("train", steps=5, batch_size=8, optimizer={"name": "sgd", "lr": 0.4}, schedule="linear").run(trial)
    assert [m["lr"] for _, m in records[4:]] == pytest.approx([0.4 * (1 - 2 / 5), 0.4 * (1 - 4 / 5)])


def test_a_stage_that_ends_a_cycle_ends_it_at_its_last_step(recorded, stage):
    trial, records = recorded()
    for length in ({"epochs": 4}, {"steps": 5}):
        stage("train", **length, batch_size=8, optimizer={"name": "sgd", "lr": 0.5}, schedule="onecycle").run(trial)
        assert records[-1][1]["lr"] == pytest.approx(0.5 / 25 / 1e4)


def test_the_stages_seed_decides_order_and_augmentation(make_trial, make_data, stage):
    def trained(seed):
        torch.manual_seed(0)  # as run_trial does, for dropout
        trial = make_trial(data=make_data(augment=("crop", "flip", "cutout")), seed=seed)
        stage("train", epochs=2, batch_size=8).run(trial)
        return torch.cat([p.detach().view(-1) for p in trial.model.parameters()])

    assert torch.equal(trained(1), trained(1))
    assert not torch.equal(trained(1), trained(2))


def test_augmentation_is_for_training_batches_only(make_trial, make_data, stage):
    seen = {True: [], False: []}
    trial = make_trial(data=make_data(augment=("crop",)))
    trial.model.register_forward_pre_hook(lambda module, args: seen[module.training].append(args[0]))
    stage("train", epochs=1, batch_size=24).run(trial)
    data = trial.data
    plain = {
        split: (images.float() / 255 - 0.4) / 0.2
        for split, (images, _) in {"train": data.train, "validation": data.validation}.items()
    }
    torch.testing.assert_close(seen[False][0], plain["validation"])
    assert not any(torch.allclose(x, y, atol=1e-4) for x, y in zip(seen[True][0], plain["train"], strict=True))


def test_the_loss_is_also_that_of_later_evaluation(make_trial, stage):
    trial = make_trial()
    stage("train", epochs=1, loss={"name": "cross_entropy", "label_smoothing": 0.25}).run(trial)
    assert trial.loss.label_smoothing == 0.25


def test_a_last_batch_of_one_image_does_not_stop_a_network_that_normalises_batches(make_trial, make_data, stage):
    class Normalised(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))

    trial = make_trial(Normalised(), make_data(count=25))
    stage("train", epochs=2, batch_size=8).run(trial)
    assert trial.epoch == 2


def test_channels_last_lays_out_images_and_weights_so_and_trains_alike(make_trial, stage):
    def trained(channels_last):
        trial, layouts = make_trial(), set()

        def note(conv, args, output):
            if conv.training:
                layouts.add(tuple(t.is_contiguous(memory_format=torch.channels_last) for t in (args[0], conv.weight)))

        trial.model.conv2.register_forward_hook(note)
        stage("prune", amount=0.3).run(trial)
        stage("freeze", fraction=0.4, unit="weights").run(trial)
        stage("train", epochs=2, batch_size=8, channels_last=channels_last).run(trial)
        assert layouts == {(channels_last, channels_last)}
        return trial.model.state_dict()

    plain, last = trained(False), trained(True)
    for name, value in plain.items():
        torch.testing.assert_close(last[name], value, rtol=1e-4, atol=1e-5)
        assert torch.equal(last[name] == 0, value == 0)


def test_a_later_stage_without_channels_last_lays_weights_out_plainly_again(make_trial, stage):
    trial = make_trial()
    stage("train", epochs=1, channels_last=True).run(trial)
    assert not trial.model.conv2.weight.is_contiguous()
    stage("train", epochs=1).run(trial)
    assert trial.model.conv2.weight.is_contiguous()


def test_bfloat16_leaves_weights_in_float32(make_trial, stage):
    trial = make_trial()
    stage("prune", amount=0.5).run(trial)
    stage("train", epochs=1, batch_size=8, precision="bfloat16").run(trial)
    assert {p.dtype for p in trial.model.parameters()} == {torch.float32}
    assert sum(int((w == 0).sum()) for w in trial.weights().values()) == 102


def test_early_stopping_waits_so_many_epochs_without_improvement(recorded, stage):
    trial, records = recorded()
    # At this learning rate nothing moves: the first epoch is the best one.
    stage(
        "train",
        epochs=20,
        optimizer={"name": "sgd", "lr": 0.0},
        early_stopping={"metric": "train/accuracy", "patience": 3, "min_delta": 1.0},
    ).run(trial)
    assert [epoch for epoch, _ in records] == [1, 2, 3, 4]


class Scripted(nn.Module):
    """Classifies as many of the nine validation images rightly as a script says, one number per epoch."""

    def __init__(self, script):
        super().__init__()
        self.fc = nn.Linear(64, 3)
        self.script = iter(script)

    def forward(self, x):
        if self.training or len(x) != 9:
            return self.fc(x.flatten(1))
        labels = torch.arange(9) % 3
        predicted = torch.where(torch.arange(9) < next(self.script), labels, (labels + 1) % 3)
        return nn.functional.one_hot(predicted, 3).float()


@pytest.mark.parametrize("metric", ["val/loss", "val/accuracy"])
@pytest.mark.parametrize(
    ("script", "min_delta", "epochs"),
    [
        ([3, 5, 6, 6, 6, 9], 0.0, 5),
        ([6, 5, 4, 9], 0.0, 3),
        ([1, 0, 2, 1, 3, 2, 4, 3], 0.0, 8),
        ([1, 2, 3, 9], 0.3, 3),
        ([1, 2, 9, 8, 7, 6], 0.3, 5),
    ],
)
def test_early_stopping_stops_once_the_best_epoch_is_patience_behind(
    metric, script, min_delta, epochs, recorded, stage
):
    trial, records = recorded(Scripted(script))
    early_stopping = {"metric": metric, "patience": 2, "min_delta": min_delta}
    stage("train", epochs=8, early_stopping=early_stopping).run(trial)
    assert len(records) == epochs
    assert [round(9 * m["val/accuracy"]) for _, m in records] == script[:epochs]


def by_hand(trial, steps, batch_size, lr):
    """Train by plain torch, and note the validation loss and the weights after every step."""
    found, made, number = [], 0, 0
    batches, optimizer = trial.batches("train", batch_size), torch.optim.SGD(trial.model.parameters(), lr)
    while made < steps:
        for inputs, targets in batches.epoch(number):
            if made < steps:
                optimizer.zero_grad()
                nn.functional.cross_entropy(trial.model.train()(inputs), targets).backward()
                optimizer.step()
                made += 1
                state = {name: tensor.clone() for name, tensor in trial.model.state_dict().items()}
                found.append((evaluate(trial, "validation")["val/loss"], state))
        number += 1
    return found


@pytest.mark.parametrize("every", [1, 2, 5])
def test_the_network_of_the_lowest_loss_is_restored_from_any_step(every, recorded, make_trial, stage):
    every_step = by_hand(make_trial(), 11, 8, 1.0)  # a pass has 3; the learning rate is too high on purpose
    measured = {step: loss for step, (loss, _) in enumerate(every_step, 1) if step % every == 0}
    best = min(measured, key=measured.__getitem__)
    trial, records = recorded()
    rule = {"metric": "val/loss", "patience": None, "restore_best": True}
    optimizer = {"name": "sgd", "lr": 1.0}
    stage("train", steps=11, batch_size=8, optimizer=optimizer, evaluate_every=every, early_stopping=rule).run(trial)
    epoch, last = records[-1]
    assert (epoch, last["best/step"], last["val/loss"]) == (4, best, pytest.approx(measured[best], rel=1e-6))
    for name, tensor in trial.model.state_dict().items():
        torch.testing.assert_close(tensor, every_step[best - 1][1][name])
    assert best != 11  # else nothing would have been restored


def test_training_stops_in_the_middle_of_a_pass(recorded, stage):
    trial, records = recorded()
    rule = {"metric": "val/accuracy", "patience": 2, "min_delta": 1.0, "restore_best": True}
    stage("train", epochs=9, batch_size=8, evaluate_every=2, early_stopping=rule).run(trial)
    # Measured after steps 2, 4 and 6; only the first can be an improvement.
    assert [epoch for epoch, _ in records] == [1, 2, 2]
    assert records[-1][1]["best/step"] == 2


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"evaluate_every": 5}, "evaluate_every is for early_stopping: give it as well"),
        ({"early_stopping": {"restore_best": True}, "sparsifier": "set"}, "restore_best and a sparsifier contradict"),
    ],
)
def test_what_does_not_go_together_is_refused(parameters, message, stage):
    with pytest.raises(ValidationError, match=message):
        stage("train", epochs=1, **parameters)


def test_early_stopping_on_what_is_not_measured_is_an_error(recorded, make_data, stage):
    trial, _ = recorded(data=make_data(validation=None))
    with pytest.raises(StageError) as error:
        stage("train", epochs=2, early_stopping={"metric": "val/loss"}).run(trial)
    assert str(error.value) == (
        "early_stopping.metric 'val/loss' is not measured "
        "(there are: train/loss, train/accuracy, lr, images_per_second)"
    )


def test_a_diverging_training_is_an_error_and_no_report(recorded, stage):
    trial, records = recorded()
    with pytest.raises(StageError, match=r"^the training loss became (nan|inf): lower the learning rate"):
        stage("train", epochs=3, batch_size=4, optimizer={"name": "sgd", "lr": 1e30}).run(trial)
    assert all(metrics["train/loss"] < float("inf") for _, metrics in records)


def test_the_optimizer_starts_afresh_in_every_stage(make_trial, stage):
    trial = make_trial()
    optimizer = {"name": "sgd", "lr": 0.1, "momentum": 0.9}
    stage("train", epochs=1, batch_size=8, optimizer=optimizer).run(trial)
    other = make_trial()
    other.model.load_state_dict(trial.model.state_dict())
    for each in (trial, other):
        stage("train", epochs=1, batch_size=8, optimizer=optimizer).run(each)
    for a, b in zip(trial.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_test_stage_measures_on_the_test_set_and_changes_nothing(recorded, stage):
    trial, records = recorded(epoch=2)
    before = {name: t.clone() for name, t in trial.model.state_dict().items()}
    stage("test").run(trial)
    [(epoch, metrics)] = records
    assert epoch == 2
    assert set(metrics) == {"test/loss", "test/accuracy"} | MEASURED
    assert all(torch.equal(before[name], t) for name, t in trial.model.state_dict().items())


def test_bounds_are_those_of_the_signature(stage):
    with pytest.raises(ValidationError) as error:
        stage("train", epochs=0, batch_size=0, clip_norm=0, precision="float64", early_stopping={"patience": 0})
    assert {e["loc"]: e["msg"] for e in error.value.errors()} == {
        ("epochs",): "must be >= 1, not 0",
        ("batch_size",): "must be >= 1, not 0",
        ("clip_norm",): "must be > 0, not 0",
        ("precision",): "must be 'auto', 'float32', 'bfloat16' or 'float16', not 'float64'",
        ("early_stopping", "patience"): "must be >= 1, not 0",
    }
