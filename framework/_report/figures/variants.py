"""The variants of a sweep, and what sets them apart."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from framework._errors import DataError, nearest
from framework._report.variants import EXPERIMENT, Variant, group, numbers

if TYPE_CHECKING:
    from pandas import DataFrame

_LONGEST = 38  # letters of experiments in a headline
FEWEST = 3  # trials below which an interval says nothing: of two it is six times as wide


class Sweep(Protocol):
    """What sweeps are drawn from; `framework._report.results.Results` is one."""

    @property
    def swept(self) -> list[str]:
        """The short names of the values that were swept."""

    @property
    def metrics(self) -> list[str]:
        """The names of all metrics."""

    @property
    def primary(self) -> str:
        """The metric that counts most, without a split."""

    def frame(self) -> "DataFrame":
        """One row per trial."""

    def history(self, metric: str) -> "DataFrame":
        """All values of a metric."""

    def stages(self, run_id: str) -> list[str]:
        """The names of a trial's stages."""

    def layers(self, run_id: str) -> list[str]:
        """The names of a trial's layers that can be pruned, in forward order, as in its metrics."""


class Row(NamedTuple):
    """A trial as its row of the frame tells it; its metrics are all columns, the swept ones too."""

    experiment: str
    seed: int
    status: str
    stopped: bool
    run_id: str
    metrics: Mapping[str, Any]


def told(variant: Variant[Row], columns: Sequence[str], names: Mapping[str, str] | None = None) -> str:
    """Its values of these columns: ``0.2``, or with names ``amount=0.2``; its experiment if that is asked for."""
    from framework._plan import short

    parts = []
    for column in columns:
        if column in variant.values:
            value = variant.values[column]
            text = f"{value:.6g}" if isinstance(value, float) else short(value)
            parts.append(f"{names[column]}={text}" if names and column != EXPERIMENT else text)
    return ", ".join(parts) or "–"


def finished(sweep: Sweep, metric: str) -> "DataFrame":
    """The trials that came to their end with a metric.

    Raises:
        DataError: there is none; names the nearest metric.
    """
    frame = sweep.frame()
    if metric not in sweep.metrics:
        raise DataError(f"no trial has reported {metric!r} ({nearest(metric, sweep.metrics)})")
    done = (frame["status"] == "FINISHED") & ~frame["stopped"].astype(bool)
    found = frame[done & frame[metric].notna()]
    if found.empty:
        raise DataError(f"no trial that has finished has reported {metric!r}")
    return found


def variants(trials: "DataFrame", swept: Sequence[str]) -> list[Variant[Row]]:
    """The variants of these trials, in the order in which numbers grow, and else in which they first appear."""

    def values(row: Row) -> Mapping[str, Any]:
        """What it has of the swept columns; by its name too, as its values may have been cut."""
        found = {name: row.metrics[name] for name in (EXPERIMENT, "variant", *swept)}
        return {name: value for name, value in found.items() if value is not None and value == value}

    rows = [
        Row(**{name: row[name] for name in Row._fields if name != "metrics"}, metrics=row)
        for row in trials.to_dict("records")
    ]
    growing = [column for column in swept if is_number(trials, column)]
    return sorted(group(rows, values), key=lambda one: [float(one.values.get(name, "-inf")) for name in growing])


def varying(found: Sequence[Variant[Row]], swept: Sequence[str]) -> list[str]:
    """The columns in which variants differ: swept ones, and before them ``experiment``."""
    return [column for column in (EXPERIMENT, *swept) if len({str(one.values.get(column)) for one in found}) > 1]


def is_number(trials: "DataFrame", column: str) -> bool:
    """Whether a swept column has an order: it has numbers only, in each experiment that sweeps it."""
    sweeping = trials[trials.groupby("experiment")[column].transform(lambda values: values.notna().any()).astype(bool)]
    return bool(len(sweeping)) and all(_number(value) for value in sweeping[column])


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def driver(trials: "DataFrame", swept: Sequence[str], x: str) -> str | None:
    """The swept number by which a metric varies most; None if no number is swept, or the metric does not vary."""
    if x in swept:
        return x
    explained = {column: _explained(trials, column, x) for column in swept if is_number(trials, column)}
    best = max(explained, key=explained.__getitem__, default=None)
    return best if best is not None and explained[best] > 0.5 else None


def drivers(trials: "DataFrame", swept: Sequence[str], x: str) -> set[str]:
    """The swept numbers by which a metric varies most, in one experiment or another."""
    return {found for _, part in trials.groupby("experiment") if (found := driver(part, swept, x)) is not None}


def _explained(trials: "DataFrame", column: str, x: str) -> float:
    """Which part of the variance of x is that between the values of the column."""
    total = float(trials[x].var(ddof=0))
    between = trials.groupby(["experiment", column], dropna=False)[x].transform("mean")
    return float(between.var(ddof=0)) / total if total > 0 else 0.0


def brief(columns: Sequence[str]) -> dict[str, str]:
    """The last part of each column's name, where no other has it."""
    last: dict[str, list[str]] = {}
    for column in columns:
        last.setdefault(column.rpartition(".")[2], []).append(column)
    return {column: name if len(named) == 1 else column for name, named in last.items() for column in named}


def titled(found: Sequence[Variant[Row]]) -> str:
    """The experiments that they are of; of many, how many."""
    names = list(dict.fromkeys(variant.values[EXPERIMENT] for variant in found))
    told = ", ".join(names)
    return told if len(told) <= _LONGEST else f"{len(names)} experiments"


def explained(found: Sequence[Variant[Row]], metric: str, *, each: bool = True) -> str:
    """What a point shows: ``mean over 3 seeds, with its 95 % interval; each trial faint``."""
    counts = [len(numbers(variant.trials, metric)) for variant in found]
    if max(counts) == 1:
        return over_seeds(counts)
    sure = ", with its 95 % interval" if max(counts) >= FEWEST else ""
    return f"{over_seeds(counts)}{sure}{'; each trial faint' if each else ''}"


def over_seeds(counts: Sequence[int]) -> str:
    """What points are that stand for so many trials each: ``one seed each``, ``mean over 2–3 seeds``."""
    few, many = min(counts), max(counts)
    if many == 1:
        return "one seed each"
    return f"mean over {few if few == many else f'{few}–{many}'} seeds"
