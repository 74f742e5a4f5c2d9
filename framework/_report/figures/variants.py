"""The variants of a sweep, and what sets them apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any, Protocol

from framework._errors import DataError, nearest

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

    def frame(self) -> "DataFrame":
        """One row per trial."""

    def history(self, metric: str) -> "DataFrame":
        """All values of a metric."""

    def stages(self, run_id: str) -> list[str]:
        """The names of a trial's stages."""


@dataclass(frozen=True)
class Variant:
    """A variant over its seeds.

    Attributes:
        experiment: the spec's name.
        swept: the search space's values, by short name, in the order of the columns; what it lacks is left out.
        trials: their rows.
    """

    experiment: str
    swept: Mapping[str, Any]
    trials: "DataFrame"

    def values(self, column: str) -> list[float]:
        """A metric of its trials, or a number that was swept; those that have none are left out."""
        return [float(value) for value in self.trials[column] if isinstance(value, int | float) and isfinite(value)]

    def told(self, columns: Sequence[str], names: Mapping[str, str] | None = None) -> str:
        """Its values of these columns: ``0.2``, or with names ``amount=0.2``; its experiment if that is asked for."""
        from framework._plan import short

        parts = [self.experiment] if "experiment" in columns else []
        for column in columns:
            if column in self.swept:
                value = self.swept[column]
                text = f"{value:.6g}" if isinstance(value, float) else short(value)
                parts.append(f"{names[column]}={text}" if names else text)
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


def variants(trials: "DataFrame", swept: Sequence[str]) -> list[Variant]:
    """The variants of these trials, in the order in which numbers grow, and else in which they first appear."""
    groups = [group for _, group in trials.groupby(["experiment", "variant"], sort=False)]
    found = [_variant(group, swept) for group in groups]
    numbers = [column for column in swept if is_number(trials, column)]
    return sorted(found, key=lambda one: [float(one.swept.get(column, "-inf")) for column in numbers])


def _variant(trials: "DataFrame", swept: Sequence[str]) -> Variant:
    first = trials.iloc[0]
    values = {column: first[column] for column in swept if first[column] is not None and first[column] == first[column]}
    return Variant(first["experiment"], values, trials)


def varying(found: Sequence[Variant], swept: Sequence[str]) -> list[str]:
    """The columns in which variants differ: swept ones, and before them ``experiment``."""
    columns = ["experiment"] if len({variant.experiment for variant in found}) > 1 else []
    return columns + [column for column in swept if len({str(one.swept.get(column)) for one in found}) > 1]


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


def titled(found: Sequence[Variant]) -> str:
    """The experiments that they are of; of many, how many."""
    names = list(dict.fromkeys(variant.experiment for variant in found))
    told = ", ".join(names)
    return told if len(told) <= _LONGEST else f"{len(names)} experiments"


def explained(found: Sequence[Variant], metric: str) -> str:
    """What a point shows: ``mean over 3 seeds, with its 95 % interval; each trial faint``."""
    counts = sorted({len(variant.values(metric)) for variant in found})
    if counts[-1] == 1:
        return "one seed each"
    told = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]}–{counts[-1]}"
    return f"mean over {told} seeds{', with its 95 % interval' if counts[-1] >= FEWEST else ''}; each trial faint"


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean of one or more values."""
    return sum(values) / len(values)
