"""The data of trials."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from framework._data import Source
from framework._executors.events import failure
from framework._measures import CLASSIFIED, Measures, measures
from framework._plan import TrialPlan
from framework._plan.result import Result
from framework._registry import Registry
from framework._trial import prepare, task_of

T = TypeVar("T")


class DataCache:
    """Loads data once for all trials that share it.

    Args:
        registry: where datasets are looked up.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._loaded: dict[str, Source | Result] = {}
        self._measures: dict[str, Measures | Result] = {}

    def load(self, plan: TrialPlan) -> Result | None:
        """Load a trial's data.

        Returns:
            The trial's result, if it has failed already: the data cannot be had, or not be measured as asked.
        """
        registry = self._registry.with_code(plan.code)
        source = self._once(self._loaded, _key(plan), plan, lambda: prepare(plan.data, registry))
        if isinstance(source, Result):
            return replace(source, plan=plan)
        found = self._once(
            self._measures, _measured(plan), plan, lambda: measures(task_of(source, plan.metrics, registry))
        )
        return replace(found, plan=plan) if isinstance(found, Result) else None

    def source(self, plan: TrialPlan) -> Source | None:
        """A trial's data; None if they could not be loaded."""
        data = self._loaded.get(_key(plan))
        return None if isinstance(data, Result) else data

    def measures(self, plan: TrialPlan) -> Measures:
        """By what a trial is measured."""
        found = self._measures.get(_measured(plan))
        return found if isinstance(found, Measures) else CLASSIFIED

    def _once(self, known: dict[str, T | Result], key: str, plan: TrialPlan, make: Callable[[], T]) -> T | Result:
        if key not in known:
            try:
                known[key] = make()
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # a plugin's failure must not end what has nothing to do with it
                self._registry.with_code(plan.code).blame(error)
                known[key] = failure(plan, error, 0.0)
        return known[key]


def _key(plan: TrialPlan) -> str:
    dataset = json.dumps([plan.data["dataset"], plan.data["validation"]], sort_keys=True)
    return f"{plan.code.digest} {dataset}" if plan.code else dataset  # what names stand for depends on the code


def _measured(plan: TrialPlan) -> str:
    return f"{_key(plan)} {json.dumps(plan.metrics)}"
