"""One invocation: from specs to finished, tracked trials."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from framework.component import Catalog
from framework.errors import Problem, SpecError
from framework.executors import inline
from framework.executors.bookkeeper import Bookkeeper, View, Work
from framework.executors.gate import Gate
from framework.executors.inline import failure
from framework.executors.limiter import Limiter
from framework.executors.listener import Outcome
from framework.plan import Expand, TrialPlan, as_it_stands, make_plans
from framework.registry import Registry
from framework.report.table import Result
from framework.spec import ExperimentSpec
from framework.store import Store
from framework.tracking import Tracker
from framework.trial import Arrays, prepare


@dataclass(frozen=True)
class Options:
    """How to run.

    Attributes:
        root: where results lie.
        tracking_uri: the MLflow store.
        executor: ``ray``, or ``inline`` in this process.
        address: of a running Ray cluster.
        max_concurrent: how many trials run at once; None: as many as fit.
        store: where the results of stages are kept.
        store_limit: how many bytes of them; None: as many as there are.
        checkpoint_minutes: the longest time between two checkpoints within a stage.
        force: run finished trials again, from the start.
        verbose: show what libraries log.
        command: what the user typed, for the record.
    """

    root: Path
    tracking_uri: str
    executor: Literal["ray", "inline"] = "ray"
    address: str | None = None
    max_concurrent: int | None = None
    store: str = ""
    store_limit: int | None = None
    checkpoint_minutes: float = 5.0
    force: bool = False
    verbose: bool = False
    command: str = ""


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


def run(
    specs: Sequence[ExperimentSpec], registry: Registry, options: Options, view: View
) -> tuple[list[Result], dict[str, Work]]:
    """Run all trials of the specs that are not finished yet.

    Returns:
        A result per trial, those of earlier invocations included, in the order of the plans; and by experiment, how
        the stages of those that were not finished came to be done.

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
        if options.executor == "ray" and tracker.is_new:
            # Starting Ray takes seconds, as making the database does; nothing can be finished in a new one.
            from framework.executors import ray_tune

            ray_tune.connect(options.address, options.verbose)
        results = {} if options.force else _finished(plans, tracker)
        pending = [plan for plan in plans if (plan.experiment, plan.key) not in results]
        view.planned(pending, done=len(results))
        for spec in specs:
            if any(plan.experiment == spec.name for plan in pending):
                tracker.start(spec.name, spec.description, len(planned[spec.name]), options.command)
        done, work = _execute(pending, registry, options, tracker, view)
    results |= done
    return [results[plan.experiment, plan.key] for plan in plans], work


def _finished(plans: Sequence[TrialPlan], tracker: Tracker) -> dict[tuple[str, str], Result]:
    found = tracker.finished(plans)
    return {
        (plan.experiment, plan.key): Result(plan, run.metrics, run.epochs, run.seconds, None)
        for plan in plans
        if (run := found.get((plan.experiment, plan.key)))
    }


def _execute(
    plans: Sequence[TrialPlan], registry: Registry, options: Options, tracker: Tracker, view: View
) -> tuple[dict[tuple[str, str], Result], dict[str, Work]]:
    store = Store(options.store)
    arrays, unloadable = _load(plans, registry)
    loaded = [plan for plan in plans if plan.key in arrays]
    if options.force:
        for key in {key for plan in loaded for key in plan.keys[1:]}:
            store.discard(key)
    gate = Gate(loaded, store.stored())
    limiter = None if options.store_limit is None else Limiter(store, gate, options.store_limit)
    # Exporting the model changes how torch's optimizers run, in every thread of the process.
    wait = options.executor == "inline"
    books = Bookkeeper(registry, tracker, view, store, arrays, limiter, force=options.force, wait=wait)
    try:
        for plan in plans:
            if plan.key in unloadable:
                books.started(plan)
                books.ended(plan, unloadable[plan.key])
        if loaded:
            _run(loaded, arrays, registry, options, store, books, gate)
    finally:
        for experiment, work in books.work.items():
            tracker.summarised(experiment, work.metrics())
    return books.results, books.work


def _run(
    plans: Sequence[TrialPlan],
    arrays: Mapping[str, Arrays],
    registry: Registry,
    options: Options,
    store: Store,
    books: Bookkeeper,
    gate: Gate,
) -> None:
    checkpoint_seconds = 60 * options.checkpoint_minutes
    if options.executor == "inline":
        inline.run(plans, arrays, registry, store, books, gate, checkpoint_seconds=checkpoint_seconds)
        return
    from framework.executors import ray_tune

    ray_tune.run(
        plans,
        arrays,
        store,
        books,
        gate,
        checkpoint_seconds=checkpoint_seconds,
        address=options.address,
        max_concurrent=options.max_concurrent,
        verbose=options.verbose,
    )


def _load(plans: Sequence[TrialPlan], catalog: Catalog) -> tuple[dict[str, Arrays], dict[str, Outcome]]:
    """Load data, once for all trials that share it; a trial whose data cannot be had has failed. By trial key."""
    found: dict[str, Arrays | Outcome] = {}
    for plan in plans:
        key = _data_key(plan)
        if key not in found:
            try:
                found[key] = prepare(plan.data, catalog)
            except Exception as error:  # a dataset plugin's failure must not end what runs on other data
                found[key] = failure(error, 0.0)
    of = {plan.key: found[_data_key(plan)] for plan in plans}
    arrays = {key: data for key, data in of.items() if isinstance(data, Arrays)}
    return arrays, {key: outcome for key, outcome in of.items() if isinstance(outcome, Outcome)}


def _data_key(plan: TrialPlan) -> str:
    return json.dumps([plan.data["dataset"], plan.data["validation"]], sort_keys=True)
