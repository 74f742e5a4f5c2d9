"""From what a spec says to a component with validated parameters."""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from framework._code import place_in
from framework._component.component import Component
from framework._component.kinds import Catalog, unknown
from framework._component.messages import mistakes
from framework._component.parameters import Build, Reference, validate
from framework._errors import INTERRUPTS, FrameworkError, PluginError, describe, nearest


def build(catalog: Catalog, kind: str, value: Any) -> Component:
    """Validate ``name`` or ``{name: ..., parameter: ...}`` to a component.

    Raises:
        ValidationError: every mistake, each with its location inside ``value`` and a readable message.
    """
    if isinstance(value, Component):
        return value
    name = value.get("name") if isinstance(value, Mapping) else value
    if not isinstance(name, str):
        message = f"must be the name of {'an' if kind[0] in 'aeiou' else 'a'} {kind} or a mapping with its name"
        raise mistakes([((), f"{message} ({nearest(name, catalog.names(kind))})", value)])
    at = ("name",) if isinstance(value, Mapping) else ()
    try:
        entry = catalog.entry(kind, name)
        parameters = entry.parameters if entry else None
    except PluginError as error:
        raise mistakes([(at, str(error), value)]) from None
    if entry is None or parameters is None:
        raise mistakes([(at, unknown(catalog, kind, name), value)])
    written = {k: v for k, v in value.items() if k != "name"} if isinstance(value, Mapping) else {}

    def inner(kind: str, value: Any) -> Component:
        return build(catalog, kind, value)

    try:
        model = validate(parameters, written, inner, f"{kind} {name!r}")
    except (FrameworkError, ValidationError, *INTERRUPTS):
        raise
    except BaseException as error:  # a validator is code, which may raise anything
        message = f"{entry} cannot validate its parameters: {describe(error)}"
        raise mistakes([((), message, value)]) from error
    fields = parameters.model_fields
    params = {field: getattr(model, field) for field in fields}
    given = {
        field: params[field]
        for field, info in fields.items()
        if field in model.model_fields_set and (info.is_required() or params[field] != _default(info, inner))
    }
    component = Component(entry, params, given)
    _probe(component)
    return component


def _default(info: FieldInfo, build: Build) -> Any:
    reference = next((m for m in info.metadata if isinstance(m, Reference)), None)
    default = info.get_default(call_default_factory=True, validated_data={})
    return default if reference is None else build(reference.kind, default)


def _probe(component: Component) -> None:
    """Make a component once, if that is cheap, so that it checks its own parameters before anything runs."""
    entry = component.entry
    if entry.kind not in ("stage", "optimizer", "loss", "sparsifier", "transform"):
        return
    import torch

    try:
        with _without_compiler() if entry.kind == "optimizer" else nullcontext():
            component(params=[torch.zeros(2, 2, requires_grad=True)])
    except (ValueError, TypeError) as error:
        raise mistakes([((), f"{_where(component, error)}: {error}", dict(component.params))]) from None
    except RuntimeError:
        # What only holds on another device (fused=True) shows when the trial runs.
        return
    except Exception as error:
        message = f"{_where(component, error)} cannot be made: {describe(error)}"
        raise mistakes([((), message, dict(component.params))]) from error


def _where(component: Component, error: Exception) -> str:
    """What could not be made, and of what is in a file, the line that says so."""
    line = place_in(error.__traceback__) or component.entry.place
    return f"{component.entry.kind} {component.name!r}" + (f" ({line})" if line else "")


@contextmanager
def _without_compiler() -> Iterator[None]:
    """Make optimizers without importing torch's compiler, which would take longer than all else that checks a spec.

    torch imports it at the first optimizer, to keep it away from `add_param_group`.
    """
    from torch.optim import Optimizer

    wrapped = Optimizer.add_param_group
    Optimizer.add_param_group = inspect.unwrap(wrapped)  # type: ignore[method-assign]
    try:
        yield
    finally:
        Optimizer.add_param_group = wrapped  # type: ignore[method-assign]
