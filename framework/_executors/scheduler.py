"""Which trial may start: never one that would compute what another is just computing."""

from bisect import insort
from collections.abc import Collection, Iterable, Iterator, Sequence
from heapq import heappop, heappush
from itertools import count, pairwise
from typing import TypeAlias

from framework._plan import TrialPlan

_END = ""  # the next stage of a trial that has none
_Turn: TypeAlias = tuple[int, int]  # how many stages a trial has yet to compute, negative; and when it came


class StageScheduler:
    """Lets trials start such that every stage key is computed once.

    A running trial claims all stages of its path that are not stored yet. A trial may start if nobody has claimed a
    stage of its own path; it waits, without a slot, as long as somebody has. Of those that may start, the one goes
    first on whose next stage most work depends, and of these the one that goes on for longest. Splits of stages are
    stages here.

    There may be thousands of trials, so nothing here looks at all of them. Those that wait are grouped by the state
    that they start from and the stage that they compute next: a claim of that stage holds the whole group back. A heap
    has the groups that may start; what it says of a group may be out of date, but never puts the group too far back.

    Args:
        plans: the trials.
        stored: the stage keys whose results are there already.

    Attributes:
        plans: all trials, by their index.
    """

    def __init__(self, plans: Sequence[TrialPlan], stored: Collection[str]) -> None:
        self.plans: list[TrialPlan] = []
        self._paths: list[tuple[str, ...]] = []  # the keys of all states of each, the initial network's first
        self._stored = set(stored)
        # By key: the states before, of which there are several where stages are split for some trials only; and the
        # epochs of the stage and of all that build on it, and one for each stage.
        self._parents: dict[str, set[str]] = {}
        self._work: dict[str, int] = {_END: 0}
        self._turns = count()
        self._waiting: dict[int, int] = {}  # trials, with when they came
        self._running: dict[int, tuple[str, ...]] = {}  # trials, with what they claimed when they started
        self._returning: set[int] = set()  # those of them that go back to earlier states
        self._claims: dict[str, int] = {}  # stages, with the trial that computes them
        # By the state that trials start from and the stage that comes next: their turns and themselves, in order.
        self._groups: dict[str, dict[str, list[tuple[_Turn, int]]]] = {}
        # Work, negative, and turn of a trial that may be free to start; and its group.
        self._heap: list[tuple[int, _Turn, str, str]] = []
        # Groups of which trials are held back by claims further on, where a result has been lost in between.
        self._held: set[tuple[str, str]] = set()
        self.add(plans)

    def add(self, plans: Sequence[TrialPlan]) -> None:
        """There are more trials."""
        for plan in plans:
            index = len(self.plans)
            self.plans.append(plan)
            self._paths.append((plan.keys[0], *plan.path) if plan.splits else plan.keys)
            self._grow(plan)
            if any(plan.went_back):
                self._returning.add(index)
            self._wait(index)

    def next(self) -> int | None:
        """The index of a trial that may start, which takes it as started; None if none may now."""
        while self._heap:
            work, turn, state, key = heappop(self._heap)
            free = None if key in self._claims else next(self._free(state, key), None)
            if free is None:
                continue
            if (-work, turn) != (self._work[key], free[0]):
                self._offer(state, key, free[0])
                continue
            self._leave(state, key, [free])
            self._start(free[1])
            self._offer(state, key)  # if its next stage is nobody's to compute
            return free[1]
        return None

    def stored(self, key: str) -> None:
        """A stage's result is there."""
        self._stored.add(key)
        self._release([key])
        for state, following in [*self._groups_before(key)]:
            group = self._groups.get(state, {}).get(following, ())
            moved = [entry for entry in group if following == key or key in self._paths[entry[1]]]
            self._leave(state, following, moved)
            for _, index in moved:
                self._place(index)

    def lost(self, key: str) -> None:
        """A stage's result is no longer there."""
        self._stored.discard(key)
        for group in self._groups.pop(key, {}).values():
            for _, index in group:
                self._place(index)

    def ended(self, index: int, *, again: bool = False) -> None:
        """A trial has ended, well or not; one that shall be tried again waits for its turn anew."""
        self._release([key for key in self._running.pop(index, ()) if self._claims.get(key) == index])
        if again:
            self._wait(index)
        else:
            self._returning.discard(index)

    @property
    def done(self) -> bool:
        """No trial waits, and none runs that might have to be tried again."""
        return not self._waiting and not self._running

    @property
    def needed(self) -> set[str]:
        """The results that trials which have not ended go on from."""
        running = (self._paths[index][self._done(index)] for index in self._running)
        kept = {key for key in (*self._groups, *running) if key in self._parents}
        for index in self._returning:
            kept.update(self.plans[index].went_back_to(self._done(index)))
        return kept

    # --- the trees of all trials ---------------------------------------------------------------------------------

    def _grow(self, plan: TrialPlan) -> None:
        """Add the trial's path, and the work of its new states to all states before them."""
        path, more = self._paths[-1], 0
        for (key, _, epochs), before in reversed([*zip(plan.parts, path, strict=False)]):
            if key not in self._parents:
                self._parents[key], self._work[key] = set(), 0
                more += epochs + 1
            self._parents[key].add(before)
            self._work[key] += more
        for before, key in pairwise(path):
            self._offer(before, key)

    def _groups_before(self, key: str) -> Iterator[tuple[str, str]]:
        """The state that they start from and the stage that comes next, of all groups that come to this state."""
        ways = [(state, key) for state in self._parents.get(key, ())]
        while ways:
            state, following = ways.pop()
            if state in self._stored or state not in self._parents:
                yield state, following
            else:
                ways += [(before, state) for before in self._parents[state]]

    def _done(self, index: int) -> int:
        """Up to which state of its path the trial need not compute any: the last one that is stored."""
        path = self._paths[index]
        return next((done for done in range(len(path) - 1, 0, -1) if path[done] in self._stored), 0)

    def _remaining(self, index: int) -> tuple[str, ...]:
        """What the trial has to compute: the stages after the last one that is stored."""
        return self._paths[index][self._done(index) + 1 :]

    # --- those that wait -----------------------------------------------------------------------------------------

    def _wait(self, index: int) -> None:
        self._waiting[index] = next(self._turns)
        self._place(index)

    def _place(self, index: int) -> None:
        """Add a trial that waits to its group."""
        path, done = self._paths[index], self._done(index)
        state, key = path[done], (*path, _END)[done + 1]
        group = self._groups.setdefault(state, {}).setdefault(key, [])
        insort(group, ((done - len(path), self._waiting[index]), index))
        if group[0][1] == index or (state, key) in self._held:
            self._offer(state, key)

    def _offer(self, state: str, key: str, turn: _Turn | None = None) -> None:
        """Have the heap know of a group, if there is one that may start."""
        group = self._groups.get(state, {}).get(key)
        if group and key not in self._claims:
            heappush(self._heap, (-self._work[key], group[0][0] if turn is None else turn, state, key))

    def _free(self, state: str, key: str) -> Iterator[tuple[_Turn, int]]:
        """Those of a group of whose paths nothing is claimed; all of them, unless a result has been lost."""
        for turn, index in self._groups.get(state, {}).get(key, ()):
            if not any(stage in self._claims for stage in self._remaining(index)):
                yield turn, index
            else:
                self._held.add((state, key))

    def _leave(self, state: str, key: str, entries: Collection[tuple[_Turn, int]]) -> None:
        """Take these out of a group, and the group away if none is left."""
        groups, gone = self._groups.get(state, {}), set(entries)
        left = [entry for entry in groups.get(key, ()) if entry not in gone]
        if left:
            groups[key] = left
            return
        groups.pop(key, None)
        if not groups:
            self._groups.pop(state, None)

    # --- those that run ------------------------------------------------------------------------------------------

    def _start(self, index: int) -> None:
        del self._waiting[index]
        self._running[index] = self._remaining(index)
        self._claims.update(dict.fromkeys(self._running[index], index))

    def _release(self, keys: Iterable[str]) -> None:
        """Nobody computes these any more."""
        for key in keys:
            if self._claims.pop(key, None) is not None:
                for state in self._parents[key]:
                    self._offer(state, key)
        held, self._held = self._held, set()
        for group in held:
            self._offer(*group)
