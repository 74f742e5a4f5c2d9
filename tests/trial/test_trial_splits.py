"""Trials whose stages differ in length only share epochs, and end as if each had run alone, bit for bit."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_trial import CATALOG, Reports

from framework import Trainer
from framework._executors.events import Stopped
from framework._plan import SplitStages, TrialPlan, make_plans
from framework._random import random_state_kept
from framework._spec import load
from framework._spec.grid import expand_grids
from framework._stage import Record
from framework._store import Store
from framework._trial import StageEnd, prepare, run_trial

SGD = "optimizer: {name: sgd, lr: 0.1, momentum: 0.9, weight_decay: 5e-4}"
# 30 images to train on: four steps a pass.
TRAIN = "batch_size: 8, epochs: {grid_search: [1, 2, 4]}"
WAYS = {
    "momentum": f"[{{train: {{{TRAIN}, {SGD}}}}}]",
    "adam": f"[{{train: {{{TRAIN}, optimizer: {{name: adamw, lr: 0.01}}, clip_norm: 1}}}}]",
    "average": f"[{{train: {{{TRAIN}, {SGD}, ema: 0.8}}}}]",
    "best": f"[{{train: {{{TRAIN}, {SGD}, ema: 0.8, early_stopping: {{patience: 9, restore_best: true}}}}}}]",
    "best within passes": f"[{{train: {{{TRAIN}, {SGD}, evaluate_every: 3, early_stopping: {{restore_best: true}}}}}}]",
    "masks held": f"[{{prune: {{amount: 0.5}}}}, {{train: {{{TRAIN}, {SGD}}}}}, unprune, {{train: {{epochs: 1}}}}]",
    "schedule of epochs": f"[{{train: {{{TRAIN}, {SGD}, schedule: {{name: multistep, milestones: [1, 3]}}}}}}]",
    "schedule until": f"[{{train: {{{TRAIN}, {SGD}, schedule: cosine, schedule_until: 5}}}}]",
    "another stage after": f"[{{train: {{{TRAIN}, {SGD}}}}}, {{train: {{epochs: 1, schedule: cosine}}}}]",
}

Make = Callable[..., list[TrialPlan]]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """The trials of a spec, the shortest first, with the splits that they have in one run."""

    def plans(stages: str, stored: Sequence[str] = ()) -> list[TrialPlan]:
        path = tmp_path / "spec.yaml"
        path.write_text(
            "model: {name: convnet, widths: [4, 8], dropout: 0.2}\n"
            "data: {name: toy, validation: 0.25, augment: [crop, flip]}\n"
            f"stages: {stages}\n"
        )
        return SplitStages(stored)(make_plans(load(path, CATALOG), expand_grids))

    return plans


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """After how many steps every pass over the data has begun."""
    made: list[int] = []
    epoch = Trainer.epoch

    def counted(trainer: Trainer, *args: Any, **options: Any) -> Any:
        made.append(trainer.steps)
        return epoch(trainer, *args, **options)

    monkeypatch.setattr(Trainer, "epoch", counted)
    return made


class SplitsToo(Reports):
    """Tells also of the splits of stages."""

    def __init__(self, told: Callable[[StageEnd], None] = lambda end: None) -> None:
        super().__init__()
        self.told = told

    def staged(self, *ends: StageEnd) -> None:
        super().staged(*ends)
        for end in ends:
            self.told(end)


def run(plan: TrialPlan, store: Store, reports: Reports | None = None, checkpoint_seconds: float = 300) -> Reports:
    reports = reports or SplitsToo()
    run_trial(plan, CATALOG, prepare(plan.data, CATALOG), store, reports, checkpoint_seconds=checkpoint_seconds)
    return reports


def result(plan: TrialPlan, store: Store, reports: Reports) -> Any:
    """All that a trial ends with, but for times."""
    tensors, snapshot = store.load(plan.key)
    records = [
        (record.epoch, record.stage, {name: value for name, value in record.metrics.items() if "second" not in name})
        for record in reports.records
    ]
    bits = {name: (tensor.shape, tensor.numpy().tobytes()) for name, tensor in tensors.items()}
    return bits, repr(records), snapshot.metadata["epoch"], snapshot.metadata["ends"]


def alone(plan: TrialPlan, folder: Path) -> Any:
    """What the trial ends with if there is no other one, and nothing is split."""
    store = Store(folder / f"alone {plan.key}")
    return result(plan, store, run(replace(plan, splits=()), store))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("longest_first", [True, False])
def test_trials_that_share_epochs_end_as_each_would_alone(
    way: str, longest_first: bool, make: Make, tmp_path: Path, passes: list[int]
) -> None:
    plans, store = make(WAYS[way]), Store(tmp_path / "store")
    order = plans[::-1] if longest_first else plans
    found = {plan.key: result(plan, store, run(plan, store)) for plan in order}
    after = sum(plan.stage_epochs[-1] for plan in plans) if "another stage" in way or "masks" in way else 0
    assert len(passes) == 4 + after
    for plan in plans:
        assert found[plan.key] == alone(plan, tmp_path), plan.name


def test_one_that_is_shorter_ends_while_the_longer_one_trains_on(make: Make, tmp_path: Path, passes: list[int]) -> None:
    one, two, four = make(WAYS["best"])
    store, found = Store(tmp_path / "store"), {}

    def follow(end: StageEnd) -> None:
        for plan in (one, two):
            if end.key == plan.splits[0][-1].key:
                assert not end.whole
                assert end.executed
                with random_state_kept():
                    found[plan.key] = result(plan, store, run(plan, store)), len(passes)

    found[four.key] = result(four, store, run(four, store, SplitsToo(follow))), len(passes)
    assert [found[plan.key][1] for plan in (one, two, four)] == [1, 2, 4]
    for plan in (one, two, four):
        assert found[plan.key][0] == alone(plan, tmp_path)


def test_what_it_reports_of_its_splits(make: Make, tmp_path: Path) -> None:
    one, _, four = make(WAYS["momentum"])
    store = Store(tmp_path / "store")
    told = [(end.epochs, end.executed, end.whole, end.size > 0) for end in run(four, store).ends]
    assert told == [(1, True, False, True), (2, True, False, True), (4, True, False, True), (4, True, True, True)]
    told = [(end.epochs, end.executed, end.whole, end.size > 0) for end in run(one, store).ends]
    assert told == [(1, False, False, False), (1, True, True, True)]


class Killed(BaseException):
    pass


class Killing(Store):
    """A store that dies instead of writing the snapshot of this key, once."""

    key, killed = "", False

    def save(self, key: str, *args: Any, **options: Any) -> Any:
        if key == self.key and not self.killed:
            self.killed = True
            raise Killed
        return super().save(key, *args, **options)


@pytest.mark.parametrize("way", ["best", "adam"])
def test_one_that_is_killed_between_the_last_split_and_the_end_trains_nothing_again(
    way: str, make: Make, tmp_path: Path, passes: list[int]
) -> None:
    plan = make(WAYS[way])[-1]
    store = Killing(tmp_path / "store")
    store.key = plan.key
    with pytest.raises(Killed):
        run(plan, store)
    assert result(plan, store, run(plan, store)) == alone(plan, tmp_path)
    assert len(passes) == 4 + 4  # the second four are those of the one alone


def test_checkpoints_on_the_way_to_a_split_are_gone_when_it_is_there(make: Make, tmp_path: Path) -> None:
    plan = make(WAYS["momentum"])[-1]
    store = Killing(tmp_path / "store")
    store.key = plan.splits[0][2].key
    with pytest.raises(Killed):
        run(plan, store, checkpoint_seconds=0)
    assert store.stored(partial=True) == set()  # it died as it was to write one there
    assert store.stored() == {split.key for split in plan.splits[0][:2]}
    assert result(plan, store, run(plan, store, checkpoint_seconds=0)) == alone(plan, tmp_path)
    assert store.stored(partial=True) == set()
    assert store.stored() == {*plan.path}


def test_one_that_was_stopped_goes_on_from_its_checkpoint_if_it_is_to_be_longer(
    make: Make, tmp_path: Path, passes: list[int]
) -> None:
    [stopped] = make(WAYS["momentum"].replace("{grid_search: [1, 2, 4]}", "5"))
    store = Store(tmp_path / "store")

    def stop(record: Record) -> None:
        if record.epoch == 4:
            raise Stopped

    reports = Reports()
    reports.recorded = stop
    with pytest.raises(Stopped):
        run(stopped, store, reports, checkpoint_seconds=0)
    assert len(passes) == 4
    known = [*store.stored(), *store.stored(partial=True)]
    [longer] = make(WAYS["momentum"].replace("{grid_search: [1, 2, 4]}", "7"), known)
    assert result(longer, store, run(longer, store)) == alone(longer, tmp_path)
    assert len(passes) == 4 + 4 + 7  # it went on after three


def test_a_later_run_goes_on_where_a_finished_trial_ended(make: Make, tmp_path: Path, passes: list[int]) -> None:
    store = Store(tmp_path / "store")
    [short] = make(WAYS["best"].replace("{grid_search: [1, 2, 4]}", "3"))
    run(short, store)
    [longer] = make(WAYS["best"].replace("{grid_search: [1, 2, 4]}", "5"), [*store.stored()])
    assert [split.length for split in longer.splits[0]] == [3, 5]
    assert result(longer, store, run(longer, store)) == alone(longer, tmp_path)
    assert len(passes) == 3 + 2 + 5


def test_of_steps_the_whole_passes_are_shared(make: Make, tmp_path: Path, passes: list[int]) -> None:
    plans = make(f"[{{train: {{batch_size: 8, {SGD}, steps: {{grid_search: [2, 6, 8, 20]}}}}}}]")
    store = Store(tmp_path / "store")
    found = [result(plan, store, run(plan, store)) for plan in plans[::-1]][::-1]
    assert sorted(passes) == [0, 0, 4, 4, 8, 12, 16]  # a part of a pass is each one's own
    assert found == [alone(plan, tmp_path) for plan in plans]


def test_one_that_stops_early_is_shared_by_all_that_are_longer(make: Make, tmp_path: Path, passes: list[int]) -> None:
    rule = "early_stopping: {patience: 1, min_delta: 99, restore_best: true}"
    plans = make(f"[{{train: {{batch_size: 8, epochs: {{grid_search: [1, 4, 6]}}, {SGD}, {rule}}}}}]")
    store = Store(tmp_path / "store")
    found = [result(plan, store, run(plan, store)) for plan in plans[::-1]][::-1]
    assert len(passes) == 2
    assert [epoch for _, _, epoch, _ in found] == [1, 2, 2]
    assert found == [alone(plan, tmp_path) for plan in plans]


def test_a_damaged_split_is_computed_again(make: Make, tmp_path: Path, passes: list[int]) -> None:
    _, two, four = make(WAYS["adam"])
    store = Store(tmp_path / "store")
    run(two, store)
    snapshot = store.find(two.splits[0][1].key)
    assert snapshot is not None
    (tmp_path / "store" / snapshot.file).write_bytes(b"something else")
    reports = run(four, store)
    assert "is damaged" in reports.notes[0]
    assert len(passes) == 2 + 3  # from the split before it on
    assert result(four, store, reports) == alone(four, tmp_path)


def test_what_another_run_is_about_to_compute_is_waited_for_until_it_is_stored(make: Make, tmp_path: Path) -> None:
    plan = make(WAYS["momentum"])[-1]
    store, held = Store(tmp_path / "store"), list[list[bool]]()

    def look(end: StageEnd) -> None:
        held.append([(tmp_path / "store" / "locks" / key).exists() for key in plan.path])

    run(plan, store, SplitsToo(look))
    assert held == [[False, True, True, True], [False, False, True, True], [False, False, False, True], [False] * 4]


def test_masks_are_held_and_the_generators_of_torch_are_those_of_one_alone(make: Make, tmp_path: Path) -> None:
    plans, store = make(WAYS["masks held"]), Store(tmp_path / "store")
    for plan in plans[::-1]:
        run(plan, store)
    tensors, _ = store.load(plans[0].splits[1][0].key)
    masks = {name.removeprefix("masks."): mask for name, mask in tensors.items() if name.startswith("masks.")}
    assert masks
    assert all(torch.all(tensors[f"model.{name}"][~mask] == 0) for name, mask in masks.items())
