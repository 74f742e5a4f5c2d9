"""Runs trials one after another in this process: for debuggers, notebooks and single trials."""

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch

from framework.component import Catalog
from framework.errors import FrameworkError
from framework.executors.listener import Listener, Outcome
from framework.plan import TrialPlan
from framework.report.figures import as_png, trial_figure
from framework.store import Store
from framework.trial import Arrays, Record, final_state, run_trial


def run(
    plans: Sequence[TrialPlan],
    arrays: Mapping[str, Arrays],
    catalog: Catalog,
    store: Store,
    listener: Listener,
) -> None:
    """Run the trials; one that fails does not stop the others.

    Args:
        plans: the trials.
        arrays: the data of each, by trial key.
        catalog: where components are looked up.
        store: takes the final states.
        listener: is told what happens.
    """
    threads = torch.get_num_threads()
    try:
        for plan in plans:
            listener.started(plan)

            def emit(record: Record, plan: TrialPlan = plan) -> None:
                listener.recorded(plan, [record])

            def note(text: str, plan: TrialPlan = plan) -> None:
                listener.noted(plan, text)

            listener.ended(plan, attempt(plan, catalog, arrays[plan.key], store, emit, note))
    finally:
        torch.set_num_threads(threads)


def attempt(
    plan: TrialPlan,
    catalog: Catalog,
    arrays: Arrays,
    store: Store,
    emit: Callable[[Record], None],
    note: Callable[[str], None],
) -> Outcome:
    """Run one trial, leave its final state in the store, and draw it; whatever it raises becomes its outcome."""
    began = time.monotonic()
    records: list[Record] = []

    def keep(record: Record) -> None:
        records.append(record)
        emit(record)

    try:
        trial = run_trial(plan, catalog, arrays, keep, note)
        store.save(plan.key, final_state(trial))
        outcome = Outcome(time.monotonic() - began)
    except Exception as error:  # one trial's failure, whatever it is, must not end the others
        outcome = failure(error, time.monotonic() - began)
    try:
        # Drawn here, where trials run side by side: drawn one after another they would outlast short trials.
        return replace(outcome, figures={"curves": as_png(trial_figure(plan, records))} if records else {})
    except Exception as error:
        note(f"{plan.experiment} {plan.name}: no figure could be drawn: {type(error).__name__}: {error}")
        return outcome


def failure(error: Exception, seconds: float) -> Outcome:
    """The outcome of a trial that raised this: our own errors explain themselves, others say where they come from."""
    if isinstance(error, FrameworkError):
        return Outcome(seconds, str(error))
    reason = f"{type(error).__name__}: {error}".strip().rstrip(":")
    return Outcome(seconds, reason, "".join(traceback.format_exception(error)))
