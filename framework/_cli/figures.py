"""``framework figures``."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from framework._registry import Registry
from framework._report.figures import NAMES, all_sweep_figures, as_files
from framework._report.open_results import open_results
from framework._report.results import Results
from framework._terminal.console import make_console, say
from framework._tracking import TrialRun


def write_figures(
    names: Sequence[str],
    registry: Registry,
    folder: Path,
    formats: Sequence[str],
    root: Path,
    tracking_uri: str | None,
    *,
    trials: bool,
) -> int:
    """Write figures of experiments and print their paths: of one into the folder, of several into one for each.

    Args:
        names: experiments or spec files; none: all experiments. Several that are named are drawn together too.
        registry: has the plugins that draw.
        folder: where they are written.
        formats: ``png``, ``svg``.
        root: where results lie.
        tracking_uri: the MLflow store.
        trials: write those of each trial too, as its run keeps them.

    Returns:
        0 if all are drawn; 1 if a plugin has failed, or there is nothing to draw.
    """
    console, remarks = make_console(), list[str]()
    together = open_results(names, root, tracking_uri)
    parts = {folder: together}
    if len(together.experiments) > 1:
        parts = {folder / name: open_results([name], root, tracking_uri) for name in together.experiments}
        if names:
            parts[folder] = together
    written: list[Path] = []
    for place, results in parts.items():
        files = dict(as_files(all_sweep_figures(results, registry, remarks.append), "", formats))
        if trials and len(results.experiments) == 1:
            files |= _of_trials(results, formats)
        written += _write(place, files)
    for path in written:
        say(console, str(path))
    for remark in dict.fromkeys(remarks):
        say(console, f"note: {remark}")
    if not written:
        say(console, "note: no trial has finished yet: there is nothing to draw")
    return int(bool(remarks) or not written)


def _of_trials(results: Results, formats: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    for trial in results.trials:
        for name in (f"{name}.{form}" for name in NAMES for form in formats):
            content = results.file(trial.run_id, f"figures/{name}")
            if content is not None:
                yield f"trials/{_folder(trial)}/{name}", content


def _folder(trial: TrialRun) -> str:
    return re.sub(r"[^\w.=,()-]+", "_", trial.name)


def _write(folder: Path, files: Mapping[str, bytes]) -> Iterator[Path]:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        yield path
