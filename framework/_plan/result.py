"""What a trial came to."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from framework._measures import CLASSIFIED, Measures
from framework._plan import TrialPlan


@dataclass(frozen=True)
class Result:
    """What a trial came to.

    Attributes:
        plan: the trial.
        metrics: the last value of each, by name.
        epochs: where its epoch axis ended.
        seconds: from its start to its end.
        error: why it failed, in a sentence; None if it did not.
        stopped: why it was ended before its last stage, by a scheduler; None if it was not.
        traceback: where it failed, unless the error explains itself.
        files: what it has logged, by path.
        measures: which of its metrics is the primary one, and whether more of each is better.
    """

    plan: TrialPlan
    metrics: Mapping[str, float]
    epochs: int
    seconds: float
    error: str | None = None
    stopped: str | None = None
    traceback: str | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)
    measures: Measures = CLASSIFIED

    @property
    def experiment(self) -> str:
        """The spec's name."""
        return self.plan.experiment

    @property
    def seed(self) -> int:
        """Of the replicate."""
        return self.plan.seed

    @property
    def complete(self) -> bool:
        """Whether the trial ran all its stages."""
        return self.error is None and self.stopped is None

    @property
    def status(self) -> str:
        """As a run has it: FINISHED or FAILED."""
        return "FAILED" if self.error else "FINISHED"
