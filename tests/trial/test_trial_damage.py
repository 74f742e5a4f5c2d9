"""Stored states that are none, though their checksums are right: set aside, and computed again."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_trial import CATALOG
from test_trial_store import LONG, SGD, Crash, Interrupted, assert_same, run

from framework import Trial
from framework._plan import TrialPlan, as_it_stands, make_plans
from framework._spec import load
from framework._store import Snapshot, Store
from framework._store.snapshot import _checksum

State = tuple[dict[str, torch.Tensor], dict[str, Any]]
SHORT = LONG[: LONG.index("  - prune")] + "  - prune: {amount: 0.3}\n  - train: {epochs: 1}\n"
LAYER = "model.features.0.weight"


def deep(levels: int) -> Any:
    tree: Any = 0
    for _ in range(levels):
        tree = {"list": tree}
    return tree


def dropped(name: str) -> Callable[[State], object]:
    return lambda state: state[0].pop(name)


def changed(name: str, **metadata: Any) -> Callable[[State], object]:
    """Of what is told besides the tensors."""
    return lambda state: state[1].update({name: metadata["to"]})


def record_with(**fields: Any) -> Callable[[State], object]:
    return lambda state: state[1]["records"][0].update(fields)


DAMAGE: dict[str, Callable[[State], object]] = {
    "no epoch": lambda state: state[1].pop("epoch"),
    "no records": lambda state: state[1].pop("records"),
    "an epoch beyond all": changed("epoch", to=10**30),
    "an epoch that is text": changed("epoch", to="2"),
    "ends of other stages": changed("ends", to=[2]),
    "records that are none": changed("records", to={"a": 1}),
    "records with other fields": record_with(place=3),
    "a record of no epoch": record_with(epoch=None),
    "a record of text": record_with(metrics={"val/loss": "low"}),
    "a loss that there is not": changed("loss", to={"name": "nonesuch"}),
    "a loss that is a list": changed("loss", to=[1]),
    "a weight missing": dropped(LAYER),
    "a weight too many": lambda state: state[0].update({"model.other": torch.zeros(2)}),
    "a weight of another shape": lambda state: state[0].update({LAYER: torch.zeros(3)}),
    "a weight of whole numbers": lambda state: state[0].update({LAYER: state[0][LAYER].long()}),
    "a mask of another shape": lambda state: state[0].update({f"masks.{LAYER[6:]}": torch.ones(2, dtype=torch.bool)}),
    "a mask of numbers": lambda state: state[0].update({f"masks.{LAYER[6:]}": torch.ones(4, 1, 3, 3)}),
    "a mask of nothing": lambda state: state[0].update({"masks.other": torch.ones(2, dtype=torch.bool)}),
    "values of weights that are not masked": lambda state: state[0].update(
        {f"before_pruning.{LAYER[6:]}": torch.ones(99)}
    ),
    "an artifact elsewhere": lambda state: state[0].update({"artifacts.../x": torch.zeros(1, dtype=torch.uint8)}),
    "an artifact of numbers": lambda state: state[0].update({"artifacts.x": torch.zeros(1)}),
}
OF_CHECKPOINTS: dict[str, Callable[[State], object]] = {
    "no progress": lambda state: state[1].pop("progress"),
    "progress that is a number": changed("progress", to=3),
    "progress without its tensors": lambda state: [
        state[0].pop(name) for name in [*state[0]] if name.startswith("progress.")
    ],
    "progress of many levels": changed("progress", to=deep(400)),
}


def tamper(store: Store, snapshot: Snapshot, damage: Callable[[State], object]) -> None:
    """Store something else in the place of a snapshot, with checksums that are right."""
    tensors, _ = store.load(snapshot.key, partial=snapshot.partial)
    metadata = json.loads(json.dumps(dict(snapshot.metadata)))
    damage((tensors, metadata))
    store.save(snapshot.key, tensors, metadata, partial=snapshot.partial)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrialPlan, Path, Trial]:
    """A trial that has come to its end, and the store that has it."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "spec.yaml").write_text(SHORT.replace("SGD", SGD))
    [plan] = make_plans(load(folder / "spec.yaml", CATALOG), as_it_stands)
    return plan, folder / "store", run(plan, folder / "store")[0]


@pytest.fixture(scope="module")
def crashed(whole: tuple[TrialPlan, Path, Trial], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a checkpoint of the same trial's first stage."""
    folder = tmp_path_factory.mktemp("crashed")
    with pytest.raises(Crash):
        run(whole[0], folder, Interrupted(2))
    return folder


@pytest.mark.parametrize("what", DAMAGE)
def test_a_result_that_is_none_is_set_aside_and_computed_again(
    whole: tuple[TrialPlan, Path, Trial], tmp_path: Path, what: str
) -> None:
    plan, folder, first = whole
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    store = Store(tmp_path)
    snapshot = store.find(plan.keys[3])
    assert snapshot is not None
    tamper(store, snapshot, DAMAGE[what])
    store.discard(plan.keys[4])
    again, told = run(plan, tmp_path)
    [note] = told.notes
    assert "is damaged: it is no state of this trial: " in note
    assert note.endswith("it is computed again")
    assert [end.executed for end in told.ends] == [False, False, True, True]
    assert_same(first, again)


@pytest.mark.parametrize("what", [*OF_CHECKPOINTS, "records that are none", "a mask of numbers", "a weight missing"])
def test_a_checkpoint_that_is_none_is_set_aside_and_its_stage_begins(
    whole: tuple[TrialPlan, Path, Trial], crashed: Path, tmp_path: Path, what: str
) -> None:
    plan, _, first = whole
    shutil.copytree(crashed, tmp_path, dirs_exist_ok=True)
    store = Store(tmp_path)
    [snapshot] = store.snapshots()
    assert snapshot.partial
    tamper(store, snapshot, {**DAMAGE, **OF_CHECKPOINTS}[what])
    again, told = run(plan, tmp_path)
    [note] = told.notes
    assert "is damaged: " in note
    assert_same(first, again)


def test_a_checkpoint_that_a_stage_cannot_take_is_set_aside_for_the_next_attempt(
    whole: tuple[TrialPlan, Path, Trial], crashed: Path, tmp_path: Path
) -> None:
    plan, _, first = whole
    shutil.copytree(crashed, tmp_path, dirs_exist_ok=True)
    store = Store(tmp_path)
    [snapshot] = store.snapshots()

    def damage(state: State) -> None:
        plain = state[1]["progress"]["dict"]
        [stage] = [pair for pair in plain if pair[0] == "stage"]
        stage[1] = {"dict": [["trainer", 3]]}

    tamper(store, snapshot, damage)
    with pytest.raises(TypeError):
        run(plan, tmp_path)
    again, told = run(plan, tmp_path)
    assert told.notes == []
    assert_same(first, again)


# --- what is told of a snapshot --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"metadata": None},
        {"metadata": [1]},
        {"metadata": {"parent": ["a"]}},
        {"metadata": {"stages": 3}},
        {"size": -1},
        {"size": "1"},
        {"created": "now"},
        {"digest": 3},
        {"file": f"{'a' * 8}-/../../secret"},
        {"more": 1},
    ],
    ids=str,
)
def test_what_tells_other_things_of_a_snapshot_is_set_aside(tmp_path: Path, fields: dict[str, Any]) -> None:
    store = Store(tmp_path)
    saved = store.save("a" * 8, {"a": torch.zeros(2)}, {})
    path = tmp_path / saved.name
    body = {**json.loads(path.read_text())["snapshot"], **fields}
    path.write_bytes(forge(body))
    assert store.snapshots() == []
    assert not path.exists()
    assert f"{saved.name}.damaged" in store.orphans()


def forge(body: Any) -> bytes:
    return json.dumps({"checksum": _checksum(body), "snapshot": body}).encode()


def test_nesting_beyond_all_is_set_aside(tmp_path: Path) -> None:
    store = Store(tmp_path)
    saved = store.save("a" * 8, {"a": torch.zeros(2)}, {})
    (tmp_path / saved.name).write_text("[" * 100_000)
    assert store.snapshots() == []
