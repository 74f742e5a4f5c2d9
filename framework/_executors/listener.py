"""What executors tell while trials run."""

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from framework._errors import FrameworkError, describe, locations
from framework._plan import TrialPlan
from framework._stage import Record
from framework._trial import StageEnd


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    Attributes:
        seconds: from its start to its end.
        error: why it failed, in a sentence; None if it finished.
        traceback: where, if it was not one of the errors that explain themselves.
        files: what its run is to keep, by path: what has been logged.
        stopped: why it finished before its end; None if it did not.
    """

    seconds: float
    error: str | None = None
    traceback: str | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)
    stopped: str | None = None


class Stopped(BaseException):
    """A reporter raises it to end a trial early; says why. No `Exception`, which plugins may take for a failure."""


def failure(error: BaseException, seconds: float) -> Outcome:
    """The outcome of a trial that raised this: our own errors explain themselves, others say where they come from."""
    noted = locations(error)
    reason = describe(error) + (f" ({'; '.join(noted)})" if noted else "")
    return Outcome(seconds, reason, None if isinstance(error, FrameworkError) else _traceback(error))


def _traceback(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except Exception as another:  # its class may compute what is asked for
        return f"no traceback could be made: {describe(another)}\n"


def timed_out(seconds: float, timeout: float) -> Outcome:
    """The outcome of a trial that was ended as it took longer than it may."""
    return Outcome(seconds, f"it was ended after its timeout of {timeout:g} s (resources.timeout)")


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
        """A trial has finished, with its final state in the store unless it was stopped, or failed."""
