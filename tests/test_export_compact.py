"""`framework export --format compact` and `inspect`, on runs with whole filters pruned."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from running import here

from framework._component import build
from framework._masks import sparsity
from framework._plan import TrialPlan
from framework._registry import Registry
from framework._report import latency
from framework._stage import Record
from framework._tracking import MASKS, Reader, RunArtifacts, Tracker, database_uri, encode_masks, load_model
from framework.testing import run_stage, tiny_trial

MODEL = {"name": "convnet", "widths": [8, 16]}
PRUNED = {
    "filters": {"granularity": "filters", "distribution": "layer"},
    "weights": {},
    "own": {"granularity": "filters"},
}


@pytest.fixture(scope="module")
def root(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of networks that are pruned by half; of one of them it is said that its code is in a file."""
    folder = tmp_path_factory.mktemp("compact")
    with Tracker(database_uri(folder / "mlflow.db"), folder) as tracker:
        for name, how in PRUNED.items():
            network = build(registry, "model", MODEL)(shape=(1, 8, 8), classes=3)
            trial = run_stage("prune", tiny_trial(model=network), amount=0.5, **how)
            plan = TrialPlan(
                experiment=name,
                swept={},
                seed=0,
                model=MODEL,
                data={"dataset": {"name": "digits"}},
                stages=({"name": "prune"},),
                resources={},
                keys=("initial", name),
                stage_epochs=(0,),
            )
            model = "./own.py:Net" if name == "own" else "{name: convnet, widths: [8, 16]}"
            tracker.start(name, "", 1, "framework run it.yaml")
            tracker.trial_started(plan, f"model: {model}\n")
            tracker.recorded(plan, [Record(0, 0, sparsity(trial.weights()), 1.0)])
            files = {MASKS: encode_masks(trial.masks)}
            kept = RunArtifacts(files, model=trial.model, shape=(1, 8, 8))
            tracker.trial_ended(plan, None, artifacts=lambda run, kept=kept: kept)
    return folder


@pytest.fixture
def command(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command on a trial and say what it has printed."""

    def run(verb: str, experiment: str, *options: str, code: int = 0) -> str:
        options = (f"{experiment}/seed=0", "--root", str(root), *options)
        assert here(verb, *options, monkeypatch=monkeypatch) == code
        printed = capsys.readouterr()
        return printed.err if code else printed.out

    return run


def test_the_exported_network_is_smaller_and_gives_the_same_logits(
    command: Callable[..., str], root: Path, tmp_path: Path
) -> None:
    said = command("export", "filters", "--format", "compact", "-o", str(tmp_path / "net.pt2"))
    assert re.match(r"12 filters removed; no output differs by more than [\de.-]+\n", said)
    assert "net.pt2: filters/seed=0 as compact, " in said
    program = torch.export.load(tmp_path / "net.pt2")
    assert program.state_dict["features.4.weight"].shape == (8, 4, 3, 3)
    uri = database_uri(root / "mlflow.db")
    [trial] = Reader(uri).trials("filters")
    images = torch.rand(5, 1, 8, 8)
    with torch.no_grad():
        expected = load_model(f"runs:/{trial.run_id}/model", uri)(images)
        assert torch.allclose(program.module()(images), expected, rtol=0, atol=1e-5)


def test_inspect_shows_it_beside_the_dense_one(command: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "_SECONDS", 0.05)
    said = command("inspect", "filters")
    assert re.search(r"\ncompact {7}375 parameters, [\d.]+ k FLOPs: without 12 filters\n", said)
    row = r"^ *1 +1 +[\d.]+ ms +[\d.]+ ms +[\d.]+ +[\d.]+ ms +[\d.]+ +\d+ *$"
    assert re.search(row, said, re.MULTILINE)
    assert "compact" not in command("inspect", "weights", "--no-latency")


def test_without_whole_filters_there_is_nothing_to_remove(command: Callable[..., str], tmp_path: Path) -> None:
    said = command("export", "weights", "--format", "compact", "-o", str(tmp_path / "net.pt2"), code=1)
    assert "weights/seed=0 cannot be made compact: no filter is pruned whole" in " ".join(said.split())
    assert not any(tmp_path.iterdir())


def test_code_of_a_run_is_not_run_before_one_trusts_it(command: Callable[..., str], tmp_path: Path) -> None:
    said = command("export", "own", "--format", "compact", "-o", str(tmp_path / "net.pt2"), code=1)
    assert "own/seed=0 makes its network by code of its own, which is not run before" in " ".join(said.split())
    assert "compact       none: own/seed=0 makes its network" in command("inspect", "own", "--no-latency")
    said = command("export", "own", "--format", "compact", "--trust-code", code=1)
    assert "own/seed=0: its network cannot be built again: " in said  # as the file is not there
