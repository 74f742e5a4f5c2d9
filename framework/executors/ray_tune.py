"""Runs trials in parallel with Ray Tune, on this machine or on a cluster. The only module that imports ray."""

import logging
import os
import signal
import socket
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any

# Read when ray is imported: records go to our own tracking alone, and Ctrl-C is ours to handle.
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "3600")
os.environ.setdefault("TUNE_WARN_THRESHOLD_S", "10")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "A worker died or was killed")  # we say so, and of which trial
# A cluster started where there is a token asks for it, but a driver that is told the address does not send it.
# Ray that has been imported before, as in a notebook, no longer reads this, but the processes that it starts would.
if "ray" not in sys.modules and FilePath.home().joinpath(".ray", "auth_token").exists():
    os.environ.setdefault("RAY_AUTH_MODE", "token")

import numpy as np
import ray
from ray import tune
from ray.tune.search.variant_generator import generate_variants

from framework.errors import FrameworkError
from framework.executors.inline import attempt, failure
from framework.executors.listener import Listener, Outcome
from framework.plan import Path, TrialPlan
from framework.registry import installed
from framework.store import Store
from framework.trial import Arrays, Record

# A report makes the trial wait for the driver, some milliseconds: rarely enough, that is nothing.
_REPORT_SECONDS = 0.5
_REACH_SECONDS = 5.0


def expand(tree: Any, samples: int, seed: int) -> Iterable[tuple[Mapping[Path, Any], Any]]:
    """Expand a spec's search space as Ray Tune does: the whole grid, as often as there are samples."""
    state = np.random.RandomState(seed)
    space = _domains(tree)
    for _ in range(samples):
        for values, point in generate_variants(space, random_state=state):
            yield {tuple(path): _native(value) for path, value in values.items()}, _native(point)


def _domains(tree: Any) -> Any:
    if isinstance(tree, Mapping):
        if len(tree) == 1:
            [(name, arguments)] = tree.items()
            if name == "grid_search":
                return {"grid_search": [_domains(a) for a in arguments]}
            if name == "choice":
                return tune.choice([_domains(a) for a in arguments])
            if name in ("uniform", "loguniform", "randint"):
                return getattr(tune, name)(*arguments)
        return {key: _domains(value) for key, value in tree.items()}
    return [_domains(value) for value in tree] if isinstance(tree, list) else tree


def _native(value: Any) -> Any:
    """Without numpy's number types, which the samplers return."""
    if isinstance(value, Mapping):
        return {key: _native(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_native(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def run(
    plans: Sequence[TrialPlan],
    arrays: Mapping[str, Arrays],
    store: Store,
    listener: Listener,
    *,
    address: str | None = None,
    max_concurrent: int | None = None,
    verbose: bool = False,
) -> None:
    """Run the trials; one that fails does not stop the others.

    Args:
        plans: the trials.
        arrays: the data of each, by trial key; equal objects are sent to each machine once.
        store: takes the final states; on a cluster, a folder that all machines see.
        listener: is told what happens.
        address: of a running Ray cluster (``auto`` finds it); None starts Ray on this machine.
        max_concurrent: how many trials run at once; None: as many as fit.
        verbose: show what Ray and the workers log.

    Raises:
        FrameworkError: the cluster cannot be reached, or a trial asks for more than any machine has.
    """
    connect(address, verbose)
    there = ray.cluster_resources()  # type: ignore[no-untyped-call]
    placed = [replace(plan, resources=_resources(plan, there)) for plan in plans]
    references = {identity: ray.put(data) for identity, data in {id(d): d for d in arrays.values()}.items()}
    shared = {key: references[id(data)] for key, data in arrays.items()}
    here = {"folder": os.getcwd(), "tracking_uri": os.environ["MLFLOW_TRACKING_URI"]}
    trainable = tune.with_parameters(_train, plans=placed, shared=shared, store=store, here=here)
    # When interrupted, Ray may still be writing there.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        tune.Tuner(
            tune.with_resources(trainable, lambda config: placed[config["trial"]].resources),
            param_space={"trial": tune.grid_search(list(range(len(plans))))},
            tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=max_concurrent),
            run_config=tune.RunConfig(
                storage_path=scratch, name="trials", verbose=0, callbacks=[_Relay(plans, listener)]
            ),
        ).fit()


def connect(address: str | None, verbose: bool) -> None:
    """Start Ray, or join a cluster, unless this process has done so; Ray goes when the process ends.

    Raises:
        FrameworkError: the cluster cannot be reached.
    """
    if ray.is_initialized():
        return
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        _reach(address)
        with warnings.catch_warnings():
            warnings.simplefilter("default" if verbose else "ignore")
            ray.init(
                address=address or "local",
                include_dashboard=None if address else False,
                log_to_driver=verbose,
                logging_level=logging.INFO if verbose else logging.ERROR,
            )
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        if address is None:
            raise FrameworkError(f"Ray does not start on this machine: {error}") from error
        raise FrameworkError(
            f"no Ray cluster answers at --address {address}: start one with `ray start --head`, "
            f"or leave the option out to run on this machine ({error})"
        ) from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_sigterm)  # Ray's own handler ends the process without a word to us
    if not verbose:
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)


def _reach(address: str | None) -> None:
    """Knock at a cluster's door: Ray itself asks for minutes, loudly."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), _REACH_SECONDS).close()


def _resources(plan: TrialPlan, there: Mapping[str, float]) -> dict[str, float]:
    gpu = plan.resources["gpu"]
    asked = {"cpu": plan.resources["cpu"], "gpu": min(1, there.get("GPU", 0)) if gpu == "auto" else gpu}
    for name, amount in asked.items():
        if amount > there.get(name.upper(), 0):
            raise FrameworkError(
                f"{plan.experiment}: resources.{name} asks for {amount:g}, but there are only "
                f"{there.get(name.upper(), 0):g} here: lower it with --set resources.{name}=…"
            )
    return asked


def _train(
    config: Mapping[str, Any],
    plans: Sequence[TrialPlan],
    shared: Mapping[str, Any],
    store: Store,
    here: Mapping[str, str],
) -> None:
    """One Tune trial, in a worker process."""
    plan = plans[config["trial"]]
    records: list[Record] = []
    notes: list[str] = []
    sent = time.monotonic()
    # A cluster's workers stand where it was started; paths in specs are relative to where the user stands.
    if os.path.isdir(here["folder"]):
        os.chdir(here["folder"])
    os.environ["MLFLOW_TRACKING_URI"] = here["tracking_uri"]

    def send(outcome: Outcome | None = None) -> None:
        nonlocal sent
        tune.report({"records": list(records), "notes": list(notes), "outcome": outcome})
        records.clear()
        notes.clear()
        sent = time.monotonic()

    def emit(record: Record) -> None:
        records.append(record)
        if time.monotonic() - sent > _REPORT_SECONDS:
            send()

    # Reported, not raised: the worker lives on and takes the next trial.
    try:
        outcome = attempt(plan, installed(), ray.get(shared[plan.key]), store, emit, notes.append)
    except Exception as error:  # plugins or data that this machine cannot load
        outcome = failure(error, time.monotonic() - sent)
    send(outcome)


class _Relay(tune.Callback):
    """Hands on to the listener what Tune tells on the driver."""

    def __init__(self, plans: Sequence[TrialPlan], listener: Listener) -> None:
        self.plans, self.listener = plans, listener
        self.began: dict[str, float] = {}
        self.ended: set[str] = set()

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles itself so as to be restored; we never restore it, and the listener holds threads.
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.began[trial.trial_id] = time.monotonic()
        self.listener.started(self._plan(trial))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        plan = self._plan(trial)
        for text in result.get("notes", ()):
            self.listener.noted(plan, text)
        if result.get("records"):
            self.listener.recorded(plan, result["records"])
        if result.get("outcome"):
            self.ended.add(trial.trial_id)
            self.listener.ended(plan, result["outcome"])

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if trial.trial_id in self.ended:
            return  # its result is here: what the worker died of came after it
        if trial.trial_id not in self.began:
            self.on_trial_start(iteration, trials, trial)
        seconds = time.monotonic() - self.began[trial.trial_id]
        file = FilePath(trial.error_file or "")
        traceback = file.read_text() if file.is_file() else None
        reason = "its worker process died: it was killed, ran out of memory, or crashed in native code"
        self.ended.add(trial.trial_id)
        self.listener.ended(self._plan(trial), Outcome(seconds, reason, traceback))

    def _plan(self, trial: Any) -> TrialPlan:
        index: int = trial.config["trial"]
        return self.plans[index]
