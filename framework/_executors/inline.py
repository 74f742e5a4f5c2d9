"""Runs trials one after another in this process: for debuggers, notebooks and single trials."""

import time
from collections.abc import Callable
from dataclasses import replace

import torch

from framework._data import Source
from framework._errors import INTERRUPTS, Expired
from framework._executors.deadline import Deadline
from framework._executors.events import Ended, Handler, Retried, Started, Stopped, failure, timed_out
from framework._executors.queue import TrialQueue
from framework._plan import TrialPlan
from framework._plan.result import Result
from framework._plan.shares import Shares
from framework._ranks import LostRank
from framework._registry import Registry
from framework._spec import AUTO
from framework._store import Store
from framework._trial import Noted, Report, run_trial


def run(
    queue: TrialQueue,
    shares: Shares,
    registry: Registry,
    store: Store,
    handle: Handler,
    *,
    checkpoint_seconds: float,
) -> None:
    """Run the trials; one that fails does not stop the others.

    Args:
        queue: says which trial comes next, and has its data.
        shares: of the trials in this machine's cores; each has all of them, as it runs alone.
        registry: where components are looked up, and who observes.
        store: has the results of stages, and takes them.
        handle: takes the trials' events.
        checkpoint_seconds: the longest time between two checkpoints within a stage.
    """
    threads = torch.get_num_threads()
    try:
        while (index := queue.next()) is not None:
            plan, source = queue.plan(index), queue.source(index)
            cpu = plan.resources["cpu"]
            plan = shares.settle(plan, threads, threads if cpu == AUTO else cpu)
            own = registry.with_code(plan.code)
            handle(plan, Started(queue.measures(index)))
            for left in range(plan.resources["retries"], -1, -1):
                began, deadline = time.monotonic(), Deadline(plan.resources["timeout"])
                if not deadline.kept:
                    text = "resources.timeout is not kept, as the trials do not run in the main thread"
                    handle(plan, Noted(text))
                report = _reporting(plan, handle, deadline)
                try:
                    with deadline:
                        result = attempt(plan, own, source, store, report, checkpoint_seconds)
                except Expired:
                    result = timed_out(plan, time.monotonic() - began)
                if result.error is None or not left:
                    break
                handle(plan, Retried(result))
            handle(plan, Ended(result))
            queue.ended(index)
    finally:
        torch.set_num_threads(threads)


def _reporting(plan: TrialPlan, handle: Handler, deadline: Deadline) -> Callable[[Report], None]:
    def report(event: Report) -> None:
        with deadline.held():
            handle(plan, event)

    return report


def attempt(
    plan: TrialPlan,
    registry: Registry,
    source: Source,
    store: Store,
    report: Callable[[Report], None],
    checkpoint_seconds: float,
) -> Result:
    """Run one trial; whatever it raises becomes its result, whose metrics and epochs are left empty.

    Raises:
        LostRank: another process that runs the trial is gone, which has the reason.
    """
    began = time.monotonic()
    files: dict[str, bytes] = {}
    try:
        run_trial(plan, registry, source, store, report, checkpoint_seconds=checkpoint_seconds, artifacts=files)
        result = Result(plan, {}, 0, time.monotonic() - began)
    except Stopped as stop:
        result = Result(plan, {}, 0, time.monotonic() - began, stopped=str(stop))
    except (*INTERRUPTS, LostRank):
        raise
    except BaseException as error:  # one trial's failure, sys.exit of a plugin too, must not end the others
        registry.blame(error)
        result = failure(plan, error, time.monotonic() - began)
    return replace(result, files=files)
