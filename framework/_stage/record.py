"""What a trial reports."""

from collections.abc import Mapping
from dataclasses import dataclass


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
