"""Keeps account of what trials do, for the tracking, the view and the results."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol, TypeAlias

from framework._errors import describe
from framework._executors.artist import Artist
from framework._executors.extras import Ended, make_extras
from framework._executors.limiter import Limiter
from framework._executors.listener import Listener, Outcome
from framework._plan import TrialPlan
from framework._registry import Registry
from framework._report.figures import sketch_of
from framework._report.notes import RunLinks, trial_note
from framework._report.table import Result
from framework._spec import LABEL, dump
from framework._stage import Record
from framework._store import Store
from framework._tracking import Extras, Finished, Tracker
from framework._trial import Arrays, StageEnd

HOW = ("executed", "shared", "restored")
# A trial's experiment and key.
Identity: TypeAlias = tuple[str, str]


class View(Listener, Protocol):
    """Shows the user what happens."""

    def planned(self, plans: Sequence[TrialPlan], done: int, coming: int) -> None:
        """These trials are to be run; so many more are finished already, and up to so many are still suggested."""

    def suggested(self, plans: Sequence[TrialPlan], spared: int) -> None:
        """These trials are to be run too, of those to be suggested; so many of these need not be run."""

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


class Bookkeeper:
    """Hands on what executors tell to the tracking and to the view, and keeps the results.

    Args:
        registry: where components are looked up.
        tracker: takes the runs.
        artist: draws the trials.
        view: shows them.
        store: has the trials' final states.
        limiter: keeps the store small; None lets it grow.
        results: takes the results.
        command: the command line.
        force: replace runs that are not finished.
        wait: wait for the tracking after every trial.

    Attributes:
        arrays: the data of each trial that has any, by trial key; others fill it.
        results: of the trials that have ended.
        work: how stages came to be done, by experiment.
    """

    def __init__(
        self,
        registry: Registry,
        tracker: Tracker,
        artist: Artist,
        view: View,
        store: Store,
        limiter: Limiter | None,
        results: dict[Identity, Result],
        *,
        command: str,
        force: bool,
        wait: bool,
    ) -> None:
        self.registry, self.tracker, self.artist, self.view, self.store = registry, tracker, artist, view, store
        self.limiter, self.results, self.force, self.wait = limiter, results, force, wait
        self.command = command
        self.arrays: dict[str, Arrays] = {}
        self.work: dict[str, Work] = {}
        self._executed: set[str] = set()
        self._counted: set[tuple[Identity, int]] = set()
        # Of running trials.
        self._reported: dict[Identity, list[Record]] = {}
        # Final states that the tracking has yet to pick up; two experiments may have one trial in common.
        self._unlogged: Counter[str] = Counter()

    def started(self, plan: TrialPlan) -> None:
        self._reported[plan.identity] = []
        self._unlogged[plan.key] += 1
        arrays = self.arrays.get(plan.key)
        # The logged model takes normalised images: whoever loads it has to know by what.
        notes = {"data.mean": arrays.mean, "data.std": arrays.std} if arrays else {}
        self.tracker.trial_started(plan, _as_spec(plan), notes=notes, force=self.force)
        self.artist.warm()
        self.view.started(plan)

    def recorded(self, plan: TrialPlan, records: Sequence[Record]) -> None:
        self._reported[plan.identity] += records
        self.tracker.recorded(plan, records)
        self.view.recorded(plan, records)

    def noted(self, plan: TrialPlan, text: str) -> None:
        self.view.noted(plan, text)

    def staged(self, plan: TrialPlan, end: StageEnd) -> None:
        if end.executed:
            self._executed.add(end.key)
            if self.limiter:
                self.limiter.grown(end.size, {plan.key, *+self._unlogged})
        # A trial that is tried again finds in the store what it has done itself.
        counted = plan.identity, end.stage
        if counted not in self._counted:
            self._counted.add(counted)
            how = "executed" if end.executed else "shared" if end.key in self._executed else "restored"
            work = self.work.setdefault(plan.experiment, Work())
            work.stages[how] += 1
            work.epochs[how] += end.epochs
        self.view.staged(plan, end)

    def retried(self, plan: TrialPlan, outcome: Outcome) -> None:
        self._reported[plan.identity] = []
        self.tracker.trial_restarted(plan)
        self.view.retried(plan, outcome)

    def ended(self, plan: TrialPlan, outcome: Outcome) -> None:
        records = self._reported.pop(plan.identity)
        metrics = {name: value for record in records for name, value in record.metrics.items()}
        epochs = records[-1].epoch if records else 0
        stopped = outcome.stopped is not None
        result = Result(plan, metrics, epochs, outcome.seconds, outcome.error, stopped)
        self.results[plan.identity] = result

        def failed(reason: str) -> None:
            self.results[plan.identity] = replace(result, error=reason)
            self.view.noted(plan, f"{plan.experiment} {plan.name}: its run FAILED: {reason}")

        def logged() -> None:
            self._unlogged[plan.key] -= 1

        drawing = self.artist.draw(sketch_of(plan, records, outcome.files))
        ended = Ended(plan, outcome, records, self.arrays.get(plan.key), partial(self._drawn, plan, drawing))
        self.tracker.trial_ended(
            plan,
            outcome.error,
            extras=partial(self._extras, ended, result),
            stopped=outcome.stopped,
            failed=failed,
            logged=logged,
        )
        if self.wait:
            self.tracker.wait()
        self.view.ended(plan, outcome)

    def _extras(self, trial: Ended, result: Result, run_id: str) -> Extras:
        extras = make_extras(trial, self.registry, self.store, run_id, partial(self.view.noted, trial.plan))
        links = RunLinks(run_id, extras.files, self.command, self.tracker.uri)
        arrays, outcome = trial.arrays, trial.outcome
        normalisation = (arrays.mean, arrays.std) if arrays and extras.model else None
        note = partial(trial_note, result, outcome.error or outcome.stopped, links, normalisation)
        return replace(extras, note=note)

    def _drawn(self, plan: TrialPlan, drawing: "Future[Mapping[str, bytes]]") -> Mapping[str, bytes]:
        try:
            return drawing.result()
        except Exception as error:  # a trial without its figures is still a trial
            self.view.noted(plan, f"{plan.experiment} {plan.name}: no figure could be drawn: {describe(error)}")
            return {}


def recall(
    plans: Iterable[TrialPlan], earlier: Mapping[Identity, Finished], results: dict[Identity, Result]
) -> list[TrialPlan]:
    """Add the results of those trials that earlier invocations finished, and return the others."""
    pending = []
    for plan in plans:
        run = earlier.get(plan.identity)
        if run:
            results[plan.identity] = Result(plan, run.metrics, run.epochs, run.seconds, None, run.stopped)
        else:
            pending.append(plan)
    return pending


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
        "seeds": [plan.seed],
        "stages": stages,
        "resources": plan.resources,
    }
    others = [source.replace(" ", "==") for source in plan.plugins if not source.startswith("framework ")]
    if others:
        spec["plugins"] = others
    return dump(spec)
