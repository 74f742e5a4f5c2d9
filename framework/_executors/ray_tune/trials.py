"""Trials as Ray Tune's trials."""

import faulthandler
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import ray
import torch
from ray import tune
from ray.tune.search import Searcher

from framework._executors.deadline import LONGEST
from framework._executors.events import Ended, Handler, Stopped, failure
from framework._executors.inline import attempt
from framework._executors.queue import TrialQueue
from framework._executors.ray_tune import ranks
from framework._executors.ray_tune.callback import TuneCallback
from framework._executors.ray_tune.cluster import connect
from framework._executors.ray_tune.halving import Halving, shall_stop
from framework._executors.ray_tune.nodes import Room, machines
from framework._measures import Measures
from framework._plan import TrialPlan
from framework._plan.result import Result
from framework._plan.shares import Shares
from framework._ranks import LostRank
from framework._registry import installed
from framework._store import Store
from framework._trial import Recorded, Report

# A report makes the trial wait for the driver, some milliseconds: rarely enough, that is nothing.
_REPORT_SECONDS = 0.5
_ENDLESS = -1
_MANY = 10**6
_STDERR = 2


def run(
    queue: TrialQueue,
    shares: Shares,
    disabled: frozenset[str],
    store: Store,
    handle: Handler,
    remark: Callable[[str], None],
    *,
    checkpoint_seconds: float,
    address: str | None = None,
    max_concurrent: int | None = None,
    verbose: bool = False,
) -> None:
    """Run the trials; one that fails does not stop the others.

    Args:
        queue: says which trial may start, and has its data; equal objects are sent to each machine once.
        shares: of the trials in the machines' cores.
        disabled: the plugin distributions that workers leave out.
        store: has the results of stages, and takes them; on a cluster, a place that all machines reach.
        handle: takes the trials' events.
        remark: takes what the user should know.
        checkpoint_seconds: the longest time between two checkpoints within a stage.
        address: of a running Ray cluster (``auto`` finds it); None starts Ray on this machine.
        max_concurrent: how many trials run at once; None: as many as fit.
        verbose: show what Ray and the workers log.

    Raises:
        FrameworkError: the cluster cannot be reached, or a trial asks for more than any machine has.
    """
    connect(address, verbose)
    now, later = machines(address)
    at_once = min(shares.branches, max_concurrent or _MANY)
    taken = {name: later.take(spec, at_once) for name, spec in queue.specs.items()}
    for name in [name for name, amounts in taken.items() if not now.slots(**amounts)]:
        units = {unit: taken[name][unit] for unit in ("cpu", "gpu")}
        what = " and ".join(f"{amount:g} {unit.upper()}" for unit, amount in units.items() if amount)
        remark(f"{name}: no machine of the cluster has {what} yet: waiting until it has started one")
    cores = {name: later.cores(**amounts) for name, amounts in taken.items()}
    queue.allow({name: min(later.slots(**amounts), max_concurrent or _MANY) for name, amounts in taken.items()})

    def settle(plan: TrialPlan) -> TrialPlan:
        amounts = taken[plan.experiment]
        return shares.settle(plan, cores[plan.experiment], amounts["cpu"] / amounts["processes"])

    here = {"folder": os.getcwd(), "tracking_uri": os.environ["MLFLOW_TRACKING_URI"]}
    trainable = tune.with_parameters(
        _train, store=store, here=here, disabled=disabled, checkpoint_seconds=checkpoint_seconds
    )
    # When interrupted, Ray may still be writing there.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        tune.Tuner(
            tune.with_resources(trainable, lambda config: ranks.resources(config["task"].resources)),
            tune_config=tune.TuneConfig(
                search_alg=_Turns(queue, settle, taken, Room(address, taken.values(), max_concurrent)),
                scheduler=Halving(queue.specs.values()),
                num_samples=_ENDLESS,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                storage_path=scratch, name="trials", verbose=0, callbacks=[TuneCallback(queue, handle)]
            ),
        ).fit()


@dataclass(frozen=True, repr=False)
class _Task:
    """What a Tune trial is about: one attempt at a trial.

    Attributes:
        index: of the trial.
        plan: the trial.
        measures: by what it is measured.
        resources: what it takes of the machine, for all of its processes.
        source: refers to its data.
        report_seconds: how long reports may be gathered.
    """

    index: int
    plan: TrialPlan
    measures: Measures
    resources: Mapping[str, float]
    source: Any
    report_seconds: float

    def __deepcopy__(self, memo: Any) -> "_Task":
        return self  # Tune copies what is suggested


class _Turns(Searcher):
    """Lets Tune start the trials that the queue lets through, one Tune trial for each attempt.

    Only when there is room: for a trial that has to wait, Tune asks Ray for a worker, and takes that back as soon as
    another trial leaves one behind. That costs it as much as all else that it does for a trial.
    """

    def __init__(
        self,
        queue: TrialQueue,
        settle: Callable[[TrialPlan], TrialPlan],
        taken: Mapping[str, Mapping[str, float]],
        room: Callable[[], int],
    ) -> None:
        super().__init__()
        self.queue, self.settle, self.taken, self.room = queue, settle, taken, room
        self.placed: dict[int, Any] = {}
        self.live: set[str] = set()  # Tune's ids of its trials

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles itself so as to be restored; we never restore it

    def suggest(self, trial_id: str) -> Any:
        if self.queue.done:
            return Searcher.FINISHED
        if len(self.live) >= self.room():
            return None
        index = self.queue.next()
        if index is None:
            return None
        self.live.add(trial_id)
        return {"task": self._task(index)}

    def _task(self, index: int) -> _Task:
        plan, source = self.settle(self.queue.plan(index)), self.queue.source(index)
        if id(source) not in self.placed:  # the queue's data keep them alive
            self.placed[id(source)] = ray.put(source)
        # A scheduler is to see every epoch before the next one begins.
        report_seconds = 0.0 if self.queue.specs[plan.experiment].search.scheduler else _REPORT_SECONDS
        return _Task(
            *(index, plan, self.queue.measures(index)),
            *(self.taken[plan.experiment], self.placed[id(source)], report_seconds),
        )

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """There is room for another; `TuneCallback` tells the queue."""
        self.live.discard(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Nothing."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing."""


class _Reports:
    """Sends the driver what a trial reports, gathered: every report costs some milliseconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._events: list[Report | Ended] = []
        self._sent = time.monotonic()
        self.over = False  # Tune takes no more of it

    def send(self, event: Report | Ended) -> None:
        self._events.append(event)
        # Notes are shown at once, and others wait for stages.
        if isinstance(event, Recorded) and time.monotonic() - self._sent < self._seconds:
            return
        try:
            tune.report({"events": self._events})
        except SystemExit:  # so Tune ends the thread of a trial
            self.over = True
            raise Stopped("Tune has ended it") from None
        self._events = []
        self._sent = time.monotonic()
        if not isinstance(event, Ended) and (why := shall_stop()):
            raise Stopped(why)


def _train(
    config: Mapping[str, Any],
    store: Store,
    here: Mapping[str, str],
    disabled: frozenset[str],
    checkpoint_seconds: float,
) -> None:
    """One Tune trial, in a worker process."""
    task: _Task = config["task"]
    reports = _Reports(task.report_seconds)
    timeout = task.plan.resources["timeout"]
    if timeout is not None:
        # A thread of its own ends the process, whatever the trial hangs in.
        faulthandler.dump_traceback_later(min(timeout, LONGEST), exit=True, file=_STDERR)
    work = partial(_attempt, task, store, here, disabled, checkpoint_seconds)
    began = time.monotonic()
    # Reported, not raised: the worker lives on and takes the next trial.
    try:
        if task.resources["processes"] > 1:
            first, other = partial(work, reports.send), partial(work, _ignore)
            result = ranks.run_together(task.plan, task.resources, first, other)
        else:
            result = work(reports.send)
    except BaseException as error:  # the other processes cannot be started
        result = failure(task.plan, error, time.monotonic() - began)
    finally:
        faulthandler.cancel_dump_traceback_later()
    if not reports.over:
        reports.send(Ended(result))


def _ignore(report: Report) -> None:
    """The first of a trial's processes has reported it."""


def _attempt(
    task: _Task,
    store: Store,
    here: Mapping[str, str],
    disabled: frozenset[str],
    checkpoint_seconds: float,
    report: Callable[[Report], None],
) -> Result:
    """One attempt at a trial, in each of its processes.

    Raises:
        LostRank: another process of the trial is gone.
    """
    plan = replace(task.plan, resources={**task.plan.resources, **task.resources})
    if 0 < task.resources["gpu"] < 1 and torch.cuda.is_available():
        # Trials share the GPU: one that takes more memory than its part fails, not those beside it.
        torch.cuda.set_per_process_memory_fraction(task.resources["gpu"])
    began = time.monotonic()
    # A cluster's workers stand where it was started; paths in specs are relative to where the user stands.
    if os.path.isdir(here["folder"]):
        os.chdir(here["folder"])
    os.environ["MLFLOW_TRACKING_URI"] = here["tracking_uri"]
    try:
        registry = installed(disabled).with_code(plan.code)
        source = ray.get(task.source)  # its class may be in a file of code, which can be imported from here on
        return attempt(plan, registry, source, store, report, checkpoint_seconds)
    except LostRank:
        raise
    except BaseException as error:  # plugins or data that this machine cannot load; Ctrl-C comes to the driver alone
        return failure(plan, error, time.monotonic() - began)
