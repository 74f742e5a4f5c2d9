"""Experiments as one page for others to read, whole in itself."""

import base64
import hashlib
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framework._registry import Registry
from framework._report.anatomy import TOTALS
from framework._report.comparison import compare
from framework._report.excerpt import Excerpt, by_metric, excerpt
from framework._report.experiment_summary import alike, facts, parts, status
from framework._report.figures import all_sweep_figures, as_svg
from framework._report.formats import WORDS, cells
from framework._report.metrics import NOTHING, shown
from framework._report.results import Results
from framework._report.variants import EXPERIMENT, Variant
from framework._tracking import TrialRun

_PAGES = Path(__file__).parent / "pages"
_SEVERAL = 6  # experiments that are named in the title


@dataclass(frozen=True)
class Table:
    """A table of texts.

    Attributes:
        head: the columns.
        rows: their cells.
        words: those columns that hold no numbers.
        left_out: that these are not all variants, but which; empty if they are.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: Sequence[str] = WORDS
    left_out: str = ""


def make_page(
    results: Results, registry: Registry, *, metric: str | None, baseline: str | None, limit: int, command: str
) -> str:
    """The page.

    Args:
        results: of the experiments that it is about.
        registry: has the figures of third parties.
        metric: what is compared; None: the primary one, on the test set.
        baseline: the group that the others are compared with, see `compare`.
        limit: how many variants of each experiment its tables have, the best and the worst; 0: all.
        command: what made it.

    Raises:
        DataError: there is no trial, or no such metric or group.
        TrackingError: the tracking store cannot be reached.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    groups = compare(results, metric, baseline=baseline)
    metric = groups[0].metric
    sparsities = {}
    if metric != "sparsity" and "sparsity" in results.metrics:
        same = zip(groups, compare(results, "sparsity"), strict=True)  # groups, in the same order
        sparsities = {id(group): shown("sparsity", sparsity.mean) for group, sparsity in same}
    excerpts = {name: excerpt(_of(groups, name), limit, by_metric) for name in results.experiments}
    several = len(results.experiments) > 1
    environment = Environment(
        loader=FileSystemLoader(_PAGES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = (_PAGES / "report.js").read_text(encoding="utf-8")
    return environment.get_template("report.html").render(
        title=", ".join(results.experiments) if len(results.experiments) <= _SEVERAL else "Experiments",
        style=Markup((_PAGES / "report.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        experiments=[
            {
                "id": f"experiment-{number}",
                "results": _results(part, sparsities, name),
                **_experiment(Results(results.reader, [name]) if several else results, metric, registry, part),
            }
            for number, (name, part) in enumerate(excerpts.items(), 1)
        ],
        overview=_results(excerpt(groups, limit, by_metric), sparsities) if several else None,
        figures=_figures(results, registry) if several else [],
        metric=metric,
        baseline=baseline,
        command=command,
        trials=len(results.trials),
        made=time.strftime("%Y-%m-%d %H:%M"),
    )


def _of(groups: Sequence[Variant[TrialRun]], experiment: str) -> list[Variant[TrialRun]]:
    return [group for group in groups if group.values.get(EXPERIMENT, experiment) == experiment]


def _experiment(results: Results, metric: str, registry: Registry, part: Excerpt[TrialRun]) -> dict[str, Any]:
    """What the page says of an experiment besides how it came out; its tables are of this part of its variants."""
    [name] = results.experiments
    told = {trial.run_id for variant in part.shown for trial in variant.trials}
    trials, reader = results.trials, results.reader
    spec = reader.file(trials[0].run_id, "spec.yaml") if trials else None
    return {
        "name": name,
        "description": reader.description(name),
        "facts": facts(trials),
        "parts": parts(trials),
        "figures": _figures(results, registry),
        "cost": _cost(results, told, part.told),
        "trials": _trials([trial for trial in trials if trial.run_id in told], metric, part.told),
        "commands": list(dict.fromkeys(reader.commands(name).values())),
        "example": trials[0].name if trials else "",
        "alike": alike(trials),
        "spec": spec.decode() if spec else "",
    }


def _figures(results: Results, registry: Registry) -> list[tuple[str, Any]]:
    """Those of a sweep by what they show, each as an element."""
    from markupsafe import Markup

    figures = all_sweep_figures(results, registry)
    return [(name.replace("-", " ").capitalize(), Markup(as_svg(figure))) for name, figure in figures.items()]


# --- tables -----------------------------------------------------------------------------------------------------------

_COST = {
    "parameters": "parameters",
    "nonzero": "not 0",
    "flops": "FLOPs dense",
    "flops_effective": "FLOPs effective",
    "dead_filters": "dead filters",
    "bytes": "bytes",
}


def _results(part: Excerpt[TrialRun], sparsities: Mapping[int, str], experiment: str | None = None) -> Table:
    """The comparison, of one experiment without its name or of all, with how sparse the networks ended, by group."""
    head, rows = cells(part.shown) if part.shown else ([], [])
    if experiment is not None:
        rows = [[row[0].removeprefix(f"{experiment} "), *row[1:]] for row in rows]
    if sparsities:
        head = [*head[:2], "sparsity", *head[2:]]
        means = [sparsities[id(group)] for group in part.shown]
        rows = [[*row[:2], mean, *row[2:]] for row, mean in zip(rows, means, strict=True)]
    return Table(head, rows, left_out=part.told)


def _cost(results: Results, told: Collection[str], left_out: str) -> Table | None:
    """What the networks of these runs consist of: means over the seeds."""
    found = {name: compare(results, f"model/{name}") for name in TOTALS if f"model/{name}" in results.metrics}
    if not found:
        return None
    found = {name: [group for group in groups if group.trials[0].run_id in told] for name, groups in found.items()}
    labels = [group.label for group in next(iter(found.values()))]
    columns, head = [], ["variant"]
    for name, groups in found.items():
        means = [group.mean for group in groups]
        factor, unit = _unit(means) if name.startswith("flops") or name == "bytes" else (1, "")
        head.append(f"{_COST[name]}{f', {unit}' if unit else ''}")
        columns.append([_total(mean / factor, exact=factor == 1) for mean in means])
    return Table(head, list(zip(labels, *columns, strict=True)), left_out=left_out)


def _unit(values: Sequence[float]) -> tuple[float, str]:
    """What to divide by, so that the largest number is short."""
    largest = max((value for value in values if value == value), default=0)
    return next(((factor, unit) for factor, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")) if largest >= factor), (1, ""))


def _total(number: float, *, exact: bool) -> str:
    if number != number:
        return NOTHING
    return f"{number:,.0f}" if exact and number == round(number) else f"{number:,.1f}" if exact else f"{number:,.2f}"


def _trials(trials: Sequence[TrialRun], metric: str, left_out: str) -> Table:
    """A row per trial, those of a variant together."""
    places: dict[str, int] = {}
    for trial in trials:
        places.setdefault(trial.variant, len(places))
    metrics = [metric, "sparsity", *(["frozen"] if any(trial.metrics.get("frozen") for trial in trials) else [])]
    reasons = any(trial.reason for trial in trials)
    head = [
        "variant",
        "seed",
        *dict.fromkeys(metrics),
        "epochs",
        "seconds",
        "status",
        *(["why"] if reasons else []),
        "run",
    ]
    rows = [
        [
            trial.variant or NOTHING,
            str(trial.seed),
            *(shown(name, trial.metrics.get(name)) for name in dict.fromkeys(metrics)),
            f"{trial.metrics['epochs']:.0f}" if "epochs" in trial.metrics else NOTHING,
            f"{trial.metrics['seconds']:.1f}" if "seconds" in trial.metrics else NOTHING,
            status(trial),
            *([trial.reason] if reasons else []),
            trial.run_id[:8],
        ]
        for trial in sorted(trials, key=lambda trial: (places[trial.variant], trial.seed))
    ]
    return Table(head, rows, ("variant", "status", "why", "run"), left_out)
