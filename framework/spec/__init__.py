"""Specs: YAML files, validated, with every mistake at once and in its place."""

from framework.spec.experiment import RESOURCES, ExperimentSpec, load
from framework.spec.resolve import DataSpec, Resolved
from framework.spec.schema import schema
from framework.spec.search import SearchSpec
from framework.spec.space import Space

__all__ = ["RESOURCES", "DataSpec", "ExperimentSpec", "Resolved", "SearchSpec", "Space", "load", "schema"]
