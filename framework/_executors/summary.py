"""What an invocation's run keeps of all its trials: how the variants came out, as a table, figures and a note."""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

from framework._errors import TrackingError, describe
from framework._plan.result import Result
from framework._registry import Registry
from framework._report.comparison import compare
from framework._report.figures import all_sweep_figures, as_files
from framework._report.formats import render
from framework._report.notes import RunLinks, sweep_note
from framework._report.results import Results
from framework._report.variants import Variant
from framework._spec import ExperimentSpec
from framework._tracking import Reader, Tracker


def summarise(
    specs: Sequence[ExperimentSpec],
    results: Mapping[str, Sequence[Result]],
    registry: Registry,
    tracker: Tracker,
    remark: Callable[[str], None],
    *,
    uri: str,
    command: str,
) -> None:
    """Have the invocation's run in each experiment keep what came out of it; what cannot be had is a remark.

    Args:
        specs: in which something was run.
        results: of their trials, by experiment; also of those that had been run before.
        registry: has the plugins that draw.
        tracker: takes what is kept.
        remark: takes what the user should know.
        uri: of the tracking store.
        command: the command line.
    """
    if tracker.error:  # which the end of the invocation raises
        return
    try:
        reader = Reader(uri)
        for spec in specs:
            only = [result.plan.identity for result in results[spec.name]]
            found = Results(reader, [spec.name], only)
            variants = compare(found) if f"test/{found.primary}" in found.metrics else []
            files = {"summary.csv": render(variants, "csv").encode()} if variants else {}
            files |= _figures(spec.name, found, registry.with_code(spec.code), remark)
            failed = [(result.plan.name, result.error) for result in results[spec.name] if result.error]
            note = partial(_note, spec.description, variants, failed, files, command, tracker.uri)
            tracker.summarised(spec.name, files=files, note=note)
    except TrackingError as error:
        remark(f"no summary is kept: {error}")


def _figures(name: str, results: Results, registry: Registry, remark: Callable[[str], None]) -> dict[str, bytes]:
    try:
        return dict(as_files(all_sweep_figures(results, registry, remark)))
    except Exception as error:  # whoever draws: the results are there all the same
        remark(f"{name}: no figure could be drawn: {describe(error)}")
        return {}


def _note(
    description: str,
    variants: Sequence[Variant[Any]],
    failed: Sequence[tuple[str, str]],
    files: Collection[str],
    command: str,
    uri: str,
    run_id: str,
) -> str:
    return sweep_note(description, variants, failed, RunLinks(run_id, files, command, uri))
