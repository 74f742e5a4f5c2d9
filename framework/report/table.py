"""What came out, variant by variant."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from rich import box
from rich.table import Table
from rich.text import Text

from framework.plan import TrialPlan


@dataclass(frozen=True)
class Result:
    """How a trial came out.

    Attributes:
        plan: the trial.
        metrics: the last value of each, by name.
        epochs: where its epoch axis ended.
        seconds: how long it took.
        error: why it failed; None if it did not.
    """

    plan: TrialPlan
    metrics: Mapping[str, float]
    epochs: int
    seconds: float
    error: str | None


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


def summarise(results: Iterable[Result]) -> list[Row]:
    """A row per experiment and variant, in the order in which they first appear."""
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.plan.experiment, str(result.plan.swept)), []).append(result)
    return [_row(group) for group in groups.values()]


def summary_table(rows: Sequence[Row]) -> Table:
    """The rows as a table for the terminal, with a column for failures only where there are any."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    with_failures = any(row.failed for row in rows)
    table.add_column("variant", overflow="fold")
    for name in ("seeds", "test accuracy", "sparsity", "epochs", "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    if with_failures:
        table.add_column("failed", justify="right", style="red")
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
        if with_failures:
            cells.append(str(row.failed or ""))
        table.add_row(*map(Text, cells))  # as text: a list's brackets are no markup
    return table


def _row(group: Sequence[Result]) -> Row:
    done = [result for result in group if result.error is None]
    accuracies = [r.metrics["test/accuracy"] for r in done if "test/accuracy" in r.metrics]
    sparsities = [r.metrics["sparsity"] for r in done if "sparsity" in r.metrics]
    return Row(
        group[0].plan.experiment,
        group[0].plan.variant,
        seeds=len(done),
        accuracy=fmean(accuracies) if accuracies else None,
        spread=stdev(accuracies) if len(accuracies) > 1 else None,
        sparsity=fmean(sparsities) if sparsities else None,
        epochs=max((result.epochs for result in done), default=None),
        seconds=fmean(result.seconds for result in done) if done else None,
        failed=len(group) - len(done),
    )


def _percent(value: float | None, spread: float | None = None) -> str:
    if value is None:
        return "–"
    return f"{value:.2%}" if spread is None else f"{100 * value:.2f} ± {100 * spread:.2f}%"
