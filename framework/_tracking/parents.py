"""The run of an invocation in each of its experiments, under which those of its trials stand."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework._errors import TrackingError, redact
from framework._tracking.earlier import Earlier
from framework._tracking.files import write_artifacts
from framework._tracking.origin import PROCESS, source
from framework._tracking.params import fit, valid_name
from framework._tracking.server import artifact_location
from framework._tracking.tags import COMMAND, LONGEST_TAG, POINT, VARIANT
from framework._tracking.view import NOTE, Views

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass
class Parent:
    """An invocation's run in an experiment.

    Attributes:
        artifact_uri: where its files go.
        trials: how many there are at most.
        views: how the UI shows the experiment.
        there: the ids of the runs from before.
        failed: how many trials have FAILED, so far.
        stopped: how many a scheduler has stopped.
        killed: whether one was KILLED.
    """

    run_id: str
    experiment_id: str
    artifact_uri: str
    trials: int
    views: Views
    there: frozenset[str]
    failed: int = 0
    stopped: int = 0
    killed: bool = False


class Parents:
    """The parent runs of one invocation, by experiment, and the experiments.

    Args:
        client: of the tracking store.
        uri: its URI.
        root: the folder of the local store.
        earlier: the runs that are there.
    """

    def __init__(self, client: "MlflowClient", uri: str, root: Path, earlier: Earlier) -> None:
        self._client = client
        self._uri = uri
        self._root = root
        self._earlier = earlier
        self._parents: dict[str, Parent] = {}

    def __getitem__(self, experiment: str) -> Parent:
        return self._parents[experiment]

    @property
    def experiments(self) -> Sequence[str]:
        """Those that have been started."""
        return list(self._parents)

    def points(self, experiment: str, study: str) -> dict[int, Any]:
        """The points that earlier invocations have noted down of a study, by number."""
        prefix = f"{POINT}.{study}."
        tags = {name: value for run in self._earlier.runs(experiment) for name, value in run.data.tags.items()}
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
        identity = found.experiment_id if found else self._make_experiment(experiment)
        note, stamp = fit(description, LONGEST_TAG), int(began * 1000)
        tags = {**source(), NOTE: note, COMMAND: fit(redact(command), LONGEST_TAG)}
        earlier = self._earlier.runs(experiment)
        own = [run for run in earlier if (run.info.start_time, run.data.tags[PROCESS]) == (stamp, tags[PROCESS])]
        name = time.strftime("run %Y-%m-%d %H:%M", time.localtime(began))
        run = own[0] if own else self._client.create_run(identity, start_time=stamp, tags=tags, run_name=name)
        swept = [one for known in earlier for one in json.loads(known.data.tags.get(VARIANT, "{}"))]
        views = Views(self._client, identity, note, swept)
        there = frozenset(known.info.run_id for known in earlier)
        self._earlier.expect_none_but(identity, earlier)
        self._parents[experiment] = Parent(run.info.run_id, identity, run.info.artifact_uri, trials, views, there)

    def _make_experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        try:
            return str(self._client.create_experiment(name, artifact_location(self._uri, self._root, name)))
        except MlflowException:
            found = self._client.get_experiment_by_name(name)  # another invocation was faster
            if found is None:
                raise
            return str(found.experiment_id)

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
        write_artifacts(parent.artifact_uri, self._uri, files)
        if note is not None:
            self._client.set_tag(parent.run_id, NOTE, fit(note(parent.run_id), LONGEST_TAG))

    def end(self, experiment: str, interrupted: bool, ended: float) -> None:
        """End the run in an experiment."""
        from mlflow.entities import Metric

        parent, stamp = self._parents[experiment], int(ended * 1000)
        counts = {"trials": parent.trials, "failed": parent.failed}
        if parent.stopped:
            counts["stopped"] = parent.stopped
        self._client.log_batch(parent.run_id, [Metric(name, float(n), stamp, 0) for name, n in counts.items()])
        status = "FAILED" if parent.failed else "FINISHED"
        self._client.set_terminated(parent.run_id, "KILLED" if interrupted or parent.killed else status, stamp)
