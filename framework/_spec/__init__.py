"""Specs: YAML files, validated, with every mistake at once and in its place."""

from framework._spec.code import names_files
from framework._spec.count import MAX_TRIALS
from framework._spec.dump import dump
from framework._spec.experiment import ExperimentSpec, load, read_name
from framework._spec.loading import load_specs, read_model
from framework._spec.resolve import INITIAL, LABEL, DataSpec, Resolved
from framework._spec.resources import AUTO, RESOURCES
from framework._spec.schema import schema
from framework._spec.search import SearchSpec
from framework._spec.space import Space

__all__ = [
    "AUTO",
    "INITIAL",
    "LABEL",
    "MAX_TRIALS",
    "RESOURCES",
    "DataSpec",
    "ExperimentSpec",
    "Resolved",
    "SearchSpec",
    "Space",
    "dump",
    "load",
    "load_specs",
    "names_files",
    "read_model",
    "read_name",
    "schema",
]
