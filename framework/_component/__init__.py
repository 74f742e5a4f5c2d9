"""From a callable's signature to validated parameters and JSON schema.

A component is any callable with typed keyword parameters. Those that its kind supplies (`KINDS`) come from the
framework, the rest are its parameters in YAML. A parameter whose type YAML cannot express keeps its default.
"""

from framework._component.builder import build
from framework._component.component import Component, plain
from framework._component.kinds import KINDS, Catalog, Entry, Kind, unknown, usable
from framework._component.parameters import (
    Criterion,
    Distribution,
    Loss,
    Model,
    Optimizer,
    Schedule,
    SparsifierParameter,
    StageLabel,
    Transform,
    Unkeyed,
)

__all__ = [
    "KINDS",
    "Catalog",
    "Component",
    "Criterion",
    "Distribution",
    "Entry",
    "Kind",
    "Loss",
    "Model",
    "Optimizer",
    "Schedule",
    "SparsifierParameter",
    "StageLabel",
    "Transform",
    "Unkeyed",
    "build",
    "plain",
    "unknown",
    "usable",
]
