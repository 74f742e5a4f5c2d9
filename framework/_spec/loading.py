"""Several spec files at once."""

from collections.abc import Sequence
from pathlib import Path

from framework._component import Catalog
from framework._errors import Problem, SpecError
from framework._spec.count import MAX_TRIALS
from framework._spec.experiment import ExperimentSpec, load


def load_specs(
    files: Sequence[Path],
    overrides: Sequence[str],
    seeds: Sequence[int] | None,
    catalog: Catalog,
    max_trials: int | None = None,
) -> list[ExperimentSpec]:
    """Load all specs.

    Args:
        files: one spec each.
        overrides: values to change in every spec, as ``--set`` takes them.
        seeds: replicates to run instead of the specs'.
        catalog: the components that specs may name.
        max_trials: most trials that a spec may mean; None: `MAX_TRIALS`.

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
