"""Open the results of experiments, which users name or give the specs of."""

from collections.abc import Sequence
from pathlib import Path

from framework._errors import DataError, nearest
from framework._report.results import Results
from framework._spec import read_name
from framework._tracking import Reader, default_uri

_SUFFIXES = (".yaml", ".yml")


def open_results(names: Sequence[str], root: Path, tracking_uri: str | None) -> Results:
    """Open the results of experiments.

    Args:
        names: experiments, or spec files, of which only the name is read; none: all experiments that have trials.
        root: where results lie.
        tracking_uri: the MLflow store; None: where new runs are kept.

    Raises:
        SpecError: a spec cannot be read.
        DataError: there is no such experiment, or the spec has not been run; names the nearest.
        TrackingError: the tracking store cannot be reached, or there is none.
    """
    # Specs are read before the store is opened, so that a mistake in one is reported even without a store.
    asked = {_experiment(name): name for name in names}
    reader = Reader(tracking_uri or default_uri(root))
    there = reader.experiments()
    for experiment, name in asked.items():
        if experiment not in there:
            if experiment == name:
                raise DataError(f"there is neither a file nor an experiment {name!r} ({nearest(name, there)})")
            raise DataError(f"{name} has not been run yet: no experiment is called {experiment!r}")
    return Results(reader, list(asked) or None)


def _experiment(name: str) -> str:
    """The experiment that a name or file stands for; names with a slash or a YAML suffix are taken for files."""
    file = Path(name)
    return read_name(file) if file.is_file() or file.suffix in _SUFFIXES or "/" in name else name
