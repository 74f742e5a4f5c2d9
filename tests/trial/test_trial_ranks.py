"""A trial that several processes run together, with real ones and the real store."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import Ranks, start_ranks
from test_trial import BUILT_IN, CATALOG, Reports, Toys, comparable

from framework import hookimpl
from framework._plan import TrialPlan, as_it_stands, make_plans
from framework._ranks import LostRank, rank
from framework._registry import Registry
from framework._spec import load
from framework._store import Store
from framework._trial import Recorded, prepare, run_trial

STUDY = """
model: {name: convnet, widths: [4, 8]}
data: {name: toy, validation: 0.25, augment: [crop, flip]}
seeds: [0]
defaults:
  train: {batch_size: 7, sync_batchnorm: true, optimizer: {name: sgd, lr: 0.1, momentum: 0.9}}
stages:
  - train: {epochs: 2, ema: 0.9, accumulate: 2, clip_norm: 1.0}
    as: early
  - prune: {amount: 0.3, criterion: snip}
  - train: {epochs: 2, sparsifier: {name: rigl, every: 3}}
  - freeze: {fraction: 0.5, unit: weights}
  - train: {epochs: 6, early_stopping: {patience: 1, restore_best: true}, optimizer: adamw}
  - rewind: {to: early}
  - unprune: {fraction: 0.5, start: random}
  - train: {steps: 3}
"""


@pytest.fixture(scope="module")
def four() -> Iterator[Ranks]:
    with start_ranks(4) as started:
        yield started


@pytest.fixture
def plan(tmp_path: Path) -> Callable[..., TrialPlan]:
    def make(text: str = STUDY, *settings: str) -> TrialPlan:
        path = tmp_path / "study.yaml"
        path.write_text(text)
        [made] = make_plans(load(path, CATALOG, settings), as_it_stands)
        return made

    return make


class _InterruptedError(Exception):
    pass


@dataclass(frozen=True)
class Ended:
    """What is left of a trial on one rank.

    Attributes:
        state: of the network.
        masks: and what is frozen.
        records: as the trial knows them.
        reported: to the executor.
        artifacts: that it has logged.
    """

    state: dict[str, torch.Tensor]
    masks: dict[str, torch.Tensor]
    records: list[Any]
    reported: list[Any]
    artifacts: dict[str, bytes]


def run(plan: TrialPlan, folder: str, interrupted: int | None = None) -> Ended | None:
    """Run a trial on this rank; with a number, until rank 0 has reported so many epochs."""
    reports = Reports()

    def report(event: Any) -> None:
        reports(event)
        if isinstance(event, Recorded) and len(reports.records) == interrupted:
            raise _InterruptedError

    store: Any = None if rank() else Store(folder)  # so that nobody else can use it
    with suppress(_InterruptedError, LostRank):
        trial = run_trial(plan, CATALOG, prepare(plan.data, CATALOG), store, report, checkpoint_seconds=0)
        masks = {**trial.masks, **{f"frozen {name}": mask for name, mask in trial.frozen.items()}}
        records = [(r.epoch, r.stage, dict(r.metrics)) for r in trial.records]
        return Ended(trial.model.state_dict(), masks, records, comparable(reports.records), trial.artifacts)
    return None


def without_times(records: list[Any]) -> list[Any]:
    return [(e, s, {k: v for k, v in metrics.items() if k != "images_per_second"}) for e, s, metrics in records]


@pytest.mark.parametrize("size", [2, 4])
def test_several_processes_end_as_one_with_every_kind_of_stage(
    four: Ranks, plan: Callable[..., TrialPlan], tmp_path: Path, size: int
) -> None:
    alone = run(plan(), str(tmp_path / "alone"))
    found = four.run(size, run, plan(), str(tmp_path / "together"))
    assert alone is not None
    assert {name.split()[0] for name in alone.masks} > {"frozen"}
    torch.testing.assert_close(found[0].masks, alone.masks)
    torch.testing.assert_close(found[0].state, alone.state, rtol=1e-3, atol=1e-5)
    assert len(found[0].reported) == len(alone.reported) > 10
    for (epoch, stage, metrics), expected in zip(found[0].reported, alone.reported, strict=True):
        assert (epoch, stage) == expected[:2]
        assert metrics == pytest.approx(expected[2], rel=1e-3, abs=1e-5)
    assert found[0].artifacts.keys() == alone.artifacts.keys() == {"confusion.json"}
    for other in found[1:]:
        torch.testing.assert_close(other.state, found[0].state, rtol=0, atol=0)
        assert other.records == found[0].records  # to the times of each epoch
        assert other.reported == []
        assert other.artifacts == found[0].artifacts


def test_what_is_interrupted_ends_as_what_was_not_bit_for_bit(
    four: Ranks, plan: Callable[..., TrialPlan], tmp_path: Path
) -> None:
    # With dropout, whose random numbers go on too, and with each process's own batch normalisation.
    made = plan(STUDY.replace("widths: [4, 8]", "widths: [4, 8], dropout: 0.3"), "defaults.train.sync_batchnorm=false")
    whole = four.run(3, run, made, str(tmp_path / "whole"))
    assert four.run(3, run, made, str(tmp_path / "parts"), 2) == [None] * 3
    assert Store(str(tmp_path / "parts")).find(made.keys[1], partial=True)
    assert four.run(3, run, made, str(tmp_path / "parts"), 5) == [None] * 3
    parts = four.run(3, run, made, str(tmp_path / "parts"))
    for one, other in zip(parts, whole, strict=True):
        torch.testing.assert_close((one.state, one.masks), (whole[0].state, other.masks), rtol=0, atol=0)
        assert without_times(one.records) == without_times(other.records)
    # What is stored is not computed again, whichever process finds it.
    again = four.run(3, run, made, str(tmp_path / "parts"))
    assert [one.records for one in again] == [one.records for one in parts]


class Watcher:
    """Looks at the trial as an observer may, and counts how often it is asked."""

    def __init__(self) -> None:
        self.called = 0

    @hookimpl
    def epoch_ended(self, trial: Any, metrics: Any) -> dict[str, float]:
        self.called += 1
        seen = sum(len(targets) for _, targets in trial.batches("train", 7).epoch(0))
        return {"seen": seen}


def _watched(plan: TrialPlan, folder: str) -> tuple[int, list[float]]:
    watcher = Watcher()
    registry = Registry([*BUILT_IN, (Toys(), "test 1"), (watcher, "watcher 1")])
    trial = run_trial(plan, registry, prepare(plan.data, CATALOG), Store(folder), lambda report: None)
    return watcher.called, [record.metrics["seen"] for record in trial.records[:-1]]


def test_observers_are_called_in_one_process_and_may_read_what_all_read(
    four: Ranks, plan: Callable[..., TrialPlan], tmp_path: Path
) -> None:
    made = plan(STUDY.partition("stages:")[0] + "stages: [train: {epochs: 2}]")
    assert four.run(2, _watched, made, str(tmp_path)) == [(2, [30.0] * 2), (0, [30.0] * 2)]


def test_the_number_of_processes_is_in_the_key(plan: Callable[..., TrialPlan]) -> None:
    keys = [plan(STUDY, *settings).keys for settings in ((), ("resources.processes=1",), ("resources.processes=2",))]
    assert keys[0] == keys[1]
    assert not {*keys[0]} & {*keys[2]}
    assert plan(STUDY, "resources.gpu=2").keys == keys[2]
    assert plan(STUDY, "resources.cpu=2").keys == keys[0]
