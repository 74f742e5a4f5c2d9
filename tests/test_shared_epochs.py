"""Sweeps over the length of training, from the command line to MLflow: each epoch is trained once."""

import re
from pathlib import Path
from typing import Any

import pytest
from running import framework, here, history, trials, write

from framework._store import Store

SWEEP = {
    "sweep.yaml": """
        name: sweep
        model: {name: convnet, dropout: 0.1}
        data: {name: digits, validation: 0.5, augment: [crop]}
        stages:
          - train: {epochs: {grid_search: [1, 2, 4]}, batch_size: 64, optimizer: {name: sgd, lr: 0.1, momentum: 0.9}}
        """,
}
RUN = ("run", "sweep.yaml", "--root", "results")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run it in this process; gives what the command has printed."""
    write(tmp_path, SWEEP)
    monkeypatch.chdir(tmp_path)

    def go(*options: str) -> str:
        assert here(*RUN, "--executor", "inline", *options, monkeypatch=monkeypatch) == 0
        return capsys.readouterr().out

    return go


def curves(root: Path) -> dict[str, Any]:
    """All metrics of all trials over the epochs, but for times."""
    return {
        name: {metric: history(root, found, metric) for metric in found.data.metrics if "second" not in metric}
        for name, found in trials(root, "sweep").items()
    }


def states(root: Path) -> dict[str, Any]:
    store = Store(root / "stages")
    loaded = {name: store.load(found.data.tags["framework.key"])[0] for name, found in trials(root, "sweep").items()}
    return {name: {part: tensor.tolist() for part, tensor in state.items()} for name, state in loaded.items()}


def work(told: str) -> str:
    found = re.search(r"stages: .*", told)
    assert found is not None
    return found[0]


def test_a_sweep_over_epochs_trains_as_many_as_its_longest_trial(run: Any, tmp_path: Path) -> None:
    told = run()
    assert work(told) == (
        "stages: 3 executed, 0 shared, 0 restored; epochs: 4 executed, 3 shared, 0 restored (1.8× fewer)"
    )
    epochs = {name: [epoch for epoch, _ in one["train/loss"]] for name, one in curves(tmp_path / "results").items()}
    assert epochs == {f"train.epochs={count} seed=0": [*range(1, count + 1)] for count in (1, 2, 4)}
    for count in (1, 2, 4):
        run("--root", f"alone{count}", "--set", f"stages.0.train.epochs={{grid_search: [{count}]}}")
        name = f"train.epochs={count} seed=0"
        assert curves(tmp_path / f"alone{count}")[name] == curves(tmp_path / "results")[name]
        assert states(tmp_path / f"alone{count}")[name] == states(tmp_path / "results")[name]


def test_a_later_command_with_more_epochs_goes_on(run: Any, tmp_path: Path) -> None:
    run("--set", "stages.0.train.epochs=2")
    longer = run("--set", "stages.0.train.epochs={grid_search: [2, 3, 5]}")
    assert "2 trials to run, 1 finished earlier" in longer
    assert work(longer) == (
        "stages: 2 executed, 0 shared, 0 restored; epochs: 3 executed, 1 shared, 4 restored (2.7× fewer)"
    )
    forced = run("--force", "--set", "stages.0.train.epochs=5")
    assert work(forced) == "stages: 1 executed, 0 shared, 0 restored; epochs: 5 executed, 0 shared, 0 restored"


def test_states_within_stages_are_the_first_to_be_dropped(run: Any, tmp_path: Path) -> None:
    run()
    store = Store(tmp_path / "results" / "stages")
    stages = {snapshot.key for snapshot in store.snapshots() if snapshot.end is None}
    size = sum(snapshot.size for snapshot in store.snapshots())
    run("--root", "small", "--store-limit", str((size - 1) / 1e9))
    kept = Store(tmp_path / "small" / "stages").stored()
    assert kept > stages
    assert len(kept) == len(store.stored()) - 1
    assert states(tmp_path / "small") == states(tmp_path / "results")


@pytest.mark.long  # the same as one at a time, which is quicker
def test_two_at_once(run: Any, tmp_path: Path, cluster: str) -> None:
    done = framework(*RUN, "--root", "parallel", "--address", cluster, "--max-concurrent", "2", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "epochs: 4 executed, 3 shared, 0 restored (1.8× fewer)" in done.stdout
    run()
    assert curves(tmp_path / "parallel") == curves(tmp_path / "results")
    assert states(tmp_path / "parallel") == states(tmp_path / "results")
