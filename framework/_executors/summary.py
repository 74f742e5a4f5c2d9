"""What an invocation's run keeps of all its trials: how the variants came out, as a table, figures and a note."""

from collections.abc import Mapping, Sequence

from framework._errors import TrackingError, describe
from framework._executors.bookkeeper import Bookkeeper
from framework._report.comparison import compare
from framework._report.figures import all_sweep_figures, as_files
from framework._report.formats import render
from framework._report.notes import RunLinks, sweep_note
from framework._report.results import Results
from framework._report.table import Result
from framework._spec import ExperimentSpec
from framework._tracking import Reader


def summarise(
    specs: Sequence[ExperimentSpec], results: Mapping[str, Sequence[Result]], books: Bookkeeper, uri: str
) -> None:
    """Have the invocation's run in each experiment keep what came out of it; what cannot be had is a remark.

    Args:
        specs: in which something was run.
        results: of their trials, by experiment; also of those that had been run before.
        books: has what was run.
        uri: of the tracking store.
    """
    if books.tracker.error:  # which the end of the invocation raises
        return
    try:
        reader = Reader(uri)
        for spec in specs:
            only = [result.plan.identity for result in results[spec.name]]
            _summarise(spec, Results(reader, [spec.name], only), results[spec.name], books)
    except TrackingError as error:
        books.view.remarked(f"no summary is kept: {error}")


def _summarise(spec: ExperimentSpec, results: Results, ended: Sequence[Result], books: Bookkeeper) -> None:
    groups = compare(results) if f"test/{results.primary}" in results.metrics else []
    files = {"summary.csv": render(groups, "csv").encode()} if groups else {}
    try:
        files |= as_files(all_sweep_figures(results, books.registry, books.view.remarked))
    except Exception as error:  # whoever draws: the results are there all the same
        books.view.remarked(f"{spec.name}: no figure could be drawn: {describe(error)}")
    failed = [(result.plan.name, result.error) for result in ended if result.error]

    def note(run_id: str) -> str:
        links = RunLinks(run_id, files, books.command, books.tracker.uri)
        return sweep_note(spec.description, groups, failed, links)

    books.tracker.summarised(spec.name, files=files, note=note)
