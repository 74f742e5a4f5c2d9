"""The trials of an invocation in the order in which they run: planned ones, and those that searches suggest."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from framework._data import Source
from framework._errors import nearest
from framework._executors.data import DataCache
from framework._executors.events import Ended, Handler, Started
from framework._executors.scheduler import StageScheduler
from framework._executors.search import Point, Search
from framework._measures import Measures
from framework._plan import TrialPlan
from framework._plan.result import Result
from framework._spec import ExperimentSpec
from framework._tracking import TrialRun
from framework._trial import Noted


class TrialQueue:
    """Says which trial runs next, and has searches suggest more where none may start.

    Args:
        specs: those that have something to run.
        searches: suggest points of some of these.
        earlier: trials that earlier invocations finished, by experiment and key.
        results: of the trials that have ended, which whoever handles the events adds to.
        scheduler: lets trials start.
        data: loads the trials' data.
        keep_point: keeps a point that a search has suggested, for later invocations.
        handle: takes the events of trials that cannot start, as their data cannot be had, and notes.
        suggested: takes the trials to run of a point that has been suggested, and how many of its trials need not run.
        discard: drops stored results by their stage keys, so that trials begin anew; None leaves what is stored.
        split: splits the stages of trials where they share epochs, see `SplitStages`; they are run as it returns them.

    Attributes:
        specs: by their names.
    """

    def __init__(
        self,
        specs: Sequence[ExperimentSpec],
        searches: Sequence[Search],
        earlier: Mapping[tuple[str, str], TrialRun],
        results: dict[tuple[str, str], Result],
        scheduler: StageScheduler,
        data: DataCache,
        keep_point: Callable[[str, str, int, Point], None],
        handle: Handler,
        suggested: Callable[[Sequence[TrialPlan], int], None],
        discard: Callable[..., object] | None = None,
        split: Callable[[Sequence[TrialPlan]], Sequence[TrialPlan]] = list,
    ) -> None:
        self.specs = {spec.name: spec for spec in specs}
        self._searches, self._earlier, self._results = searches, earlier, results
        self._scheduler, self._data, self._keep_point = scheduler, data, keep_point
        self._handle, self._suggested, self._discard = handle, suggested, discard
        self._split = split
        self._discarded: set[str] = set()

    def add(self, plans: Sequence[TrialPlan]) -> None:
        """Add trials; one whose data cannot be had has failed."""
        ready = self._split([plan for plan in plans if self._load(plan)])
        self._forget({key for plan in ready for key in plan.path})
        self._scheduler.add(ready)
        self._learn()

    def next(self) -> int | None:
        """The index of a trial that may start, which takes it as started; None if none may now."""
        index = self._scheduler.next()
        while index is None and self._suggest():
            index = self._scheduler.next()
        return index

    def plan(self, index: int) -> TrialPlan:
        """The trial of this index."""
        return self._scheduler.plans[index]

    def source(self, index: int) -> Source:
        """Its data."""
        source = self._data.source(self.plan(index))
        assert source is not None  # else it would not be among those that run
        return source

    def measures(self, index: int) -> Measures:
        """By what it is measured."""
        return self._data.measures(self.plan(index))

    def ended(self, index: int, *, again: bool = False) -> None:
        """A trial has ended, well or not, and its result is there; one that is tried again waits for its turn anew."""
        self._scheduler.ended(index, again=again)
        if not again:
            self._check(self.plan(index))
            self._learn()

    def allow(self, slots: Mapping[str, int]) -> None:
        """How many trials of each experiment run at once: no search suggests more than that ahead."""
        for search in self._searches:
            search.slots = slots[search.spec.name]

    @property
    def done(self) -> bool:
        """Nothing runs, and nothing is left to run."""
        return self._scheduler.done and not any(search.coming for search in self._searches)

    def _suggest(self) -> bool:
        """Whether a search had another point."""
        for search in self._searches:
            if search.coming and search.under_way < search.slots:
                number, point, plans = search.suggest()
                self._keep_point(search.spec.name, search.study, number, point)
                pending = recall(plans, self._earlier, self._results)
                self._suggested(pending, len(search.spec.seeds) - len(pending))
                self.add(pending)
                return True
        return False

    def _learn(self) -> None:
        for search in self._searches:
            search.learn()

    def _check(self, plan: TrialPlan) -> None:
        search, result = self.specs[plan.experiment].search, self._results[plan.identity]
        metric, _ = result.measures.aim(search.metric)
        if (search.suggests or search.scheduler) and not result.error and metric not in result.metrics:
            hint = nearest(metric, result.metrics)
            text = f"{plan.experiment}: search.metric: no trial so far reports {metric!r} ({hint})"
            self._handle(plan, Noted(text))

    def _load(self, plan: TrialPlan) -> bool:
        failed = self._data.load(plan)
        if failed:
            self._handle(plan, Started())
            self._handle(plan, Ended(failed))
        return failed is None

    def _forget(self, keys: set[str]) -> None:
        """Drop stored results, but for those that this invocation may have made itself."""
        if self._discard is None:
            return
        new = keys - self._discarded
        self._discard(*new)
        for key in new:
            self._scheduler.lost(key)
        self._discarded |= keys


def recall(
    plans: Iterable[TrialPlan],
    earlier: Mapping[tuple[str, str], TrialRun],
    results: dict[tuple[str, str], Result],
) -> list[TrialPlan]:
    """Add the results of those trials that earlier invocations finished, and return the others."""
    pending = []
    for plan in plans:
        run = earlier.get(plan.identity)
        if run:
            metrics = dict(run.metrics)
            epochs, seconds = int(metrics.pop("epochs", 0)), metrics.pop("seconds", 0.0)
            stopped = "by an earlier invocation" if run.stopped else None
            results[plan.identity] = Result(plan, metrics, epochs, seconds, stopped=stopped, measures=run.measures)
        else:
            pending.append(plan)
    return pending
