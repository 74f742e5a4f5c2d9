"""One invocation: from specs to finished, tracked trials."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from framework.errors import FrameworkError
from framework.executors.listener import Listener
from framework.plan import Expand, TrialPlan, as_it_stands, make_plans
from framework.registry import Registry
from framework.report.table import Result
from framework.spec import ExperimentSpec
from framework.tracking import Tracker


@dataclass(frozen=True)
class Options:
    """How to run.

    Attributes:
        root: where results lie.
        tracking_uri: the MLflow store.
        executor: ``ray``, or ``inline`` in this process.
        address: of a running Ray cluster.
        max_concurrent: how many trials run at once; None: as many as fit.
        force: run finished trials again.
        verbose: show what libraries log.
        command: what the user typed, for the record.
    """

    root: Path
    tracking_uri: str
    executor: Literal["ray", "inline"] = "ray"
    address: str | None = None
    max_concurrent: int | None = None
    force: bool = False
    verbose: bool = False
    command: str = ""


class View(Listener, Protocol):
    """Shows the user what happens."""

    def planned(self, plans: Sequence[TrialPlan], done: int) -> None:
        """These trials are to be run; so many more are finished already."""


def expander(specs: Sequence[ExperimentSpec]) -> Expand:
    """What expands these specs: Ray Tune, which takes seconds to import, only if there is a search space."""
    if not any(spec.spaces for spec in specs):
        return as_it_stands
    from framework.executors import ray_tune

    return ray_tune.expand


def plan_all(specs: Sequence[ExperimentSpec]) -> dict[str, list[TrialPlan]]:
    """The trials of each spec, by its name.

    Raises:
        SpecError: values that are valid each are not so together.
        FrameworkError: two specs have one name.
    """
    files: dict[str, Path] = {}
    for spec in specs:
        if spec.name in files:
            raise FrameworkError(
                f"{files[spec.name]} and {spec.file} are both named {spec.name!r}: their runs would mix in MLflow"
            )
        files[spec.name] = spec.file
    expand = expander(specs)
    return {spec.name: make_plans(spec, expand) for spec in specs}


def run(specs: Sequence[ExperimentSpec], registry: Registry, options: Options, view: View) -> list[Result]:
    """Run all trials of the specs that are not finished yet.

    Returns:
        A result per trial, those of earlier invocations included, in the order of the plans.

    Raises:
        FrameworkError: nothing could be run, or results could not be tracked.
    """
    planned = plan_all(specs)
    plans = [plan for trials in planned.values() for plan in trials]
    tracker = Tracker(options.tracking_uri, options.root)
    finished = {} if options.force else tracker.finished(plans)
    results = {
        plan.key: Result(plan, earlier.metrics, earlier.seconds, None)
        for plan in plans
        if (earlier := finished.get(plan)) is not None
    }
