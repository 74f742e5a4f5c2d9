"""A whole spec: one YAML file, validated."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from numbers import Integral  # NumPy's too
from pathlib import Path as FilePath
from typing import Any

from framework._code import Code
from framework._component import Catalog, Component
from framework._errors import Problem, SpecError
from framework._paths import expand_home, name_fault
from framework._spec import space
from framework._spec.checks import integer, stage_list, unknown_keys
from framework._spec.code import read_files, rename_files
from framework._spec.count import MAX_TRIALS, TREE, check_size, check_stages, check_trials
from framework._spec.defaults import check_defaults
from framework._spec.document import read
from framework._spec.mistakes import Mistakes, error_of
from framework._spec.node import HOLE, Mark, Node
from framework._spec.override import override
from framework._spec.plugins import check_plugins
from framework._spec.resolve import METRICS, DataSpec, Resolved, Resolver
from framework._spec.resources import read_resources
from framework._spec.search import KEYS as SEARCH
from framework._spec.search import SearchSpec, read_search
from framework._spec.space import Space

_NOWHERE = Node(None, Mark(""))
_SHOWN = 300
KEYS = (
    *("name", "description", "plugins", "model", "data", METRICS, "seeds", "defaults", "stages", "search", "resources"),
)


@dataclass(frozen=True)
class ExperimentSpec:
    """One YAML file, validated.

    Attributes:
        file: where it is from.
        name: the experiment's; the file's stem unless given.
        description: what it is for; may be empty.
        tree: ``model``, ``data``, ``defaults`` and ``stages`` as plain data, search spaces left in.
        metrics: by what trials are measured, the primary one first; empty: as the data's task says.
        seeds: one replicate of every variant for each.
        search: how the search space is gone through.
        resources: ``cpu`` and ``gpu`` of one trial (either may be ``auto``), the ``threads`` of its stages (``auto`` or
            a list), its ``timeout`` in seconds or None, and how many ``retries`` it has.
        most_trials: how many trials it means at most: equal points are one trial.
        most_stages: how many stages one of them has at most.
    """

    file: FilePath
    name: str
    description: str
    tree: Mapping[str, Any]
    metrics: Mapping[str, Component]
    seeds: tuple[int, ...]
    search: SearchSpec
    resources: Mapping[str, Any]
    most_trials: int
    most_stages: int
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

    @property
    def code(self) -> Code:
        """The files of code that it names, and those that the user has named beside it."""
        return self._resolver.catalog.code

    @cached_property
    def spaces(self) -> tuple[Space, ...]:
        """The search spaces of ``tree``."""
        return tuple(space.find(self.tree))

    @property
    def suggested(self) -> int:
        """How many trials are suggested while it runs, at most."""
        return self.search.samples * len(self.seeds) if self.search.suggests else 0

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
        resolved = Resolved(model, data, tuple(stage for item in stages for stage in item))
        if not resolved.stages:
            where = space.graft(tree, self._root).value["stages"]
            raise error_of([where.problem("there is no stage left, as all of them are repeated 0 times")])
        if any(stage.entry.labels for stage in resolved.stages):
            found: list[Problem] = []
            self._resolver.check_labels(space.graft(tree, self._root), found)
            if found:
                raise error_of(found)
        return resolved

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
            raise error_of(found)
        return made


def load(
    file: FilePath | str,
    catalog: Catalog,
    overrides: Sequence[str] = (),
    seeds: Sequence[int] | None = None,
    max_trials: int = MAX_TRIALS,
) -> ExperimentSpec:
    """Read and validate a spec.

    Args:
        file: the YAML file.
        catalog: where components are looked up, such as the registry.
        overrides: ``path=value`` settings, applied in their order.
        seeds: replace the spec's own.
        max_trials: the most trials that it may mean.

    Raises:
        SpecError: holds every mistake found.
        PluginError: a component that the spec names breaks its contract.
    """
    file = _expanded(file)
    found = Mistakes()
    written = read(file, found)
    changed = written
    for setting in overrides:
        changed = override(changed, setting, KEYS, found)
    check_size(changed)
    if seeds is not None:
        changed = replace(changed, value={**changed.value, "seeds": _given(seeds, max_trials)})
    root = _without_wrong_spaces(changed, found)
    root, catalog = read_files(root, file, catalog, found)
    resolver = Resolver(catalog)
    fields = _fields(root, file, found)
    fields[METRICS] = resolver.metrics(root.value.get(METRICS), found)
    check_plugins(root.value.get("plugins"), found)
    written = root if changed is written else rename_files(_without_wrong_spaces(written, []), file.parent)[0]
    search = read_search(root.value.get("search"), _spaces(root), _spaces(written), found)
    try:
        stages = check_stages(root)
        trials = check_trials(root, fields["seeds"], search, stages, max_trials)
    except SpecError as error:
        found.extend(error.problems)
        raise error_of(found) from None
    for number, point in enumerate(space.points(root)):
        _parts(point, resolver, found)
        if number == 0:  # the others have some of the stages only; all of a point are looked at when it is resolved
            resolver.check_labels(point, found)
    check_defaults(root, written, str(file), resolver, found)
    if found:
        raise error_of(found)
    tree = {part: root.value[part].plain() for part in TREE if part in root.value}
    fields |= {"most_trials": trials, "most_stages": stages}
    return ExperimentSpec(file, tree=tree, search=search, _root=root, _resolver=resolver, **fields)


def read_name(file: FilePath) -> str:
    """The name of a spec's experiment. The rest of the file is read, but not validated.

    Raises:
        SpecError: the file, or one that it extends, cannot be read, or the name is none.
    """
    file = _expanded(file)
    found: list[Problem] = []
    name = _name(read(file, found).value.get("name"), file, found)
    if found:
        raise error_of(found)
    return name


def _expanded(file: FilePath | str) -> FilePath:
    try:
        return FilePath(expand_home(str(file)))
    except ValueError as error:
        raise SpecError([Problem(str(file), 0, 0, "", str(error))]) from None


def _given(seeds: Sequence[int], limit: int) -> Node:
    """Seeds that are given on the command line or in Python, as a spec has them."""
    if len(seeds) > limit:
        raise SpecError([Problem("--seeds", 0, 0, "", f"{len(seeds):,} are more than the limit of {limit:,} trials")])
    given = ",".join(map(str, seeds))
    mark = Mark(f"--seeds {given}" if len(given) <= _SHOWN else f"--seeds {given[:_SHOWN]}…")
    plain = [int(seed) if isinstance(seed, Integral) and not isinstance(seed, bool) else seed for seed in seeds]
    return Node([Node(seed, mark, ("seeds", i)) for i, seed in enumerate(plain)], mark, ("seeds",))


# --- what describes the experiment -------------------------------------------------------------------------------


def _fields(root: Node, file: FilePath, found: list[Problem]) -> dict[str, Any]:
    get = root.value.get
    misplaced = [key for key in root.value if key in SEARCH and key != "seed"]  # which is rather meant to be seeds
    found.extend(root.key_problem(key, f"this belongs under search: search: {{{key}: …}}") for key in misplaced)
    unknown_keys(root, [*KEYS, "extends", *misplaced], "a spec", found)
    found.extend(root.problem(f"a spec needs {key!r}") for key in ("model", "data", "stages") if key not in root.value)
    return {
        "name": _name(get("name"), file, found),
        "description": _text(get("description"), "", found),
        "seeds": _seeds(get("seeds"), found),
        "resources": read_resources(get("resources"), found),
    }


def _name(node: Node | None, file: FilePath, found: list[Problem]) -> str:
    if node is None or node.value is HOLE:
        if fault := name_fault(file.stem):
            message = f"an experiment that has no name is called after its file, and a name {fault}"
            found.append(Problem(str(file), 0, 0, "name", message))
        return file.stem
    name = _text(node, "", found)
    if isinstance(node.value, str) and (fault := name_fault(name)):
        found.append(node.problem(fault))
    return name


def _text(node: Node | None, default: str, found: list[Problem]) -> str:
    if node is None or node.value is HOLE:
        return default
    if not isinstance(node.value, str):
        found.append(node.problem(f"must be a string, not {node.shown}"))
    return str(node.value)


def _seeds(node: Node | None, found: list[Problem]) -> tuple[int, ...]:
    if node is None or node.value is HOLE:
        return (0,)
    if not isinstance(node.value, list) or not node.value:
        found.append(node.problem(f"must be a list of integers, such as [0, 1, 2], not {node.shown}"))
        return (0,)
    seeds: dict[int, None] = {}
    for item in node.value:
        seed = integer(item, 0, found)
        if seed in seeds:
            found.append(item.problem(f"seed {seed} is in this list already"))
        elif seed is not None:
            seeds[seed] = None
    return tuple(seeds)


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
