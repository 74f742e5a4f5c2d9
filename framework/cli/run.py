"""``framework run``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from framework.cli.load import load_specs
from framework.cli.plan import print_plans
from framework.cli.view import make_console, make_view
from framework.executors import session
from framework.registry import installed
from framework.report.table import summarise, summary_table
from framework.tracking import default_uri


def run_specs(
    files: Sequence[Path],
    sets: Sequence[str],
    seeds: Sequence[int] | None,
    *,
    dry_run: bool,
    root: Path,
    tracking_uri: str | None,
    ui: str,
    **options: Any,
) -> int:
    """Run the specs and print what came out, and the command ``ui`` that shows more of it.

    Returns:
        0 if all trials finished, else 1.
    """
    specs = load_specs(files, sets, seeds)
    console = make_console()
    if dry_run:
        print_plans(session.plan_all(specs), console)
        return 0
    uri = tracking_uri or default_uri(root)
    chosen = session.Options(root=root, tracking_uri=uri, **options)
    with make_view(console) as view:
        results = session.run(specs, installed(), chosen, view)
    console.print(summary_table(summarise(results)))
    failed = [result for result in results if result.error]
    for result in failed:
        line = f"failed: {result.plan.experiment} {result.plan.name}: {result.error}"
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    console.print(f"Compare the runs:  {ui}", highlight=False, markup=False, soft_wrap=True)
    return 1 if failed else 0
