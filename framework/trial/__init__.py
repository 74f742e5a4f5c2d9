"""Run one trial."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from framework.component import Catalog, build
from framework.engine import evaluate
from framework.errors import StageError
from framework.plan import TrialPlan
from framework.stage import Stage, Trial
from framework.trial.data import Arrays, place, prepare

__all__ = ["Arrays", "Record", "build_model", "final_state", "prepare", "run_trial"]


@dataclass(frozen=True)
class Record:
    """What a trial reports at one epoch or at one stage's end.

    Attributes:
        epoch: position on the trial's continuous epoch axis.
        stage: index of the stage in the trial's plan.
        metrics: by name, such as ``val/accuracy``.
        time: when, in seconds since 1970.
    """

    epoch: int
    stage: int
    metrics: Mapping[str, float]
    time: float


def run_trial(
    plan: TrialPlan,
    catalog: Catalog,
    arrays: Arrays,
    emit: Callable[[Record], None],
    note: Callable[[str], None] = lambda text: None,
) -> Trial:
    """Run all stages of a trial, then measure on the test set if no stage has just done so.

    Args:
        plan: what to run.
        catalog: where its components are looked up.
        arrays: its data.
        emit: takes every record as it comes.
        note: takes what the user should know besides, such as a replaced head.

    Returns:
        The trial in its final state.

    Raises:
        StageError: a stage cannot do what was asked of it.
        Exception: whatever a plugin raises.
    """
    torch.set_num_threads(max(1, int(plan.resources["cpu"])))
    device = torch.device("cuda" if torch.cuda.is_available() and plan.resources["gpu"] != 0 else "cpu")
    stages: list[Stage] = [build(catalog, "stage", stage)() for stage in plan.stages]
    reported: Mapping[str, float] = {}
    index = 0

    def take(epoch: int, metrics: Mapping[str, float]) -> None:
        nonlocal reported
        reported = metrics
        emit(Record(epoch, index, metrics, time.time()))

    with _notes(note):
        trial = Trial(
            model=build_model(plan, catalog, arrays).to(device),
            data=place(arrays, tuple(plan.data["augment"]), device),
            device=device,
            initial_state=lambda: build_model(plan, catalog, arrays).state_dict(),
            emit=take,
        )
        for index, stage in enumerate(stages):
            reported = {}
            trial.seed = seed_of(plan.keys[index + 1])
            torch.manual_seed(trial.seed)
            stage.run(trial)
            if not reported:
                # What the stage cost is seen right after it, not an epoch later.
                trial.report(evaluate(trial, "validation"))
        if "test/accuracy" not in reported:
            trial.report(evaluate(trial, "test"))
    return trial


def build_model(plan: TrialPlan, catalog: Catalog, arrays: Arrays) -> nn.Module:
    """Build a trial's network in its initial state, on the CPU.

    Raises:
        StageError: it cannot be built for this data.
    """
    shape = arrays.splits["train"][0].shape[1:]
    torch.manual_seed(seed_of(plan.keys[0]))
    model = build(catalog, "model", plan.model)(shape=shape, classes=len(arrays.classes))
    if not isinstance(model, nn.Module):
        raise StageError(f"model {plan.model['name']!r} gave a {type(model).__name__}, not a torch.nn.Module")
    return model


def final_state(trial: Trial) -> dict[str, Tensor]:
    """The state dict of a trial's network, on the CPU."""
    return {name: tensor.detach().cpu() for name, tensor in trial.model.state_dict().items()}


def seed_of(key: str) -> int:
    """The seed that a stage key stands for: 63 bits, as many as torch takes."""
    return int(key[:16], 16) >> 1


@contextmanager
def _notes(note: Callable[[str], None]) -> Iterator[None]:
    """Hand on what plugins say through the logger ``framework``."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            note(record.getMessage())

    logger, handler = logging.getLogger("framework"), Handler(logging.WARNING)
    logger.addHandler(handler)
    propagate, logger.propagate = logger.propagate, False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate
