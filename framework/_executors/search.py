"""The points of a search space that are suggested one after another, each by how others came out."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from math import isfinite
from typing import Any, Protocol, TypeAlias

from framework._errors import SpecError
from framework._plan import Planner, TrialPlan
from framework._plan.result import Result
from framework._report.statistics import mean
from framework._spec import ExperimentSpec
from framework._spec.space import fill, sweep

# For each search space of a spec, in their order, what `fill` takes; plain JSON.
Point: TypeAlias = Sequence[Any]


class Sampler(Protocol):
    """Suggests points."""

    def ask(self, number: int) -> Point:
        """A point, which is known by this number from then on."""

    def tell(self, number: int, value: float | None) -> None:
        """How good a point is, the more the better; None if it failed."""


def study_of(spec: ExperimentSpec) -> str:
    """What tells the points of a search from those of others: all that suggestions depend on, but for their number."""
    search = asdict(spec.search)
    metrics = {name: metric.plain() for name, metric in spec.metrics.items()}
    content = [spec.tree, metrics, *(search[name] for name in ("algorithm", "seed", "metric", "mode"))]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


class Search:
    """Tries points of one spec's search space; each means a trial for every seed.

    Args:
        spec: the spec.
        known: the points that earlier invocations tried, by number.
        results: of all trials that have ended, those of earlier invocations too; others add to it.
        make_sampler: makes what suggests points, given those that are known.
        note: takes what the user should know.

    Attributes:
        spec: the spec.
        study: identifies it among the searches of its experiment.
        coming: how many points are still to be suggested.
        slots: how many trials may be under way before another point is suggested: more would be suggested blindly.
    """

    def __init__(
        self,
        spec: ExperimentSpec,
        known: Mapping[int, Point],
        results: Mapping[tuple[str, str], Result],
        make_sampler: Callable[[ExperimentSpec, Mapping[int, Point]], Sampler],
        note: Callable[[str], None],
    ) -> None:
        self.spec, self.study, self.slots = spec, study_of(spec), 1
        self.coming = max(0, spec.search.samples - len(known))
        self._known = {number: known[number] for number in sorted(known)[: spec.search.samples]}
        self._next = max(known, default=-1) + 1
        self._results, self._make_sampler, self._note = results, make_sampler, note
        self._planner = Planner(spec, sweep(spec.spaces))
        self._plans: dict[str, TrialPlan] = {}
        self._refused: set[str] = set()
        self._open: dict[int, list[TrialPlan]] = {}
        for number, point in self._known.items():
            self._take(number, point)

    @property
    def plans(self) -> list[TrialPlan]:
        """The trials so far, in the order of their points; equal points are one."""
        return list(self._plans.values())

    @property
    def under_way(self) -> int:
        """How many of the trials so far have not ended."""
        return sum(plan.identity not in self._results for plan in self._plans.values())

    def suggest(self) -> tuple[int, Point, list[TrialPlan]]:
        """Have another point suggested.

        Returns:
            Its number, itself, and its trials that were not there yet.
        """
        number, before = self._next, len(self._plans)
        point = self._sampler.ask(number)
        self._next += 1
        self.coming -= 1
        self._take(number, point)
        return number, point, self.plans[before:]

    def learn(self) -> None:
        """Tell what suggests the points how those came out whose trials have all ended."""
        for number, plans in list(self._open.items()):
            if all(plan.identity in self._results for plan in plans):
                del self._open[number]
                if self.coming:  # else nobody asks any more
                    self._sampler.tell(number, self._value(plans))

    @cached_property
    def _sampler(self) -> Sampler:
        return self._make_sampler(self.spec, self._known)

    def _take(self, number: int, point: Point) -> None:
        chosen = dict(zip((space.path for space in self.spec.spaces), point, strict=True))
        tree, values = fill(self.spec.tree, chosen)
        try:
            plans = self._planner(values, tree)
        except SpecError as error:
            why = str(error)
            if why not in self._refused:  # one reason may rule out many points
                self._refused.add(why)
                self._note(f"{self.spec.name}: a point of the search space is passed over: {why}")
            plans = []
        self._open[number] = plans
        for plan in plans:
            self._plans.setdefault(plan.key, plan)

    def _value(self, plans: Sequence[TrialPlan]) -> float | None:
        """The mean over the seeds, negated where less is better; None if any of them failed or has no such metric."""
        search, known = self.spec.search, []
        for result in (self._results[plan.identity] for plan in plans):
            metric, maximize = result.measures.aim(search.metric, search.mode)
            value = result.metrics.get(metric)
            if result.error is None and value is not None and isfinite(value):
                known.append(value if maximize else -value)
        return mean(known) if known and len(known) == len(plans) else None
