"""From a callable's signature to validated parameters and JSON schema.

A component is any callable with typed keyword parameters. Those that its kind supplies (`KINDS`) come from the
framework, the rest are its parameters in YAML. A parameter whose type YAML cannot express keeps its default.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from framework._component.content import digest
from framework._component.messages import mistakes
from framework._component.parameters import (
    Build,
    Criterion,
    Distribution,
    Loss,
    Optimizer,
    Reference,
    Schedule,
    SparsifierParameter,
    StageLabel,
    labels_in,
    parameters_of,
    validate,
)
from framework._errors import PluginError, located, nearest

__all__ = [
    "KINDS",
    "Catalog",
    "Component",
    "Criterion",
    "Distribution",
    "Entry",
    "Kind",
    "Loss",
    "Optimizer",
    "Schedule",
    "SparsifierParameter",
    "StageLabel",
    "build",
    "plain",
    "unknown",
    "usable",
]


class Kind(NamedTuple):
    """A kind of component: the hook that registers it, and what the framework calls it with."""

    hook: str
    inputs: tuple[str, ...] = ()


KINDS = {
    "stage": Kind("register_stages"),
    "model": Kind("register_models", ("shape", "classes")),
    "dataset": Kind("register_datasets"),
    "loss": Kind("register_losses"),
    "optimizer": Kind("register_optimizers", ("params", "model")),
    "schedule": Kind("register_schedules", ("epoch", "epochs", "steps")),
    "criterion": Kind("register_criteria", ("weight", "gradient", "generator", "network")),
    "distribution": Kind("register_distributions", ("shapes", "candidates", "count", "scores")),
    "sparsifier": Kind("register_sparsifiers"),
}


@dataclass(frozen=True)
class Entry:
    """A registered component.

    Attributes:
        kind: one of `KINDS`.
        name: what specs call it.
        factory: the callable.
        source: the distribution that registered it, with its version.
        origin: what stands for that distribution in stage keys; empty: the source.
    """

    kind: str
    name: str
    factory: Callable[..., Any]
    source: str
    origin: str = ""

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Those of the kind's inputs that this component asks for."""
        asked = inspect.signature(self.factory).parameters
        return tuple(name for name in KINDS[self.kind].inputs if name in asked)

    @cached_property
    def parameters(self) -> type[BaseModel]:
        """A pydantic model of the YAML parameters.

        Raises:
            PluginError: a parameter without a default has a type that YAML cannot express.
        """
        return parameters_of(self.factory, KINDS[self.kind].inputs, f"{self.kind} {self.name!r} of {self.source}")

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The parameters that are labels of earlier stages."""
        return labels_in(self.parameters)

    @property
    def doc(self) -> str:
        """The first paragraph of its docstring."""
        return (inspect.getdoc(self.factory) or "").split("\n\n")[0].replace("\n", " ")


class Catalog(Protocol):
    """Where components are looked up; the registry is one."""

    def entry(self, kind: str, name: str) -> Entry | None:
        """The component of that kind and name, or None."""

    def names(self, kind: str) -> Sequence[str]:
        """All names of that kind."""

    @property
    def broken(self) -> Sequence[str]:
        """What is wrong with the plugins that cannot be used."""

    @property
    def observers(self) -> Sequence[str]:
        """The distributions whose plugins observe every trial."""

    @property
    def origins(self) -> Mapping[str, str]:
        """By distribution, what stands for it in stage keys."""


def unknown(catalog: Catalog, kind: str, name: object, also: Sequence[str] = ()) -> str:
    """Say that there is no component of that name: which was meant, and which plugin it may be missing with."""
    hints = [nearest(name, [*catalog.names(kind), *also]), *catalog.broken]
    return f"unknown {kind} {name!r} ({'; '.join(hints)})"


def usable(catalog: Catalog, kind: str) -> tuple[list[Entry], list[str]]:
    """The components of a kind that specs can name, and what is wrong with the others."""
    entries, faults = [], []
    for name in catalog.names(kind):
        try:
            entry = catalog.entry(kind, name)
            if entry and entry.parameters:
                entries.append(entry)
        except PluginError as error:
            faults.append(str(error))
    return entries, faults


@dataclass(frozen=True)
class Component:
    """A component with its validated parameters, ready to be called.

    Attributes:
        entry: the registered component.
        params: every parameter that YAML can set, defaults filled in.
        given: the parameters that differ from their defaults.
        label: of a stage in a list of stages, by which later ones can name the state after it; None without one.
    """

    entry: Entry
    params: Mapping[str, Any]
    given: Mapping[str, Any]
    label: str | None = None

    @property
    def sources(self) -> frozenset[str]:
        """The distributions that it and the components in its parameters come from."""
        inside = (value.sources for value in self.params.values() if isinstance(value, Component))
        return frozenset({self.entry.source}).union(*inside)

    def __call__(self, **inputs: Any) -> Any:
        """Call it with its parameters and those of these inputs that it asks for.

        What it raises has a note that names it.
        """
        with located(f"in {self.entry.kind} {self.entry.name} of {self.entry.source}"):
            return self.entry.factory(**{k: inputs[k] for k in self.entry.inputs if k in inputs}, **self.params)

    @property
    def name(self) -> str:
        """What specs call it."""
        return self.entry.name

    def plain(self, *, identity: bool = False) -> dict[str, Any]:
        """Itself as plain data that validates to itself again.

        Args:
            identity: give what its key is made of instead: where it comes from, and the parameters that differ from
                their defaults, so that a new parameter with a default renames nothing. A path stands for what is
                there, see `digest`; a component that is a default, for where it comes from, if that is elsewhere.

        Raises:
            DataError: identity is asked for, and what is at a path cannot be read.
        """
        if identity:
            source = self.entry.origin or self.entry.source
            used = {k: v.entry.origin or v.entry.source for k, v in self.params.items() if isinstance(v, Component)}
            foreign = {k: theirs for k, theirs in used.items() if theirs != source}
            # What a label is called does not matter, but which stage has it: that is up to the plan.
            given = {k: plain(v, identity=True) for k, v in self.given.items() if k not in self.entry.labels}
            return {"name": self.name, "source": source, **foreign, **given}
        return {"name": self.name, **{k: plain(v) for k, v in self.params.items()}}


def plain(value: Any, *, identity: bool = False) -> Any:
    """A validated value as JSON-able data; see `Component.plain`."""
    if isinstance(value, Component):
        return value.plain(identity=identity)
    if is_dataclass(value) and not isinstance(value, type):
        value = vars(value)
    if isinstance(value, Mapping):
        return {k: plain(v, identity=identity) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [plain(v, identity=identity) for v in value]
    if isinstance(value, Path):
        if identity:
            return digest(value)
        text = str(value)
        return f"./{text}" if text.startswith("~") else text  # which would be read as a home folder
    return value


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
    given = {k: v for k, v in value.items() if k != "name"} if isinstance(value, Mapping) else {}

    def inner(kind: str, value: Any) -> Component:
        return build(catalog, kind, value)

    model = validate(parameters, given, inner, f"{kind} {name!r}")
    fields = parameters.model_fields
    params = {field: getattr(model, field) for field in fields}
    told = {
        field: params[field]
        for field, info in fields.items()
        if field in model.model_fields_set and (info.is_required() or params[field] != _default(info, inner))
    }
    component = Component(entry, params, told)
    _probe(component)
    return component


def _default(info: FieldInfo, build: Build) -> Any:
    reference = next((m for m in info.metadata if isinstance(m, Reference)), None)
    default = info.get_default(call_default_factory=True, validated_data={})
    return default if reference is None else build(reference.kind, default)


def _probe(component: Component) -> None:
    """Let the component check its own parameters, where it does so when it is made and that is cheap."""
    entry = component.entry
    if entry.kind not in ("stage", "optimizer", "loss", "sparsifier"):
        return
    import torch

    factory = entry.factory
    if entry.kind == "optimizer" and inspect.isclass(factory) and issubclass(factory, torch.optim.Optimizer):
        factory = _without_compiler(factory)
    try:
        Component(replace(entry, factory=factory), component.params, {})(params=[torch.zeros(2, 2, requires_grad=True)])
    except (ValueError, TypeError) as error:
        raise mistakes([((), f"{entry.kind} {component.name!r}: {error}", dict(component.params))]) from None
    except RuntimeError:
        # What only holds on another device (fused=True) shows when the trial runs.
        return


def _without_compiler(optimizer: type) -> type:
    """The same class, made without torch's compiler, whose import takes longer than all else that checks a spec.

    torch imports it at the first optimizer, to keep it away from `add_param_group`.
    """
    plain = inspect.unwrap(optimizer.add_param_group)  # type: ignore[attr-defined]
    return type(optimizer.__name__, (optimizer,), {"add_param_group": plain})
