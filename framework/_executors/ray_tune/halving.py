"""Stops trials early that do worse than others of their experiment.

The driver asks the worker to stop, and the trial ends there by itself. If Tune stopped it, the worker would be left
where it is, within a stage, until another trial takes its place.
"""

from collections.abc import Collection
from functools import partial
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from framework._executors.events import Ended
from framework._spec import ExperimentSpec
from framework._trial import Recorded

_EPOCHS, _GOODNESS = "epochs", "goodness"
# Trials come to their end by themselves; this only bounds how often they are compared.
_LONGEST = 10**9


class Halving(FIFOScheduler):
    """Asynchronous successive halving of each experiment that has a scheduler; lets the other trials run.

    A trial is compared with those of its seed: what variants share is then equal, and no reason to stop one.

    Args:
        specs: the experiments.
    """

    def __init__(self, specs: Collection[ExperimentSpec]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._searches = {spec.name: spec.search for spec in specs}
        self._halving = {
            (spec.name, seed): ASHAScheduler(
                time_attr=_EPOCHS,
                metric=_GOODNESS,
                mode="max",
                max_t=_LONGEST,
                grace_period=scheduler.grace_period,
                reduction_factor=scheduler.reduction_factor,
            )
            for spec in specs
            if (scheduler := spec.search.scheduler)
            for seed in spec.seeds
        }
        self._live: list[Trial] = []

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """The trial that waits longest; Tune's own way looks at all that have ended too, and that all the time."""
        self._live = [trial for trial in self._live if trial.status not in (Trial.TERMINATED, Trial.ERROR)]
        return next((trial for trial in self._live if trial.status == Trial.PENDING), None)

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        self._live.append(trial)
        halving = self._halving_of(trial)
        if halving:
            halving.on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Compare the trial, record by record, as several may come in one report."""
        halving, task = self._halving_of(trial), trial.config["task"]
        search, epochs = self._searches[task.plan.experiment], task.plan.epochs
        metric, maximize = task.measures.aim(search.metric, search.mode)
        events = result.get("events", ())
        if not halving or any(isinstance(event, Ended) for event in events):
            return str(TrialScheduler.CONTINUE)
        for record in [event.record for event in events if isinstance(event, Recorded)]:
            value = record.metrics.get(metric)
            # At its last epoch a trial has cost what it costs; what comes is its test.
            if value is None or (epochs and record.epoch >= epochs):
                continue
            reached = {_EPOCHS: record.epoch, _GOODNESS: value if maximize else -value}
            if halving.on_trial_result(tune_controller, trial, reached) == TrialScheduler.STOP:
                why = f"its {metric} of {value:.4f} was not among the best"
                # Comes before the call by which the report returns, as an actor's calls keep their order.
                trial.temporary_state.ray_actor.execute.remote(
                    partial(_stop, f"stopped by asha at epoch {record.epoch}: {why}")
                )
                break
        return str(TrialScheduler.CONTINUE)

    def _halving_of(self, trial: Any) -> Any:
        plan = trial.config["task"].plan
        return self._halving.get((plan.experiment, plan.seed))


def shall_stop() -> str | None:
    """In a worker: why its trial has been asked to stop, if it has; asked once."""
    return _asked.pop() if _asked else None


_asked: list[str] = []


def _stop(why: str, trainable: Any) -> None:
    _asked.append(why)
