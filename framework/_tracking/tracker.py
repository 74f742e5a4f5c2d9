"""One MLflow run per trial, written behind the training's back."""

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from framework._errors import FrameworkError, redact
from framework._measures import CLASSIFIED, Measures
from framework._tracking.delivery import Delivery
from framework._tracking.run import RunArtifacts
from framework._tracking.runs import Runs
from framework._tracking.server import is_new

if TYPE_CHECKING:
    from framework._plan import TrialPlan
    from framework._stage import Record
    from framework._tracking.reader import TrialRun


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
        self.uri = redact(uri)
        self.is_new = is_new(uri)
        self._tell = tell
        self._delivery = Delivery(uri, root, tell)
        self._delivery.put(lambda runs: None)

    def finished(self, experiment: str) -> dict[str, "TrialRun"]:
        """The trials of an experiment that have a finished run already, by key; waits for the answer.

        Raises:
            TrackingError: the store cannot be reached or read.
        """
        return self._delivery.call(lambda runs: runs.finished(experiment))

    def points(self, experiment: str, study: str) -> dict[int, Any]:
        """The points that earlier invocations were suggested in a study, by number; waits for the answer.

        Raises:
            TrackingError: the store cannot be reached or read.
        """
        return self._delivery.call(lambda runs: runs.parents.points(experiment, study))

    def suggested(self, experiment: str, study: str, number: int, point: Any) -> None:
        """Keep a point that a study goes on from when it is run again.

        Args:
            experiment: it must have been started.
            study: what identifies it within the experiment.
            number: of the point, within the study.
            point: plain JSON.
        """
        self._delivery.put(lambda runs: runs.parents.suggested(experiment, study, number, point))

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
        self._delivery.call(lambda runs: runs.parents.start(experiment, description, trials, command, now))

    def trial_started(
        self,
        plan: "TrialPlan",
        spec: str,
        *,
        notes: Mapping[str, Any] | None = None,
        measures: Measures = CLASSIFIED,
        force: bool = False,
    ) -> None:
        """Open the trial's run. An unfinished or stopped run of the same trial goes on; a finished one is replaced.

        Args:
            plan: the trial; its experiment must have been started.
            spec: the trial as YAML, kept as ``spec.yaml``.
            notes: what to keep as parameters besides the plan.
            measures: by what the trial is measured.
            force: replace an unfinished run too.
        """
        now, delivery = time.time(), self._delivery

        def job(runs: Runs) -> None:
            delivery.open[plan.identity] = runs.open(plan, spec, now, notes=notes or {}, measures=measures, force=force)

        delivery.put_of(plan, job)

    def recorded(self, plan: "TrialPlan", records: "Iterable[Record]") -> None:
        """Log records of an open trial, in their order. Those that its run has already are passed over."""
        taken, delivery = tuple(records), self._delivery
        delivery.put_of(plan, lambda runs: delivery.open[plan.identity].pending.extend(taken), lazy=True)

    def trial_restarted(self, plan: "TrialPlan") -> None:
        """An open trial is tried again, and will report from its start; what its run has already is passed over."""
        delivery = self._delivery

        def job(runs: Runs) -> None:
            runs.write(delivery.open[plan.identity])
            delivery.open[plan.identity].rewind()

        delivery.put_of(plan, job)

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
        self._delivery.put(lambda runs: runs.parents.summarise(experiment, metrics or {}, files or {}, note, now))

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
        now, trial, delivery = time.time(), plan.identity, self._delivery

        def claim(runs: Runs) -> None:
            runs.claim(delivery.open[trial], finished=reason is None and stopped is None)

        def make(runs: Runs) -> None:
            run = delivery.open[trial]
            if not run.follows:
                run.artifacts = artifacts(run.run_id)

        def job(runs: Runs) -> None:
            run = delivery.open[trial]
            if not run.follows:
                runs.log_files(run)
            if run.artifacts.model is not None:
                runs.log_model(run, run.artifacts.model, run.artifacts.shape, run.artifacts.dtype)
            runs.end(run, "FINISHED" if reason is None else "FAILED", reason, now, stopped=stopped)
            del delivery.open[trial]

        def done() -> None:
            if trial in delivery.failed:
                failed(delivery.failed.pop(trial))
            logged()

        delivery.put_of(plan, claim)
        delivery.put_of(plan, make)
        delivery.put_of(plan, job)
        delivery.after(done)

    def wait(self) -> None:
        """Wait until everything so far is written, or has failed to be."""
        self._delivery.wait()

    @property
    def error(self) -> Exception | None:
        """What went wrong first, if anything has; `close` raises it."""
        return self._delivery.errors[0] if self._delivery.errors else None

    def interrupt(self) -> None:
        """Say that the invocation does not come to its end, before it is closed: the store is not waited for."""
        self._delivery.interrupt()

    def close(self) -> None:
        """Write what is left and end all runs: trials still open are KILLED, and none is left RUNNING.

        Raises:
            TrackingError: the store took nothing any more.
        """
        self._delivery.close()

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
