"""How long trials will take, by what earlier ones took."""

import heapq
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from framework._executors.pace import FIRST_TRIAL, RUN, TRIAL, read_paces
from framework._executors.scheduler import StageScheduler
from framework._plan import TrialPlan
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

    Attributes:
        unknown: the trials with a stage of which no earlier one tells anything.
        devices: on which those ran that tell.
    """

    def __init__(self, plans: Sequence[TrialPlan], stored: Collection[str], store: Store) -> None:
        plans = [plan for plan in plans if plan.key not in stored]
        self._plans, self._stored, self._paces = plans, frozenset(stored), read_paces(store, plans)
        self._costs: dict[str, tuple[float, float] | None] = {}  # seconds and bytes by stage key
        for plan, pace in zip(plans, self._paces, strict=True):
            for stage, key in enumerate(plan.keys[1:]):
                if key not in self._costs:
                    threads = plan.threads[stage] if plan.threads else 0
                    self._costs[key] = pace.stage(plan.stages[stage]["name"], plan.stage_epochs[stage], threads)
        self.unknown = [plan for plan in plans if any(self._costs[key] is None for key in plan.keys[1:])]
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
        running: list[tuple[float, int, int]] = []  # when, which trial, and how many of its stages are done by then
        busy: defaultdict[str, float] = defaultdict(float)
        size, now, kind = 0.0, 0.0, FIRST_TRIAL
        while not scheduler.done:
            while len(running) < slots and (index := scheduler.next()) is not None:
                plan = self._plans[index]
                count = max((i for i, key in enumerate(plan.keys) if i and key in done), default=0)
                heapq.heappush(running, (now + self._paces[index].apart(kind), index, count))
                busy[plan.experiment] -= now
            now, index, count = heapq.heappop(running)
            plan = self._plans[index]
            if count:
                done.add(plan.keys[count])
                scheduler.stored(plan.keys[count])
            if count < len(plan.stages):
                seconds, grown = self._costs[plan.keys[count + 1]] or (0.0, 0.0)
                heapq.heappush(running, (now + seconds, index, count + 1))
                size += grown
            else:
                scheduler.ended(index)
                busy[plan.experiment] += now
                kind = TRIAL
        return Estimate(now + max(pace.apart(RUN) for pace in self._paces), busy, size)
