"""``framework compare``."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from framework._report.comparison import compare
from framework._report.excerpt import MOST, by_metric, excerpt
from framework._report.formats import Format, print_comparison, render
from framework._report.open_results import open_results
from framework._terminal.console import make_console


def compare_experiments(
    names: Sequence[str],
    metric: str | None,
    by: Sequence[str],
    baseline: str | None,
    format: Format | Literal["table"],
    limit: int | None,
    root: Path,
    tracking_uri: str | None,
) -> None:
    """Print how the variants of experiments came out.

    Args:
        names: experiments or spec files; none: all experiments.
        metric: what is compared; None: the primary metric, on the test set.
        by: what to group by, as lists with commas; none: all that was swept.
        baseline: the group that the others are compared with.
        format: ``table`` for the terminal, or one for documents and programs.
        limit: how many groups to show, the best and the worst; 0: all; None: as many as one looks at in a terminal,
            and all in other formats.
        root: where results lie.
        tracking_uri: the MLflow store.
    """
    results = open_results(names, root, tracking_uri)
    chosen = [name.strip() for listed in by for name in listed.split(",")]
    groups = compare(results, metric, chosen or None, baseline)
    if format == "table":
        print_comparison(excerpt(groups, MOST if limit is None else limit, by_metric), make_console())
    else:
        sys.stdout.write(render(excerpt(groups, limit or 0, by_metric).shown, format))
