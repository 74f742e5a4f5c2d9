"""Events of trials out of what Ray Tune calls back on the driver."""

import re
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from ray.tune.progress_reporter import TrialProgressCallback

from framework._errors import readable
from framework._executors.events import Ended, Handler, Retried, Started, timed_out
from framework._executors.queue import TrialQueue
from framework._plan import TrialPlan
from framework._plan.result import Result


class TuneCallback(TrialProgressCallback):
    """Turns what Tune calls back into events of trials, in place of Tune's own lines about them.

    Args:
        queue: learns which trials have ended, after the handler.
        handle: takes the events.
    """

    def __init__(self, queue: TrialQueue, handle: Handler) -> None:
        super().__init__()
        self.queue, self.handle = queue, handle
        self.began: dict[str, float] = {}
        self.ended: set[str] = set()
        self.failures: Counter[int] = Counter()

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles itself so as to be restored; we never restore it, and the handler holds threads.
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.began[trial.trial_id] = time.monotonic()
        if not self.failures[_index(trial)]:
            self.handle(_plan(trial), Started(self.queue.measures(_index(trial))))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        plan = _plan(trial)
        for event in result.pop("events", ()):  # Tune keeps the last result of every trial
            if isinstance(event, Ended):
                self._end(trial, event.result)
            else:
                self.handle(plan, event)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        _forget(trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if trial.trial_id not in self.ended:  # else its result is here: what the worker died of came after it
            self._failed(iteration, trials, trial)
        _forget(trial)

    def _failed(self, iteration: int, trials: list[Any], trial: Any) -> None:
        if trial.trial_id not in self.began:
            self.on_trial_start(iteration, trials, trial)
        seconds = time.monotonic() - self.began[trial.trial_id]
        file = Path(trial.error_file or "")
        traceback = file.read_text(encoding="utf-8", errors="backslashreplace") if file.is_file() else None
        timeout = _plan(trial).resources["timeout"]
        if timeout is not None and seconds >= timeout:
            self._end(trial, replace(timed_out(_plan(trial), seconds), traceback=traceback))
        else:
            self._end(trial, Result(_plan(trial), {}, 0, seconds, reason_of(traceback or ""), traceback=traceback))

    def _end(self, trial: Any, result: Result) -> None:
        self.ended.add(trial.trial_id)
        index, plan = _index(trial), _plan(trial)
        result = replace(result, plan=plan)  # the worker's plan says what the machine has
        if result.error is not None:
            self.failures[index] += 1
        again = result.error is not None and self.failures[index] <= plan.resources["retries"]
        self.handle(plan, Retried(result) if again else Ended(result))
        self.queue.ended(index, again=again)


def reason_of(said: str) -> str:
    """Why a trial ended that has not said so itself, of all that Ray has to say."""
    if "low on memory" in said:
        used = re.search(r"was (\S+ used / \S+) limit", said)
        return (
            f"Ray ended its worker as memory ran low{f' ({used[1]})' if used else ''}: "
            "run fewer trials at once (--max-concurrent), or smaller batches"
        )
    if not said or "worker process has died" in said:
        return "its worker process died: it was killed, ran out of memory, or crashed in native code"
    if "node has died" in said or "is unavailable" in said:
        return "its machine, or the connection to it, was lost"
    return readable(f"Ray could not run it: {said.strip().splitlines()[-1].strip()}")


def _forget(trial: Any) -> None:
    """Have a trial that has ended forget what it was about: Tune keeps all trials, and writes them down in the end."""
    trial.config.clear()
    trial.evaluated_params.clear()


def _plan(trial: Any) -> TrialPlan:
    plan: TrialPlan = trial.config["task"].plan
    return plan


def _index(trial: Any) -> int:
    index: int = trial.config["task"].index
    return index
