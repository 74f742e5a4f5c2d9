"""Trials as Ray Tune's trials."""

import faulthandler
import os
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.search import Searcher

from framework.executors.gate import Gate
from framework.executors.inline import attempt, failure
from framework.executors.listener import Listener, Outcome
from framework.executors.ray_tune.cluster import connect, resources
from framework.plan import TrialPlan
from framework.registry import installed
from framework.store import Store
from framework.trial import Arrays, Record, StageEnd

# A report makes the trial wait for the driver, some milliseconds: rarely enough, that is nothing.
_REPORT_SECONDS = 0.5
_ENDLESS = -1
_STDERR = 2


def run(
    plans: Sequence[TrialPlan],
    arrays: Mapping[str, Arrays],
    store: Store,
    listener: Listener,
    gate: Gate,
    *,
    checkpoint_seconds: float,
    address: str | None = None,
    max_concurrent: int | None = None,
    verbose: bool = False,
) -> None:
    """Run the trials; one that fails does not stop the others.

    Args:
        plans: the trials.
        arrays: the data of each, by trial key; equal objects are sent to each machine once.
        store: has the results of stages, and takes them; on a cluster, a place that all machines reach.
        listener: is told what happens.
        gate: says which trial may start.
        checkpoint_seconds: the longest time between two checkpoints within a stage.
        address: of a running Ray cluster (``auto`` finds it); None starts Ray on this machine.
        max_concurrent: how many trials run at once; None: as many as fit.
        verbose: show what Ray and the workers log.

    Raises:
        FrameworkError: the cluster cannot be reached, or a trial asks for more than any machine has.
    """
    connect(address, verbose)
    there = ray.cluster_resources()  # type: ignore[no-untyped-call]
    asked = [resources(plan, there) for plan in plans]
    placed = [replace(plan, resources={**plan.resources, **own}) for plan, own in zip(plans, asked, strict=True)]
    references = {identity: ray.put(data) for identity, data in {id(d): d for d in arrays.values()}.items()}
    shared = {key: references[id(data)] for key, data in arrays.items()}
    here = {"folder": os.getcwd(), "tracking_uri": os.environ["MLFLOW_TRACKING_URI"]}
    trainable = tune.with_parameters(
        _train, plans=placed, shared=shared, store=store, here=here, checkpoint_seconds=checkpoint_seconds
    )
    # When interrupted, Ray may still be writing there.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        tune.Tuner(
            tune.with_resources(trainable, lambda config: asked[config["trial"]]),
            tune_config=tune.TuneConfig(
                search_alg=_Turns(gate, max_concurrent), num_samples=_ENDLESS, reuse_actors=True
            ),
            run_config=tune.RunConfig(
                storage_path=scratch, name="trials", verbose=0, callbacks=[_Relay(plans, listener, gate)]
            ),
        ).fit()


class _Turns(Searcher):
    """Lets Tune start the trials that the gate lets through, one Tune trial for each attempt."""

    def __init__(self, gate: Gate, max_concurrent: int | None) -> None:
        super().__init__()
        self.gate, self.max_concurrent = gate, max_concurrent

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles itself so as to be restored; we never restore it

    def suggest(self, trial_id: str) -> Any:
        if self.gate.done:
            return Searcher.FINISHED
        if self.max_concurrent is not None and self.gate.running >= self.max_concurrent:
            return None
        index = self.gate.next()
        return None if index is None else {"trial": index}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """The relay has told the gate."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing."""


class _Reporter:
    """Sends the driver what a trial reports, gathered: every report costs some milliseconds."""

    def __init__(self) -> None:
        self._records: list[Record] = []
        self._notes: list[str] = []
        self._ends: list[StageEnd] = []
        self._sent = time.monotonic()

    def recorded(self, record: Record) -> None:
        self._records.append(record)
        if time.monotonic() - self._sent > _REPORT_SECONDS:
            self.send()

    def noted(self, text: str) -> None:
        self._notes.append(text)
        self.send()

    def staged(self, *ends: StageEnd) -> None:
        self._ends += ends
        self.send()  # others wait for them

    def send(self, outcome: Outcome | None = None) -> None:
        tune.report({"records": self._records, "notes": self._notes, "ends": self._ends, "outcome": outcome})
        self._records, self._notes, self._ends = [], [], []
        self._sent = time.monotonic()


def _train(
    config: Mapping[str, Any],
    plans: Sequence[TrialPlan],
    shared: Mapping[str, Any],
    store: Store,
    here: Mapping[str, str],
    checkpoint_seconds: float,
) -> None:
    """One Tune trial, in a worker process."""
    plan = plans[config["trial"]]
    reporter = _Reporter()
    began = time.monotonic()
    # A cluster's workers stand where it was started; paths in specs are relative to where the user stands.
    if os.path.isdir(here["folder"]):
        os.chdir(here["folder"])
    os.environ["MLFLOW_TRACKING_URI"] = here["tracking_uri"]
    if plan.resources["timeout"] is not None:
        # A thread of its own ends the process, whatever the trial hangs in.
        faulthandler.dump_traceback_later(plan.resources["timeout"], exit=True, file=_STDERR)
    # Reported, not raised: the worker lives on and takes the next trial.
    try:
        arrays = ray.get(shared[plan.key])
        outcome = attempt(plan, installed(), arrays, store, reporter, checkpoint_seconds)
    except Exception as error:  # plugins or data that this machine cannot load
        outcome = failure(error, time.monotonic() - began)
    finally:
        faulthandler.cancel_dump_traceback_later()
    reporter.send(outcome)


class _Relay(tune.Callback):
    """Hands on to listener and gate what Tune tells on the driver."""

    def __init__(self, plans: Sequence[TrialPlan], listener: Listener, gate: Gate) -> None:
        self.plans, self.listener, self.gate = plans, listener, gate
        self.began: dict[str, float] = {}
        self.ended: set[str] = set()
        self.failures: Counter[int] = Counter()

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles itself so as to be restored; we never restore it, and the listener holds threads.
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.began[trial.trial_id] = time.monotonic()
        if not self.failures[trial.config["trial"]]:
            self.listener.started(self._plan(trial))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        plan = self._plan(trial)
        for text in result.get("notes", ()):
            self.listener.noted(plan, text)
        if result.get("records"):
            self.listener.recorded(plan, result["records"])
        for end in result.get("ends", ()):
            self.gate.stored(end.key)
            self.listener.staged(plan, end)
        if result.get("outcome"):
            self._end(trial, result["outcome"])

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if trial.trial_id in self.ended:
            return  # its result is here: what the worker died of came after it
        if trial.trial_id not in self.began:
            self.on_trial_start(iteration, trials, trial)
        seconds = time.monotonic() - self.began[trial.trial_id]
        file = Path(trial.error_file or "")
        traceback = file.read_text() if file.is_file() else None
        timeout = self._plan(trial).resources["timeout"]
        reason = "its worker process died: it was killed, ran out of memory, or crashed in native code"
        if timeout is not None and seconds >= timeout:
            reason = f"it was ended after its timeout of {timeout:g} s (resources.timeout)"
        self._end(trial, Outcome(seconds, reason, traceback))

    def _end(self, trial: Any, outcome: Outcome) -> None:
        self.ended.add(trial.trial_id)
        index, plan = trial.config["trial"], self._plan(trial)
        if outcome.error is not None:
            self.failures[index] += 1
        again = outcome.error is not None and self.failures[index] <= plan.resources["retries"]
        if again:
            self.listener.retried(plan, outcome)
        else:
            self.listener.ended(plan, outcome)
        self.gate.ended(index, again=again)

    def _plan(self, trial: Any) -> TrialPlan:
        index: int = trial.config["trial"]
        return self.plans[index]
