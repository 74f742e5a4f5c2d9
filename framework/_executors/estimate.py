"""How long trials will take, by what earlier ones took."""

import heapq
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from framework._executors.pace import END, FIRST_TRIAL, RUN, TRIAL, read_paces
from framework._executors.scheduler import StageScheduler
from framework._plan import SplitStages, TrialPlan
from framework._store import Store


@dataclass(frozen=True)
class Estimate:
    """What a run will take.

    Attributes:
        seconds: from its start to its end.
        busy: for how many seconds slots are taken, by experiment.
        size: bytes that the store grows by.
    """

    seconds: float
    busy: Mapping[str, float]
    size: float


class Estimator:
    """Tells how long trials will take, if they run as earlier ones of the same model and data did.

    Args:
        plans: the trials, with their threads settled; those whose last stage is stored take no time.
        stored: the keys of the states that are stored.
        store: has what earlier stages took.
        executor: which runs the trials.

    Attributes:
        unknown: the trials with a stage of which no earlier one tells anything.
        devices: on which those ran that tell.
    """

    def __init__(
        self, plans: Sequence[TrialPlan], stored: Collection[str], store: Store, executor: str = "ray"
    ) -> None:
        plans = SplitStages(stored)(plan for plan in plans if plan.key not in stored)
        self._plans, self._stored, self._paces = plans, frozenset(stored), read_paces(store, plans)
        self._executor = executor
        self._costs: dict[str, tuple[float, float] | None] = {}  # seconds and bytes by stage key
        for plan, pace in zip(plans, self._paces, strict=True):
            for key, stage, epochs in plan.parts:
                if key not in self._costs:
                    threads, name = plan.threads[stage] if plan.threads else 0, plan.stages[stage]["name"]
                    end = key == plan.keys[stage + 1] and plan.splits_of(stage) and not epochs
                    self._costs[key] = pace.stage(f"{name} {END}" if end else name, epochs, threads)
        self.unknown = [plan for plan in plans if any(self._costs[key] is None for key in plan.path)]
        self.devices = sorted({device for pace in self._paces for device in pace.devices})

    def __call__(self, slots: int) -> Estimate | None:
        """Run the trials in thought, as the scheduler would let them start.

        Args:
            slots: how many trials run at once.

        Returns:
            What it takes; None if something is unknown, or there is nothing to run.
        """
        if self.unknown or not self._plans:
            return None
        scheduler, done = StageScheduler(self._plans, self._stored), set(self._stored)
        running: list[tuple[float, int, int]] = []  # when, which trial, and how many of its states are there
        busy: defaultdict[str, float] = defaultdict(float)
        size, now, kind = 0.0, 0.0, FIRST_TRIAL
        while not scheduler.done:
            while len(running) < slots and (index := scheduler.next()) is not None:
                plan = self._plans[index]
                count = max((i for i, key in enumerate(plan.path, 1) if key in done), default=0)
                heapq.heappush(running, (now + self._paces[index].apart(kind, self._executor), index, count))
                busy[plan.experiment] -= now
            now, index, count = heapq.heappop(running)
            plan = self._plans[index]
            if count:
                done.add(plan.path[count - 1])
                scheduler.stored(plan.path[count - 1])
            if count < len(plan.path):
                seconds, grown = self._costs[plan.path[count]] or (0.0, 0.0)
                heapq.heappush(running, (now + seconds, index, count + 1))
                size += grown
            else:
                scheduler.ended(index)
                busy[plan.experiment] += now
                kind = TRIAL
        return Estimate(now + max(pace.apart(RUN, self._executor) for pace in self._paces), busy, size)
