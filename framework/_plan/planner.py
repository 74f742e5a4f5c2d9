"""From the points of a search space to trials with keys."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, TypeAlias

from framework._component import Component
from framework._plan.names import Path, by_name, common, short_names
from framework._plan.splits import COURSE
from framework._plan.trial_plan import Length, TrialPlan, stages_until
from framework._spec import DataSpec, ExperimentSpec
from framework._stage import Stage

RESULTS = 3
"""Stands for the framework's own code in all keys, its built-in plugins included.

Raise it with every change by which a trial ends otherwise than before, were it in the last digit: other random numbers,
another order of operations, a mended criterion, more in a record. All that is stored is then computed again. Leave it
alone otherwise, so that a new release throws nothing away.
"""

# From a spec's tree, how often to sample it, and the seed to do so with: each point's values and its tree.
Expand: TypeAlias = Callable[[Any, int, int], Iterable[tuple[Mapping[Path, Any], Any]]]


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
        self._common = {path: common(values) for path, values in swept.items()}
        self._parts = _Parts()

    def __call__(self, values: Mapping[Path, Any], tree: Any) -> list[TrialPlan]:
        """The trials of a point, one for each seed.

        Args:
            values: the point's.
            tree: the spec's, with these values in it.

        Raises:
            SpecError: values that are valid each are not so together.
        """
        told = (by_name(path, self._names[path], value, self._common[path]) for path, value in values.items())
        swept = {name: value for part in told for name, value in part.items()}
        resolved = self._spec.resolve(tree)
        model, data = self._parts(resolved.model), self._parts(resolved.data)
        stages = [self._parts(component) for component in resolved.stages]
        labels = tuple(component.label for component in resolved.stages)
        # Which states stages go back to is in keys: the labels are not.
        went_back = tuple(
            tuple(stages_until(stage.params[name], labels[:index]) for name in stage.entry.labels)
            for index, stage in enumerate(resolved.stages)
        )
        observers = self._spec.observers
        metrics = {name: self._parts(metric) for name, metric in self._spec.metrics.items()}
        # Of the key of the network as well, as what is measured is stored with it.
        measured = [f"metric {name} {metric.identity}" for name, metric in metrics.items()]
        # Batch normalisation and dropout are others where each of several processes has a part of a batch.
        count = self._spec.resources["processes"]
        processes = [f"processes {count}"] if count > 1 else []
        used = (model, data, *metrics.values(), *stages)
        plugins = tuple(sorted({*observers}.union(*(part.sources for part in used))))
        origins = tuple(self._spec.origins[source] for source in plugins)
        plans = []
        for seed in self._spec.seeds:
            watched = sorted(self._spec.origins[source] for source in observers)
            root = (str(RESULTS), model.identity, data.identity, str(seed), *watched, *measured, *processes)
            keys = [_key(*root)]
            lengths: list[Length | None] = []
            for index, (stage, earlier) in enumerate(zip(stages, went_back, strict=True)):
                lengths.append(_length(keys[-1], stage, earlier, not any(map(_trains, stages[index + 1 :]))))
                keys.append(_key(keys[-1], stage.identity, *map(str, earlier)))
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
                labels=labels,
                metrics={name: metric.plain for name, metric in metrics.items()},
                went_back=went_back,
                plugins=plugins,
                origins=origins,
                code=self._spec.code,
                lengths=tuple(lengths) if any(lengths) else (),
            )
            plans.append(plan)
        return plans


@dataclass(frozen=True)
class _Part:
    """A component of a trial: its parameters in the plan, its identity in keys, its epochs, and its distributions.

    Of a stage whose course does not depend on its length, also the parameter that says it, its value, and the identity
    without them.
    """

    plain: Mapping[str, Any]
    identity: str
    sources: frozenset[str]
    epochs: int = 0
    length: tuple[str, int] | None = None
    course: str = ""


class _Parts:
    """The parts of a spec's trials, each made once: thousands of trials have most of them in common."""

    def __init__(self) -> None:
        self._made: dict[int, tuple[Component | DataSpec, _Part]] = {}

    def __call__(self, whole: Component | DataSpec) -> _Part:
        if id(whole) not in self._made:
            identity = whole.plain(identity=True)
            part = _Part(whole.plain(), json.dumps(identity, sort_keys=True), whole.sources)
            if isinstance(whole, Component) and whole.entry.kind == "stage":
                stage: Stage = whole()
                part = replace(part, epochs=stage.planned_epochs, length=stage.planned_length)
                if stage.planned_length is not None:
                    rest = {name: value for name, value in identity.items() if name != stage.planned_length[0]}
                    part = replace(part, course=json.dumps(rest, sort_keys=True))
            # The component is kept alive, so that nothing else gets its id.
            self._made[id(whole)] = whole, part
        return self._made[id(whole)][1]


def as_it_stands(tree: Any, samples: int, seed: int) -> Iterable[tuple[Mapping[Path, Any], Any]]:
    """Expand a spec without a search space."""
    return [({}, tree)]


def _trains(stage: _Part) -> bool:
    return stage.epochs > 0 or stage.length is not None


def _length(before: str, stage: _Part, earlier: Sequence[int], last: bool) -> Length | None:
    """How long a stage runs that begins with the state of this key; None if its course depends on that."""
    if stage.length is None:
        return None
    unit, value = stage.length
    return Length(_key("course", before, stage.course, unit, *map(str, earlier))[:COURSE], unit, value, last)


def _key(*content: str) -> str:
    return hashlib.sha256("\n".join(content).encode()).hexdigest()[:32]
