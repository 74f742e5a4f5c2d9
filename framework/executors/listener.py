"""What executors tell while trials run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from framework.plan import TrialPlan
from framework.trial import Record, StageEnd


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    Attributes:
        seconds: from its start to its end.
        error: why it failed, in a sentence; None if it finished.
        traceback: where, if it was not one of the errors that explain themselves.
        figures: of what it reported, as PNG, by name.
    """

    seconds: float
    error: str | None = None
    traceback: str | None = None
    figures: Mapping[str, bytes] = field(default_factory=dict)


class Listener(Protocol):
    """Is told what happens, in order, on the executor's thread."""

    def started(self, plan: TrialPlan) -> None:
        """A trial begins."""

    def recorded(self, plan: TrialPlan, records: Sequence[Record]) -> None:
        """A trial has reported."""

    def noted(self, plan: TrialPlan, text: str) -> None:
        """A trial has something to say besides."""

    def staged(self, plan: TrialPlan, end: StageEnd) -> None:
        """A stage of the trial has been run, or its result has been found in the store."""

    def retried(self, plan: TrialPlan, outcome: Outcome) -> None:
        """A trial has failed and is tried again: it goes on from the store, and reports from its start again."""

    def ended(self, plan: TrialPlan, outcome: Outcome) -> None:
        """A trial has finished, with its final state in the store, or failed."""
