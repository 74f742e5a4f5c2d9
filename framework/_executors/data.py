"""The data of trials."""

import json
from dataclasses import replace

from framework._data import Source
from framework._executors.events import failure
from framework._plan import TrialPlan
from framework._plan.result import Result
from framework._registry import Registry
from framework._trial import prepare


class DataCache:
    """Loads data once for all trials that share it.

    Args:
        registry: where datasets are looked up.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._loaded: dict[str, Source | Result] = {}

    def load(self, plan: TrialPlan) -> Result | None:
        """Load a trial's data; if they cannot be had, the result of the trial, which has failed."""
        key = _key(plan)
        if key not in self._loaded:
            registry = self._registry.with_code(plan.code)
            try:
                self._loaded[key] = prepare(plan.data, registry)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # a dataset plugin's failure must not end what runs on other data
                registry.blame(error)
                self._loaded[key] = failure(plan, error, 0.0)
        data = self._loaded[key]
        return replace(data, plan=plan) if isinstance(data, Result) else None

    def source(self, plan: TrialPlan) -> Source | None:
        """A trial's data; None if they could not be loaded."""
        data = self._loaded.get(_key(plan))
        return None if isinstance(data, Result) else data


def _key(plan: TrialPlan) -> str:
    dataset = json.dumps([plan.data["dataset"], plan.data["validation"]], sort_keys=True)
    return f"{plan.code.digest} {dataset}" if plan.code else dataset  # what names stand for depends on the code
