"""Specs: YAML files, validated, with every mistake at once and in its place."""

from framework._spec.experiment import RESOURCES, ExperimentSpec, load, read_name
from framework._spec.resolve import DataSpec, Resolved
from framework._spec.schema import schema
from framework._spec.search import SearchSpec
from framework._spec.space import Space

__all__ = ["RESOURCES", "DataSpec", "ExperimentSpec", "Resolved", "SearchSpec", "Space", "load", "read_name", "schema"]
