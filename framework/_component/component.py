"""Components with their parameters: called where they are needed, and written down as plain data."""

from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any

from framework._component.content import digest
from framework._component.kinds import Entry
from framework._component.parameters import unkeyed_fields
from framework._errors import located


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
        return frozenset({self.entry.source}).union(*map(_sources, self.params.values()))

    def __call__(self, **inputs: Any) -> Any:
        """Call it with its parameters and those of these inputs that it asks for.

        What it raises has a note that names it.
        """
        with located(f"in {self.entry.kind} {self.entry.name} {self.entry.where}"):
            return self.entry.factory(**{k: inputs[k] for k in self.entry.inputs if k in inputs}, **self.params)

    @property
    def name(self) -> str:
        """What specs call it."""
        return self.entry.name

    def plain(self, *, identity: bool = False, stored: bool = False) -> dict[str, Any]:
        """Return itself as plain data that validates to itself again.

        Args:
            stored: name files of code by their content, as another spec may call them otherwise.
            identity: return what stage keys are made of instead: the distribution that it comes from, and only the
                parameters that differ from their defaults, so that a new parameter with a default changes no key. A
                path is replaced by a digest of what is there, see `digest`. Of a default that is a component of
                another distribution, only that distribution counts.

        Raises:
            DataError: identity is asked for, and what is at a path cannot be read.
        """
        if identity:
            source = self.entry.origin or self.entry.source
            used = {k: v.entry.origin or v.entry.source for k, v in self.params.items() if isinstance(v, Component)}
            foreign = {k: theirs for k, theirs in used.items() if theirs != source}
            given = {k: plain(v, identity=True) for k, v in self.given.items() if k not in self.entry.unkeyed}
            return {"name": self.entry.part or self.name, "source": source, **foreign, **given}
        name = self.entry.stored_name if stored else self.name
        return {"name": name, **{k: plain(v, stored=stored) for k, v in self.params.items()}}


def _sources(value: Any) -> frozenset[str]:
    """The distributions of the components in a parameter's value."""
    if isinstance(value, Component):
        return value.sources
    if is_dataclass(value) and not isinstance(value, type):
        value = vars(value)
    inside = value.values() if isinstance(value, Mapping) else value if isinstance(value, tuple | list) else ()
    return frozenset[str]().union(*map(_sources, inside))


def plain(value: Any, *, identity: bool = False, stored: bool = False) -> Any:
    """Return a validated value as JSON-able data; see `Component.plain`."""
    if isinstance(value, Component):
        return value.plain(identity=identity, stored=stored)
    if is_dataclass(value) and not isinstance(value, type):
        left_out = unkeyed_fields(type(value)) if identity else ()
        value = {k: v for k, v in vars(value).items() if k not in left_out}
    if isinstance(value, Mapping):
        return {k: plain(v, identity=identity, stored=stored) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [plain(v, identity=identity, stored=stored) for v in value]
    if isinstance(value, Path):
        if identity:
            return digest(value)
        text = str(value)
        return f"./{text}" if text.startswith("~") else text  # which would be read as a home folder
    return value
