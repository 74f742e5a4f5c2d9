"""What there is to run: trials that are planned, and those that searches suggest on the way."""

import json
from collections.abc import Mapping, Sequence

from framework._errors import nearest
from framework._executors.bookkeeper import Bookkeeper, Identity, recall
from framework._executors.gate import Gate
from framework._executors.listener import Outcome, failure
from framework._executors.search import Search
from framework._plan import TrialPlan
from framework._spec import ExperimentSpec
from framework._tracking import Finished
from framework._trial import Arrays, prepare


class Agenda:
    """Says which trial comes next, and has searches suggest more where none may start.

    Args:
        specs: those that have something to run.
        searches: suggest points of some of these.
        earlier: trials that earlier invocations finished.
        gate: lets trials start.
        books: is told of trials that cannot start, and has the results of those that have ended.

    Attributes:
        specs: by their names.
    """

    def __init__(
        self,
        specs: Sequence[ExperimentSpec],
        searches: Sequence[Search],
        earlier: Mapping[Identity, Finished],
        gate: Gate,
        books: Bookkeeper,
    ) -> None:
        self.specs = {spec.name: spec for spec in specs}
        self._searches, self._earlier, self._gate, self._books = searches, earlier, gate, books
        self._data: dict[str, Arrays | Outcome] = {}
        self._forgotten: set[str] = set()

    def add(self, plans: Sequence[TrialPlan]) -> None:
        """There are more trials to run; one whose data cannot be had has failed."""
        ready = [plan for plan in plans if self._load(plan)]
        if self._books.force:
            self._forget({key for plan in ready for key in plan.keys[1:]})
        self._gate.add(ready)
        self._learn()

    def next(self) -> int | None:
        """The index of a trial that may start, which takes it as started; None if none may now."""
        index = self._gate.next()
        while index is None and self._suggest():
            index = self._gate.next()
        return index

    def plan(self, index: int) -> TrialPlan:
        """The trial of this index."""
        return self._gate.plans[index]

    def arrays(self, index: int) -> Arrays:
        """Its data."""
        return self._books.arrays[self.plan(index).key]

    def stored(self, key: str) -> None:
        """A stage's result is there."""
        self._gate.stored(key)

    def ended(self, index: int, *, again: bool = False) -> None:
        """A trial has ended, well or not, and the books know; one that shall be tried again waits for its turn anew."""
        self._gate.ended(index, again=again)
        if not again:
            self._check(self.plan(index))
            self._learn()

    def allow(self, slots: Mapping[str, int]) -> None:
        """How many trials of each experiment run at once: no search suggests more than that ahead."""
        for search in self._searches:
            search.slots = slots[search.spec.name]

    @property
    def running(self) -> int:
        """How many trials have been started and have not ended."""
        return self._gate.running

    @property
    def done(self) -> bool:
        """Nothing runs, and nothing is left to run."""
        return self._gate.done and not any(search.coming for search in self._searches)

    def _suggest(self) -> bool:
        """Whether a search had another point."""
        for search in self._searches:
            if search.coming and search.under_way < search.slots:
                number, point, plans = search.suggest()
                self._books.tracker.suggested(search.spec.name, search.study, number, point)
                unknown = recall(plans, self._earlier, self._books.results)
                self._books.view.suggested(unknown, len(search.spec.seeds) - len(unknown))
                self.add(unknown)
                return True
        return False

    def _learn(self) -> None:
        for search in self._searches:
            search.learn()

    def _check(self, plan: TrialPlan) -> None:
        search, result = self.specs[plan.experiment].search, self._books.results[plan.identity]
        if (search.suggests or search.scheduler) and not result.error and search.metric not in result.metrics:
            hint = nearest(search.metric, result.metrics)
            text = f"{plan.experiment}: search.metric: no trial so far reports {search.metric!r} ({hint})"
            self._books.noted(plan, text)

    def _load(self, plan: TrialPlan) -> bool:
        """Load data, once for all trials that share it."""
        key = json.dumps([plan.data["dataset"], plan.data["validation"]], sort_keys=True)
        if key not in self._data:
            try:
                self._data[key] = prepare(plan.data, self._books.registry)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # a dataset plugin's failure must not end what runs on other data
                self._books.registry.blame(error)
                self._data[key] = failure(error, 0.0)
        data = self._data[key]
        if isinstance(data, Outcome):
            self._books.started(plan)
            self._books.ended(plan, data)
            return False
        self._books.arrays[plan.key] = data
        return True

    def _forget(self, keys: set[str]) -> None:
        """Drop stored results, but for those that this invocation may have made itself."""
        for key in keys - self._forgotten:
            self._books.store.discard(key)
            self._gate.lost(key)
        self._forgotten |= keys
