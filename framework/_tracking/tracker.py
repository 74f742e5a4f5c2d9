"""One MLflow run per trial, written behind the training's back."""

import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from framework._errors import FrameworkError, TrackingError, describe, redact
from framework._tracking.retry import RetryPolicy
from framework._tracking.run import OpenRun, RunArtifacts
from framework._tracking.runs import Runs
from framework._tracking.server import connect, database_file, is_new, lost, reach, translate_errors
from framework._tracking.writer import Writer

if TYPE_CHECKING:
    from framework._plan import TrialPlan
    from framework._stage import Record
    from framework._tracking.reader import TrialRun

T = TypeVar("T")
# How long an interrupted invocation still writes, seconds: where the store answers, and where it does not.
_GRACE, _SHORT_GRACE = 30.0, 3.0


class Tracker:
    """Writes trials to MLflow as they run, in order, on one background thread.

    Connecting begins at once and in the background: making a new database takes some seconds. Use it as a context
    manager, or call `close`: until then runs are open, and what went wrong is not raised.

    While the store does not answer, what is to be written is kept, and tried again for a while.

    Args:
        uri: the tracking URI.
        root: the folder of the local store; a SQLite database's artifacts go under it.
        tell: called on another thread with a sentence when the store does not answer, and when it does again.

    Attributes:
        is_new: the store is only now being made.
        uri: its URI, without user and password.
    """

    def __init__(self, uri: str, root: Path, tell: Callable[[str], None] = lambda text: None) -> None:
        self._uri, self.uri = uri, redact(uri)
        self.is_new = is_new(uri)
        self._root = root
        self._tell = tell
        self._retry = RetryPolicy(f"the tracking store {redact(uri)}", tell)
        self._errors: list[Exception] = []
        self._interrupted = False
        # These are the writer thread's.
        self._runs: Runs | None = None
        self._open: dict[tuple[str, str], OpenRun] = {}
        self._failed: dict[tuple[str, str], str] = {}
        self._writer = Writer(partial(self._attempt, self._flush))
        self._put(lambda runs: None)

    def finished(self, experiment: str) -> dict[str, "TrialRun"]:
        """The trials of an experiment that have a finished run already, by key; waits for the answer.

        Raises:
            TrackingError: the store cannot be reached or read.
        """
        return self._writer.call(partial(self._do, lambda runs: runs.finished(experiment)))

    def points(self, experiment: str, study: str) -> dict[int, Any]:
        """The points that earlier invocations were suggested in a study, by number; waits for the answer.

        Raises:
            TrackingError: the store cannot be reached or read.
        """
        return self._writer.call(partial(self._do, lambda runs: runs.points(experiment, study)))

    def suggested(self, experiment: str, study: str, number: int, point: Any) -> None:
        """Keep a point that a study goes on from when it is run again.

        Args:
            experiment: it must have been started.
            study: what identifies it within the experiment.
            number: of the point, within the study.
            point: plain JSON.
        """
        self._put(lambda runs: runs.suggested(experiment, study, number, point))

    def start(self, experiment: str, description: str, trials: int, command: str) -> None:
        """Make this invocation's parent run in an experiment, and the experiment where it is new; waits for it.

        Args:
            experiment: the spec's name.
            description: what the experiment and the run say of themselves.
            trials: how many trials there are at most, with those that need not run again.
            command: the command line.

        Raises:
            TrackingError: the store cannot be reached or written.
        """
        now = time.time()
        self._writer.call(partial(self._do, lambda runs: runs.start(experiment, description, trials, command, now)))

    def trial_started(
        self, plan: "TrialPlan", spec: str, *, notes: Mapping[str, Any] | None = None, force: bool = False
    ) -> None:
        """Open the trial's run. An unfinished or stopped run of the same trial goes on; a finished one is replaced.

        Args:
            plan: the trial; its experiment must have been started.
            spec: the trial as YAML, kept as ``spec.yaml``.
            notes: what to keep as parameters besides the plan.
            force: replace an unfinished run too.
        """
        now = time.time()

        def job(runs: Runs) -> None:
            self._open[plan.identity] = runs.open(plan, spec, now, notes=notes or {}, force=force)

        self._put_of(plan, job)

    def recorded(self, plan: "TrialPlan", records: "Iterable[Record]") -> None:
        """Log records of an open trial, in their order. Those that its run has already are passed over."""
        taken = tuple(records)
        self._put_of(plan, lambda runs: self._open[plan.identity].pending.extend(taken), lazy=True)

    def trial_restarted(self, plan: "TrialPlan") -> None:
        """An open trial is tried again, and will report from its start; what its run has already is passed over."""
        self._put_of(plan, lambda runs: self._open[plan.identity].rewind())

    def summarised(
        self,
        experiment: str,
        metrics: Mapping[str, float] | None = None,
        files: Mapping[str, bytes] | None = None,
        note: Callable[[str], str] | None = None,
    ) -> None:
        """Log metrics and files on the invocation's parent run in an experiment.

        Args:
            experiment: it must have been started.
            metrics: by name.
            files: by path.
            note: makes what the run says of itself, Markdown, given the run's id; called on the writer thread.
        """
        now = time.time()
        self._put(lambda runs: runs.summarise(experiment, metrics or {}, files or {}, note, now))

    def trial_ended(
        self,
        plan: "TrialPlan",
        reason: str | None,
        *,
        artifacts: Callable[[str], RunArtifacts] = lambda run_id: RunArtifacts(),
        stopped: str | None = None,
        failed: Callable[[str], None] = lambda reason: None,
        logged: Callable[[], None] = lambda: None,
    ) -> None:
        """Log what the trial leaves behind, and end its run.

        While a model is exported, torch says `is_compiling` in every thread, and its optimizers take other paths:
        where trials run in this very process, `wait` before the next one.

        Args:
            plan: the trial.
            reason: why it failed; None if it did not.
            artifacts: makes what its run keeps besides, given the run's id; called on the writer thread.
            stopped: why it finished before its end, if it did; the run of a later invocation may go on from there.
            failed: called on the writer thread with a reason if the run could not be written, or not all of it.
            logged: called on the writer thread when all of this is written, or has failed to be.
        """
        now, trial = time.time(), plan.identity

        def claim(runs: Runs) -> None:
            runs.claim(self._open[trial], finished=reason is None and stopped is None)

        def make(runs: Runs) -> None:
            run = self._open[trial]
            if not run.follows:
                run.artifacts = artifacts(run.run_id)

        def job(runs: Runs) -> None:
            run = self._open[trial]
            if not run.follows:
                runs.log_files(run.run_id, run.artifacts.files)
            if run.artifacts.model is not None:
                runs.log_model(run, run.artifacts.model, run.artifacts.shape)
            runs.end(run, "FINISHED" if reason is None else "FAILED", reason, now, stopped=stopped)
            del self._open[trial]

        def done() -> None:
            if trial in self._failed:
                failed(self._failed.pop(trial))
            logged()

        self._put_of(plan, claim)
        self._put_of(plan, make)
        self._put_of(plan, job)
        self._writer.put(done)

    def wait(self) -> None:
        """Wait until everything so far is written, or has failed to be."""
        self._writer.call(lambda: None)

    @property
    def error(self) -> Exception | None:
        """What went wrong first, if anything has; `close` raises it."""
        return self._errors[0] if self._errors else None

    def interrupt(self) -> None:
        """Say that the invocation does not come to its end, before it is closed: the store is not waited for."""
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
        if self._errors:
            raise self._errors[0]
        if not whole:
            raise TrackingError(f"the tracking store {redact(self._uri)} does not answer")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if kind is None:
            self.close()
            return
        self.interrupt()
        try:
            self.close()
        except FrameworkError as lost:  # why the invocation ends is what its caller has to know
            if lost is not error:
                self._tell(str(lost))

    # --- on the writer thread ----------------------------------------------------------------------------------

    def _put(self, job: Callable[[Runs], None], *, lazy: bool = False) -> None:
        self._writer.put(partial(self._attempt, partial(self._do, job)), lazy=lazy)

    def _put_of(self, plan: "TrialPlan", job: Callable[[Runs], None], *, lazy: bool = False) -> None:
        """Have a job of one trial done: what cannot be written of a trial is that trial's failure."""
        self._writer.put(partial(self._attempt, partial(self._do_of, plan, job)), lazy=lazy)

    def _do_of(self, plan: "TrialPlan", job: Callable[[Runs], None]) -> None:
        if plan.identity in self._failed:
            return
        try:
            self._do(job)
        except BaseException as error:  # a network may do anything while it is exported
            away = isinstance(error, TrackingError) and isinstance(error.__cause__, Exception) and lost(error.__cause__)
            if away or error in self._errors:
                raise
            self._fail(plan, error)

    def _fail(self, plan: "TrialPlan", error: BaseException) -> None:
        """Have the trial's run say why it failed; if the store does not take that either, it is the store's failure."""
        why = describe(error)

        def job(runs: Runs) -> None:
            runs.fail(self._open.get(plan.identity), plan.experiment, why, time.time())

        try:
            self._ask(job)
        except Exception:
            raise error from None
        self._open.pop(plan.identity, None)
        self._failed[plan.identity] = why

    def _do(self, job: Callable[[Runs], T]) -> T:
        """Do a job, unless the store has failed before: then nothing more is asked of it."""
        for error in self._errors:
            if isinstance(error, TrackingError):
                raise error
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
            if error not in self._errors:
                self._errors.append(error)
        except BaseException as error:  # the thread has more to write, and nobody would see it end
            self._errors.append(TrackingError(f"what was to be written ended with {describe(error)}"))

    def _flush(self) -> None:
        for run in list(self._open.values()):
            if run.pending:
                self._do_of(run.plan, partial(_write, run))

    def _finish(self, now: float) -> None:
        if self._runs is None:
            return
        jobs = [partial(_kill, run, now) for run in self._open.values()]
        jobs += [partial(_end_parent, name, self._interrupted, now) for name in self._runs.experiments]
        try:
            # Where the store has failed before, all is tried once more: what refuses one run may take another's end.
            if self._errors:
                reach(self._uri, seconds=2.0)
            for job in jobs:
                self._attempt(partial(self._ask, job))
        finally:
            self._runs.close()


def _write(run: OpenRun, runs: Runs) -> None:
    runs.write(run)


def _kill(run: OpenRun, now: float, runs: Runs) -> None:
    run.artifacts = RunArtifacts()
    runs.claim(run, finished=False)
    runs.end(run, "KILLED", "interrupted", now)


def _end_parent(experiment: str, interrupted: bool, now: float, runs: Runs) -> None:
    runs.end_parent(experiment, interrupted, now)
