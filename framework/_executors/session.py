"""One invocation: from specs to finished, tracked trials."""

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from framework._errors import Problem, SpecError, redact
from framework._executors import inline, ray_env
from framework._executors.data import DataCache
from framework._executors.estimate import Estimator
from framework._executors.events import Handler
from framework._executors.machines import this_machine
from framework._executors.options import RunOptions
from framework._executors.pace import Timings
from framework._executors.queue import TrialQueue, recall
from framework._executors.quota import StoreQuota
from framework._executors.recorder import RunRecorder, View, Work
from framework._executors.renderer import FigureRenderer
from framework._executors.scheduler import StageScheduler
from framework._executors.search import Point, Sampler, Search, study_of
from framework._executors.summary import summarise
from framework._home import make_home
from framework._plan import Expand, SplitStages, TrialPlan, as_it_stands, make_plans
from framework._plan.result import Result
from framework._plan.shares import Shares
from framework._plan.tree import make_tree
from framework._registry import Registry
from framework._spec import ExperimentSpec
from framework._spec.grid import expand_grids
from framework._store import Store
from framework._tracking import Tracker, TrialRun


def expander(specs: Sequence[ExperimentSpec]) -> Expand:
    """What expands these specs: Ray Tune, which takes seconds to import, only if something is drawn."""
    spaces = [space for spec in specs if not spec.search.suggests for space in spec.spaces]
    if not spaces:
        return as_it_stands
    if not any(space.random for space in spaces):
        return expand_grids
    from framework._executors import ray_tune

    return ray_tune.expand


def plan_all(specs: Sequence[ExperimentSpec]) -> dict[str, list[TrialPlan]]:
    """The trials of each spec, by its name; none of a spec whose points are suggested one after another.

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
    return {spec.name: [] if spec.search.suggests else make_plans(spec, expand) for spec in specs}


def share_out(specs: Sequence[ExperimentSpec], planned: Mapping[str, Sequence[TrialPlan]]) -> Shares:
    """How the trials of all specs share a machine; those that a search has suggested before are still to come here."""
    return Shares([plan for plans in planned.values() for plan in plans], sum(spec.suggested for spec in specs))


def share_here(
    specs: Sequence[ExperimentSpec], planned: Mapping[str, Sequence[TrialPlan]]
) -> tuple[dict[str, list[TrialPlan]], int]:
    """The trials with the threads that their stages use on this machine, and how many of them run here at once."""
    shares, here = share_out(specs, planned), this_machine()
    settled, slots = {}, []
    for spec in specs:
        taken = here.take(spec, shares.branches)
        cores = here.cores(**taken)
        each = taken["cpu"] / taken["processes"]
        settled[spec.name] = [shares.settle(plan, cores, each) for plan in planned[spec.name]]
        slots.append(here.slots(**taken))
    return settled, max(1, min(slots))


def run(
    specs: Sequence[ExperimentSpec], registry: Registry, options: RunOptions, view: View
) -> tuple[list[Result], dict[str, Work]]:
    """Run all trials of the specs that are not finished yet.

    Returns:
        A result per trial, those of earlier invocations included, in the order of the plans; and by experiment, how
        the stages of those that were not finished came to be done.

    Raises:
        FrameworkError: nothing could be run, or results could not be tracked.
    """
    make_home()
    if options.executor == "ray":
        ray_env.configure(options.address)  # planning may import ray
    planned, command = plan_all(specs), redact(options.command)
    shares = share_out(specs, planned)
    if options.executor == "inline":
        _refuse_what_needs_ray(specs)
    store = Store(options.store_uri)
    stored = store.stored()  # before anything is started: a store that cannot be reached shows here
    timings = Timings(store, options.executor)
    if options.verbose:
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "INFO")
    with (
        timings.kept(view.remarked),  # the outermost: what is written after the last trial takes its time too
        _as_default(options.mlflow_uri),
        FigureRenderer() as renderer,
        Tracker(options.mlflow_uri, options.root, view.remarked) as tracker,
    ):
        if options.executor == "ray" and tracker.is_new:
            # Starting Ray takes seconds, as making the database does; nothing can be finished in a new one.
            from framework._executors import ray_tune

            ray_tune.connect(options.address, options.verbose)
        earlier = {} if options.force else _earlier(specs, tracker)
        results: dict[tuple[str, str], Result] = {}
        searches = {
            spec.name: Search(spec, tracker.points(spec.name, study_of(spec)), results, _sampler, view.remarked)
            for spec in specs
            if spec.search.suggests
        }
        planned |= {name: search.plans for name, search in searches.items()}
        coming = {name: search.coming * len(search.spec.seeds) for name, search in searches.items()}
        pending = recall([plan for plans in planned.values() for plan in plans], earlier, results)
        kept = frozenset() if options.force else stored
        expected = None if options.address else _expect(specs, pending, kept, store, options)
        epochs = make_tree(SplitStages(kept)(pending)).remaining(kept)[1]
        view.planned(pending, len(results), sum(coming.values()), epochs, expected)
        busy = [spec for spec in specs if coming.get(spec.name) or any(p.experiment == spec.name for p in pending)]
        for spec in busy:
            trials = len(planned[spec.name]) + coming.get(spec.name, 0)
            tracker.start(spec.name, spec.description, trials, options.command)
        split = SplitStages([*stored, *store.stored(partial=True)])
        scheduler, data = StageScheduler((), stored), DataCache(registry)
        quota = None if options.store_limit is None else StoreQuota(store, scheduler, options.store_limit)
        recorder = RunRecorder(
            *(registry, tracker, renderer, view, store, scheduler, quota, timings, data, results),
            command=command,
            force=options.force,
            wait=options.executor == "inline",  # exporting a model changes torch's optimizers in the whole process
        )
        suggesting = [searches[spec.name] for spec in busy if spec.name in searches]
        queue = TrialQueue(
            *(busy, suggesting, earlier, results, scheduler, data),
            keep_point=tracker.suggested,
            handle=recorder.handle,
            suggested=view.suggested,
            discard=store.discard if options.force else None,
            split=split,
        )
        try:
            queue.add(pending)
            if not queue.done:
                _execute(queue, shares, registry, store, recorder.handle, view.remarked, options)
        finally:
            for experiment, work in recorder.work.items():
                tracker.summarised(experiment, work.metrics())
        planned |= {name: search.plans for name, search in searches.items()}
        tracker.wait()  # a trial whose run cannot be written has failed
        ended = {spec.name: [results[plan.identity] for plan in planned[spec.name]] for spec in busy}
        summarise(busy, ended, registry, tracker, view.remarked, uri=options.mlflow_uri, command=command)
    return [results[plan.identity] for plans in planned.values() for plan in plans], recorder.work


def _expect(
    specs: Sequence[ExperimentSpec],
    pending: Sequence[TrialPlan],
    stored: Collection[str],
    store: Store,
    options: RunOptions,
) -> float | None:
    """The seconds that these trials will take on this machine, if earlier ones tell."""
    planned = {spec.name: [plan for plan in pending if plan.experiment == spec.name] for spec in specs}
    settled, slots = share_here(specs, planned)
    most = 1 if options.executor == "inline" else options.max_concurrent
    plans = [plan for plans in settled.values() for plan in plans]
    estimate = Estimator(plans, stored, store, options.executor)
    found = estimate(min(slots, most or slots))
    return None if found is None else found.seconds


@contextmanager
def _as_default(tracking_uri: str) -> Iterator[None]:
    """Have plugins load from there what they load of earlier runs; this process's next run may have another root."""
    name = "MLFLOW_TRACKING_URI"
    before = os.environ.get(name)
    os.environ[name] = tracking_uri
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before


def _refuse_what_needs_ray(specs: Sequence[ExperimentSpec]) -> None:
    compared = "trials are compared with others that run at the same time: take --executor ray, or set this to null"
    several = (
        "processes train a trial together, which needs --executor ray: take it, or ask for one process and one GPU"
    )
    problems = [
        *(Problem(str(spec.file), 0, 0, "search.scheduler", compared) for spec in specs if spec.search.scheduler),
        *(
            Problem(str(spec.file), 0, 0, "resources", f"{spec.resources['processes']} {several}")
            for spec in specs
            if spec.resources["processes"] > 1
        ),
    ]
    if problems:
        raise SpecError(problems)


def _earlier(specs: Sequence[ExperimentSpec], tracker: Tracker) -> dict[tuple[str, str], TrialRun]:
    """The trials that need not be run again; one that was stopped need not as long as its spec has a scheduler."""
    return {
        (spec.name, key): run
        for spec in specs
        for key, run in tracker.finished(spec.name).items()
        if spec.search.scheduler or not run.stopped
    }


def _sampler(spec: ExperimentSpec, known: Mapping[int, Point]) -> Sampler:
    from framework._executors import ray_tune

    return ray_tune.Optuna(spec, known)


def _execute(
    queue: TrialQueue,
    shares: Shares,
    registry: Registry,
    store: Store,
    handle: Handler,
    remark: Callable[[str], None],
    options: RunOptions,
) -> None:
    checkpoint_seconds = 60 * options.checkpoint_minutes
    if options.executor == "inline":
        inline.run(queue, shares, registry, store, handle, checkpoint_seconds=checkpoint_seconds)
        return
    from framework._executors import ray_tune

    ray_tune.run(
        queue,
        shares,
        registry.disabled,
        store,
        handle,
        remark,
        checkpoint_seconds=checkpoint_seconds,
        address=options.address,
        max_concurrent=options.max_concurrent,
        verbose=options.verbose,
    )
