"""Specs from the command line's arguments."""

from collections.abc import Sequence
from pathlib import Path

from framework._component import Catalog
from framework._errors import Problem, SpecError
from framework._spec import MAX_TRIALS, ExperimentSpec, load


def load_specs(
    files: Sequence[Path],
    overrides: Sequence[str],
    seeds: Sequence[int] | None,
    catalog: Catalog,
    max_trials: int | None = None,
) -> list[ExperimentSpec]:
    """Load all specs.

    Raises:
        SpecError: with the mistakes of all files.
    """
    specs: list[ExperimentSpec] = []
    problems: list[Problem] = []
    for file in files:
        try:
            specs.append(load(file, catalog, overrides, seeds, max_trials or MAX_TRIALS))
        except SpecError as error:
            problems.extend(error.problems)
    if problems:
        raise SpecError(problems)
    return specs
