"""Trials that go on from the store: from others' results, from their own checkpoints, and from what is damaged."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from test_trial import BUILT_IN, CATALOG, STUDY, Reports, Toys, comparable

from framework import PluginError, Stage, StageError, Trial, hookimpl
from framework._engine import training
from framework._plan import TrialPlan, as_it_stands, make_plans
from framework._registry import Registry
from framework._spec import load
from framework._store import Store
from framework._trial import prepare, run_trial

SGD = "{name: sgd, lr: 0.1, momentum: 0.9}"
OPTIMIZERS = {
    "sgd": SGD,
    "adamw": "{name: adamw, lr: 0.01}",
    "muon": "{name: muon, lr: 0.01}",
    "adamax": "{name: adamax, lr: 0.01}",
}
LONG = """
model: {name: convnet, widths: [4, 8], dropout: 0.2}
data: {name: toy, validation: 0.25, augment: [crop, flip, cutout]}
defaults: {train: {batch_size: 8, optimizer: SGD, schedule: cosine, loss: {name: cross_entropy, label_smoothing: 0.1}}}
stages:
  - train: {epochs: 2}
  - freeze: {fraction: 0.4, unit: weights}
  - prune: {amount: 0.3}
  - train: {epochs: 3, channels_last: true}
  - unprune: {fraction: 0.5, start: before}
  - train: {steps: 7, early_stopping: {patience: 5}}
"""
FILTERS = """
model: {name: convnet, widths: [4, 8]}
data: toy
defaults: {train: {batch_size: 20, steps: 2, optimizer: {name: adamw, lr: 0.01}}}
stages:
  - prune: {granularity: filters, amount: 0.4, distribution: layer}
  - train
  - unprune: {granularity: filters, fraction: 0.5, start: before}
  - train: {steps: 4}
"""
Make = Callable[..., TrialPlan]


@pytest.fixture
def plan(tmp_path: Path) -> Make:
    def make(text: str = LONG, optimizer: str = SGD, **changes: str) -> TrialPlan:
        text = text.replace("SGD", optimizer)
        for old, new in changes.items():
            text = text.replace(old, new)
        path = tmp_path / "spec.yaml"
        path.write_text(text)
        return make_plans(load(path, CATALOG), as_it_stands)[0]

    return make


class Crash(Exception):  # noqa: N818 - what it stands for is no error
    """A crash."""


class Interrupted(Reports):
    """Crashes right after so many records."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.left = count
        self.recorded = self.crash

    def crash(self, record: object) -> None:
        self.records.append(record)
        self.left -= 1
        if not self.left:
            raise Crash


@pytest.fixture
def trainers(monkeypatch: pytest.MonkeyPatch) -> list[training.Trainer]:
    """All trainers that are made; each has counted its passes."""
    made = []

    class Counting(training.Trainer):
        def __init__(self, *args, **kwargs) -> None:
            super().__init__(*args, **kwargs)
            self.passes = 0
            made.append(self)

        def epoch(self, *args, **kwargs):
            self.passes += 1
            return super().epoch(*args, **kwargs)

    monkeypatch.setattr(training, "Trainer", Counting)
    return made


def run(plan: TrialPlan, folder: Path, reports: Reports | None = None):
    reports = reports or Reports()
    data = prepare(plan.data, CATALOG)
    return run_trial(plan, CATALOG, data, Store(folder), reports, checkpoint_seconds=0), reports


def assert_same(one, other) -> None:
    for name in ("masks", "frozen", "before_pruning"):
        a, b = getattr(one, name), getattr(other, name)
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a)
    a, b = one.model.state_dict(), other.model.state_dict()
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) and a[key].stride() == b[key].stride() for key in a)
    assert (one.epoch, one.loss_recipe, repr(one.loss)) == (other.epoch, other.loss_recipe, repr(other.loss))


def assert_same_optimizer(one: training.Trainer, other: training.Trainer) -> None:
    assert one.steps == other.steps
    a, b = one.optimizer.state_dict(), other.optimizer.state_dict()
    assert a["param_groups"] == b["param_groups"]
    assert a["state"].keys() == b["state"].keys()
    for key, state in a["state"].items():
        for name, value in state.items():
            torch.testing.assert_close(b["state"][key][name], value, rtol=0, atol=0)


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_trial_that_goes_on_from_anothers_prefix_is_bitwise_the_same(
    plan: Make, tmp_path: Path, optimizer: str, trainers: list[training.Trainer]
) -> None:
    mine = plan(optimizer=optimizer)
    alone, reports = run(mine, tmp_path / "alone")
    assert [end.executed for end in reports.ends] == [True] * 6
    assert [end.epochs for end in reports.ends] == [2, 0, 0, 3, 0, 2]
    other = plan(optimizer=optimizer, before="zero")
    assert [a == b for a, b in zip(mine.keys, other.keys, strict=True)] == [True] * 5 + [False] * 2
    run(other, tmp_path / "shared")
    shared, again = run(mine, tmp_path / "shared")
    assert [end.executed for end in again.ends] == [False] * 4 + [True] * 2
    assert [(end.stage, end.key, end.epochs) for end in again.ends] == [
        (end.stage, end.key, end.epochs) for end in reports.ends
    ]
    assert_same(alone, shared)
    assert comparable(again.records) == comparable(reports.records)
    assert_same_optimizer(trainers[2], trainers[-1])


def test_a_trial_that_is_wholly_stored_runs_no_stage_and_reports_the_same(plan: Make, tmp_path: Path) -> None:
    first, reports = run(plan(), tmp_path)
    second, again = run(plan(), tmp_path)
    assert [end.executed for end in again.ends] == [False] * 6
    assert_same(first, second)
    assert comparable(again.records) == comparable(reports.records)
    # All but the test's own record are those of then, to the last digit.
    assert again.records[:-1] == reports.records[:-1]


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_trial_that_crashes_at_any_record_goes_on_and_is_bitwise_the_same(
    plan: Make, tmp_path: Path, optimizer: str, trainers: list[training.Trainer]
) -> None:
    mine = plan(optimizer=optimizer)
    whole, reports = run(mine, tmp_path / "whole")
    finished = trainers[-1]
    # Records: two epochs, freeze, prune, three epochs, unprune, two passes, test.
    for count in range(1, 12):
        folder, made = tmp_path / str(count), len(trainers)
        crashing = Interrupted(count)
        with pytest.raises(Crash):
            run(mine, folder, crashing)
        resumed, again = run(mine, folder)
        assert_same(whole, resumed)
        assert comparable(again.records) == comparable(reports.records)
        # An epoch that was running is run again, and no other.
        repeated = sum(trainer.passes for trainer in trainers[made:]) - 7
        assert repeated == (count in (1, 2, 5, 6, 7, 9, 10))
        if count < 11:
            assert_same_optimizer(finished, trainers[-1])


def test_a_tree_with_whole_filters_shares_its_stages_and_resumes_bitwise(plan: Make, tmp_path: Path) -> None:
    mine, other = plan(FILTERS), plan(FILTERS, before="random")
    whole, reports = run(mine, tmp_path / "alone")
    assert "features.1.weight" in whole.masks
    run(other, tmp_path / "shared")
    shared, again = run(mine, tmp_path / "shared")
    assert [end.executed for end in again.ends] == [False, False, True, True]
    assert_same(whole, shared)
    with pytest.raises(Crash):
        run(mine, tmp_path / "crashed", Interrupted(4))  # in the last stage, after the first of its two passes
    resumed, again = run(mine, tmp_path / "crashed")
    assert_same(whole, resumed)
    assert comparable(again.records) == comparable(reports.records)


def test_crashing_again_and_again_still_comes_to_the_same_end(plan: Make, tmp_path: Path) -> None:
    whole, reports = run(plan(), tmp_path / "whole")
    crashes = 0
    while True:
        try:
            resumed, again = run(plan(), tmp_path / "again", Interrupted(2 + crashes // 2))
        except Crash:
            crashes += 1
        else:
            break
    assert crashes > 10
    assert_same(whole, resumed)
    assert comparable(again.records) == comparable(reports.records)


def test_a_checkpoint_is_gone_when_its_stage_is_done(plan: Make, tmp_path: Path) -> None:
    with pytest.raises(Crash):
        run(plan(), tmp_path, Interrupted(2))
    assert [snapshot.partial for snapshot in Store(tmp_path).snapshots()] == [True]
    run(plan(), tmp_path)
    assert [snapshot.partial for snapshot in Store(tmp_path).snapshots()] == [False] * 6


def test_a_damaged_snapshot_is_said_to_be_so_and_computed_again(plan: Make, tmp_path: Path) -> None:
    whole, reports = run(plan(), tmp_path)
    store = Store(tmp_path)
    for key in plan().keys[5:]:
        (snapshot,) = [snapshot for snapshot in store.snapshots() if snapshot.key == key]
        content = bytearray((tmp_path / snapshot.file).read_bytes())
        content[len(content) // 2] ^= 1
        (tmp_path / snapshot.file).write_bytes(content)
    again, told = run(plan(), tmp_path)
    assert [end.executed for end in told.ends] == [False] * 4 + [True] * 2
    assert len(told.notes) == 2
    assert all("does not match its digest" in note and "computed again" in note for note in told.notes)
    assert_same(whole, again)
    assert comparable(told.records) == comparable(reports.records)
    assert [end.executed for end in run(plan(), tmp_path)[1].ends] == [False] * 6


def test_what_another_invocation_has_stored_in_the_meantime_is_taken(plan: Make, tmp_path: Path) -> None:
    mine = plan()

    class Rival(Reports):
        """Runs the same trial to its end as soon as this one has done its first stage."""

        def __init__(self) -> None:
            super().__init__()
            self.staged = self.overtake

        def overtake(self, *ends) -> None:
            self.ends.extend(ends)
            if ends[0].stage == 0:
                run(mine, tmp_path)

    _, reports = run(mine, tmp_path, Rival())
    assert [end.executed for end in reports.ends] == [True] + [False] * 5


@dataclass
class SlowStore:
    """Time that stands still, but for the two seconds that every snapshot takes.

    Attributes:
        now: the time.
        saved: of each snapshot, how many stages it has, whether it is a checkpoint, and when it was there.
    """

    now: float = 0.0
    saved: list[tuple[int, bool, float]] = field(default_factory=list)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> SlowStore:
    slow, save = SlowStore(), Store.save

    def slowly(self, key, tensors, metadata, *, partial=False):
        slow.now += 2.0
        slow.saved.append((len(metadata["stages"]), partial, slow.now))
        return save(self, key, tensors, metadata, partial=partial)

    monkeypatch.setattr(Store, "save", slowly)
    monkeypatch.setattr("framework._trial.stored.time.monotonic", lambda: slow.now)
    return slow


def test_checkpoints_take_no_more_than_their_share_of_the_time(plan: Make, tmp_path: Path, slow: SlowStore) -> None:
    class Clock(Reports):
        def __init__(self) -> None:
            super().__init__()
            self.recorded = self.tick

        def tick(self, record) -> None:
            slow.now += 10.0

    text = LONG[: LONG.index("  - freeze")].replace("epochs: 2", "epochs: 20")
    run_trial(plan(text), CATALOG, prepare(plan(text).data, CATALOG), Store(tmp_path), Clock(), checkpoint_seconds=300)
    partial = [at for _, is_partial, at in slow.saved if is_partial]
    # The first at once, as what it costs is not known; then every 2 s / 2 % = 100 s.
    assert partial == [12.0, 114.0]
    slow.saved.clear()
    run_trial(
        plan(text), CATALOG, prepare(plan(text).data, CATALOG), Store(tmp_path / "b"), Clock(), checkpoint_seconds=20
    )
    assert len([at for _, is_partial, at in slow.saved if is_partial]) > 8


def test_what_a_checkpoint_costs_is_known_from_the_stage_before(plan: Make, tmp_path: Path, slow: SlowStore) -> None:
    run_trial(plan(), CATALOG, prepare(plan().data, CATALOG), Store(tmp_path), Reports(), checkpoint_seconds=300)
    saved = [(stages, is_partial) for stages, is_partial, _ in slow.saved]
    assert saved == [(1, True), (1, False), *((stage, False) for stage in range(2, 7))]


def test_a_loss_with_a_state_keeps_it(plan: Make, tmp_path: Path) -> None:
    class Drifting(torch.nn.CrossEntropyLoss):
        """Counts how often it was asked while training, and grows with it."""

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("asked", torch.zeros(()))

        def forward(self, outputs, labels):
            self.asked += torch.is_grad_enabled()
            return super().forward(outputs, labels) * (1 + self.asked / 100)

    class Plugin:
        @hookimpl
        def register_losses(self):
            return {"drifting": Drifting}

    catalog = Registry([*BUILT_IN, (Toys(), "test 1"), (Plugin(), "test 2")])
    path = tmp_path / "drifting.yaml"
    path.write_text(STUDY.replace("batch_size: 8", "batch_size: 8, loss: drifting"))
    mine = make_plans(load(path, catalog), as_it_stands)[0]
    data = prepare(mine.data, catalog)
    whole, again = Reports(), Reports()
    run_trial(mine, catalog, data, Store(tmp_path / "whole"), whole, checkpoint_seconds=0)
    for count in (1, 3, 6):
        with pytest.raises(Crash):
            run_trial(mine, catalog, data, Store(tmp_path / "again"), Interrupted(count + 1), checkpoint_seconds=0)
    run_trial(mine, catalog, data, Store(tmp_path / "again"), again, checkpoint_seconds=0)
    assert comparable(again.records) == comparable(whole.records)


def test_a_loss_that_could_not_be_made_again_is_an_error(plan: Make, tmp_path: Path) -> None:
    class Own(Stage):
        def run(self, trial: Trial) -> None:
            trial.loss = torch.nn.NLLLoss()

    class Plugin:
        @hookimpl
        def register_stages(self):
            return {"own": Own}

    catalog = Registry([*BUILT_IN, (Toys(), "test 1"), (Plugin(), "test 2")])
    path = tmp_path / "own.yaml"
    path.write_text("model: convnet\ndata: toy\nstages: [own]\n")
    mine = make_plans(load(path, catalog), as_it_stands)[0]
    with pytest.raises(StageError, match=r"trial\.loss to a NLLLoss: call trial\.use_loss instead"):
        run_trial(mine, catalog, prepare(mine.data, catalog), Store(tmp_path), Reports())


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda model: model.register_parameter("more", torch.nn.Parameter(torch.zeros(1))), "more was not there"),
        (lambda model: model.register_buffer("more", torch.zeros(1)), "more was not there, and is (1,) now"),
        (lambda model: setattr(model, "fc", torch.nn.Linear(8, 5)), "was (3, 128), and is (5, 8) now"),
        (lambda model: setattr(model.fc, "bias", None), "fc.bias was (3,), and is not there now"),
        (lambda model: setattr(model.features[1], "running_mean", torch.zeros(2)), "was (32,), and is (2,) now"),
    ],
)
def test_a_stage_that_changes_what_there_is_in_the_network_is_an_error(change, what: str, tmp_path: Path) -> None:
    class Changes(Stage):
        def run(self, trial: Trial) -> None:
            change(trial.model)

    class Plugin:
        @hookimpl
        def register_stages(self):
            return {"changes": Changes}

    catalog = Registry([*BUILT_IN, (Toys(), "test 1"), (Plugin(), "test 2")])
    path = tmp_path / "changes.yaml"
    path.write_text("model: convnet\ndata: toy\nstages: [changes]\n")
    mine = make_plans(load(path, catalog), as_it_stands)[0]
    with pytest.raises(PluginError, match="it must not add, remove, rename or reshape parameters or buffers") as error:
        run_trial(mine, catalog, prepare(mine.data, catalog), Store(tmp_path), Reports())
    assert what in str(error.value)
    assert error.value.__notes__ == ["in stage 1, changes of test 2"]
    assert not list(Store(tmp_path).snapshots())
