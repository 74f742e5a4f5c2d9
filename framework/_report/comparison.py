"""Variants side by side: how each came out over its seeds, and what sets it apart from a baseline."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite, nan
from typing import TYPE_CHECKING, Any

from framework._errors import DataError, nearest
from framework._plan import short
from framework._report.statistics import deviation, interval, mean
from framework._tracking import TrialRun

if TYPE_CHECKING:
    from framework._report.results import Results

EXPERIMENT = "experiment"
METRIC = "test/accuracy"  # what is compared if nothing else is said
_ENOUGH = 3  # replicates: the t interval of two reaches 12.7 standard errors to each side
_MISSING = object()
_NAMED = 3  # of what a group pools, in its note


@dataclass(frozen=True)
class Group:
    """A variant over its seeds, or all trials that have the values it is grouped by.

    Attributes:
        label: what tells it apart: ``prune.amount=0.2``, or ``unprune prune.amount=0.2`` among several experiments.
        values: what it is grouped by; what its trials do not have is left out.
        n: how many trials count: those that finished, were not stopped, and have a finite value of the metric.
        mean: of the metric's last values; NaN without any.
        std: their sample standard deviation; None below two.
        low: where the 95 % t interval of the mean begins; None below two trials.
        high: where it ends.
        difference: mean over the seeds that the baseline has too, of this group's value less the baseline's; None for
            the baseline itself, without one, and without such a seed.
        difference_low: where the 95 % t interval of that difference begins; None below two such seeds.
        difference_high: where it ends.
        pairs: how many seeds it has in common with the baseline.
        note: what to know before one reads something into it; may be empty.
        failed: how many trials failed; they count nowhere else.
    """

    label: str
    values: Mapping[str, Any]
    n: int
    mean: float
    std: float | None
    low: float | None
    high: float | None
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    pairs: int
    note: str
    failed: int


def compare(
    results: "Results", metric: str = METRIC, by: Sequence[str] | None = None, baseline: str | None = None
) -> list[Group]:
    """The groups, in the order in which their trials first appear.

    Args:
        results: the trials.
        metric: whose last values are compared.
        by: what to group by: short names of swept values, ``experiment``, or any parameter of the runs. None: by all
            that was swept, and by experiment where there are several.
        baseline: the label of the group that the others are compared with, or a part of it that only one group has:
            an experiment, or values such as ``prune.amount=0.1``.

    Raises:
        DataError: there is no such metric, value or group; names the nearest.
    """
    trials = results.trials
    if not trials:
        raise DataError(f"no trial has a run yet in {', '.join(results.experiments) or 'any experiment'}")
    if metric not in results.metrics:
        raise DataError(f"no trial has reported {metric!r} ({nearest(metric, results.metrics)})")
    names = _grouping(results, by)
    members: dict[tuple[Any, ...], _Members] = {}
    for trial in trials:
        values = {name: value for name in names if (value := _value(trial, name)) is not _MISSING}
        key = tuple((name, repr(value)) for name, value in values.items())
        members.setdefault(key, _Members(values, names, metric)).trials.append(trial)
    groups = list(members.values())
    reference = None if baseline is None else _find(groups, baseline)
    return [_group(group, reference) for group in groups]


@dataclass
class _Members:
    """The trials of a group."""

    values: Mapping[str, Any]
    names: Sequence[str]
    metric: str
    trials: list[TrialRun] = field(default_factory=list)

    @cached_property
    def label(self) -> str:
        parts = [str(value) if name == EXPERIMENT else f"{name}={short(value)}" for name, value in self.values.items()]
        # What was not swept anywhere is told apart by where it is from.
        return " ".join(parts) or ", ".join(self.experiments)

    @property
    def experiments(self) -> list[str]:
        return list(dict.fromkeys(trial.experiment for trial in self.trials))

    @property
    def done(self) -> list[TrialRun]:
        """Those that came to their end."""
        return [trial for trial in self.trials if trial.status == "FINISHED" and not trial.stopped]

    @cached_property
    def counted(self) -> list[TrialRun]:
        return [trial for trial in self.done if isfinite(trial.metrics.get(self.metric, nan))]

    @property
    def all_values(self) -> list[float]:
        return [trial.metrics[self.metric] for trial in self.counted]

    @cached_property
    def by_seed(self) -> dict[int, float]:
        """The mean of each seed's trials."""
        seeds: dict[int, list[float]] = {}
        for trial in self.counted:
            seeds.setdefault(trial.seed, []).append(trial.metrics[self.metric])
        return {seed: mean(values) for seed, values in seeds.items()}

    @property
    def pooled(self) -> list[str]:
        """The names of what differs among its trials besides the seed: what was swept, else any parameter."""
        named = {
            EXPERIMENT: {trial.experiment for trial in self.counted},
            **_varying([trial.swept for trial in self.counted]),
        }
        swept = [name for name, values in named.items() if len(values) > 1]
        others = _varying([trial.params for trial in self.counted])
        return swept or [name for name, values in others.items() if len(values) > 1 and name != "seed"]


def _varying(mappings: Sequence[Mapping[str, Any]]) -> dict[str, set[str]]:
    names = dict.fromkeys(name for mapping in mappings for name in mapping)
    return {name: {repr(mapping.get(name, _MISSING)) for mapping in mappings} for name in names}


def _grouping(results: "Results", by: Sequence[str] | None) -> list[str]:
    if by is None:
        return [*([EXPERIMENT] if len(results.experiments) > 1 else []), *results.swept]
    likely = [EXPERIMENT, *results.swept]
    known = {*likely, *(name for trial in results.trials for name in trial.params)}
    for name in by:
        if name not in known:
            raise DataError(f"no trial has a value {name!r} to group by ({nearest(name, likely)})")
    return list(dict.fromkeys(by))


def _value(trial: TrialRun, name: str) -> Any:
    if name == EXPERIMENT:
        return trial.experiment
    return trial.swept.get(name, trial.params.get(name, _MISSING))


def _find(groups: Sequence[_Members], name: str) -> _Members:
    """The group of that label, else the only one whose label has all these words, or that is of that experiment."""
    labelled = [group for group in groups if group.label == name]
    wanted = set(name.split())
    found = labelled or [g for g in groups if wanted <= {*g.label.split()} or g.experiments == [name]]
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(f"{name!r} may be any of several groups: {', '.join(repr(g.label) for g in found)}")
    raise DataError(f"no group is called {name!r} ({nearest(name, [group.label for group in groups])})")


def _group(members: _Members, baseline: _Members | None) -> Group:
    values = members.all_values
    low, high = interval(values) or (None, None)
    differences: list[float] = []
    if baseline is not None and baseline is not members:
        own, other = members.by_seed, baseline.by_seed
        differences = [own[seed] - other[seed] for seed in own if seed in other]
    difference_low, difference_high = interval(differences) or (None, None)
    return Group(
        label=members.label,
        values=members.values,
        n=len(values),
        mean=mean(values) if values else nan,
        std=deviation(values) if len(values) > 1 else None,
        low=low,
        high=high,
        difference=mean(differences) if differences else None,
        difference_low=difference_low,
        difference_high=difference_high,
        pairs=len(differences),
        note="; ".join(_notes(members, baseline, differences)),
        failed=sum(trial.status == "FAILED" for trial in members.trials),
    )


def _notes(members: _Members, baseline: _Members | None, differences: Sequence[float]) -> Iterable[str]:
    n, pooled = len(members.counted), members.pooled
    repeated = n > len(members.by_seed)
    if members is baseline:
        yield "baseline"
    if n == 0:
        yield "no trial counts"
    elif n < _ENOUGH:
        yield _too_few(n, "trial" if repeated else "seed")
    if members is not baseline and baseline is not None and n:
        yield from _notes_on_difference(differences, said=len(differences) == n < _ENOUGH)
    if pooled:
        yield f"pooled over {', '.join(pooled[:_NAMED])}{', …' if len(pooled) > _NAMED else ''}"
    elif repeated:
        yield "some seeds count several times"
    unfinished = sum(trial.status not in ("FINISHED", "FAILED") for trial in members.trials)
    stopped = sum(trial.stopped and trial.status == "FINISHED" for trial in members.trials)
    unmeasured = len(members.done) - n
    for number, why in (
        (stopped, "stopped early"),
        (unfinished, "not finished"),
        (unmeasured, f"without a finite {members.metric}"),
    ):
        if number:
            yield f"{number} {why}, left out"


def _notes_on_difference(differences: Sequence[float], *, said: bool) -> Iterable[str]:
    """Whether the paired difference says anything."""
    pairs = len(differences)
    ends = interval(differences)
    if pairs == 0:
        yield "no seed in common with the baseline"
    elif pairs < _ENOUGH and not said:
        yield f"difference over {_too_few(pairs, 'seed')}"
    elif pairs >= _ENOUGH and ends and ends[0] <= 0 <= ends[1]:
        yield "no difference shown"


def _too_few(n: int, noun: str) -> str:
    return f"one {noun}: no interval" if n == 1 else f"{n} {noun}s: too few to decide"
