"""One MLflow run per trial, written behind the training's back."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from framework._errors import TrackingError
from framework._tracking.run import Finished, OpenRun
from framework._tracking.runs import Runs
from framework._tracking.server import connect, is_new, plainly, reach
from framework._tracking.writer import Writer

if TYPE_CHECKING:
    from torch import nn

    from framework._plan import TrialPlan
    from framework._stage import Record

__all__ = ["Finished", "Tracker"]
T = TypeVar("T")


class Tracker:
    """Writes trials to MLflow as they run, in order, on one background thread.

    Connecting begins at once and in the background: making a new database takes some seconds. Use it as a context
    manager, or call `close`: until then runs are open, and what went wrong is not raised.

    Args:
        uri: the tracking URI.
        root: the folder of the local store; a SQLite database's artifacts go under it.

    Attributes:
        is_new: the store is only now being made.
    """

    def __init__(self, uri: str, root: Path) -> None:
        self._uri = uri
        self.is_new = is_new(uri)
        self._root = root
        self._errors: list[Exception] = []
        self._interrupted = False
        # These two are the writer thread's.
        self._runs: Runs | None = None
        self._open: dict[tuple[str, str], OpenRun] = {}
        self._writer = Writer(partial(self._attempt, self._flush))
        self._put(lambda runs: None)

    def finished(self, experiment: str) -> dict[str, Finished]:
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
        self._writer.call(partial(self._do, lambda runs: runs.start(experiment, description, trials, command)))

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

        self._put(job)

    def recorded(self, plan: "TrialPlan", records: "Iterable[Record]") -> None:
        """Log records of an open trial, in their order. Those that its run has already are passed over."""
        taken = tuple(records)
        self._put(lambda runs: self._open[plan.identity].pending.extend(taken), lazy=True)

    def trial_restarted(self, plan: "TrialPlan") -> None:
        """An open trial is tried again, and will report from its start; what its run has already is passed over."""
        self._put(lambda runs: self._open[plan.identity].rewind())

    def summarised(self, experiment: str, metrics: Mapping[str, float]) -> None:
        """Log metrics on the invocation's parent run in an experiment."""
        self._put(lambda runs: runs.summarise(experiment, metrics))

    def trial_ended(
        self,
        plan: "TrialPlan",
        reason: str | None,
        *,
        files: Mapping[str, bytes] | None = None,
        model: "Callable[[], nn.Module] | None" = None,
        shape: Sequence[int] = (),
        traceback: str | None = None,
        stopped: str | None = None,
        logged: Callable[[], None] = lambda: None,
    ) -> None:
        """Log what the trial leaves behind, and end its run.

        While a model is exported, torch says `is_compiling` in every thread, and its optimizers take other paths:
        where trials run in this very process, `wait` before the next one.

        Args:
            plan: the trial.
            reason: why it failed; None if it did not.
            files: what its run keeps, by path.
            model: makes a network that nobody else uses; called on the writer thread.
            shape: (channels, height, width) of the network's input; needed with a model.
            traceback: where it failed, kept as ``traceback.txt``.
            stopped: why it finished before its end, if it did; the run of a later invocation may go on from there.
            logged: called on the writer thread when all of this is written.
        """
        now = time.time()

        def job(runs: Runs) -> None:
            run = self._open[plan.identity]
            why = reason
            try:
                network = model() if model else None
            except Exception as error:  # not the store's fault: the trial's run says so, and `close` raises it
                self._errors.append(error)
                network, why = None, reason or f"{type(error).__name__}: {error}"
            runs.log_files(run, files or {})
            if network is not None:
                runs.log_model(run, network, shape)
            if traceback is not None:
                runs.log_text(run, traceback, "traceback.txt")
            runs.end(run, "FINISHED" if why is None else "FAILED", why, now, stopped=stopped)
            logged()
            del self._open[plan.identity]

        self._put(job)

    def wait(self) -> None:
        """Wait until everything so far is written, or has failed to be."""
        self._writer.call(lambda: None)

    @property
    def error(self) -> Exception | None:
        """What went wrong first, if anything has; `close` raises it."""
        return self._errors[0] if self._errors else None

    def interrupt(self) -> None:
        """Say that the invocation does not come to its end, before it is closed."""
        self._interrupted = True

    def close(self) -> None:
        """Write what is left and end all runs: trials still open are KILLED, and none is left RUNNING.

        Raises:
            TrackingError: something could not be written.
            Exception: a model could not be made; what its callable raised.
        """
        self._writer.put(partial(self._attempt, self._finish))
        self._writer.close()
        if self._errors:
            raise self._errors[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if kind is not None:
            self.interrupt()
        self.close()

    # --- on the writer thread ----------------------------------------------------------------------------------

    def _put(self, job: Callable[[Runs], None], *, lazy: bool = False) -> None:
        self._writer.put(partial(self._attempt, partial(self._do, job)), lazy=lazy)

    def _do(self, job: Callable[[Runs], T]) -> T:
        """Do a job, unless the store has failed before: then nothing more is asked of it."""
        for error in self._errors:
            if isinstance(error, TrackingError):
                raise error
        return self._ask(job)

    def _ask(self, job: Callable[[Runs], T]) -> T:
        with plainly(self._uri):
            if self._runs is None:
                self._runs = Runs(connect(self._uri), self._uri, self._root)
            return job(self._runs)

    def _attempt(self, job: Callable[[], None]) -> None:
        try:
            job()
        except Exception as error:
            if error not in self._errors:
                self._errors.append(error)

    def _flush(self) -> None:
        for run in self._open.values():
            if run.pending:
                self._do(partial(_write, run))

    def _finish(self) -> None:
        if self._runs is None:
            return
        jobs = [partial(_kill, run) for run in self._open.values()]
        jobs += [partial(_end_parent, name, self._interrupted) for name in self._runs.experiments]
        try:
            # Where the store has failed before, all is tried once more: what refuses one run may take another's end.
            if self._errors:
                reach(self._uri)
            for job in jobs:
                self._attempt(partial(self._ask, job))
        finally:
            self._runs.close()


def _write(run: OpenRun, runs: Runs) -> None:
    runs.write(run)


def _kill(run: OpenRun, runs: Runs) -> None:
    runs.end(run, "KILLED", "interrupted", time.time())


def _end_parent(experiment: str, interrupted: bool, runs: Runs) -> None:
    runs.end_parent(experiment, interrupted)
