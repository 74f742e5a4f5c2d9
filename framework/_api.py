"""Run experiments from Python, and read their results."""

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from framework._executors import session
from framework._executors.options import RunOptions
from framework._paths import RESULTS, home_path
from framework._registry import installed
from framework._report.open_results import open_results
from framework._report.results import Results
from framework._spec import load_specs
from framework._terminal.console import make_console
from framework._terminal.view import make_view
from framework._tracking import Reader


def run(
    specs: str | Path | Sequence[str | Path],
    *,
    settings: Mapping[str, Any] | None = None,
    seeds: Sequence[int] | None = None,
    plugins: Sequence[str | Path] = (),
    root: str | Path | None = None,
    tracking_uri: str | None = None,
    store: str | None = None,
    executor: Literal["ray", "inline"] = "ray",
    address: str | None = None,
    max_concurrent: int | None = None,
    max_trials: int | None = None,
    force: bool = False,
    quiet: bool = False,
) -> Results:
    """Run every trial of the specs that is not finished yet, and print the progress.

    Args:
        specs: files, such as ``experiments/unprune.yaml``; one or several.
        settings: values to change in every spec, by path: ``{"data.name": "digits", "stages.*.train.epochs": 1}``.
        seeds: replicates to run instead of the specs'.
        plugins: files with hooks to use besides, such as ``mine.py``.
        root: the folder of results. None: ``$FRAMEWORK_ROOT``, else ``mlruns``.
        tracking_uri: the MLflow store. None: ``$MLFLOW_TRACKING_URI``, else a database in ``root``.
        store: where the results of stages are kept. None: ``$FRAMEWORK_STORE``, else ``stages`` in ``root``.
        executor: ``ray`` runs trials in parallel, ``inline`` one by one in this process.
        address: of a running Ray cluster; None starts Ray on this machine, for as long as this process lives.
        max_concurrent: most trials at once; None: as many as fit.
        max_trials: most trials that a spec may mean; one that means more is refused. None: 100,000.
        force: run finished trials again, from the start.
        quiet: print nothing.

    Returns:
        The results of exactly the trials of these specs, including those that were finished earlier. A trial that
        failed does not stop the others; its ``status`` says so.

    Raises:
        SpecError: a spec or a setting is wrong; holds every mistake found.
        FrameworkError: nothing could be run, or results could not be tracked.
    """
    files = [Path(spec) for spec in ([specs] if isinstance(specs, str | Path) else specs)]
    sets = [f"{path}={json.dumps(value, default=str)}" for path, value in (settings or {}).items()]
    folder = _root(root)
    registry = installed(frozenset(os.environ.get("FRAMEWORK_DISABLE_PLUGINS", "").split()))
    registry = registry.with_files([Path(file) for file in plugins])
    loaded = load_specs(files, sets, seeds, registry, max_trials)
    options = RunOptions(
        root=folder,
        tracking_uri=tracking_uri,
        store=store or os.environ.get("FRAMEWORK_STORE"),
        executor=executor,
        address=address,
        max_concurrent=max_concurrent,
        force=force,
        command=_command(files, sets, seeds, plugins, folder, executor, force),
    )
    console = Console(quiet=True) if quiet else make_console()
    with make_view(console) as view:
        results, _ = session.run(loaded, registry, options, view)
    only = {result.plan.identity for result in results}
    return Results(Reader(options.mlflow_uri), [spec.name for spec in loaded], only)


def results(*experiments: str | Path, root: str | Path | None = None, tracking_uri: str | None = None) -> Results:
    """Open the results of earlier runs.

    Args:
        experiments: their names, or the specs' files, of which only the name is read; none: all that have trials.
        root: where results lie. None: ``$FRAMEWORK_ROOT``, else ``mlruns``.
        tracking_uri: the MLflow store. None: ``$MLFLOW_TRACKING_URI``, else a database in ``root``.

    Raises:
        SpecError: a spec cannot be read.
        DataError: there is no such experiment; names the nearest.
        TrackingError: the tracking store cannot be reached, or there is none.
    """
    return open_results([str(name) for name in experiments], _root(root), tracking_uri)


def _root(given: str | Path | None) -> Path:
    return home_path(given or os.environ.get("FRAMEWORK_ROOT") or RESULTS)


def _command(
    files: Sequence[Path],
    sets: Sequence[str],
    seeds: Sequence[int] | None,
    plugins: Sequence[str | Path],
    root: Path,
    executor: str,
    force: bool,
) -> str:
    """The command that runs the same trials."""
    words = ["framework", "run", *map(str, files)]
    words += [word for setting in sets for word in ("--set", setting)]
    if seeds is not None:
        words += ["--seeds", ",".join(map(str, seeds))]
    words += [word for file in plugins for word in ("--plugin", str(file))]
    if root != RESULTS:
        words += ["--root", str(root)]
    if executor != "ray":
        words += ["--executor", executor]
    return shlex.join([*words, *(["--force"] if force else [])])
