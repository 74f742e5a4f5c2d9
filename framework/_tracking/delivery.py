"""Deliver to the tracking store what an invocation has to write, and find out whose failure it is if that fails."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from framework._errors import TrackingError, describe, located, redact
from framework._tracking.retry import RetryPolicy
from framework._tracking.run import OpenRun
from framework._tracking.runs import Runs
from framework._tracking.server import connect, database_file, lost, reach, translate_errors
from framework._tracking.writer import Writer

if TYPE_CHECKING:
    from framework._plan import TrialPlan

T = TypeVar("T")
# How long an interrupted invocation still writes, seconds: where the store answers, and where it does not.
_GRACE, _SHORT_GRACE = 30.0, 3.0


class Delivery:
    """Does jobs on the tracking store, in the order in which they are given, on one background thread.

    A store that does not answer is asked again for a while. What cannot be written of one trial is that trial's
    failure; what the store takes of nobody is the invocation's, which `close` raises.

    Args:
        uri: the tracking URI.
        root: the folder of the local store.
        tell: called on another thread with a sentence when the store does not answer, and when it does again.

    Attributes:
        errors: what went wrong for the whole invocation, the first one first.
        open: the runs of trials that have not ended, by the trials' identity; for jobs only.
        failed: why a trial could not be written, likewise.
    """

    def __init__(self, uri: str, root: Path, tell: Callable[[str], None]) -> None:
        self._uri, self._root = uri, root
        self._retry = RetryPolicy(f"the tracking store {redact(uri)}", tell)
        self._interrupted = False
        self._runs: Runs | None = None
        self.errors: list[Exception] = []
        self.open: dict[tuple[str, str], OpenRun] = {}
        self.failed: dict[tuple[str, str], str] = {}
        self._writer = Writer(partial(self._attempt, self._flush))

    def call(self, job: Callable[[Runs], T]) -> T:
        """Have a job done, wait for it, and return what it returns.

        Raises:
            TrackingError: the store cannot be reached, or refuses.
        """
        return self._writer.call(partial(self._do, job))

    def put(self, job: Callable[[Runs], None]) -> None:
        """Have a job done that is no single trial's."""
        self._writer.put(partial(self._attempt, partial(self._do, job)))

    def put_of(self, plan: "TrialPlan", job: Callable[[Runs], None], *, lazy: bool = False) -> None:
        """Have a job of one trial done; a lazy one only gathers what is to be written."""
        self._writer.put(partial(self._attempt, partial(self._do_of, plan, job)), lazy=lazy)

    def after(self, call: Callable[[], None]) -> None:
        """Have this called once all jobs so far are done, or have failed; it must not raise."""
        self._writer.put(call)

    def wait(self) -> None:
        """Wait until everything so far is written, or has failed to be."""
        self._writer.call(partial(self._attempt, self._flush))

    def interrupt(self) -> None:
        """Say that the invocation does not come to its end: the store is not waited for any more."""
        self._interrupted = True
        self._retry.end()

    def close(self) -> None:
        """Write what is left and end all runs: trials still open are KILLED, and none is left RUNNING.

        Raises:
            TrackingError: the store took nothing any more.
        """
        self._writer.put(partial(self._attempt, partial(self._finish, time.time())))
        grace = _SHORT_GRACE if self._retry.waiting else _GRACE
        try:
            whole = self._writer.close(grace if self._interrupted else None)
        except KeyboardInterrupt:
            self.interrupt()
            raise
        finally:
            self._retry.close()
        if self.errors:
            raise self.errors[0]
        if not whole:
            raise TrackingError(f"the tracking store {redact(self._uri)} does not answer")

    # --- on the background thread ------------------------------------------------------------------------------

    def _do_of(self, plan: "TrialPlan", job: Callable[[Runs], None]) -> None:
        if plan.identity in self.failed:
            return
        try:
            self._do(job)
        except BaseException as error:  # a network may do anything while it is exported
            away = isinstance(error, TrackingError) and isinstance(error.__cause__, Exception) and lost(error.__cause__)
            if away or error in self.errors:
                raise
            self._fail(plan, error)

    def _fail(self, plan: "TrialPlan", error: BaseException) -> None:
        """Have the trial's run say why it failed; if the store does not take that either, it is the store's failure."""
        why = describe(error)

        def job(runs: Runs) -> None:
            runs.fail(self.open.get(plan.identity), plan.experiment, why, time.time())

        try:
            self._ask(job)
        except TrackingError as refused:
            with located(f"nor can its run say so: {describe(refused)}"):
                raise error from error.__cause__  # which says whether the store is away
        self.open.pop(plan.identity, None)
        self.failed[plan.identity] = why

    def _do(self, job: Callable[[Runs], T]) -> T:
        """Do a job, unless the store has failed before: then nothing more is asked of it."""
        for error in self.errors:
            if isinstance(error, TrackingError):
                raise error from error.__cause__  # which says whether the store is away
        return self._ask(job)

    def _ask(self, job: Callable[[Runs], T]) -> T:
        with translate_errors(self._uri):
            if self._runs is None:
                # A server that is not there when a run starts is not waited for; a locked database is.
                local = database_file(self._uri) is not None
                open_store = partial(connect, self._uri)
                client = self._retry.ask(open_store, lambda: None) if local else open_store()
                self._runs = Runs(client, self._uri, self._root)
            return self._retry.ask(partial(job, self._runs), self._runs.forget)

    def _attempt(self, job: Callable[[], None]) -> None:
        try:
            job()
        except Exception as error:
            if error not in self.errors:
                self.errors.append(error)
        except BaseException as error:  # the thread has more to write, and nobody would see it end
            self.errors.append(TrackingError(f"what was to be written ended with {describe(error)}"))

    def _flush(self) -> None:
        for run in list(self.open.values()):
            if run.pending:
                self._do_of(run.plan, partial(_write, run))

    def _finish(self, now: float) -> None:
        if self._runs is None:
            return
        self._attempt(self._flush)
        jobs = [partial(_kill, run, now) for run in self.open.values()]
        jobs += [partial(_end_parent, name, self._interrupted, now) for name in self._runs.parents.experiments]
        try:
            # Where the store has failed before, all is tried once more: what refuses one run may take another's end.
            if self.errors:
                reach(self._uri, seconds=2.0)
            for job in jobs:
                self._attempt(partial(self._ask, job))
        finally:
            self._runs.close()


def _write(run: OpenRun, runs: Runs) -> None:
    runs.write(run)


def _kill(run: OpenRun, now: float, runs: Runs) -> None:
    run.drop()  # all that the store takes has been written
    runs.claim(run, finished=False)
    runs.end(run, "KILLED", "interrupted", now)


def _end_parent(experiment: str, interrupted: bool, now: float, runs: Runs) -> None:
    runs.parents.end(experiment, interrupted, now)
