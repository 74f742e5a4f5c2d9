"""A store that must not grow, and one that refuses."""

from pathlib import Path

import pytest
from running import here, trials, write

from framework._errors import StoreError
from framework._store import Store, total

SPEC = {
    "small.yaml": """
        name: small
        model: convnet
        data: {name: digits, validation: 0.5}
        defaults: {train: {steps: 2, batch_size: 16}}
        stages:
          - train
          - prune: {amount: {grid_search: [0.2, 0.4, 0.6]}}
          - train
          - unprune
          - train
        """,
}
SNAPSHOT = 400_000  # bytes, about, of the dense network, and of what most stages add


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write(tmp_path, SPEC)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "results"


def run(monkeypatch: pytest.MonkeyPatch, *options: str) -> int:
    return here("run", "small.yaml", "--root", "results", "--executor", "inline", *options, monkeypatch=monkeypatch)


def accuracies(root: Path) -> dict[str, float]:
    return {name: found.data.metrics["test/loss"] for name, found in trials(root, "small").items()}


def test_the_store_stays_below_its_limit_keeps_what_is_needed_and_changes_no_result(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch) == 0
    expected = accuracies(root)
    store = Store(root / "stages")
    assert total(store.snapshots()) > 8 * SNAPSHOT
    largest: list[int] = []
    save = Store.save

    def watched(self, *args, **kwargs):
        saved = save(self, *args, **kwargs)
        largest.append(total(self.snapshots()))
        return saved

    monkeypatch.setattr(Store, "save", watched)
    capsys.readouterr()
    assert run(monkeypatch, "--store-limit", "0.0015", "--force", "--store", "bounded") == 0
    printed = capsys.readouterr().out
    # The first stage is kept for those that follow: three trials, and it is executed once.
    assert "stages: 13 executed, 2 shared, 0 restored" in printed
    assert accuracies(root) == expected
    bounded = Store("bounded")
    assert total(bounded.snapshots()) <= 1_500_000
    assert max(largest) <= 1_500_000 + 3 * SNAPSHOT  # one too many, until it is noticed
    assert len(bounded.snapshots()) < 13


def test_a_store_that_refuses_fails_the_trial_with_a_sentence_and_loses_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save, saved = Store.save, []

    def full(self, *args, **kwargs):
        if len(saved) >= 7:
            raise StoreError("cannot write stages: No space left on device (0 MiB are free there)")
        saved.append(args[0])
        return save(self, *args, **kwargs)

    monkeypatch.setattr(Store, "save", full)
    assert run(monkeypatch) == 1
    printed = capsys.readouterr().out
    assert "stages: 7 executed" in printed
    lines = [line for line in printed.splitlines() if line.startswith("failed: ")]
    assert len(lines) == 2
    assert all(line.endswith("No space left on device (0 MiB are free there)") for line in lines)
    monkeypatch.setattr(Store, "save", save)
    assert run(monkeypatch) == 0
    assert "stages: 6 executed, " in capsys.readouterr().out
    assert {found.info.status for found in trials(root, "small").values()} == {"FINISHED"}
