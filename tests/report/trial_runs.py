"""Results made up of trials that are written down here."""

from typing import Any

from framework._report.results import Results
from framework._tracking import TrialRun


class Shelf:
    """Has trials as a reader of a tracking store has them."""

    def __init__(self, *trials: TrialRun) -> None:
        self.all = trials

    def experiments(self) -> list[str]:
        """The newest first."""
        return list(reversed(dict.fromkeys(trial.experiment for trial in self.all)))

    def trials(self, experiment: str) -> list[TrialRun]:
        return [trial for trial in self.all if trial.experiment == experiment]


def results_of(*trials: TrialRun) -> Results:
    return Results(Shelf(*trials))


def trial(
    value: float | None,
    seed: int = 0,
    experiment: str = "prune",
    swept: dict[str, Any] | None = None,
    **fields: Any,
) -> TrialRun:
    """One that has finished with a test accuracy."""
    swept = {} if swept is None else swept
    variant = " ".join(f"{name}={one}" for name, one in swept.items())
    name = f"{variant} seed={seed}".strip()
    given = {
        "run_id": f"{experiment} {name}",
        "experiment": experiment,
        "name": name,
        "key": f"key of {name}",
        "swept": swept,
        "seed": seed,
        "status": "FINISHED",
        "stopped": False,
        "reason": "",
        "started": 0.0,
        "params": {"seed": str(seed), "model": "convnet", "stages.0.name": "train"},
        "metrics": {} if value is None else {"test/accuracy": value},
        "parent": "",
    }
    return TrialRun(**{**given, **fields})


def variants(experiment: str = "prune", **values: list[float]) -> list[TrialRun]:
    """Of each amount, such as ``a20``, a trial for each value; the seeds count from 0."""
    return [
        trial(value, seed, experiment, {"prune.amount": int(amount[1:]) / 100})
        for amount, listed in values.items()
        for seed, value in enumerate(listed)
    ]
