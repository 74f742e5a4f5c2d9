"""``framework reproduce``."""

import shlex
from functools import partial
from pathlib import Path
from typing import Literal

from framework._cli.find_run import called, find_run
from framework._cli.kept import write_kept
from framework._cli.run import run_specs
from framework._executors.options import RunOptions
from framework._registry import installed
from framework._spec import names_files
from framework._terminal.console import count, make_console, say
from framework._tracking import Reader, TrialRun, database_uri, default_uri


def reproduce_run(
    name: str,
    output: Path,
    root: Path,
    tracking_uri: str | None,
    executor: Literal["ray", "inline"],
    *,
    trusted: bool,
) -> int:
    """Write what a run keeps of its trial to a folder, and run it there; whoever made the run may be a stranger.

    Args:
        name: of the run, see `find_run`.
        output: the folder.
        root: of the local store.
        tracking_uri: the tracking store; None for the default one.
        executor: where it runs.
        trusted: run code of the run too.

    Returns:
        0 if it was run and finished, or if there is code to look at first; else 1.

    Raises:
        DataError: there is no such run, or what it keeps is not what a run keeps.
        SpecError: its spec cannot be run here; says why, such as a package that is not installed.
        TrackingError: the tracking store cannot be reached.
        FrameworkError: the folder holds something else, or cannot be written.
    """
    reader, line = Reader(tracking_uri or default_uri(root)), partial(say, make_console())
    trial = find_run(name, reader)
    spec, code = write_kept(reader, trial, output)
    if (code or names_files(spec)) and not trusted:
        line(f"{called(trial)} has code, which is not run before you have looked at it:")
        for file in code:
            line(f"  {file}  ({count(len(file.read_bytes().splitlines()), 'line')})")
        line("The same command with --trust-code runs it; so does")
        line(f"  framework run {shlex.quote(str(spec))} --root {shlex.quote(str(output))}")
        return 0
    there = database_uri(output.absolute() / "mlflow.db")  # where it is kept, it would be found to be finished
    options = RunOptions(
        root=output,
        tracking_uri=there,
        executor=executor,
        command=shlex.join(["framework", "run", str(spec), "--root", str(output)]),
    )
    ui = shlex.join(["framework", "ui", "--root", str(output)])
    failed = run_specs([spec], [], None, installed(), options, max_trials=None, dry_run=False, ui=ui)
    again = Reader(there).trials(trial.experiment)
    line(_compared(trial, next(run for run in again if run.seed == trial.seed)))
    return failed


def _compared(before: TrialRun, after: TrialRun) -> str:
    """Say whether the results are the same."""
    told = [metric for metric in before.metrics if metric.startswith("test/") or metric == "sparsity"]
    other = [metric for metric in told if before.metrics[metric] != after.metrics.get(metric)]
    if not other:
        return f"the same results as before: {', '.join(f'{metric} {before.metrics[metric]:.6g}' for metric in told)}"
    values = (
        f"{metric} {after.metrics.get(metric, float('nan')):.6g} ≠ {before.metrics[metric]:.6g}" for metric in other
    )
    return f"other results than before: {', '.join(values)}"
