"""Records what happens to trials: in their runs, in the view and in the results."""

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from threading import Semaphore
from typing import Any, Protocol

from framework._errors import describe
from framework._executors.data import DataCache
from framework._executors.events import Ended, Retried, Started, TrialEvent
from framework._executors.pace import Timings
from framework._executors.quota import StoreQuota
from framework._executors.renderer import FigureRenderer
from framework._executors.run_artifacts import run_artifacts
from framework._executors.scheduler import StageScheduler
from framework._measures import Measures
from framework._plan import TrialPlan
from framework._plan.result import Result
from framework._registry import Registry
from framework._report.figures import figure_data
from framework._report.notes import RunLinks, trial_note
from framework._spec import LABEL, dump
from framework._stage import Record
from framework._store import Store
from framework._tracking import RunArtifacts, Tracker
from framework._trial import Noted, Recorded, StageEnd, StagesEnded

HOW = ("executed", "shared", "restored")
_UNWRITTEN = 256  # trials that have ended, of which the tracking has yet to write figures and more: megabytes in all


class View(Protocol):
    """Shows the user what happens."""

    def planned(
        self, plans: Sequence[TrialPlan], done: int, coming: int, epochs: int, seconds: float | None = None
    ) -> None:
        """These trials are to be run; so many more are finished already, and up to so many are still suggested.

        Together they train so many epochs, each that they share counted once, and take so long by earlier runs.
        """

    def suggested(self, plans: Sequence[TrialPlan], spared: int) -> None:
        """These trials are to be run too, of those to be suggested; so many of these need not be run."""

    def handle(self, plan: TrialPlan, event: TrialEvent) -> None:
        """Something has happened to a trial."""

    def remarked(self, text: str) -> None:
        """Something to know that is no single trial's."""


@dataclass
class Work:
    """How the stages of trials came to be done.

    ``executed`` by the trial itself; ``shared``: by another trial of the invocation; ``restored``: by an earlier
    invocation, or by another one beside.

    Attributes:
        stages: how many, by these words.
        epochs: how many epochs they trained.
    """

    stages: Counter[str] = field(default_factory=Counter)
    epochs: Counter[str] = field(default_factory=Counter)

    def metrics(self) -> dict[str, float]:
        """As metrics: ``stages/executed``, …, ``epochs/restored``."""
        counts = {"stages": self.stages, "epochs": self.epochs}
        return {f"{what}/{how}": float(counts[what][how]) for what in counts for how in HOW}


@dataclass
class RunRecorder:
    """Hands the events of trials on to the tracking and to the view, and keeps the results.

    Attributes:
        registry: where components are looked up.
        tracker: takes the runs.
        renderer: draws the trials.
        view: shows them.
        store: has the trials' final states.
        scheduler: learns which stages are stored.
        quota: keeps the store small; None lets it grow.
        timings: learns what stages take.
        data: has the trials' data.
        results: takes the results.
        command: the command line.
        force: replace runs that are not finished.
        wait: wait for the tracking after every trial.
        work: how stages came to be done, by experiment.
    """

    registry: Registry
    tracker: Tracker
    renderer: FigureRenderer
    view: View
    store: Store
    scheduler: StageScheduler
    quota: StoreQuota | None
    timings: Timings
    data: DataCache
    results: dict[tuple[str, str], Result]
    command: str
    force: bool
    wait: bool
    work: dict[str, Work] = field(default_factory=dict)
    _executed: set[str] = field(default_factory=set)
    # Of running trials.
    # How many epochs are counted of which stages, and which of these have ended.
    _counted: dict[tuple[str, str], tuple[Counter[int], set[int]]] = field(default_factory=dict)
    _records: dict[tuple[str, str], list[Record]] = field(default_factory=dict)
    _unreached: dict[str, Mapping[str, float]] = field(default_factory=dict)
    # Final states that the tracking has yet to pick up; two experiments may have one trial in common.
    _unlogged: Counter[str] = field(default_factory=Counter)
    _room: Semaphore = field(default_factory=lambda: Semaphore(_UNWRITTEN))

    def handle(self, plan: TrialPlan, event: TrialEvent) -> None:
        """Keep what an event says, and show it."""
        match event:
            case Started(measures):
                self._start(plan, measures)
            case Recorded(record):
                self._records[plan.identity].append(record)
                self.tracker.recorded(plan, [record])
            case StagesEnded(ends):
                for end in ends:
                    self.scheduler.stored(end.key)
                    self.timings.stage_ended(plan, end)
                    self._count(plan, end)
            case Retried():
                self._records[plan.identity] = []
                self.timings.trial_started(plan)
                self.tracker.trial_restarted(plan)
            case Ended(result):
                self._end(result)
        self.view.handle(plan, event)

    def _start(self, plan: TrialPlan, measures: Measures) -> None:
        self._records[plan.identity] = []
        self.timings.trial_started(plan)
        self._unlogged[plan.key] += 1
        source = self.data.source(plan)
        # The logged model takes normalised images: whoever loads it has to know by what.
        notes = source.notes if source else {}
        self.tracker.trial_started(plan, _as_spec(plan), notes=notes, measures=measures, force=self.force)
        self.renderer.warm()

    def _count(self, plan: TrialPlan, end: StageEnd) -> None:
        if end.executed:
            self._executed.add(end.key)
            if self.quota:
                self.quota.grown(end.size, {plan.key, *+self._unlogged})
        # A trial that is tried again finds in the store what it has done itself.
        counted, whole = self._counted.setdefault(plan.identity, (Counter(), set()))
        work = self.work.setdefault(plan.experiment, Work())
        for key, epochs in (*_passed(plan, end), (end.key, end.epochs)):
            how = "executed" if end.executed else "shared" if key in self._executed else "restored"
            work.epochs[how] += max(0, epochs - counted[end.stage])
            counted[end.stage] = max(counted[end.stage], epochs)
        if end.whole and end.stage not in whole:
            whole.add(end.stage)
            work.stages[how] += 1

    def _end(self, ended: Result) -> None:
        plan, records = ended.plan, self._records.pop(ended.plan.identity)
        self.timings.trial_ended(ended)
        self._counted.pop(plan.identity, None)
        metrics = {name: value for record in records for name, value in record.metrics.items()}
        epochs, measures = records[-1].epoch if records else 0, self.data.measures(plan)
        result = replace(ended, metrics=metrics, epochs=epochs, measures=measures)
        # Kept for all trials until the invocation ends: without what only the trial's run needs.
        self.results[plan.identity] = kept = replace(result, files={}, traceback=None)

        def failed(reason: str) -> None:
            self.results[plan.identity] = replace(kept, error=reason)
            self._note(plan, f"its run FAILED: {reason}")

        def logged() -> None:
            self._unlogged[plan.key] -= 1
            self._room.release()

        self._room.acquire()  # trials that end faster than they can be written have to wait
        drawing = self.renderer.draw(figure_data(plan, records, result.files, measures.primary))
        self.tracker.trial_ended(
            plan,
            result.error,
            artifacts=partial(self._artifacts, result, drawing),
            stopped=result.stopped,
            failed=failed,
            logged=logged,
        )
        if self.wait:
            self.tracker.wait()

    def _note(self, plan: TrialPlan, text: str) -> None:
        self.view.handle(plan, Noted(f"{plan.experiment} {plan.name}: {text}"))

    # --- on the tracking's thread ------------------------------------------------------------------------------

    def _artifacts(self, result: Result, drawing: "Future[Mapping[str, bytes]]", run_id: str) -> RunArtifacts:
        plan = result.plan
        source, note = self.data.source(plan), partial(self._note, plan)
        files = {**result.files, **self._figures(plan, drawing)}
        registry = self.registry.with_code(plan.code)
        artifacts = run_artifacts(result, files, source, registry, self.store, note, self._unreached)
        links = RunLinks(run_id, artifacts.files, self.command, self.tracker.uri)
        noted = source.notes if source and artifacts.model else None
        return replace(artifacts, note=partial(trial_note, result, result.error or result.stopped, links, noted))

    def _figures(self, plan: TrialPlan, drawing: "Future[Mapping[str, bytes]]") -> Mapping[str, bytes]:
        try:
            return drawing.result()
        except Exception as error:  # a trial without its figures is still a trial
            self._note(plan, f"no figure could be drawn: {describe(error)}")
            return {}


def _passed(plan: TrialPlan, end: StageEnd) -> list[tuple[str, int]]:
    """The splits before one that a trial has found, with their epochs: others may have computed these."""
    if end.whole or end.executed:
        return []
    splits = plan.splits_of(end.stage)
    length = next(split.length for split in splits if split.key == end.key)
    return [(split.key, min(split.epochs, end.epochs)) for split in splits if split.length < length]


def _as_spec(plan: TrialPlan) -> str:
    """The trial alone, as a spec that runs it."""
    data = {**plan.data["dataset"], **{k: v for k, v in plan.data.items() if k != "dataset"}}
    stages: list[dict[str, Any]] = [
        {stage["name"]: {k: v for k, v in stage.items() if k != "name"}, **({LABEL: label} if label else {})}
        for stage, label in zip(plan.stages, plan.labels, strict=True)
    ]
    spec = {
        "name": plan.experiment,
        "model": plan.model,
        "data": data,
        **({"metrics": [{**metric, LABEL: name} for name, metric in plan.metrics.items()]} if plan.metrics else {}),
        "seeds": [plan.seed],
        "stages": stages,
        # The same number of threads everywhere: results depend on it in the last digits.
        "resources": dict(plan.resources) | ({"threads": plan.threads} if plan.threads else {}),
    }
    # Files and modules that are named where they are used have no version.
    others = [s.replace(" ", "==") for s in plan.plugins if " " in s and not s.startswith(("framework ", ".", "/"))]
    if others or plan.code.plugins:
        spec["plugins"] = [*others, *map(plan.code.name, plan.code.plugins)]
    return dump(spec)
