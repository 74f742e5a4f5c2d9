"""What is known of the run of one trial."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from framework._plan import TrialPlan
    from framework._stage import Record


@dataclass(frozen=True)
class Finished:
    """A finished trial as its run tells it.

    Attributes:
        run_id: of its run.
        metrics: the last value of each.
        epochs: where its epoch axis ends.
        seconds: how long it took, when it last ran.
        stopped: a scheduler stopped it before its end.
    """

    run_id: str
    metrics: Mapping[str, float]
    epochs: int
    seconds: float
    stopped: bool


@dataclass
class OpenRun:
    """The run of a trial that goes on.

    Attributes:
        logged: how many of the trial's records the run has.
        seen: how many have come; after a restart they come again.
        epoch: of the last one.
        stamp: time of the last record, milliseconds since 1970.
        pending: records that are still to be written.
    """

    plan: "TrialPlan"
    run_id: str
    experiment_id: str
    started: float
    logged: int = 0
    seen: int = 0
    epoch: int = 0
    stamp: int = 0
    pending: "list[Record]" = field(default_factory=list)

    def rewind(self) -> None:
        """Take records from the trial's start on again."""
        self.logged, self.seen = max(self.logged, self.seen), 0
