"""A spec's values, each with the place where somebody wrote it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any, TypeAlias

from framework._errors import Problem

Path: TypeAlias = tuple[str | int, ...]

_LONGEST = 1000  # of a message, which may quote a value
SPACES = ("grid_search", "choice", "uniform", "loguniform", "randint")


class _Hole:
    """Stands for a value that is already reported as wrong, so that nothing else is said about it."""

    def __repr__(self) -> str:
        return "…"


HOLE = _Hole()


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a file, counted from 1; line 0 where the file is an option of the command line."""

    file: str
    line: int = 0
    column: int = 0


@dataclass(frozen=True, slots=True)
class Node:
    """One value of a spec.

    Values keep their place while specs are merged, overridden and expanded: a mistake in what a stage inherits is
    reported where it was written.

    Attributes:
        value: a scalar, a list of nodes, a dict of nodes, or `HOLE`.
        mark: where the value begins.
        path: where the value stands in its spec.
        keys: where each key of a mapping begins.
    """

    value: Any
    mark: Mark
    path: Path = ()
    keys: Mapping[str, Mark] = field(default_factory=dict)

    @property
    def space(self) -> str | None:
        """Which kind of search space this is, if it is one."""
        if isinstance(self.value, dict) and len(self.value) == 1:
            key = next(iter(self.value))
            return key if key in SPACES else None
        return None

    @property
    def name(self) -> Any:
        """What a component written as a mapping, or as its bare name, is called; None if it does not say."""
        if isinstance(self.value, dict):
            return self.value["name"].plain() if "name" in self.value else None
        return self.value if isinstance(self.value, str) else None

    def plain(self) -> Any:
        """The value without its places."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value

    @property
    def shown(self) -> str:
        """The value for a message, in YAML's words where they are not Python's."""
        if self.value is None or isinstance(self.value, bool):
            return {None: "null", True: "true", False: "false"}[self.value]
        text = repr(self.plain())
        return text if len(text) <= 80 else f"{text[:79]}…"

    def children(self) -> Iterator["Node"]:
        """The values directly inside."""
        if isinstance(self.value, dict):
            yield from self.value.values()
        elif isinstance(self.value, list):
            yield from self.value

    def walk(self) -> Iterator["Node"]:
        """This value and all values inside, parents first."""
        yield self
        for child in self.children():
            yield from child.walk()

    def map(self, change: Callable[["Node"], "Node"]) -> "Node":
        """This value with each value directly inside changed."""
        if isinstance(self.value, dict):
            return replace(self, value={key: change(child) for key, child in self.value.items()})
        if isinstance(self.value, list):
            return replace(self, value=[change(child) for child in self.value])
        return self

    def locate(self, path: Path) -> "Node":
        """The value at the longest part of the path, from here, that exists."""
        node = self
        for step in path:
            inside = dict(enumerate(node.value)) if isinstance(node.value, list) else node.value
            if not isinstance(inside, dict) or step not in inside:
                break
            node = inside[step]
        return node

    def problem(self, message: str) -> Problem:
        """A mistake in this value."""
        text = message if len(message) <= _LONGEST else f"{message[:_LONGEST]}…"
        return Problem(self.mark.file, self.mark.line, self.mark.column, dotted(self.path), text)

    def key_problem(self, key: str, message: str) -> Problem:
        """A mistake in one of this mapping's keys; where the value is, if the key was not written here."""
        child: Node = self.value[key]
        return replace(child, mark=self.keys.get(key, child.mark)).problem(message)

    def misspelled_space(self) -> Problem | None:
        """What to say if this looks like a search space of which only the key is wrong."""
        if isinstance(self.value, dict) and len(self.value) == 1:
            key = next(iter(self.value))
            close = get_close_matches(key, SPACES, n=1, cutoff=0.75)
            if close and key not in SPACES:
                return self.key_problem(key, f"unknown search space {key!r} (did you mean {close[0]!r}?)")
        return None


def dotted(path: Path) -> str:
    """A path in the spelling that ``--set`` takes: ``stages.1.prune.amount``."""
    return ".".join(map(str, path))


def merge(base: Node, own: Node) -> Node:
    """Lay one value over another.

    Mappings merge key by key, unless they name different components; a component's bare name counts as a mapping with
    that name. Anything else, a search space too, replaces what it is laid over.
    """
    named = isinstance(own.value, dict) or (isinstance(own.value, str) and isinstance(base.value, dict))
    if not named or base.space or own.space or not isinstance(base.value, dict | str):
        return own
    if own.name is not None and base.name is not None and own.name != base.name:
        return own
    under, over = as_mapping(base), as_mapping(own)
    value = dict(under.value)
    for key, child in over.value.items():
        if key not in value:
            value[key] = child
        elif key != "name":  # an equal name stays the base's: that is how it counts as used
            value[key] = merge(value[key], child)
    return Node(value, own.mark, own.path, {**under.keys, **over.keys})


def as_mapping(node: Node) -> Node:
    """A component's bare name as the mapping that it stands for."""
    if not isinstance(node.value, str):
        return node
    return replace(node, value={"name": node}, keys={"name": node.mark})
