"""A variant over its seeds: what tables, comparisons and figures are made of."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite, nan
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from framework._emptied import empty_layers
from framework._report.statistics import deviation, interval, mean

EXPERIMENT = "experiment"
_NAMED = 3  # layers
Interval: TypeAlias = tuple[float, float] | tuple[None, None]  # low and high end; None where there are too few values


class Trial(Protocol):
    """What a trial came to, whoever tells it: an executor, a run, or a row of a frame."""

    @property
    def experiment(self) -> str:
        """The spec's name."""

    @property
    def seed(self) -> int:
        """Of the replicate."""

    @property
    def status(self) -> str:
        """FINISHED, FAILED, KILLED or RUNNING."""

    @property
    def stopped(self) -> object:
        """True, or why, if a scheduler stopped it before its end."""

    @property
    def metrics(self) -> Mapping[str, Any]:
        """The last value of each."""


T = TypeVar("T", bound=Trial)


@dataclass(frozen=True)
class Variant(Generic[T]):
    """A variant over its seeds, or all trials that have the values it is grouped by.

    Attributes:
        values: what it is grouped by; what its trials do not have is left out.
        metric: whose last values count.
        trials: all of them, whatever became of them.
        baseline: the variant that it is compared with; None without one, and for the baseline itself.
        note: what to know before one reads something into a comparison; may be empty.
        maximize: whether more of the metric is better.
    """

    values: Mapping[str, Any]
    metric: str = ""
    trials: list[T] = field(default_factory=list)
    baseline: "Variant[T] | None" = None
    note: str = ""
    maximize: bool = True

    @property
    def label(self) -> str:
        """What tells it apart: ``prune.amount=0.2``, or ``unprune prune.amount=0.2`` among several experiments."""
        from framework._plan import short  # which what only draws trials does not need

        parts = [str(value) if name == EXPERIMENT else f"{name}={short(value)}" for name, value in self.values.items()]
        # What was not swept anywhere is told apart by where it is from.
        return " ".join(parts) or ", ".join(self.experiments)

    @property
    def experiments(self) -> list[str]:
        """Those that its trials are of."""
        return list(dict.fromkeys(trial.experiment for trial in self.trials))

    @property
    def finished(self) -> list[T]:
        """The trials that did not fail, those that a scheduler stopped too."""
        return [trial for trial in self.trials if trial.status == "FINISHED"]

    @cached_property
    def counted(self) -> list[T]:
        """Those that finished, were not stopped, and have a finite value of the metric."""
        return [t for t in self.finished if not t.stopped and isfinite(t.metrics.get(self.metric, nan))]

    @property
    def n(self) -> int:
        """How many trials count."""
        return len(self.counted)

    @property
    def failed(self) -> int:
        """How many trials failed; they count nowhere else."""
        return sum(trial.status == "FAILED" for trial in self.trials)

    @property
    def mean(self) -> float:
        """Of the metric's last values; NaN without any."""
        return mean(numbers(self.counted, self.metric)) if self.counted else nan

    @property
    def std(self) -> float | None:
        """Their sample standard deviation; None below two."""
        return deviation(numbers(self.counted, self.metric)) if self.n > 1 else None

    @cached_property
    def interval(self) -> Interval:
        """The 95 % t interval of the mean; None below two trials."""
        return interval(numbers(self.counted, self.metric)) or (None, None)

    @property
    def by_seed(self) -> dict[int, float]:
        """The mean of each seed's trials."""
        seeds: dict[int, list[float]] = {}
        for trial in self.counted:
            seeds.setdefault(trial.seed, []).append(trial.metrics[self.metric])
        return {seed: mean(values) for seed, values in seeds.items()}

    @cached_property
    def differences(self) -> list[float]:
        """The value less the baseline's, for each seed that both have."""
        own, other = self.by_seed, self.baseline.by_seed if self.baseline else {}
        return [own[seed] - other[seed] for seed in own if seed in other]

    @property
    def pairs(self) -> int:
        """How many seeds it has in common with the baseline."""
        return len(self.differences)

    @property
    def difference(self) -> float | None:
        """The mean of the differences; None without any."""
        return mean(self.differences) if self.differences else None

    @cached_property
    def difference_interval(self) -> Interval:
        """The 95 % t interval of the difference; None below two seeds."""
        return interval(self.differences) or (None, None)


def group(
    trials: Iterable[T], values: Callable[[T], Mapping[str, Any]], metric: str = "", *, maximize: bool = True
) -> list[Variant[T]]:
    """Trials of the same values together, in the order in which they first appear."""
    found: dict[str, Variant[T]] = {}
    for trial in trials:
        own = values(trial)
        found.setdefault(repr(own), Variant(own, metric, maximize=maximize)).trials.append(trial)
    return list(found.values())


def numbers(trials: Sequence[Trial], name: str) -> list[float]:
    """The finite numbers that trials have of a metric."""
    found = [trial.metrics.get(name) for trial in trials]
    return [float(value) for value in found if isinstance(value, int | float) and isfinite(value)]


def emptied(trials: Sequence[Trial]) -> str:
    """The layers all of whose weights are pruned in the end: ``conv2, fc (1 of 3 trials)``; empty without any."""
    counts = Counter(name for trial in trials for name in empty_layers(trial.metrics))
    told = [
        name if count == len(trials) else f"{name} ({count} of {len(trials)} trials)" for name, count in counts.items()
    ]
    more = len(told) - _NAMED
    return ", ".join(told[:_NAMED]) + (f" and {more} more" if more > 0 else "")
