"""The hooks. A plugin implements any of them with ``@framework.hookimpl``, in a module that its package names as an
entry point of the group ``framework``.

The first ones register components: each returns a mapping from the name that specs use to the component. The others,
`LIFECYCLE`, observe every trial in the process that it runs in. An implementation asks for those of a hook's arguments
that it needs. It may look at all of the trial and must change nothing of it but its artifacts. It is called with
gradients off, and torch's random state is put back after it. What it raises fails the trial.
"""

from collections.abc import Callable, Mapping

import pluggy
from torch import Tensor, nn, optim

from framework._dataset import Dataset
from framework._stage import Stage, Trial

hookspec = pluggy.HookspecMarker("framework")
hookimpl = pluggy.HookimplMarker("framework")


@hookspec
def register_stages() -> Mapping[str, type[Stage]]:  # type: ignore[empty-body]
    """Stages: frozen dataclasses that derive from `framework.Stage`."""


@hookspec
def register_models() -> Mapping[str, Callable[..., nn.Module]]:  # type: ignore[empty-body]
    """Models: callables of ``shape`` (channels, height, width) and ``classes`` that return a `torch.nn.Module`."""


@hookspec
def register_datasets() -> Mapping[str, Callable[..., Dataset]]:  # type: ignore[empty-body]
    """Datasets: callables that return a `framework.Dataset`."""


@hookspec
def register_losses() -> Mapping[str, Callable[..., nn.Module]]:  # type: ignore[empty-body]
    """Losses: callables that return a module of (outputs, labels) with a scalar result."""


@hookspec
def register_optimizers() -> Mapping[str, Callable[..., optim.Optimizer]]:  # type: ignore[empty-body]
    """Optimizers: callables of ``params`` that return a `torch.optim.Optimizer`."""


@hookspec
def register_schedules() -> Mapping[str, Callable[..., float]]:  # type: ignore[empty-body]
    """Schedules: functions of ``epoch`` and ``epochs`` that return the factor on the learning rate."""


@hookspec
def register_criteria() -> Mapping[str, Callable[..., Tensor]]:  # type: ignore[empty-body]
    """Pruning criteria: functions of ``weight`` that return a score per element; the lowest are pruned."""


@hookspec
def trial_started(trial: Trial) -> None:
    """A trial begins or goes on: its network is as it was made, before any stage, whatever the store has of it."""


@hookspec
def stage_started(trial: Trial, name: str, stage: Stage) -> None:
    """A stage is about to run, or to go on from a checkpoint. One whose result is found in the store does not run.

    Args:
        trial: as the stage finds it.
        name: what specs call the stage.
        stage: with its parameters as attributes.
    """


@hookspec
def epoch_ended(trial: Trial, metrics: Mapping[str, float]) -> Mapping[str, float] | None:
    """A stage has measured something: after an epoch of training, or at the end of a stage that does not train.

    Args:
        trial: as it was measured; ``trial.epoch`` says where on the epoch axis.
        metrics: what was measured, by name, such as ``val/accuracy``.

    Returns:
        What is to be recorded besides, by names that are not taken yet; None for nothing.
    """


@hookspec
def stage_ended(trial: Trial, name: str, stage: Stage) -> None:
    """A stage has run, and its result is about to be kept, the artifacts that are logged now included.

    Args:
        trial: as the stage leaves it.
        name: what specs call the stage.
        stage: with its parameters as attributes.
    """


@hookspec
def trial_ended(trial: Trial) -> None:
    """All stages are done and the test set has been measured; not called for a trial that fails.

    ``trial.records`` has the whole history, that of stages found in the store included.
    """


LIFECYCLE = ("trial_started", "stage_started", "epoch_ended", "stage_ended", "trial_ended")
