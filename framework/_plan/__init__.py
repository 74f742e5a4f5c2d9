"""From a spec to the trials that it means.

A trial has a key for its initial network and one for the state after each of its stages, each made of the one before.
Equal keys mean equal states: that is how trials share stages, what is stored is found, and a finished trial is known.
A key covers all that changes a result:

- the seed;
- the model and the data (dataset, validation split, augmentation) with all their parameters;
- the stages so far, each with all its parameters, among them losses, optimizers, schedules and criteria with theirs;
- the content of the files that parameters name (a dataset, a model's weights): the same content under another name is
  the same, changed content is not. A parameter that is a path to an existing file counts by its SHA-256, also of a
  folder that must exist (`pydantic.DirectoryPath`) the names, sizes and times of the files in it. Any other path,
  such as one to download to, counts by its name, as do ``runs:/…`` and the weights that torchvision knows by name;
- where each component comes from: its distribution and that one's version, and its code where that may change without
  a new version (see `framework._registry.code`). So do the distributions that observe every trial;
- of the framework itself, and what it brings, `RESULTS`, not the version.

A parameter that is left at its default is not in the key, written out or not, so that a new parameter with a default
changes no key. What else is not in it: the spec's and the variant's name, the description, the resources, the
versions of Python and PyTorch, and the device.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias

from framework._component import Component
from framework._spec import DataSpec, ExperimentSpec

RESULTS = 1
"""Stands for the framework's own code in all keys, its built-in plugins included.

Raise it with every change by which a trial ends otherwise than before, were it in the last digit: other random numbers,
another order of operations, a mended criterion, more in a record. All that is stored is then computed again. Leave it
alone otherwise, so that a new release throws nothing away.
"""

Path: TypeAlias = tuple[str | int, ...]
# From a spec's tree, how often to sample it, and the seed to do so with: each point's values and its tree.
Expand: TypeAlias = Callable[[Any, int, int], Iterable[tuple[Mapping[Path, Any], Any]]]
_LONGEST = 8


@dataclass(frozen=True)
class TrialPlan:
    """One trial: everything that determines it, as plain data that any process can rebuild it from.

    Attributes:
        experiment: the spec's name.
        swept: the search space's values at this point, by short name: ``{"prune.amount": 0.2}``.
        seed: distinguishes the replicates of a variant.
        model: the resolved model: its name and every parameter.
        data: the resolved dataset likewise, under ``dataset``, and the options ``validation`` and ``augment``.
        stages: the resolved stages, each its name and every parameter.
        resources: ``cpu`` and ``gpu`` that the trial takes (``gpu`` may be ``auto``), its ``timeout`` in seconds or
            None, and how many ``retries`` it has.
        keys: hex; of the initial network, then the stage key of every stage; the last one is the trial's.
        stage_epochs: how many epochs each stage trains, as far as known beforehand.
        plugins: the distributions that it uses, with their versions, sorted.
        origins: of each of them what stands for its code in the keys.
    """

    experiment: str
    swept: Mapping[str, Any]
    seed: int
    model: Mapping[str, Any]
    data: Mapping[str, Any]
    stages: tuple[Mapping[str, Any], ...]
    resources: Mapping[str, Any]
    keys: tuple[str, ...]
    stage_epochs: tuple[int, ...]
    plugins: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """What identifies the trial's result."""
        return self.keys[-1]

    @property
    def identity(self) -> tuple[str, str]:
        """Its experiment and its key: experiments may have trials in common, and keep a run of each."""
        return self.experiment, self.key

    @property
    def epochs(self) -> int:
        """How many epochs its stages train together."""
        return sum(self.stage_epochs)

    @property
    def variant(self) -> str:
        """The swept values, readable: ``prune.amount=0.2``; empty without a search space."""
        return " ".join(f"{name}={short(value)}" for name, value in self.swept.items())

    @property
    def name(self) -> str:
        """The variant and the seed: ``prune.amount=0.2 seed=1``."""
        return f"{self.variant} seed={self.seed}".strip()


def short(value: Any) -> str:
    """A swept value in as few words as tell it apart: a component as ``name(parameter=value)``."""
    if isinstance(value, Mapping):
        if len(value) == 1 and "name" not in value:  # a stage
            [(name, value)] = value.items()
            if value is None:
                return str(name)
            if not isinstance(value, Mapping):
                return f"{name}={short(value)}"
        else:
            name = value.get("name", "")
        given = ", ".join(f"{k}={short(v)}" for k, v in value.items() if k != "name")
        return f"{name}({given})" if given and name else f"{name}{given}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(short, value)) + "]"
    # Numbers that somebody wrote are short; those that were drawn need not be told to the last digit.
    return f"{value:.4g}" if isinstance(value, float) and len(repr(value)) > _LONGEST else str(value)


def flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """All values in a resolved part of a plan, by path; a component's name stands at its own, its parameters below."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from flat(inner, path if key == "name" else f"{path}.{key}".lstrip("."))
    else:
        yield path, value


def make_plans(spec: ExperimentSpec, expand: Expand, points: int | None = None) -> list[TrialPlan]:
    """All trials of a spec: every point of its search space, with every seed.

    Args:
        spec: the spec.
        expand: expands the search space.
        points: how many points to take, the first ones; None: all.

    Returns:
        Trials with different results; two equal points are one.

    Raises:
        SpecError: values that are valid each are not so together.
    """
    expanded = list(islice(expand(spec.tree, spec.search.samples, spec.search.seed), points))
    swept: dict[Path, list[Any]] = {}
    for values, _ in expanded:
        for path, value in values.items():
            swept.setdefault(path, []).append(value)
    planner = Planner(spec, swept)
    plans: dict[str, TrialPlan] = {}
    for values, tree in expanded:
        for plan in planner(values, tree):
            plans.setdefault(plan.key, plan)
    return list(plans.values())


class Planner:
    """Makes the trials of a spec, point by point of its search space.

    Args:
        spec: the spec.
        swept: by path, the values that points may have.
    """

    def __init__(self, spec: ExperimentSpec, swept: Mapping[Path, Sequence[Any]]) -> None:
        self._spec = spec
        self._names = short_names(swept)
        self._common = {path: _common(values) for path, values in swept.items()}
        self._parts = _Parts()

    def __call__(self, values: Mapping[Path, Any], tree: Any) -> list[TrialPlan]:
        """The trials of a point, one for each seed.

        Args:
            values: the point's.
            tree: the spec's, with these values in it.

        Raises:
            SpecError: values that are valid each are not so together.
        """
        told = (_told(self._names[path], value, self._common[path]) for path, value in values.items())
        swept = {name: value for part in told for name, value in part.items()}
        resolved = self._spec.resolve(tree)
        model, data = self._parts(resolved.model), self._parts(resolved.data)
        stages = [self._parts(component) for component in resolved.stages]
        observers = self._spec.observers
        plugins = tuple(sorted({*observers}.union(*(part.sources for part in (model, data, *stages)))))
        origins = tuple(self._spec.origins[source] for source in plugins)
        plans = []
        for seed in self._spec.seeds:
            watched = sorted(self._spec.origins[source] for source in observers)
            keys = [_key(str(RESULTS), model.identity, data.identity, str(seed), *watched)]
            for stage in stages:
                keys.append(_key(keys[-1], stage.identity))
            plan = TrialPlan(
                experiment=self._spec.name,
                swept=swept,
                seed=seed,
                model=model.plain,
                data=data.plain,
                stages=tuple(stage.plain for stage in stages),
                resources=self._spec.resources,
                keys=tuple(keys),
                stage_epochs=tuple(stage.epochs for stage in stages),
                plugins=plugins,
                origins=origins,
            )
            plans.append(plan)
        return plans


@dataclass(frozen=True)
class _Part:
    """What a component is in a plan, in a key, and in epochs, and where it comes from."""

    plain: Mapping[str, Any]
    identity: str
    epochs: int
    sources: frozenset[str]


class _Parts:
    """The parts of a spec's trials, each made once: thousands of trials have most of them in common."""

    def __init__(self) -> None:
        self._made: dict[int, tuple[Component | DataSpec, _Part]] = {}

    def __call__(self, whole: Component | DataSpec) -> _Part:
        if id(whole) not in self._made:
            identity = json.dumps(whole.plain(identity=True), sort_keys=True)
            epochs = whole().planned_epochs if isinstance(whole, Component) and whole.entry.kind == "stage" else 0
            # The component is kept alive, so that nothing else gets its id.
            self._made[id(whole)] = whole, _Part(whole.plain(), identity, epochs, whole.sources)
        return self._made[id(whole)][1]


def as_it_stands(tree: Any, samples: int, seed: int) -> Iterable[tuple[Mapping[Path, Any], Any]]:
    """Expand a spec without a search space."""
    return [({}, tree)]


def short_names(paths: Iterable[Path]) -> dict[Path, str]:
    """The shortest name for each swept value: ``prune.amount``, or ``stages.1.prune.amount`` where that is taken."""
    full = {path: ".".join(map(str, path)) for path in sorted(paths, key=str)}
    brief = {
        path: ".".join(part for part in path if isinstance(part, str) and part not in _SCAFFOLD) or full[path]
        for path in full
    }
    uses = Counter(brief.values())
    return {path: brief[path] if uses[brief[path]] == 1 else full[path] for path in full}


_SCAFFOLD = ("stages", "defaults", "repeat")


def _common(values: Sequence[Any]) -> Mapping[str, Any]:
    """What mappings that are swept over all say alike."""
    if not all(isinstance(value, Mapping) for value in values):
        return {}
    return {k: v for k, v in values[0].items() if all(k in value and value[k] == v for value in values)}


def _told(name: str, value: Any, common: Mapping[str, Any]) -> dict[str, Any]:
    """A swept value by its name; of one component with several settings, only what sets it apart."""
    if "name" not in common or value == common:
        return {name: value}
    return {f"{name}.{k}": v for k, v in value.items() if k not in common}


def _key(*content: str) -> str:
    return hashlib.sha256("\n".join(content).encode()).hexdigest()[:32]
