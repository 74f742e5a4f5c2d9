"""Stages that break a contract, one by one, and what `check_stage` says of each."""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import pytest
import torch
from pydantic import AfterValidator
from torch import nn

from framework import Interval, Stage, StageError, Trainer, Training, Trial
from framework.testing import check_stage, tiny_trial


def stage(run, **fields: Any) -> type[Stage]:
    """A stage class with this as its method; fields by name: (type, default)."""
    body = {
        "__doc__": "Do something.",
        "__annotations__": {name: hint for name, (hint, _) in fields.items()},
        **{name: default for name, (_, default) in fields.items()},
        "run": run,
    }
    return dataclass(frozen=True)(type("Odd", (Stage,), body))


def assert_refused(factory: Any, words: str, **parameters: Any) -> None:
    with pytest.raises(AssertionError, match=re.escape(words)):
        check_stage(factory, **parameters)


def nothing(self: Stage, trial: Trial) -> None:
    pass


# --- what holds for every kind ------------------------------------------------------------------------------------


def test_without_a_docstring():
    bare = dataclass(frozen=True)(type("Odd", (Stage,), {"run": nothing}))
    assert bare.__doc__ == "Odd()"
    assert_refused(bare, "stage 'Odd' has no docstring")


def test_a_parameter_that_yaml_cannot_express():
    @dataclass(frozen=True)
    class Odd(Stage):
        """Do something."""

        device: torch.device
        run = nothing

    assert_refused(Odd, "parameter 'device' has no default and is annotated <class 'torch.device'>, which YAML cannot")


def test_parameters_that_do_not_validate():
    bounded = stage(nothing, factor=(Annotated[float, Interval(gt=0, lt=1)], 0.5))
    check_stage(bounded, factor=0.25)
    assert_refused(
        bounded, "stage 'Odd' does not take the parameters {'factor': 2}: factor: must be < 1, not 2", factor=2
    )
    assert_refused(bounded, "stage 'Odd' has no parameter 'fctor' (did you mean 'factor'?)", fctor=2)


def test_a_validator_whose_value_is_no_json():
    odd = stage(nothing, device=(Annotated[str, AfterValidator(torch.device)], "cpu"))
    assert_refused(
        odd, "stage 'Odd': its parameters do not survive as JSON: take and keep what YAML can write: TypeError"
    )


def test_keys_that_are_no_strings():
    odd = stage(nothing, at=(dict[int, float] | None, None))
    assert_refused(odd, "stage 'Odd': its parameters do not survive as JSON", at={1: 0.5})


def test_a_validator_that_goes_on_changing_its_value():
    odd = stage(nothing, size=(Annotated[float, AfterValidator(lambda size: size / 2)], 4.0))
    assert_refused(
        odd, "stage 'Odd': its validated parameters {'name': 'Odd', 'size': 4.0} validate to others", size=8.0
    )


def test_a_default_in_another_form_than_its_validated_type():
    @dataclass(frozen=True)
    class Odd(Stage):
        """Do something."""

        at: Sequence[int] = range(2)  # a list is no better, but dataclasses refuse it
        run = nothing

    assert_refused(Odd, "stage 'Odd': the default of at counts as another value when it is written out")


# --- what holds for stages ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("factory", [nothing, dataclass(type("Odd", (Stage,), {"run": nothing})), type("Odd", (), {})])
def test_what_is_no_frozen_dataclass_that_derives_from_stage(factory):
    assert_refused(factory, "must be a class that derives from framework.Stage, with @dataclass(frozen=True)")


@pytest.mark.parametrize("planned", [-1, 2.0, None])
def test_planned_epochs_that_are_no_count(planned):
    odd = stage(nothing)
    odd.planned_epochs = planned
    assert_refused(odd, f"stage 'Odd': planned_epochs must be an int >= 0, not {planned}")


def test_an_objective_that_depends_on_the_epochs_and_does_not_say_so():
    @dataclass(frozen=True, kw_only=True)
    class Odd(Training):
        """Train with a loss that is the smaller the more epochs there are."""

        def objective(self, trial):
            return lambda forward, inputs, targets: (
                trial.loss(outputs := forward(inputs), targets) / self.epochs,
                outputs,
            )

    assert_refused(
        Odd,
        "stage 'Odd': with epochs=3 that goes on from epochs=2, it ends otherwise than alone: what it does before its "
        "end depends on epochs: let its planned_length be None",
        epochs=3,
        batch_size=12,
    )

    class Honest(Odd):
        """Train with that loss, and say so."""

        @property
        def planned_length(self):
            return None

    check_stage(Honest, epochs=3, batch_size=12)


def test_one_that_fails():
    def run(self, trial):
        trial.frozen["nonsense"].any()

    assert_refused(stage(run), "stage 'Odd' fails: KeyError: 'nonsense'")


def test_pruned_weights_that_come_back():
    def run(self, trial):
        trial.model.fc.weight.data[~trial.masks.get("fc.weight", torch.ones(3, 32, dtype=torch.bool))] = 1.0

    assert_refused(
        stage(run),
        "stage 'Odd': 32 pruned weights of fc.weight are no longer 0 after run: multiply by the mask, "
        "or leave trial.masks up to date",
    )


def test_own_masks_that_are_not_applied():
    def run(self, trial):
        trial.masks["fc.weight"] = torch.zeros(3, 32, dtype=torch.bool)

    assert_refused(stage(run), "pruned weights of fc.weight are no longer 0")


@pytest.mark.parametrize(
    ("part", "name", "mask"),
    [
        ("masks", "fc", torch.ones(3, 32, dtype=torch.bool)),
        ("masks", "fc.weight", torch.ones(3, 32)),
        ("frozen", "fc.weight", torch.ones(32, dtype=torch.bool)),
    ],
)
def test_masks_that_are_none(part, name, mask):
    def run(self, trial):
        getattr(trial, part)[name] = mask

    assert_refused(stage(run), f"stage 'Odd': trial.{part}['{name}'] must be a bool tensor of the shape of")


def test_frozen_elements_that_move():
    def run(self, trial):
        trial.model.conv2.weight.data.mul_(0.5)

    # Of the first half, 144 elements, some are pruned as well, and half of 0 is 0.
    pruned = int((~tiny_trial(prepared=True).masks["conv2.weight"].flatten()[:144]).sum())
    assert_refused(stage(run), f"stage 'Odd': {144 - pruned} frozen elements of conv2.weight are not what they were")


def test_frozen_statistics_that_move():
    def run(self, trial):
        trial.model.norm1.running_mean += 0.5

    assert_refused(stage(run), "stage 'Odd': 4 frozen elements of norm1.running_mean are not what they were before run")


def test_what_is_no_longer_frozen_may_move():
    def run(self, trial):
        trial.frozen.pop("norm1.bias", None)
        trial.model.norm1.bias.data += 1

    check_stage(stage(run))


def test_what_is_frozen_may_be_pruned_and_unpruned():
    def run(self, trial):
        for name, weight in trial.weights().items():
            before = trial.masks.get(name, torch.ones_like(weight, dtype=torch.bool))
            trial.masks[name] = ~before
            weight.data.copy_((~before).float())

    check_stage(stage(run))


def test_an_epoch_axis_that_goes_back():
    def run(self, trial):
        trial.epoch -= 1

    later = tiny_trial()
    later.epoch = 3
    assert_refused(stage(run), "stage 'Odd': trial.epoch has gone back from 3 to 2", trial=later)
    assert_refused(stage(run), "(trial.epoch must be a whole number from 0 to 2**53, not -1)")


def test_numbers_of_an_unseeded_generator():
    def run(self, trial):
        noise = np.random.default_rng().normal(size=3)
        trial.model.fc.bias.data += torch.from_numpy(noise)

    assert_refused(
        stage(run),
        "stage 'Odd' gives another result when it is run again from the same state: draw from trial.generator() or "
        "torch's own generator only (3 of 3 elements of model.fc.bias differ)",
    )


def test_torchs_generator_and_the_trials_are_seeded():
    def run(self, trial):
        trial.model.fc.bias.data += torch.rand(3) + torch.rand(3, generator=trial.generator())

    check_stage(stage(run))


def test_records_that_differ_from_run_to_run():
    counter = itertools.count()

    def run(self, trial):
        trial.report({"runs": next(counter)})

    assert_refused(stage(run), "gives another result when it is run again from the same state")


def test_how_long_it_took_may_differ():
    counter = itertools.count()

    def run(self, trial):
        trial.report({"seconds": next(counter)})

    check_stage(stage(run))


def test_artifacts_may_differ_but_not_their_names():
    counter = itertools.count()

    def run(self, trial):
        trial.log_artifact("figure.svg", str(next(counter)).encode())

    def run_with_other_names(self, trial):
        trial.log_artifact(f"{next(counter)}.svg", b"")

    check_stage(stage(run))
    assert_refused(stage(run_with_other_names), "gives another result when it is run again from the same state")


def test_a_change_of_the_network_that_is_not_kept():
    def run(self, trial):
        trial.model.dropout.p = 0.9

    assert_refused(
        stage(run),
        "stage 'Odd' changes the network in what is not kept (dropout.p was 0.2, and is 0.9 now): change values of",
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda model: setattr(model, "relu1", nn.SiLU()), "the type of relu1 was ReLU, and is SiLU now"),
        (lambda model: setattr(model, "asked", 3), "asked was not there, and is 3 now"),
        (lambda model: model.fc.register_forward_hook(print), "fc._forward_hooks was 0 hooks, and is 1 hooks now"),
    ],
)
def test_other_changes_of_the_network_that_are_not_kept(change, words):
    assert_refused(stage(lambda self, trial: change(trial.model)), f"in what is not kept ({words}")


def test_a_layer_that_the_network_did_not_have():
    def run(self, trial):
        trial.model.relu1 = nn.PReLU()

    assert_refused(stage(run), "stage 'Odd' fails: PluginError: it must not add, remove, rename or reshape")


def test_a_buffer_that_the_network_did_not_have():
    def run(self, trial):
        trial.model.register_buffer("more", torch.zeros(1))

    assert_refused(stage(run), "buffers: trials that share it build the network anew (more was not there, and is (1,)")


def test_a_failure_of_what_comes_after_it():
    def run(self, trial):
        trial.model.fc.bias.data.fill_(float("nan"))

    assert_refused(
        stage(run), "fails when it is run again, or training does so after it: StageError: the training loss"
    )


def test_a_loss_that_could_not_be_made_again():
    def run(self, trial):
        trial.loss = nn.NLLLoss()

    assert_refused(stage(run), "a stage has set trial.loss to a NLLLoss: call trial.use_loss instead")


class Momentum(Stage):
    """Train for some epochs, with checkpoints."""

    def run(self, trial):
        optimizer = torch.optim.SGD(trial.model.parameters(), lr=0.1, momentum=0.9)
        trainer = Trainer(trial.model, nn.CrossEntropyLoss(), optimizer, masks=trial.masks, frozen=trial.frozen)
        images, labels = trial.data.train
        earlier = trial.resume()
        if earlier is not None:
            self.go_on(trainer, earlier)
        while trainer.steps < 6:
            trainer.step(images.float() / 255, labels)
            trial.epoch += 1
            trial.checkpoint(lambda: self.progress(trainer))

    def progress(self, trainer):
        return trainer.state_dict()

    def go_on(self, trainer, earlier):
        trainer.load_state_dict(earlier)


def interrupted(**methods: Any) -> type[Stage]:
    body = {"__doc__": "Train.", **methods}
    return dataclass(frozen=True)(type("Odd", (Momentum,), body))


def test_checkpoints_that_say_all():
    check_stage(interrupted())


def test_checkpoints_that_do_not_say_all():
    odd = interrupted(
        progress=lambda self, trainer: trainer.steps,
        go_on=lambda self, trainer, steps: setattr(trainer, "steps", steps),
    )
    assert_refused(
        odd,
        "stage 'Odd', interrupted after checkpoint 1 and resumed, ends otherwise: give all that it has to know to "
        "trial.checkpoint, and take it from trial.resume()",
    )


def test_checkpoints_that_nobody_resumes_from():
    assert_refused(interrupted(go_on=lambda self, trainer, earlier: None), "interrupted after checkpoint 1 and resumed")


def test_an_error_when_resumed():
    def go_on(self, trainer, earlier):
        raise KeyError("momentum")

    assert_refused(interrupted(go_on=go_on), "checkpoint 1 and resumed, ends otherwise: KeyError: 'momentum'")


def test_only_the_last_checkpoint_is_wrong():
    def go_on(self, trainer, earlier):
        trainer.load_state_dict(earlier)
        if trainer.steps == 6:
            trainer.model.fc.bias.data += 1

    assert_refused(interrupted(go_on=go_on), "stage 'Odd', interrupted after checkpoint 6 and resumed, ends otherwise")


def test_progress_that_cannot_be_stored():
    odd = interrupted(progress=lambda self, trainer: {"seen": {1, 2}})
    assert_refused(odd, "stage 'Odd' fails: TypeError: stage.seen is a set, which cannot be stored")


def refusing(self: Stage, trial: Trial) -> None:
    if not trial.masks:
        raise StageError("there is nothing to regrow")
    if "fc.weight" in trial.frozen:
        raise StageError("fc is frozen")
    trial.masks.clear()


def test_a_stage_may_refuse_a_trial_but_not_all_of_them():
    check_stage(stage(refusing))
    fresh, held = tiny_trial(), tiny_trial(prepared=True)
    held.frozen["fc.weight"] = torch.ones(3, 32, dtype=torch.bool)
    for trial, reason in ((fresh, "there is nothing to regrow"), (held, "fc is frozen")):
        words = f"stage 'Odd' can work on none of the trials that it was given ({reason}): give one that it can work on"
        assert_refused(stage(refusing), words, trial=trial)


def test_an_own_trial_is_left_alone():
    def run(self, trial):
        trial.masks.clear()
        trial.epoch += 1
        trial.model.fc.bias.data += 1

    trial = tiny_trial(prepared=True)
    trial.epoch = 3
    bias = trial.model.fc.bias.clone()
    check_stage(stage(run), trial=trial)
    assert len(trial.masks) == 3
    assert trial.epoch == 3
    assert torch.equal(trial.model.fc.bias, bias)
