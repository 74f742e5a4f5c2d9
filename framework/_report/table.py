"""What came out, variant by variant."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite, nan

from rich import box
from rich.table import Table
from rich.text import Text

from framework._plan.result import Result
from framework._report.statistics import deviation, mean


@dataclass(frozen=True)
class Row:
    """A variant over its seeds; failed trials count nowhere but in ``failed``.

    Attributes:
        experiment: the spec's name.
        variant: the swept values, readable.
        seeds: how many trials finished.
        accuracy: mean of their test accuracy, in [0, 1]; None without any.
        spread: its sample standard deviation; None below two trials.
        sparsity: mean, in [0, 1]; None without any.
        epochs: the most that a trial trained; None without any.
        seconds: mean per trial; None without any.
        failed: how many trials failed.
        stopped: how many of those that finished were stopped before their end.
    """

    experiment: str
    variant: str
    seeds: int
    accuracy: float | None
    spread: float | None
    sparsity: float | None
    epochs: int | None
    seconds: float | None
    failed: int
    stopped: int


def summarise(results: Iterable[Result]) -> list[Row]:
    """A row per experiment and variant, in the order in which they first appear."""
    return [_row(group) for group in _variants(results)]


def best(results: Iterable[Result], metric: str, mode: str) -> tuple[str, float, int] | None:
    """The variant with the best mean of a metric over its trials; those of which one did not come to its end are out.

    Args:
        results: of one experiment.
        metric: its name.
        mode: whether ``max`` or ``min`` is best.

    Returns:
        The variant, readable, the mean, and of how many trials; None if no variant has all of this.
    """
    means = [
        (group[0].plan.variant, mean(result.metrics[metric] for result in group), len(group))
        for group in _variants(results)
        if not any(result.error or result.stopped for result in group)
        and all(isfinite(result.metrics.get(metric, nan)) for result in group)
    ]
    return (max if mode == "max" else min)(means, key=lambda found: found[1], default=None)


def summary_table(rows: Sequence[Row]) -> Table:
    """The rows as a table for the terminal; it has a column for stopped and for failed trials where there are any."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    extra = [name for name in ("stopped", "failed") if any(getattr(row, name) for row in rows)]
    table.add_column("variant", overflow="fold")
    for name in ("seeds", "test accuracy", "sparsity", "epochs", "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in extra:
        table.add_column(name, justify="right", style="red" if name == "failed" else None)
    experiment = None
    for row in rows:
        if row.experiment != experiment:
            experiment = row.experiment
            table.add_section()
            table.add_row(Text(experiment, style="bold"))
        cells = [
            f"  {row.variant or '–'}",
            str(row.seeds),
            _percent(row.accuracy, row.spread),
            _percent(row.sparsity),
            "–" if row.epochs is None else str(row.epochs),
            "–" if row.seconds is None else f"{row.seconds:.1f}",
        ]
        cells += [str(getattr(row, name) or "") for name in extra]
        table.add_row(*map(Text, cells))  # as text: a list's brackets are no markup
    return table


def _variants(results: Iterable[Result]) -> Iterable[Sequence[Result]]:
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.plan.experiment, str(result.plan.swept)), []).append(result)
    return groups.values()


def _row(group: Sequence[Result]) -> Row:
    done = [result for result in group if result.error is None]
    accuracies = [r.metrics["test/accuracy"] for r in done if "test/accuracy" in r.metrics]
    sparsities = [r.metrics["sparsity"] for r in done if "sparsity" in r.metrics]
    return Row(
        group[0].plan.experiment,
        group[0].plan.variant,
        seeds=len(done),
        accuracy=mean(accuracies) if accuracies else None,
        spread=deviation(accuracies) if len(accuracies) > 1 else None,
        sparsity=mean(sparsities) if sparsities else None,
        epochs=max((result.epochs for result in done), default=None),
        seconds=mean(result.seconds for result in done) if done else None,
        failed=len(group) - len(done),
        stopped=sum(result.stopped is not None for result in done),
    )


def _percent(value: float | None, spread: float | None = None) -> str:
    if value is None:
        return "–"
    return f"{value:.2%}" if spread is None else f"{100 * value:.2f} ± {100 * spread:.2f}%"
