"""One invocation: from specs to finished, tracked trials."""

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import yaml
from torch import nn

from framework.errors import Problem, SpecError
from framework.executors import inline
from framework.executors.inline import failure
from framework.executors.listener import Listener, Outcome
from framework.plan import Expand, TrialPlan, as_it_stands, make_plans
from framework.registry import Registry
from framework.report.table import Result
from framework.spec import ExperimentSpec
from framework.store import Store
from framework.tracking import Tracker
from framework.trial import Arrays, Record, build_model, prepare


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
        SpecError: values that are valid each are not so together, or two specs have one name.
    """
    files: dict[str, Path] = {}
    for spec in specs:
        if spec.name in files:
            message = f"{spec.name!r} is the name of {files[spec.name]} too: their runs would mix in MLflow"
            raise SpecError([Problem(str(spec.file), 0, 0, "name", message)])
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
    if options.address is None:
        # A Ray of our own keeps to the loopback interface. Read when ray is imported, which planning may do.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    planned = plan_all(specs)
    plans = [plan for trials in planned.values() for plan in trials]
    # For what plugins load from earlier runs.
    os.environ["MLFLOW_TRACKING_URI"] = options.tracking_uri
    if options.verbose:
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "INFO")
    with Tracker(options.tracking_uri, options.root) as tracker:
        session = _Session(registry, options, tracker, view)
        if options.executor == "ray" and tracker.is_new:
            # Starting Ray takes seconds, as making the database does; nothing can be finished in a new one.
            from framework.executors import ray_tune

            ray_tune.connect(options.address, options.verbose)
        if not options.force:
            finished = tracker.finished(plans)
            for plan in plans:
                if run := finished.get((plan.experiment, plan.key)):
                    result = Result(plan, run.metrics, run.epochs, run.seconds, None)
                    session.results[plan.experiment, plan.key] = result
        pending = [plan for plan in plans if (plan.experiment, plan.key) not in session.results]
        view.planned(pending, done=len(session.results))
        for spec in specs:
            if any(plan.experiment == spec.name for plan in pending):
                tracker.start(spec.name, spec.description, len(planned[spec.name]), options.command)
        session.execute(pending)
    return [session.results[plan.experiment, plan.key] for plan in plans]


class _Session:
    """Hands on what the executor tells to the tracking and to the view, and keeps the results."""

    def __init__(self, registry: Registry, options: Options, tracker: Tracker, view: View) -> None:
        self.registry, self.options, self.tracker, self.view = registry, options, tracker, view
        self.store = Store(options.root.absolute() / "stages")
        self.results: dict[tuple[str, str], Result] = {}
        # Of running trials, the epoch and the last value of each metric.
        self.reported: dict[tuple[str, str], tuple[int, dict[str, float]]] = {}
        self.arrays: dict[str, Arrays] = {}
        self.unloadable: dict[str, Outcome] = {}
        # Trials of two experiments may be one and the same, and leave one state.
        self.unlogged: Counter[str] = Counter()

    def execute(self, plans: Sequence[TrialPlan]) -> None:
        """Run these trials."""
        options = self.options
        plans = [plan for plan in plans if self._loaded(plan)]
        self.unlogged.update(plan.key for plan in plans)
        arrays = {plan.key: self.arrays[_data_key(plan)] for plan in plans}
        if not plans:
            return
        if options.executor == "inline":
            inline.run(plans, arrays, self.registry, self.store, self)
        else:
            from framework.executors import ray_tune

            ray_tune.run(
                plans,
                arrays,
                self.store,
                self,
                address=options.address,
                max_concurrent=options.max_concurrent,
                verbose=options.verbose,
            )

    def _loaded(self, plan: TrialPlan) -> bool:
        """Load the trial's data, once for all that share it; a trial whose data cannot be had has failed."""
        key = _data_key(plan)
        if key not in self.arrays and key not in self.unloadable:
            try:
                self.arrays[key] = prepare(plan.data, self.registry)
            except Exception as error:  # a dataset plugin's failure must not end what runs on other data
                self.unloadable[key] = failure(error, 0.0)
        if key in self.unloadable:
            self.started(plan)
            self.ended(plan, self.unloadable[key])
        return key in self.arrays

    def started(self, plan: TrialPlan) -> None:
        self.reported[plan.experiment, plan.key] = 0, {}
        arrays = self.arrays.get(_data_key(plan))
        # The logged model takes normalised images: whoever loads it has to know by what.
        notes = {"data.mean": arrays.mean, "data.std": arrays.std} if arrays else {}
        self.tracker.trial_started(plan, _as_spec(plan), notes=notes, force=self.options.force)
        self.view.started(plan)

    def recorded(self, plan: TrialPlan, records: Sequence[Record]) -> None:
        _, metrics = self.reported[plan.experiment, plan.key]
        for record in records:
            metrics.update(record.metrics)
        self.reported[plan.experiment, plan.key] = records[-1].epoch, metrics
        self.tracker.recorded(plan, records)
        self.view.recorded(plan, records)

    def noted(self, plan: TrialPlan, text: str) -> None:
        self.view.noted(plan, text)

    def ended(self, plan: TrialPlan, outcome: Outcome) -> None:
        epochs, metrics = self.reported.pop((plan.experiment, plan.key))
        self.results[plan.experiment, plan.key] = Result(plan, metrics, epochs, outcome.seconds, outcome.error)

        def model() -> nn.Module:
            network = build_model(plan, self.registry, self.arrays[_data_key(plan)])
            network.load_state_dict(self.store.load(plan.key))
            return network

        def logged() -> None:
            self.unlogged[plan.key] -= 1
            if not self.unlogged[plan.key]:
                self.store.discard(plan.key)

        self.tracker.trial_ended(
            plan,
            outcome.error,
            figures=outcome.figures,
            model=None if outcome.error else model,
            shape=self.arrays[_data_key(plan)].splits["train"][0].shape[1:] if not outcome.error else (),
            traceback=outcome.traceback,
            logged=logged,
        )
        if self.options.executor == "inline":
            # Exporting the model changes how torch's optimizers run, in every thread of the process.
            self.tracker.wait()
        self.view.ended(plan, outcome)


def _as_spec(plan: TrialPlan) -> str:
    """The trial alone, as a spec that runs it."""
    data = {**plan.data["dataset"], **{k: v for k, v in plan.data.items() if k != "dataset"}}
    stages = [{stage["name"]: {k: v for k, v in stage.items() if k != "name"}} for stage in plan.stages]
    spec = {
        "name": plan.experiment,
        "model": plan.model,
        "data": data,
        "seeds": [plan.seed],
        "stages": stages,
        "resources": plan.resources,
    }
    return yaml.safe_dump(json.loads(json.dumps(spec)), sort_keys=False)


def _data_key(plan: TrialPlan) -> str:
    return json.dumps([plan.data["dataset"], plan.data["validation"]], sort_keys=True)
