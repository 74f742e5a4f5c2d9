"""Which trials share epochs: those whose stages differ in length only, if nothing else depends on the length."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from test_trial import BUILT_IN, Toys

from framework import Training, hookimpl
from framework._executors.scheduler import StageScheduler
from framework._plan import SplitStages, TrialPlan, make_plans
from framework._plan.shares import Shares
from framework._plan.tree import make_tree
from framework._registry import Registry
from framework._spec import load
from framework._spec.grid import expand_grids

Make = Callable[..., list[TrialPlan]]
GRID = "{grid_search: [10, 20, 40]}"


@dataclass(frozen=True, kw_only=True)
class Polish(Training):
    """Train as `train` does."""


@dataclass(frozen=True, kw_only=True)
class Anneal(Training):
    """Train with something that is spread over the epochs."""

    @property
    def planned_length(self) -> None:
        return None


class Others:
    @hookimpl
    def register_stages(self) -> dict[str, type]:
        return {"polish": Polish, "anneal": Anneal}

    @hookimpl
    def register_schedules(self) -> dict[str, Callable[..., float]]:
        return {"falling": lambda epoch: 1 / (1 + epoch), "spread": lambda epoch, steps=1: epoch / steps}


CATALOG = Registry([*BUILT_IN, (Toys(), "test 1"), (Others(), "others 1")])


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """The trials of a spec of these stages."""

    def plans(stages: str, more: str = "") -> list[TrialPlan]:
        path = tmp_path / "spec.yaml"
        path.write_text(f"name: e\nmodel: convnet\ndata: toy\nstages: {stages}\n{more}")
        return make_plans(load(path, CATALOG), expand_grids)

    return plans


def lengths(plan: TrialPlan) -> list[list[int]]:
    return [[split.length for split in plan.splits_of(index)] for index in range(len(plan.stages))]


def test_a_stage_is_split_where_others_end_and_at_its_own_end(make: Make) -> None:
    plans = SplitStages()(make(f"[{{train: {{epochs: {GRID}}}}}]"))
    assert [lengths(plan) for plan in plans] == [[[10]], [[10, 20]], [[10, 20, 40]]]
    short, _, long = plans
    assert short.path == (long.path[0], short.key)
    assert len({key for plan in plans for key in plan.path}) == 6
    tree = make_tree(plans)
    assert (tree.naive_stages, tree.shared_stages, tree.naive_epochs, tree.shared_epochs) == (3, 3, 70, 40)
    assert tree.remaining({long.path[1]}) == (3, 30)  # the first ends by itself
    assert tree.remaining({short.key, long.path[1]}) == (2, 20)


@pytest.mark.parametrize(
    ("stage", "shared"),
    [
        (f"train: {{epochs: {GRID}}}", True),
        (f"train: {{steps: {GRID}}}", True),
        (f"train: {{epochs: {GRID}, schedule: {{name: step, every: 3, warmup: 1}}}}", True),
        (f"train: {{epochs: {GRID}, schedule: {{name: multistep, milestones: [3]}}}}", True),
        (f"train: {{epochs: {GRID}, schedule: falling}}", True),
        (f"train: {{epochs: {GRID}, schedule: spread}}", False),
        (f"train: {{epochs: {GRID}, schedule: cosine}}", False),
        (f"train: {{epochs: {GRID}, schedule: {{name: onecycle, warmup: 1}}}}", False),
        (f"train: {{epochs: {GRID}, schedule: cosine, schedule_until: 40}}", True),
        (f"train: {{epochs: {GRID}, sparsifier: {{name: gradual, amount: 0.5}}}}", False),
        (f"train: {{epochs: {GRID}, early_stopping: {{restore_best: true}}, ema: 0.9}}", True),
        (f"polish: {{epochs: {GRID}}}", True),
        (f"anneal: {{epochs: {GRID}}}", False),
        ("freeze: {fraction: {grid_search: [0.1, 0.2]}}", False),
    ],
)
def test_nothing_is_shared_where_anything_before_the_end_depends_on_the_length(
    stage: str, shared: bool, make: Make
) -> None:
    plans = SplitStages()(make(f"[{{{stage}}}]"))
    common = set.intersection(*({*plan.path} for plan in plans))
    assert len(common) == shared
    assert all(any(plan.splits) == shared for plan in plans)


@pytest.mark.parametrize(
    "other",
    [
        "[{train: {epochs: 20, batch_size: 64}}]",
        "[{train: {epochs: 20, optimizer: {name: sgd, lr: 0.2}}}]",
        "[{train: {steps: 20}}]",
        "[{polish: {epochs: 20}}]",
        "[{freeze: {fraction: 0.5}}, {train: {epochs: 20}}]",
    ],
)
def test_stages_that_differ_in_anything_else_share_nothing(other: str, make: Make) -> None:
    [one], [two] = make("[{train: {epochs: 10}}]"), make(other)
    [one, two] = SplitStages()([one, two])
    assert not {*one.path} & {*two.path}


def test_the_last_stage_that_trains_is_split_at_its_end_for_a_later_run(make: Make) -> None:
    stages = "[{train: {epochs: 4}}, {prune: {amount: 0.5}}, {train: {epochs: 3}}, {freeze: {fraction: 0.5}}, test]"
    [plan] = SplitStages()(make(stages))
    assert lengths(plan) == [[], [], [3], [], []]
    [later] = SplitStages([*plan.path])(make(stages.replace("3", "5")))
    assert lengths(later) == [[], [], [3, 5], [], []]
    assert later.path[:3] == plan.path[:3]
    [shorter] = SplitStages([*plan.path])(make(stages.replace("3", "2")))
    assert lengths(shorter) == [[], [], [2], [], []]


def test_the_keys_of_stages_stay_as_they_are(make: Make) -> None:
    plans = make(f"[{{train: {{epochs: {GRID}}}}}, test]")
    for before, after in zip(plans, SplitStages()(plans), strict=True):
        assert after.keys == before.keys
        assert before.path == before.keys[1:]
        assert [key for key in after.path if key in before.keys] == [*before.keys[1:]]


def test_the_longest_trains_and_the_others_start_where_it_has_come_to_their_ends(make: Make) -> None:
    ten, twenty, forty = plans = SplitStages()(make(f"[{{train: {{epochs: {GRID}}}}}]"))
    scheduler = StageScheduler(plans, ())
    assert scheduler.next() == 2
    assert scheduler.next() is None
    scheduler.stored(ten.path[0])
    assert scheduler.next() == 0
    assert scheduler.next() is None
    assert scheduler.needed == {ten.path[0]}  # from which all three go on
    scheduler.stored(twenty.path[1])
    assert scheduler.needed == {ten.path[0], twenty.path[1]}
    assert scheduler.next() == 1
    scheduler.stored(forty.path[2])
    for index in range(3):
        scheduler.ended(index)
    assert scheduler.done


def test_what_a_stage_goes_back_to_is_needed_within_a_later_stage_too(make: Make) -> None:
    stages = "[{train: {epochs: 1}, as: early}, {train: {epochs: {grid_search: [2, 3]}}}, {rewind: {to: early}}]"
    _, plan = SplitStages()(make(stages))
    scheduler = StageScheduler([plan], plan.path[:2])
    assert plan.path[0] == plan.keys[1]
    assert scheduler.needed == {plan.keys[1], plan.path[1]}


AUTO = {"cpu": "auto", "threads": "auto"}


@pytest.mark.parametrize(
    ("after", "threads"),
    [("", [(16,)] * 3), (", {train: {epochs: 1, schedule: cosine}}", [(5, 5)] * 3)],
    ids=["nothing", "training"],
)
def test_all_that_share_a_stage_use_as_many_threads_and_all_if_nothing_else_trains(
    after: str, threads: list[tuple[int, ...]], make: Make
) -> None:
    plans = make(f"[{{train: {{epochs: {GRID}}}}}{after}]")
    shares = Shares(plans)
    assert shares.branches == 3
    assert [shares.settle(replace(plan, resources=AUTO), 16, 1).threads for plan in plans] == threads
