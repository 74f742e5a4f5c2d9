"""What Ray Tune tells on the driver."""

import re
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from ray import tune

from framework._errors import readable
from framework._executors.agenda import Agenda
from framework._executors.listener import Listener, Outcome, timed_out
from framework._plan import TrialPlan


class Relay(tune.Callback):
    """Hands on to listener and agenda what Tune tells on the driver.

    Args:
        agenda: is told what is done, after the listener.
        listener: is told what happens.
    """

    def __init__(self, agenda: Agenda, listener: Listener) -> None:
        self.agenda, self.listener = agenda, listener
        self.began: dict[str, float] = {}
        self.ended: set[str] = set()
        self.failures: Counter[int] = Counter()

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles itself so as to be restored; we never restore it, and the listener holds threads.
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.began[trial.trial_id] = time.monotonic()
        if not self.failures[_index(trial)]:
            self.listener.started(_plan(trial))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        plan = _plan(trial)
        for text in result.get("notes", ()):
            self.listener.noted(plan, text)
        if result.get("records"):
            self.listener.recorded(plan, result["records"])
        for end in result.get("ends", ()):
            self.agenda.stored(end.key)
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
        traceback = file.read_text(encoding="utf-8", errors="backslashreplace") if file.is_file() else None
        timeout = _plan(trial).resources["timeout"]
        if timeout is not None and seconds >= timeout:
            self._end(trial, replace(timed_out(seconds, timeout), traceback=traceback))
        else:
            self._end(trial, Outcome(seconds, _reason(traceback or ""), traceback))

    def _end(self, trial: Any, outcome: Outcome) -> None:
        self.ended.add(trial.trial_id)
        index, plan = _index(trial), _plan(trial)
        if outcome.error is not None:
            self.failures[index] += 1
        again = outcome.error is not None and self.failures[index] <= plan.resources["retries"]
        if again:
            self.listener.retried(plan, outcome)
        else:
            self.listener.ended(plan, outcome)
        self.agenda.ended(index, again=again)


def _reason(told: str) -> str:
    """Why a trial ended that has not said so itself, of all that Ray has to say."""
    if "low on memory" in told:
        used = re.search(r"was (\S+ used / \S+) limit", told)
        return (
            f"Ray ended its worker as memory ran low{f' ({used[1]})' if used else ''}: "
            "run fewer trials at once (--max-concurrent), or smaller batches"
        )
    if not told or "worker process has died" in told:
        return "its worker process died: it was killed, ran out of memory, or crashed in native code"
    return readable(f"Ray could not run it: {told.strip().splitlines()[-1].strip()}")


def _plan(trial: Any) -> TrialPlan:
    plan: TrialPlan = trial.config["task"].plan
    return plan


def _index(trial: Any) -> int:
    index: int = trial.config["task"].index
    return index
