"""A whole spec: one YAML file, validated."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import inf
from pathlib import Path as FilePath
from typing import Any

from framework._component import Catalog, Component
from framework._errors import Problem, SpecError
from framework._spec import space
from framework._spec.defaults import check_defaults
from framework._spec.document import parse, read
from framework._spec.node import HOLE, Mark, Node
from framework._spec.override import override
from framework._spec.plugins import check_plugins
from framework._spec.resolve import (
    DataSpec,
    Resolved,
    Resolver,
    integer,
    mapping_or_null,
    number,
    stage_list,
    unknown_keys,
)
from framework._spec.search import KEYS as SEARCH
from framework._spec.search import SearchSpec, read_search
from framework._spec.space import Space

TREE = ("model", "data", "defaults", "stages")
# Of one trial: CPUs, GPUs, seconds after which it is ended, and how often it is tried again after a failure.
RESOURCES: Mapping[str, Any] = {"cpu": 1, "gpu": "auto", "timeout": None, "retries": 1}
_NOWHERE = Node(None, Mark(""))
_NOT_IN_NAMES = "/\\"
KEYS = ("name", "description", "plugins", "model", "data", "seeds", "defaults", "stages", "search", "resources")


@dataclass(frozen=True)
class ExperimentSpec:
    """One YAML file, validated.

    Attributes:
        file: where it is from.
        name: the experiment's; the file's stem unless given.
        description: what it is for; may be empty.
        tree: ``model``, ``data``, ``defaults`` and ``stages`` as plain data, search spaces left in.
        seeds: one replicate of every variant for each.
        search: how the search space is gone through.
        resources: ``cpu`` and ``gpu`` of one trial (``gpu`` may be ``auto``), its ``timeout`` in seconds or None, and
            how many ``retries`` it has.
    """

    file: FilePath
    name: str
    description: str
    tree: Mapping[str, Any]
    seeds: tuple[int, ...]
    search: SearchSpec
    resources: Mapping[str, Any]
    _root: Node = field(repr=False, compare=False)
    _resolver: Resolver = field(repr=False, compare=False)
    _known: dict[tuple[str, ...], Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def observers(self) -> Sequence[str]:
        """The distributions whose plugins observe its trials."""
        return self._resolver.catalog.observers

    @property
    def origins(self) -> Mapping[str, str]:
        """By distribution, what stands for it in stage keys."""
        return self._resolver.catalog.origins

    @cached_property
    def spaces(self) -> tuple[Space, ...]:
        """The search spaces of ``tree``."""
        return tuple(space.find(self.tree))

    def resolve(self, tree: Mapping[str, Any]) -> Resolved:
        """Validate one point of the search space.

        Args:
            tree: ``self.tree`` with a value in the place of every search space.

        Raises:
            SpecError: these values do not go together; says why and where they come from.
        """
        # A sweep asks for thousands of points that differ in a value or two.
        defaults = json.dumps(tree.get("defaults"), sort_keys=True)
        keys = [(part, json.dumps(tree[part], sort_keys=True), "") for part in ("model", "data")]
        keys += [("stage", json.dumps(item, sort_keys=True), defaults) for item in tree["stages"]]
        for key, value in zip(keys, (tree["model"], tree["data"], *tree["stages"]), strict=True):
            if key not in self._known:
                self._known[key] = self._part(key[0], value, tree)
        model, data, *stages = (self._known[key] for key in keys)
        return Resolved(model, data, tuple(stage for item in stages for stage in item))

    def _part(self, part: str, value: Any, tree: Mapping[str, Any]) -> Any:
        """The model, the data or an element of the stages; where a value is from is looked up only to tell mistakes."""
        found: list[Problem] = []
        node, defaults = (space.graft(plain, _NOWHERE) for plain in (value, tree.get("defaults")))
        made: Any
        if part == "stage":
            made = self._resolver.stages(node, defaults, found)
        else:
            made = self._resolver.data(node, found) if part == "data" else self._resolver.component(part, node, found)
        if found:
            found.clear()
            _parts(space.graft(tree, self._root), self._resolver, found)
            raise _error(found)
        return made


def load(
    file: FilePath | str,
    catalog: Catalog,
    overrides: Sequence[str] = (),
    seeds: Sequence[int] | None = None,
) -> ExperimentSpec:
    """Read and validate a spec.

    Args:
        file: the YAML file.
        catalog: where components are looked up, such as the registry.
        overrides: ``path=value`` settings, applied in their order.
        seeds: replace the spec's own.

    Raises:
        SpecError: holds every mistake found.
        PluginError: a component that the spec names breaks its contract.
    """
    file = FilePath(file)
    found: list[Problem] = []
    written = read(file, found)
    changed = written
    for setting in overrides:
        changed = override(changed, setting, KEYS, found)
    if seeds is not None:
        given = ",".join(map(str, seeds))
        value = parse(f"[{given}]", f"--seeds {given}", found)(("seeds",))
        changed = replace(changed, value={**changed.value, "seeds": value})
    root = _without_wrong_spaces(changed, found)
    written = root if changed is written else _without_wrong_spaces(written, [])
    resolver = Resolver(catalog)
    fields = _fields(root, file, found)
    check_plugins(root.value.get("plugins"), found)
    for point in space.points(root):
        _parts(point, resolver, found)
    check_defaults(root, written, str(file), resolver, found)
    search = read_search(root.value.get("search"), _spaces(root), _spaces(written), found)
    if found:
        raise _error(found)
    tree = {part: root.value[part].plain() for part in TREE if part in root.value}
    return ExperimentSpec(file, tree=tree, search=search, _root=root, _resolver=resolver, **fields)


def read_name(file: FilePath) -> str:
    """The name of a spec's experiment. The rest of the file is read, but not validated.

    Raises:
        SpecError: the file, or one that it extends, cannot be read, or the name is none.
    """
    found: list[Problem] = []
    name = _text(read(file, found).value.get("name"), file.stem, found, _NOT_IN_NAMES)
    if found:
        raise _error(found)
    return name


def _error(found: list[Problem]) -> SpecError:
    """All mistakes, each once: what an alias stands for is written once, whatever uses it."""
    once = {(p.file, p.line, p.column, p.message): p for p in sorted(found, reverse=True)}
    return SpecError(once.values())


# --- what describes the experiment -------------------------------------------------------------------------------


def _fields(root: Node, file: FilePath, found: list[Problem]) -> dict[str, Any]:
    get = root.value.get
    misplaced = [key for key in root.value if key in SEARCH and key != "seed"]  # which is rather meant to be seeds
    found.extend(root.key_problem(key, f"this belongs under search: search: {{{key}: …}}") for key in misplaced)
    unknown_keys(root, [*KEYS, "extends", *misplaced], "a spec", found)
    found.extend(root.problem(f"a spec needs {key!r}") for key in ("model", "data", "stages") if key not in root.value)
    return {
        "name": _text(get("name"), file.stem, found, _NOT_IN_NAMES),
        "description": _text(get("description"), "", found),
        "seeds": _seeds(get("seeds"), found),
        "resources": _resources(get("resources"), found),
    }


def _text(node: Node | None, default: str, found: list[Problem], forbidden: str = "") -> str:
    if node is None or node.value is HOLE:
        return default
    if not isinstance(node.value, str):
        found.append(node.problem(f"must be a string, not {node.shown}"))
    elif forbidden and (not node.value.strip() or any(c in node.value for c in (*forbidden, "\n"))):
        found.append(node.problem("must be a non-empty line without slashes"))
    return str(node.value)


def _seeds(node: Node | None, found: list[Problem]) -> tuple[int, ...]:
    if node is None or node.value is HOLE:
        return (0,)
    if not isinstance(node.value, list) or not node.value:
        found.append(node.problem(f"must be a list of integers, such as [0, 1, 2], not {node.shown}"))
        return (0,)
    seeds: list[int] = []
    for item in node.value:
        seed = integer(item, 0, found)
        if seed in seeds:
            found.append(item.problem(f"seed {seed} is in this list already"))
        elif seed is not None:
            seeds.append(seed)
    return tuple(seeds)


def _resources(node: Node | None, found: list[Problem]) -> dict[str, Any]:
    resources = dict(RESOURCES)
    *others, last = RESOURCES
    if node is None or not mapping_or_null(node, f"{', '.join(others)} and {last}", found) or not node.value:
        return resources
    unknown_keys(node, tuple(RESOURCES), "resources", found)
    given = node.value
    if "cpu" in given:
        resources["cpu"] = number(given["cpu"], lambda n: 0 < n < inf, "a number > 0", found) or 1
    if "gpu" in given and given["gpu"].value != "auto":
        resources["gpu"] = number(given["gpu"], lambda n: 0 <= n < inf, "auto or a number >= 0", found)
    if "timeout" in given and given["timeout"].value is not None:
        expected = "a number of seconds > 0, or null"
        resources["timeout"] = number(given["timeout"], lambda n: 0 < n < inf, expected, found)
    if "retries" in given:
        resources["retries"] = integer(given["retries"], 0, found)
    return resources


def _spaces(root: Node) -> list[Node]:
    return [node for part in TREE if part in root.value for node in root.value[part].walk() if node.space]


# --- what determines the trials ----------------------------------------------------------------------------------


def _without_wrong_spaces(root: Node, found: list[Problem]) -> Node:
    """The spec with a hole for each search space that is wrong or stands where none can."""
    where = f"a search space can stand in {', '.join(TREE)} only"
    value = {
        key: space.check(child, found) if key in TREE else space.forbid(child, where, found)
        for key, child in root.value.items()
    }
    return replace(root, value=value)


def _parts(
    root: Node, resolver: Resolver, found: list[Problem]
) -> tuple[Component | None, DataSpec | None, list[tuple[Component, ...]]]:
    get = root.value.get
    model, data = get("model"), get("data")
    return (
        resolver.component("model", model, found) if model else None,
        resolver.data(data, found) if data else None,
        [resolver.stages(item, get("defaults"), found) for item in stage_list(get("stages"), found)],
    )
