"""Hooks that observe trials."""

from collections.abc import Mapping

from framework._hookspecs.marks import hookspec
from framework._stage import Stage, Trial

LIFECYCLE = ("trial_started", "stage_started", "epoch_ended", "stage_ended", "trial_ended")


@hookspec
def trial_started(trial: Trial) -> None:
    """A trial begins or goes on: its network is as it was made, before any stage, whatever the store has of it.

    Args:
        trial: before its first stage. It can be a key of a WeakKeyDictionary, to keep something while it lasts.

    Example:
        from weakref import WeakKeyDictionary

        from framework import hookimpl

        initial = WeakKeyDictionary()

        @hookimpl
        def trial_started(trial):
            initial[trial] = {name: weight.detach().clone() for name, weight in trial.weights().items()}
    """


@hookspec
def stage_started(trial: Trial, name: str, stage: Stage) -> None:
    """A stage is about to run, or to go on from a checkpoint. One whose result is found in the store does not run.

    The network is built anew for every stage: what is put on its modules, such as hooks, is gone after it.

    Args:
        trial: as the stage finds it.
        name: what specs call the stage.
        stage: with its parameters as attributes.

    Example:
        import logging

        from framework import hookimpl

        @hookimpl
        def stage_started(trial, name):
            if name == "prune" and trial.epoch == 0:
                logging.getLogger("framework").warning("a network is pruned that has never been trained")
    """


@hookspec
def epoch_ended(trial: Trial, metrics: Mapping[str, float]) -> Mapping[str, float] | None:
    """A stage has measured something: after an epoch of training, or at the end of a stage that does not train.

    Args:
        trial: as it was measured; ``trial.epoch`` says where on the epoch axis.
        metrics: what was measured, by name, such as ``val/accuracy``.

    Returns:
        What is to be recorded besides, by names that are not taken yet; None for nothing.

    Example:
        from framework import hookimpl

        @hookimpl
        def epoch_ended(trial):
            return {f"norm/{name}": float(weight.norm()) for name, weight in trial.weights().items()}
    """


@hookspec
def stage_ended(trial: Trial, name: str, stage: Stage) -> None:
    """A stage has run, and its result is about to be kept, the artifacts that are logged now included.

    Args:
        trial: as the stage leaves it.
        name: what specs call the stage.
        stage: with its parameters as attributes.

    Example:
        import json

        from framework import hookimpl

        @hookimpl
        def stage_ended(trial, name):
            dead = {layer: int((weight.flatten(1) == 0).all(1).sum()) for layer, weight in trial.weights().items()}
            index = trial.records[-1].stage
            trial.log_artifact(f"dead-outputs/{index}-{name}.json", json.dumps(dead).encode())
    """


@hookspec
def trial_ended(trial: Trial) -> None:
    """All stages are done and the test set has been measured; not called for a trial that fails.

    Args:
        trial: in its final state; ``trial.records`` has the whole history, that of stages found in the store included.

    Example:
        import json

        from framework import hookimpl

        @hookimpl
        def trial_ended(trial):
            best = max(trial.records, key=lambda record: record.metrics.get("val/accuracy", 0.0))
            trial.log_artifact("best.json", json.dumps({"epoch": best.epoch, **best.metrics}).encode())
    """
