"""Results of sweeps as plain tables, to draw from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import pandas
from pandas import DataFrame

from framework._plan import short

STAGES = ("train", "prune", "train")


@dataclass(frozen=True)
class Table:
    """What sweeps are drawn from, out of tables.

    Attributes:
        swept: names of the swept values.
        trials: as `Results.frame` gives them.
        histories: as `Results.history` gives them, by metric.
        names: of the stages, by run.
        primary: the metric that counts most.
    """

    swept: list[str]
    trials: DataFrame
    histories: Mapping[str, DataFrame]
    names: Mapping[str, Sequence[str]]
    primary: str = "accuracy"

    @property
    def metrics(self) -> list[str]:
        return [*dict.fromkeys((*self.histories, *(name for name in self.trials if "/" in name)))]

    def frame(self) -> DataFrame:
        return self.trials.copy()

    def history(self, metric: str) -> DataFrame:
        return self.histories[metric]

    def stages(self, run_id: str) -> list[str]:
        return list(self.names[run_id])

    def layers(self, run_id: str) -> list[str]:
        return [name.removeprefix("sparsity/") for name in self.trials if name.startswith("sparsity/")]


def sweep(
    swept: Mapping[str, Sequence[Any]],
    measure: Callable[[Mapping[str, Any], int], Mapping[str, float]],
    *,
    seeds: Sequence[int] = (0, 1, 2),
    experiment: str = "toy",
    epochs: int = 4,
) -> Table:
    """A grid of trials; each is pruned after two epochs, which costs a part of the accuracy that comes back.

    Args:
        swept: values by name.
        measure: the last value of each metric, given a point and a seed; at least ``test/accuracy`` and ``sparsity``.
        seeds: of each point.
        experiment: the spec's name.
        epochs: of each trial.
    """
    rows, told = [], {"val/accuracy": [], "sparsity": [], "frozen": []}
    for values in product(*swept.values()):
        point = dict(zip(swept, values, strict=True))
        for seed in seeds:
            variant = " ".join(f"{name}={short(value)}" for name, value in point.items())
            run = f"{experiment} {variant} {seed}"
            who = {"experiment": experiment, "variant": variant, "seed": seed, "run_id": run}
            last = {"frozen": 0.0, **measure(point, seed)}
            rows.append({**who, "status": "FINISHED", "stopped": False, "key": run, **point, **last})
            for epoch, stage in [*((e, 0) for e in (1, 2)), (2, 1), *((e, 2) for e in range(3, epochs + 1))]:
                accuracy = last["test/accuracy"] - (0.1 if stage == 1 else 0.3 / epoch)
                found = {"val/accuracy": accuracy, "sparsity": last["sparsity"] * (stage > 0), "frozen": last["frozen"]}
                for metric, value in found.items():
                    told[metric].append({**who, **point, "epoch": epoch, "stage": stage, "value": value})
    trials = DataFrame(rows)
    histories = {metric: DataFrame(values) for metric, values in told.items()}
    return Table(list(swept), trials, histories, dict.fromkeys(trials["run_id"], STAGES))


def together(*tables: Table) -> Table:
    """Several experiments as one."""
    return Table(
        list(dict.fromkeys(name for table in tables for name in table.swept)),
        pandas.concat([table.trials for table in tables], ignore_index=True),
        {
            metric: pandas.concat([table.histories[metric] for table in tables], ignore_index=True)
            for metric in tables[0].histories
        },
        {run: names for table in tables for run, names in table.names.items()},
    )


def pruned(amounts: Sequence[float] = (0.1, 0.2, 0.3), **more: Any) -> Table:
    """A sweep over how much is pruned."""
    return sweep({"prune.amount": amounts}, by_amount, **more)


def by_amount(point: Mapping[str, Any], seed: int) -> dict[str, float]:
    """The more is pruned, the worse it is; the seeds are a hundredth apart."""
    amount = point["prune.amount"]
    return {"test/accuracy": 0.9 - amount / 5 + seed / 100, "sparsity": amount}
