"""Which trial may start: never one that would compute what another is just computing."""

from collections.abc import Collection, Sequence

from framework._plan import TrialPlan
from framework._plan.tree import make_tree


class StageScheduler:
    """Lets trials start such that every stage key is computed once.

    A running trial claims all stages of its path that are not stored yet. A trial may start if nobody has claimed a
    stage of its own path; it waits, without a slot, as long as somebody has. Of those that may start, the one goes
    first on whose next stage most work depends, and of these the one that goes on for longest. Splits of stages are
    stages here.

    Args:
        plans: the trials.
        stored: the stage keys whose results are there already.

    Attributes:
        plans: all trials, by their index.
    """

    def __init__(self, plans: Sequence[TrialPlan], stored: Collection[str]) -> None:
        self.plans: list[TrialPlan] = []
        self._paths: list[tuple[str, ...]] = []
        self._stored = set(stored)
        self._claims: dict[str, int] = {}
        self._waiting: dict[int, None] = {}
        self._running: set[int] = set()
        self.add(plans)

    def add(self, plans: Sequence[TrialPlan]) -> None:
        """There are more trials."""
        self._waiting.update(dict.fromkeys(range(len(self.plans), len(self.plans) + len(plans))))
        self.plans += plans
        self._paths += [plan.path for plan in plans]
        self._work = _work(self.plans)
        self._changed = True

    def next(self) -> int | None:
        """The index of a trial that may start, which takes it as started; None if none may now."""
        if not self._changed:
            return None
        best = max(filter(self._may_start, self._waiting), key=self._below, default=None)
        if best is None:
            self._changed = False
            return None
        del self._waiting[best]
        self._running.add(best)
        self._claims.update(dict.fromkeys(self._remaining(best), best))
        return best

    def stored(self, key: str) -> None:
        """A stage's result is there."""
        self._stored.add(key)
        self._claims.pop(key, None)
        self._changed = True

    def lost(self, key: str) -> None:
        """A stage's result is no longer there."""
        self._stored.discard(key)

    def ended(self, index: int, *, again: bool = False) -> None:
        """A trial has ended, well or not; one that shall be tried again waits for its turn anew."""
        self._running.discard(index)
        for key in [key for key, owner in self._claims.items() if owner == index]:
            del self._claims[key]
        if again:
            self._waiting[index] = None
        self._changed = True

    @property
    def running(self) -> int:
        """How many trials have been let through and have not ended."""
        return len(self._running)

    @property
    def done(self) -> bool:
        """No trial waits, and none runs that might have to be tried again."""
        return not self._waiting and not self._running

    @property
    def needed(self) -> set[str]:
        """The results that trials which have not ended go on from."""
        kept: set[str] = set()
        for index in [*self._waiting, *self._running]:
            path = self._paths[index]
            done = len(path) - len(self._remaining(index))
            kept.update(path[:done][-1:])
            kept.update(self.plans[index].went_back_to(done))
        return kept

    def _may_start(self, index: int) -> bool:
        return not any(key in self._claims for key in self._remaining(index))

    def _below(self, index: int) -> tuple[int, int]:
        remaining = self._remaining(index)
        return self._work[remaining[0]] if remaining else 0, len(remaining)

    def _remaining(self, index: int) -> tuple[str, ...]:
        """What the trial has to compute: the stages after the last one that is stored."""
        path = self._paths[index]
        for count in range(len(path), 0, -1):
            if path[count - 1] in self._stored:
                return path[count:]
        return path


def _work(plans: Sequence[TrialPlan]) -> dict[str, int]:
    """By stage key, the epochs of that stage and of all distinct ones that build on it, and one for each stage."""
    work: dict[str, int] = {}
    for node in reversed(make_tree(plans).nodes.values()):  # what builds on it first
        work[node.key] = node.epochs + 1 + sum(work[child] for child in node.children)
    return work
