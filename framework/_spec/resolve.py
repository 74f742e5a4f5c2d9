"""One point of a spec's search space: its components, validated."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from framework._code import file_in, module_in
from framework._component import Catalog, Component, build, unknown
from framework._errors import PluginError, Problem, nearest
from framework._spec.checks import integer, mapping_or_null, number, stage_list, unknown_keys
from framework._spec.node import HOLE, Node, Path, as_mapping, merge

LABEL = "as"
"""The key beside a stage's name with which it gets a label, by which later ones name the state after it."""
METRICS = "metrics"
"""The key of a spec that lists by what trials are measured."""
INITIAL = "initial"
"""What labels call the network that a trial begins with."""
RESERVED = ("loss",)  # what is reported besides metrics under such names
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

    def metrics(self, node: Node | None, found: list[Problem]) -> dict[str, Component]:
        """The metrics that a spec lists, by what they are called, the primary one first."""
        if node is None or node.value is HOLE:
            return {}
        if not isinstance(node.value, list) or not node.value:
            example = "[accuracy, {name: f1, average: macro}]"
            found.append(node.problem(f"must be a list of metrics, such as {example}, not {node.shown}"))
            return {}
        named: dict[str, Component] = {}
        for item in node.value:
            whole = as_mapping(item)
            label = whole.value.get(LABEL) if isinstance(whole.value, dict) else None
            own = whole.value if label is None else {key: v for key, v in whole.value.items() if key != LABEL}
            made = self.component("metric", replace(whole, value=own), found)
            if made is None:
                continue
            name = made.name.rpartition(":")[2] if label is None else label.value
            if not isinstance(name, str) or not name.isidentifier() or name in RESERVED:
                found.append((label or item).problem(f"must be a word other than {' and '.join(RESERVED)}"))
            elif name in named:
                found.append(item.problem(f"two metrics are called {name!r}: tell them apart with {LABEL}: other_name"))
            named[str(name)] = made
        return named

    def stages(self, item: Node, defaults: Node | None, found: list[Problem]) -> tuple[Component, ...]:
        """The stages that one element of a list of stages stands for."""
        written = self.flatten(item, found)
        once = {id(stage): stage for stage in written}  # repetitions repeat the same nodes
        built = {key: self._labelled(with_defaults(stage, defaults), found) for key, stage in once.items()}
        return tuple(made for stage in written if (made := built[id(stage)]) is not None)

    def _labelled(self, stage: Node, found: list[Problem]) -> Component | None:
        own = {key: child for key, child in stage.value.items() if key != LABEL}
        made = self.component("stage", replace(stage, value=own), found)
        label = stage.value.get(LABEL)
        return made if made is None or label is None or label.value is HOLE else replace(made, label=label.value)

    def check_labels(self, root: Node, found: list[Problem]) -> None:
        """Report the labels of earlier stages that no stage before has.

        Args:
            root: one point of a spec, with all its stages.
            found: takes the mistakes.
        """
        known: list[str] = []
        items = stage_list(root.value.get("stages"), [])
        for stage in (stage for item in items for stage in self.flatten(item, [])):
            for name in self._labels(stage.name):
                node = with_defaults(stage, root.value.get("defaults")).value.get(name)
                if node is not None and isinstance(node.value, str) and node.value not in (INITIAL, *known):
                    hint = nearest(node.value, [INITIAL, *known])
                    found.append(node.problem(f"no stage before this one is labelled {node.value!r} ({hint})"))
            if (label := stage.value.get(LABEL)) is not None and isinstance(label.value, str):
                known.append(label.value)

    def _labels(self, stage: str) -> Sequence[str]:
        """A stage's parameters that are labels; what is wrong with a stage is told when it is built."""
        try:
            entry = self.catalog.entry("stage", stage)
            return entry.labels if entry else ()
        except PluginError:
            return ()

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
        label = item.value.get(LABEL)
        if len(item.value) != (1 if label is None else 2):
            names = " and ".join(repr(name) for name in item.value if name != LABEL) or "nothing"
            found.append(item.problem(f"one stage, one name: this has {names}; begin each stage with '- '"))
            return []
        name, params = next((name, params) for name, params in item.value.items() if name != LABEL)
        if name != "repeat":
            return self._stage(item, name, params, found)
        if label is not None:
            found.append(item.key_problem(LABEL, "a repeat has no label: give it to a stage inside"))
        return self._repeated(params, found)

    def may_be_stage(self, name: str) -> bool:
        """Whether there is a stage of this name, or it names something in a file or module: is that one?"""
        return name in self.catalog.names("stage") or bool(file_in(name) or module_in(name))

    def _stage(self, item: Node, name: str, params: Node, found: list[Problem]) -> list[Node]:
        if not self.may_be_stage(name):
            message = unknown(self.catalog, "stage", name, ["repeat"])
            found.append(item.misspelled_space() or item.key_problem(name, message))
            return []
        if not mapping_or_null(params, "parameters", found):
            return []
        own = params.value or {}
        if "name" in own:
            found.append(params.key_problem("name", f"stage {name!r} has no parameter 'name'"))
            return []
        named = {"name": Node(name, item.keys.get(name, item.mark), params.path), **own}
        if (label := item.value.get(LABEL)) is not None:
            if label.value is not HOLE and (not isinstance(label.value, str) or label.value in ("", INITIAL)):
                found.append(label.problem(f"must be a word other than {INITIAL!r}, not {label.shown}"))
            named[LABEL] = label
        return [Node(named, params.mark, params.path, params.keys)]

    def _repeated(self, params: Node, found: list[Problem]) -> list[Node]:
        if params.value is HOLE:
            return []
        if not isinstance(params.value, dict):
            found.append(params.problem(f"must be a mapping of times and stages, not {params.shown}"))
            return []
        unknown_keys(params, ("times", "stages"), "repeat", found)
        found.extend(params.problem(f"repeat needs {key!r}") for key in ("times", "stages") if key not in params.value)
        times = integer(params.value.get("times"), 0, found)
        stages = stage_list(params.value.get("stages"), found)
        return [stage for item in stages for stage in self.flatten(item, found)] * (1 if times is None else times)


def with_defaults(stage: Node, defaults: Node | None) -> Node:
    """A stage with what ``defaults`` say of it under its own parameters."""
    default = defaults.value.get(stage.name) if defaults and isinstance(defaults.value, dict) else None
    if default is None or not isinstance(default.value, dict):
        return stage
    own = {key: child for key, child in stage.value.items() if key != "name"}
    merged = merge(default, replace(stage, value=own))
    return replace(merged, value={**merged.value, "name": stage.value["name"]})


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
