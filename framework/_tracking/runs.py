"""Runs of trials as MLflow calls; only the tracker's writer thread makes them."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework._measures import Measures
from framework._tracking.earlier import Earlier
from framework._tracking.files import write_artifacts
from framework._tracking.models import ModelWriter
from framework._tracking.opening import Opener, batches
from framework._tracking.params import fit, valid_name
from framework._tracking.parents import Parents
from framework._tracking.reader import TrialRun, trial_of
from framework._tracking.run import OpenRun
from framework._tracking.tags import KEY, LONGEST_TAG, REASON, STAGE, STOPPED
from framework._tracking.view import NOTE

if TYPE_CHECKING:
    import torch
    from mlflow import MlflowClient
    from mlflow.entities import Metric, RunTag
    from torch import nn

    from framework._plan import TrialPlan

_METRICS = 1000  # what MLflow takes in one batch
_LOOK_SECONDS = 10.0  # how often it is looked what has become of another invocation's run


class Runs:
    """The runs of one invocation.

    What a method has written before the store was lost is not there twice when it is called again, with `forget`
    before it: MLflow's stores hold a metric's value once per time stamp, runs and models are looked for first, and all
    else is put in the place of what is there.

    A trial that several invocations run at once has one run all the same, see `Opener`.

    Args:
        client: of the tracking store.
        uri: its URI.
        root: the folder of the local store.

    Attributes:
        parents: the invocation's own run in each experiment.
    """

    def __init__(self, client: "MlflowClient", uri: str, root: Path) -> None:
        self._client = client
        self._uri = uri
        self._models = ModelWriter(client, uri)
        self._earlier = Earlier(client)
        self.parents = Parents(client, uri, root, self._earlier)
        self._opener = Opener(client, uri, self._earlier)

    def forget(self) -> None:
        """Forget what was there: it is not known what has come to be there since."""
        self._earlier.forget()
        self._models.forget()

    def finished(self, experiment: str) -> dict[str, TrialRun]:
        """The finished trials of an experiment, by key."""
        return {
            run.data.tags[KEY]: trial_of(experiment, run)
            for run in reversed(self._earlier.runs(experiment))
            if KEY in run.data.tags and run.info.status == "FINISHED"
        }

    def open(
        self,
        plan: "TrialPlan",
        spec: str,
        started: float,
        *,
        notes: Mapping[str, Any],
        measures: Measures,
        force: bool,
    ) -> OpenRun:
        """The run of a trial: an unfinished one goes on, otherwise there is a new one.

        Args:
            plan: the trial.
            spec: it as YAML.
            started: when, in seconds since 1970.
            notes: what to keep as parameters besides the plan.
            measures: by what it is measured.
            force: a new run takes the place of all that were there before this invocation.
        """
        parent = self.parents[plan.experiment]
        parent.views.show(plan.swept, measures)
        run = OpenRun(plan, "", parent.experiment_id, started, parent.run_id, spec, notes, measures)
        self._opener.find(run, replaced=parent.there if force else frozenset())
        return run

    def claim(self, run: OpenRun, finished: bool) -> None:
        """Find out, at the end of a trial, whether its run is this invocation's to write; if not, it follows.

        Args:
            run: the trial's run.
            finished: the trial has come to its end, neither failed nor stopped.
        """
        self._opener.claim(run, finished)

    def write(self, run: OpenRun) -> None:
        """Log a run's pending records, but for those that it has already."""
        if run.follows and time.monotonic() - run.looked >= _LOOK_SECONDS:
            self._opener.find(run)
        if run.follows:
            return
        self._gather(run)
        while run.unsent and not run.follows:
            with self._opener.while_there(run):
                self._log(run, run.unsent[0])
                del run.unsent[0]

    def _gather(self, run: OpenRun) -> None:
        """Make batches of a run's pending records."""
        from mlflow.entities import Metric

        for record in run.pending:
            run.seen, run.epoch = run.seen + 1, record.epoch
            # Of two values at one epoch MLflow takes the later for the last, and the larger one if neither is later.
            run.stamp = max(int(record.time * 1000), run.stamp + 1)
            if run.seen > run.logged:
                # What makes it count as logged comes last, and a batch is logged whole or not at all.
                named = [*record.metrics.items(), (STAGE, record.stage)]
                new = [Metric(valid_name(name), float(value), run.stamp, record.epoch) for name, value in named]
                if not run.unsent or len(run.unsent[-1]) + len(new) > _METRICS:
                    run.unsent.append([])
                run.unsent[-1] += new
        run.pending.clear()

    def log_files(self, run: OpenRun) -> None:
        """Log what a trial's run keeps as files."""
        write_artifacts(run.artifact_uri, self._uri, run.artifacts.files)

    def log_model(
        self, run: OpenRun, model: "nn.Module", shape: Sequence[int], dtype: "torch.dtype | None" = None
    ) -> None:
        """Log the trained network, or its weights where it cannot be exported."""
        self._gather(run)  # which says the epoch
        swept = {**run.plan.swept, "seed": run.plan.seed}
        params = {name: fit(str(value), LONGEST_TAG) for name, value in swept.items()}
        with self._opener.while_there(run):
            run.exported = self._models.log(run, model, shape, params, dtype)

    def end(
        self,
        run: OpenRun,
        status: str,
        reason: str | None,
        ended: float,
        *,
        stopped: str | None = None,
    ) -> None:
        """End a trial's run, with the metrics and the note of its artifacts; one that is followed is another's to end.

        Args:
            run: it.
            status: FINISHED, FAILED or KILLED.
            reason: why it did not finish.
            ended: when, in seconds since 1970.
            stopped: why it finished before its end.
        """
        if not run.follows:
            with self._opener.while_there(run):
                self._end(run, status, reason, ended, stopped)
        parent = self.parents[run.plan.experiment]
        parent.failed += status == "FAILED"
        parent.killed |= status == "KILLED"
        parent.stopped += stopped is not None

    def _end(self, run: OpenRun, status: str, reason: str | None, ended: float, stopped: str | None) -> None:
        from mlflow.entities import Metric, RunTag

        self._gather(run)
        metrics: list[Metric] = []
        if reason is None:
            summary = {"epochs": float(run.epoch), "seconds": ended - run.started, **run.artifacts.metrics}
            stamp = max(int(ended * 1000), run.stamp + 1)
            metrics = [Metric(valid_name(name), value, stamp, run.epoch) for name, value in summary.items()]
        note = run.artifacts.note(run.exported) or stopped or reason
        said = {REASON: reason, STOPPED: stopped, NOTE: note}
        tags = [RunTag(name, fit(text, LONGEST_TAG)) for name, text in said.items() if text is not None]
        # With the last records where they fit, as each batch is a few transactions; the same if it is written again.
        *full, last = run.unsent or [[]]
        if len(last) + len(metrics) + len(tags) > _METRICS:
            full, last = [*full, last], []
        for batch in full:
            self._log(run, batch)
        self._log(run, [*last, *metrics], tags)
        run.unsent.clear()
        self._client.set_terminated(run.run_id, status, int(ended * 1000))
        # Last of all: of two invocations that end at once, at least one sees the runs of both.
        if self._earlier.has_others(run.experiment_id, run.plan.key, run.run_id):
            self._earlier.keep_one(self._earlier.of_trial(run.experiment_id, run.plan.key))

    def fail(self, run: OpenRun | None, experiment: str, reason: str, ended: float) -> None:
        """A trial of which something could not be written has failed; its run says so, if it has one that still can.

        Raises:
            Exception: it is the store that has failed.
        """
        from mlflow.entities import Metric

        parent = self.parents[experiment]
        count = Metric("failed", parent.failed + 1.0, int(ended * 1000), 0)
        self._client.log_batch(parent.run_id, [count])
        if run is not None:
            run.drop()
            with suppress(Exception):  # somebody may have deleted it
                self.end(run, "FAILED", reason, ended)
                return
        parent.failed += 1

    def close(self) -> None:
        """Remove temporary files."""
        self._models.close()

    def _log(self, run: OpenRun, metrics: "Sequence[Metric]", tags: "Sequence[RunTag]" = ()) -> None:
        *full, last = list(batches(metrics, _METRICS - len(tags))) or [()]
        for batch in full:
            self._client.log_batch(run.run_id, metrics=batch)
        self._client.log_batch(run.run_id, metrics=last, tags=tags)
