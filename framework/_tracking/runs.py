"""Experiments and runs as MLflow calls; only the tracker's writer thread makes them."""

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from framework._errors import TrackingError
from framework._tracking.models import ModelWriter
from framework._tracking.origin import PROCESS, is_dead, source
from framework._tracking.params import comparable, fit, parameters, run_name, valid_name
from framework._tracking.run import Extras, Finished, OpenRun
from framework._tracking.server import artifact_location, pages, public
from framework._tracking.view import NOTE, Views

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run
    from torch import nn

    from framework._plan import TrialPlan

_TAGS = ("command", "key", "plugins", "point", "reason", "stages", "stopped", "variant")
COMMAND, KEY, PLUGINS, POINT, REASON, STAGES, STOPPED, VARIANT = (f"framework.{name}" for name in _TAGS)
STAGE = "stage"  # with every record: the index of the stage that reported it
PARENT = "mlflow.parentRunId"
_METRICS, _PARAMS = 1000, 100  # what MLflow takes in one batch
_LONGEST_TAG = 5000
T = TypeVar("T")


@dataclass
class _Parent:
    run_id: str
    experiment_id: str
    trials: int
    views: Views
    failed: int = 0
    stopped: int = 0
    killed: bool = False


class Runs:
    """The runs of one invocation.

    What a method has written before the store was lost is not there twice when it is called again, with `forget`
    before it: MLflow's stores hold a metric's value once per time stamp, runs and models are looked for first, and all
    else is put in the place of what is there.

    Args:
        client: of the tracking store.
        uri: its URI.
        root: the folder of the local store.
    """

    def __init__(self, client: "MlflowClient", uri: str, root: Path) -> None:
        self._client = client
        self._uri = uri
        self._root = root
        self._models = ModelWriter(client)
        self._parents: dict[str, _Parent] = {}
        self._known: dict[str, dict[str | None, list[Run]]] = {}

    def forget(self) -> None:
        """Forget what was there: it is not known what has come to be there since."""
        self._known.clear()

    def finished(self, experiment: str) -> dict[str, Finished]:
        """The finished trials of an experiment, by key."""
        found = {}
        for run in reversed(self._runs(experiment)):
            if KEY in run.data.tags and run.info.status == "FINISHED":
                metrics = {name: value for name, value in run.data.metrics.items() if name != STAGE}
                epochs, seconds = int(metrics.pop("epochs", 0)), metrics.pop("seconds", 0.0)
                metrics.pop(STAGE, None)
                stopped = STOPPED in run.data.tags
                found[run.data.tags[KEY]] = Finished(run.info.run_id, metrics, epochs, seconds, stopped)
        return found

    def points(self, experiment: str, study: str) -> dict[int, Any]:
        """The points that earlier invocations have noted down of a study, by number."""
        prefix = f"{POINT}.{study}."
        tags = {name: value for run in self._runs(experiment) for name, value in run.data.tags.items()}
        return {int(k.removeprefix(prefix)): json.loads(v) for k, v in tags.items() if k.startswith(prefix)}

    def suggested(self, experiment: str, study: str, number: int, point: Any) -> None:
        """Note a point of a study down, for later invocations."""
        self._client.set_tag(self._parents[experiment].run_id, f"{POINT}.{study}.{number}", json.dumps(point))

    def start(self, experiment: str, description: str, trials: int, command: str, began: float) -> None:
        """Make the parent run, and the experiment where it is new; when it began tells it from others."""
        found = self._client.get_experiment_by_name(experiment)
        if found is not None and found.lifecycle_stage != "active":
            raise TrackingError(
                f"the experiment {experiment!r} was deleted in MLflow: give the spec another name, or restore it "
                f"with: mlflow experiments restore --experiment-id {found.experiment_id}"
            )
        location = artifact_location(self._uri, self._root, experiment)
        identity = found.experiment_id if found else self._client.create_experiment(experiment, location)
        note, stamp = fit(description, _LONGEST_TAG), int(began * 1000)
        tags = {**source(), NOTE: note, COMMAND: fit(public(command), _LONGEST_TAG)}
        own = [r for r in self._runs(experiment) if (r.info.start_time, r.data.tags[PROCESS]) == (stamp, tags[PROCESS])]
        name = time.strftime("run %Y-%m-%d %H:%M", time.localtime(began))
        run = own[0] if own else self._client.create_run(identity, start_time=stamp, tags=tags, run_name=name)
        swept = [one for known in self._runs(experiment) for one in json.loads(known.data.tags.get(VARIANT, "{}"))]
        views = Views(self._client, identity, note, swept)
        self._parents[experiment] = _Parent(run.info.run_id, identity, trials, views)

    def open(self, plan: "TrialPlan", spec: str, started: float, *, notes: Mapping[str, Any], force: bool) -> OpenRun:
        """The run of a trial: an unfinished one goes on, otherwise a new one takes the place of any other."""
        from mlflow.entities import Param

        parent = self._parents[plan.experiment]
        parent.views.show(plan.swept)
        earlier = self._runs(plan.experiment, plan.key)
        unfinished = [] if force else [r for r in earlier if r.info.status != "FINISHED" or STOPPED in r.data.tags]
        tags = {**source(), KEY: plan.key, PARENT: parent.run_id}
        tags[STAGES] = " ".join(plan.keys[1:])[:_LONGEST_TAG]
        tags[VARIANT] = json.dumps({name: comparable(value) for name, value in plan.swept.items()})
        tags[PLUGINS] = ", ".join(plan.plugins)[:_LONGEST_TAG]
        name = run_name(plan.name)
        if unfinished:
            run = unfinished[0]
            self._revive(run, name, tags)
        else:
            for old in earlier:
                self._client.delete_run(old.info.run_id)
            begun = int(started * 1000)
            run = self._client.create_run(parent.experiment_id, start_time=begun, tags=tags, run_name=name)
        run_id = run.info.run_id
        new = [Param(name, value) for name, value in parameters(plan, notes).items() if name not in run.data.params]
        for batch in _batches(new, _PARAMS):
            self._client.log_batch(run_id, params=batch)
        self._client.log_text(run_id, spec, "spec.yaml")
        # Counted, not noted down: what a killed process has noted may not be what it has logged.
        logged = len(self._client.get_metric_history(run_id, STAGE)) if unfinished else 0
        return OpenRun(plan, run_id, parent.experiment_id, started, logged)

    def write(self, run: OpenRun) -> None:
        """Log a run's pending records, but for those that it has already."""
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
        while run.unsent:
            self._log(run, run.unsent[0])
            del run.unsent[0]

    def log_files(self, run_id: str, files: Mapping[str, bytes]) -> None:
        """Log files, by their path in the run."""
        with tempfile.TemporaryDirectory() as folder:
            for name, content in files.items():
                file = Path(folder, name)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
            if files:
                self._client.log_artifacts(run_id, folder)

    def log_model(self, run: OpenRun, model: "nn.Module", shape: Sequence[int]) -> None:
        """Log the trained network, or its weights where it cannot be exported."""
        swept = {**run.plan.swept, "seed": run.plan.seed}
        params = {name: fit(str(value), _LONGEST_TAG) for name, value in swept.items()}
        run.exported = self._models.log(run.run_id, run.experiment_id, model, shape, run.epoch, params)

    def end(
        self,
        run: OpenRun,
        status: str,
        reason: str | None,
        ended: float,
        *,
        stopped: str | None = None,
    ) -> None:
        """End a trial's run, with the metrics and the note of its extras.

        Args:
            run: it.
            status: FINISHED, FAILED or KILLED.
            reason: why it did not finish.
            ended: when, in seconds since 1970.
            stopped: why it finished before its end.
        """
        from mlflow.entities import Metric

        if reason is None:
            summary = {"epochs": float(run.epoch), "seconds": ended - run.started, **run.extras.metrics}
            stamp = max(int(ended * 1000), run.stamp + 1)
            self._log(run, [Metric(valid_name(name), value, stamp, run.epoch) for name, value in summary.items()])
        else:
            self._say(run.run_id, REASON, reason)
        if stopped is not None:
            self._say(run.run_id, STOPPED, stopped)
        if note := run.extras.note(run.exported):
            self._client.set_tag(run.run_id, NOTE, fit(note, _LONGEST_TAG))
        self._client.set_terminated(run.run_id, status, int(ended * 1000))
        parent = self._parents[run.plan.experiment]
        parent.failed += status == "FAILED"
        parent.killed |= status == "KILLED"
        parent.stopped += stopped is not None

    def fail(self, run: OpenRun | None, experiment: str, reason: str, ended: float) -> None:
        """A trial of which something could not be written has failed; its run says so, if it has one that still can.

        Raises:
            Exception: it is the store that has failed.
        """
        from mlflow.entities import Metric

        parent = self._parents[experiment]
        count = Metric("failed", parent.failed + 1.0, int(ended * 1000), 0)
        self._client.log_batch(parent.run_id, [count])
        if run is not None:
            run.extras = Extras()
            with suppress(Exception):  # somebody may have deleted it
                self.end(run, "FAILED", reason, ended)
                return
        parent.failed += 1

    def summarise(
        self,
        experiment: str,
        metrics: Mapping[str, float],
        files: Mapping[str, bytes],
        note: Callable[[str], str] | None,
        at: float,
    ) -> None:
        """Log metrics and files on an experiment's parent run, and what it says of itself."""
        from mlflow.entities import Metric

        parent = self._parents[experiment]
        values = [Metric(valid_name(name), value, int(at * 1000), 0) for name, value in metrics.items()]
        self._client.log_batch(parent.run_id, metrics=values)
        self.log_files(parent.run_id, files)
        if note is not None:
            self._client.set_tag(parent.run_id, NOTE, fit(note(parent.run_id), _LONGEST_TAG))

    @property
    def experiments(self) -> Sequence[str]:
        """Those that have been started."""
        return list(self._parents)

    def end_parent(self, experiment: str, interrupted: bool, ended: float) -> None:
        """End an experiment's parent run."""
        from mlflow.entities import Metric

        parent, stamp = self._parents[experiment], int(ended * 1000)
        counts = {"trials": parent.trials, "failed": parent.failed}
        if parent.stopped:
            counts["stopped"] = parent.stopped
        self._client.log_batch(parent.run_id, [Metric(name, float(n), stamp, 0) for name, n in counts.items()])
        status = "FAILED" if parent.failed else "FINISHED"
        self._client.set_terminated(parent.run_id, "KILLED" if interrupted or parent.killed else status, stamp)

    def close(self) -> None:
        """Remove temporary files."""
        self._models.close()

    def _runs(self, experiment: str, key: str | None = None) -> "list[Run]":
        """Our runs in an experiment as they were when first asked for, the newest first; all, or those of a trial."""
        if experiment not in self._known:
            found = self._client.get_experiment_by_name(experiment)
            known = self._known[experiment] = {None: list(self._search(found.experiment_id)) if found else []}
            for run in known[None]:
                self._bury(run)
                if KEY in run.data.tags:
                    known.setdefault(run.data.tags[KEY], []).append(run)
        return self._known[experiment].get(key, [])

    def _search(self, experiment_id: str) -> "Iterator[Run]":
        return pages(
            partial(
                self._client.search_runs,
                [experiment_id],
                f"tags.`{PROCESS}` LIKE '%'",
                max_results=1000,
                order_by=["attributes.start_time DESC"],
            )
        )

    def _bury(self, run: "Run") -> None:
        """End the run of a process that was killed before it could."""
        if run.info.status == "RUNNING" and is_dead(run.data.tags[PROCESS]):
            self._say(run.info.run_id, REASON, "the process was killed")
            self._client.set_terminated(run.info.run_id, "KILLED")

    def _revive(self, run: "Run", name: str, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        run_id = run.info.run_id
        self._client.update_run(run_id, status="RUNNING", name=name)
        self._client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])
        for tag in {REASON, STOPPED, NOTE} & set(self._client.get_run(run_id).data.tags):
            self._client.delete_tag(run_id, tag)

    def _say(self, run_id: str, tag: str, why: str) -> None:
        from mlflow.entities import RunTag

        self._client.log_batch(run_id, tags=[RunTag(name, fit(why, _LONGEST_TAG)) for name in (tag, NOTE)])

    def _log(self, run: OpenRun, metrics: "Sequence[Metric]") -> None:
        for batch in _batches(metrics, _METRICS):
            self._client.log_batch(run.run_id, metrics=batch)


def _batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
