"""What happens to a trial, from its start to its end, as events for whoever keeps or shows it."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from framework._errors import FrameworkError, describe, locations
from framework._measures import CLASSIFIED, Measures
from framework._plan import TrialPlan
from framework._plan.result import Result
from framework._trial import Report


@dataclass(frozen=True)
class Started:
    """A trial begins, which is measured by this."""

    measures: Measures = CLASSIFIED


@dataclass(frozen=True)
class Retried:
    """A trial has failed and is tried again: it goes on from the store, and reports from its start again."""

    result: Result


@dataclass(frozen=True)
class Ended:
    """A trial has finished, with its final state in the store unless it was stopped, or has failed.

    The executor leaves the result's metrics and epochs empty: the recorder, which has the reports, fills them in.
    """

    result: Result


TrialEvent: TypeAlias = Started | Report | Retried | Ended
# Takes the events of trials, each trial's in order, on the executor's thread.
Handler: TypeAlias = Callable[[TrialPlan, TrialEvent], None]


class Stopped(BaseException):
    """Raised out of a report to end a trial early; says why. No `Exception`, which plugins may take for a failure."""


def failure(plan: TrialPlan, error: BaseException, seconds: float) -> Result:
    """The result of a trial that raised this: our own errors explain themselves, others say where they come from."""
    noted = locations(error)
    reason = describe(error) + (f" ({'; '.join(noted)})" if noted else "")
    return Result(
        plan, {}, 0, seconds, reason, traceback=None if isinstance(error, FrameworkError) else _traceback(error)
    )


def _traceback(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except Exception as another:  # its class may compute what is asked for
        return f"no traceback could be made: {describe(another)}\n"


def timed_out(plan: TrialPlan, seconds: float) -> Result:
    """The result of a trial that was ended as it took longer than it may."""
    timeout = plan.resources["timeout"]
    return Result(plan, {}, 0, seconds, f"it was ended after its timeout of {timeout:g} s (resources.timeout)")
