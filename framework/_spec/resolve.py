"""One point of a spec's search space: its components, validated."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from framework._component import Catalog, Component, build, unknown
from framework._errors import PluginError, Problem, nearest
from framework._spec.node import HOLE, Node, Path, as_mapping, merge

AUGMENTATIONS = ("crop", "flip", "cutout")
MOST_EPOCHS = 10**9  # ASHA compares no trial beyond it


@dataclass(frozen=True)
class DataSpec:
    """The data of a trial.

    Attributes:
        dataset: where the images come from.
        validation: which fraction of the training set to hold out, in [0, 1).
        augment: what to do to training batches: any of ``crop``, ``flip``, ``cutout``.
    """

    dataset: Component
    validation: float = 0.1
    augment: tuple[str, ...] = ()

    @property
    def sources(self) -> frozenset[str]:
        """The distributions that it comes from."""
        return self.dataset.sources

    def plain(self, *, identity: bool = False) -> dict[str, Any]:
        """Itself as plain data; see `Component.plain`."""
        options = {"validation": self.validation, "augment": list(self.augment)}
        if identity:
            default = {"validation": DataSpec.validation, "augment": list(DataSpec.augment)}
            options = {key: value for key, value in options.items() if value != default[key]}
        return {"dataset": self.dataset.plain(identity=identity), **options}


@dataclass(frozen=True)
class Resolved:
    """One variant, ready to be run.

    Attributes:
        model: builds the network.
        data: what it is trained and tested on.
        stages: what is done to it, repetitions written out and defaults filled in.
    """

    model: Component
    data: DataSpec
    stages: tuple[Component, ...]


class Resolver:
    """Builds components from nodes, each value once.

    Args:
        catalog: where components are looked up.
    """

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._built: dict[tuple[str, str], Component | list[tuple[Path, str]]] = {}

    def component(self, kind: str, node: Node, found: list[Problem]) -> Component | None:
        """The component that a value describes, or None and the reasons why it does not describe one."""
        if _unknown(node):
            return None
        value = node.plain()
        key = (kind, json.dumps(value, sort_keys=True, default=repr))
        if key not in self._built:
            self._built[key] = self._build(kind, value)
        built = self._built[key]
        if isinstance(built, Component):
            return built
        found.extend(problem for loc, message in built for problem in _placed(node, loc, message))
        return None

    def _build(self, kind: str, value: Any) -> Component | list[tuple[Path, str]]:
        try:
            built = build(self.catalog, kind, value)
        except ValidationError as error:
            return [(e["loc"], e["msg"]) for e in error.errors()]
        epochs = built().planned_epochs if kind == "stage" else 0
        if epochs > MOST_EPOCHS:
            return [(("epochs",), f"a stage has at most {MOST_EPOCHS:,} epochs, not {epochs:,}")]
        return built

    def data(self, node: Node, found: list[Problem]) -> DataSpec | None:
        """The data that a value describes."""
        node = as_mapping(node)
        options: dict[str, Any] = {}
        if isinstance(node.value, dict):
            check = {"validation": _validation, "augment": _augment}
            inside = dict(node.value)
            options = {key: check[key](inside.pop(key), found) for key in check if key in inside}
            parameters = self._parameters("dataset", node.name)
            if parameters is not None:
                valid = ["name", *check, *parameters]
                unknown_keys(node, valid, f"dataset {node.name!r}", found, "parameter")
                inside = {key: child for key, child in inside.items() if key in valid}
            node = replace(node, value=inside)
        dataset = self.component("dataset", node, found)
        return None if dataset is None else DataSpec(dataset, **options)

    def _parameters(self, kind: str, name: Any) -> Sequence[str] | None:
        """Those of a component that can be used; what is wrong with one that cannot is told when it is built."""
        try:
            entry = self.catalog.entry(kind, name) if isinstance(name, str) else None
            return list(entry.parameters.model_fields) if entry else None
        except PluginError:
            return None

    def stages(self, item: Node, defaults: Node | None, found: list[Problem]) -> tuple[Component, ...]:
        """The stages that one element of a list of stages stands for."""
        written = self.flatten(item, found)
        once = {id(stage): stage for stage in written}  # repetitions repeat the same nodes
        built = {key: self.component("stage", with_defaults(stage, defaults), found) for key, stage in once.items()}
        return tuple(made for stage in written if (made := built[id(stage)]) is not None)

    def flatten(self, item: Node, found: list[Problem]) -> list[Node]:
        """An element of a list of stages as stages with names and own parameters, repetitions written out."""
        if item.value is HOLE:
            return []
        if isinstance(item.value, str):
            item = Node({item.value: Node(None, item.mark, item.path)}, item.mark, item.path)
        if not isinstance(item.value, dict):
            message = f"a stage is a name, or a mapping of its name to parameters, not {item.shown}"
            found.append(item.problem(message))
            return []
        if len(item.value) != 1:
            names = " and ".join(map(repr, item.value)) or "nothing"
            found.append(item.problem(f"one stage, one name: this has {names}; begin each stage with '- '"))
            return []
        name, params = next(iter(item.value.items()))
        return self._repeated(params, found) if name == "repeat" else self._stage(item, name, params, found)

    def _stage(self, item: Node, name: str, params: Node, found: list[Problem]) -> list[Node]:
        if name not in self.catalog.names("stage"):
            message = unknown(self.catalog, "stage", name, ["repeat"])
            found.append(item.misspelled_space() or item.key_problem(name, message))
            return []
        if not mapping_or_null(params, "parameters", found):
            return []
        own = params.value or {}
        if "name" in own:
            found.append(params.key_problem("name", f"stage {name!r} has no parameter 'name'"))
            return []
        label = Node(name, item.keys.get(name, item.mark), params.path)
        return [Node({"name": label, **own}, params.mark, params.path, params.keys)]

    def _repeated(self, params: Node, found: list[Problem]) -> list[Node]:
        if params.value is HOLE:
            return []
        if not isinstance(params.value, dict):
            found.append(params.problem(f"must be a mapping of times and stages, not {params.shown}"))
            return []
        unknown_keys(params, ("times", "stages"), "repeat", found)
        found.extend(params.problem(f"repeat needs {key!r}") for key in ("times", "stages") if key not in params.value)
        times = integer(params.value.get("times"), 1, found)
        stages = stage_list(params.value.get("stages"), found)
        return [stage for item in stages for stage in self.flatten(item, found)] * (times or 1)


def with_defaults(stage: Node, defaults: Node | None) -> Node:
    """A stage with what ``defaults`` say of it under its own parameters."""
    default = defaults.value.get(stage.name) if defaults and isinstance(defaults.value, dict) else None
    if default is None or not isinstance(default.value, dict):
        return stage
    own = {key: child for key, child in stage.value.items() if key != "name"}
    merged = merge(default, replace(stage, value=own))
    return replace(merged, value={**merged.value, "name": stage.value["name"]})


# --- checks of single values; each says what is wrong and goes on with a sensible value --------------------------


def unknown_keys(node: Node, valid: Sequence[str], owner: str, found: list[Problem], what: str = "key") -> None:
    """Report every key of a mapping that is not valid there."""
    found.extend(
        node.key_problem(key, f"{owner} has no {what} {key!r} ({nearest(key, valid)})")
        for key in node.value
        if key not in valid
    )


def mapping_or_null(node: Node, content: str, found: list[Problem]) -> bool:
    """Whether a value is a mapping or null; reported if it is neither."""
    if node.value is None or isinstance(node.value, dict):
        return True
    if node.value is not HOLE:
        found.append(node.problem(f"must be a mapping of {content}, not {node.shown}"))
    return False


def stage_list(node: Node | None, found: list[Problem]) -> list[Node]:
    """The elements of a list of stages."""
    if node is None or node.value is HOLE:
        return []
    if not isinstance(node.value, list) or not node.value:
        wrong = "an empty one" if node.value == [] else node.shown
        found.append(node.misspelled_space() or node.problem(f"must be a list of stages, not {wrong}"))
        return []
    return node.value


def integer(node: Node | None, least: int, found: list[Problem], most: int = 2**63 - 1) -> int | None:
    """An integer that is neither too small nor too large."""
    if node is None or node.value is HOLE:
        return None
    if isinstance(node.value, bool) or not isinstance(node.value, int):
        found.append(node.misspelled_space() or node.problem(f"must be an integer >= {least}, not {node.shown}"))
        return None
    if not least <= node.value <= most:
        bound = f">= {least}" if node.value < least else f"<= {most}"
        found.append(node.problem(f"must be {bound}, not {node.value!r}"))
        return None
    return node.value


def number(node: Node, valid: Callable[[float], bool], expected: str, found: list[Problem]) -> float | None:
    """A number for which ``valid`` holds."""
    value = node.value
    if value is HOLE:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not valid(value):
        found.append(node.misspelled_space() or node.problem(f"must be {expected}, not {node.shown}"))
        return None
    return value


def _validation(node: Node, found: list[Problem]) -> float:
    value = number(node, lambda fraction: 0 <= fraction < 1, "a number >= 0 and < 1", found)
    return DataSpec.validation if value is None else float(value)


def _augment(node: Node, found: list[Problem]) -> tuple[str, ...]:
    if node.value is HOLE:
        return ()
    if not isinstance(node.value, list):
        expected = ", ".join(AUGMENTATIONS)
        problem = node.problem(f"must be a list of any of {expected}, not {node.shown}")
        found.append(node.misspelled_space() or problem)
        return ()
    seen: list[Any] = []
    for item in node.value:
        value = item.plain()
        if value in seen:
            found.append(item.problem(f"{value!r} is in this list already"))
        elif value not in AUGMENTATIONS and value is not HOLE:
            found.append(item.problem(f"unknown augmentation {value!r} ({nearest(value, AUGMENTATIONS)})"))
        seen.append(value)
    return tuple(seen)


def _unknown(node: Node) -> bool:
    """Whether a value, or the name in it, is already reported as wrong."""
    return node.value is HOLE or (isinstance(node.value, Mapping) and node.name is HOLE)


def _placed(node: Node, loc: Path, message: str) -> list[Problem]:
    """A component's mistake at the place in the spec that it comes from."""
    at = node.locate(loc)
    if _unknown(at):
        return []
    if "has no parameter" in message and loc and isinstance(loc[-1], str):
        parent = node.locate(loc[:-1])
        if isinstance(parent.value, dict) and loc[-1] in parent.value:
            return [parent.key_problem(loc[-1], message)]
    return [at.misspelled_space() or at.problem(message)]
