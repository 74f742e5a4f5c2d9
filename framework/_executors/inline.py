"""Runs trials one after another in this process: for debuggers, notebooks and single trials."""

import time
from dataclasses import dataclass, replace

import torch

from framework._errors import Expired
from framework._executors.agenda import Agenda
from framework._executors.deadline import Deadline
from framework._executors.listener import Listener, Outcome, Stopped, failure, timed_out
from framework._plan import TrialPlan
from framework._registry import Registry
from framework._stage import Record
from framework._store import Store
from framework._trial import Arrays, Reporter, StageEnd, run_trial


def run(agenda: Agenda, registry: Registry, store: Store, listener: Listener, *, checkpoint_seconds: float) -> None:
    """Run the trials; one that fails does not stop the others.

    Args:
        agenda: says which trial comes next, and has its data.
        registry: where components are looked up, and who observes.
        store: has the results of stages, and takes them.
        listener: is told what happens.
        checkpoint_seconds: the longest time between two checkpoints within a stage.
    """
    threads = torch.get_num_threads()
    try:
        while (index := agenda.next()) is not None:
            plan, arrays = agenda.plan(index), agenda.arrays(index)
            timeout = plan.resources["timeout"]
            listener.started(plan)
            for left in range(plan.resources["retries"], -1, -1):
                began, deadline = time.monotonic(), Deadline(timeout)
                if not deadline.kept:
                    listener.noted(plan, "resources.timeout is not kept, as the trials do not run in the main thread")
                reporter = _Reporter(plan, listener, agenda, deadline)
                try:
                    with deadline:
                        outcome = attempt(plan, registry, arrays, store, reporter, checkpoint_seconds)
                except Expired:
                    outcome = timed_out(time.monotonic() - began, timeout)
                if outcome.error is None or not left:
                    break
                listener.retried(plan, outcome)
            listener.ended(plan, outcome)
            agenda.ended(index)
    finally:
        torch.set_num_threads(threads)


@dataclass
class _Reporter:
    plan: TrialPlan
    listener: Listener
    agenda: Agenda
    deadline: Deadline

    def recorded(self, record: Record) -> None:
        with self.deadline.held():
            self.listener.recorded(self.plan, [record])

    def noted(self, text: str) -> None:
        with self.deadline.held():
            self.listener.noted(self.plan, text)

    def staged(self, *ends: StageEnd) -> None:
        with self.deadline.held():
            for end in ends:
                self.agenda.stored(end.key)
                self.listener.staged(self.plan, end)


def attempt(
    plan: TrialPlan,
    registry: Registry,
    arrays: Arrays,
    store: Store,
    reporter: Reporter,
    checkpoint_seconds: float,
) -> Outcome:
    """Run one trial; whatever it raises becomes its outcome."""
    began = time.monotonic()
    files: dict[str, bytes] = {}
    try:
        run_trial(plan, registry, arrays, store, reporter, checkpoint_seconds=checkpoint_seconds, artifacts=files)
        outcome = Outcome(time.monotonic() - began)
    except Stopped as stop:
        outcome = Outcome(time.monotonic() - began, stopped=str(stop))
    except (Expired, KeyboardInterrupt):
        raise
    except BaseException as error:  # one trial's failure, sys.exit of a plugin too, must not end the others
        registry.blame(error)
        outcome = failure(error, time.monotonic() - began)
    return replace(outcome, files=files)
