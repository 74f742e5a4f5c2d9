"""What came out, variant by variant."""

from collections.abc import Iterable, Sequence
from math import isfinite, nan

from rich import box
from rich.table import Table
from rich.text import Text

from framework._plan.result import Result
from framework._report.excerpt import excerpt
from framework._report.metrics import NOTHING, called, shown
from framework._report.statistics import deviation, mean
from framework._report.variants import EXPERIMENT, Variant, emptied, group, numbers


def summarise(results: Iterable[Result]) -> list[Variant[Result]]:
    """The variants of each experiment, in the order in which they first appear."""
    return group(results, lambda result: {EXPERIMENT: result.experiment, **result.plan.swept})


def best(results: Iterable[Result], metric: str, *, maximize: bool) -> tuple[str, float, int] | None:
    """The variant with the best mean of a metric over its trials; those of which one did not come to its end are out.

    Args:
        results: of one experiment.
        metric: its name.
        maximize: whether more of it is better.

    Returns:
        The variant, readable, the mean, and of how many trials; None if no variant has all of this.
    """
    means = [
        (variant.trials[0].plan.variant, mean(result.metrics[metric] for result in variant.trials), len(variant.trials))
        for variant in summarise(results)
        if not any(result.error or result.stopped for result in variant.trials)
        and all(isfinite(result.metrics.get(metric, nan)) for result in variant.trials)
    ]
    return (max if maximize else min)(means, key=lambda found: found[1], default=None)


def summary_table(variants: Sequence[Variant[Result]], limit: int = 0) -> Table:
    """One or more variants as a table for the terminal, with columns for troubles such as failed trials, if any.

    Args:
        variants: of any experiments.
        limit: how many of each experiment to show at most, the best and the worst; 0: all.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    # Experiments may be of several tasks; of trials that failed it may not be known.
    primaries = list(dict.fromkeys(_primary(variant) for variant in variants if variant.finished)) or [
        _primary(variants[0])
    ]
    experiments: dict[str, list[Variant[Result]]] = {}
    for variant in variants:
        experiments.setdefault(variant.values[EXPERIMENT], []).append(variant)
    excerpts = {name: excerpt(own, limit, _goodness) for name, own in experiments.items()}
    rows = [_cells(variant, primaries) for part in excerpts.values() for variant in part.shown]
    names = [name for name in rows[0] if name not in _TROUBLES or any(row[name] for row in rows)]
    for name in names:
        if name == "variant":
            table.add_column(name, overflow="fold")
        else:
            table.add_column(name, justify="right", no_wrap=name not in _TROUBLES, style=_TROUBLES.get(name))
    for name, part in excerpts.items():
        table.add_section()
        table.add_row(Text(name, style="bold"))
        own, rows = rows[: len(part.shown)], rows[len(part.shown) :]
        for line in part.lines([[row[column] for column in names] for row in own]):
            table.add_row(*map(Text, line))  # as text: a list's brackets are no markup
    return table


# Columns that are there only if something is in them.
_TROUBLES = {"empty layers": None, "stopped": None, "failed": "red"}


def _goodness(variant: Variant[Result]) -> float:
    metric = _primary(variant)
    values = numbers(variant.finished, metric)
    if not values:
        return nan
    return mean(values) if variant.trials[0].measures.maximize(metric) else -mean(values)


def _primary(variant: Variant[Result]) -> str:
    return f"test/{variant.trials[0].measures.primary}"


def _cells(variant: Variant[Result], primaries: Sequence[str]) -> dict[str, str]:
    """By column; failed trials count nowhere but in theirs."""
    done = variant.finished
    sparsities = numbers(done, "sparsity")
    measured = {}
    for metric in primaries:
        values = numbers(done, metric) if metric == _primary(variant) else []
        spread = deviation(values) if len(values) > 1 else None
        measured[called(metric)] = shown(metric, mean(values) if values else None, spread)
    return {
        "variant": f"  {variant.trials[0].plan.variant or NOTHING}",
        "seeds": str(len(done)),
        **measured,
        "sparsity": shown("sparsity", mean(sparsities) if sparsities else None),
        "epochs": str(max(result.epochs for result in done)) if done else NOTHING,
        "seconds": f"{mean(result.seconds for result in done):.1f}" if done else NOTHING,
        "empty layers": emptied(done),
        "stopped": str(sum(result.stopped is not None for result in done) or ""),
        "failed": str(variant.failed or ""),
    }
