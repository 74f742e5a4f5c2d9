"""What runs tell, read back."""

import gc
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework._errors import DataError, TrackingError, nearest
from framework._measures import CLASSIFIED, Measures
from framework._tracking.earlier import rank
from framework._tracking.origin import COMMIT, VERSIONS
from framework._tracking.server import connect, database_file, pages, translate_errors
from framework._tracking.tags import COMMAND, HIGHER, KEY, PARENT, PLUGINS, REASON, STAGE, STOPPED, VARIANT
from framework._tracking.view import DESCRIPTION, NOTE, view_links

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run


@dataclass(frozen=True)
class TrialRun:
    """A trial as its run tells it.

    Attributes:
        run_id: of its run.
        experiment: the spec's name.
        name: the variant and the seed: ``prune.amount=0.2 seed=1``.
        key: what identifies its result.
        swept: the search space's values, by short name.
        seed: of the replicate.
        status: FINISHED, FAILED, KILLED or RUNNING.
        stopped: a scheduler stopped it before its end.
        reason: why it did not finish; empty if it did.
        started: when, in seconds since 1970.
        params: everything that determines it, by its path in the spec, as text.
        metrics: the last value of each.
        parent: the run of its invocation.
        commit: of the folder from which it was run; empty if that is in no git repository.
        versions: the distributions that it used, of what is no plugin too; as text.
        measures: which of its metrics is the primary one, and whether more of each is better.
    """

    run_id: str
    experiment: str
    name: str
    key: str
    swept: Mapping[str, Any]
    seed: int
    status: str
    stopped: bool
    reason: str
    started: float
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    parent: str
    commit: str = ""
    versions: str = ""
    measures: Measures = CLASSIFIED

    @property
    def variant(self) -> str:
        """The swept values, readable: ``prune.amount=0.2``; empty without a search space."""
        return self.name.removesuffix(f"seed={self.seed}").strip()

    @property
    def stages(self) -> list[str]:
        """The names of its stages."""
        names = {}
        for param, value in self.params.items():
            index = param.removeprefix("stages.")
            if param == f"stages.{index}" and index.isdigit():
                names[int(index)] = value
        return [names[index] for index in sorted(names)]


@dataclass(frozen=True)
class Point:
    """A value of a metric.

    Attributes:
        epoch: on the trial's epoch axis.
        stage: index of the stage that reported it.
        value: the value.
    """

    epoch: int
    stage: int
    value: float


class Reader:
    """Reads experiments and runs.

    Args:
        uri: of the tracking store.

    Raises:
        TrackingError: it cannot be reached, or there is none.
    """

    def __init__(self, uri: str) -> None:
        file = database_file(uri)
        if file is not None and not file.exists():
            raise TrackingError(f"there are no results in {file.parent} yet: name their folder with --root")
        self.uri = uri
        self._client: MlflowClient = connect(uri)
        self._stages: dict[str, dict[int, int]] = {}

    @cached_property
    def _experiments(self) -> "dict[str, Experiment]":
        with translate_errors(self.uri):
            return {found.name: found for found in pages(self._client.search_experiments)}

    def experiments(self) -> list[str]:
        """The names of all experiments, the newest first."""
        return list(self._experiments)

    def description(self, experiment: str) -> str:
        """What the spec says of itself."""
        tags = self._find(experiment).tags
        return str(tags.get(DESCRIPTION, tags.get(NOTE, "")))

    def views(self, experiment: str) -> dict[str, str]:
        """Where MLflow's UI shows its runs with the columns and charts that matter, relative to the UI, by name."""
        found = self._find(experiment)
        return view_links(found.experiment_id, found.tags)

    def trials(self, experiment: str) -> list[TrialRun]:
        """The trials of an experiment that have a run, the oldest first; each once, also where it has several runs.

        Raises:
            DataError: there is no such experiment; names the nearest.
            TrackingError: the store cannot be reached.
        """
        identity = self._find(experiment).experiment_id
        search = partial(
            self._client.search_runs,
            [identity],
            f"tags.`{KEY}` LIKE '%'",
            max_results=1000,
            order_by=["attributes.start_time ASC"],
        )
        with translate_errors(self.uri), _no_garbage():
            return _each_once([trial_of(experiment, run) for run in pages(search)])

    def commands(self, experiment: str) -> dict[str, str]:
        """The command of each invocation, by its run."""
        search = partial(self._client.search_runs, [self._find(experiment).experiment_id], f"tags.`{COMMAND}` LIKE '%'")
        with translate_errors(self.uri):
            return {run.info.run_id: run.data.tags[COMMAND] for run in pages(search)}

    def history(self, run_id: str, metric: str) -> list[Point]:
        """All values of a metric, in the order in which they were reported."""
        with translate_errors(self.uri):
            if run_id not in self._stages:
                entries = self._client.get_metric_history(run_id, STAGE)
                self._stages[run_id] = {entry.timestamp: int(entry.value) for entry in entries}
            found = sorted(self._client.get_metric_history(run_id, metric), key=lambda entry: entry.timestamp)
        # All that is reported together has one time stamp, and nothing else of the run has it.
        stages = self._stages[run_id]
        return [Point(entry.step, stages.get(entry.timestamp, -1), entry.value) for entry in found]

    def file(self, run_id: str, name: str) -> bytes | None:
        """A file that a run keeps, or None if it has none of that name."""
        from mlflow.exceptions import MlflowException

        with translate_errors(self.uri), tempfile.TemporaryDirectory() as folder:
            try:
                return Path(self._client.download_artifacts(run_id, name, folder)).read_bytes()
            except (MlflowException, FileNotFoundError):
                return None

    def files(self, run_id: str, folder: str) -> dict[str, int]:
        """The files that a run keeps in a folder and the folders in it: paths and bytes."""
        with translate_errors(self.uri):
            found: dict[str, int] = {}
            folders = [folder]
            while folders:
                for info in self._client.list_artifacts(run_id, folders.pop()):
                    if info.is_dir:
                        folders.append(info.path)
                    else:
                        found[info.path] = info.file_size or 0
            return found

    def _find(self, experiment: str) -> "Experiment":
        if experiment not in self._experiments:
            raise DataError(f"there is no experiment {experiment!r} ({nearest(experiment, self._experiments)})")
        return self._experiments[experiment]


def _each_once(trials: Sequence[TrialRun]) -> list[TrialRun]:
    """Invocations that run at once may, for a while, have a run each of one trial."""
    ranked = sorted(trials, key=lambda trial: rank(trial.status, trial.stopped, trial.started, trial.run_id))
    counts: dict[str, TrialRun] = {}
    for trial in ranked:
        counts.setdefault(trial.key, trial)
    return [trial for trial in trials if counts[trial.key] is trial]


@contextmanager
def _no_garbage() -> Iterator[None]:
    """Do not look for garbage: among the many rows of runs that are all in use that takes as long as reading them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def trial_of(experiment: str, run: "Run") -> TrialRun:
    """What the run of a trial tells."""
    tags = run.data.tags
    return TrialRun(
        run_id=run.info.run_id,
        experiment=experiment,
        name=run.info.run_name,
        key=tags[KEY],
        swept=json.loads(tags.get(VARIANT, "{}")),
        seed=int(run.data.params.get("seed", 0)),
        status=run.info.status,
        stopped=STOPPED in tags,
        reason=tags.get(REASON, ""),
        started=run.info.start_time / 1000,
        params=dict(run.data.params),
        metrics={name: value for name, value in run.data.metrics.items() if name != STAGE},
        parent=tags.get(PARENT, ""),
        commit=tags.get(COMMIT, ""),
        versions=", ".join(tags[name] for name in (PLUGINS, VERSIONS) if tags.get(name)),
        measures=Measures.of(tags.get(HIGHER, "")),
    )
