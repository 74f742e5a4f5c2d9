"""Which trial starts when: simulated at any concurrency, on any tree."""

import random
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framework._executors.scheduler import StageScheduler
from framework._plan import Split, TrialPlan
from framework._plan.tree import make_tree


def plan_of(stages: str, epochs: int = 1, back: int = 0) -> TrialPlan:
    """A trial whose stages are letters: its keys are the prefixes. Its last stage may go back to an earlier state."""
    return TrialPlan(
        experiment="e",
        swept={},
        seed=0,
        model={},
        data={},
        stages=tuple({"name": letter} for letter in stages),
        resources={},
        keys=tuple(stages[:count] for count in range(len(stages) + 1)),
        stage_epochs=(epochs,) * len(stages),
        went_back=(*[()] * (len(stages) - 1), (back,) * (back > 0)),
    )


class Scan:
    """What the scheduler shall do, in as few words as possible: it looks at all trials every time."""

    def __init__(self, plans: Sequence[TrialPlan], stored: Collection[str]) -> None:
        self.plans, self.there = list(plans), set(stored)
        self.claims: dict[str, int] = {}
        self.waiting = list(range(len(plans)))
        self.running: list[int] = []

    def add(self, plans: Sequence[TrialPlan]) -> None:
        self.waiting += range(len(self.plans), len(self.plans) + len(plans))
        self.plans += plans

    def next(self) -> int | None:
        work: Counter[str] = Counter()
        for node in reversed(make_tree(self.plans).nodes.values()):
            work[node.key] = node.epochs + 1 + sum(work[child] for child in node.children)
        free = [i for i in self.waiting if not {*self.remaining(i)} & {*self.claims}]
        left = {i: self.remaining(i) for i in free}
        best = max(free, key=lambda i: (work[(*left[i], "none")[0]], len(left[i])), default=None)
        if best is not None:
            self.waiting.remove(best)
            self.running.append(best)
            self.claims |= dict.fromkeys(self.remaining(best), best)
        return best

    def stored(self, key: str) -> None:
        self.there.add(key)
        self.claims.pop(key, None)

    def lost(self, key: str) -> None:
        self.there.discard(key)

    def ended(self, index: int, *, again: bool = False) -> None:
        self.running.remove(index)
        self.claims = {key: owner for key, owner in self.claims.items() if owner != index}
        self.waiting += [index] * again

    @property
    def needed(self) -> set[str]:
        found = set()
        for index in (*self.waiting, *self.running):
            path = self.plans[index].keys
            done = len(path) - 1 - len(self.remaining(index))
            found |= {*path[1 : done + 1][-1:], *self.plans[index].went_back_to(done)}
        return found

    def remaining(self, index: int) -> tuple[str, ...]:
        path = self.plans[index].keys[1:]
        return path[max((n for n, key in enumerate(path, 1) if key in self.there), default=0) :]


def prefixes(trials: Sequence[str]) -> set[str]:
    return {trial[:count] for trial in trials for count in range(1, len(trial) + 1)}


def simulate(
    trials: Sequence[str], slots: int, seed: int, stored: set[str] = frozenset(), fail: float = 0.0, late: int = 0
):
    """Run trials in steps of one stage each, in random turns; the last ones are added one by one on the way.

    Returns:
        How often each stage was executed, and how many slots were idle while a trial might have run.
    """
    plans = [plan_of(trial) for trial in trials]
    coming = plans[len(plans) - late :]
    scheduler = StageScheduler(plans[: len(plans) - late], stored)
    there, executed, wasted = set(stored), Counter(), 0
    running: dict[int, str] = {}
    turns = random.Random(seed)
    failures = Counter()
    while coming or not scheduler.done:
        if coming and (scheduler.done or turns.random() < 0.3):
            scheduler.add([coming.pop(0)])
        while len(running) < slots and (index := scheduler.next()) is not None:
            path = trials[index]
            running[index] = max(
                (path[:count] for count in range(len(path) + 1) if path[:count] in {"", *there}), key=len
            )
        assert running, "nothing runs and nothing may start"
        if len(running) < slots:
            in_work = {
                trials[i][:count] for i, at in running.items() for count in range(len(at) + 1, len(trials[i]) + 1)
            }
            waiting = [t for i, t in enumerate(trials) if i not in running and i in scheduler._waiting]
            free = [t for t in waiting if not any(p in in_work and p not in there for p in prefixes([t]))]
            wasted += len(free) > 0
        index = turns.choice(sorted(running))
        path, at = trials[index], running[index]
        if at == path:
            del running[index]
            scheduler.ended(index)
        elif turns.random() < fail and failures[index] < 2:
            failures[index] += 1
            del running[index]
            scheduler.ended(index, again=True)
        else:
            running[index] = path[: len(at) + 1]
            executed[running[index]] += 1
            there.add(running[index])
            scheduler.stored(running[index])
    return executed, wasted


TRIALS = st.lists(st.text("abc", min_size=1, max_size=5), min_size=1, max_size=12, unique=True)


@settings(max_examples=200, deadline=None)
@given(TRIALS, st.integers(1, 5), st.integers(0, 9))
def test_every_stage_is_executed_once_at_any_concurrency_and_no_slot_is_idle(trials, slots, seed) -> None:
    executed, wasted = simulate(trials, slots, seed)
    assert executed == dict.fromkeys(prefixes(trials), 1)
    assert wasted == 0


@settings(max_examples=100, deadline=None)
@given(TRIALS, st.integers(1, 5), st.integers(0, 9), st.data())
def test_what_is_stored_is_not_executed(trials, slots, seed, data) -> None:
    stored = data.draw(st.sets(st.sampled_from(sorted(prefixes(trials)))))
    executed, _ = simulate(trials, slots, seed, stored)
    assert set(executed.values()) <= {1}
    assert not executed.keys() & stored
    for trial in trials:  # everything after the deepest stored stage has been run
        deepest = max((count for count in range(len(trial) + 1) if trial[:count] in {"", *stored}), default=0)
        assert all(trial[:count] in executed for count in range(deepest + 1, len(trial) + 1))


@settings(max_examples=100, deadline=None)
@given(TRIALS, st.integers(1, 5), st.integers(0, 9))
def test_with_failures_all_come_to_their_end_and_no_stage_is_executed_twice(trials, slots, seed) -> None:
    executed, wasted = simulate(trials, slots, seed, fail=0.3)
    assert executed == dict.fromkeys(prefixes(trials), 1)
    assert wasted == 0


@settings(max_examples=200, deadline=None)
@given(TRIALS, st.integers(1, 5), st.integers(0, 9), st.integers(0, 12))
def test_trials_that_come_later_execute_only_what_nobody_has_and_leave_no_slot_idle(trials, slots, seed, late) -> None:
    executed, wasted = simulate(trials, slots, seed, late=min(late, len(trials)))
    assert executed == dict.fromkeys(prefixes(trials), 1)
    assert wasted == 0


@pytest.mark.parametrize("seed", range(100))
def test_it_does_what_looking_at_all_trials_every_time_would(seed: int) -> None:
    turns = random.Random(seed)
    # Of equal trials there may be several, of different experiments; what is stored and lost comes in any order.
    paths = ["".join(turns.choices("ab", k=turns.randint(0, 6))) for _ in range(20)]
    coming = [plan_of(path, epochs=len(path) % 3, back=turns.randint(0, len(path))) for path in paths]
    keys = sorted({*prefixes(paths), "x"})
    stored = {*turns.sample(keys, k=turns.randint(0, 3))}
    mine, scan = StageScheduler(coming[:9], stored), Scan(coming[:9], stored)
    del coming[:9]
    for _ in range(300):
        match turns.choice(["next", "next", "stored", "stored", "lost", "lost", "ended", "add"]):
            case "next":
                assert mine.next() == scan.next()
            case "stored" | "lost" as event:
                key = turns.choice([*scan.claims, *keys] if event == "stored" else [*scan.there, *keys])
                getattr(mine, event)(key)
                getattr(scan, event)(key)
            case "ended" if scan.running:
                index, again = turns.choice(scan.running), turns.random() < 0.7
                mine.ended(index, again=again)
                scan.ended(index, again=again)
            case "add":
                more = coming[: turns.randint(0, 2)]
                mine.add(more)
                scan.add(more)
                del coming[: len(more)]
        assert mine.needed == scan.needed
        assert mine.done == (not scan.waiting and not scan.running)


def test_a_later_trial_waits_for_what_a_running_one_is_computing() -> None:
    scheduler = StageScheduler([plan_of("ab")], {"x"})
    assert scheduler.next() == 0
    scheduler.add([plan_of("ac"), plan_of("xy")])
    assert [plan.key for plan in scheduler.plans] == ["ab", "ac", "xy"]
    assert scheduler.next() == 2
    assert scheduler.needed == {"x"}
    assert scheduler.next() is None
    scheduler.stored("a")
    assert scheduler.next() == 1
    assert not scheduler.done
    for index in range(3):
        scheduler.ended(index)
    assert scheduler.done
    scheduler.add([plan_of("ad")])
    assert not scheduler.done
    assert scheduler.next() == 3


def test_followers_wait_and_go_when_the_prefix_is_stored() -> None:
    scheduler = StageScheduler([plan_of("ab"), plan_of("ac"), plan_of("x")], ())
    assert scheduler.next() == 0
    assert scheduler.next() == 2
    assert scheduler.next() is None
    scheduler.stored("a")
    assert scheduler.next() == 1
    assert scheduler.next() is None


def test_a_failed_leader_is_followed_by_another() -> None:
    scheduler = StageScheduler([plan_of("ab"), plan_of("ac"), plan_of("ad")], ())
    assert scheduler.next() == 0
    scheduler.ended(0)
    assert scheduler.next() == 1
    assert scheduler.next() is None
    assert not scheduler.done


def test_the_stage_on_which_most_work_depends_goes_first() -> None:
    plans = [plan_of("x", epochs=10), plan_of("ab"), plan_of("ac"), plan_of("ad"), plan_of("ae"), plan_of("y")]
    scheduler = StageScheduler(plans, ())
    assert scheduler.next() == 0  # eleven against five stages of two
    plans += [plan_of("af"), plan_of("ag")]
    assert StageScheduler(plans, ()).next() == 1


def test_a_lost_result_is_computed_again() -> None:
    scheduler = StageScheduler([plan_of("ab"), plan_of("ac")], {"a"})
    scheduler.lost("a")
    assert scheduler.next() == 0
    assert scheduler.next() is None  # it is being computed


def test_what_becomes_free_as_results_are_lost_is_not_held_back_by_others() -> None:
    scheduler = StageScheduler([plan_of("ab"), plan_of("abx"), plan_of("acd"), plan_of("y", epochs=3)], {"ac"})
    assert scheduler.next() == 1
    scheduler.stored("a")
    scheduler.lost("a")
    assert scheduler.next() == 3  # the first one waits for what the second goes through
    scheduler.lost("ac")
    assert scheduler.next() == 2  # computes from the start on what it now has in common with both


@pytest.mark.parametrize("first", [0, 1])
def test_a_stage_may_be_split_for_some_trials_and_whole_for_others(first: int) -> None:
    split = replace(plan_of("ab"), splits=((Split("s", "epochs", 1, 1),), ()))
    plans = [split, plan_of("ac")]
    scheduler = StageScheduler(plans if first else plans[::-1], ())
    running = scheduler.next()
    assert running is not None
    assert scheduler.next() is None  # both compute the first stage
    for key in scheduler.plans[running].path:
        scheduler.stored(key)
    scheduler.ended(running)
    assert scheduler.next() == 1 - running


def test_what_is_needed_is_what_the_others_go_on_from() -> None:
    scheduler = StageScheduler([plan_of("ab"), plan_of("cd")], {"a", "c"})
    assert scheduler.needed == {"a", "c"}
    assert scheduler.next() is not None
    scheduler.stored("ab")
    scheduler.ended(0)
    assert scheduler.needed == {"c"}


@pytest.mark.parametrize("trials", [["a"], ["abc", "abc" + "d"]])
def test_a_trial_that_is_the_beginning_of_another_is_not_run_twice(trials: list[str]) -> None:
    executed, _ = simulate(trials, 2, 0)
    assert set(executed.values()) == {1}
