"""Variants side by side: how each came out over its seeds, and what sets it apart from a baseline."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from framework._errors import DataError, nearest
from framework._report.variants import EXPERIMENT, Variant, emptied, group
from framework._tracking import TrialRun

if TYPE_CHECKING:
    from framework._report.results import Results

_ENOUGH = 3  # replicates: the t interval of two reaches 12.7 standard errors to each side
_MISSING = object()
_NAMED = 3  # of what a group pools, in its note


def compare(
    results: "Results", metric: str | None = None, by: Sequence[str] | None = None, baseline: str | None = None
) -> list[Variant[TrialRun]]:
    """How the variants came out by a metric, in the order in which their trials first appear.

    Args:
        results: the trials.
        metric: whose last values are compared; None: the primary one, on the test set.
        by: what to group by: short names of swept values, ``experiment``, or any parameter of the runs. None: by all
            that was swept, and by experiment where there are several.
        baseline: the label of the group that the others are compared with, or a part of it that only one group has:
            an experiment, or values such as ``prune.amount=0.1``.

    Raises:
        DataError: there is no such metric, value or group; names the nearest.
    """
    metric = metric or f"test/{results.primary}"
    if not results.trials:
        raise DataError(f"no trial has a run yet in {', '.join(results.experiments) or 'any experiment'}")
    if metric not in results.metrics:
        raise DataError(f"no trial has reported {metric!r} ({nearest(metric, results.metrics)})")
    names = _grouping(results, by)

    def values(trial: TrialRun) -> Mapping[str, Any]:
        return {name: value for name in names if (value := _value(trial, name)) is not _MISSING}

    found = group(results.trials, values, metric, maximize=results.measures.maximize(metric))
    reference = None if baseline is None else _find(found, baseline)
    return [_compared(variant, reference) for variant in found]


def _compared(variant: Variant[TrialRun], reference: Variant[TrialRun] | None) -> Variant[TrialRun]:
    found = replace(variant, baseline=None if variant is reference else reference)
    notes = ["baseline"] if variant is reference else []
    return replace(found, note="; ".join([*notes, *_notes(found)]))


def _pooled(variant: Variant[TrialRun]) -> list[str]:
    """The names of what differs among its trials besides the seed: what was swept, else any parameter."""
    swept = [{EXPERIMENT: trial.experiment, **trial.swept} for trial in variant.counted]
    others = [{**trial.params, "seed": None} for trial in variant.counted]
    return _varying(swept) or _varying(others)


def _varying(mappings: Sequence[Mapping[str, Any]]) -> list[str]:
    names = dict.fromkeys(name for mapping in mappings for name in mapping)
    return [name for name in names if len({repr(mapping.get(name, _MISSING)) for mapping in mappings}) > 1]


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


def _find(variants: Sequence[Variant[TrialRun]], name: str) -> Variant[TrialRun]:
    """The one of that label, else the only one whose label has all these words, or that is of that experiment."""
    labelled = [variant for variant in variants if variant.label == name]
    wanted = set(name.split())
    found = labelled or [v for v in variants if wanted <= {*v.label.split()} or v.experiments == [name]]
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(f"{name!r} may be any of several groups: {', '.join(repr(v.label) for v in found)}")
    raise DataError(f"no group is called {name!r} ({nearest(name, [variant.label for variant in variants])})")


def _notes(variant: Variant[TrialRun]) -> Iterable[str]:
    n, pooled = variant.n, _pooled(variant)
    repeated = n > len(variant.by_seed)
    if n == 0:
        yield "no trial counts"
    elif n < _ENOUGH:
        yield _too_few(n, "trial" if repeated else "seed")
    if variant.baseline is not None and n:
        yield from _notes_on_difference(variant)
    if pooled:
        yield f"pooled over {', '.join(pooled[:_NAMED])}{', …' if len(pooled) > _NAMED else ''}"
    elif repeated:
        yield "some seeds count several times"
    if empty := emptied(variant.counted):
        yield f"no weight left in {empty}"
    stopped = sum(trial.stopped for trial in variant.finished)
    for number, why in (
        (stopped, "stopped early"),
        (len(variant.trials) - len(variant.finished) - variant.failed, "not finished"),
        (len(variant.finished) - stopped - n, f"without a finite {variant.metric}"),
    ):
        if number:
            yield f"{number} {why}, left out"


def _notes_on_difference(variant: Variant[TrialRun]) -> Iterable[str]:
    """Whether the paired difference says anything, unless that is said of the variant itself."""
    pairs, (low, high) = variant.pairs, variant.difference_interval
    if pairs == 0:
        yield "no seed in common with the baseline"
    elif pairs < _ENOUGH and pairs != variant.n:
        yield f"difference over {_too_few(pairs, 'seed')}"
    elif pairs >= _ENOUGH and low is not None and high is not None and low <= 0 <= high:
        yield "no difference shown"


def _too_few(n: int, noun: str) -> str:
    return f"one {noun}: no interval" if n == 1 else f"{n} {noun}s: too few to decide"
