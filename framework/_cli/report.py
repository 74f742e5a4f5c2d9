"""``framework report``."""

from collections.abc import Sequence
from pathlib import Path

from framework._cli.files import replacing
from framework._cli.store import readable
from framework._registry import Registry
from framework._report.html import make_page
from framework._report.open_results import open_results
from framework._terminal.console import count, make_console, say

_MOST = 200  # variants on a page


def write_report(
    names: Sequence[str],
    output: Path,
    root: Path,
    tracking_uri: str | None,
    registry: Registry,
    *,
    metric: str | None,
    baseline: str | None,
    limit: int | None,
    command: str,
) -> None:
    """Write experiments as one page of HTML.

    Args:
        names: experiments or spec files; none: all experiments.
        output: the file.
        root: the folder of the local store.
        tracking_uri: the tracking store; None for the default one.
        registry: has the figures of third parties.
        metric: what is compared; None: the primary metric, on the test set.
        baseline: the group that the others are compared with.
        limit: how many variants its tables have, the best and the worst; 0: all; None: as many as a page bears.
        command: what was given on the command line.

    Raises:
        SpecError: a spec cannot be read.
        DataError: there is no such experiment, metric or group.
        TrackingError: the tracking store cannot be reached.
        FrameworkError: the file cannot be written.
    """
    results = open_results(names, root, tracking_uri)
    limit = _MOST if limit is None else limit
    page = make_page(results, registry, metric=metric, baseline=baseline, limit=limit, command=command)
    with replacing(output) as part:
        part.write_text(page, encoding="utf-8")
    what = f"{count(len(results.experiments), 'experiment')}, {count(len(results.trials), 'trial')}"
    say(make_console(), f"{output}: {what}, {readable(output.stat().st_size)}")
