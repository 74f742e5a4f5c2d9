"""The hooks. A plugin implements any of them with ``@framework.hookimpl``, in a module that its package names as an
entry point of the group ``framework``.

Every hook returns a mapping from the name that specs use to the component. What a component of each kind is called
with, and what it must return, is in `framework._component.KINDS` and in ``docs/``.
"""

from collections.abc import Callable, Mapping
from typing import Any

import pluggy

hookspec = pluggy.HookspecMarker("framework")
hookimpl = pluggy.HookimplMarker("framework")


@hookspec
def register_stages() -> Mapping[str, type]:  # type: ignore[empty-body]
    """Stages: frozen dataclasses that derive from `framework.Stage`."""


@hookspec
def register_models() -> Mapping[str, Callable[..., Any]]:  # type: ignore[empty-body]
    """Models: callables of ``shape`` (channels, height, width) and ``classes`` that return a `torch.nn.Module`."""


@hookspec
def register_datasets() -> Mapping[str, Callable[..., Any]]:  # type: ignore[empty-body]
    """Datasets: callables that return a `framework.Dataset`."""


@hookspec
def register_losses() -> Mapping[str, Callable[..., Any]]:  # type: ignore[empty-body]
    """Losses: callables that return a module of (outputs, labels) with a scalar result."""


@hookspec
def register_optimizers() -> Mapping[str, Callable[..., Any]]:  # type: ignore[empty-body]
    """Optimizers: callables of ``params`` that return a `torch.optim.Optimizer`."""


@hookspec
def register_schedules() -> Mapping[str, Callable[..., float]]:  # type: ignore[empty-body]
    """Schedules: functions of ``epoch`` and ``epochs`` that return the factor on the learning rate."""


@hookspec
def register_criteria() -> Mapping[str, Callable[..., Any]]:  # type: ignore[empty-body]
    """Pruning criteria: functions of ``weight`` that return a score per element; the lowest are pruned."""
