"""The kinds of component, and registered components with the parameters that YAML can set."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import Any, NamedTuple, Protocol

from pydantic import BaseModel

from framework._code import Code
from framework._component.parameters import labels_in, parameters_of, unkeyed_in
from framework._errors import INTERRUPTS, PluginError, describe, nearest


class Kind(NamedTuple):
    """A kind of component: the hook that registers it, and what the framework calls it with."""

    hook: str
    inputs: tuple[str, ...] = ()


KINDS = {
    "stage": Kind("register_stages"),
    "model": Kind("register_models", ("shape", "classes", "data_mean", "data_std")),
    "dataset": Kind("register_datasets", ("validation",)),
    "loss": Kind("register_losses"),
    "optimizer": Kind("register_optimizers", ("params", "model")),
    "schedule": Kind("register_schedules", ("epoch", "epochs", "steps")),
    "criterion": Kind("register_criteria", ("weight", "gradient", "generator", "network", "gamma")),
    "distribution": Kind("register_distributions", ("shapes", "candidates", "count", "scores")),
    "sparsifier": Kind("register_sparsifiers"),
    "metric": Kind("register_metrics", ("task", "num_classes", "num_labels")),
    "transform": Kind("register_transforms"),
}


@dataclass(frozen=True)
class Entry:
    """A registered component.

    Attributes:
        kind: one of `KINDS`.
        name: what specs call it.
        registered: the callable; or where it is, as ``module:name``, if its module is to be imported when the component
            is used only.
        source: the distribution that registered it, with its version.
        origin: what stands for that distribution in stage keys; empty: the source.
        part: of what is named by its file, what it is called in there: the file's name is in no key.
        place: the line of a file that defines it, such as ``./mine.py:12``; empty if it comes from a distribution.
    """

    kind: str
    name: str
    registered: Callable[..., Any] | str
    source: str
    origin: str = ""
    part: str = ""
    place: str = ""

    def __str__(self) -> str:
        """It and where it comes from, for messages."""
        return f"{self.kind} {self.name!r} {self.where}"

    @property
    def where(self) -> str:
        """Where it comes from, for messages: its line in a file, or its distribution."""
        return f"({self.place})" if self.place else f"of {self.source}"

    @cached_property
    def factory(self) -> Callable[..., Any]:
        """The callable.

        Raises:
            PluginError: it cannot be imported.
        """
        if not isinstance(self.registered, str):
            return self.registered
        module, _, name = self.registered.partition(":")
        try:
            factory: Callable[..., Any] = getattr(import_module(module), name)
        except INTERRUPTS:
            raise
        except BaseException as error:  # as for a plugin that cannot be imported
            raise PluginError(f"{self}: {self.registered} cannot be imported: {describe(error)}") from error
        return factory

    @property
    def stored_name(self) -> str:
        """What names it wherever there is the same code: what a file is called does not matter."""
        return f"{self.origin}:{self.part}" if self.part else self.name

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """The inputs of its kind that this component asks for."""
        asked = inspect.signature(self.factory).parameters
        return tuple(name for name in KINDS[self.kind].inputs if name in asked)

    @cached_property
    def parameters(self) -> type[BaseModel]:
        """A pydantic model of the YAML parameters.

        Raises:
            PluginError: a parameter without a default has a type that YAML cannot express.
        """
        return parameters_of(self.factory, KINDS[self.kind].inputs, str(self))

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The parameters that are labels of earlier stages."""
        return labels_in(self.parameters)

    @cached_property
    def unkeyed(self) -> tuple[str, ...]:
        """The parameters that are in no key: labels, as the plan says which stage has one, and `Unkeyed` ones."""
        return (*self.labels, *unkeyed_in(self.parameters))

    @property
    def doc(self) -> str:
        """The first paragraph of its docstring."""
        return (inspect.getdoc(self.factory) or "").split("\n\n")[0].replace("\n", " ")


class Catalog(Protocol):
    """Where components are looked up; the registry is one."""

    def entry(self, kind: str, name: str) -> Entry | None:
        """Return the component of that kind and name, or None."""

    def names(self, kind: str) -> Sequence[str]:
        """List all names of that kind."""

    @property
    def broken(self) -> Sequence[str]:
        """The reasons why some plugins cannot be used."""

    def faults(self, source: str) -> Sequence[str]:
        """The reasons why the plugins of a distribution, or a file, cannot be used."""

    @property
    def observers(self) -> Sequence[str]:
        """The distributions whose plugins observe every trial."""

    @property
    def origins(self) -> Mapping[str, str]:
        """What stands for each distribution in stage keys: its version, or its version and code."""

    @property
    def code(self) -> Code:
        """The files among the plugins, and those that have components which are named by their files."""

    def with_code(self, code: Code) -> "Catalog":
        """Return the same catalog with these files instead of its own."""


def unknown(catalog: Catalog, kind: str, name: object, also: Sequence[str] = ()) -> str:
    """Say that there is no component of that name: which was meant, and which plugin it may be missing with."""
    hints = [nearest(name, [*catalog.names(kind), *also]), *catalog.broken]
    return f"unknown {kind} {name!r} ({'; '.join(hints)})"


def usable(catalog: Catalog, kind: str) -> tuple[list[Entry], list[str]]:
    """List the components of a kind that specs can name, and what is wrong with the others."""
    entries, faults = [], []
    for name in catalog.names(kind):
        try:
            entry = catalog.entry(kind, name)
            if entry and entry.parameters:
                entries.append(entry)
        except PluginError as error:
            faults.append(str(error))
    return entries, faults
