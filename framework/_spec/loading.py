"""Several spec files at once, and the model of one alone."""

from collections.abc import Sequence
from pathlib import Path

from framework._component import Catalog, Component
from framework._errors import Problem, SpecError
from framework._spec.code import read_files
from framework._spec.count import MAX_TRIALS
from framework._spec.document import read
from framework._spec.experiment import ExperimentSpec, load
from framework._spec.mistakes import Mistakes, error_of
from framework._spec.resolve import Resolver


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


def read_model(file: Path, catalog: Catalog) -> Component:
    """The model of a spec without search spaces. The rest is read, but not validated: its data need not be there.

    Args:
        file: the YAML file.
        catalog: where components are looked up.

    Raises:
        SpecError: the file cannot be read, or its model is none; says why.
        PluginError: the model breaks its contract.
    """
    found = Mistakes()
    root, catalog = read_files(read(file, found), file, catalog, found)
    if "model" not in root.value:
        found.append(root.problem("a spec needs 'model'"))
    model = None if found else Resolver(catalog).component("model", root.value["model"], found)
    if model is None:
        raise error_of(found)
    return model
