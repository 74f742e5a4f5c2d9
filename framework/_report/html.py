"""Experiments as one page for others to read, whole in itself."""

import base64
import hashlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from framework._registry import Registry
from framework._report.anatomy import TOTALS
from framework._report.comparison import EXPERIMENT, Group, compare
from framework._report.figures import all_sweep_figures, as_svg
from framework._report.formats import WORDS, cells
from framework._report.results import Results
from framework._report.setup import alike, facts, parts, status
from framework._report.statistics import is_fraction
from framework._tracking import TrialRun

_PAGES = Path(__file__).parent / "pages"
_NOTHING = "–"
_SEVERAL = 6  # experiments that are named in the title


@dataclass(frozen=True)
class Table:
    """A table of texts.

    Attributes:
        head: the columns.
        rows: their cells.
        words: those columns that hold no numbers.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: Sequence[str] = WORDS


def make_page(results: Results, registry: Registry, *, metric: str, baseline: str | None, command: str) -> str:
    """The page.

    Args:
        results: of the experiments that it is about.
        registry: has the figures of third parties.
        metric: what is compared.
        baseline: the group that the others are compared with, see `compare`.
        command: what made it.

    Raises:
        DataError: there is no trial, or no such metric or group.
        TrackingError: the tracking store cannot be reached.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    groups = compare(results, metric, baseline=baseline)
    # The same groups in the same order.
    sparsities = compare(results, "sparsity") if metric != "sparsity" and "sparsity" in results.metrics else []
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
                "results": _results(_of(groups, name), _of(sparsities, name), metric),
                **_experiment(Results(results.reader, [name]) if several else results, metric, registry),
            }
            for number, name in enumerate(results.experiments, 1)
        ],
        overview=_results(groups, sparsities, metric) if several else None,
        figures=_figures(results, registry) if several else [],
        metric=metric,
        baseline=baseline,
        command=command,
        trials=len(results.trials),
        made=time.strftime("%Y-%m-%d %H:%M"),
    )


def _of(groups: Iterable[Group], experiment: str) -> list[Group]:
    """The groups of an experiment, without its name."""
    own = [group for group in groups if group.values.get(EXPERIMENT, experiment) == experiment]
    return [replace(group, label=group.label.removeprefix(experiment).strip() or experiment) for group in own]


def _experiment(results: Results, metric: str, registry: Registry) -> dict[str, Any]:
    """What the page says of an experiment besides how it came out."""
    [name] = results.experiments
    trials, reader = results.trials, results.reader
    spec = reader.file(trials[0].run_id, "spec.yaml") if trials else None
    return {
        "name": name,
        "description": reader.description(name),
        "facts": facts(trials),
        "parts": parts(trials),
        "figures": _figures(results, registry),
        "cost": _cost(results),
        "trials": _trials(trials, metric),
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


def _results(groups: Sequence[Group], sparsities: Sequence[Group], metric: str) -> Table:
    """The comparison, with how sparse the networks ended."""
    head, rows = cells(groups, metric)
    if sparsities:
        head = [*head[:2], "sparsity", *head[2:]]
        means = [_shown(group.mean, "sparsity") for group in sparsities]
        rows = [[*row[:2], mean, *row[2:]] for row, mean in zip(rows, means, strict=True)]
    return Table(head, rows)


def _cost(results: Results) -> Table | None:
    """What the networks consist of: means over the seeds."""
    found = {name: compare(results, f"model/{name}") for name in TOTALS if f"model/{name}" in results.metrics}
    if not found:
        return None
    labels = [group.label for group in next(iter(found.values()))]
    columns, head = [], ["variant"]
    for name, groups in found.items():
        means = [group.mean for group in groups]
        factor, unit = _unit(means) if name.startswith("flops") or name == "bytes" else (1, "")
        head.append(f"{_COST[name]}{f', {unit}' if unit else ''}")
        columns.append([_total(mean / factor, exact=factor == 1) for mean in means])
    return Table(head, list(zip(labels, *columns, strict=True)))


def _unit(values: Sequence[float]) -> tuple[float, str]:
    """What to divide by, so that the largest number is short."""
    largest = max((value for value in values if value == value), default=0)
    return next(((factor, unit) for factor, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")) if largest >= factor), (1, ""))


def _total(number: float, *, exact: bool) -> str:
    if number != number:
        return _NOTHING
    return f"{number:,.0f}" if exact and number == round(number) else f"{number:,.1f}" if exact else f"{number:,.2f}"


def _trials(trials: Sequence[TrialRun], metric: str) -> Table:
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
            trial.variant or _NOTHING,
            str(trial.seed),
            *(_shown(trial.metrics.get(name), name) for name in dict.fromkeys(metrics)),
            f"{trial.metrics['epochs']:.0f}" if "epochs" in trial.metrics else _NOTHING,
            f"{trial.metrics['seconds']:.1f}" if "seconds" in trial.metrics else _NOTHING,
            status(trial),
            *([trial.reason] if reasons else []),
            trial.run_id[:8],
        ]
        for trial in sorted(trials, key=lambda trial: (places[trial.variant], trial.seed))
    ]
    return Table(head, rows, ("variant", "status", "why", "run"))


def _shown(value: float | None, metric: str) -> str:
    if value is None or value != value:
        return _NOTHING
    return f"{value:.2%}" if is_fraction(metric) else f"{value:.4g}"
