"""What a run has left in its root, and how that differs from what another one has left."""

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from framework._store import Store
from framework._tracking import load_model_state
from framework._trial import model_state

# How fast it was and how long it took: no two runs agree on that.
TIMED = ("images_per_second", "seconds")


@dataclass(frozen=True)
class Left:
    """What is in a root of one experiment.

    Attributes:
        trials: live runs of trials, by name.
        twins: names that more than one live run of a trial has.
        running: runs of any kind that are still RUNNING.
    """

    root: Path
    trials: dict[str, Any]
    twins: list[str]
    running: list[str]

    @property
    def uri(self) -> str:
        """Of the database."""
        return f"sqlite:///{self.root / 'mlflow.db'}"

    def history(self, name: str) -> dict[str, list[tuple[int, float]]]:
        """By metric, its values with their epochs in the order in which they were measured."""
        run = self.trials[name]
        found = {}
        for metric in sorted(run.data.metrics.keys() - set(TIMED)):
            values = client(self.root).get_metric_history(run.info.run_id, metric)
            found[metric] = [(v.step, v.value) for v in sorted(values, key=lambda v: (v.timestamp, v.step))]
        return found

    def stored(self, name: str) -> dict[str, Tensor]:
        """The final network of a trial in the stage store."""
        return model_state(Store(self.root / "stages").load(self.trials[name].data.tags["framework.key"])[0])

    def logged(self, name: str) -> dict[str, Tensor]:
        """The network that its run has logged."""
        return load_model_state(f"runs:/{self.trials[name].info.run_id}/model", self.uri)


def client(root: Path) -> Any:
    """Of a root's database."""
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{root / 'mlflow.db'}")


def read(root: Path, experiment: str) -> Left:
    """Read what is in a root."""
    found = client(root).get_experiment_by_name(experiment)
    runs = list(client(root).search_runs([found.experiment_id])) if found else []
    trials: dict[str, Any] = {}
    twins = []
    for run in runs:
        if "mlflow.parentRunId" in run.data.tags:
            name = run.info.run_name
            if name in trials:
                twins.append(name)
            trials[name] = run
    running = [run.info.run_name for run in runs if run.info.status == "RUNNING"]
    return Left(root, trials, twins, running)


def tracked(root: Path) -> dict[str, Any]:
    """Of all experiments: the metrics of their trials, what was executed, and when the first began and all ended."""
    trials: dict[str, Any] = {}
    parents, paces = [], []
    for experiment in client(root).search_experiments(filter_string="name != 'Default'"):
        found = read(root, experiment.name)
        trials |= {f"{experiment.name} {name}": run for name, run in found.trials.items()}
        for run in found.trials.values():
            paces += client(root).get_metric_history(run.info.run_id, "images_per_second")
        runs = client(root).search_runs([experiment.experiment_id])
        parents += [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    return {
        "stamps": {
            "first": min(run.info.start_time for run in trials.values()) / 1000,
            "fitted": max(run.info.end_time for run in parents) / 1000,
        },
        "epochs": int(sum(parent.data.metrics["epochs/executed"] for parent in parents)),
        "seconds_per_image": fmean(1 / pace.value for pace in paces),
        "trials": {name: run.data.metrics for name, run in trials.items()},
    }


def differences(found: Left, wanted: Left) -> list[str]:
    """What is wrong with what was found, in a few words each; nothing if all is as wanted."""
    wrong = [f"{name}: two runs" for name in found.twins] + [f"{name}: still RUNNING" for name in found.running]
    if found.trials.keys() != wanted.trials.keys():
        return [*wrong, f"{len(found.trials)} of {len(wanted.trials)} trials"]
    for name, run in found.trials.items():
        if run.info.status != "FINISHED":
            wrong.append(f"{name}: {run.info.status}")
            continue
        for what in ("stored", "logged"):
            if not same(getattr(found, what)(name), getattr(wanted, what)(name)):
                wrong.append(f"{name}: other weights {what}")
        wrong += [f"{name}: {text}" for text in _histories(found.history(name), wanted.history(name))]
    return wrong


def same(some: dict[str, Tensor], others: dict[str, Tensor]) -> bool:
    """Whether two states are equal, bit for bit."""
    return some.keys() == others.keys() and all(torch.equal(tensor, others[name]) for name, tensor in some.items())


def _histories(found: dict[str, list[Any]], wanted: dict[str, list[Any]]) -> list[str]:
    """One line for each way in which metrics differ."""
    if found.keys() != wanted.keys():
        return [f"other metrics: {', '.join(sorted(found.keys() ^ wanted.keys()))}"]
    wrong: dict[str, list[str]] = {}
    for metric, values in found.items():
        if values == wanted[metric]:
            continue
        twice = sorted({step for step, _ in values if [s for s, _ in values].count(step) > 1})
        extra = len(values) - len(wanted[metric])
        kind = f"{abs(extra)} {'more' if extra > 0 else 'fewer'}" if extra else "other"
        wrong.setdefault(f"{kind} values" + (f" (epochs {twice[:3]})" if extra > 0 else ""), []).append(metric)
    return [f"{kind} of {len(metrics)} metrics, such as {metrics[0]}" for kind, metrics in wrong.items()]
