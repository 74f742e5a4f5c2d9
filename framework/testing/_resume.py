"""Check that a stage gives the same result when it is repeated or interrupted, and holds what is masked and frozen."""

from contextlib import suppress
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory

import torch

from framework._component import Component, Entry, build
from framework._data import Arrays
from framework._errors import StageError
from framework._hookspecs import hookimpl
from framework._plan import Split
from framework._stage import Trial
from framework._trial import describe_changes, unkept
from framework.testing._assertions import changed, explained, require
from framework.testing._harness import FIT, OWN, START, Interrupted, StageHarness, State
from framework.testing._tiny import TestRegistry, tiny_trial

_CHECKPOINTS = 3  # so many of the first ones are crashed after, and the last one


def check_resume(subject: str, stage: Component, trial: Trial, *entries: Entry) -> tuple[State, State]:
    """Check that a stage holds what is masked and frozen, and gives the same result when repeated, resumed or restored.

    Returns:
        The states before and after the stage.

    Raises:
        StageError: the stage cannot work on that trial.
    """
    with TemporaryDirectory() as folder:
        stages = (START, stage.plain(), FIT)
        harness = StageHarness(stages, trial, folder, stage.entry, *entries, observers=[_Inspector(subject)])
        with explained(f"{subject} fails", but=(StageError,)):
            checkpoints = harness.run("one", 2)
        before, after = harness.state("one", 1), harness.state("one", 2)
        _holds(subject, before, after)
        again = f"{subject} gives another result when it is run again from the same state"
        with explained(f"{subject} fails when it is run again, or training does so after it"):
            harness.run("again", 3)
        _same(after, harness.state("again", 2), f"{again}: draw from trial.generator() or torch's own generator only")
        on = f"{subject}: a trial that goes on from its stored result does not end as one that went on at once"
        with explained(on):
            harness.run("one", 3)
        _same(harness.state("again", 3), harness.state("one", 3), f"{on}: leave nothing but what Trial says is kept")
        for count in sorted({*range(1, checkpoints + 1)[:_CHECKPOINTS], checkpoints} - {0}):
            name = f"crash {count}"
            resumed = f"{subject}, interrupted after checkpoint {count} and resumed, ends otherwise"
            with explained(resumed):
                with suppress(Interrupted):
                    harness.run(name, 2, crash_after=count)
                harness.run(name, 2)
            sentence = f"{resumed}: give all that it has to know to trial.checkpoint, and take it from trial.resume()"
            _same(after, harness.state(name, 2), sentence)
    return before, after


def check_length(subject: str, stage: Component, trial: Trial, *entries: Entry) -> None:
    """Check that a stage which goes on from where a shorter one has ended ends as it does alone, if it says so."""
    planned = stage().planned_length
    if planned is None:
        return
    unit, length = planned
    short, long = (length - 1, length) if length > 1 else (1, 2)
    splits = tuple(Split(f"{one:040x}", unit, one, 0) for one in (short, long))
    with TemporaryDirectory() as folder:
        one, other = (
            StageHarness((START, {**stage.plain(), unit: length}), trial, folder, stage.entry, *entries)
            for length in (short, long)
        )
        sentence = f"{subject}: with {unit}={long} that goes on from {unit}={short}, it ends otherwise than alone"
        with explained(sentence):
            other.run("alone", 2)
            one.run("shared", 2, splits=splits[:1])
            one.forget("shared", 2)
            other.run("shared", 2, splits=splits)
        why = f"what it does before its end depends on {unit}: let its planned_length be None"
        _same(other.state("alone", 2), other.state("shared", 2), f"{sentence}: {why}")


def check_training_resumes(subject: str, made: Component, data: Arrays | None = None) -> tuple[State, State]:
    """Check training with a loss or an optimizer in the same way, on a trial that is pruned and frozen in part."""
    fit = build(TestRegistry(made.entry, *OWN), "stage", {"name": "(fit)", made.entry.kind: made.plain()})
    with explained(f"training with {subject} fails"):
        return check_resume(f"training with {subject}", fit, tiny_trial(data=data, prepared=True), made.entry)


@dataclass(frozen=True)
class _Inspector:
    """An observer that checks what a stage leaves on the network, before it is stored."""

    subject: str
    found: dict[str, str] = field(default_factory=dict)

    @hookimpl
    def stage_started(self, trial: Trial) -> None:
        self.found.clear()
        self.found.update(unkept(trial.model))

    @hookimpl
    def stage_ended(self, trial: Trial) -> None:
        lost = "; ".join(describe_changes(self.found, unkept(trial.model)))
        require(
            not lost,
            f"{self.subject} changes the network in what is not kept ({lost}): change values of parameters and buffers "
            "only, as the network is built anew for the next stage",
        )
        model = {**trial.model.state_dict(), **dict(trial.model.named_buffers())}
        for part, masks in (("masks", trial.masks), ("frozen", trial.frozen)):
            for name, mask in masks.items():
                require(
                    name in model and mask.dtype == torch.bool and mask.shape == model[name].shape,
                    f"{self.subject}: trial.{part}[{name!r}] must be a bool tensor of the shape of the network's "
                    "tensor of that name",
                )


def _same(expected: State, found: State, sentence: str) -> None:
    diff = expected.differs(found)
    require(not diff, f"{sentence} ({diff})")


def _holds(subject: str, before: State, after: State) -> None:
    was, model = (state.part("model") | state.part("buffers") for state in (before, after))
    masks, frozen = after.part("masks"), after.part("frozen")
    for name, mask in masks.items():
        count = int(((model[name] != 0) & ~mask).sum())
        require(
            not count,
            f"{subject}: {count} pruned weights of {name} are no longer 0 after run: multiply by the mask, "
            "or leave trial.masks up to date",
        )
    held_before, masked_before = before.part("frozen"), before.part("masks")
    for name in sorted(held_before.keys() & frozen.keys()):
        all_free = torch.ones_like(frozen[name])
        # Pruning and unpruning may change what is frozen: training may not.
        masked = masked_before.get(name, all_free) != masks.get(name, all_free)
        moved = changed(was[name], model[name]) & held_before[name] & frozen[name] & ~masked
        require(
            not bool(moved.any()),
            f"{subject}: {int(moved.sum())} frozen elements of {name} are not what they were before run: change only "
            "where trial.frozen does not say True, or take away what is to move from trial.frozen",
        )
    epochs = before.metadata["epoch"], after.metadata["epoch"]
    require(epochs[0] <= epochs[1], f"{subject}: trial.epoch has gone back from {epochs[0]} to {epochs[1]}")
